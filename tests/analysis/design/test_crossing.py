"""The crossing: centring, categories as axes, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from dense import make_problem

from valuebias.analysis.design.crossing import Crossing, make_crossing
from valuebias.analysis.design.formula import parse_formula
from valuebias.errors import ValueBiasError

WORDS = ("x", "x", "x", "xy", "y", "y", "z")


def crossing(cube: np.ndarray | None = None, words: tuple[str, ...] = WORDS, **given) -> Crossing:
    categories = given.pop("categories", sorted(set("".join(words))))
    framing = given.pop("framing", ("negative", "positive", "positive"))
    member = pd.DataFrame([[c in w for c in categories] for w in words], columns=categories)
    if cube is None:
        cube = np.random.default_rng(1).normal(size=(4, len(framing), len(words)))
    design = parse_formula("~ family", pd.DataFrame({"family": list("AABB")}))
    return make_crossing(cube, design, np.array(framing), member, pd.RangeIndex(len(framing)))


def test_each_model_and_prompt_is_centred_over_the_words_it_has() -> None:
    cube = np.random.default_rng(2).normal(5, 1, size=(4, 3, 7))
    cube[1, 2, 3:] = np.nan
    cube[2, 0] = np.nan
    made = crossing(cube)
    np.testing.assert_allclose(made.y.sum(axis=2), 0, atol=1e-12)
    np.testing.assert_array_equal(made.y[~made.observed], 0)
    np.testing.assert_allclose(made.y[1, 2, :3], cube[1, 2, :3] - cube[1, 2, :3].mean())
    assert (made.n_missing, made.complete) == (11, False)
    assert made.scale == pytest.approx(np.sqrt((made.y[made.observed] ** 2).mean()))


def test_positive_framing_comes_first_whatever_the_prompts_order() -> None:
    made = crossing()
    assert made.framings == ("positive", "negative")
    assert made.framing.tolist() == [1, 0, 0]
    assert made.prompts_of(0).tolist() == [1, 2]
    assert crossing(framing=("negative",) * 3).framings == ("negative",)


def test_the_axes_span_the_centred_memberships() -> None:
    made = crossing()
    np.testing.assert_allclose(made.membership.sum(axis=1), 1)
    assert made.membership[3].tolist() == [0.5, 0.5, 0]
    centred = made.membership - made.membership.mean(axis=0)
    basis = made.word_basis
    np.testing.assert_allclose(basis.T @ basis, np.eye(2), atol=1e-12)
    np.testing.assert_allclose(basis.sum(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(basis @ basis.T @ centred, centred, atol=1e-12)


def test_contrasts_of_categories_are_read_from_the_axes() -> None:
    made = crossing()
    rng = np.random.default_rng(3)
    effects, weights = rng.normal(size=3), np.array([0.5, 0.5, -1.0])
    coordinate = made.word_basis.T @ made.membership @ effects
    assert made.contrast_weights(weights) @ coordinate == pytest.approx(weights @ effects)


def test_the_models_basis_is_orthonormal_with_a_constant_first() -> None:
    basis = make_problem(formula="~ family + size").crossing.model_basis
    np.testing.assert_allclose(basis.T @ basis, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(basis[:, 0], 1 / np.sqrt(5))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"words": ("x",) * 7}, "has 1 category"),
        ({"words": ("x", "y")}, "2 scored words for 2 categories are too few"),
        ({"words": ("xy", "xy", "z", "z", "z", "z")}, r"\['x', 'y'\] cannot be told apart"),
        ({"cube": np.zeros((4, 3, 7))}, "does not vary over words"),
        ({"cube": np.full((4, 3, 7), 2.5)}, "does not vary over words"),
    ],
)
def test_what_cannot_be_compared_is_refused(given: dict, said: str) -> None:
    with pytest.raises(ValueBiasError, match=said):
        crossing(**given)
