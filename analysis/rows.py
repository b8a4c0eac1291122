"""Some of the cells of a cube, model × prompt by model × prompt, and what is done to them.

A row is one model × prompt; its cells are a run of words. Tables of effects are read at the cells
and cells are summed into tables in one pass, without a list of positions in three dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numba
import numpy as np
from numpy.typing import NDArray

from valuebias.analysis.crossing import Crossing

__all__ = [
    "Geometry",
    "Rows",
    "fill",
    "gather",
    "gather_dense",
    "gather_surprise",
    "geometry_of",
    "level_rows",
    "rows_where",
]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    """Cells in the order of the cube.

    Attributes
    ----------
    start : ndarray of int64, shape (model · prompt + 1,)
        Where each row's cells begin.
    words : ndarray of int32, shape (cell,)
    """

    start: NDArray[np.int64]
    words: NDArray[np.int32]

    def __len__(self) -> int:
        return int(self.start[-1])


@dataclass(frozen=True)
class Geometry:
    """How tables lie in the cube: what the compiled passes take."""

    framing: NDArray[np.intp]
    word_basis: Array
    per_prompt: Array
    per_model: float

    @property
    def arrays(self) -> tuple[NDArray[np.intp], Array, Array, float]:
        """The fields in order."""
        return self.framing, self.word_basis, self.per_prompt, self.per_model

    @cached_property
    def transposed(self) -> tuple[NDArray[np.intp], Array, Array, float]:
        """The same with the basis as (axis, word)."""
        basis = np.ascontiguousarray(self.word_basis.T)
        return self.framing, basis, self.per_prompt, self.per_model


def geometry_of(crossing: Crossing) -> Geometry:
    """Take the geometry of a crossing."""
    return Geometry(
        crossing.framing,
        np.ascontiguousarray(crossing.word_basis),
        1 / np.sqrt(np.bincount(crossing.framing)),
        float(1 / np.sqrt(crossing.shape[0])),
    )


def rows_where(mask: NDArray[np.bool_]) -> Rows:
    """List the cells where ``mask`` (model, prompt, word) holds."""
    counts = mask.sum(axis=2, dtype=np.int64).ravel()
    words = np.broadcast_to(np.arange(mask.shape[2], dtype=np.int32), mask.shape)[mask]
    return Rows(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), words)


# A table's value at a cell; LLVM inlines it.
@numba.njit(cache=True, nogil=True)
def _value(means, prompts, axes, basis, per_prompt, per_model, w):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    value = means[w] * per_prompt + prompts[w] * per_model
    for j in range(len(axes)):
        value += axes[j] * basis[w, j]
    return value


@numba.njit(cache=True, nogil=True)
def gather(  # type: ignore[no-untyped-def]
    start,
    words,
    weight,
    framing,
    basis,
    per_prompt,
    per_model,
    mean,
    prompt_word,
    axis,
    to_mean,
    to_prompt_word,
    to_axis,
):  # pragma: no cover - compiled
    """Read tables at the cells, take each row's mean off, weigh by framing and sum into tables."""
    n_prompts = len(framing)
    row_values = np.empty(basis.shape[0])
    for row in range(len(start) - 1):
        first, n = start[row], start[row + 1] - start[row]
        if n < 2:  # one score tells its level and nothing else
            continue
        m, p = row // n_prompts, row % n_prompts
        f = framing[p]
        means, prompts, axes = mean[f, m], prompt_word[p], axis[m, p]
        total = 0.0
        for i in range(n):
            w = words[first + i]
            value = _value(means, prompts, axes, basis, per_prompt[f], per_model, w)
            row_values[i] = value
            total += value
        level = total / n
        by_mean, by_prompt = weight[f] * per_prompt[f], weight[f] * per_model
        means, prompts, axes = to_mean[f, m], to_prompt_word[p], to_axis[m, p]
        for i in range(n):
            w = words[first + i]
            value = row_values[i] - level
            means[w] += by_mean * value
            prompts[w] += by_prompt * value
            value *= weight[f]
            for j in range(len(axes)):
                axes[j] += value * basis[w, j]


@numba.njit(cache=True, nogil=True)
def gather_surprise(  # type: ignore[no-untyped-def]
    m,
    mask,
    y,
    noise,
    sd,
    weight,
    framing,
    basis,
    per_prompt,
    per_model,
    mean,
    prompt_word,
    axis,
    to_mean,
    to_prompt_word,
    to_axis,
):  # pragma: no cover - compiled
    """Do as :func:`gather` with what tables and noise leave of one model's scores.

    ``mask`` and ``y`` are (prompt, word); ``noise``, of SD one, is of the cells in the mask, or
    empty.
    """
    n_prompts, n_words = mask.shape
    values, at = np.empty(n_words), 0
    for p in range(n_prompts):
        f = framing[p]
        means, prompts, axes = mean[f, m], prompt_word[p], axis[m, p]
        total, n = 0.0, 0
        for w in range(n_words):
            if mask[p, w]:
                value = y[p, w]
                value -= _value(means, prompts, axes, basis, per_prompt[f], per_model, w)
                if len(noise):
                    value -= sd[f] * noise[at + n]
                values[w] = value
                total += value
                n += 1
        at += n
        if n < 2:
            continue
        level = total / n
        means, prompts, axes = to_mean[f, m], to_prompt_word[p], to_axis[m, p]
        for w in range(n_words):
            if mask[p, w]:
                value = weight[f] * (values[w] - level)
                means[w] += per_prompt[f] * value
                prompts[w] += per_model * value
                for j in range(len(axes)):
                    axes[j] += value * basis[w, j]


# Sums may be taken in any order, for the processor to do several words at once.
@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "nsz", "contract"})
def gather_dense(  # type: ignore[no-untyped-def]
    mask,
    weight,
    framing,
    basis,
    per_prompt,
    per_model,
    mean,
    prompt_word,
    axis,
    to_mean,
    to_prompt_word,
    to_axis,
):  # pragma: no cover - compiled
    """Do as :func:`gather` without a target, for cells that are not few.

    A ``mask`` over the cube says which they are; ``basis`` is (axis, word) here.
    """
    n_models, n_prompts, n_words = mask.shape
    values = np.empty(n_words)
    for m in range(n_models):
        for p in range(n_prompts):
            here, f = mask[m, p], framing[p]
            means, prompts, by_mean = mean[f, m], prompt_word[p], per_prompt[f]
            for w in range(n_words):
                values[w] = means[w] * by_mean + prompts[w] * per_model
            for j in range(len(basis)):
                on_axis, direction = axis[m, p, j], basis[j]
                for w in range(n_words):
                    values[w] += on_axis * direction[w]
            total, n = 0.0, 0
            for w in range(n_words):
                values[w] *= here[w]
                total += values[w]
                n += here[w]
            if n < 2:
                continue
            level, scale = total / n, weight[f]
            means_to, prompts_to = to_mean[f, m], to_prompt_word[p]
            for w in range(n_words):
                value = scale * (values[w] - level * here[w])
                values[w] = value
                means_to[w] += by_mean * value
                prompts_to[w] += per_model * value
            for j in range(len(basis)):
                direction, total = basis[j], 0.0
                for w in range(n_words):
                    total += values[w] * direction[w]
                to_axis[m, p, j] += total


@numba.njit(cache=True, nogil=True)
def level_rows(  # type: ignore[no-untyped-def]
    mask,
    y,
    framing,
    basis,
    per_prompt,
    per_model,
    mean,
    prompt_word,
    axis,
):  # pragma: no cover - compiled
    """Mean of what tables leave of ``y`` in each row, and by framing the squares about it.

    Both over the cells in the ``mask``; its shape and that of ``y`` are (model, prompt, word).
    """
    n_models, n_prompts, n_words = mask.shape
    levels, squares = np.zeros((n_models, n_prompts)), np.zeros(len(per_prompt))
    for m in range(n_models):
        for p in range(n_prompts):
            f = framing[p]
            means, prompts, axes = mean[f, m], prompt_word[p], axis[m, p]
            total, square, n = 0.0, 0.0, 0
            for w in range(n_words):
                if mask[m, p, w]:
                    value = y[m, p, w]
                    value -= _value(means, prompts, axes, basis, per_prompt[f], per_model, w)
                    total += value
                    square += value * value
                    n += 1
            if n:
                levels[m, p] = total / n
                squares[f] += square - total * total / n
    return levels, squares


@numba.njit(cache=True, nogil=True)
def fill(  # type: ignore[no-untyped-def]
    prompts,
    start,
    words,
    noise,
    values,
    sd,
    framing,
    basis,
    per_prompt,
    per_model,
    mean,
    prompt_word,
    axis,
    level,
    known,
    to_mean,
    to_prompt_word,
    to_axis,
    to_level,
):  # pragma: no cover - compiled
    """Make cells of some prompts, of tables, levels and noise; sum them into tables.

    Returns the cells' squares by framing. ``noise``, of SD one, is of these cells prompt by prompt;
    where ``values`` are not empty, cells are kept there. ``known`` is what the table of prompts
    starts from; ``to_prompt_word`` may be ``prompt_word``.
    """
    n_models, n_words, at = to_level.shape[0], basis.shape[0], 0
    squares, effects = np.zeros(len(per_prompt)), np.empty(n_words)
    for p in range(prompts[0], prompts[1]):
        f = framing[p]
        prompts_to = to_prompt_word[p]
        effects[:] = prompt_word[p]
        prompts_to[:] = known[p]
        for m in range(n_models):
            row = m * len(framing) + p
            means, axes = mean[f, m], axis[m, p]
            means_to, axes_to = to_mean[f, m], to_axis[m, p]
            total, square = 0.0, 0.0
            for i in range(start[row], start[row + 1]):
                w = words[i]
                value = level[m, p] + sd[f] * noise[at]
                value += _value(means, effects, axes, basis, per_prompt[f], per_model, w)
                at += 1
                if len(values):
                    values[i] = value
                    value = np.float64(values[i])  # rounded, so that cells and tables agree
                means_to[w] += value * per_prompt[f]
                prompts_to[w] += value * per_model
                for j in range(len(axes)):
                    axes_to[j] += value * basis[w, j]
                total += value
                square += value * value
            to_level[m, p] += total
            squares[f] += square
    return squares
