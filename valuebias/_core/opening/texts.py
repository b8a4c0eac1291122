"""Tell whether what a file holds as text is Unicode: numpy takes any four bytes for a character."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["is_text"]

_LAST = 0x10FFFF


def is_text(values: NDArray[Any]) -> bool:
    """Tell whether all characters of fixed-width text exist; of other arrays there is none.

    Examples
    --------
    >>> is_text(np.array(["love"])), is_text(np.array([2**31], dtype="<u4").view("<U1"))
    (True, False)
    """
    if values.dtype.kind != "U" or not values.size or not values.dtype.itemsize:
        return True
    code = np.dtype(np.uint32).newbyteorder(values.dtype.byteorder)
    return bool(np.ascontiguousarray(values).view(code).max() <= _LAST)
