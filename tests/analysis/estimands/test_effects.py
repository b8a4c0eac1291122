"""Effects drawn given the variances, against dense Gaussian conditioning."""

from __future__ import annotations

import numpy as np
import pytest
from dense import (
    GROUPED,
    PAIRS,
    RUNS,
    UNEVEN,
    Dense,
    Theta,
    assert_drawn_from,
    make_problem,
    some_theta,
    stack,
)

from valuebias.analysis.design.strata import make_tables
from valuebias.analysis.estimands.effects import draw_effects, draw_word_effects, make_margins
from valuebias.analysis.hierarchical import Problem

N = 20_000
CASES = {
    "two framings, three categories": {},
    "one framing": {"framing": ("positive",) * 4},
    "with a number": {"formula": "~ family + size", "words": ("x", "x", "x", "y", "y", "y", "xy")},
    "pairs": {"formula": "~ 1", "families": ("A",) * 6, "pairs": PAIRS},
    "pairs of two families": {"families": ("A", "B") * 3, "pairs": PAIRS},
    "runs of two families": {"families": ("A",) * 4 + ("B",) * 2, "runs": RUNS},
    "a span in blocks": {
        "formula": "~ family * step",
        "families": "AAABBBCCC",
        "runs": [(f, "1", step) for f in "abc" for step in (1, 2, 3)],
        "framing": ("positive", "positive", "negative"),
        "words": ("x", "x", "x", "y", "y", "xy"),
    },
    "runs of unequal length": {"formula": "~ step", "families": ("A",) * 6, "runs": UNEVEN},
    **GROUPED,
}


class Drawn:
    """Many draws of all effects at one value of the variances."""

    def __init__(self, case: str) -> None:
        self.problem: Problem = make_problem(**CASES[case])
        self.theta: Theta = some_theta(self.problem.components, np.random.default_rng(11))
        self.dense = Dense(self.problem, self.theta)
        crossing, components = self.problem.crossing, self.problem.components
        self.margins = make_margins(crossing, make_tables(crossing, crossing.y))
        self.v = np.broadcast_to(self.theta.v, (N, components.n_variances))
        self.rng = np.random.default_rng(12)
        scales = self.problem.coefficient_scales
        self.effects = draw_effects(crossing, components, self.margins, self.v, scales, self.rng)
        # Contrasts of each category with the next, as weights on categories and on the axes.
        n = len(crossing.categories)
        self.contrasts = np.eye(n)[:-1] - np.eye(n)[1:]
        self.on_axes = np.array([crossing.contrast_weights(k) for k in self.contrasts])

    def contrast(self, values: np.ndarray) -> np.ndarray:
        """(draw, a, framing, axis) as (draw, a · framing · contrast)."""
        return np.einsum("safj,kj->safk", values, self.on_axes).reshape(N, -1)


@pytest.fixture(scope="module", params=CASES, ids=str)
def drawn(request: pytest.FixtureRequest) -> Drawn:
    return Drawn(request.param)


def test_coefficients_and_word_shifts_have_their_joint_distribution(drawn: Drawn) -> None:
    dense, basis = drawn.dense, drawn.problem.crossing.word_basis
    # What the words at hand add to a contrast: their effects projected on the categories.
    functionals = drawn.on_axes @ basis.T
    mean, covariance = dense.condition(
        *stack(dense.coefficient_effects(drawn.contrasts), dense.word_effects(functionals))
    )
    draws = [drawn.contrast(drawn.effects.coefficient), drawn.contrast(drawn.effects.word_shift)]
    assert_drawn_from(np.concatenate(draws, axis=1), mean, covariance)


def test_model_effects_have_their_joint_distribution_with_the_coefficients(drawn: Drawn) -> None:
    dense = drawn.dense
    mean, covariance = dense.condition(
        *stack(dense.coefficient_effects(drawn.contrasts), dense.model_effects(drawn.contrasts))
    )
    draws = [drawn.contrast(drawn.effects.coefficient), drawn.contrast(drawn.effects.model)]
    assert_drawn_from(np.concatenate(draws, axis=1), mean, covariance)


def test_word_effects_have_their_distribution(drawn: Drawn) -> None:
    crossing = drawn.problem.crossing
    rng = np.random.default_rng(13)
    row = rng.normal(size=crossing.design.matrix.shape[1])
    framing = rng.normal(size=len(crossing.framings))
    draws = draw_word_effects(
        crossing,
        drawn.problem.components,
        drawn.margins,
        drawn.v,
        drawn.effects,
        row,
        framing,
        drawn.rng,
    )
    n_words = crossing.shape[2]
    centre = np.eye(n_words) - 1 / n_words
    combine = np.kron(row, framing)
    described = drawn.dense.described
    by_word = np.kron(combine, centre @ np.eye(n_words))
    by_category = np.kron(combine, centre @ described)
    with_cells, own = stack(
        drawn.dense.word_effects(np.eye(n_words)),
        drawn.dense.coefficient_effects(np.eye(described.shape[1])),
    )
    both = np.concatenate([by_word, by_category], axis=1)
    mean, covariance = drawn.dense.condition(both @ with_cells, both @ own @ both.T)
    assert_drawn_from(draws, mean, covariance)


def test_word_effects_average_to_these_words_contrast(drawn: Drawn) -> None:
    # A word is its categories' effects plus its own, so the words of a category tell its mean.
    crossing = drawn.problem.crossing
    row = np.eye(crossing.design.matrix.shape[1])[-1]
    framing = np.eye(len(crossing.framings))[0]
    words = draw_word_effects(
        crossing,
        drawn.problem.components,
        drawn.margins,
        drawn.v,
        drawn.effects,
        row,
        framing,
        np.random.default_rng(0),
    )
    these = drawn.effects.coefficient + drawn.effects.word_shift
    expected = these[:, -1, 0] @ drawn.on_axes.T
    members = crossing.membership - crossing.membership.mean(axis=0)
    least_squares = np.linalg.pinv(np.column_stack([members, crossing.covariates]))
    by_category = words @ least_squares[: members.shape[1]].T
    np.testing.assert_allclose(by_category @ drawn.contrasts.T, expected, atol=1e-9)
    np.testing.assert_allclose(words.sum(axis=1), 0, atol=1e-9)


def test_each_draw_may_have_its_own_data() -> None:
    # As in an incomplete crossing: margins with a first side of draws.
    one = Drawn("two framings, three categories")
    crossing, components = one.problem.crossing, one.problem.components
    other = make_margins(crossing, make_tables(crossing, crossing.y[::-1]))
    n = 50
    pick = np.arange(n) % 2
    margins = type(other)(
        np.stack([one.margins.on_axes, other.on_axes])[pick],
        np.stack([one.margins.rest, other.rest])[pick],
    )
    scales = one.problem.coefficient_scales

    def draw(which):
        rng = np.random.default_rng(5)
        effects = draw_effects(crossing, components, which, one.v[:n], scales, rng)
        row = np.eye(crossing.design.matrix.shape[1])[-1]
        sign = np.array([0.5, -0.5])
        words = draw_word_effects(
            crossing, components, which, one.v[:n], effects, row, sign, np.random.default_rng(6)
        )
        return effects.coefficient, effects.word_shift, effects.model, words

    for mixed, first, second in zip(draw(margins), draw(one.margins), draw(other), strict=True):
        np.testing.assert_allclose(mixed[::2], first[::2], atol=1e-10)
        np.testing.assert_allclose(mixed[1::2], second[1::2], atol=1e-10)
