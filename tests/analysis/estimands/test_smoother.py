"""The smoother, and the redrawing of missing cells, against dense Gaussian conditioning."""

from __future__ import annotations

import numpy as np
import pytest
from dense import GROUPED, PAIRS, Dense, Theta, assert_drawn_from, make_problem, some_theta
from scipy import linalg

from valuebias.analysis.design.strata import make_tables
from valuebias.analysis.estimands.smoother import Fields, Smoother
from valuebias.analysis.hierarchical import Problem
from valuebias.analysis.sampling.completion import Completion, Gaps, sparse_margins
from valuebias.analysis.sampling.conditionals import Conditionals
from valuebias.analysis.sampling.solving import System

PAIRED = {"formula": "~ 1", "families": ("A",) * 6, "pairs": PAIRS}
COMPLETE = {
    "two framings, three categories": {},
    "one framing": {"framing": ("positive",) * 4},
    "one negative prompt": {"framing": ("positive", "positive", "negative")},
    "with a number": {"formula": "~ family + size", "words": ("x", "x", "x", "y", "y", "xy")},
    "pairs": PAIRED,
    **{name: GROUPED[name] for name in ("bases and recipes", "covariates")},
}
ALL = slice(None)
SCATTERED = [(0, 0, 1), (1, 3, 2), (2, 5, 4), (4, 1, 8), (3, 2, 2), (0, 4, 6), (2, 2, 0)]
SPARSE = [tuple(cell) for cell in np.argwhere(np.random.default_rng(27).random((5, 6, 9)) < 0.8)]
GAPS = {
    "four fifths of all": SPARSE,
    "scattered": SCATTERED,
    "a word one model never scored": [(1, ALL, 3), *SCATTERED[:3]],
    "a word nobody scored on one prompt": [(ALL, 2, 5), *SCATTERED[:3]],
    "a word nobody scored under one framing": [(ALL, slice(4, 6), 5)],
    "a word nobody scored": [(ALL, ALL, 7)],
    "a prompt one model never answered": [(1, 3, ALL), *SCATTERED[:1]],
    "all but one word of a model on a prompt": [(1, 3, slice(1, 9)), *SCATTERED[:1]],
    "of pairs": SCATTERED,
}


def setting(**case: object) -> tuple[Problem, Theta, Smoother, Dense]:
    problem = make_problem(**case)  # type: ignore[arg-type]
    theta = some_theta(problem.components, np.random.default_rng(21))
    return problem, theta, smoother_of(problem, theta), Dense(problem, theta)


def smoother_of(problem: Problem, theta: Theta) -> Smoother:
    return Smoother(problem.crossing, problem.components, problem.coefficient_scales, theta.v)


def margins_of(problem: Problem, cube: np.ndarray) -> Fields:
    tables = make_tables(problem.crossing, cube)
    return Fields(tables.mean, tables.prompt_word, tables.axis, cube.sum(axis=2))


@pytest.fixture(params=COMPLETE, ids=str)
def complete(request: pytest.FixtureRequest) -> tuple[Problem, Theta, Smoother, Dense]:
    return setting(**COMPLETE[request.param])


def shares(dense: Dense) -> np.ndarray:
    """Return the matrix that turns all cells into their fit, the residual's mean taken off."""
    return np.eye(dense.n) - dense.component("residual") @ dense.precision()


def test_the_mean_is_the_dense_conditional_mean(complete) -> None:
    problem, _, smoother, dense = complete
    rng = np.random.default_rng(22)
    for _ in range(3):
        cube = rng.normal(size=problem.crossing.shape)
        fitted = smoother.spread(smoother.mean(margins_of(problem, cube)))
        np.testing.assert_allclose(fitted.ravel(), shares(dense) @ cube.ravel(), atol=1e-9)


def test_the_leverage_is_the_dense_diagonal(complete) -> None:
    problem, _, smoother, dense = complete
    diagonal = np.diag(shares(dense)).reshape(problem.crossing.shape)
    np.testing.assert_allclose(
        smoother.leverage()[:, problem.crossing.framing], diagonal, atol=1e-10
    )


def looks(n: int, k: int = 25) -> np.ndarray:
    """Some directions to look in, where all of them would be too many for the draws."""
    return np.random.default_rng(23).normal(size=(n, k)) / np.sqrt(n)


def test_draws_have_the_dense_conditional_distribution(complete) -> None:
    problem, _, smoother, dense = complete
    rng = np.random.default_rng(24)
    margins = margins_of(problem, problem.crossing.y)
    a = looks(dense.n)
    draws = np.array(
        [smoother.spread(smoother.draw(margins, rng)).ravel() @ a for _ in range(1000)]
    )
    residual = dense.component("residual")
    covariance = residual - residual @ dense.precision() @ residual
    mean = shares(dense) @ problem.crossing.y.ravel()
    assert_drawn_from(draws, a.T @ mean, a.T @ covariance @ a)


def test_simulated_cubes_have_the_dense_covariance(complete) -> None:
    _, _, smoother, dense = complete
    rng = np.random.default_rng(25)
    basis, _ = dense.free_of_levels()
    a = basis @ looks(basis.shape[1])
    draws = np.array([smoother.simulate_cube(rng).ravel() @ a for _ in range(1000)])
    assert_drawn_from(draws, np.zeros(a.shape[1]), a.T @ dense.covariance @ a)


def missing_given_observed(problem: Problem, dense: Dense) -> tuple[np.ndarray, ...]:
    """Basis of what is known about the missing cells, with its mean and covariance.

    Where a model gave a prompt no score at all, its level there is unknown and is taken out.
    """
    crossing = problem.crossing
    cells = np.argwhere(~crossing.observed)
    flat = np.flatnonzero(~crossing.observed.ravel())
    whole = ~crossing.observed.any(axis=2)
    row = cells[:, 0] * crossing.shape[1] + cells[:, 1]
    unknown = [(row == r).astype(float) for r in np.flatnonzero(whole.ravel())]
    # Which cells share a level.
    n_words = crossing.shape[2]
    levels = np.kron(np.eye(whole.size), np.ones((n_words, n_words)))
    covariance = dense.covariance
    seen = crossing.observed.ravel()
    basis, index = dense.free_of_levels()
    inner = np.linalg.inv(basis.T @ covariance[np.ix_(index, index)] @ basis)
    # Given the level-free part, the level of an observed row is its mean less the others' mean.
    n_seen = np.maximum(levels[:, seen].sum(axis=1), 1)
    mean_of_seen = levels[:, seen] / n_seen[:, None]
    lift = -mean_of_seen[flat]
    to_cells = covariance[np.ix_(flat, index)] + lift @ covariance[np.ix_(index, index)]
    gain = to_cells @ basis @ inner @ basis.T
    y = crossing.y.ravel()[index]
    own = covariance[np.ix_(flat, flat)] + lift @ covariance[np.ix_(index, index)] @ lift.T
    cross = lift @ covariance[np.ix_(index, flat)]
    own = own + cross + cross.T
    mean = mean_of_seen[flat] @ y + gain @ y
    given = own - gain @ to_cells.T
    keep = linalg.null_space(np.array(unknown)) if unknown else np.eye(len(flat))
    return keep, keep.T @ mean, keep.T @ given @ keep


@pytest.fixture(scope="module", params=GAPS, ids=str)
def gaps(request: pytest.FixtureRequest):
    case = PAIRED if request.param == "of pairs" else {}
    problem, _, smoother, dense = setting(missing=GAPS[request.param], **case)
    rng = np.random.default_rng(26)
    state = Completion(Gaps(problem.crossing))
    scales = problem.coefficient_scales
    moments = Conditionals(problem.crossing, problem.components, scales).at(smoother.v)
    exact, gibbs = [], []
    for _ in range(500):
        state.redraw_exactly(smoother, rng)
        exact.append(state.missing.copy())
        state.redraw(moments, rng)
        gibbs.append(state.missing.copy())
    return problem, state, np.array(exact), np.array(gibbs), missing_given_observed(problem, dense)


@pytest.mark.once
def test_exact_redraws_have_the_dense_conditional_distribution(gaps) -> None:
    _, _, exact, _, (keep, mean, covariance) = gaps
    assert_drawn_from(exact @ keep, mean, covariance)


@pytest.mark.once
def test_a_gibbs_step_leaves_that_distribution_alone(gaps) -> None:
    _, _, _, gibbs, (keep, mean, covariance) = gaps
    assert_drawn_from(gibbs @ keep, mean, covariance)


@pytest.mark.parametrize("few", [0.0, 1.0], ids=["by mask", "by list"])
@pytest.mark.parametrize("name", GAPS)
def test_the_mean_given_the_observed_cells_is_that_of_the_dense_normal(
    name: str, few: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("valuebias.analysis.sampling.completion._FEW", few)
    case = PAIRED if name == "of pairs" else {}
    problem, _, smoother, dense = setting(missing=GAPS[name], **case)
    gaps, no_noise = Gaps(problem.crossing), np.zeros(len(problem.crossing.framings))
    system, prompts = System(gaps, smoother), np.empty(problem.crossing.shape[1:])
    effects, _ = system.draw(None, system.work(), prompts, error=1e-12)
    state = Completion(gaps)
    state.fill(effects, no_noise, np.random.default_rng(0))
    keep, mean, _ = missing_given_observed(problem, dense)
    np.testing.assert_allclose(keep.T @ state.missing, mean, atol=1e-4 * np.abs(mean).max())


@pytest.mark.once
def test_the_margins_are_kept_in_step_with_the_cells(gaps) -> None:
    problem, state, *_ = gaps
    cube = problem.crossing.y.copy()
    cube[~problem.crossing.observed] = state.missing
    tables = make_tables(problem.crossing, cube)
    for name in ("mean", "prompt_word", "axis", "ss"):
        np.testing.assert_allclose(
            getattr(state.tables, name), getattr(tables, name), rtol=1e-9, atol=1e-8
        )


def test_gaps_that_empty_a_margin_are_told_from_scattered_ones() -> None:
    share = {name: sparse_margins(make_problem(missing=g).crossing) for name, g in GAPS.items()}
    assert share.pop("scattered") == share.pop("of pairs") == 0
    assert min(share.values()) > 0.5
