"""Compare how much models vary within one family and within another."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import special

from valuebias.analysis.auditing.likeness import Likeness

__all__ = ["Unequal", "odd_units", "spread_ratios", "unequal_kinds"]

Array = NDArray[np.float64]

LEAST = 1.5
"""Ratio of SDs below which families are not called unequal, however sure it is."""

_LEVEL = 0.01
# A unit is odd if its SD is more than this many times that of others of its kind.
_ODD = 1.75
_LEAST_UNITS = 4
_LEAST_DF = 50.0


@dataclass(frozen=True)
class Unequal:
    """Two kinds of units, the first of which varies more."""

    more: int  # more, less: the kinds
    less: int
    ratio: float  # ratio of their SDs
    expected: float  # the largest of equal kinds in 99 cases of 100
    of: str  # what varies
    widening: float  # factor for the standard error of an estimate; below one, that is too large


def unequal_kinds(likeness: Likeness, leans: Array, weights: Array) -> Unequal | None:
    """Find the two kinds of units that differ most in spread beyond chance; None if none do.

    ``leans`` is (model,); ``weights`` is (unit,).
    """
    unequal = []
    for of, variances in _variances(likeness, leans).items():
        pairs = list(combinations(variances, 2))
        for pair in pairs:
            more, less = sorted(pair, key=lambda kind: -variances[kind][0])
            (large, n_large), (small, n_small) = variances[more], variances[less]
            df = likeness.units.df if of == "words" else 1.0
            degrees = (df * (n_large - 1), df * (n_small - 1))
            # Either may be the larger, hence half the level.
            expected = np.sqrt(special.fdtri(*degrees, 1 - _LEVEL / 2 / len(pairs) / 2))
            if of == "words":
                # One odd unit does not make its whole kind more variable.
                large = _without_farthest(likeness, more, large)
            ratio = np.sqrt(large / small) if small > 0 else np.inf
            if ratio > max(LEAST, expected):
                widening = _widening(likeness, variances, weights)
                unequal.append(Unequal(more, less, float(ratio), float(expected), of, widening))
    return max(unequal, key=lambda one: one.ratio / one.expected, default=None)


def odd_units(likeness: Likeness) -> list[tuple[int, float]]:
    """Find units that vary much more than others of their kind, with the ratio of SDs.

    Distances from units of other kinds tell such a unit from one beside a group of like ones.
    """
    out = []
    for kind in np.unique(likeness.units.kinds).tolist():
        positions, within = likeness.units.of_kind(kind), likeness.units.within(kind)
        if len(within) < _LEAST_UNITS or likeness.units.df < _LEAST_DF:
            continue
        n = len(within)
        by_unit = within.sum(axis=1)
        from_kind = (by_unit - by_unit.sum() / 2 / (n - 1)) / (n - 2)
        from_others = likeness.taken_variance(kind) + likeness.units.excess(kind)
        for i, unit in enumerate(positions.tolist()):
            rest = np.arange(n) != i
            ratios = [v[i] / np.median(v[rest]) for v in (from_kind, from_others)]
            if min(ratios) > _ODD**2:
                out.append((unit, float(np.sqrt(min(ratios)))))
    return out


def spread_ratios(likeness: Likeness, leans: Array) -> dict[str, float]:
    """Largest ratio of the kinds' SDs, of words and of leans; NaN where there are no two kinds."""
    out = {}
    for of, variances in _variances(likeness, leans).items():
        values = [variance for variance, _ in variances.values()]
        comparable = len(values) > 1 and min(values) > 0
        out[of] = float(np.sqrt(max(values) / min(values))) if comparable else np.nan
    return out


def _variances(likeness: Likeness, leans: Array) -> dict[str, dict[int, tuple[float, int]]]:
    """By words and by leans: each kind's variance, and of how many units."""
    kinds = np.unique(likeness.units.kinds)
    between = likeness.units.linked((leans[:, None] - leans) ** 2)
    by_distance = {"words": likeness.units.residual_distances, "leans": between}
    out: dict[str, dict[int, tuple[float, int]]] = {}
    for of, distances in by_distance.items():
        by_kind = {int(kind): likeness.variance_of(kind, distances) for kind in kinds}
        out[of] = {kind: one for kind, one in by_kind.items() if one[1] > 1}
    return out


def _without_farthest(likeness: Likeness, kind: int, variance: float) -> float:
    """Variance of a kind's units without the one that is farthest from the others."""
    within = likeness.units.within(kind)
    if len(within) < 3:
        return variance
    clusters = likeness.clusters[likeness.units.of_kind(kind)]
    left = np.delete(np.arange(len(within)), within.mean(axis=1).argmax())
    apart = clusters[left, None] != clusters[left]
    return float(within[np.ix_(left, left)][apart].mean()) / 2 if apart.any() else variance


def _widening(likeness: Likeness, variances: dict[int, tuple[float, int]], weights: Array) -> float:
    """Divide the standard error with a spread by kind by that with a pooled one."""
    load = {kind: float((weights[likeness.units.of_kind(kind)] ** 2).sum()) for kind in variances}
    n_free = sum(n - 1 for _, n in variances.values())
    pooled = sum(variance * (n - 1) for variance, n in variances.values()) / n_free
    needed = sum(variance * load[kind] for kind, (variance, _) in variances.items())
    taken = pooled * sum(load.values())
    return float(np.sqrt(needed / taken)) if taken > 0 else 1.0
