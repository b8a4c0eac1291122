"""Leave-one-out densities against leaving out cells one by one in the dense normal."""

from __future__ import annotations

import numpy as np
import pytest
from dense import PAIRS, UNEVEN, Dense, make_problem, some_theta

from valuebias.analysis.estimands.loo import loo
from valuebias.analysis.estimands.smoother import Smoother
from valuebias.analysis.hierarchical import Problem
from valuebias.analysis.sampling.completion import Completion, Gaps


def smoother_at(problem: Problem, theta) -> Smoother:
    return Smoother(problem.crossing, problem.components, problem.coefficient_scales, theta.v)


def left_out(dense: Dense, cell: tuple[int, int, int]) -> float:
    """Log-density of a cell given the others: a ratio of two dense densities.

    Without the cell there is one free direction less. It is the cell less its row's mean, scaled to
    length one, in which the cell itself has the weight √(1 − 1/n).
    """
    seen = dense.crossing.observed
    others = seen.copy()
    others[cell] = False
    n = seen[cell[:2]].sum()
    whole, rest = dense.log_likelihood(observed=seen), dense.log_likelihood(observed=others)
    return whole - rest + 0.5 * np.log(1 - 1 / n)


@pytest.mark.parametrize(
    "case",
    [
        {},
        {"framing": ("positive",) * 3},
        {"formula": "~ family + size"},
        {"formula": "~ 1", "families": ("A",) * 6, "pairs": PAIRS},
        {"formula": "~ step", "families": ("A",) * 6, "runs": UNEVEN},
    ],
    ids=str,
)
def test_one_draw_gives_the_dense_leave_one_out_density(case: dict) -> None:
    problem = make_problem(**case)
    theta = some_theta(problem.components, np.random.default_rng(31))
    dense = Dense(problem, theta)
    result = loo([smoother_at(problem, theta)], [problem.crossing.y])
    rng = np.random.default_rng(32)
    for _ in range(6):
        cell = tuple(int(rng.integers(n)) for n in problem.crossing.shape)
        assert result.pointwise.to_numpy()[cell] == pytest.approx(left_out(dense, cell), abs=1e-8)
    assert result.n == problem.crossing.y.size
    assert result.elpd == pytest.approx(result.pointwise.sum().item())
    assert result.se == pytest.approx(np.sqrt(result.n) * result.pointwise.to_numpy().std(ddof=1))
    assert result.min_weight_ess == pytest.approx(1.0)


def test_several_draws_are_weighted_by_how_little_they_expect_the_cell() -> None:
    # p(y_i | rest) is the harmonic mean of its densities over draws that have seen y_i.
    problem = make_problem()
    rng = np.random.default_rng(33)
    thetas = [some_theta(problem.components, rng) for _ in range(3)]
    smoothers = [smoother_at(problem, theta) for theta in thetas]
    result = loo(smoothers, [problem.crossing.y] * 3)
    cell = (1, 2, 3)
    densities = np.array([left_out(Dense(problem, theta), cell) for theta in thetas])
    expected = -np.log(np.mean(np.exp(-densities)))
    assert result.pointwise.to_numpy()[cell] == pytest.approx(expected, abs=1e-8)
    assert result.min_weight_ess < 1
    assert result.p_loo > 0


def test_missing_cells_are_averaged_over() -> None:
    gaps = [(0, 0, 1), (1, 3, 2), (2, 5, 4), (2, 5, 5), (1, slice(0, 4), 6)]
    problem = make_problem(missing=gaps)
    crossing = problem.crossing
    theta = some_theta(problem.components, np.random.default_rng(34))
    dense, smoother = Dense(problem, theta), smoother_at(problem, theta)
    state = Completion(Gaps(crossing))
    rng = np.random.default_rng(35)
    cubes = []
    for _ in range(150):
        state.redraw_exactly(smoother, rng)
        cube = crossing.y.copy()
        cube[~crossing.observed] = state.missing
        cubes.append(cube)
    result = loo([smoother] * len(cubes), cubes)
    pointwise = result.pointwise.to_numpy()
    assert np.isnan(pointwise[~crossing.observed]).all()
    assert result.n == crossing.observed.sum()
    for cell in ((0, 0, 2), (2, 5, 3), (1, 4, 6), (3, 1, 1)):
        assert pointwise[cell] == pytest.approx(left_out(dense, cell), abs=0.07)
