"""Split the span of a formula into blocks that no covariance connects.

A formula over a layout that is the same for every family falls into its mean over families and
contrasts between them, and so on for sources. One dense block of the whole costs the cube of its
size; the blocks cost next to nothing. They are found from the matrices themselves: a generic
symmetric matrix that commutes with all of them has the blocks as its eigenspaces.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["invariant_blocks"]

Array = NDArray[np.float64]

_TOLERANCE = 1e-8


def invariant_blocks(matrices: list[Array]) -> tuple[Array, tuple[slice, ...]]:
    """Rotate symmetric matrices of one size so that all are block diagonal.

    ``matrices`` is (column, column); ``rotation`` is (column, column).

    Examples
    --------
    >>> rotation, blocks = invariant_blocks([np.array([[2.0, 1.0], [1.0, 2.0]])])
    >>> len(blocks)
    2
    """
    rng = np.random.default_rng(0)
    scaled = [matrix / max(np.abs(matrix).max(), 1e-300) for matrix in matrices]
    weights = rng.uniform(1, 2, len(scaled))
    generic = sum(w * matrix for w, matrix in zip(weights, scaled, strict=True))
    # What commutes with all commutes with their generic sum, so it keeps to its eigenspaces.
    candidates = [
        space @ unit @ space.T
        for space in _eigenspaces(np.asarray(generic))
        for unit in _symmetric_units(space.shape[1])
    ]
    commutators = np.array(
        [np.concatenate([(m @ x - x @ m).ravel() for m in scaled]) for x in candidates]
    )
    # By their absolute size: where all commute, rounding is the largest there is.
    values, vectors = np.linalg.eigh(commutators @ commutators.T)
    free = vectors[:, values < _TOLERANCE**2 * commutators.shape[1]]
    mixed = np.tensordot(free @ rng.standard_normal(free.shape[1]), np.array(candidates), 1)
    spaces = _eigenspaces(mixed)
    ends = np.cumsum([0, *(space.shape[1] for space in spaces)])
    blocks = tuple(slice(int(a), int(b)) for a, b in pairwise(ends))
    rotation = np.concatenate(spaces, axis=1)
    if _leak(rotation, blocks, scaled) > _TOLERANCE:
        return np.eye(len(rotation)), (slice(0, len(rotation)),)
    return rotation, blocks


def _eigenspaces(matrix: Array) -> list[Array]:
    values, vectors = np.linalg.eigh(0.5 * (matrix + matrix.T))
    size = max(np.abs(values).max(), 1e-300)
    cuts = np.flatnonzero(np.diff(values) > 1e-7 * size) + 1
    return np.split(vectors, cuts, axis=1)


def _symmetric_units(n: int) -> list[Array]:
    out = []
    for i in range(n):
        for j in range(i + 1):
            unit = np.zeros((n, n))
            unit[i, j] = unit[j, i] = 1.0
            out.append(unit)
    return out


def _leak(rotation: Array, blocks: tuple[slice, ...], matrices: list[Array]) -> float:
    """Largest entry between blocks."""
    outside = np.ones((len(rotation), len(rotation)), dtype=bool)
    for block in blocks:
        outside[block, block] = False
    rotated = [rotation.T @ matrix @ rotation for matrix in matrices]
    return max(float(np.abs(matrix[outside]).max(initial=0.0)) for matrix in rotated)
