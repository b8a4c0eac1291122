"""The integral of an unnormalised density, by bridge sampling from draws of it.

Meng & Wong 1996, Statistica Sinica 6, 831–860, with a normal distribution fitted to half of the
draws, as in R's package bridgesampling (Gronau et al. 2020, J. Stat. Softw. 92(10)).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import linalg
from scipy.special import expit, logsumexp

__all__ = ["log_integral"]

Array = NDArray[np.float64]

_MOST_ROUNDS = 1000
_TOLERANCE = 1e-10


def log_integral(
    log_density: Callable[[Array], Array], draws: Array, rng: np.random.Generator
) -> tuple[float, float]:
    """Estimate a density's log integral and its standard error; draws (chain, draw, dimension)."""
    # Not every other draw: the proposal would be too near the neighbours of what shaped it, which
    # makes the integral too small by a quarter of a nat.
    half = draws.shape[1] // 2
    fitted, compared = (part.reshape(-1, draws.shape[2]) for part in np.split(draws, [half], 1))
    centre, root = fitted.mean(axis=0), np.linalg.cholesky(np.cov(fitted.T, ddof=1))
    proposed = centre + rng.standard_normal((2 * len(compared), draws.shape[2])) @ root.T
    constant = np.log(np.diag(root)).sum() + 0.5 * draws.shape[2] * np.log(2 * np.pi)

    def log_ratio(points: Array) -> Array:
        z = linalg.solve_triangular(root, (points - centre).T, lower=True)
        return np.asarray(log_density(points) + 0.5 * (z**2).sum(axis=0) + constant)

    ours, theirs = log_ratio(compared), log_ratio(proposed)
    share = np.log(len(compared) / (len(compared) + len(proposed)))
    other = np.log(len(proposed) / (len(compared) + len(proposed)))
    value = float(np.median(ours))
    for _ in range(_MOST_ROUNDS):
        before = value
        # Both are means of the optimal bridge, under the proposal and under the density.
        top = logsumexp(theirs - np.logaddexp(share + theirs - value, other)) - np.log(len(theirs))
        low = logsumexp(-np.logaddexp(share + ours - value, other)) - np.log(len(ours))
        value = float(top - low)
        if abs(value - before) < _TOLERANCE:
            break
    by_proposal = expit(theirs - value + share - other)
    by_density = expit(value - ours + other - share)
    relative = [
        part.var(ddof=1) / part.mean() ** 2 / len(part) for part in (by_proposal, by_density)
    ]
    return value, float(np.sqrt(sum(relative)))
