"""Scores of unequal precision: against brute force, and against the sampler of equal ones."""

from __future__ import annotations

import numpy as np
import pytest
from dense import GROUPED, Dense, Theta, assert_drawn_from, make_problem, some_theta
from scipy import stats

from valuebias.analysis.design.noise import NU_RATE, NU_SHAPE, Noise
from valuebias.analysis.estimands.smoother import Smoother
from valuebias.analysis.hierarchical import Problem
from valuebias.analysis.sampling import parts as module
from valuebias.analysis.sampling.incomplete import Sampler, sample_incomplete
from valuebias.analysis.sampling.nuts import sample_nuts
from valuebias.analysis.sampling.parts import draw_parts, make_parts, stretches
from valuebias.analysis.sampling.robust import RobustSampler, Values

GAPS = [(0, 0, 1), (1, 3, 2), (2, 2, slice(None)), (4, slice(None), 5)]
SMALL = {"framing": ("positive",) * 4, "words": ("x", "x", "xy", "y", "y", "y"), "seed": 3}


def ready(problem: Problem, theta: Theta) -> tuple[Smoother, np.ndarray]:
    """Give the smoother at the smallest of unequal residual variances, and the precisions."""
    crossing, rng = problem.crossing, np.random.default_rng(1)
    precision = rng.gamma(2.0, 1.0, crossing.shape) * crossing.observed
    v = theta.v.copy()
    for f, k in enumerate(problem.components["residual"].index[0]):
        v[k] = 1 / precision[:, crossing.prompts_of(f)].max()
    return Smoother(crossing, problem.components, problem.coefficient_scales, v), precision


@pytest.mark.parametrize("layout", [{}, *GROUPED.values()], ids=["plain", *GROUPED])
def test_parts_have_the_covariances_of_the_components(layout) -> None:
    problem = make_problem(**layout)
    theta = some_theta(problem.components, np.random.default_rng(0))
    dense = Dense(problem, theta)
    crossing, scales = problem.crossing, problem.coefficient_scales
    smoother = Smoother(crossing, problem.components, scales, theta.v)
    cube = np.random.default_rng(2).standard_normal(crossing.shape)
    parts = make_parts(crossing, problem.components, scales)
    for part in module.parts_at(parts, smoother, theta.spread):
        known = dense.coefficients if part.name == "coefficient" else dense.component(part.name)
        expected = (known @ cube.ravel()).reshape(cube.shape)
        found = part.cube(crossing, part.project(crossing, cube))
        np.testing.assert_allclose(found, expected, atol=1e-8 * np.abs(expected).max() + 1e-12)


def test_effects_are_drawn_given_scores_of_unequal_precision(monkeypatch) -> None:
    monkeypatch.setattr(module, "_ERROR", 1e-9)
    problem = make_problem(missing=GAPS, **{**SMALL, "framing": ("positive", "negative") * 2})
    theta = some_theta(problem.components, np.random.default_rng(0))
    smoother, precision = ready(problem, theta)
    dense, seen = Dense(problem, theta), problem.crossing.observed.ravel()
    effects = dense.covariance - dense.component("residual")
    noise = np.where(seen, 1 / np.where(seen, precision.ravel(), 1.0), 0.0)
    dense.__dict__["covariance"] = effects + np.diag(noise)
    mean, covariance = dense.condition(effects, effects)

    parts = make_parts(problem.crossing, problem.components, problem.coefficient_scales)
    rng = np.random.default_rng(5)
    draws = np.array(
        [sum(draw_parts(parts, smoother, precision, theta.spread, rng)).ravel() for _ in range(500)]
    )
    assert_drawn_from(draws, mean, covariance)


def test_effects_are_stretched_to_the_scores() -> None:
    """Against the normal equations, each row's level a column of its own."""
    rng = np.random.default_rng(0)
    cubes = [rng.standard_normal((2, 3, 5)) for _ in range(2)]
    left, precision = rng.standard_normal((2, 3, 5)), rng.gamma(1.0, size=(2, 3, 5))
    precision[0, 1] = 0  # a row without scores
    tightness = np.array([0.5, 2.0])
    columns = np.column_stack([*(c.ravel() for c in cubes), np.kron(np.eye(6), np.ones((5, 1)))])
    weighed = columns * precision.reshape(-1, 1)
    normal = weighed.T @ columns + np.diag([*tightness, *np.full(6, 1e-9)])
    covariance = np.linalg.inv(normal)[:2, :2]
    mean = np.linalg.solve(normal, weighed.T @ left.ravel())[:2]
    draws = np.array([stretches(cubes, left, precision, tightness, rng) for _ in range(2000)])
    assert_drawn_from(draws, mean, covariance)


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("gaps", [[], GAPS], ids=["complete", "incomplete"])
def test_residuals_of_one_normal_kind_have_the_usual_posterior(gaps) -> None:
    """All steps but those of tails and models, against the sampler that does without values."""
    problem = make_problem(**{**SMALL, "framing": ("positive", "negative") * 3}, missing=gaps)
    numbers = {"draws": 1000, "tune": 200, "chains": 2, "seed": 5, "cores": 2, "progress": None}
    sampler = RobustSampler(problem)
    found = sample_incomplete(sampler, **numbers)
    n = len(problem.crossing.framings)
    log_sd = np.log(found.variances.sd)
    log_sd[:, :, problem.components.names.index("residual")] = found.noise[..., :n]
    if gaps:
        usual = Sampler(
            problem.crossing, problem.components, problem.posterior, problem.coefficient_scales
        )
        other = sample_incomplete(usual, **numbers).variances
    else:
        other = sample_nuts(problem.posterior(problem.strata), **numbers)
    flat, expected = (x.reshape(2000, -1) for x in (log_sd, np.log(other.sd)))
    sd = expected.std(axis=0)
    # For some 300 effective draws of the slowest.
    limit = 4.5 * np.sqrt(2 / 300)
    assert np.abs((flat.mean(axis=0) - expected.mean(axis=0)) / sd).max() < limit
    correlation = found.variances.correlation.mean(axis=(0, 1)) - other.correlation.mean(
        axis=(0, 1)
    )
    assert np.abs(correlation).max() < 0.15
    assert np.abs(np.log(flat.std(axis=0) / sd)).max() < 0.35


@pytest.mark.once
@pytest.mark.parametrize("noise", [Noise(True, False), Noise(False, True), Noise(True, True)])
def test_residuals_parameters_have_their_posterior_given_the_residuals(noise) -> None:
    """Drawn from the prior, and drawn again given residuals, they are alike (Geweke 2004)."""
    problem = make_problem(families="AABB", words=tuple("xxxxyyyy"), framing=("positive",) * 3)
    crossing, rng = problem.crossing, np.random.default_rng(3)
    shape = crossing.shape
    scales = np.array([1.0])

    def from_prior(state: Values) -> None:
        state.log_sd = np.log(np.abs(rng.standard_normal(1)))
        if noise.by_model:
            state.log_spread = float(np.log(0.3 * np.abs(rng.standard_normal())))
            state.shift = np.exp(state.log_spread) * rng.standard_normal(shape[0])
        if noise.student:
            nu = 0.0
            while nu < 2:
                nu = rng.gamma(NU_SHAPE, 1 / NU_RATE)
            state.log_nu = float(np.log(nu - 2))

    def scores(state: Values) -> np.ndarray:
        factors = noise.factors(state.nu, 0.0, shape[0], rng)
        cube = rng.standard_normal(shape)
        factors.scale(cube, rng)
        return cube * np.exp(state.log_sd[0] + state.shift)[:, None, None]

    def numbers(state: Values) -> list[float]:
        return [state.log_sd[0], state.log_spread, state.log_nu, state.shift[0]]

    state = Values(crossing, noise, scales)
    pairs = []
    for _ in range(500):
        from_prior(state)
        before = numbers(state)
        left = scores(state)
        for _ in range(2):
            state.redraw_noise(crossing.y - left, rng)
        pairs.append([before, numbers(state)])
    before, after = np.array(pairs).transpose(1, 2, 0)
    for one, other in zip(before, after, strict=True):
        if np.ptp(one):
            assert stats.ks_2samp(one, other).pvalue > 1e-3
            assert (one != other).all()
            error = np.hypot(one.std(), other.std()) / np.sqrt(len(one))
            assert abs(one.mean() - other.mean()) < 4 * error
