"""Tests of valuebias.datasets.simulate."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest
import xarray as xr

from valuebias.datasets.simulate import DEFAULT_SD, simulate
from valuebias.errors import ValueBiasError
from valuebias.schema import validate

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


def test_models_stand_on_the_bases_that_the_coordinate_names() -> None:
    ds = simulate(
        n_models={"Gemma": [3, 1], "Llama": 2},
        n_prompts=4,
        n_words=2000,
        effects={},
        sd={**NO_NOISE, "base_word": (1.0, 2.0), "residual": 1e-3},
        seed=1,
    )
    assert ds["base"].values.tolist() == [*["Gemma 1"] * 3, "Gemma 2", "Llama 1", "Llama 2"]
    assert ds["n_params"].values[0] == ds["n_params"].values[2] != ds["n_params"].values[3]
    for framing, size in (("positive", 1.0), ("negative", 2.0)):
        score = ds["score"].sel(prompt=ds["framing"] == framing).mean("prompt").values
        np.testing.assert_allclose(score[1:3], score[[0, 0]], atol=0.01)
        assert score.std(axis=1) == pytest.approx(size, rel=0.1)
        assert np.abs(np.corrcoef(score[2:]) - np.eye(4)).max() < 0.1


def test_a_base_leans_as_a_whole_on_top_of_its_models() -> None:
    ds = simulate(
        n_models={"A": [2] * 1000},
        n_prompts=1,
        n_words={"x": 1, "y": 1},
        sd={**NO_NOISE, "base_category": 0.5, "model_category": 0.2, "residual": 1e-5},
        seed=5,
    )
    lean = ds["score"].diff("response").values.reshape(1000, 2)
    # Twice the variance of a pair's mean is that of bases twice and that of models once.
    assert 2 * lean.mean(axis=1).var() == pytest.approx(2 * 0.25 + 0.04, rel=0.15)
    assert lean.var(axis=1, ddof=1).mean() == pytest.approx(0.04, rel=0.15)


def test_bases_and_covariates_leave_a_seeds_other_draws_alone() -> None:
    plain = simulate(n_models={"A": 3, "B": 2}, n_prompts=4, n_words=50, seed=7)
    based = simulate(
        n_models={"A": [3], "B": [1, 1]},
        n_prompts=4,
        n_words=50,
        sd={"base_word": 0.5},
        covariates={"frequency": {"slope": 0.2}},
        seed=7,
    )
    added = based["score"] - plain["score"]
    rate = based["frequency"] * xr.where(plain["framing"] == "positive", 0.2, -0.2)
    of_base = (added - rate).transpose("model", "prompt", "response").values
    np.testing.assert_allclose(of_base[1:3], of_base[[0, 0]], atol=1e-5)
    np.testing.assert_allclose(of_base[:, :1].repeat(2, axis=1), of_base[:, :2], atol=1e-5)
    assert of_base.std() == pytest.approx(0.5, rel=0.2)


def test_a_familys_spread_multiplies_what_its_models_and_bases_differ_by() -> None:
    for name in ("model_word", "base_word"):
        ds = simulate(
            n_models={"A": 2, "B": 2},
            n_prompts=2,
            n_words=3000,
            effects={},
            sd={**NO_NOISE, name: 0.5, "residual": 1e-3},
            spread={"A": {"category": 9.0}, "B": 3.0},
            seed=2,
        )
        by_model = ds["score"].std(["prompt", "response"]).values
        np.testing.assert_allclose(by_model, [0.5, 0.5, 1.5, 1.5], rtol=0.05)


def test_a_familys_leans_may_vary_more_than_its_words() -> None:
    for name in ("model_category", "base_category"):
        ds = simulate(
            n_models={"A": 1000, "B": 1000},
            n_prompts=1,
            n_words={"x": 1, "y": 1},
            sd={**NO_NOISE, name: 0.5, "residual": 1e-4},
            spread={"B": {"category": 3.0, "word": 9.0}},
            seed=2,
        )
        lean = ds["score"].diff("response").values.reshape(2, 1000)
        np.testing.assert_allclose(lean.std(axis=1), [0.5, 1.5], rtol=0.1)


def test_a_covariate_differs_between_categories_and_has_slopes_by_family_and_model() -> None:
    ds = simulate(
        n_models={"A": 400, "B": 400},
        n_prompts=2,
        n_words={"x": 2000, "y": 2000},
        effects={},
        sd={**NO_NOISE, "residual": 1e-3},
        covariates={"frequency": {"gap": 0.5, "slope": 0.2, "slope_family": 0.3}, "length": {}},
        seed=3,
    )
    frequency = ds["frequency"].values.reshape(2, 2000)
    assert frequency.mean(axis=1) == pytest.approx([0.25, -0.25], abs=0.06)
    assert frequency.std(axis=1) == pytest.approx(1.0, rel=0.06)
    truth = json.loads(ds.attrs["provenance"])["slopes"]
    assert truth["length"] == {"A": [0.0, 0.0], "B": [0.0, 0.0]}
    slopes = np.polyfit(ds["frequency"], ds["score"].values.reshape(1600, -1).T, 1)[0]
    np.testing.assert_allclose(
        slopes[::2][[0, 400]], [s[0] for s in truth["frequency"].values()], atol=1e-3
    )
    np.testing.assert_allclose(
        slopes[1::2][[0, 400]], [s[1] for s in truth["frequency"].values()], atol=1e-3
    )


def test_slopes_scatter_about_the_one_that_all_share() -> None:
    ds = simulate(
        n_models={"A": 2000},
        n_prompts=2,
        n_words=100,
        sd={**NO_NOISE, "residual": 1e-3},
        covariates={"frequency": {"slope": {"A": 0.5}, "slope_model": 0.2}},
        seed=3,
    )
    slopes = np.polyfit(ds["frequency"], ds["score"].values.reshape(4000, -1).T, 1)[0].reshape(
        2000, 2
    )
    assert slopes.mean(axis=0) == pytest.approx([0.5, -0.5], abs=0.02)
    assert slopes.std(axis=0) == pytest.approx(0.2, rel=0.1)


def test_near_copies_are_pairs_on_a_base_of_their_own() -> None:
    ds = simulate(n_models={"A": 5, "B": [2, 2]}, copies=2, sd={"copy": 0.02}, n_prompts=4, seed=1)
    assert ds["base"].values.tolist() == [f"A {i}" for i in (1, 1, 2, 2, 3)] + [
        f"B {i}" for i in (1, 1, 2, 2)
    ]
    gap = ds["score"].diff("model", label="lower").std(["prompt", "response"]).values
    assert (gap < 0.03).tolist() == [True, False, True, False, False, True, False, True]
    assert gap[[0, 2, 5, 7]] == pytest.approx(0.02, rel=0.1)
    assert (ds["score"].values[1] != ds["score"].values[0]).all()


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
        ({"n_models": {"A": 0}}, "n_models has 0 for the family 'A'"),
        ({"n_models": {"A": [2, 0]}}, "such a number for each base"),
        ({"n_models": {"A": []}}, "such a number for each base"),
        ({"n_models": {"A": 3}, "copies": 2}, "cannot be pairs"),
        ({"n_models": {"A": [1, 3]}, "copies": 1}, "cannot be pairs on one base"),
        ({"copies": -1}, "copies is -1"),
        ({"sd": {"word": (1.0, 2.0, 3.0)}}, "or two of them"),
        ({"spread": {"Gema": 2.0}}, "family 'Gema'. Did you mean 'Gemma'"),
        ({"spread": {"Gemma": {"words": 2.0}}}, "has 'words'. Did you mean 'word'"),
        ({"spread": {"Gemma": -1.0}}, "expected a number from 0 up"),
        ({"covariates": {"word frequency": {}}}, "may not be called 'word frequency'"),
        ({"covariates": {"base": {}}}, "may not be called 'base'"),
        ({"covariates": {"frequency": {"slop": 1.0}}}, "Did you mean 'slope'"),
        ({"covariates": {"x": {"slope": {"Gema": 1.0}}}}, "family 'Gema'. Did you mean 'Gemma'"),
        ({"covariates": {"x": {"slope": {"Gemma": float("nan")}}}}, "has slope nan"),
        ({"covariates": {"frequency": {"slope_family": -1.0}}}, "expected a number from 0 up"),
        ({"covariates": {"frequency": {"gap": float("inf")}}}, "has gap inf; expected a number"),
        ({"n_prompts": 0}, "n_prompts is 0"),
        ({"n_words": {"x": 3}}, "1 category"),
        ({"n_words": {"x": 3, "y": 0}}, "'y' has 0 words"),
        ({"overlap": 1.5}, "overlap is 1.5"),
        ({"missing": 1.0}, "missing is 1.0"),
        ({"correlation": -2.0}, "correlation is -2.0"),
    ],
)
def test_numbers_out_of_range_are_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueBiasError, match=said):
        simulate(**given, seed=1)


@pytest.mark.parametrize(
    "given",
    [
        {"n_models": 3}, {"n_models": {"A": "3"}}, {"n_models": {"A": 2.5}}, {"copies": 1.5},
        {"spread": {"Gemma": "2"}}, {"spread": 3}, {"sd": {"word": "a"}}, {"missing": "a"},
        {"effects": 3}, {"effects": {"Gemma": "x"}}, {"covariates": ["f"]}, {"n_words": 2.5},
        {"n_prompts": 2.5}, {"seed": "x"}, {"seed": -1},
    ],
)  # fmt: skip
def test_what_is_of_another_kind_is_refused_in_words(given: dict[str, object]) -> None:
    with pytest.raises(ValueBiasError, match=f"{next(iter(given))}|spread|SD|effect"):
        simulate(**{"seed": 1, **given})  # type: ignore[arg-type]
