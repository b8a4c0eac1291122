"""Means and effects that move against one another, against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from dense import assert_drawn_from

from valuebias.analysis.sampling.locations import relocate_models, relocate_words

F, A = 2, 3
INVERSE = np.array([[2.0, 0.5], [0.5, 1.0]])


def given_sum(design: np.ndarray, whole: np.ndarray, precision: np.ndarray):
    """Condition standard normal coefficients on normals whose mean is their linear function."""
    covariance = np.linalg.inv(np.eye(design.shape[1]) + design.T @ precision @ design)
    return covariance @ design.T @ precision @ whole, covariance


@pytest.mark.parametrize("words", [False, True], ids=["models", "words"])
def test_coefficients_are_drawn_given_the_sum(words: bool) -> None:
    rng = np.random.default_rng(0)
    n, q = 5, 2
    rows = rng.standard_normal((n, A if words else q))
    weight, scales = rng.gamma(2.0, size=n), np.array([0.5, 2.0])
    coefficient = rng.standard_normal((q, F, A))
    levels = rng.standard_normal((n, q if words else A, F))

    def means(c: np.ndarray) -> np.ndarray:
        if words:
            return np.einsum("wa,qfa,q->wqf", rows, c, scales)
        return np.einsum("lq,qfa->laf", rows, c)

    # Each level's numbers are linear in the coefficients.
    units = np.eye(coefficient.size).reshape(-1, *coefficient.shape)
    design = np.array([means(unit).ravel() for unit in units]).T
    precision = np.kron(np.diag(weight), np.kron(np.eye(levels.shape[1]), INVERSE))
    whole = levels + means(coefficient)
    mean, covariance = given_sum(design, whole.ravel(), precision)
    draws = []
    for _ in range(1500):
        if words:
            found = relocate_words(levels, coefficient, rows, scales, weight, INVERSE, rng)
        else:
            found = relocate_models(levels, coefficient, rows, weight, INVERSE, rng)
        np.testing.assert_allclose(found[0] + means(found[1]), whole)
        draws.append(found[1].ravel())
    assert_drawn_from(np.array(draws), mean, covariance)
