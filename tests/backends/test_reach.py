"""Conversations beyond a window that only a model's own masks know, or where rotations change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import naive
import numpy as np
import pytest
import tiny_models

import valuebias
from valuebias import Model, ValueBiasError
from valuebias.backends.configuration import reach, shape
from valuebias.backends.onnx_backend import OnnxBackend
from valuebias.models.config import read_model_config

LACKING = tiny_models.missing()
pytestmark = pytest.mark.skipif(LACKING is not None, reason=str(LACKING))

SHORT = "Best?"
LONG = "What, in one word, is the greatest thing ever? Say the best, the most important."
WORDS = ["love", "power", "trust and care"]
HEADS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 8}
LONGROPE = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0] * 4,
    "long_factor": [1.0, 2.0, 4.0, 8.0],
    "original_max_position_embeddings": 40,
}
MODELS: dict[str, dict[str, Any]] = {
    # Windows that layers do not hand to the attention, and one that they do.
    "phimoe": {"sliding_window": 16, "num_local_experts": 4, "num_experts_per_tok": 2},
    "doge": {"sliding_window": 16},
    "mistral": {"sliding_window": 16},
    "phi3": {"rope_parameters": LONGROPE, "original_max_position_embeddings": 40},
}


def made(architecture: str, kind: str, folder: Path) -> Path:
    import torch
    import transformers

    tokenizer = tiny_models.make_tokenizer()
    config = transformers.AutoConfig.for_model(
        architecture,
        **HEADS,
        **MODELS[architecture],
        intermediate_size=48,
        num_key_value_heads=2,
        max_position_embeddings=512,
        vocab_size=len(tokenizer),
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        num_labels=1,
    )
    auto = "SequenceClassification" if kind == "reward" else "CausalLM"
    torch.manual_seed(0)
    model = getattr(transformers, f"AutoModelFor{auto}").from_config(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                weight.normal_(std=1 if "embed" in name else 1.3 / weight.shape[-1] ** 0.5)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def scored(folder: Path, kind: Any, **options: Any) -> Any:
    prompts = {
        name: {"text": text, "framing": "positive"}
        for name, text in (("short", SHORT), ("long", LONG))
    }
    return valuebias.score(
        Model(str(folder), name="m"),
        prompts=prompts,
        lexicon=WORDS,
        kind=kind,
        progress=False,
        **options,
    )


def tree_up_to(ds: Any) -> int | None:
    (run,) = json.loads(ds.attrs["provenance"])["models"][0]["runs"]
    assert run["details"]["attention"] == "tree"
    return run["details"].get("tree_up_to_tokens")


@pytest.mark.parametrize("kind", ["reward", "logprob"])
@pytest.mark.parametrize("architecture", MODELS)
def test_scores_are_those_of_whole_conversations(
    tmp_path: Path, architecture: str, kind: str
) -> None:
    folder = made(architecture, kind, tmp_path / "m")
    # Short and long ones share a pack.
    ds = scored(folder, kind, backend="torch", batch_tokens=4096)
    one = naive.word_rewards if kind == "reward" else naive.word_logprobs
    whole = [one(folder, prompt, WORDS) for prompt in (SHORT, LONG)]
    expected = [[np.sum(parts) for parts in row] for row in whole]
    np.testing.assert_allclose(ds["score"].to_numpy()[0], expected, atol=2e-4)
    assert tree_up_to(ds) == {"mistral": None, "phi3": 40}.get(architecture, 16)
    conversation = naive.conversation(folder, LONG, "love")
    assert len(conversation) > 40 > len(naive.conversation(folder, SHORT, "love"))


def test_settings_that_differ_by_layer_are_read_of_every_layer() -> None:
    from transformers import MistralConfig

    by_layer = {"sliding_window": 8, "intermediate_size": 96, "head_dim": 32}
    config = MistralConfig(
        **HEADS, sliding_window=16, intermediate_size=48, per_layer_config={1: by_layer}
    )
    assert [reach(config, known) for known in ((), {8}, {8, 16})] == [8, 16, None]
    assert shape(config).intermediate == 96
    read = read_model_config(config, name="m", labels=None, n_params=None)
    assert (read.window, read.intermediate, read.head_dim) == (16, 48, 8)


def test_a_graph_refuses_conversations_that_it_does_not_know(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    folder = made("doge", "reward", tmp_path / "m")
    with pytest.raises(ValueBiasError, match=r"has \d+ tokens; beyond 16 .* backend='torch'"):
        scored(folder, "reward", backend=OnnxBackend(cache=tmp_path / "exports"))


def test_what_cannot_be_exported_is_said(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    folder = made("phi3", "reward", tmp_path / "m")
    with pytest.raises(ValueBiasError, match=r"cannot make a graph .* backend='torch'"):
        scored(folder, "reward", backend=OnnxBackend(cache=tmp_path / "exports"))
