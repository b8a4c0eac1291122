"""Summaries of a mixture of normal distributions, one per posterior draw of the variances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

__all__ = ["Mixture"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Mixture:
    """Normal distributions with equal weights.

    Attributes
    ----------
    means, sds : ndarray, shape (draw,)
    """

    means: Array
    sds: Array

    @property
    def mean(self) -> float:
        """Mean of the mixture."""
        return float(self.means.mean())

    @property
    def sd(self) -> float:
        """Standard deviation of the mixture."""
        return float(np.sqrt((self.sds**2).mean() + self.means.var()))

    def below(self, value: float) -> float:
        """Probability of less than ``value``."""
        return float(special.ndtr((value - self.means) / self.sds).mean())

    def quantile(self, prob: float) -> float:
        """Return the value below which ``prob`` lies."""
        reach = 12 * self.sds
        ends = float((self.means - reach).min()), float((self.means + reach).max())
        return float(optimize.brentq(lambda x: self.below(x) - prob, *ends))
