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

from valuebias.analysis.contrasting.values import POWER, SURE, Values

__all__ = ["Estimate", "of_families", "of_model"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """An estimate with its standard error; NaN where nothing is seen of its sampling."""

    value: float
    se: float
    df: float
    n_items: int

    def interval(self, prob: float) -> tuple[float, float]:
        """Give the ends of an interval."""
        if not np.isfinite(self.se):
            return np.nan, np.nan
        wide = float(stats.t.ppf(0.5 + prob / 2, self.df)) * self.se
        return self.value - wide, self.value + wide

    def p(self, null: float) -> float:
        """Give the two-sided p-value of a null value."""
        if not np.isfinite(self.se + null):
            return np.nan
        if self.se == 0:
            return float(self.value == null)
        return float(2 * stats.t.sf(abs(self.value - null) / self.se, self.df))

    @property
    def detectable(self) -> float:
        """Give the least difference from a null value that is found with :data:`POWER`."""
        if not np.isfinite(self.se):
            return np.nan
        return float((stats.t.ppf(SURE, self.df) + stats.t.ppf(POWER, self.df)) * self.se)


def of_model(values: Values, model: int) -> Estimate:
    """Estimate of one model, items the sample."""
    row = values.table[model]
    row = row[np.isfinite(row)]
    n = len(row)
    se = float(row.std(ddof=1) / np.sqrt(n)) if n > 1 else np.nan
    value, count = float(values.estimate[model]), int(values.n_items[model])
    return Estimate(value, se, max(n - 1, 1), count)


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
    return Estimate(value, float(np.sqrt(variance)), min(df, n_items - 1.0), count)


def _squares(sums: Array | float) -> float:
    """Sum of squares of clusters' sums, for the clusters that are a sample of all."""
    each = np.asarray(sums)
    return float((each**2).sum() * len(each) / (len(each) - 1))
