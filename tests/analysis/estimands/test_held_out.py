"""Models and words left out, against conditioning in the dense normal."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from dense import GROUPED, PAIRS, RUNS, Dense, Theta, make_problem, some_theta

from valuebias.analysis.design.reduced import without_models, without_word, word_can_go
from valuebias.analysis.estimands.held_out import (
    combination_given_all,
    make_model_tables,
    make_word_tables,
    models_given_others,
    words_given_others,
)
from valuebias.analysis.estimands.precision import Precision, precision_at
from valuebias.analysis.estimands.rows import headline_combination
from valuebias.analysis.estimands.weights import category_contrasts
from valuebias.analysis.hierarchical import Problem

CASES: dict[str, dict] = {
    "no groups": {},
    "one framing": {"framing": ("positive",) * 3},
    "a number": {"formula": "~ family + size"},
    "pairs": {"formula": "~ 1", "families": ("A",) * 6, "pairs": PAIRS},
    "runs of two families": {"families": ("A",) * 4 + ("B",) * 2, "runs": RUNS},
    "a span in blocks": {
        "formula": "~ family * step",
        "families": "AAABBBCCC",
        "runs": [(f, "1", step) for f in "abc" for step in (1, 2, 3)],
    },
    **GROUPED,
}  # fmt: skip


@pytest.fixture(scope="module", params=CASES, ids=str)
def problem(request: pytest.FixtureRequest) -> Problem:
    return make_problem(**CASES[request.param])


def thetas(problem: Problem) -> list[Theta]:
    return [some_theta(problem.components, np.random.default_rng(seed)) for seed in (41, 42)]


def precision_of(problem: Problem) -> Precision:
    v = np.array([theta.v for theta in thetas(problem)])
    return precision_at(problem.crossing, problem.components, problem.coefficient_scales, v)


def without(problem: Problem, cells: object) -> np.ndarray:
    seen = problem.crossing.observed.copy()
    seen[cells] = False
    return seen


def sets_of(problem: Problem) -> list[np.ndarray]:
    """Give one model, two, the first base or family whole, and all but one."""
    n = problem.crossing.shape[0]
    whole = np.flatnonzero(problem.crossing.design.models["family"].to_numpy() == "A")
    sets = [np.array([0]), np.array([1, n - 1]), np.arange(1, n)]
    return [*sets, whole] if len(whole) < n else sets


def test_models_have_the_dense_density_given_the_others(problem: Problem) -> None:
    crossing, sets = problem.crossing, sets_of(problem)
    tables = make_model_tables(crossing, crossing.y)
    found = models_given_others(crossing, precision_of(problem), tables, sets)
    for theta, ours in zip(thetas(problem), found, strict=True):
        dense = Dense(problem, theta)
        whole = dense.log_likelihood()
        expected = [whole - dense.log_likelihood(observed=without(problem, s)) for s in sets]
        np.testing.assert_allclose(ours, expected, atol=1e-8)


def test_a_product_with_the_precision_needs_no_matrix(problem: Problem) -> None:
    # The matrix laid out is held to the dense normal by the densities above.
    crossing, precision = problem.crossing, precision_of(problem)
    rng = np.random.default_rng(7)
    for block in range(len(crossing.axes) + 1):
        whole = precision.over_models(crossing, block)
        vector = rng.standard_normal(whole.shape[-1])
        found = precision.times(crossing, block, vector)
        np.testing.assert_allclose(found, whole @ vector, rtol=1e-10, atol=1e-10)


def test_words_have_the_dense_density_given_the_others(problem: Problem) -> None:
    # Without a word there is one free direction less in each row: the word less the mean of all,
    # scaled to length one, in which the word itself has the weight √(1 − 1/n).
    crossing = problem.crossing
    n_models, n_prompts, n_words = crossing.shape
    words = np.array([0, 4, n_words - 1])
    tables = make_word_tables(crossing, crossing.y)
    found = words_given_others(crossing, precision_of(problem), tables, words)
    for theta, ours in zip(thetas(problem), found, strict=True):
        dense = Dense(problem, theta)
        whole = dense.log_likelihood() + 0.5 * n_models * n_prompts * np.log(1 - 1 / n_words)
        rest = [
            dense.log_likelihood(observed=without(problem, np.s_[:, :, word])) for word in words
        ]
        np.testing.assert_allclose(ours, whole - np.array(rest), atol=1e-8)


def density_of(problem: Problem, theta: Theta) -> float:
    n = problem.crossing.y.size - np.prod(problem.crossing.shape[:2])
    return problem.packed(theta.v)[0] - 0.5 * n * np.log(2 * np.pi)


def test_the_reduced_model_is_the_dense_one_of_what_is_left(problem: Problem) -> None:
    # The same parameters, whatever base is no longer shared or family has no model any more.
    for theta in thetas(problem):
        dense = Dense(problem, theta)
        for models in sets_of(problem):
            expected = dense.log_likelihood(observed=without(problem, models))
            assert density_of(without_models(problem, models), theta) == pytest.approx(expected)
        expected = dense.log_likelihood(observed=without(problem, np.s_[:, :, 4]))
        ours = density_of(without_word(problem, 4), theta)
        if not problem.crossing.covariate_names:
            assert ours == pytest.approx(expected)
        else:
            # What covariates explain of the categories is another thing without a word.
            assert 1e-6 < abs(ours - expected) < 3


def test_without_nothing_the_model_is_the_same(problem: Problem) -> None:
    same = without_models(problem, np.zeros(0, dtype=np.intp))
    theta = thetas(problem)[0]
    assert density_of(same, theta) == pytest.approx(density_of(problem, theta))


def test_a_word_can_go_unless_it_alone_has_a_category() -> None:
    crossing = make_problem(words=("x", "x", "x", "y", "y", "z")).crossing
    assert [word_can_go(crossing, word) for word in range(6)] == [True] * 5 + [False]
    few = make_problem(words=("x", "x", "y", "y")).crossing
    assert not word_can_go(few, 0)


def test_the_headline_has_the_dense_mean_and_variance(problem: Problem) -> None:
    # Of all data, and of those without a model.
    crossing = problem.crossing
    asked = headline_combination(crossing, None)
    weights = next(iter(category_contrasts(crossing.categories, None).values()))
    over = np.kron(asked.row, asked.framing)
    for models in (np.zeros(0, dtype=np.intp), np.array([0])):
        left = without_models(problem, models)
        here = left.crossing
        v = np.array([theta.v for theta in thetas(problem)])
        axes = make_model_tables(here, here.y).axes
        scales = left.coefficient_scales
        found = combination_given_all(here, left.components, v, axes, scales, asked)
        seen = replace(crossing, observed=without(problem, models))
        for theta, mean, variance in zip(thetas(problem), *found, strict=True):
            dense = Dense(replace(problem, crossing=seen), theta)
            expected = dense.condition(*dense.coefficient_effects(weights[None]))
            assert mean == pytest.approx(over @ expected[0], abs=1e-9)
            assert variance == pytest.approx(over @ expected[1] @ over, rel=1e-7)


def test_scores_that_tell_nearly_all_leave_a_variance_above_zero(problem: Problem) -> None:
    # Prior less explained variance would be rounding here, of either sign.
    crossing = problem.crossing
    asked = headline_combination(crossing, None)
    axes = make_model_tables(crossing, crossing.y).axes
    v = np.array([theta.v for theta in thetas(problem)])
    found = [
        combination_given_all(
            crossing, problem.components, v * size, axes, problem.coefficient_scales, asked
        )[1]
        for size in (1e-16, 1e-18)
    ]
    assert (found[1] > 0).all()
    assert found[1] == pytest.approx(found[0] / 100, rel=1e-6)
