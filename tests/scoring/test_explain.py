"""valuebias.explain: what it says of a model and a backend is what scoring does."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models

import valuebias
from valuebias import Model, ValueBiasError
from valuebias.backends import Backend, LoadedModel, Server, Source
from valuebias.backends.machine import Machine, machine
from valuebias.backends.torch_backend import TorchBackend
from valuebias.models.sizes import size_of

LACKING = tiny_models.missing()
with_models = pytest.mark.skipif(LACKING is not None, reason=str(LACKING))

MARK = "</s>"
PROMPTS = {"up": {"text": "What, in one word, is the greatest thing ever?", "framing": "positive"}}
ASKED: dict[str, Any] = {"prompts": PROMPTS, "lexicon": ["love", "power", "friendship"]}
PLAIN = {"template": "{prompt}\n{response}"}
STEPS = {"head": "steps", "step_mark": MARK, "template": "{prompt}\n{response}" + MARK}
NOBODY = "http://127.0.0.1:9"
HEADS = {"mean": lambda hidden: hidden.mean(-1)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a tiny model of each sort."""
    import torch
    import transformers
    from safetensors.torch import save_file

    made = tmp_path_factory.mktemp("sorts")
    tiny_models.tiny("llama", "reward", made / "reward")
    tiny_models.tiny("llama", "reward", made / "labels", labels=3)
    for seed, name in enumerate(("lm", "sft")):
        tiny_models.tiny("llama", "logprob", made / name, seed=seed)
    tiny_models.token_classifier(made / "steps")
    write_adapter(made / "lm", made / "adapter")
    encode = tiny_models.make_tokenizer(bos=True, chat_template=None)
    bert = transformers.AutoConfig.for_model(
        "bert", vocab_size=len(encode), hidden_size=32, intermediate_size=48, num_hidden_layers=2,
        num_attention_heads=4, num_labels=1, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(3)
    encoder = transformers.AutoModelForSequenceClassification.from_config(bert)
    encoder.save_pretrained(made / "encoder")
    encode.save_pretrained(made / "encoder")
    write_gguf(made / "lm", made / "lm.gguf")
    shutil.copytree(made / "reward", made / "headless")
    kept = {"model.embed_tokens.weight": torch.zeros(320, 32)}
    save_file(kept, made / "headless" / "model.safetensors", metadata={"format": "pt"})
    shutil.copytree(made / "reward", made / "untemplated")
    (made / "untemplated" / "chat_template.jinja").unlink()
    shutil.copytree(made / "reward", made / "bare")
    (made / "bare" / "model.safetensors").unlink()
    return made


def write_adapter(base: Path, folder: Path) -> None:
    """Write an adapter of one layer as peft does."""
    from safetensors.numpy import load_file, save_file

    layer = "model.layers.1.self_attn.q_proj"
    wide, deep = load_file(base / "model.safetensors")[f"{layer}.weight"].shape
    rng = np.random.default_rng(4)
    folder.mkdir()
    weights = {
        f"base_model.model.{layer}.lora_A.weight": rng.normal(size=(3, deep)),
        f"base_model.model.{layer}.lora_B.weight": rng.normal(size=(wide, 3)),
    }
    tensors = {name: weight.astype(np.float32) for name, weight in weights.items()}
    save_file(tensors, folder / "adapter_model.safetensors")
    config = {"peft_type": "LORA", "r": 3, "lora_alpha": 3, "target_modules": [layer],
              "task_type": "CAUSAL_LM", "base_model_name_or_path": str(base)}  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(config))


def write_gguf(folder: Path, file: Path) -> None:
    import gguf_models
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    entries = gguf_models.sizes(model.config, rope__freq_base=10000.0)
    gguf_models.write(model, file, "llama", entries, tokenizer=tokenizer)


def policy(folders: Path, **fields: Any) -> Model:
    return Model(folders / "lm", reference=str(folders / "sft"), beta=0.1, **fields)


SORTS: dict[str, tuple[Callable[[Path], Any], dict[str, Any]]] = {
    "reward": (lambda made: Model(made / "reward"), {}),
    "vocabulary": (lambda made: Model(made / "reward"), {"lexicon": "vocabulary"}),
    "one label": (lambda made: Model(made / "labels", label=1), {}),
    "all labels": (lambda made: Model(made / "labels", label="all"), {}),
    "no label named": (lambda made: Model(made / "labels"), {}),
    "a label too many": (lambda made: Model(made / "labels", label=[0, 3]), {}),
    "bfloat16": (lambda made: Model(made / "reward", dtype="bfloat16"), {}),
    "head score": (lambda made: Model(made / "reward", head="score"), {}),
    "head rewards": (lambda made: Model(made / "reward", head="rewards"), {}),
    "head callable": (lambda made: Model(made / "lm", head=HEADS["mean"]), {}),
    "steps": (lambda made: Model(made / "steps", **STEPS), {}),
    "steps, no such mark": (lambda made: Model(made / "steps", **STEPS | {"step_mark": "§"}), {}),
    "encoder, pair": (lambda made: Model(made / "encoder", template="pair"), {}),
    "pair of a decoder": (lambda made: Model(made / "reward", template="pair"), {}),
    "encoder's log-probs": (
        lambda made: Model(made / "encoder", template="plain"), {"kind": "logprob"}
    ),
    "log-probs": (lambda made: Model(made / "lm"), {"kind": "logprob"}),
    "base log-probs": (lambda made: Model(made / "lm", template="plain"), {"kind": "logprob"}),
    "log-probs of a vocabulary": (
        lambda made: Model(made / "lm"), {"kind": "logprob", "lexicon": "vocabulary"}
    ),
    "reward of a language model": (lambda made: Model(made / "lm"), {}),
    "log-probs of a reward model": (lambda made: Model(made / "reward"), {"kind": "logprob"}),
    "policy": (policy, {"kind": "implicit"}),
    "its own reference": (
        lambda made: Model(made / "lm", reference=str(made / "lm")), {"kind": "implicit"}
    ),
    "a reward model for reference": (
        lambda made: Model(made / "lm", reference=str(made / "reward")), {"kind": "implicit"}
    ),
    "judged": (lambda made: Model(made / "lm"), {"kind": "judged", "judge": "rating"}),
    "adapter": (lambda made: Model(made / "adapter"), {"kind": "logprob"}),
    "adapter, head callable": (lambda made: Model(made / "adapter", head=HEADS["mean"]), {}),
    "GGUF": (lambda made: Model(made / "lm.gguf"), {"kind": "logprob"}),
    "GGUF, steps": (lambda made: Model(made / "lm.gguf", **STEPS), {}),
    "GGUF, reward": (lambda made: Model(made / "lm.gguf"), {}),
    "without a head": (lambda made: Model(made / "headless"), {}),
    "without a template": (lambda made: Model(made / "untemplated"), {}),
    "without weights": (lambda made: Model(made / "bare"), {}),
    "not there": (lambda made: Model(made / "nowhere"), {}),
}  # fmt: skip


class Refusing(TorchBackend):
    """An engine of somebody else, which says what it refuses, and loads nothing."""

    name = "refusing"
    kinds = frozenset({"reward"})

    def refuses(self, source: Source) -> str | None:
        if source.labels is not None and source.labels > 1:
            return f"{source.name}: found {source.labels} labels; expected one. Use another engine."
        return super().refuses(source)


ENGINES: dict[str, Callable[[], Backend]] = {
    "torch": lambda: TorchBackend(device="cpu"),
    "refusing": lambda: Refusing(device="cpu"),
}
EXPORTED = (
    *("reward", "all labels", "bfloat16", "head callable", "steps", "encoder, pair", "log-probs"),
    *("policy", "judged", "adapter", "GGUF"),
)


def said(folders: Path, sort: str, engine: Any) -> tuple[str, str]:
    """Say what is explained of a sort of model; an error of the request counts as a no."""
    make, options = SORTS[sort]
    row = valuebias.explain(make(folders), backend=engine, **ASKED | options).to_frame().iloc[0]
    return row["scores"], row["reason"]


def done(folders: Path, sort: str, engine: Any) -> tuple[str, str]:
    """Say whether scoring gives scores, or why not."""
    make, options = SORTS[sort]
    try:
        scores = valuebias.score(make(folders), backend=engine, progress=False, **ASKED | options)
    except ValueBiasError as error:
        return "no", str(error)
    assert scores is not None
    return "yes", ""


@with_models
@pytest.mark.filterwarnings("ignore::valuebias.ValueBiasWarning")
@pytest.mark.parametrize("engine", list(ENGINES))
@pytest.mark.parametrize("sort", list(SORTS))
def test_what_is_said_is_what_scoring_does(folders: Path, sort: str, engine: str) -> None:
    backend = ENGINES[engine]()
    assert said(folders, sort, backend) == done(folders, sort, backend)


@with_models
@pytest.mark.once
@pytest.mark.filterwarnings("ignore::valuebias.ValueBiasWarning")
@pytest.mark.parametrize("sort", EXPORTED)
def test_what_is_said_of_exports_is_so(folders: Path, sort: str) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    from valuebias.backends.onnx_backend import OnnxBackend

    backend = OnnxBackend(device="cpu", cache=folders / "exports")
    assert said(folders, sort, backend) == done(folders, sort, backend)


@with_models
@pytest.mark.filterwarnings("ignore::valuebias.ValueBiasWarning")
@pytest.mark.parametrize("sort", list(SORTS))
def test_what_is_said_of_servers_is_so(folders: Path, sort: str) -> None:
    from loopback_server import Loopback, serving

    make, options = SORTS[sort]
    kind = "reward" if options.get("kind", "reward") == "reward" else "logprob"
    model = make(folders)
    folder = Path(model.location)
    if not (folder / "model.safetensors").is_file() or sort in (
        "steps",
        "adapter",
        "without a head",
    ):
        folder = folders / {"reward": "reward", "logprob": "lm"}[kind]
    with serving(Loopback(folder, kind)) as loopback:
        backend = Server(loopback.url, retries=0)
        assert said(folders, sort, backend) == done(folders, sort, backend)


def test_memory_is_that_of_the_tensors_at_the_dtype(tmp_path: Path) -> None:
    shapes = {
        "model.embed_tokens.weight": (10, 4),
        "score.weight": (1, 4),
        "lm_head.weight": (10, 4),
    }
    written(tmp_path, shapes, numbers={"steps": ("I64", (3,))})
    for dtype, each in {"float32": 4, "bfloat16": 2}.items():
        source = Source(name="m", folder=tmp_path, kind="reward", dtype=dtype)
        # The head of a language model is not loaded for rewards; whole numbers stay as they are.
        assert size_of(source).memory == each * (40 + 4) + 3 * 8
    source = Source(name="m", folder=tmp_path, kind="logprob")
    assert size_of(source).memory == 4 * (40 + 4 + 40) + 3 * 8
    assert size_of(source).disk == (tmp_path / "model.safetensors").stat().st_size
    (tmp_path / "config.json").write_text(json.dumps({"tie_word_embeddings": True}))
    assert size_of(source).memory == 4 * (40 + 4) + 3 * 8
    (tmp_path / "model.safetensors").write_bytes(b"\xff" * 16)
    with pytest.raises(ValueBiasError, match=r"no safetensors file.*Download or save"):
        size_of(source)


def written(
    folder: Path, shapes: dict[str, tuple[int, ...]], numbers: dict[str, Any] | None = None
) -> Path:
    """Write a folder as save_pretrained leaves it, without any package for that."""
    sizes = {"F32": 4, "I64": 8}
    listed = {name: ("F32", shape) for name, shape in shapes.items()} | (numbers or {})
    header, start = {}, 0
    for name, (kind, shape) in listed.items():
        end = start + sizes[kind] * int(np.prod(shape))
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header).encode()
    content = struct.pack("<Q", len(text)) + text + bytes(start)
    (folder / "model.safetensors").write_bytes(content)
    (folder / "config.json").write_text(
        json.dumps({"architectures": ["LlamaForSequenceClassification"], "vocab_size": 10})
    )
    return folder


@with_models
def test_memory_is_that_of_the_loaded_model(folders: Path) -> None:
    import torch
    import transformers

    for name, auto in {"reward": "SequenceClassification", "lm": "CausalLM"}.items():
        cls = getattr(transformers, f"AutoModelFor{auto}")
        model = cls.from_pretrained(folders / name, dtype=torch.bfloat16)
        expected = sum(weight.nbytes for weight in model.state_dict().values())
        kind = "reward" if name == "reward" else "logprob"
        one = Model(folders / name, dtype="bfloat16")
        row = valuebias.explain(one, kind=kind, backend="torch", **ASKED).to_frame().iloc[0]
        assert (row["memory"], row["memory_from"]) == (expected, "weights")
        assert bool(row["fits"])


def test_without_an_engine_it_says_what_it_can(tmp_path: Path) -> None:
    """Where transformers is not installed, files and specifications are all that is known."""
    if LACKING is None:
        pytest.skip("PyTorch is installed here")
    written(tmp_path, {"score.weight": (1, 4)})
    table = valuebias.explain(
        [Model(tmp_path), Model(tmp_path, name="own", head=HEADS["mean"])], **ASKED
    ).to_frame()
    of = {(row["model"], row["backend"]): row for row in table.to_dict(orient="records")}
    plain = of[tmp_path.name, "torch"]
    assert plain["scores"] == "likely"
    assert "transformers is not installed" in plain["reason"]
    assert plain["memory"] == 16
    assert plain["install"] == 'pip install "valuebias[torch]"'
    assert plain["recommended"]
    assert of["own", "torch"]["scores"] == "likely"
    assert of["own", "onnx"]["scores"] == "no"
    assert of["own", "vllm"]["scores"] == "no"


class Elsewhere(Backend):
    """An engine that has the weights elsewhere, and is not there."""

    name = "elsewhere"
    description = "nowhere"
    suits = "nothing else is there"
    weights_here = False

    def available(self) -> str | None:
        return "it is not there"

    def needs(
        self, source: Source, *, location: str, revision: str | None = None
    ) -> tuple[str, ...]:
        return (f"Put {location} there.",)

    def load(self, source: Source) -> LoadedModel:
        raise ValueBiasError("It is not there. Go elsewhere.")


@with_models
def test_advice_goes_by_what_is_here(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch, elsewhere = TorchBackend(device="cpu"), Elsewhere()

    def chosen(*engines: Any) -> str:
        table = valuebias.explain(folders / "reward", backend=engines, **ASKED).to_frame()
        rows = table[table["recommended"]]
        assert len(rows) == 1
        return f"{rows['backend'].iloc[0]}: {rows['why'].iloc[0]}"

    assert chosen(elsewhere, torch).startswith("torch: all that it takes is here, the weights fit")
    assert chosen(elsewhere) == "elsewhere: no other backend scores it"
    # The weights take more than 100,000 bytes.
    monkeypatch.setattr("valuebias.scoring.explain.machine", lambda: Machine(100_000, ()))
    assert chosen(elsewhere, torch).startswith("elsewhere: its weights are larger than")
    assert chosen(torch).startswith("torch: it takes a machine with more memory")
    monkeypatch.setattr("valuebias.scoring.explain.machine", lambda: Machine(9_000, (10**9,)))
    assert "the weights fit onto a card" in chosen(elsewhere, torch)


@with_models
def test_a_server_that_runs_the_model_is_used(folders: Path) -> None:
    from loopback_server import Loopback, serving

    with serving(Loopback(folders / "reward", "reward")) as loopback:
        told = valuebias.explain(
            folders / "reward", backend=["torch", Server(loopback.url)], **ASKED
        )
    assert "reward: use 'vllm': a server runs this model already." in str(told)
    rows = told.to_frame().set_index("backend")
    assert rows.loc["vllm", "fits"] is None
    asleep = valuebias.explain(folders / "reward", backend=["torch", Server(NOBODY)], **ASKED)
    assert "reward: use 'torch'" in str(asleep)
    assert f"No server answers at '{NOBODY}'" in str(asleep)


def test_servers_are_started_as_the_guide_says() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "howto" / "servers.md").read_text()
    for kind, name in {"reward": "models/my-rm", "logprob": "models/my-lm"}.items():
        source = Source(name="m", folder=Path(name), kind=kind)  # type: ignore[arg-type]
        (first, *_) = Server().needs(source, location=name)
        assert first.removeprefix("A server that runs the model: ") in guide


def test_what_is_not_here_is_not_guessed(tmp_path: Path) -> None:
    told = valuebias.explain(["nobody/nothing", tmp_path / "gone"], **ASKED)
    table = told.to_frame().set_index(["model", "backend"])
    row = table.loc[("nobody/nothing", "torch")]
    assert row["scores"] == "not known"
    assert np.isnan(row["memory"])
    assert row["fits"] is None
    assert not table["recommended"].any()
    gone = table.loc[("gone", "torch")]
    assert (gone["scores"], "is no folder, no file and no hub id" in gone["reason"]) == ("no", True)


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        ({"backend": "torhc"}, "Did you mean 'torch'"),
        ({"backend": []}, "No backend is given"),
        ({"backend": 3}, "backend= takes a name"),
        ({"kind": "rewards"}, "Did you mean 'reward'"),
        ({"models": "nowhere.yaml"}, "nowhere.yaml"),
        ({"kind": "implicit"}, "has no reference"),
    ],
)
def test_what_is_asked_wrongly(asked: dict[str, Any], match: str) -> None:
    with pytest.raises(ValueBiasError, match=match):
        valuebias.explain(**{"models": "org/model", **ASKED, **asked})


def test_this_machine_has_memory() -> None:
    here = machine()
    assert here.holds(1)
    assert here.holds(1e18) is False
    assert "GB of memory" in str(here)
    assert Machine(None, ()).holds(1) is None


def test_of_an_engine_of_others_its_own_words_are_said(tmp_path: Path) -> None:
    told = valuebias.explain("nobody/nothing", backend=Elsewhere, **ASKED)
    assert "Choose 'elsewhere': nothing else is there." in str(told)
    html = told._repr_html_()
    assert "nobody/nothing" in html
    assert "<table>" in html
