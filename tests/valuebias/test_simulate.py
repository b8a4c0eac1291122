"""Tests of valuebias.simulate."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest

from valuebias.errors import ValueBiasError
from valuebias.schema import validate
from valuebias.simulate import DEFAULT_SD, simulate

NO_NOISE = dict.fromkeys(DEFAULT_SD, 0.0)


def test_the_defaults_have_the_shape_of_the_paper() -> None:
    ds = validate(simulate(seed=1))
    assert dict(ds.sizes) == {"model": 10, "prompt": 54, "response": 263, "category": 2}
    assert ds["membership"].sum("response").values.tolist() == [104, 159]
    assert json.loads(ds.attrs["provenance"])["simulated"] is True


def test_a_seed_gives_the_same_scores_and_another_does_not() -> None:
    one, same, other = (simulate(n_prompts=2, n_words=9, seed=seed) for seed in (1, 1, 2))
    assert one.identical(same)
    assert not np.array_equal(one["score"], other["score"])


def test_without_noise_the_planted_lean_is_all_there_is() -> None:
    ds = simulate(sd={**NO_NOISE, "residual": 1e-4}, effects={"Gemma": 0.6, "Llama": -0.2}, seed=3)
    agency, communion = (ds["membership"].sel(category=c) for c in ("agency", "communion"))
    lean = ds["score"].where(agency).mean("response") - ds["score"].where(communion).mean(
        "response"
    )
    for framing, sign in (("positive", 1), ("negative", -1)):
        found = lean.where(ds["framing"] == framing).mean("prompt").groupby("family").mean()
        np.testing.assert_allclose(
            found.sel(family=["Gemma", "Llama"]), [0.6 * sign, -0.2 * sign], atol=1e-3
        )


def test_effects_by_category_are_planted_where_words_belong() -> None:
    ds = simulate(
        n_models={"A": 1, "B": 1},
        n_prompts=1,
        n_words={"x": 5, "y": 5, "z": 5},
        overlap=1.0,
        effects={"A": {"x": 1.0, "z": -3.0}},
        sd={**NO_NOISE, "residual": 1e-5},
        seed=1,
    )
    found = ds["score"].sel(model="simulated/a-1").values.reshape(3, 5).mean(axis=1)
    # x also belongs to y, y to z and z to x.
    np.testing.assert_allclose(found, [1, -3, -2], atol=1e-3)


@pytest.mark.parametrize(
    ("name", "axes"),
    [
        ("word", ("model", "prompt")),
        ("word_family", ("prompt",)),
        ("model_word", ("prompt",)),
        ("prompt_word", ("model",)),
        ("residual", ()),
    ],
)
def test_each_sd_is_the_spread_along_its_axes(name: str, axes: tuple[str, ...]) -> None:
    ds = simulate(
        n_prompts=20,
        n_words=2000,
        effects={},
        sd={**NO_NOISE, name: 2.0, "residual": 1e-3 if name != "residual" else 2.0},
        seed=5,
    )
    score = ds["score"].sel(prompt=ds["framing"] == "positive")
    assert float(score.std()) == pytest.approx(2.0, rel=0.1)
    for axis in axes:
        assert float(score.std(axis).max()) < 0.01


def test_the_sd_of_leans_is_that_of_a_difference_of_categories() -> None:
    ds = simulate(
        n_models={"A": 2000},
        n_prompts=2,
        n_words={"x": 1, "y": 1},
        sd={**NO_NOISE, "model_category": 0.5, "residual": 1e-5},
        correlation=0.8,
        seed=5,
    )
    lean = ds["score"].diff("response").squeeze("response").values
    np.testing.assert_allclose(lean.std(axis=0), 0.5, rtol=0.1)
    assert np.corrcoef(lean.T)[0, 1] == pytest.approx(0.8, abs=0.05)


def test_missing_cells_and_overlap_have_their_share() -> None:
    ds = simulate(n_words=1000, n_prompts=60, missing=0.1, overlap=0.25, seed=2)
    assert float(ds["score"].isnull().mean()) == pytest.approx(0.1, abs=0.005)
    assert float((ds["membership"].sum("category") == 2).mean()) == 0.25
    assert ds["prompt"].values[59] == "prompt_0060"
    assert (ds["framing"] == "positive").sum() == 30


def test_a_million_scores_take_a_moment() -> None:
    start = time.perf_counter()
    ds = simulate(n_words=dict.fromkeys("abcde", 408), overlap=0.1, seed=1)
    assert ds["score"].size == 10 * 54 * 2040
    assert time.perf_counter() - start < 5


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"sd": {"words": 1.0}}, "no SD 'words'. Did you mean 'word'"),
        ({"sd": {"word": -1.0}}, "expected a number from 0 up"),
        ({"sd": {"word": float("nan")}}, "expected a number from 0 up"),
        ({"effects": {"Lama": 0.1}}, "family 'Lama'. Did you mean 'Llama'"),
        ({"effects": {"Llama": {"agenci": 0.1}}}, "Did you mean 'agency'"),
        ({"n_models": {}}, "n_models"),
        ({"n_models": {"A": 0}}, "n_models"),
        ({"n_prompts": 0}, "n_prompts is 0"),
        ({"n_words": {"x": 3}}, "1 categories"),
        ({"n_words": {"x": 3, "y": 0}}, "'y' has 0 words"),
        ({"overlap": 1.5}, "overlap is 1.5"),
        ({"missing": 1.0}, "missing is 1.0"),
        ({"correlation": -2.0}, "correlation is -2.0"),
    ],
)
def test_numbers_out_of_range_are_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueBiasError, match=said):
        simulate(**given, seed=1)
