"""Which subspaces pairs of models fall into, and what that does to a claim about models."""

from __future__ import annotations

import warnings
from itertools import product

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from pair_grid import grid

import valuebias
from valuebias.analysis.sides import model_sides

QUICK = {"draws": 400, "tune": 400, "chains": 2, "seed": 1, "progress": False, "outcome": "raw"}


def sides_of(pairs: list[tuple[str, str]], columns: np.ndarray | None = None):
    models = pd.DataFrame(pairs, columns=["numerator", "denominator"])
    design = np.ones((len(pairs), 1)) if columns is None else columns
    return model_sides(models, np.linalg.qr(design)[0])


def test_a_grid_falls_into_numerators_denominators_and_pairs() -> None:
    pairs = list(product("abcd", "xyz"))
    made = sides_of(pairs)
    assert made.status == "shared"
    assert {s.name: (s.size, s.loads) for s in made.subspaces} == {
        "numerators": (3, {"numerator": 3.0}),
        "denominators": (2, {"denominator": 4.0}),
        "pairs": (6, {}),
    }
    # Each subspace holds what it is called after: a table of the numerators is all in the first.
    by_numerator = np.repeat(np.random.default_rng(1).normal(size=4), 3)
    first = made.subspaces[0].project((by_numerator - by_numerator.mean())[:, None])
    np.testing.assert_allclose(first[:, 0], by_numerator - by_numerator.mean(), atol=1e-12)


def test_the_subspaces_and_the_formula_make_up_the_whole() -> None:
    pairs = list(product("abcd", "xyz"))
    family = np.repeat([0.0, 0, 0, 1], 3)  # of numerators, unequal sizes
    design = np.column_stack([np.ones(12), family])
    made = sides_of(pairs, design)
    whole = sum(s.basis @ s.basis.T for s in made.subspaces)
    span = design @ np.linalg.pinv(design)
    np.testing.assert_allclose(whole + span, np.eye(12), atol=1e-10)


@pytest.mark.parametrize(
    ("pairs", "status"),
    [
        ([("a", "x"), ("b", "y")], "unshared"),
        ([("a", "x"), ("b", "x")], "shared"),
        ([("a", "x"), ("a", "y"), ("b", "x")], "unsupported"),
        ([("a", "b"), ("b", "c")], "unsupported"),
    ],
)
def test_layouts(pairs: list[tuple[str, str]], status: str) -> None:
    assert sides_of(pairs).status == status


def test_a_formula_that_cuts_across_the_models_is_not_supported() -> None:
    pairs = list(product("ab", "xy"))
    assert sides_of(pairs, np.column_stack([np.ones(4), [0, 0, 0, 1]])).status == "unsupported"


def overall(ds: xr.Dataset, **options: object) -> pd.Series:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", valuebias.errors.ValueBiasWarning)
        fit = valuebias.fit(ds, "~ 1", **{**QUICK, **options})
    table = fit.contrasts()
    return table[(table["estimand"] == "overall lean") & (table["framing"] == "signed")].iloc[0]


def test_pairs_that_share_models_count_as_their_models() -> None:
    # The mean over a grid varies as 0.3²/4 on each side, by √2 × 0.15; of 16 pairs by √2 × 0.075.
    ds = grid(1)
    known = overall(ds)
    blind = overall(ds.drop_vars(["numerator", "denominator"]))
    assert known["mean"] == pytest.approx(blind["mean"], abs=0.5 * known["sd"])
    assert known["sd"] > 1.4 * blind["sd"]
    assert known["sd"] == pytest.approx(np.sqrt(2) * 0.15, rel=0.5)


def test_both_samplers_agree_about_pairs() -> None:
    nutpie, pymc = (overall(grid(2, 3, 3), sampler=name) for name in ("nutpie", "pymc"))
    assert nutpie["mean"] == pytest.approx(pymc["mean"], abs=0.25 * nutpie["sd"])
    assert nutpie["sd"] == pytest.approx(pymc["sd"], rel=0.25)


@pytest.mark.once
def test_with_gaps_the_answer_is_nearly_the_same() -> None:
    ds = grid(3)
    whole = overall(ds)
    rng = np.random.default_rng(4)
    ds["score"] = ds["score"].where(rng.random(ds["score"].shape) > 0.03)
    gappy = overall(ds)
    assert gappy["mean"] == pytest.approx(whole["mean"], abs=0.25 * whole["sd"])
    assert gappy["sd"] == pytest.approx(whole["sd"], rel=0.25)


def test_exactly_additive_pairs_can_be_fitted() -> None:
    # As log-ratios are: nothing is peculiar to a pair.
    ds = grid(5, 3, 3)
    cube = ds["score"].to_numpy().reshape(3, 3, *ds["score"].shape[1:])
    additive = cube.mean(1, keepdims=True) + cube.mean(0, keepdims=True) - cube.mean((0, 1))
    ds["score"] = ds["score"].copy(data=additive.reshape(ds["score"].shape))
    found = overall(ds)
    assert np.isfinite(found["sd"])
    assert found["rhat"] < 1.05


@pytest.mark.parametrize(
    ("kept", "said"),
    [
        (slice(0, 4), "too few models are a pair's numerator"),
        ([0, 1, 4], "they make all intervals too narrow"),
    ],
)
def test_what_the_layout_cannot_tell_is_said(kept: object, said: str) -> None:
    with pytest.warns(valuebias.errors.ValueBiasWarning, match=said):
        valuebias.fit(grid(6).isel(model=kept), "~ 1", **{**QUICK, "draws": 20, "tune": 50})
