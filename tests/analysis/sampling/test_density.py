"""The collapsed density against a dense multivariate normal, finite differences and PyMC."""

from __future__ import annotations

import numpy as np
import pytest
from dense import (
    GROUPED,
    PAIRS,
    PROMPTS,
    RUNS,
    UNEVEN,
    Dense,
    Theta,
    make_problem,
    packed_of,
    posterior_of,
    some_theta,
    unconstrained,
)
from scipy import stats

from valuebias.analysis.design.priors import Prior
from valuebias.analysis.hierarchical import Problem
from valuebias.analysis.sampling.density import Posterior

CASES = {
    "two framings, three categories": {},
    "formula with a number": {"formula": "~ family + size"},
    "interaction": {"formula": "~ family * size"},
    "no formula": {"formula": "~ 1"},
    "one framing": {"framing": ("positive",) * 4},
    "one negative prompt": {"framing": (*("positive",) * 4, "negative")},
    "three families": {"families": ("A", "B", "C", "A", "C", "C")},
    "no replication of models": {"families": ("A", "B")},
    "one model": {"formula": "~ 1", "families": ("A",)},
    "two categories": {"words": ("x",) * 5 + ("y",) * 3},
    "pairs": {"formula": "~ 1", "families": ("A",) * 6, "pairs": PAIRS},
    "pairs, one framing": {
        "formula": "~ 1",
        "families": ("A",) * 6,
        "pairs": PAIRS,
        "framing": ("positive",) * 3,
    },
    "pairs of two families": {"families": ("A", "B") * 3, "pairs": PAIRS},
    "pairs with one denominator": {
        "formula": "~ 1",
        "families": ("A",) * 3,
        "pairs": (("a", "x"), ("b", "x"), ("c", "x")),
    },
    "runs": {"formula": "~ 1", "families": ("A",) * 6, "runs": RUNS},
    "runs of two families": {"families": ("A",) * 4 + ("B",) * 2, "runs": RUNS},
    "runs of unequal length": {"formula": "~ step", "families": ("A",) * 6, "runs": UNEVEN},
    "a span in blocks": {
        "formula": "~ family * step",
        "families": "AAABBBCCC",
        "runs": [(f, "1", step) for f in "abc" for step in (1, 2, 3)],
    },
    "a span of everything": {
        "formula": "~ family * C(step)",
        "families": "AABB",
        "runs": [(f, "1", step) for f in "ab" for step in (1, 2)],
    },
    "bases of unequal length": {
        "families": ("A", "A", "A", "B", "A", "B"),
        "runs": (*UNEVEN[:4], ("a", "2", 0), ("d", "1", 0)),
    },
    "pairs that share none": {
        "formula": "~ 1",
        "families": ("A",) * 3,
        "pairs": (("a", "x"), ("b", "y"), ("c", "z")),
    },
    **GROUPED,
}


@pytest.fixture(scope="module", params=CASES, ids=str)
def problem(request: pytest.FixtureRequest) -> Problem:
    return make_problem(**CASES[request.param])


def value_and_gradient(problem: Problem, theta: Theta) -> tuple[float, np.ndarray]:
    return packed_of(problem)(theta.v)


def test_it_is_the_dense_normal_up_to_a_constant(problem: Problem) -> None:
    rng = np.random.default_rng(1)
    thetas = [some_theta(problem.components, rng) for _ in range(8)]
    dense = np.array([Dense(problem, theta).log_likelihood() for theta in thetas])
    ours = np.array([value_and_gradient(problem, theta)[0] for theta in thetas])
    assert np.ptp(dense) > 10
    np.testing.assert_allclose(ours - ours[0], dense - dense[0], rtol=1e-8, atol=1e-7)


def test_the_constant_does_not_depend_on_the_data() -> None:
    # Same shape, other scores: the two densities differ by the same number.
    differences = []
    for seed in (1, 2):
        problem = make_problem(seed=seed)
        # The prior of the coefficients is in units of the data; the constant is not about it.
        theta = some_theta(problem.components, np.random.default_rng(3))
        differences.append(
            Dense(problem, theta).log_likelihood() - value_and_gradient(problem, theta)[0]
        )
    assert differences[0] == pytest.approx(differences[1], abs=1e-7)


def test_the_level_of_a_model_on_a_prompt_does_not_matter() -> None:
    problem = make_problem()
    theta = some_theta(problem.components, np.random.default_rng(4))
    dense = Dense(problem, theta)
    level = np.random.default_rng(5).normal(size=problem.crossing.shape[:2])[..., None]
    assert dense.log_likelihood(problem.crossing.y + level) == pytest.approx(dense.log_likelihood())


def test_its_gradient_is_that_of_finite_differences(problem: Problem) -> None:
    rng = np.random.default_rng(2)
    for _ in range(3):
        theta = some_theta(problem.components, rng)
        x = unconstrained(theta)
        posterior = posterior_of(problem)
        _, gradient = posterior(x)
        numeric = np.array([central(posterior, x, i) for i in range(len(x))])
        np.testing.assert_allclose(gradient, numeric, rtol=1e-7, atol=1e-7 * np.abs(gradient).max())


def central(posterior: Posterior, x: np.ndarray, i: int, h: float = 1e-3) -> float:
    """Differentiate to the eighth order, so that rounding, not the step, limits the digits."""
    weights = (4 / 5, -1 / 5, 4 / 105, -1 / 280)
    e = h * np.eye(len(x))[i]
    slopes = [posterior(x + k * e)[0] - posterior(x - k * e)[0] for k in range(1, 5)]
    return float(np.dot(weights, slopes) / h)


def test_the_prior_and_the_jacobian_are_in_the_posterior(problem: Problem) -> None:
    # By scipy: half-normal SDs, Beta correlations, log and logit Jacobians.
    posterior, components = posterior_of(problem), problem.components
    theta = some_theta(components, np.random.default_rng(6))
    x = unconstrained(theta)
    unit = (theta.correlation + 1) / 2
    expected = (
        value_and_gradient(problem, theta)[0]
        + stats.halfnorm(scale=posterior.scales).logpdf(theta.sd.ravel()).sum()
        + np.log(theta.sd).sum()
        + stats.beta(2, 2).logpdf(unit).sum()
        + np.log(unit * (1 - unit)).sum()
        + stats.norm(0, 0.7).logpdf(x[len(x) - posterior.n_spread :]).sum()
    )
    assert posterior(x)[0] == pytest.approx(expected, rel=1e-12)
    sd, correlation, spread = posterior.constrain(x)
    np.testing.assert_allclose(sd, theta.sd)
    np.testing.assert_allclose(spread, theta.spread)
    np.testing.assert_allclose(correlation, theta.correlation)


@pytest.mark.parametrize(
    "case", ["two framings, three categories", "one framing", "bases of families with spreads"]
)
def test_the_pymc_model_has_the_same_density_and_gradient(case: str) -> None:
    prior = Prior(sd={"word": 0.7, "model_category": 0.2}, correlation=3.0)
    problem = make_problem(**CASES[case], prior=prior)
    model = build(problem)
    posterior = posterior_of(problem)
    logp, dlogp = model.compile_logp(), model.compile_dlogp()
    rng = np.random.default_rng(7)
    for _ in range(3):
        x = unconstrained(some_theta(problem.components, rng))
        point = model_point(model, problem, x)
        value, gradient = posterior(x)
        assert float(logp(point)) == pytest.approx(value, abs=1e-6)
        np.testing.assert_allclose(
            dlogp(point), gradient, rtol=1e-8, atol=1e-8 * np.abs(gradient).max()
        )


def build(problem: Problem):
    from valuebias.analysis.sampling.pymc_model import build_model

    return build_model(problem.crossing, problem.components, problem.prior, packed_of(problem))


def model_point(model, problem: Problem, x: np.ndarray) -> dict[str, np.ndarray]:
    shape = (len(problem.components.names), problem.components.n_framings)
    n = shape[0] * shape[1]
    parts = {"sd_log__": x[:n].reshape(shape)}
    n_correlated = len(problem.components.correlated)
    if n_correlated:
        parts["correlation_unit_logodds__"] = x[n : n + n_correlated]
    if len(x) > n + n_correlated:
        parts["spread_contrast"] = x[n + n_correlated :].reshape(2, -1)
    assert set(parts) == {v.name for v in model.value_vars}
    return parts


@pytest.mark.parametrize("shift", [-400.0, -30.0, 30.0, 400.0, 1e4])
def test_extreme_parameters_give_a_number_or_minus_infinity(shift: float) -> None:
    problem = make_problem()
    posterior = posterior_of(problem)
    for i in range(posterior.n_dim):
        x = np.zeros(posterior.n_dim)
        x[i] = shift
        with np.errstate(over="ignore"):
            value, gradient = posterior(x)
        assert value < np.inf
        assert not np.isnan(value)
        assert len(gradient) == len(x)


def test_many_prompts_share_framings_unequally() -> None:
    # The sides' sizes enter by their square roots; a second, larger shape would show a slip.
    framing = PROMPTS + ("negative",) * 3
    problem = make_problem(framing=framing, words=("x", "y", "y", "xy", "x", "x"))
    rng = np.random.default_rng(8)
    thetas = [some_theta(problem.components, rng) for _ in range(4)]
    dense = np.array([Dense(problem, theta).log_likelihood() for theta in thetas])
    ours = np.array([value_and_gradient(problem, theta)[0] for theta in thetas])
    np.testing.assert_allclose(ours - ours[0], dense - dense[0], rtol=1e-8, atol=1e-7)
