"""The compiled passes of one Gibbs step over a completed cube, and the scatter of its strata.

An iteration is short where scores are few, so that calls of NumPy by the dozen would be most of it.
Effects are drawn given the cube, then the missing cells given the effects, with as few random
numbers as will do: what a prompt adds to a word for all models is drawn with the missing cells that
need it, from each cell's noise given that of the cells before it. As it is then independent over
prompts and words, also in directions where the posterior is wider (framing means, axes, levels),
what is drawn in those directions has so much less variance.
"""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["complete_prompts", "scatter_of", "smooth_means", "smooth_rows", "write_moments"]

_FAST = {"reassoc", "nsz", "contract"}  # sums in any order: several words at once


# C never calls these, and its way in would have to be compiled.
@numba.njit(cache=True, nogil=True, no_cfunc_wrapper=True)
def _split(total, residual, shared, gain, root):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Write the smoother of one stratum to ``gain``, a root of the effects' covariance to ``root``.

    Of that covariance, given the mean, ``shared`` is taken off. ``total`` is used up.
    """
    d = len(total)
    # Swept by each row in turn the total becomes −total⁻¹; rows of ``root`` are room.
    for k in range(d):
        pivot = 1.0 / total[k, k]
        for c in range(d):
            root[0, c] = total[k, c]
        for r in range(d):
            weight = root[0, r] * pivot
            for c in range(d):
                total[r, c] -= weight * root[0, c]
        for c in range(d):
            total[k, c] = root[0, c] * pivot
            total[c, k] = root[0, c] * pivot
        total[k, k] = -pivot
    for r in range(d):
        for c in range(d):
            gain[r, c] = residual[r] * total[r, c]
        gain[r, r] += 1.0
        for c in range(d):
            total[r, c] = gain[r, c] * residual[c] - shared[r, c]
    # Cholesky's root; a direction without variance has a column of zeros.
    for c in range(d):
        for r in range(d):
            root[r, c] = 0.0
        value = total[c, c]
        for k in range(c):
            value -= root[c, k] ** 2
        if value <= 1e-14 * residual[c]:
            continue
        root[c, c] = np.sqrt(value)
        for r in range(c + 1, d):
            value = total[r, c]
            for k in range(c):
                value -= root[r, k] * root[c, k]
            root[r, c] = value / root[c, c]


@numba.njit(cache=True, nogil=True, no_cfunc_wrapper=True)
def write_moments(  # type: ignore[no-untyped-def]
    totals, residual, span, mean_model, projectors, gains, roots, within
):  # pragma: no cover - compiled
    """Write how framing means are smoothed and drawn to ``gains`` and ``roots``.

    Both are (block of words, framing · model, framing · model). ``totals`` are the covariances one
    after the other: by block in the span, then in each other subspace; last, by framing and block,
    those within framings, of models' own and shared: their gains go to ``within``. ``span`` is
    (framing · model, column · framing), ``mean_model`` the columns' mean model, of length one.
    """
    n_blocks, size = gains.shape[:2]
    n_framings, d = len(residual), span.shape[1]
    n_models, at = size // n_framings, n_blocks * d * d
    at += n_blocks * len(projectors) * n_framings**2
    for f in range(n_framings):
        for j in range(n_blocks):
            for s in range(2):
                within[f, j, s] = max(1.0 - residual[f] / totals[at], 0.0)
                at += 1
    at, tiled, common = 0, np.empty(d), np.zeros((d, d))
    gain, root, half = np.empty((d, d)), np.empty((d, d)), np.empty((size, d))
    for r in range(d):
        tiled[r] = residual[r % n_framings]
        for c in range(d):
            if r % n_framings == c % n_framings:
                mean = mean_model[r // n_framings] * mean_model[c // n_framings]
                common[r, c] = within[r % n_framings, 0, 1] * tiled[r] * mean
    for j in range(n_blocks):
        _split(totals[at : at + d * d].reshape((d, d)), tiled, common, gain, root)
        at += d * d
        for small, full in ((gain, gains[j]), (root, roots[j])):
            half[:] = np.dot(span, small)
            full[:] = np.dot(half, span.T)
    none, square = np.zeros((n_framings, n_framings)), n_framings**2
    few, few_root = np.empty_like(none), np.empty_like(none)
    for s in range(len(projectors)):
        for j in range(n_blocks):
            total = totals[at : at + square].reshape((n_framings, n_framings))
            _split(total, residual, none, few, few_root)
            at += square
            for f in range(n_framings):
                for g in range(n_framings):
                    for m in range(n_models):
                        row, column = f * n_models + m, g * n_models
                        for n in range(n_models):
                            weight = projectors[s, m, n]
                            gains[j, row, column + n] += weight * few[f, g]
                            roots[j, row, column + n] += weight * few_root[f, g]


@numba.njit(cache=True, nogil=True, fastmath=_FAST, no_cfunc_wrapper=True)
def smooth_means(  # type: ignore[no-untyped-def]
    table, noise, gains, roots, basis, out
):  # pragma: no cover - compiled
    """Smooth framing means (framing · model, word) and add ``noise``; levels come out zero.

    What lies on the axes, ``basis`` (axis, word), has its own gains and roots.
    """
    size, n_words = table.shape
    n_axes = len(basis)
    on_axis, shaken = np.empty((size, n_axes)), np.empty((size, n_axes))
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
        to[:] = 0.0
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
    axis, level, prompt_word, noise, residual, within, framing, own, shared, drawn, centre
):  # pragma: no cover - compiled
    """Draw models' own part of each prompt on the axes, ``own``, and the levels, ``drawn``.

    ``shared`` is what is drawn of all models on the axes beside the noise of cells, and ``centre``
    the mean over prompts of ``prompt_word``. ``noise``, of SD one, is used up, in that order.
    """
    n_models, n_prompts, n_axes = axis.shape
    n_words, n_framings = prompt_word.shape[1], len(residual)
    counts = np.zeros(n_framings)
    means = np.zeros((n_framings, n_models + 1, n_axes))
    size = n_models * n_prompts * n_axes
    of_own = noise[:size].reshape((n_models, n_prompts, n_axes))
    of_shared = noise[size : size + n_prompts * n_axes].reshape((n_prompts, n_axes))
    of_level = noise[size + n_prompts * n_axes :].reshape((n_models, n_prompts))
    centre[:] = 0.0
    for p in range(n_prompts):
        f = framing[p]
        counts[f] += 1.0
        to, row = centre[f], prompt_word[p]
        for w in range(n_words):
            to[w] += row[w]
        sd, total = np.sqrt(residual[f] / n_words), 0.0
        for m in range(n_models):
            total += of_level[m, p]
        total *= (1.0 - np.sqrt(max(1.0 - within[f, 0, 1], 0.0))) / n_models
        for m in range(n_models):
            drawn[m, p] = level[m, p] / n_words + sd * (of_level[m, p] - total)
        for j in range(n_axes):
            gain, mean = within[f, j + 1, 0], 0.0
            sd, less = np.sqrt(gain * residual[f]), within[f, j + 1, 1] - within[f, 0, 1]
            for m in range(n_models):
                own[m, p, j] = gain * axis[m, p, j] + sd * of_own[m, p, j]
            for m in range(n_models):
                mean += own[m, p, j]
            mean /= n_models
            for m in range(n_models):
                own[m, p, j] -= mean
                means[f, m, j] += own[m, p, j]
            shared[p, j] = np.sqrt(max(less, 0.0) * residual[f]) * of_shared[p, j]
            means[f, n_models, j] += shared[p, j]
    for f in range(n_framings):
        share = 1.0 / max(counts[f], 1.0)
        centre[f] *= share
        means[f] *= share
    for p in range(n_prompts):
        f = framing[p]
        for j in range(n_axes):
            for m in range(n_models):
                own[m, p, j] -= means[f, m, j]
            shared[p, j] -= means[f, n_models, j]


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
):  # fmt: skip  # pragma: no cover - compiled
    """Draw missing cells of some prompts given effects and levels; sum them into tables.

    The table of prompts is smoothed and then written anew, from what is ``known`` of it, row by
    row. The ``basis`` comes twice, as (axis, word) and ``by_word``. ``noise``, of SD one, is of
    these cells prompt by prompt; where ``values`` are not empty, cells are kept there. Their
    squares are added to those of each framing.
    """
    (n_models, n_prompts), (n_axes, n_words), at = to_level.shape, basis.shape, 0
    row, passed, before = np.empty(n_words), np.zeros(n_words), np.zeros(n_words, dtype=np.uint64)
    by_passed, by_noise = np.empty(n_models), np.empty(n_models)
    per_model = 1.0 / np.sqrt(n_models)
    for p in range(first, stop):
        f = framing[p]
        # Cells of a prompt and word share ``common``; how the noise of one depends on that of
        # those before it, of which there are n.
        variance, common = residual[f], within[f, 0, 1] * residual[f] / n_models
        for n in range(n_models):
            by_passed[n] = common / (variance + n * common)
            by_noise[n] = np.sqrt(variance * (1.0 + by_passed[n]))
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
def scatter_of(  # type: ignore[no-untyped-def]
    mean, prompt_word, axis, squares, framing, basis, span, projectors, out
):  # pragma: no cover - compiled
    """Sum up the outer products of each stratum, in the order of :func:`write_moments`' totals.

    Within a framing, the first two are of the words off the axes; see :class:`.Tables`.
    """
    n_models, n_prompts, n_axes = axis.shape
    n_framings, n_words, d = len(squares), basis.shape[1], span.shape[1]
    size, at = n_framings * n_models, 0
    table, gram = mean.reshape((size, n_words)), np.empty((size, size))
    on_axis, level = np.empty((n_axes, size)), np.empty(size)
    for i in range(size):
        row, total = table[i], 0.0
        for w in range(n_words):
            total += row[w]
        level[i] = total / n_words
        for j in range(n_axes):
            direction, total = basis[j], 0.0
            for w in range(n_words):
                total += row[w] * direction[w]
            on_axis[j, i] = total
        for k in range(i + 1):
            other, total = table[k], 0.0
            for w in range(n_words):
                total += (row[w] - level[i]) * (other[w] - level[k])
            for j in range(n_axes):
                total -= on_axis[j, i] * on_axis[j, k]
            gram[i, k] = total
            gram[k, i] = total
    for j in range(n_axes + 1):
        if j == 0:
            inside = np.dot(span.T, np.dot(gram, span))
        else:
            inside = np.outer(np.dot(span.T, on_axis[j - 1]), np.dot(span.T, on_axis[j - 1]))
        out[at : at + d * d] = inside.ravel()
        at += d * d
    for s in range(len(projectors)):
        for j in range(n_axes + 1):
            for f in range(n_framings):
                for g in range(n_framings):
                    total = 0.0
                    for m in range(n_models):
                        for n in range(n_models):
                            a, b = f * n_models + m, g * n_models + n
                            of = gram[a, b] if j == 0 else on_axis[j - 1, a] * on_axis[j - 1, b]
                            total += projectors[s, m, n] * of
                    out[at] = total
                    at += 1
    centre, dots, own = np.empty(n_words), np.empty(n_axes), np.empty(n_axes)
    line = np.empty(n_words)
    for f in range(n_framings):
        count, rest, left = 0.0, 0.0, squares[f]
        centre[:], dots[:], own[:] = 0.0, 0.0, 0.0
        for p in range(n_prompts):
            if framing[p] == f:
                count += 1.0
                row = prompt_word[p]
                for w in range(n_words):
                    centre[w] += row[w]
        for w in range(n_words):
            centre[w] /= max(count, 1.0)
        for p in range(n_prompts):
            if framing[p] != f:
                continue
            row, total, square = prompt_word[p], 0.0, 0.0
            for w in range(n_words):
                line[w] = row[w] - centre[w]
            # Apart, as sums are in another order where the compiler cannot tell arrays apart.
            for w in range(n_words):
                total += line[w]
                square += line[w] * line[w]
            rest += square - total * total / n_words
            for j in range(n_axes):
                direction, total = basis[j], 0.0
                for w in range(n_words):
                    total += line[w] * direction[w]
                dots[j] += total * total
                rest -= total * total
        for m in range(n_models):
            i = f * n_models + m
            left -= gram[i, i]
            for j in range(n_axes):
                total, square = 0.0, 0.0
                for p in range(n_prompts):
                    if framing[p] == f:
                        total += axis[m, p, j]
                total /= max(count, 1.0)
                for p in range(n_prompts):
                    if framing[p] == f:
                        square += (axis[m, p, j] - total) ** 2
                own[j] += square
                left -= square + on_axis[j, i] ** 2
        rest = max(rest, 0.0)
        out[at], out[at + 1] = left - rest, rest
        at += 2
        for j in range(n_axes):
            out[at], out[at + 1] = own[j] - dots[j], dots[j]
            at += 2
