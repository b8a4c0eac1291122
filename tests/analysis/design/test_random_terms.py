"""Random effects written in a formula."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from valuebias import ValueBiasError
from valuebias.analysis.design.random_terms import RandomTerm, groups_of, split_random

MODELS = pd.DataFrame(
    {
        "family": list("AAABBB"),
        "base": ["a", "a", "b", "c", "c", "d"],
        "recipe": list("xyxyxy"),
        "size": [1.0, 2, 4, 1, 2, 4],
        "same": "s",
        "own": list("uvwxyz"),
    },
    index=[f"m{i}" for i in range(6)],
)


@pytest.mark.parametrize(
    ("formula", "fixed", "terms"),
    [
        ("~ family", "~ family", ()),
        ("~ family + (1 | base)", "~ family", (RandomTerm("base", True, ()),)),
        ("~ (1|base)+family", "~ family", (RandomTerm("base", True, ()),)),
        ("~ (1 | base)", "~ 1", (RandomTerm("base", True, ()),)),
        ("family + (1 | base)", "~ family", (RandomTerm("base", True, ()),)),
        (
            "~ family * log2(size) + (log2(size) | base) + (1 || recipe)",
            "~ family * log2(size)",
            (RandomTerm("base", True, ("log2(size)",)), RandomTerm("recipe", True, ())),
        ),
        ("~ 1 + (0 + size | base:recipe)", "~ 1", (RandomTerm("base:recipe", False, ("size",)),)),
        ("~ (family + size) + (1 | base)", "~ (family + size)", (RandomTerm("base", True, ()),)),
    ],
)
def test_formulas_are_split(formula: str, fixed: str, terms: tuple[RandomTerm, ...]) -> None:
    assert split_random(formula) == (fixed, terms)


@pytest.mark.parametrize(
    "formula",
    ["~ family | base", "~ family + (1 | a/b)", "~ (1 |)", "~ (| base)", "~ (1 | a | b)",
     "~ family * (1 | base)"],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_with_the_way_to_write_it(formula: str) -> None:
    with pytest.raises(ValueBiasError, match=r"\(1 \| base\)"):
        split_random(formula)


@pytest.mark.parametrize(
    ("group", "said"),
    [
        ("bases", "Did you mean 'base'"),
        ("same", "have the same same"),
        ("own", "has a own of its own|own of its own"),
    ],
)
def test_groups_that_group_nothing_are_refused(group: str, said: str) -> None:
    with pytest.raises(ValueBiasError, match=said):
        groups_of((RandomTerm(group, True, ()),), MODELS, "base")


def test_a_slope_is_of_the_centred_and_scaled_variable() -> None:
    intercept, slope = groups_of((RandomTerm("base", True, ("log2(size)",)),), MODELS, "base")
    assert (intercept.name, slope.name) == ("base", "base:log2(size)")
    x = np.log2(MODELS["size"].to_numpy())
    z = (x - x.mean()) / x.std()
    same = MODELS["base"].to_numpy()[:, None] == MODELS["base"].to_numpy()
    np.testing.assert_allclose(slope.alike, same * np.outer(z, z))
    np.testing.assert_allclose(slope.indicators @ slope.indicators.T, slope.alike)


def test_terms_take_the_place_of_the_coordinate() -> None:
    names = [group.name for group in groups_of((RandomTerm("recipe", True, ()),), MODELS, "base")]
    assert names == ["recipe"]
    assert [group.name for group in groups_of((), MODELS, "base")] == ["base"]
    assert groups_of((), MODELS, None) == ()
    assert [g.n_levels for g in groups_of((), MODELS, "recipe")] == [2]
    with pytest.raises(ValueBiasError, match="Did you mean 'recipe'"):
        groups_of((), MODELS, "recipes")
