"""A shaped model is the same model with another head: by hand, by transformers, by ONNX."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models
from shaped import bert, hidden, tensors, two_layers

import valuebias
from valuebias import ContrastSet, Direction, Model, ValueBiasError, ValueBiasWarning

LACKING = tiny_models.missing()
pytestmark = pytest.mark.skipif(LACKING is not None, reason=str(LACKING))

WORDS = {"agency": ["power", "ambition", "control"], "communion": ["love", "kindness", "care"]}


def length_of(model: Model, long: ContrastSet, **options: Any) -> Direction:
    return valuebias.direction(model, long, **{"penalty": "auto", "progress": False, **options})


def words_of(model: Model) -> Direction:
    return valuebias.direction(model, lexicon=WORDS, penalty=2, progress=False)


def transformers_rewards(folder: Path | str, contrasts: ContrastSet) -> np.ndarray:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rows = []
    for prompt, response in contrasts.table[["prompt", "response"]].values:
        said = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
        ids = tokenizer.apply_chat_template(said, return_tensors="pt", return_dict=True)
        with torch.no_grad():
            rows.append(model(input_ids=ids["input_ids"]).logits[0].numpy())
    return np.array(rows)


def states(folder: str, contrasts: ContrastSet) -> np.ndarray:
    texts = contrasts.table[["prompt", "response"]].values
    return np.array([hidden(folder, prompt, response) for prompt, response in texts])


def projected(h: np.ndarray, directions: list[Direction], alpha: float) -> np.ndarray:
    """Take directions out of hidden states, by the formula and not by this package's code."""
    v = np.array([one.vector for one in directions]).T
    d = np.array([one.difference for one in directions]).T
    projector = v @ np.linalg.inv(d.T @ v) @ d.T
    return h @ (np.eye(h.shape[1]) - alpha * projector)


@pytest.mark.parametrize("alpha", [1.0, 0.4])
def test_rewards_are_those_of_projected_hidden_states(
    tiny: Model, long: ContrastSet, tmp_path: Path, alpha: float
) -> None:
    one = length_of(tiny, long)
    shaped = valuebias.shape(tiny, one, out=tmp_path / "shaped", alpha=alpha)
    w = tensors(tiny.location)["score.weight"].double().numpy()
    by_hand = projected(states(tiny.location, long), [one], alpha) @ w.T
    np.testing.assert_allclose(transformers_rewards(shaped.location, long), by_hand, atol=1e-5)
    scores = valuebias.score_contrasts(replace(shaped, base="x"), long, progress=False)["score"]
    np.testing.assert_allclose(scores.to_numpy().ravel(), by_hand.ravel(), atol=1e-5)
    before = valuebias.score_contrasts(tiny, long, progress=False)["score"]
    lean, was = (float((s.sel(variant="long") - s.sel(variant="short")).mean())
                 for s in (scores, before))  # fmt: skip
    assert abs(was) > 0.1
    assert lean == pytest.approx((1 - alpha) * was, abs=1e-5)


@pytest.mark.filterwarnings("ignore:alpha is")
def test_several_directions_and_labels_are_shaped_alike(long: ContrastSet, tmp_path: Path) -> None:
    folder = tiny_models.tiny("qwen2", "reward", tmp_path / "rm", labels=3)
    model = Model(str(folder), label=1, base="x")
    both = [length_of(model, long), words_of(model)]
    shaped = valuebias.shape(model, both, out=tmp_path / "shaped")
    assert shaped.label == 1
    w = tensors(folder)["score.weight"].double().numpy()
    assert w.shape == (3, 32)
    h = states(str(folder), long)
    found = transformers_rewards(shaped.location, long)
    np.testing.assert_allclose(found, projected(h, both, 1) @ w.T, atol=1e-5)
    made = tensors(shaped.location)["score.weight"].double().numpy()
    for one in both:
        np.testing.assert_allclose(made @ one.difference, 0, atol=1e-6)
    # Each its own share: with nothing of the second it is the first alone.
    part = valuebias.shape(model, both, out=tmp_path / "part", alpha=[1, 0])
    alone = valuebias.shape(model, both[0], out=tmp_path / "alone")
    np.testing.assert_allclose(
        tensors(part.location)["score.weight"], tensors(alone.location)["score.weight"], atol=1e-7
    )
    with pytest.raises(ValueBiasError, match="or as many as directions, 2"):
        valuebias.shape(model, both, out=tmp_path / "x", alpha=[1, 0, 1])


def test_nothing_taken_is_the_model_bit_for_bit(
    tiny: Model, long: ContrastSet, tmp_path: Path
) -> None:
    one = length_of(tiny, long)
    same = valuebias.shape(tiny, one, out=tmp_path / "same", alpha=0)
    for path in Path(tiny.location).iterdir():
        assert (Path(same.location) / path.name).read_bytes() == path.read_bytes()
    shaped = valuebias.shape(tiny, one, out=tmp_path / "shaped")
    old, new = tensors(tiny.location), tensors(shaped.location)
    changed = [name for name, tensor in old.items() if not (new[name] == tensor).all()]
    assert changed == ["score.weight"]
    for path in Path(tiny.location).iterdir():
        if path.suffix != ".safetensors":
            assert (Path(shaped.location) / path.name).read_bytes() == path.read_bytes()
    record = json.loads((tmp_path / "shaped" / "shaping.json").read_text())
    assert record["model"]["weights_sha256"] == one.model_sha256
    assert [d["name"] for d in record["directions"]] == ["length"]
    assert record["directions"][0]["alpha"] == 1


@pytest.mark.filterwarnings("ignore:.*legacy TorchScript")
def test_onnx_gives_the_same(tiny: Model, long: ContrastSet, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    pytest.importorskip("onnxruntime")
    shaped = valuebias.shape(tiny, length_of(tiny, long), out=tmp_path / "shaped")
    model = replace(shaped, base="x")
    torch, onnx = (
        valuebias.score_contrasts(model, long, backend=backend, progress=False)["score"]
        for backend in ("torch", "onnx")
    )
    np.testing.assert_allclose(torch, onnx, atol=1e-5)


def test_weights_in_parts_and_in_bfloat16(long: ContrastSet, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification

    folder = tiny_models.tiny("gemma", "reward", tmp_path / "rm")
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.bfloat16)
    (folder / "model.safetensors").unlink()
    model.save_pretrained(folder, max_shard_size="20KB")
    (folder / "pytorch_model.bin").write_bytes(b"an old head")
    assert len(list(folder.glob("*.safetensors"))) > 1
    asked = Model(str(folder), base="x")
    one = length_of(asked, long)
    shaped = valuebias.shape(asked, one, out=tmp_path / "shaped")
    assert not (tmp_path / "shaped" / "pytorch_model.bin").exists()
    w, made = (tensors(f)["score.weight"] for f in (folder, shaped.location))
    assert made.dtype == torch.bfloat16
    exact = projected(np.eye(32), [one], 1) @ w.double().numpy().T
    expected = torch.from_numpy(exact.T).to(torch.bfloat16)
    assert (made == expected).all()
    valuebias.score_contrasts(replace(shaped, base="x"), long, progress=False)


@pytest.mark.parametrize("keep_mean", [False, True])
def test_the_first_of_two_layers_is_shaped(
    long: ContrastSet, tmp_path: Path, *, keep_mean: bool
) -> None:
    folder = two_layers(tmp_path / "rm")
    model = Model(str(folder), base="x")
    one = length_of(model, long)
    shaped = valuebias.shape(model, one, out=tmp_path / "shaped", keep_mean=keep_mean)
    old, new = (
        {name: t.double().numpy() for name, t in tensors(f).items() if name.startswith("score")}
        for f in (folder, shaped.location)
    )
    h = states(str(folder), long)
    center = h.mean(0) if keep_mean else np.zeros(32)
    moved = center + projected(h - center, [one], 1)

    def rewards(x: np.ndarray, head: dict[str, Any]) -> np.ndarray:
        inner = np.maximum(x @ head["score.0.weight"].T + head["score.0.bias"], 0)
        return np.asarray(inner @ head["score.2.weight"].T)

    np.testing.assert_allclose(rewards(h, new), rewards(moved, old), atol=1e-5)
    assert np.abs(rewards(h, new) - rewards(h, old)).max() > 0.01
    changed = {name for name in old if (old[name] != new[name]).any()}
    assert changed == {"score.0.weight"} | ({"score.0.bias"} if keep_mean else set())


def test_the_mean_reward_is_kept_where_there_is_a_bias(long: ContrastSet, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    folder = tiny_models.tiny("llama", "reward", tmp_path / "rm")
    model = Model(str(folder), base="x")
    with pytest.raises(ValueBiasError, match=r"has no bias, .* Leave keep_mean out"):
        valuebias.shape(model, length_of(model, long), out=tmp_path / "no", keep_mean=True)
    weights = tensors(folder) | {"score.bias": torch.tensor([0.25])}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    shaped = valuebias.shape(model, length_of(model, long), out=tmp_path / "shaped", keep_mean=True)
    old, new = tensors(folder), tensors(shaped.location)
    h = states(str(folder), long)
    means = [
        float((h @ t["score.weight"].double().numpy().T + t["score.bias"].double().numpy()).mean())
        for t in (old, new)
    ]
    assert means[0] == pytest.approx(means[1], abs=1e-5)


def refused(message: str, *args: Any, **options: Any) -> None:
    with pytest.raises(ValueBiasError, match=message):
        valuebias.shape(*args, **options)


def test_directions_of_other_models_are_refused(
    tiny: Model, long: ContrastSet, tmp_path: Path
) -> None:
    other = tiny_models.tiny("llama", "reward", tmp_path / "other", seed=1)
    one = length_of(tiny, long)
    out = tmp_path / "out"
    refused("A direction is of one model alone: estimate it of this one", str(other), one, out=out)
    shaped = valuebias.shape(tiny, one, out=out)
    refused("A direction is of one model alone", shaped, one, out=tmp_path / "again")
    refused("is a combination of those before it", tiny, [one, replace(one, name="b")],
            out=tmp_path / "twice")  # fmt: skip
    refused("Two directions are called 'length'", tiny, [one, one], out=tmp_path / "twice")
    refused("expected what valuebias.direction", tiny, [], out=tmp_path / "none")
    refused("expected what valuebias.direction", tiny, "length.npz", out=tmp_path / "none")
    for alpha in ("all", float("nan"), None, True, [1, 1]):
        refused("expected a number from 0 to 1", tiny, one, out=tmp_path / "none", alpha=alpha)
    refused("is a policy", replace(tiny, reference="x/y"), one, out=tmp_path / "none")
    refused("is an encoder", Model(str(bert(tmp_path / "e")), template="pair"), one,
            out=tmp_path / "none")  # fmt: skip
    assert not (tmp_path / "none").exists()


def test_what_lies_there_is_not_lost(tiny: Model, long: ContrastSet, tmp_path: Path) -> None:
    one = length_of(tiny, long)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    refused("holds no shaped model", tiny, one, out=tmp_path / "mine")
    refused("is the model's own folder", tiny, one, out=tiny.location)
    refused("is the model's own folder", tiny, one, out=Path(tiny.location) / "shaped")
    refused("is the model's own folder", tiny, one, out=Path(tiny.location).parent)
    with pytest.warns(ValueBiasWarning, match="above 1 it is turned round"):
        beyond = valuebias.shape(tiny, one, out=tmp_path / "shaped", alpha=1.5)
    w = tensors(tiny.location)["score.weight"].double().numpy() @ one.difference
    made = tensors(beyond.location)["score.weight"].double().numpy() @ one.difference
    np.testing.assert_allclose(made, -0.5 * w, rtol=1e-4)
    # A shaped model is replaced by another one.
    again = valuebias.shape(tiny, one, out=tmp_path / "shaped")
    np.testing.assert_allclose(
        tensors(again.location)["score.weight"].double().numpy() @ one.difference, 0, atol=1e-6
    )
    assert sorted(os.listdir(tmp_path)) == ["mine", "shaped"]


def test_a_head_of_another_form_is_refused(tmp_path: Path, long: ContrastSet) -> None:
    import torch
    from safetensors.torch import save_file

    folder = tiny_models.tiny("llama", "reward", tmp_path / "rm")
    weights = tensors(folder) | {"score.1.weight": torch.zeros(1, 32)}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueBiasError, match="Only linear heads and heads of two layers"):
        length_of(Model(str(folder), base="x"), long)
    weights = tensors(folder)
    weights["score.weight"] = torch.zeros(1, 16)
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(ValueBiasError, match=r"has the shape \(1, 16\); expected \(labels, 32\)"):
        length_of(Model(str(folder), base="x"), long)
