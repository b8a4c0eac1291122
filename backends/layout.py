"""How packs are laid out for graphs that attend over a prefix trie."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from valuebias.backends.base import Pack

__all__ = ["BLOCK", "REACH", "inputs"]

BLOCK = 32
"""How many queries are treated at a time."""
REACH = 32
"""How far back a token that is not in the trunk is seen."""

Integers = npt.NDArray[np.int64]


def inputs(pack: Pack) -> dict[str, Integers]:
    """Return a pack as the arrays that a model takes: whole blocks, and the trunk.

    Examples
    --------
    >>> pack = Pack(np.array([5, 6]), np.array([0, 1]), np.array([2, 2]), np.array([1]))
    >>> {name: len(array) for name, array in inputs(pack).items()}
    {'ids': 32, 'position': 32, 'end': 32, 'trunk': 1, 'gather': 1}
    """
    length = len(pack)
    fill = -length % BLOCK
    end = np.concatenate([pack.end, np.arange(length, length + fill) + 1])
    trunk = np.flatnonzero(end - np.arange(len(end)) > REACH)
    arrays = {
        "ids": np.pad(pack.ids, (0, fill)),
        "position": np.pad(pack.position, (0, fill)),
        "end": end,
        # Never empty, because graphs take no empty product. A token too many does no harm: the
        # mask knows which ones are in the trunk.
        "trunk": trunk if len(trunk) else np.zeros(1, dtype=np.int64),
        "gather": pack.gather.copy(),
    }
    if pack.row is not None and pack.target is not None:
        arrays |= {"row": pack.row.copy(), "target": pack.target.copy()}
    return arrays
