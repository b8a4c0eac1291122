"""Some of the cells of a cube, model × prompt by model × prompt, and what is done to them.

A row is one model × prompt; its cells are a run of words. Tables of effects are read at the cells
and cells are summed into tables in one pass, without a list of positions in three dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from valuebias.analysis.design.crossing import Crossing

__all__ = [
    "Geometry",
    "Rows",
    "fill",
    "gather",
    "gather_dense",
    "gather_surprise",
    "geometry_of",
    "level_precision",
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
    words : ndarray of unsigned int, shape (cell,)
    """

    start: NDArray[np.int64]
    words: NDArray[np.unsignedinteger[Any]]

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
    every = np.arange(mask.shape[2], dtype=np.uint16 if mask.shape[2] < 1 << 16 else np.uint32)
    words = np.broadcast_to(every, mask.shape)[mask]
    return Rows(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), words)


# A table's value at a cell; LLVM inlines it.
@numba.njit(cache=True, nogil=True)
def _value(means, prompts, axes, basis, per_prompt, per_model, w):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    value = means[w] * per_prompt + prompts[w] * per_model
    for j in range(len(axes)):
        value += axes[j] * basis[w, j]
    return value


_FAST = {"reassoc", "nsz", "contract"}  # sums in any order: several words at once


@numba.njit(cache=True, nogil=True)
def gather(  # type: ignore[no-untyped-def]
    start, words, ratio, weight, inverse, framing, basis, per_prompt, mean, axis, to_mean, to_axis
):  # pragma: no cover - compiled
    """Read tables at the cells, multiply each prompt's by their precision, and sum into tables.

    A prompt's cells share ``ratio`` times the residual's variance word by word, and rows have
    levels of any size: ``inverse`` (prompt, model, model), see :func:`level_precision`. ``weight``,
    by framing, is one over the residual's variance; ``axis`` is (axis, model, prompt).
    """
    n_prompts, n_models = len(framing), len(inverse[0])
    n_words, most = basis.shape[1], 0
    for p in range(n_prompts):
        n = 0
        for m in range(n_models):
            n += start[m * n_prompts + p + 1] - start[m * n_prompts + p]
        most = max(most, n)
    values, sums = np.empty(most), np.empty(n_models)
    total, count = np.zeros(n_words), np.zeros(n_words)
    for p in range(n_prompts):
        f, at = framing[p], 0
        for m in range(n_models):
            means, row = mean[f, m], m * n_prompts + p
            for i in range(start[row], start[row + 1]):
                w = words[i]
                value = means[w] * per_prompt[f]
                for j in range(len(basis)):
                    value += axis[j, m, p] * basis[j, w]
                values[at] = value
                total[w] += value
                count[w] += 1.0
                at += 1
        at = 0
        for m in range(n_models):
            row, sums[m] = m * n_prompts + p, 0.0
            for i in range(start[row], start[row + 1]):
                w = words[i]
                sums[m] += values[at] - total[w] * ratio[f] / (1.0 + count[w] * ratio[f])
                at += 1
        levels = inverse[p] @ sums
        for m in range(n_models):
            row = m * n_prompts + p
            for i in range(start[row], start[row + 1]):
                total[words[i]] -= levels[m]
        at = 0
        for m in range(n_models):
            means, row = to_mean[f, m], m * n_prompts + p
            for i in range(start[row], start[row + 1]):
                w = words[i]
                value = values[at] - levels[m]
                value -= total[w] * ratio[f] / (1.0 + count[w] * ratio[f])
                value *= weight[f]
                means[w] += per_prompt[f] * value
                for j in range(len(basis)):
                    to_axis[j, m, p] += value * basis[j, w]
                at += 1
        for m in range(n_models):
            row = m * n_prompts + p
            for i in range(start[row], start[row + 1]):
                total[words[i]] = count[words[i]] = 0.0


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def _weigh(  # type: ignore[no-untyped-def]
    values, mask, p, ratio, weight, inverse, shared
):  # pragma: no cover - compiled
    """Multiply one prompt's ``values`` (model, word), zero outside the mask, by their precision.

    ``shared`` is room for three rows; the first is left with what models' values sum to.
    """
    n_models, n_words = values.shape
    total, gain, common = shared[0], shared[1], shared[2]
    total[:], gain[:], common[:] = 0.0, 0.0, 0.0
    for m in range(n_models):
        row, here = values[m], mask[m, p]
        for w in range(n_words):
            total[w] += row[w]
            gain[w] += here[w]
    for w in range(n_words):
        gain[w] = ratio / (1.0 + gain[w] * ratio)
        total[w] *= gain[w]
    sums = np.empty(n_models)
    for m in range(n_models):
        row, here, of_row = values[m], mask[m, p], 0.0
        for w in range(n_words):
            of_row += row[w] - here[w] * total[w]
        sums[m] = of_row
    levels = inverse @ sums
    for m in range(n_models):
        level, here = levels[m], mask[m, p]
        for w in range(n_words):
            common[w] += level * here[w]
    for w in range(n_words):
        common[w] = total[w] - gain[w] * common[w]
    total[:] = 0.0
    for m in range(n_models):
        row, here, level = values[m], mask[m, p], levels[m]
        for w in range(n_words):
            value = weight * (row[w] - here[w] * (level + common[w]))
            row[w] = value
            total[w] += value


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def _sum_up(  # type: ignore[no-untyped-def]
    values, p, f, basis, per_prompt, to_mean, to_axis
):  # pragma: no cover - compiled
    """Sum one prompt's values (model, word) into tables."""
    n_models, n_words = values.shape
    for m in range(n_models):
        row, means = values[m], to_mean[f, m]
        for w in range(n_words):
            means[w] += per_prompt * row[w]
        for j in range(len(basis)):
            direction, total = basis[j], 0.0
            for w in range(n_words):
                total += row[w] * direction[w]
            to_axis[j, m, p] += total


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def gather_dense(  # type: ignore[no-untyped-def]
    mask, ratio, weight, inverse, framing, basis, per_prompt, mean, axis, to_mean, to_axis
):  # pragma: no cover - compiled
    """Do as :func:`gather` for cells that are not few: a ``mask`` over the cube says which."""
    n_models, n_prompts, n_words = mask.shape
    values, shared = np.empty((n_models, n_words)), np.empty((3, n_words))
    for p in range(n_prompts):
        f = framing[p]
        for m in range(n_models):
            row, here, means, by_mean = values[m], mask[m, p], mean[f, m], per_prompt[f]
            for w in range(n_words):
                row[w] = means[w] * by_mean
            for j in range(len(basis)):
                on_axis, direction = axis[j, m, p], basis[j]
                for w in range(n_words):
                    row[w] += on_axis * direction[w]
            for w in range(n_words):
                row[w] *= here[w]
        _weigh(values, mask, p, ratio[f], weight[f], inverse[p], shared)
        _sum_up(values, p, f, basis, per_prompt[f], to_mean, to_axis)


@numba.njit(cache=True, nogil=True)
def gather_surprise(  # type: ignore[no-untyped-def]
    p, mask, y, noise, sd, ratio, weight, inverse, framing, basis, per_prompt,
    mean, axis, to_mean, to_axis, to_prompt,
):  # fmt: skip  # pragma: no cover - compiled
    """Do as :func:`gather` with what tables and noise leave of one prompt's scores.

    ``noise``, of SD one, is of its words, then of its cells in the ``mask``; or empty. What its
    words share is left in ``to_prompt`` (word,): given the tables, a draw of its effects.
    """
    n_models, n_words, f = len(mask), mask.shape[2], framing[p]
    values, shared, at = np.zeros((n_models, n_words)), np.empty((3, n_words)), n_words
    spread = sd[f] * np.sqrt(ratio[f])
    for m in range(n_models):
        means = mean[f, m]
        for w in range(n_words):
            if mask[m, p, w]:
                value = y[m, p, w] - means[w] * per_prompt[f]
                for j in range(len(basis)):
                    value -= axis[j, m, p] * basis[j, w]
                if len(noise):
                    value -= spread * noise[w] + sd[f] * noise[at]
                    at += 1
                values[m, w] = value
    _weigh(values, mask, p, ratio[f], weight[f], inverse[p], shared)
    _sum_up(values, p, f, basis, per_prompt[f], to_mean, to_axis)
    for w in range(n_words):
        to_prompt[w] = spread * spread * shared[0, w]
        if len(noise):
            to_prompt[w] += spread * noise[w]


def level_precision(mask: NDArray[np.bool_], ratio: Array) -> Array:
    """Precision of rows' levels given one prompt's scores, times the residual's variance.

    ``mask`` is (model, word); words' own effects have ``ratio`` times that variance.
    """
    seen = mask.astype(float)
    counts = seen.sum(axis=0)
    precision = np.diag(seen.sum(axis=1))
    precision -= (seen * (ratio / (1 + ratio * counts))) @ seen.T
    return np.asarray(precision)


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
