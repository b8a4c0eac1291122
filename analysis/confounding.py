"""See which numbers that describe words (their length, say) differ between the categories.

If models of one family like long words more, and one category has longer words, a difference in
length is taken for one in values. Least squares on the words says what adjusting would do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

__all__ = ["LENGTH", "Imbalance", "largest_slope", "word_imbalances", "word_numbers"]

Array = NDArray[np.float64]

LENGTH = "length"
"""The covariate that every word has: its number of characters."""

# Numbers that span so much are compared by their logarithm.
_WIDE = 100.0
_LEAST_WORDS = 10
_NOTHING = 1e-6


@dataclass(frozen=True)
class Imbalance:
    """How a number of the words differs between the categories compared.

    Attributes
    ----------
    name : str
        Of the covariate.
    term : str
        What to write in a formula over words, such as ``"log(frequency)"``.
    gap : float
        Difference of the categories' means in SDs of the words within categories.
    gap_p : float
        Of the difference, two-sided; words are the sample.
    slope : float
        By how much an outcome changes for one SD of the number, categories held fixed.
    slope_p : float
    shift : float
        What adjusting for it adds to the contrast of categories in that outcome.
    """

    name: str
    term: str
    gap: float
    gap_p: float
    slope: float
    slope_p: float
    shift: float


def word_numbers(dataset: xr.Dataset) -> pd.DataFrame:
    """Give the numbers that describe the words: numeric coordinates on ``response``, and length.

    Parameters
    ----------
    dataset : xarray.Dataset

    Returns
    -------
    DataFrame
        One row a word, in the order of the dataset; NaN where unknown.
    """
    words = dataset["response"].to_numpy().astype(str)
    columns: dict[str, Array] = {LENGTH: np.array([len(word) for word in words], dtype=float)}
    for name, coord in dataset.coords.items():
        if coord.dims == ("response",) and coord.dtype.kind in "iuf":
            columns[str(name)] = coord.to_numpy().astype(float)
    return pd.DataFrame(columns)


def word_imbalances(
    numbers: pd.DataFrame, axes: Array, contrast: Array, outcome: Array
) -> list[Imbalance]:
    """Compare the categories in every number, and say what adjusting for it does to an outcome.

    Parameters
    ----------
    numbers : DataFrame, shape (word, covariate)
        Those that do not vary within categories are left out: nothing can tell them apart.
    axes : ndarray, shape (word, axis)
        Columns that span the categories (and what else the words are adjusted for already).
    contrast : ndarray, shape (axis,)
        The contrast of categories by coordinate on the axes.
    outcome : ndarray, shape (word,)
        Such as the difference between two families in every word; NaN where unknown.

    Returns
    -------
    list of Imbalance
        In the order of the columns.
    """
    found = (
        _imbalance(str(name), column.to_numpy(dtype=float), axes, contrast, outcome)
        for name, column in numbers.items()
    )
    return [one for one in found if one is not None]


def largest_slope(numbers: pd.DataFrame, axes: Array, outcome: Array) -> float:
    """Largest |correlation| of an outcome with a number of the words, within categories."""
    found = word_imbalances(numbers, axes, np.zeros(axes.shape[1]), outcome)
    # The two-sided p of a correlation orders them as their size does, where all words are known.
    return max((abs(one.slope) for one in found), default=np.nan)


def _imbalance(
    name: str, values: Array, axes: Array, contrast: Array, outcome: Array
) -> Imbalance | None:
    known = np.isfinite(values) & np.isfinite(outcome)
    term = name
    least = values[known].min(initial=np.inf)
    if least > 0 and values[known].max(initial=0) > _WIDE * least:
        values, term = np.log(np.where(known, values, 1.0)), f"log({name})"
    basis = np.column_stack([np.ones(known.sum()), axes[known]])
    inverse = np.linalg.pinv(basis)
    rank = round(float((basis * inverse.T).sum()))
    df = int(known.sum()) - rank - 1
    if df < _LEAST_WORDS:
        return None
    whole, target = values[known], outcome[known]
    fitted = inverse @ whole
    own = whole - basis @ fitted
    size = float(own @ own)
    varied = float(((whole - whole.mean()) ** 2).sum())
    if size < _NOTHING * max(varied, _NOTHING * float(whole @ whole)) or varied == 0:
        return None
    sd = np.sqrt(size / (df + 1))
    along = np.concatenate([[0.0], contrast])
    gap = float(along @ fitted)
    gap_se = sd * float(np.linalg.norm(along @ inverse))
    slope = float(own @ target) / size
    left = target - basis @ (inverse @ target) - slope * own
    slope_se = np.sqrt(float(left @ left) / df / size)
    return Imbalance(
        name=name,
        term=term,
        gap=gap / sd,
        gap_p=_p(gap, gap_se, df + 1),
        slope=slope * sd,
        slope_p=_p(slope, slope_se, df),
        shift=-slope * gap,
    )


def _p(value: float, se: float, df: float) -> float:
    return float(2 * stats.t.sf(abs(value) / se, df)) if se > 0 else float(value == 0)
