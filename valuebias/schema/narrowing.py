"""Keep scores in 32 bits, and say where that would make one score of several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from valuebias.errors import ValueBiasError

__all__ = ["narrowed"]

_STEPS = 2**12
"""So many numbers of 32 bits lie between the least and the largest score, at least; else a look."""


def narrowed(values: npt.NDArray[Any], models: Sequence[str]) -> npt.NDArray[np.float32]:
    """Give the scores of each model, the first dim, in 32 bits.

    Examples
    --------
    >>> narrowed(np.array([[1.5, np.nan]]), ["org/a"]).dtype
    dtype('float32')
    >>> narrowed(np.array([[100, 100 + 1e-7, 100 + 2e-7]]), ["org/a"])
    Traceback (most recent call last):
    ...
    valuebias.errors.ValueBiasError: Model 'org/a' has 3 different scores, of which 1 would be left
    in the 32 bits in which scores are kept: next to 100, they tell apart what differs by 7.6e-06.
    Subtract about 100 from all scores of the model; its ranks stay as they are.
    """
    with np.errstate(over="ignore"):  # an overflow becomes infinite, which is named later
        narrow = values.astype(np.float32, copy=False)
    if values.dtype == np.float64:
        for model, wide, kept in zip(models, values, narrow, strict=True):
            _check(model, wide, kept)
    return narrow


def _check(model: str, wide: npt.NDArray[np.float64], kept: npt.NDArray[np.float32]) -> None:
    finite = wide[np.isfinite(wide)]
    if not finite.size:
        return
    low, high = float(finite.min()), float(finite.max())
    largest = low if abs(low) > abs(high) else high
    with np.errstate(over="ignore"):
        step = float(np.spacing(np.float32(abs(largest))))
    if not np.isfinite(step) or high - low > _STEPS * step:
        return
    n_wide, n_kept = np.unique(finite).size, np.unique(kept[np.isfinite(kept)]).size
    if n_kept < n_wide:
        raise ValueBiasError(
            f"Model {model!r} has {n_wide:,} different scores, of which {n_kept:,} would be left "
            f"in the 32 bits in which scores are kept: next to {largest:g}, they tell apart what "
            f"differs by {step:.1e}. Subtract about {largest:g} from all scores of the model; its "
            "ranks stay as they are."
        )
