"""Whether ranks are uniform: simultaneous bands about their cumulative distribution.

After Säilynoja, Bürkner & Vehtari (2022), Graphical test for discrete uniformity and its
applications in goodness-of-fit evaluation and multiple sample comparison; their algorithm by
simulation, for one sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = ["Bands", "make_bands"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Bands:
    """What uniform ranks do.

    Attributes
    ----------
    n, n_ranks : int
        How many ranks, from 0 to ``n_ranks − 1``.
    least : ndarray, shape (simulation,)
        Of simulated samples: the smallest tail probability of the cumulative counts.
    """

    n: int
    n_ranks: int
    least: Array

    @property
    def points(self) -> Array:
        """Where the cumulative distribution is looked at; the last point is always 1."""
        return np.arange(1, self.n_ranks) / self.n_ranks

    def cumulative(self, ranks: NDArray[np.intp]) -> NDArray[np.intp]:
        """Count how many ranks are below each point: (…, sample) to (…, point)."""
        flat = ranks.reshape(-1, ranks.shape[-1])
        counts = np.stack([np.bincount(r, minlength=self.n_ranks) for r in flat])
        return counts.cumsum(axis=1)[:, :-1].reshape(*ranks.shape[:-1], -1)

    def tail(self, ranks: NDArray[np.intp]) -> Array:
        """Give the smallest pointwise two-sided tail probability."""
        counts = self.cumulative(ranks)
        below = stats.binom.cdf(counts, self.n, self.points)
        above = stats.binom.sf(counts - 1, self.n, self.points)
        return np.asarray(2 * np.minimum(below, above).min(axis=-1))

    def p(self, ranks: NDArray[np.intp]) -> Array:
        """Give the probability that uniform ranks stray as far anywhere; (…, sample) to (…)."""
        rank = np.searchsorted(np.sort(self.least), self.tail(ranks), side="right")
        return np.asarray((rank + 1) / (len(self.least) + 1))

    def limits(self, prob: float) -> tuple[Array, Array]:
        """Give the band that all of the curve stays in with the probability ``prob``."""
        level = np.quantile(self.least, 1 - prob)
        lower = stats.binom.ppf(level / 2, self.n, self.points) / self.n
        upper = stats.binom.ppf(1 - level / 2, self.n, self.points) / self.n
        return lower, upper


@cache
def make_bands(n: int, n_ranks: int, *, simulations: int = 4000) -> Bands:
    """Simulate uniform ranks."""
    ranks = np.random.default_rng(1).integers(n_ranks, size=(simulations, n))
    unfinished = Bands(n, n_ranks, np.empty(0))
    return Bands(n, n_ranks, unfinished.tail(ranks))
