"""Move effects and what the formula says of their mean against one another.

Scores do not tell a mean from the effects about it if these move the other way. Effects that are
known in part, as heavy-tailed ones are (:mod:`.tails`), hold their mean where it was; drawn with
the sum of both fixed it is free of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["relocate_models", "relocate_words"]

Array = NDArray[np.float64]


def relocate_models(
    levels: Array,
    coefficient: Array,
    rows: Array,
    weight: Array,
    inverse: Array,
    rng: np.random.Generator,
) -> tuple[Array, Array]:
    """Draw coefficients (column, framing, axis), of standard normal prior; and move the levels.

    ``levels`` (level, axis, framing) are normal with the precisions ``weight`` (level,) times
    ``inverse`` (framing, framing), ``rows`` (level, column) are those of the formula.
    """
    weighed = rows * weight[:, None]
    whole = levels + np.einsum("lq,qfa->laf", rows, coefficient)
    precision = np.asarray(np.kron(rows.T @ weighed, inverse))
    target = np.einsum("lq,lag,gf->aqf", weighed, whole, inverse)
    n_axes, n_columns, n_framings = target.shape
    drawn = _draw(precision, target.reshape(n_axes, -1).T, rng).T
    drawn = drawn.reshape(n_axes, n_columns, n_framings).transpose(1, 2, 0)
    return whole - np.einsum("lq,qfa->laf", rows, drawn), drawn


def relocate_words(
    levels: Array,
    coefficient: Array,
    rows: Array,
    scales: Array,
    weight: Array,
    inverse: Array,
    rng: np.random.Generator,
) -> tuple[Array, Array]:
    """Do the same to words, whose ``levels`` (word, column, framing) are of the formula's columns.

    ``rows`` (word, axis) are of the axes, and ``scales`` (column,) multiply the coefficients.
    """
    weighed = rows * weight[:, None]
    whole = levels + np.einsum("wa,qfa,q->wqf", rows, coefficient, scales)
    precision = np.asarray(np.kron(inverse, rows.T @ weighed))
    target = np.einsum("wa,wqg,gf->qfa", weighed, whole, inverse)
    drawn = np.stack(
        [
            _draw(scale**2 * precision, scale * one.reshape(-1, 1), rng).reshape(one.shape)
            for scale, one in zip(scales, target, strict=True)
        ]
    )
    return whole - np.einsum("wa,qfa,q->wqf", rows, drawn, scales), drawn


def _draw(precision: Array, target: Array, rng: np.random.Generator) -> Array:
    """Draw columns of normals with a standard normal prior and this likelihood."""
    root = np.linalg.cholesky(np.eye(len(precision)) + precision)
    mean = np.linalg.solve(root, target)
    return np.asarray(np.linalg.solve(root.T, mean + rng.standard_normal(target.shape)))
