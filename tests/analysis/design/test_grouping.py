"""Which subspaces the models fall into by what they share, and what that does to claims."""

from __future__ import annotations

import warnings
from itertools import product

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from pair_grid import grid

import valuebias
from valuebias.analysis.design.grouping import (
    Group,
    ModelSpace,
    find_groups,
    make_space,
    plain_group,
    restrict_space,
)

QUICK = {"draws": 400, "tune": 400, "chains": 2, "seed": 1, "progress": False, "outcome": "raw"}
OWN = ("model", 0)


def pair_space(pairs: list[tuple[str, str]], columns: np.ndarray | None = None) -> ModelSpace:
    models = pd.DataFrame(pairs, columns=["numerator", "denominator"])
    design = np.ones((len(pairs), 1)) if columns is None else columns
    return make_space(design, find_groups(models))


def test_a_grid_falls_into_numerators_denominators_and_pairs() -> None:
    pairs = list(product("abcd", "xyz"))
    made = pair_space(pairs)
    assert {s.name: (s.size, s.loads) for s in made.subspaces} == {
        "numerators": (3, {OWN: 1.0, ("numerator", 0): 3.0}),
        "denominators": (2, {OWN: 1.0, ("denominator", 0): 4.0}),
        "pairs": (6, {OWN: 1.0}),
    }
    # Each subspace holds what it is called after: a table of the numerators is all in the first.
    by_numerator = np.repeat(np.random.default_rng(1).normal(size=4), 3)
    first = made.subspaces[0].project((by_numerator - by_numerator.mean())[:, None])
    np.testing.assert_allclose(first[:, 0], by_numerator - by_numerator.mean(), atol=1e-12)


def covariance(space: ModelSpace, v: dict[tuple[str, int], float]) -> np.ndarray:
    """Put the parts together again from the span and the subspaces."""
    inside = sum(v[part] * matrix for part, matrix in space.in_span.items())
    out = space.basis @ inside @ space.basis.T
    for s in space.subspaces:
        out = out + sum(v[part] * load for part, load in s.loads.items()) * s.basis @ s.basis.T
    return np.asarray(out)


GEMMA, LLAMA = np.arange(10) < 4, np.arange(10) >= 4
FAMILY = np.where(GEMMA, 1.0, -1.0)
BASE = plain_group("base", "aaabcccdde")
LAYOUTS = {
    "uneven bases": (FAMILY, (BASE,), None),
    "uneven bases, spreads": (FAMILY, (BASE,), {"g": GEMMA, "l": LLAMA}),
    "crossed": (FAMILY, (BASE, plain_group("recipe", "xyzxxyzyzx")), None),
    "crossed, spreads": (
        FAMILY,
        (BASE, plain_group("recipe", "xyzxxyzyzx")),
        {"g": GEMMA, "l": LLAMA},
    ),
    "a number across bases": (np.arange(10.0), (BASE,), {"g": GEMMA, "l": LLAMA}),
    "bases across families": (
        FAMILY,
        (plain_group("base", "abababccdd"),),
        {"g": GEMMA, "l": LLAMA},
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_covariance_is_put_together_from_its_pieces(layout: str) -> None:
    column, groups, kinds = LAYOUTS[layout]
    space = make_space(np.column_stack([np.ones(10), column]), groups, kinds)
    assert not space.dropped
    parts = set(space.in_span)
    v = {part: 0.5 + i for i, part in enumerate(sorted(parts))}
    expected = np.zeros((10, 10))
    for (name, kind), x in v.items():
        group = space.group(name)
        matrix = np.eye(10) if group is None else (group.labels[:, None] == group.labels) * 1.0
        if sum(part[0] == name for part in parts) > 1:
            own = space.kind_of == kind
            matrix = matrix * np.outer(own, own)
        expected += x * matrix
    np.testing.assert_allclose(covariance(space, v), expected, atol=1e-10)
    whole = sum(s.size for s in space.subspaces) + space.basis.shape[1]
    assert whole == 10


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("left_out", [[0], [3, 4, 5], [0, 1, 2, 3]], ids=["1", "base", "family"])
def test_some_of_the_models_keep_the_parts_of_all(layout: str, left_out: list[int]) -> None:
    column, groups, kinds = LAYOUTS[layout]
    columns = np.column_stack([np.ones(10), column])
    space = make_space(columns, groups, kinds)
    keep = np.setdiff1d(np.arange(10), left_out)
    rest = restrict_space(space, keep, columns[keep])
    v = {part: 0.5 + i for i, part in enumerate(sorted(space.in_span))}
    assert set(rest.in_span) == set(v)
    np.testing.assert_allclose(
        covariance(rest, v), covariance(space, v)[np.ix_(keep, keep)], atol=1e-10
    )


def test_what_is_left_of_an_even_layout_may_take_more_columns_than_a_fit() -> None:
    rng = np.random.default_rng(2)
    labels = [np.repeat(np.arange(24), 25), np.tile(np.arange(25), 24)]
    groups = tuple(plain_group(name, x) for name, x in zip("ab", labels, strict=True))
    space = make_space(np.ones((600, 1)), groups)
    assert space.basis.shape[1] == 1
    keep = np.sort(rng.choice(600, 450, replace=False))
    assert make_space(np.ones((450, 1)), tuple(_some(g, keep) for g in groups)).dropped
    rest = restrict_space(space, keep, np.ones((450, 1)))
    assert rest.basis.shape[1] > 40
    v = {("model", 0): 0.5, ("a", 0): 1.5, ("b", 0): 2.5}
    np.testing.assert_allclose(
        covariance(rest, v), covariance(space, v)[np.ix_(keep, keep)], atol=1e-9
    )


def _some(group: Group, keep: np.ndarray) -> Group:
    return plain_group(group.name, group.labels[keep])


def test_even_bases_need_no_wider_span() -> None:
    family = np.repeat([1.0, -1.0], 6)
    space = make_space(
        np.column_stack([np.ones(12), family]), (plain_group("base", "aabbccddeeff"),)
    )
    assert space.basis.shape[1] == 2
    assert {s.name: s.size for s in space.subspaces} == {"bases": 4, "models": 6}


def test_of_many_uneven_bases_the_span_counts_families_and_sizes() -> None:
    # Sixty bases of one to three models in three families: not sixty columns.
    sizes = np.tile([1, 2, 3], 20)
    labels = np.repeat(np.arange(60), sizes)
    family = np.repeat(np.arange(60) // 20, sizes)
    design = (family[:, None] == np.arange(3)) * 1.0
    design[:, 0] = 1.0
    space = make_space(design, (plain_group("base", labels),))
    assert space.basis.shape[1] == 9
    assert not space.dropped


def test_what_makes_the_span_too_wide_is_dropped_by_name() -> None:
    rng = np.random.default_rng(1)
    groups = (
        plain_group("base", rng.integers(0, 30, 120)),
        plain_group("recipe", rng.integers(0, 60, 120)),
    )
    space = make_space(np.ones((120, 1)), groups)
    assert space.dropped == ("recipe",)
    assert [group.name for group in space.groups] == ["base"]


@pytest.mark.parametrize(
    ("pairs", "groups"),
    [
        ([("a", "x"), ("b", "y")], []),
        ([("a", "x"), ("b", "x")], ["denominator"]),
        ([("a", "x"), ("a", "y"), ("b", "x")], ["numerator", "denominator"]),
    ],
)
def test_pairs_share_what_they_have_in_common(
    pairs: list[tuple[str, str]], groups: list[str]
) -> None:
    space = pair_space(pairs)
    assert [group.name for group in space.groups] == groups
    assert not space.dropped


@pytest.mark.parametrize(
    ("base", "shared"),
    [
        ("aabbc", ["base"]),
        ("abcde", []),  # each its own: the models' own effects
        ("aaaaa", []),  # nothing to compare
        (["a", "a", "", "", "b"], ["base"]),
        (["", "", "", "", ""], []),
    ],
)
def test_the_coordinate_decides_about_bases(base: object, shared: list[str]) -> None:
    models = pd.DataFrame({"family": list("AABBB"), "base": list(base)}, index=list("vwxyz"))
    found = find_groups(models)
    assert [group.name for group in found] == shared
    assert find_groups(models, None) == ()
    if list(base)[2] == "":
        # Models without a base do not share one.
        assert [group.n_levels for group in found] in ([], [4])


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
    ],
)
def test_what_the_layout_cannot_tell_is_said(kept: object, said: str) -> None:
    with pytest.warns(valuebias.errors.ValueBiasWarning, match=said):
        valuebias.fit(grid(6).isel(model=kept), "~ 1", **{**QUICK, "draws": 20, "tune": 50})
