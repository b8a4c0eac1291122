"""Importance weights: existing draws for another prior, or other data.

Draws of one posterior are draws of another, weighted by the ratio of the two densities. The ratio
is smoothed where it has a long tail (PSIS; Vehtari et al. 2024, JMLR 25(72)), and its Pareto k says
whether the weights are to be trusted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from valuebias.analysis.design.components import Components
from valuebias.analysis.design.crossing import Crossing
from valuebias.analysis.design.priors import Prior

__all__ = ["Weighted", "k_limit", "prior_log_ratio", "smoothed"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Weighted:
    """Smoothed weights of draws."""

    weights: Array  # (draw,): they sum to 1
    k: float  # pareto's; above :func:`k_limit` the weights are not to be trusted

    @property
    def ess(self) -> float:
        """How many independent draws the weighted ones are worth."""
        return float(1 / (self.weights**2).sum())

    def mean(self, values: Array) -> float:
        """Mean of ``values`` (draw,)."""
        return float(self.weights @ values)

    def quantiles(self, values: Array, at: list[float]) -> Array:
        """Quantiles of ``values`` (draw,)."""
        order = np.argsort(values)
        reached = np.cumsum(self.weights[order]) - 0.5 * self.weights[order]
        return np.asarray(np.interp(at, reached, values[order]))


def smoothed(log_ratio: Array) -> Weighted:
    """Smooth log importance ratios (draw,) into weights."""
    if np.ptp(log_ratio) < 1e-12:
        return Weighted(np.full(len(log_ratio), 1 / len(log_ratio)), -np.inf)
    log_weights, k = _psis(log_ratio - log_ratio.max())
    weights = np.exp(log_weights - log_weights.max())
    return Weighted(weights / weights.sum(), k)


def _psis(log_ratio: Array) -> tuple[Array, float]:
    try:
        from arviz_stats.base import array_stats
    except ImportError:  # before ArviZ 1
        from arviz import psislw

        log_weights, k = psislw(log_ratio)
    else:
        try:
            # It takes log-likelihoods, whose weights are their inverses.
            log_weights, k = array_stats.psislw(-log_ratio)
        except ValueError:
            # The largest weights are those of one draw again and again, where a chain stood still.
            # Before ArviZ 1 this is an infinite k, as here: such weights are not to be trusted.
            return log_ratio, np.inf
    return np.asarray(log_weights, dtype=float), float(np.asarray(k))


def k_limit(n_draws: int) -> float:
    """Return the largest Pareto k to trust with so many draws (Vehtari et al. 2024, eq. 11)."""
    return float(min(1 - 1 / np.log10(max(n_draws, 11)), 0.7))


def prior_log_ratio(
    crossing: Crossing,
    components: Components,
    old: Prior,
    new: Prior,
    *,
    sd: Array,
    spread: Array,
    coefficient: Array,
) -> Array:
    """Log-ratio of two priors at draws of a posterior, shape (draw,).

    ``sd`` is (draw, component, framing); ``spread`` is (draw, level, kind); ``coefficient`` is
    (draw, column, framing, axis).
    """
    out = np.zeros(len(sd))
    for c, name in enumerate(components.names):
        before, after = (p.sd_of(name) * crossing.scale for p in (old, new))
        out += _scale_change(sd[:, c], before, after)
    on_unit = coefficient / np.sqrt(crossing.axis_weight)
    scales = old.coefficient_scales(crossing), new.coefficient_scales(crossing)
    for a, (before, after) in enumerate(zip(*scales, strict=True)):
        out += _scale_change(on_unit[:, a].reshape(len(sd), -1), before, after)
    if crossing.space.kinds:
        contrasts = np.log(spread) @ components.spread_contrasts
        out += _scale_change(contrasts.reshape(len(sd), -1), old.spread, new.spread)
    return out


def _scale_change(values: Array, before: float, after: float) -> Array:
    """Log-ratio of two normal densities (or half-normal ones) about zero; (draw,)."""
    if before == after:
        return np.zeros(len(values))
    square = 0.5 * (values**2).sum(axis=1)
    return np.asarray(square * (before**-2 - after**-2) - values.shape[1] * np.log(after / before))
