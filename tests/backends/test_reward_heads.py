"""Reward heads of two layers: read as plain PyTorch computes them, by every way to score."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models

import valuebias
from valuebias import Model, ValueBiasError
from valuebias.backends import Source
from valuebias.backends.testing.samples import lay_out, random_conversations, write_model
from valuebias.backends.torch_backend import TorchBackend

torch = pytest.importorskip("torch", reason="torch is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")

WIDTH = 24
_MADE = random_conversations(seed=3, vocabulary=160, branches=5)
CONVERSATIONS = [ids for ids in _MADE if not any(o[: len(ids)] == ids and o != ids for o in _MADE)]


def with_head(folder: Path, *, labels: int = 1) -> Path:
    """Put a head of two layers in the place of the one that a model has."""
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    hidden = weights.pop("score.weight").shape[1]
    generator = torch.Generator().manual_seed(7)
    weights |= {
        "score.0.weight": torch.randn(WIDTH, hidden, generator=generator),
        "score.0.bias": torch.randn(WIDTH, generator=generator),
        "score.2.weight": torch.randn(labels, WIDTH, generator=generator),
    }
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    state(folder, reward_head={"kind": "mlp", "width": WIDTH})
    return folder


def state(folder: Path, **entries: Any) -> None:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | entries), encoding="utf-8")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    folder = tmp_path_factory.mktemp("heads") / "m"
    write_model(folder, "gemma2", kind="reward", vocabulary=160)
    return Source(name="m", folder=with_head(folder), kind="reward", as_own=True, labels=1)


def plain(folder: Path, conversations: list[list[int]], *, label: int = 0) -> np.ndarray:
    """Compute rewards conversation by conversation, with transformers' body and plain products."""
    from safetensors.torch import load_file

    body = transformers.AutoModel.from_pretrained(folder).eval()
    head = load_file(folder / "model.safetensors")
    with torch.no_grad():
        hidden = torch.stack(
            [body(torch.tensor([i])).last_hidden_state[0, -1] for i in conversations]
        )
        inner = (hidden @ head["score.0.weight"].T + head["score.0.bias"]).clamp(min=0)
        return np.asarray((inner @ head["score.2.weight"][label]).numpy())


def rewards(source: Source, **options: Any) -> np.ndarray:
    pack, output = lay_out(CONVERSATIONS)
    return TorchBackend(device="cpu", **options).load(source).forward(pack)[output]


@pytest.mark.parametrize("attention", ["whole", "tree"])
def test_rewards_are_those_of_plain_products(source: Source, attention: Any) -> None:
    expected = plain(source.folder, CONVERSATIONS)
    found = rewards(source, attention=attention)
    np.testing.assert_allclose(found, expected, atol=1e-5 * expected.std() + 1e-5)
    np.testing.assert_array_equal(found, rewards(source, attention=attention))
    assert len(set(found.tolist())) == len(CONVERSATIONS)


def test_in_half_precision_the_head_computes_in_full(source: Source) -> None:
    expected = plain(source.folder, CONVERSATIONS)
    found = rewards(replace(source, dtype="bfloat16"), attention="tree")
    np.testing.assert_allclose(found, expected, atol=0.1 * expected.std())
    assert len(set(torch.from_numpy(found).bfloat16().tolist())) < len(set(found.tolist()))


def scored(folder: Path, **options: Any) -> np.ndarray:
    ds = valuebias.score(
        Model(str(folder), label=options.pop("label", None)),
        prompts={"b": {"text": "The best?", "framing": "positive"}},
        lexicon=["love", "power", "free dom", "trust and care"],
        progress=False,
        **options,
    )
    return np.asarray(ds["score"].to_numpy().squeeze())


def test_such_models_are_scored_like_any_other(tmp_path: Path) -> None:
    from valuebias.models.resolve import resolve
    from valuebias.models.tokenizer import Tokenizer

    folder = with_head(tiny_models.tiny("llama", "reward", tmp_path / "rm"))
    resolved = resolve(Model(str(folder)), kind="reward")
    tokens = Tokenizer(resolved).rewards(
        "The best?", ["love", "power", "free dom", "trust and care"]
    )
    expected = plain(folder, [ids.tolist() for ids in tokens])
    found = scored(folder)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(found, scored(folder))
    assert resolved.model_config.labels == ("LABEL_0",)
    # Another width is another model.
    before = resolved.source.weights_sha256
    state(folder, reward_head={"kind": "mlp", "width": WIDTH + 1})
    assert resolve(Model(str(folder)), kind="reward").source.weights_sha256 != before
    with pytest.raises(ValueBiasError, match="its files are damaged"):
        scored(folder)


def test_several_labels(tmp_path: Path) -> None:
    folder = tiny_models.tiny("llama", "reward", tmp_path / "rm", labels=3)
    with_head(folder, labels=3)
    several = scored(folder, label="all")
    assert several.shape == (3, 4)
    for label in range(3):
        np.testing.assert_allclose(several[label], scored(folder, label=label), rtol=1e-5)


def test_an_export_gives_the_same(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    from valuebias.backends.onnx_backend import OnnxBackend

    folder = with_head(tiny_models.tiny("llama", "reward", tmp_path / "rm"))
    engine = OnnxBackend(device="cpu", cache=tmp_path / "cache")
    found = scored(folder, backend=engine)
    expected = scored(folder)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(found, scored(folder, backend=engine))
    assert found.std() > 0.1


def test_optimum_refuses_them(tmp_path: Path) -> None:
    from valuebias.backends.optimum_files import check_file

    folder = with_head(tiny_models.tiny("llama", "reward", tmp_path / "rm"))
    (folder / "model.onnx").touch()
    with pytest.raises(ValueBiasError, match=r"rm: its reward head has two layers .*onnx"):
        check_file(Source(name="rm", folder=folder, kind="reward"))


@pytest.mark.parametrize(
    ("stated", "message"),
    [
        ("mlp", "has reward_head='mlp'; expected"),
        ({"kind": "mlp"}, "expected .*'width': 1024"),
        ({"kind": "gelu", "width": 8}, "expected .*'kind': 'mlp'"),
        ({"kind": "mlp", "width": 0}, "width .* is 0; expected a whole number of at least 1"),
        ({"kind": "mlp", "width": "8"}, "is '8'"),
        ({"kind": "mlp", "width": 10**9}, "of the width 1000000000; 65536 is the most"),
    ],
)
def test_other_entries_are_refused(tmp_path: Path, stated: Any, message: str) -> None:
    folder = with_head(tiny_models.tiny("llama", "reward", tmp_path / "rm"))
    state(folder, reward_head=stated)
    with pytest.raises(ValueBiasError, match=message):
        scored(folder)


def test_two_layers_that_no_entry_states_are_refused(tmp_path: Path) -> None:
    """What is between them is not known."""
    folder = with_head(tiny_models.tiny("llama", "reward", tmp_path / "rm"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del config["reward_head"]
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ValueBiasError, match=r"lack weights .*score\.weight"):
        scored(folder)
