"""Importance weights, as both generations of ArviZ smooth them."""

from __future__ import annotations

import numpy as np

from valuebias.analysis.estimands.reweighting import smoothed


def test_weights_of_a_chain_that_stood_still_are_not_trusted() -> None:
    ratios = np.random.default_rng(0).normal(size=40)
    ratios[np.argsort(ratios)[-10:]] = ratios.max()
    found = smoothed(ratios)
    assert found.k == np.inf
    np.testing.assert_allclose(found.weights, np.exp(ratios) / np.exp(ratios).sum(), rtol=1e-6)


def test_the_largest_ratio_has_the_largest_weight() -> None:
    ratios = np.sort(np.random.default_rng(1).normal(size=2000))
    found = smoothed(ratios)
    assert found.weights.argmax() == 1999
    assert 0 < found.k < 0.7
    assert abs(found.weights.sum() - 1) < 1e-12
