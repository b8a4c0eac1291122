"""The path for incomplete crossings against the complete one and against brute force."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from dense import make_problem
from importance import Weighted, weighted_points

from valuebias.analysis.design.strata import make_tables
from valuebias.analysis.estimands.effects import make_margins
from valuebias.analysis.estimands.smoother import Smoother
from valuebias.analysis.hierarchical import Problem
from valuebias.analysis.sampling.completion import Completion, Gaps
from valuebias.analysis.sampling.conditionals import Conditionals
from valuebias.analysis.sampling.hamiltonian import Hamiltonian
from valuebias.analysis.sampling.incomplete import CompletedDraws, Sampler, sample_incomplete
from valuebias.analysis.sampling.nuts import sample_nuts

SCATTERED = [(0, 0, 1), (1, 3, 2), (2, 2, 4), (4, 1, 5), (3, 2, 2), (0, 3, 0), (2, 2, 0), (1, 1, 5)]
MOST = [(m, p, w) for m in range(5) for p in range(4) for w in range(6) if (m + 2 * p + w) % 3]
WHOLE = [(1, slice(None), 3), (3, 2, slice(None)), (0, 0, 1)]
GAPS = {"scattered": SCATTERED, "whole": WHOLE, "most": MOST}
SMALL = {"framing": ("positive",) * 4, "words": ("x", "x", "xy", "y", "y", "y"), "seed": 3}


def run(problem: Problem, **numbers: int) -> CompletedDraws:
    settings = {"draws": 1000, "tune": 300, "chains": 2, "seed": 5, "cores": 2, **numbers}
    sampler = Sampler(
        problem.crossing, problem.components, problem.posterior, problem.coefficient_scales
    )
    return sample_incomplete(sampler, progress=None, **settings)  # type: ignore[arg-type]


@cache
def drawn(gaps: str) -> CompletedDraws:
    return run(make_problem(**SMALL, missing=GAPS[gaps]))


@cache
def points(gaps: str) -> Weighted:
    return weighted_points(make_problem(**SMALL, missing=GAPS[gaps]))


@pytest.mark.once
@pytest.mark.parametrize("gaps", ["scattered", "whole"])
def test_the_variances_have_their_posterior_given_the_observed_cells(gaps) -> None:
    """Importance sampling from the dense density of the observed cells says what they should be."""
    # SDs near zero have long tails on the log scale, hence many draws.
    draws = run(make_problem(**SMALL, missing=GAPS[gaps]), draws=4000).variances.sd[..., 0]
    flat = np.log(draws.reshape(-1, draws.shape[-1]))
    ess = points(gaps).ess
    assert ess > 400, ess

    mean, sd = points(gaps).moments()
    # Both sides' Monte-Carlo error, for some 300 effective draws on ours.
    assert np.abs((flat.mean(axis=0) - mean) / sd).max() < 4.5 * np.sqrt(1 / ess + 1 / 300)
    assert np.abs(np.log(flat.std(axis=0) / sd)).max() < 0.25


@pytest.mark.once
@pytest.mark.parametrize("exact", [False, True], ids=["over the cube", "given the observed cells"])
@pytest.mark.parametrize("gaps", GAPS)
def test_an_iteration_leaves_the_posterior_as_it_is(gaps, exact) -> None:
    """From points that have the posterior, by the dense density, it must lead to such points."""
    problem = make_problem(**SMALL, missing=GAPS[gaps])
    rng = np.random.default_rng(8)
    few = points(gaps).fewer(600, rng)
    assert few.ess > 300, few.ess
    x, weight = few.x, few.weight
    sampler = Sampler(
        problem.crossing, problem.components, problem.posterior, problem.coefficient_scales
    )
    state = Completion(sampler.gaps)
    kernel = None
    after = np.empty_like(x)
    for i, start in enumerate(x):
        # The missing cells have their distribution given the start, too.
        sampler.exact = True
        v = problem.components.variances(*sampler.posterior.constrain(start))
        scales = problem.coefficient_scales
        state.redraw_exactly(Smoother(problem.crossing, problem.components, scales, v), rng)
        sampler.exact = exact
        point, target = sampler.impute(state, start, rng)
        kernel = kernel or Hamiltonian.at_mode(target, point)
        after[i], _, _ = sampler.move(kernel, target, point, rng)
    assert (after != x).any(axis=0).all()
    for change in (after - x, after**2 - x**2, (after < -2.0) * 1.0 - (x < -2.0)):
        error = np.sqrt((weight**2) @ change**2)
        assert (np.abs(weight @ change) < 4.2 * error + 1e-12).all()


@pytest.mark.once
def test_one_missing_cell_changes_little() -> None:
    complete = make_problem(seed=9)
    lacking = make_problem(seed=9, missing=[(2, 3, 4)])
    ours = run(lacking, draws=1000).variances
    posterior = complete.posterior(complete.strata)
    theirs = sample_nuts(posterior, draws=1000, tune=500, chains=2, seed=5, cores=2, progress=None)
    for name in ("sd", "correlation"):
        a, b = (np.asarray(getattr(d, name)) for d in (ours, theirs))
        a, b = (v.reshape(2000, -1) for v in (a, b))
        spread = b.std(axis=0)
        assert np.abs((a.mean(axis=0) - b.mean(axis=0)) / spread).max() < 0.3, name


@pytest.mark.once
def test_gibbs_and_exact_redraws_sample_the_same_posterior(monkeypatch) -> None:
    import valuebias.analysis.sampling.incomplete as module

    gibbs = drawn("scattered").variances.sd
    monkeypatch.setattr(module, "_MANY_SPARSE", -1.0)
    exact = run(make_problem(**SMALL, missing=SCATTERED), draws=800, seed=6).variances.sd
    a, b = (np.log(v).reshape(-1, v.shape[2]) for v in (gibbs, exact))
    assert np.abs((a.mean(axis=0) - b.mean(axis=0)) / b.std(axis=0)).max() < 0.3


def test_what_it_brings_home_fits_together() -> None:
    problem = make_problem(missing=SCATTERED)
    draws = run(problem, draws=30, tune=20, chains=3)
    assert draws.variances.sd.shape[:2] == (3, 30)
    assert len(draws.margins.on_axes) == len(draws.margins.rest) == 90
    assert np.isfinite(draws.margins.rest).all()


def test_of_very_many_words_some_draws_alone_are_kept(monkeypatch) -> None:
    problem = make_problem(missing=SCATTERED)
    every = run(problem, draws=25, tune=10)
    np.testing.assert_array_equal(every.rest_of, np.arange(50))
    monkeypatch.setattr("valuebias.analysis.sampling.incomplete._FEW_DRAWS", 20)
    monkeypatch.setattr("valuebias.analysis.sampling.incomplete._MOST_NUMBERS", 1)
    some = run(problem, draws=25, tune=10)
    np.testing.assert_array_equal(some.rest_of, [*range(0, 25, 3), *range(25, 50, 3)])
    np.testing.assert_array_equal(some.margins.rest, every.margins.rest[some.rest_of])
    np.testing.assert_array_equal(some.margins.on_axes, every.margins.on_axes)


@pytest.mark.once
@pytest.mark.parametrize("gaps", ["scattered", "whole"])
def test_cubes_completed_afterwards_have_the_margins_that_draws_brought_home(gaps) -> None:
    """Both are of the missing cells' posterior, though not of the same completions."""
    problem = make_problem(**SMALL, missing=GAPS[gaps])
    crossing, components = problem.crossing, problem.components
    draws = drawn(gaps)
    np.testing.assert_array_equal(draws.rest_of, np.arange(2000))
    variances = draws.variances
    v = components.variances(variances.sd, variances.correlation, variances.spread)
    some = slice(None, None, 2)  # a cube takes longer than a draw
    cubes = problem.completed_cubes(v.reshape(2000, -1)[some], np.random.default_rng(3))
    found, seen = [], crossing.observed
    for cube in cubes:
        np.testing.assert_array_equal(cube[seen], crossing.y[seen])
        found.append(make_margins(crossing, make_tables(crossing, cube)))
    for name in ("on_axes", "rest"):
        brought = getattr(draws.margins, name)[some].reshape(1000, -1)
        again = np.array([getattr(one, name) for one in found]).reshape(1000, -1)
        spread = again.std(axis=0)
        known = spread < 1e-6
        np.testing.assert_allclose(brought[:, known], again[:, known], atol=1e-5)
        difference = (brought - again).mean(axis=0)[~known] / spread[~known]
        assert np.abs(difference).max() < 0.3, name
        assert np.abs(np.log(brought.std(axis=0) / spread)[~known]).max() < 0.3, name


def test_chains_that_wait_for_others_start_from_the_data_too() -> None:
    problem = make_problem(missing=SCATTERED)
    three, one = (run(problem, draws=6, tune=4, chains=c, cores=1) for c in (3, 1))
    np.testing.assert_array_equal(three.variances.sd[:1], one.variances.sd)
    alone = run(problem, draws=6, tune=4, chains=3, cores=3)
    np.testing.assert_array_equal(three.margins.rest, alone.margins.rest)


def test_cells_that_are_drawn_some_prompts_at_a_time_are_the_same_posterior(monkeypatch) -> None:
    """With one block a prompt, or all in one, the same noise makes the same cells."""
    problem = make_problem(missing=SCATTERED)
    crossing, components = problem.crossing, problem.components
    v = components.variances(np.ones((len(components.names), 2)), *unspread(problem))
    moments = Conditionals(crossing, components, problem.coefficient_scales).at(v)
    made = []
    for size in (500_000, 1):
        monkeypatch.setattr("valuebias.analysis.sampling.completion._AT_A_TIME", size)
        state = Completion(Gaps(crossing))
        assert sum(count for *_, count in state.gaps.blocks) == crossing.n_missing
        state.redraw(moments, np.random.default_rng(4))
        made.append(state)
    whole, parts = made
    assert len(whole.gaps.blocks) == 1 < len(parts.gaps.blocks)
    assert whole.missing.all()
    np.testing.assert_array_equal(whole.missing, parts.missing)
    cube = crossing.y.copy()
    cube[~crossing.observed] = parts.missing
    tables = make_tables(crossing, cube)
    for name in ("mean", "prompt_word", "axis", "ss"):
        np.testing.assert_allclose(getattr(parts.tables, name), getattr(tables, name), atol=1e-9)


def unspread(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(len(problem.components.correlated)), np.ones((2, 1))


def test_a_seed_repeats_the_draws_however_many_cores_there_are() -> None:
    problem = make_problem(missing=SCATTERED)
    one, two = (run(problem, draws=20, tune=10, cores=c) for c in (1, 2))
    np.testing.assert_array_equal(one.variances.sd, two.variances.sd)
    other = run(problem, draws=20, tune=10, seed=6)
    assert not np.array_equal(one.variances.sd, other.variances.sd)
