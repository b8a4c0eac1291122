"""Integrals and mixtures against known ones."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

from valuebias.analysis.estimands.evidence import log_integral
from valuebias.analysis.estimands.mixtures import Mixture


@pytest.mark.parametrize("least", [0.8, 3.0, 40.0])
def test_the_integral_of_logs_of_gammas_is_that_of_the_gamma_function(least: float) -> None:
    # The log of an SD that may be zero has such a tail: e^x to the left.
    shapes = least * np.array([1.0, 1.5, 2.0, 3.0, 10.0])
    rng = np.random.default_rng(1)
    draws = np.log(rng.gamma(shapes, size=(4, 500, 5)))
    expected = special.gammaln(shapes).sum()
    value, error = log_integral(lambda x: (shapes * x - np.exp(x)).sum(axis=1), draws, rng)
    assert 0 < error < 0.1
    assert value == pytest.approx(expected, abs=4 * error)


def test_the_integral_of_a_normal_density_is_exact() -> None:
    # The proposal fits it but for its own error, so that little is left to sample.
    rng = np.random.default_rng(2)
    root = rng.standard_normal((8, 8))
    draws = 100 + rng.standard_normal((2, 500, 8)) @ root.T
    density = stats.multivariate_normal(np.full(8, 100.0), root @ root.T)
    value, error = log_integral(lambda x: density.logpdf(x) - 1e5, draws, rng)
    assert value == pytest.approx(-1e5, abs=4 * error)
    assert error < 0.02


def test_its_error_is_what_it_varies_by() -> None:
    shapes = np.array([1.0, 2.0, 4.0])
    found = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        draws = np.log(rng.gamma(shapes, size=(2, 200, 3)))
        found.append(log_integral(lambda x: (shapes * x - np.exp(x)).sum(axis=1), draws, rng))
    values, errors = np.array(found).T
    assert values.mean() == pytest.approx(special.gammaln(shapes).sum(), abs=0.03)
    assert 0.6 < values.std() / errors.mean() < 1.6


def test_a_mixture_is_that_of_its_draws() -> None:
    rng = np.random.default_rng(3)
    mixture = Mixture(rng.normal(0.1, 0.3, 200), rng.uniform(0.05, 0.4, 200))
    draws = rng.normal(mixture.means, mixture.sds, (5000, 200)).ravel()
    assert mixture.mean == pytest.approx(draws.mean(), abs=0.002)
    assert mixture.sd == pytest.approx(draws.std(), abs=0.002)
    assert mixture.below(0.0) == pytest.approx((draws < 0).mean(), abs=0.002)
    for prob in (0.05, 0.5, 0.95):
        assert mixture.quantile(prob) == pytest.approx(np.quantile(draws, prob), abs=0.003)
        assert mixture.below(mixture.quantile(prob)) == pytest.approx(prob, abs=1e-9)
