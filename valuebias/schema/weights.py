"""Words that belong to a category more or less: what a weight may be."""

from __future__ import annotations

import numpy as np
import pandas as pd

from valuebias.errors import ValueBiasError, shown

__all__ = ["are_marks", "check_weights", "marks_or_weights", "poles_advice"]


def are_marks(weights: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> bool:
    """Whether words belong or do not, and nothing between.

    Examples
    --------
    >>> are_marks(np.array([[1.0, 0.0]])), are_marks(np.array([[0.5, 0.0]]))
    (True, False)
    """
    return bool(((weights == 0) | (weights == 1)).all())


def check_weights(table: pd.DataFrame, noun: str = "the lexicon", *, missing: str = "") -> None:
    """Refuse weights that are neither memberships (0 to 1) nor loadings (−1 to 1)."""
    if all(dtype == np.bool_ for dtype in table.dtypes):
        return
    weights = table.to_numpy(dtype=float)
    wrong = ~(np.abs(weights) <= 1)  # so that NaN is wrong as well
    if wrong.any():
        row, column = (int(i) for i in np.argwhere(wrong)[0])
        if np.isnan(weights[row, column]):
            raise ValueBiasError(
                f"The word {shown(str(table.index[row]))} of {noun} has no weight (NaN) in the "
                f"category {shown(str(table.columns[column]))}; expected a number, 0 where it does "
                f"not belong. {missing}".rstrip()
            )
        said = (
            f"The word {shown(str(table.index[row]))} of {noun} has the weight "
            f"{weights[row, column]:g} in the category {shown(str(table.columns[column]))}; "
            "expected one between 0 and 1, or between −1 and 1 where words can speak against a "
            "category. Bring another scale to that, as (rating − middle) / half of its range; or "
            "say from which weight on a word belongs: "
        )
        raise ValueBiasError(
            f"{said}valuebias.lexicon(..., threshold=...).", in_shell=f"{said}--threshold."
        )


def poles_advice(table: pd.DataFrame) -> tuple[str, str]:
    """Say how the two ends of a single signed category are compared, in Python and in a shell.

    Examples
    --------
    >>> poles_advice(pd.DataFrame({"moral": [0.5, -0.5]}))[0]
    " Its weights have signs: compare its poles, lexicon=valuebias.lexicon(...).poles('moral')."
    """
    if table.shape[1] != 1 or not (table.to_numpy(dtype=float) < 0).any():
        return "", ""
    said = " Its weights have signs: compare its poles"
    name = str(table.columns[0])
    return (
        f"{said}, lexicon=valuebias.lexicon(...).poles({name!r}).",
        f"{said}, in a lexicon with a column for each: the words of positive weight in one, those "
        "of negative weight, without their sign, in the other.",
    )


def marks_or_weights(table: pd.DataFrame) -> pd.DataFrame:
    """Give weights of 0 and 1 as what they are: words that belong or do not."""
    values = table.to_numpy(dtype=float)
    return table.astype(bool) if are_marks(values) else table.astype(float)
