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
    "level_precisions",
    "rows_where",
    "share_out",
]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    """Cells in the order of the cube."""

    start: NDArray[np.int64]  # (model · prompt + 1,): where each row's cells begin
    words: NDArray[Any]  # (cell,)

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
    levels of any size: ``inverse`` (prompt, model, model) is that of :func:`level_precisions`.
    ``weight``, by framing, is one over the residual's variance; ``axis`` is (axis, model, prompt).
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
def _levels(  # type: ignore[no-untyped-def]
    mask, p, ratio, inverse, shake, sums, by_word, gain
):  # pragma: no cover - compiled
    """Find rows' levels, plus ``shake``, and given these what models share on each word.

    Of one prompt's values ``sums`` are over words, ``by_word`` over models, and ``gain`` counts
    these; the last two are overwritten, by what models share and how much they give to that.
    """
    n_models, n_words = len(sums), len(gain)
    common = np.zeros(n_words)
    for w in range(n_words):
        gain[w] = ratio / (1.0 + gain[w] * ratio)
        by_word[w] *= gain[w]
    for m in range(n_models):
        seen, total = mask[m, p], 0.0
        for w in range(n_words):
            total += seen[w] * by_word[w]
        sums[m] -= total
    levels = inverse @ sums + shake
    for m in range(n_models):
        level, seen = levels[m], mask[m, p]
        for w in range(n_words):
            common[w] += level * seen[w]
    for w in range(n_words):
        by_word[w] -= gain[w] * common[w]
    return levels


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def _add_up(  # type: ignore[no-untyped-def]
    row, present, by_word, count
):  # pragma: no cover - compiled
    """Leave of a row the cells that are there; add them up by word, and in all."""
    total = 0.0
    for w in range(len(row)):
        seen = np.float64(present[w])
        value = row[w] * seen
        row[w] = value
        by_word[w] += value
        count[w] += seen
        total += value
    return total


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def _sum_up(  # type: ignore[no-untyped-def]
    values, mask, p, f, levels, common, weight, basis, per_prompt, to_mean, to_axis
):  # pragma: no cover - compiled
    """Take levels and what is common off one prompt's values and sum these into tables."""
    n_models, n_words = values.shape
    for m in range(n_models):
        row, seen, level, means = values[m], mask[m, p], levels[m], to_mean[f, m]
        for w in range(n_words):
            value = weight * (row[w] - seen[w] * (level + common[w]))
            row[w] = value
            means[w] += per_prompt * value
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
    values, sums, still = np.empty((n_models, n_words)), np.empty(n_models), np.zeros(n_models)
    by_word, gain = np.empty(n_words), np.empty(n_words)
    for p in range(n_prompts):
        f = framing[p]
        by_word[:], gain[:] = 0.0, 0.0
        for m in range(n_models):
            row, means, by_mean = values[m], mean[f, m], per_prompt[f]
            for w in range(n_words):
                row[w] = means[w] * by_mean
            for j in range(len(basis)):
                on_axis, direction = axis[j, m, p], basis[j]
                for w in range(n_words):
                    row[w] += on_axis * direction[w]
            sums[m] = _add_up(row, mask[m, p], by_word, gain)
        levels = _levels(mask, p, ratio[f], inverse[p], still, sums, by_word, gain)
        _sum_up(
            values, mask, p, f, levels, by_word, weight[f], basis, per_prompt[f], to_mean, to_axis
        )


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def _leave(  # type: ignore[no-untyped-def]
    row, y, means, on_axes, basis, per_prompt
):  # pragma: no cover - compiled
    """Write what tables leave of a row's scores."""
    for w in range(len(row)):
        row[w] = y[w] - means[w] * per_prompt
    for j in range(len(basis)):
        value, direction = on_axes[j], basis[j]
        for w in range(len(row)):
            row[w] -= value * direction[w]


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def gather_surprise(  # type: ignore[no-untyped-def]
    p, mask, y, noise, ratio, weight, inverse, framing, basis, per_prompt,
    mean, axis, to_mean, to_axis,
):  # fmt: skip  # pragma: no cover - compiled
    """Do as :func:`gather` with what tables and noise leave of one prompt's scores.

    ``noise``, of SD one, is of its words, then of its cells in the ``mask``; or empty.
    """
    n_models, n_words, f = len(mask), mask.shape[2], framing[p]
    values, sums, still = np.empty((n_models, n_words)), np.empty(n_models), np.zeros(n_models)
    by_word, gain, at = np.zeros(n_words), np.zeros(n_words), n_words
    sd = 1.0 / np.sqrt(weight[f])
    spread = sd * np.sqrt(ratio[f])
    for m in range(n_models):
        row, seen = values[m], mask[m, p]
        _leave(row, y[m, p], mean[f, m], axis[:, m, p], basis, per_prompt[f])
        if len(noise):
            for w in range(n_words):
                row[w] -= spread * noise[w]
            for w in range(n_words):
                if seen[w]:
                    row[w] -= sd * noise[at]
                    at += 1
        sums[m] = _add_up(row, seen, by_word, gain)
    levels = _levels(mask, p, ratio[f], inverse[p], still, sums, by_word, gain)
    _sum_up(values, mask, p, f, levels, by_word, weight[f], basis, per_prompt[f], to_mean, to_axis)


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def share_out(  # type: ignore[no-untyped-def]
    mask, y, shake, noise, ratio, weight, inverse, framing, basis, per_prompt, mean, axis
):  # pragma: no cover - compiled
    """Draw what models share on each prompt and word, given tables; see :func:`gather`.

    ``noise`` (prompt, word), of SD one, is overwritten by it; ``shake`` (prompt, model) is that of
    levels. Returns the mean of what is left of each row, and the squares about it by framing.
    """
    n_models, n_prompts, n_words = mask.shape
    means, squares = np.zeros((n_models, n_prompts)), np.zeros(len(weight))
    values, sums = np.empty((n_models, n_words)), np.empty(n_models)
    by_word, gain = np.empty(n_words), np.empty(n_words)
    for p in range(n_prompts):
        f, shared = framing[p], noise[p]
        by_word[:], gain[:] = 0.0, 0.0
        for m in range(n_models):
            _leave(values[m], y[m, p], mean[f, m], axis[:, m, p], basis, per_prompt[f])
            sums[m] = _add_up(values[m], mask[m, p], by_word, gain)
        _levels(mask, p, ratio[f], inverse[p], shake[p], sums, by_word, gain)
        for w in range(n_words):
            shared[w] = by_word[w] + np.sqrt(gain[w] / weight[f]) * shared[w]
        for m in range(n_models):
            row, present, total, square, n = values[m], mask[m, p], 0.0, 0.0, 0.0
            for w in range(n_words):
                seen = np.float64(present[w])
                value = row[w] - seen * shared[w]
                total += value
                square += value * value
                n += seen
            if n > 0.0:
                means[m, p] = total / n
                squares[f] += square - total * total / n
    return means, squares


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def level_precisions(  # type: ignore[no-untyped-def]
    mask, ratio, framing
):  # pragma: no cover - compiled
    """Precision of each prompt's levels given its scores, times the residual's variance.

    Words' own effects, which models share, have ``ratio`` times that variance.
    """
    n_models, n_prompts, n_words = mask.shape
    out = np.empty((n_prompts, n_models, n_models))
    seen, weighed = np.zeros((n_models, n_words)), np.zeros((n_models, n_words))
    gain, sums = np.empty(n_words), np.empty(n_models)
    for p in range(n_prompts):
        gain[:] = 0.0
        for m in range(n_models):
            seen[m] = 1.0
            sums[m] = _add_up(seen[m], mask[m, p], gain, weighed[m])
        for w in range(n_words):
            gain[w] = ratio[framing[p]] / (1.0 + gain[w] * ratio[framing[p]])
        for m in range(n_models):
            for w in range(n_words):
                weighed[m, w] = -gain[w] * seen[m, w]
        out[p] = np.dot(weighed, seen.T)
        for m in range(n_models):
            out[p, m, m] += sums[m]
    return out


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
