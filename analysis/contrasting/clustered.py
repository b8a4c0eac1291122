"""Standard errors of statistics whose clusters are items, and of families also models or bases.

Of one model items are the sample. A family's mean generalises over its models (or the bases that
they stand on) and over items, so that both are clusters: the variance is the sum of both less that
of their cells (Cameron, Gelbach and Miller 2011, *Journal of Business & Economic Statistics* 29,
238–249), and never less than either alone. Degrees of freedom are those of the models, which are
the fewer, after Satterthwaite for two families.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from valuebias.analysis.contrasting.values import POWER, SURE, UNBOUNDED, Values

__all__ = ["Estimate", "of_families", "of_model"]

Array = NDArray[np.float64]

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Estimate:
    """An estimate with its standard error; NaN where nothing is seen of its sampling."""

    value: float
    se: float
    df: float
    n_items: int
    ends: tuple[float, float] = UNBOUNDED
    # How many clusters all have one value, where they do: their scatter of zero says nothing.
    n_same: int = 0

    def interval(self, prob: float) -> tuple[float, float]:
        """Give the ends of an interval.

        Where no cluster departs from the others, it says how many of all may (Clopper and Pearson),
        each as far as can be.
        """
        low, high = self.ends
        if not np.isfinite(self.se):
            return np.nan, np.nan
        if self.n_same:
            if not np.isfinite(high - low):
                return np.nan, np.nan
            share = 1 - (0.5 - prob / 2) ** (1 / self.n_same)
            return self.value - (self.value - low) * share, self.value + (high - self.value) * share
        wide = float(stats.t.ppf(0.5 + prob / 2, self.df)) * self.se
        return max(self.value - wide, low), min(self.value + wide, high)

    def p(self, null: float) -> float:
        """Give the two-sided p-value of a null value."""
        low, high = self.ends
        if not np.isfinite(self.se + null):
            return np.nan
        if self.n_same:
            if self.value == null or not np.isfinite(high - low):
                return 1.0 if self.value == null else np.nan
            # What has this mean is so far off with no greater probability (Markov).
            end = low if self.value > null else high
            return float(min(1.0, 2 * ((null - end) / (self.value - end)) ** self.n_same))
        return float(2 * stats.t.sf(abs(self.value - null) / self.se, self.df))

    @property
    def detectable(self) -> float:
        """Give the least difference from a null value that is found with :data:`POWER`."""
        if not np.isfinite(self.se) or self.n_same:
            return np.nan
        return float((stats.t.ppf(SURE, self.df) + stats.t.ppf(POWER, self.df)) * self.se)


def of_model(values: Values, model: int) -> Estimate:
    """Estimate of one model, items the sample."""
    row = values.table[model]
    row = row[np.isfinite(row)]
    n = len(row)
    se = float(row.std(ddof=1) / np.sqrt(n)) if n > 1 else np.nan
    value, count = float(values.estimate[model]), int(values.n_items[model])
    same = n if n > 1 and _is_one(row) else 0
    return Estimate(value, 0.0 if same else se, max(n - 1, 1), count, values.ends, same)


def of_families(
    values: Values, members: Sequence[NDArray[np.intp]], unit: NDArray[np.intp]
) -> Estimate:
    """Estimate a family's mean, or that of a first family less that of a second.

    ``members`` are the positions of the models of each; ``unit`` (model,) numbers what is
    independent, models or bases.
    """
    every = np.concatenate(list(members))
    known = np.isfinite(values.table[every]).all(axis=0)
    n_items = int(known.sum())
    signs = (1.0, -1.0)[: len(members)]
    means = [float(values.estimate[one].mean()) for one in members]
    value = float(sum(s * mean for s, mean in zip(signs, means, strict=True)))
    count = int(values.n_items[every].min())
    if n_items < 2 or any(len(np.unique(unit[one])) < 2 for one in members):
        return Estimate(value, np.nan, 1.0, count)
    ends = values.ends
    if len(members) > 1:
        ends = ends[0] - ends[1], ends[1] - ends[0]
    if all(_is_one(values.table[one][:, known]) for one in members):
        # Of other models and items: no more is known than the fewer say.
        same = min(n_items, *(len(np.unique(unit[one])) for one in members))
        return Estimate(value, 0.0, 1.0, count, ends, same)
    off = [values.table[one][:, known] - values.table[one][:, known].mean() for one in members]
    # Sums over the clusters of what each cell adds to the estimate's departure.
    parts = [s * one / one.size for s, one in zip(signs, off, strict=True)]
    of_items = _squares(sum(part.sum(axis=0) for part in parts))
    of_units, cells = [], 0.0
    for part, one in zip(parts, members, strict=True):
        of_each = np.stack([part[unit[one] == u].sum(axis=0) for u in np.unique(unit[one])])
        of_units.append(_squares(of_each.sum(axis=1)))
        cells += _squares(of_each.ravel())
    between = float(sum(of_units))
    variance = max(between + of_items - cells, between, of_items)
    # Of two families Welch's; items are so many more that they are as good as known.
    freedom = [len(np.unique(unit[one])) - 1 for one in members]
    spent = sum(v**2 / df for v, df in zip(of_units, freedom, strict=True))
    df = between**2 / spent if spent > 0 else float(min(freedom))
    return Estimate(value, float(np.sqrt(variance)), min(df, n_items - 1.0), count, ends)


def _is_one(values: Array) -> bool:
    """Whether all values are the same, but for rounding."""
    return bool(np.ptp(values) <= _ROUNDING * np.abs(values).max())


def _squares(sums: Array | float) -> float:
    """Sum of squares of clusters' sums, for the clusters that are a sample of all."""
    each = np.asarray(sums)
    return float((each**2).sum() * len(each) / (len(each) - 1))
