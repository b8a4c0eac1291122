"""Directions are differences of what the head reads, and say how sure they are."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import tiny_models
from shaped import bert, hidden

import valuebias
from valuebias import ContrastSet, Direction, Model, ValueBiasError

LACKING = tiny_models.missing()
pytestmark = pytest.mark.skipif(LACKING is not None, reason=str(LACKING))

WORDS = {"agency": ["power", "ambition", "control"], "communion": ["love", "kindness", "care"]}
PROMPTS = pd.DataFrame(
    {"text": ["What is best?", "What is most good?", "What is worst?"],
     "framing": ["positive", "positive", "negative"]}, index=list("abc"),
)  # fmt: skip


def estimated(model: Model, contrasts: Any, **options: Any) -> Direction:
    return valuebias.direction(model, contrasts, **{"progress": False, "penalty": 1, **options})


def by_hand(model: Model, contrasts: ContrastSet) -> np.ndarray:
    table = contrasts.table
    rows = {
        key: hidden(model.location, *texts)
        for key, texts in zip(table.index, table[["prompt", "response"]].values, strict=True)
    }
    return np.array([rows[i, "long"] - rows[i, "short"] for i in contrasts.items])


def test_it_is_the_mean_difference_within_items(tiny: Model, long: ContrastSet) -> None:
    some = long.select(items=long.items[:5])
    found = estimated(tiny, some, between=("long", "short"), penalty=1e9)
    differences = by_hand(tiny, some)
    np.testing.assert_allclose(found.difference, differences.mean(0), atol=1e-5)
    unit = differences.mean(0) / np.linalg.norm(differences.mean(0))
    np.testing.assert_allclose(found.vector, unit, atol=1e-5)
    squares = (differences**2).sum()
    share = 5 * (differences.mean(0) ** 2).sum() / squares
    assert found.share == pytest.approx(share, abs=1e-5)
    assert (found.n_items, found.by, found.between) == (5, "variant", ("long", "short"))
    turned = estimated(tiny, some, between=("short", "long"))
    np.testing.assert_allclose(turned.difference, -found.difference, atol=1e-6)


def test_a_penalty_turns_it_to_where_items_agree(tiny: Model, long: ContrastSet) -> None:
    found = estimated(tiny, long, penalty="auto")
    differences = by_hand(tiny, long)
    within = np.cov(differences, rowvar=False)
    assert found.penalty is not None
    ridge = found.penalty * np.trace(within) / len(within)
    v = np.linalg.solve(within + ridge * np.eye(len(within)), differences.mean(0))
    np.testing.assert_allclose(found.vector, v / np.linalg.norm(v), atol=1e-4)
    assert np.linalg.norm(found.vector) == pytest.approx(1)
    assert 0.5 < found.consistency < 1


def test_groups_and_columns_can_be_compared(tiny: Model, long: ContrastSet) -> None:
    table = long.to_frame().assign(size=lambda t: np.where(t["variant"] == "long", 5, 1))
    extra = table[table["variant"] == "long"].assign(
        variant="longer", response=lambda t: t["response"] + " and love", size=7
    )
    three = valuebias.contrast_set(pd.concat([table, extra], ignore_index=True), name="three")
    grouped = estimated(tiny, three, between=(["long", "longer"], ["short"]))
    by_size = estimated(tiny, three, between=([5, 7], 1), by="size")
    np.testing.assert_allclose(grouped.difference, by_size.difference)
    one, other = (
        estimated(tiny, three, between=(name, "short")).difference for name in ("long", "longer")
    )
    np.testing.assert_allclose(grouped.difference, (one + other) / 2, atol=1e-6)
    # What a battery compares is compared without being asked for.
    named = ContrastSet("b", three.select(variants=["long", "short"]).table, {"contrast": "size"})
    assert estimated(tiny, named).by == "size"
    assert estimated(tiny, named).between == ("5", "1")


def test_words_are_read_with_the_sign_of_a_signed_lean(tiny: Model) -> None:
    found = valuebias.direction(tiny, lexicon=WORDS, prompts=PROMPTS, penalty=1, progress=False)
    sign = {"a": 0.5, "b": 0.5, "c": -1.0}
    means = {
        category: np.mean(
            [
                sum(sign[p] / 2 * hidden(tiny.location, text, word)
                    for p, text in PROMPTS["text"].items())
                for word in words
            ],
            axis=0,
        )
        for category, words in WORDS.items()
    }  # fmt: skip
    expected = means["agency"] - means["communion"]
    np.testing.assert_allclose(found.difference, expected, atol=1e-5)
    assert (found.name, found.by, found.n_items) == ("agency − communion", "category", 6)
    assert "6 words in 32 dimensions" in repr(found)


def test_weights_of_words_are_turned_into_marks_by_the_advice(tiny: Model) -> None:
    rated = {name: dict.fromkeys(words, 0.8) for name, words in WORDS.items()}
    weighted = valuebias.lexicon(rated)
    refused(r"Give valuebias.lexicon\(..., threshold=...\)", tiny, lexicon=weighted)
    marks = valuebias.lexicon(weighted, threshold=0.5)
    found = valuebias.direction(tiny, lexicon=marks, penalty=1, progress=False)
    assert found.n_items == 6


def test_it_is_kept_in_a_file(tiny: Model, long: ContrastSet, tmp_path: Path) -> None:
    found = estimated(tiny, long, penalty="auto")
    found.save(tmp_path / "length.npz")
    again = Direction.load(tmp_path / "length.npz")
    for name in ("vector", "difference", "center"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    assert again.sha256 == found.sha256
    assert again.to_frame().equals(found.to_frame())
    assert (again.used, again.provenance) == (found.used, found.provenance)
    with pytest.raises(ValueBiasError, match=r"does not end in \.npz"):
        found.save(tmp_path / "length.npy")
    content = bytearray((tmp_path / "length.npz").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "length.npz").write_bytes(bytes(content))
    with pytest.raises(ValueBiasError, match=r"holds no direction|cannot be read"):
        Direction.load(tmp_path / "length.npz")
    with pytest.raises(ValueBiasError):
        Direction.load(tmp_path / "nowhere.npz")


def test_hidden_states_are_kept_in_a_store(
    tiny: Model, long: ContrastSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = estimated(tiny, long, store=tmp_path / "kept")
    assert list((tmp_path / "kept").glob("*.npy"))
    from valuebias.backends.torch_backend import TorchBackend

    def no_load(*args: Any) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(TorchBackend, "load", no_load)
    assert estimated(tiny, long, store=tmp_path / "kept").sha256 == first.sha256


def test_readings_are_along_it(tiny: Model, long: ContrastSet) -> None:
    found = estimated(tiny, long)
    table = long.table
    states = [hidden(tiny.location, p, r) for p, r in table[["prompt", "response"]].values]
    read = found.reading(states)
    assert read.mean() == pytest.approx(0, abs=1e-5)
    is_long = table.index.get_level_values("variant") == "long"
    assert read[is_long].mean() > read[~is_long].mean()
    with pytest.raises(ValueBiasError, match=r"shape \(3,\); expected 32"):
        found.reading(np.zeros(3))


def refused(message: str, *args: Any, **options: Any) -> None:
    with pytest.raises(ValueBiasError, match=message):
        valuebias.direction(*args, **{"progress": False, "penalty": 1, **options})


def test_fewer_items_than_dimensions_need_a_penalty(tiny: Model, long: ContrastSet) -> None:
    refused(
        r"'length' is of 12 items in 32 dimensions; .* Give penalty='auto' or a number, such as 1",
        tiny, long, penalty=None,
    )  # fmt: skip
    for penalty in ("auto", 1):
        estimated(tiny, long, penalty=penalty)
    prompts = [f"{w} or {v}?" for w in ("love", "power", "trust") for v in map(str, range(11))]
    many = valuebias.contrast_set(
        [{"prompt": p, "answers": {"long": f"{p} yes and no", "short": "no"}} for p in prompts]
    )
    plain = valuebias.direction(tiny, many, progress=False)
    unit = plain.difference / np.linalg.norm(plain.difference)
    np.testing.assert_allclose(plain.vector, unit, atol=1e-12)
    assert plain.penalty is None


@pytest.mark.parametrize("penalty", [0, -1, float("nan"), float("inf"), "none", True])
def test_odd_penalties(tiny: Model, long: ContrastSet, penalty: Any) -> None:
    refused("penalty is .*; expected 'auto' or a number above 0", tiny, long, penalty=penalty)


def test_what_cannot_be_compared_is_refused(tiny: Model, long: ContrastSet) -> None:
    refused("has no level 'log'. Did you mean 'long'", tiny, long, between=("log", "short"))
    refused("expected two different names", tiny, long, between=("long", "long"))
    refused("expected two different names", tiny, long, between="long")
    refused("has no column 'size'", tiny, long, by="size")
    refused("neither was given", tiny)
    refused("both were given", tiny, long, lexicon=WORDS)
    refused("Leave it out", tiny, lexicon=WORDS, by="variant")
    refused("has one item with both sides", tiny, long.select(items=["q1"]))
    refused("has one category", tiny, lexicon={"a": ["love", "trust"]})
    refused("needs two or more", tiny, lexicon={"a": ["love", "trust"], "b": ["love", "care"]})
    refused("There are 2 models", [tiny, replace(tiny, name="y")], long)
    three = {"q": {"prompt": "Best?", "answers": ["love", "trust", "care"]}}
    refused(re.escape("between=(first, second)"), tiny, three)
    apart = [
        {"item": "1", "prompt": "Best?", "answers": {"a": "love", "b": "trust"}},
        {"item": "2", "prompt": "Best?", "answers": {"c": "love", "d": "trust"}},
    ]
    refused("No item of .* has both 'a' and 'c'", tiny, apart, between=("a", "c"))


def test_sides_that_do_not_differ_have_no_direction(tmp_path: Path) -> None:
    # The template leaves the answer out, so that all variants are one conversation.
    template = "{% for m in messages %}{{ m['role'] }} {{ m['content'] | trim }}{% endfor %}"
    folder = tiny_models.tiny("llama", "reward", tmp_path / "rm", chat_template=template)
    items = [{"prompt": f"{i}?", "answers": {"a": "love", "b": "love "}} for i in range(3)]
    refused("do not differ between 'a' and 'b', so that there is no direction",
            str(folder), items)  # fmt: skip


def test_states_that_are_not_finite_are_refused(tmp_path: Path, long: ContrastSet) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    folder = tiny_models.tiny("llama", "reward", tmp_path / "rm")
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][3] = torch.nan
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    refused("are not finite for the answer .* Give a dtype of a wider range", str(folder), long)


def test_models_without_such_a_head_are_refused(
    tiny: Model, tmp_path: Path, long: ContrastSet
) -> None:
    lm = tiny_models.tiny("llama", "logprob", tmp_path / "lm")
    refused("have no classification head", str(lm), long)
    refused("is a policy, whose reward is implicit", replace(tiny, reference="x/y"), long)
    refused("only a head that lies in the model's files", replace(tiny, head="score"), long)
    refused("only a head", replace(tiny, head="steps", step_mark="<s>"), long)
    refused("only a head", replace(tiny, head=lambda h: h[:, 0]), long)
    encoder = bert(tmp_path / "encoder")
    refused("is an encoder", Model(str(encoder), template="pair"), long)
