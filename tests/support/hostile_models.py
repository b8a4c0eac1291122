"""Models in every form: valid ones, to be damaged."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import tiny_models
from hostile_base import FEW, OWN, WEIGHTS, Subject, stamp

import valuebias
from valuebias import Model

__all__ = ["MODELS", "PROMPTS", "WORDS", "score"]

WORDS = ["love", "power", "trust"]
PROMPTS = {
    "best": {"text": "What is good?", "framing": "positive"},
    "worst": {"text": "What is bad?", "framing": "negative"},
}


def score(source: Path, kind: str = "reward", backend: Any = "torch", **more: Any) -> str:
    """Score some words with a model, and hash what comes out."""
    model = Model(str(source), family="A", base="b", name="m")
    ds = valuebias.score(model, prompts=PROMPTS, lexicon=WORDS, kind=kind, progress=False,  # type: ignore[call-overload]
                         backend=backend, **more)  # fmt: skip
    return stamp(ds["score"].to_numpy(), ds["response"].to_numpy(), ds["prompt"].to_numpy())


@cache
def _model(kind: str, architecture: str = "llama") -> Callable[[Path], Any]:
    def make(folder: Path) -> None:
        tiny_models.tiny(architecture, kind, folder / "model")
        (folder / "model" / "README.md").write_text("---\nbase_model: org/base\n---\nText.\n")

    return make


def _make_sharded(folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tiny_models.tiny("llama", "logprob", folder / "whole")
    model = AutoModelForCausalLM.from_pretrained(folder / "whole")
    model.save_pretrained(folder / "model", max_shard_size="60KB")
    AutoTokenizer.from_pretrained(folder / "whole").save_pretrained(folder / "model")
    shutil.rmtree(folder / "whole")


def _gguf(max_tensors: int = 0) -> Callable[[Path], Any]:
    def make(folder: Path) -> None:
        import gguf_models
        from transformers import AutoModelForCausalLM, AutoTokenizer

        tiny_models.tiny("llama", "logprob", folder / "whole")
        model = AutoModelForCausalLM.from_pretrained(folder / "whole")
        entries = gguf_models.sizes(model.config, **{"rope__freq_base": 10000.0})
        gguf_models.write(
            model, folder / "m.gguf", "llama", entries, max_tensors=max_tensors,
            tokenizer=AutoTokenizer.from_pretrained(folder / "whole"),
            further={"tokenizer.chat_template": tiny_models.CHAT},
        )  # fmt: skip
        shutil.rmtree(folder / "whole")

    return make


def _make_onnx(folder: Path) -> None:
    from valuebias.backends.onnx_backend import OnnxBackend

    tiny_models.tiny("llama", "reward", folder / "whole")
    engine = OnnxBackend(device="cpu", threads=1, cache=folder / "cache")
    score(folder / "whole", backend=engine)
    (made,) = (folder / "cache").iterdir()
    made.rename(folder / "model")
    shutil.rmtree(folder / "cache")
    shutil.rmtree(folder / "whole")


def _read_onnx(folder: Path) -> str:
    from valuebias.backends.onnx_backend import OnnxBackend

    return score(folder / "model" / "model.onnx", backend=OnnxBackend(device="cpu", threads=1))


def _make_adapted(folder: Path) -> None:
    """Write a model with an adapter beside it, which is looked at for the base it names."""
    _model("reward")(folder)
    about = {"peft_type": "LORA", "base_model_name_or_path": "org/base", "r": 2,
             "target_modules": ["q_proj"], "task_type": "SEQ_CLS"}  # fmt: skip
    (folder / "model" / "adapter_config.json").write_text(json.dumps(about))


def _read_adapted(folder: Path) -> str:
    model = Model(str(folder / "model"), name="m", family="A")
    ds = valuebias.score(model, prompts=PROMPTS, lexicon=WORDS, progress=False)
    return stamp(ds["score"].to_numpy(), ds["base"].to_numpy())


def _make_older_files(folder: Path) -> None:
    """Write a tokenizer as vocab.json and merges.txt, without a tokenizer.json."""
    _model("reward")(folder)
    place = folder / "model"
    whole = json.loads((place / "tokenizer.json").read_text())["model"]
    merges = [pair if isinstance(pair, str) else " ".join(pair) for pair in whole["merges"]]
    (place / "vocab.json").write_text(json.dumps(whole["vocab"]))
    (place / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]))
    (place / "tokenizer.json").unlink()
    settings = json.loads((place / "tokenizer_config.json").read_text())
    settings["tokenizer_class"] = "GPT2Tokenizer"
    (place / "tokenizer_config.json").write_text(json.dumps(settings))


def _read(kind: str) -> Callable[[Path], str]:
    return lambda folder: score(folder / "model", kind)


def _explained(folder: Path) -> str:
    """Explain instead of scoring; paths and how fast this machine is are left out."""
    said = valuebias.plan(str(folder / "model"), kind="reward", prompts=PROMPTS, lexicon=WORDS)
    return stamp(re.sub(r"[\d.]+ (s|GFLOP/s)\b", "", str(said).replace(str(folder), "")))


MODELS: tuple[Subject, ...] = (
    Subject("model: config.json", _model("reward"), _read("reward"), ("model/config.json",),
            WEIGHTS, 3),
    Subject("model: tokenizer.json", _model("reward"), _read("reward"),
            ("model/tokenizer.json",), WEIGHTS, 2),
    Subject("model: tokenizer_config.json, template, card", _model("reward"),
            _read("reward"), ("model/tokenizer_config.json", "model/*.jinja",
            "model/README.md"), WEIGHTS, 2),
    Subject("model: generation_config.json and config.json", _model("logprob", "gemma2"),
            _read("logprob"), ("model/*config.json",), WEIGHTS),
    Subject("model: safetensors", _model("reward"), _read("reward"),
            ("model/*.safetensors",), WEIGHTS, 2),
    Subject("model: safetensors, index and parts", _make_sharded, _read("logprob"),
            ("model/*.safetensors", "model/*.index.json"), WEIGHTS),
    Subject("model: GGUF", _gguf(), lambda folder: score(folder / "m.gguf", "logprob"),
            excuse=WEIGHTS, weight=2),
    Subject("model: GGUF in parts", _gguf(12), lambda folder: score(
            sorted(folder.glob("*.gguf"))[0], "logprob"), excuse=WEIGHTS),
    Subject("model: ONNX export", _make_onnx, _read_onnx, ("model/model.onnx*",
            "model/valuebias.json"), "", bits=FEW),
    Subject("model: adapter_config.json beside it", _make_adapted, _read_adapted,
            ("model/adapter_config.json",), WEIGHTS),
    Subject("model: vocab.json, merges.txt", _make_older_files, _read("reward"),
            ("model/vocab.json", "model/merges.txt", "model/tokenizer_config.json"), WEIGHTS, 2),
    Subject("model: all its files, explained", _model("reward"), _explained, ("model/*",),
            OWN, 2),
)  # fmt: skip
"""All kinds of files that models come as."""
