"""Slice sampling, for parameters that are few and whose density is cheap."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["slice_sample"]

Array = NDArray[np.float64]

_MOST_STEPS = 60  # to either side


def slice_sample(
    log_density: Callable[[Array], Array], x: Array, width: Array | float, rng: np.random.Generator
) -> Array:
    """Move independent coordinates by slice sampling, with stepping out and shrinkage.

    After Neal (2003), Slice sampling, Annals of Statistics 31, 705–767.
    """
    level = log_density(x) - rng.standard_exponential(x.shape)
    low = x - width * rng.uniform(size=x.shape)
    high = low + width
    for _ in range(_MOST_STEPS):
        inside = log_density(low) > level
        low = np.where(inside, low - width, low)
        if not inside.any():
            break
    for _ in range(_MOST_STEPS):
        inside = log_density(high) > level
        high = np.where(inside, high + width, high)
        if not inside.any():
            break
    out = x.copy()
    moving = np.ones(x.shape, dtype=bool)
    while moving.any():
        proposal = np.where(moving, low + (high - low) * rng.uniform(size=x.shape), out)
        accepted = moving & (log_density(proposal) > level)
        out = np.where(accepted, proposal, out)
        moving &= ~accepted
        low, high = (
            np.where(moving & (proposal < x), proposal, low),
            np.where(moving & (proposal >= x), proposal, high),
        )
    return out
