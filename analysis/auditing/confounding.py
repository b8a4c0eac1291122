"""Find numbers that describe words (such as length) and differ between the categories.

If models of one family like long words more, and one category has longer words, a difference in
length is taken for one in values. Least squares on the words says what adjusting would do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy import special

from valuebias.schema import word_table

__all__ = ["Estimate", "Imbalance", "largest_slope", "word_imbalances", "word_numbers"]

Array = NDArray[np.float64]

# Numbers with a wider range are compared by their logarithm.
_WIDE = 100.0
_LEAST_WORDS = 10
_NOTHING = 1e-6


@dataclass(frozen=True)
class Imbalance:
    """How a number of the words differs between the categories compared."""

    name: str  # of the covariate
    term: str  # what to write in a formula over words, such as ``"log(frequency)"``
    gap: float  # difference of the categories' means in SDs of the words within categories
    gap_p: float  # of the difference, two-sided; words are the sample
    slope: float  # by how much an estimate changes for one SD of the number, categories held fixed
    slope_p: float  # of the slope, two-sided; words and models are samples
    shift: float  # what adjusting for it adds to the contrast of categories in that estimate


def word_numbers(dataset: xr.Dataset) -> pd.DataFrame:
    """Return the numbers that describe words: numeric coordinates on ``response``, and length."""
    table = word_table(dataset)
    numeric = [name for name in table.columns if table[name].dtype.kind in "iuf"]
    return table[numeric].astype(float).reset_index(drop=True)


@dataclass(frozen=True)
class Estimate:
    """An estimate as a weighted sum over units (models, or bases) of their tables of words."""

    tables: Array  # (unit, word): NaN where unknown
    weights: Array  # (unit,): such as 1 / n in one family and −1 / n in another
    kinds: NDArray[np.intp]  # (unit,): units of one kind differ by chance

    @property
    def by_word(self) -> Array:
        """The estimate in every word."""
        return np.asarray(self.weights @ self.tables)

    def variance(self, values: Array) -> tuple[float, float]:
        """Variance of a weighted sum of values (unit,) that differ within kinds, with its df.

        A unit alone of its kind varies as others do; 0 where there are no others.
        """
        _, kinds = np.unique(self.kinds, return_inverse=True)
        n = np.bincount(kinds)
        apart = values - (np.bincount(kinds, values) / n)[kinds]
        free = n - 1
        squares = np.bincount(kinds, apart**2)
        pooled = squares.sum() / np.maximum(free.sum(), 1)
        by_kind = np.where(free > 0, squares / np.maximum(free, 1), pooled)
        parts = by_kind * np.bincount(kinds, self.weights**2)
        share = float((parts**2 / np.maximum(free, 1)).sum())
        return float(parts.sum()), float(parts.sum() ** 2 / share) if share > 0 else np.inf


def word_imbalances(
    numbers: pd.DataFrame, axes: Array, contrast: Array, estimate: Estimate
) -> list[Imbalance]:
    """Compare the categories in every number, and say what adjusting for it does to an estimate.

    ``numbers`` is (word, covariate); ``axes`` is (word, axis); ``contrast`` is (axis,).
    """
    imbalances = (
        _imbalance(str(name), column.to_numpy(dtype=float), axes, contrast, estimate)
        for name, column in numbers.items()
    )
    return [one for one in imbalances if one is not None]


def largest_slope(numbers: pd.DataFrame, axes: Array, estimate: Estimate) -> float:
    """Largest slope of an estimate on a number of the words, categories held fixed; or NaN."""
    imbalances = word_imbalances(numbers, axes, np.zeros(axes.shape[1]), estimate)
    return max((abs(one.slope) for one in imbalances), default=np.nan)


def _imbalance(
    name: str, values: Array, axes: Array, contrast: Array, estimate: Estimate
) -> Imbalance | None:
    known = np.isfinite(values) & np.isfinite(estimate.by_word)
    if known.sum() < _LEAST_WORDS:
        return None
    term = name
    least = values[known].min(initial=np.inf)
    if least > 0 and values[known].max(initial=0) > _WIDE * least:
        values, term = np.log(np.where(known, values, 1.0)), f"log({name})"
    basis = np.column_stack([np.ones(known.sum()), axes[known]])
    inverse = np.linalg.pinv(basis)
    rank = round(float((basis * inverse.T).sum()))
    df = int(known.sum()) - rank - 1
    whole, target = values[known], estimate.by_word[known]
    fitted = inverse @ whole
    residual = whole - basis @ fitted
    size = float(residual @ residual)
    varied = float(((whole - whole.mean()) ** 2).sum())
    constant = size <= _NOTHING * max(varied, _NOTHING * float(whole @ whole))
    if df < _LEAST_WORDS or constant:
        return None
    sd = np.sqrt(size / (df + 1))
    along = np.concatenate([[0.0], contrast])
    gap = float(along @ fitted)
    slope = float(residual @ target) / size
    left = target - basis @ (inverse @ target) - slope * residual
    # Words are a sample, and so are models, each of which may have a slope of its own.
    by_words = float(left @ left) / df / size
    by_models, df_models = estimate.variance(estimate.tables[:, known] @ residual / size)
    variance = by_words + by_models
    both = variance**2 / (by_words**2 / df + by_models**2 / df_models) if variance > 0 else df
    return Imbalance(
        name=name,
        term=term,
        gap=gap / sd,
        gap_p=_p(gap, sd * float(np.linalg.norm(along @ inverse)), df + 1),
        slope=slope * sd,
        slope_p=_p(slope, float(np.sqrt(variance)), both),
        shift=-slope * gap,
    )


def _p(value: float, se: float, df: float) -> float:
    return float(2 * special.stdtr(df, -abs(value) / se)) if se > 0 else float(value == 0)
