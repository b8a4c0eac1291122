"""The compiled passes of one Gibbs step over a completed cube, and the scatter of its strata.

An iteration is short where scores are few, so that calls of NumPy by the dozen would be most of it.
Effects are drawn given the cube, then the missing cells given the effects, with as few random
numbers as will do: what a prompt adds to a word for all models is drawn with the missing cells that
need it, from each cell's noise given that of the cells before it. As it is then independent over
prompts and words, also in directions where the posterior is wider (framing means, axes, levels),
what is drawn in those directions has so much less variance.
"""

from __future__ import annotations

import math

import numba
import numpy as np

__all__ = ["complete_prompts", "smooth_means", "smooth_rows", "sum_up", "write_moments"]

_FAST = {"reassoc", "nsz", "contract"}  # sums in any order: several words at once


# C never calls these, and its way in would have to be compiled. Arrays that are made, reshaped,
# multiplied or assigned as a whole take numba longer to compile than all the arithmetic, hence
# loops and room that is given.
@numba.njit(cache=True, nogil=True, no_cfunc_wrapper=True)
def _split(  # type: ignore[no-untyped-def]
    total, at, residual, within, mean_model, gain, root
):  # pragma: no cover - compiled
    """Write the smoother of one stratum to ``gain``, a root of the effects' covariance to ``root``.

    Of that covariance, given the mean, what models share in the noise of cells is taken off, if
    there is a ``mean_model``. The total, which begins ``at``, is used up.
    """
    d, n_framings = len(gain), len(residual)
    # Swept by each row in turn the total becomes −total⁻¹; the first row of ``root`` is room.
    for k in range(d):
        pivot = 1.0 / total[at + k * d + k]
        for c in range(d):
            root[0, c] = total[at + k * d + c]
        for r in range(d):
            weight = root[0, r] * pivot
            for c in range(d):
                total[at + r * d + c] -= weight * root[0, c]
        for c in range(d):
            total[at + k * d + c] = root[0, c] * pivot
            total[at + c * d + k] = root[0, c] * pivot
        total[at + k * d + k] = -pivot
    for r in range(d):
        variance = residual[r % n_framings]
        for c in range(d):
            gain[r, c] = variance * total[at + r * d + c]
            if r == c:
                gain[r, c] += 1.0
            value = gain[r, c] * residual[c % n_framings]
            if len(mean_model) and r % n_framings == c % n_framings:
                mean = mean_model[r // n_framings] * mean_model[c // n_framings]
                value -= within[r % n_framings, 0, 1] * variance * mean
            total[at + r * d + c] = value
    # Cholesky's root; a direction without variance has a column of zeros.
    for c in range(d):
        for r in range(d):
            root[r, c] = 0.0
        value = total[at + c * d + c]
        for k in range(c):
            value -= root[c, k] ** 2
        if value <= 1e-14 * residual[c % n_framings]:
            continue
        root[c, c] = math.sqrt(value)
        for r in range(c + 1, d):
            value = total[at + r * d + c]
            for k in range(c):
                value -= root[r, k] * root[c, k]
            root[r, c] = value / root[c, c]


@numba.njit(cache=True, nogil=True, no_cfunc_wrapper=True)
def write_moments(  # type: ignore[no-untyped-def]
    totals, residual, mean_model, nobody, inside, outside, within
):  # pragma: no cover - compiled
    """Write how framing means are smoothed and drawn.

    Gains, then roots, are written to ``inside`` (…, block of words, column · framing, the same) and
    ``outside`` (…, subspace, block, framing, framing). ``totals`` are the covariances one after
    the other, in the order of ``inside`` and ``outside``; last, by framing and block, those within
    framings, of models' own and shared: their gains go to ``within``. ``mean_model`` is the mean of
    all models in the columns, of length one; ``nobody`` is empty. ``totals`` are used up.
    """
    n_blocks, d = inside.shape[1], inside.shape[2]
    n_framings, at = len(residual), n_blocks * d * d
    at += outside.shape[1] * n_blocks * n_framings**2
    for f in range(n_framings):
        for j in range(n_blocks):
            for s in range(2):
                within[f, j, s] = max(1.0 - residual[f] / totals[at], 0.0)
                at += 1
    at = 0
    for j in range(n_blocks):
        _split(totals, at, residual, within, mean_model, inside[0, j], inside[1, j])
        at += d * d
    for s in range(outside.shape[1]):
        for j in range(n_blocks):
            _split(totals, at, residual, within, nobody, outside[0, s, j], outside[1, s, j])
            at += n_framings**2


@numba.njit(cache=True, nogil=True, fastmath=_FAST, no_cfunc_wrapper=True)
def smooth_means(  # type: ignore[no-untyped-def]
    table, noise, gains, roots, basis, on_axis, shaken, out
):  # pragma: no cover - compiled
    """Smooth framing means (framing · model, word) and add ``noise``; levels come out zero.

    What lies on the axes, ``basis`` (axis, word), has its own gains and roots. ``on_axis`` and
    ``shaken`` (framing · model, axis) are room.
    """
    size, n_words = table.shape
    n_axes = len(basis)
    for i in range(size):
        row, beside = table[i], noise[i]
        for j in range(n_axes):
            direction, total, other = basis[j], 0.0, 0.0
            for w in range(n_words):
                total += row[w] * direction[w]
            for w in range(n_words):
                other += beside[w] * direction[w]
            on_axis[i, j], shaken[i, j] = total, other
    for i in range(size):
        to, level = out[i], 0.0
        for w in range(n_words):
            to[w] = 0.0
        for k in range(size):
            row, beside, gain, root = table[k], noise[k], gains[0, i, k], roots[0, i, k]
            for w in range(n_words):
                to[w] += gain * row[w] + root * beside[w]
        for w in range(n_words):
            level += to[w]
        level /= n_words
        for w in range(n_words):
            to[w] -= level
        for j in range(n_axes):
            direction, value = basis[j], 0.0
            for k in range(size):
                value += (gains[j + 1, i, k] - gains[0, i, k]) * on_axis[k, j]
                value += (roots[j + 1, i, k] - roots[0, i, k]) * shaken[k, j]
            for w in range(n_words):
                to[w] += value * direction[w]


@numba.njit(cache=True, nogil=True, fastmath=_FAST, no_cfunc_wrapper=True)
def smooth_rows(  # type: ignore[no-untyped-def]
    axis, level, prompt_word, residual, within, framing, own, shared, drawn, centre
):  # pragma: no cover - compiled
    """Draw models' own part of each prompt on the axes, ``own``, and the levels, ``drawn``.

    ``shared`` is what is drawn of all models on the axes beside the noise of cells, and ``centre``
    the mean over prompts of ``prompt_word``. The first three hold noise of SD one.
    """
    n_models, n_prompts, n_axes = axis.shape
    n_words, n_framings = prompt_word.shape[1], len(residual)
    for p in range(n_prompts):
        f = framing[p]
        sd, total = math.sqrt(residual[f] / n_words), 0.0
        for m in range(n_models):
            total += drawn[m, p]
        total *= (1.0 - math.sqrt(max(1.0 - within[f, 0, 1], 0.0))) / n_models
        for m in range(n_models):
            drawn[m, p] = level[m, p] / n_words + sd * (drawn[m, p] - total)
        for j in range(n_axes):
            gain, mean = within[f, j + 1, 0], 0.0
            sd, less = math.sqrt(gain * residual[f]), within[f, j + 1, 1] - within[f, 0, 1]
            for m in range(n_models):
                own[m, p, j] = gain * axis[m, p, j] + sd * own[m, p, j]
            for m in range(n_models):
                mean += own[m, p, j]
            for m in range(n_models):
                own[m, p, j] -= mean / n_models
            shared[p, j] *= math.sqrt(max(less, 0.0) * residual[f])
    for f in range(n_framings):
        count, to = 0.0, centre[f]
        for w in range(n_words):
            to[w] = 0.0
        for p in range(n_prompts):
            if framing[p] == f:
                count += 1.0
                row = prompt_word[p]
                for w in range(n_words):
                    to[w] += row[w]
        for w in range(n_words):
            to[w] /= max(count, 1.0)
        for j in range(n_axes):
            for m in range(n_models + 1):
                mean = 0.0
                for p in range(n_prompts):
                    if framing[p] == f:
                        mean += own[m, p, j] if m < n_models else shared[p, j]
                mean /= max(count, 1.0)
                for p in range(n_prompts):
                    if framing[p] == f and m < n_models:
                        own[m, p, j] -= mean
                    elif framing[p] == f:
                        shared[p, j] -= mean


@numba.njit(cache=True, nogil=True, fastmath=_FAST, no_cfunc_wrapper=True)
def _smooth_row(  # type: ignore[no-untyped-def]
    row, centre, gain, basis, shared, out
):  # pragma: no cover - compiled
    """Smooth what one prompt adds for all models, ``row``, about its framing's mean."""
    n_words, level = len(row), 0.0
    for w in range(n_words):
        level += row[w] - centre[w]
    level /= n_words
    for w in range(n_words):
        out[w] = gain[0, 1] * (row[w] - centre[w] - level)
    for j in range(len(basis)):
        direction, total = basis[j], 0.0
        for w in range(n_words):
            total += (row[w] - centre[w]) * direction[w]
        total = shared[j] + (gain[j + 1, 1] - gain[0, 1]) * total
        for w in range(n_words):
            out[w] += total * direction[w]


@numba.njit(cache=True, nogil=True, no_cfunc_wrapper=True)
def complete_prompts(  # type: ignore[no-untyped-def]
    first, stop, start, words, noise, values, residual, within, framing, basis, by_word, per_prompt,
    mean, own, shared, level, centre, known, to_mean, to_prompt_word, to_axis, to_level, squares,
    by_model, rooms, before,
):  # fmt: skip  # pragma: no cover - compiled
    """Draw missing cells of some prompts given effects and levels; sum them into tables.

    The table of prompts is smoothed and then written anew, from what is ``known`` of it, row by
    row. The ``basis`` comes twice, as (axis, word) and ``by_word``. ``noise``, of SD one, is of
    these cells prompt by prompt; where ``values`` are not empty, cells are kept there. Their
    squares are added to those of each framing. The last three are room: two rows of models, two
    of words, and a row of counts.
    """
    (n_models, n_prompts), (n_axes, n_words), at = to_level.shape, basis.shape, 0
    row, passed, by_passed, by_noise = rooms[0], rooms[1], by_model[0], by_model[1]
    per_model = 1.0 / math.sqrt(n_models)
    for p in range(first, stop):
        f = framing[p]
        # Cells of a prompt and word share ``common``; how the noise of one depends on that of
        # those before it, of which there are n.
        variance, common = residual[f], within[f, 0, 1] * residual[f] / n_models
        for n in range(n_models):
            by_passed[n] = common / (variance + n * common)
            by_noise[n] = math.sqrt(variance * (1.0 + by_passed[n]))
        prompts_to, sd = to_prompt_word[p], per_prompt[f]
        _smooth_row(prompts_to, centre[f], within[f], basis, shared[p], row)
        for w in range(n_words):
            row[w] *= per_model
            prompts_to[w] = known[p, w]
            passed[w] = 0.0
            before[w] = np.uint64(0)
        for m in range(n_models):
            line = m * n_prompts + p
            means, means_to = mean[f * n_models + m], to_mean[f, m]
            total, square, lift = 0.0, 0.0, level[m, p]
            own_to, ours = to_axis[m, p], own[m, p]
            for i in range(start[line], start[line + 1]):
                w = words[i]
                n = before[w]
                value = by_passed[n] * passed[w] + by_noise[n] * noise[at]
                passed[w] += value
                before[w] = n + np.uint64(1)
                at += 1
                value += lift + means[w] * sd + row[w]
                for j in range(n_axes):
                    value += ours[j] * by_word[w, j]
                if len(values):
                    values[i] = value
                    value = np.float64(values[i])  # rounded, so that cells and tables agree
                means_to[w] += value * sd
                prompts_to[w] += value * per_model
                for j in range(n_axes):
                    own_to[j] += value * by_word[w, j]
                total += value
                square += value * value
            to_level[m, p] += total
            squares[f] += square


@numba.njit(cache=True, nogil=True, fastmath=_FAST, no_cfunc_wrapper=True)
def sum_up(  # type: ignore[no-untyped-def]
    table, prompt_word, axis, squares, framing, basis, grams, within, centre, line
):  # pragma: no cover - compiled
    """Sum up products of framing means, by block of words: (block, framing · model) square.

    The squares within framings, of models' own and shared, go to ``within`` (framing, block, 2);
    see :class:`.Tables`. ``centre`` and ``line`` (word,) are room.
    """
    n_models, n_prompts, n_axes = axis.shape
    n_framings, n_words, size = len(squares), basis.shape[1], len(table)
    for i in range(size):
        row, level = table[i], 0.0
        for w in range(n_words):
            level += row[w]
        level /= n_words
        # Coordinates on the axes lie on their grams' diagonals, until these are all known.
        for j in range(n_axes):
            direction, total = basis[j], 0.0
            for w in range(n_words):
                total += row[w] * direction[w]
            grams[j + 1, i, i] = total
        for w in range(n_words):
            line[w] = row[w] - level
        for k in range(i + 1):
            other, total = table[k], 0.0
            for w in range(n_words):
                total += line[w] * other[w]
            for j in range(n_axes):
                total -= grams[j + 1, i, i] * grams[j + 1, k, k]
            grams[0, i, k] = total
            grams[0, k, i] = total
    for j in range(1, n_axes + 1):
        for i in range(size):
            for k in range(i):
                grams[j, i, k] = grams[j, i, i] * grams[j, k, k]
                grams[j, k, i] = grams[j, i, k]
        for i in range(size):
            grams[j, i, i] *= grams[j, i, i]
    for f in range(n_framings):
        count, rest, left = 0.0, 0.0, squares[f]
        for w in range(n_words):
            centre[w] = 0.0
        for p in range(n_prompts):
            if framing[p] == f:
                count += 1.0
                row = prompt_word[p]
                for w in range(n_words):
                    centre[w] += row[w]
        for w in range(n_words):
            centre[w] /= max(count, 1.0)
        for j in range(n_axes + 1):
            within[f, j, 0], within[f, j, 1] = 0.0, 0.0
        for p in range(n_prompts):
            if framing[p] != f:
                continue
            row, total, square = prompt_word[p], 0.0, 0.0
            for w in range(n_words):
                line[w] = row[w] - centre[w]
            # Apart, as sums are in another order where the compiler cannot tell arrays apart.
            for w in range(n_words):
                total += line[w]
            for w in range(n_words):
                square += line[w] * line[w]
            rest += square - total * total / n_words
            for j in range(n_axes):
                direction, total = basis[j], 0.0
                for w in range(n_words):
                    total += line[w] * direction[w]
                within[f, j + 1, 1] += total * total
                rest -= total * total
        for m in range(n_models):
            i = f * n_models + m
            left -= grams[0, i, i]
            for j in range(n_axes):
                mean, square = 0.0, 0.0
                for p in range(n_prompts):
                    if framing[p] == f:
                        mean += axis[m, p, j]
                mean /= max(count, 1.0)
                for p in range(n_prompts):
                    if framing[p] == f:
                        square += (axis[m, p, j] - mean) ** 2
                within[f, j + 1, 0] += square
                left -= square + grams[j + 1, i, i]
        for j in range(n_axes):
            within[f, j + 1, 0] -= within[f, j + 1, 1]
        rest = max(rest, 0.0)
        within[f, 0, 0], within[f, 0, 1] = left - rest, rest
