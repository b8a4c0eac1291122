"""Solve for the effects given the observed cells of an incomplete crossing.

Unknown are all effects but the levels, as tables in orthonormal coordinates: framing means,
prompts' own, models' own on each axis. With K their prior covariance, Z what reads them at the
observed cells, C what takes the mean off each row, and R the residual variances, their precision is
``K⁻¹ + Z'CR⁻¹Z``.

Conjugate gradients are preconditioned by what the precision were if as many cells were observed
everywhere, ``P⁻¹ = K⁻¹ + ρR⁻¹`` with ρ the share of the observed cells: a smoother. K itself is
never inverted, as each direction d comes with P⁻¹d.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from valuebias.analysis.rows import gather, gather_dense
from valuebias.analysis.smoother import Smoother

__all__ = ["N_VECTORS", "Gains", "gains_of", "solve"]

Array = NDArray[np.float64]
# What the compiled solver takes of a smoother: gains of framing means off the axes and on each, of
# prompts' own off the axes and on each, of models' own on each.
Gains = tuple[Array, Array, Array, Array, Array]
N_VECTORS = 6
"""How many vectors as long as all tables :func:`solve` needs."""


def gains_of(smoother: Smoother) -> Gains:
    """Write the smoother's gains out: (mean, mean), (axis, mean, mean), (framing[, axis])."""
    n_framings, n_models = len(smoother.crossing.framings), smoother.crossing.shape[0]
    size = n_framings * n_models
    unit = np.eye(size).reshape(n_framings, n_models, size)
    blocks = [
        np.ascontiguousarray(smoother.smooth_means(block, unit).reshape(size, size))
        for block in range(len(smoother.crossing.axes) + 1)
    ]
    rest, shared, own = smoother.prompt_gains
    return blocks[0], np.array(blocks[1:]).reshape(-1, size, size), rest, shared, own


_FAST = {"reassoc", "nsz", "contract"}
# Steps after which what is left is worked out anew.
_RENEWED = 100


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def _dot(a, b):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    total = 0.0
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def _split(row, basis, on_axes):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Take from a row over words its mean and what lies on the axes, in place."""
    n_words = len(row)
    level = 0.0
    for w in range(n_words):
        level += row[w]
    level /= n_words
    for w in range(n_words):
        row[w] -= level
    for j in range(len(basis)):
        direction, total = basis[j], 0.0
        for w in range(n_words):
            total += row[w] * direction[w]
        on_axes[j] = total
        for w in range(n_words):
            row[w] -= total * direction[w]


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def _precondition(  # type: ignore[no-untyped-def]
    flat, out, sizes, precision, framing, basis, gains
):  # pragma: no cover - compiled
    """Smooth projected tables as if as many cells were observed everywhere; P times ``flat``."""
    n_framings, n_models, n_prompts, n_words = sizes
    n_axes = len(basis)
    by_mean, by_axis, rest_gain, shared_gain, own_gain = gains
    n_means = n_framings * n_models
    first, second = n_means * n_words, (n_means + n_prompts) * n_words
    rest, on_axes = np.empty((n_means, n_words)), np.empty((n_axes, n_means))
    axes = np.empty(n_axes)
    for i in range(n_means):
        scale = 1.0 / precision[i // n_models]
        row, source = rest[i], flat[i * n_words : (i + 1) * n_words]
        for w in range(n_words):
            row[w] = scale * source[w]
        _split(row, basis, axes)
        for j in range(n_axes):
            on_axes[j, i] = axes[j]
    means = out[:first].reshape(n_means, n_words)
    means[:] = np.dot(by_mean, rest)
    for j in range(n_axes):
        smooth, direction = np.dot(by_axis[j], on_axes[j]), basis[j]
        for i in range(n_means):
            row = means[i]
            for w in range(n_words):
                row[w] += smooth[i] * direction[w]

    prompts = flat[first:second].reshape(n_prompts, n_words)
    prompts_out = out[first:second].reshape(n_prompts, n_words)
    for p in range(n_prompts):
        f = framing[p]
        scale, row = 1.0 / precision[f], prompts_out[p]
        for w in range(n_words):
            row[w] = scale * prompts[p, w]
        _split(row, basis, axes)
        for w in range(n_words):
            row[w] *= rest_gain[f]
        for j in range(n_axes):
            direction, value = basis[j], shared_gain[f, j] * axes[j]
            for w in range(n_words):
                row[w] += value * direction[w]
    own = flat[second:].reshape(n_models, n_prompts, n_axes)
    own_out = out[second:].reshape(n_models, n_prompts, n_axes)
    for m in range(n_models):
        for p in range(n_prompts):
            f = framing[p]
            for j in range(n_axes):
                own_out[m, p, j] = own_gain[f, j] / precision[f] * own[m, p, j]


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def _project(flat, sizes, framing):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Take from tables, in place, what no effect has: levels, and what other tables hold.

    Without it the part that steps cannot reduce would grow with each long step, until its rounding
    errors swamp the rest: steps are long where whole directions are not observed.
    """
    n_framings, n_models, n_prompts, n_words = sizes
    n_means = n_framings * n_models
    first, second = n_means * n_words, (n_means + n_prompts) * n_words
    counts, centre = np.zeros(n_framings), np.zeros((n_framings, n_words))
    prompts = flat[first:second].reshape(n_prompts, n_words)
    for p in range(n_prompts):
        counts[framing[p]] += 1.0
        to = centre[framing[p]]
        for w in range(n_words):
            to[w] += prompts[p, w]
    for p in range(n_prompts):
        row, about, count = prompts[p], centre[framing[p]], counts[framing[p]]
        for w in range(n_words):
            row[w] -= about[w] / count
    rows = flat[:second].reshape(n_means + n_prompts, n_words)
    for i in range(n_means + n_prompts):
        row, level = rows[i], 0.0
        for w in range(n_words):
            level += row[w]
        level /= n_words
        for w in range(n_words):
            row[w] -= level
    n_axes = (len(flat) - second) // (n_models * n_prompts)
    own = flat[second:].reshape(n_models, n_prompts, n_axes)
    for j in range(n_axes):
        of_prompt, of_model = np.zeros(n_prompts), np.zeros((n_models, n_framings))
        overall = np.zeros(n_framings)
        for m in range(n_models):
            for p in range(n_prompts):
                value, f = own[m, p, j], framing[p]
                of_prompt[p] += value / n_models
                of_model[m, f] += value / counts[f]
                overall[f] += value / counts[f] / n_models
        for m in range(n_models):
            for p in range(n_prompts):
                f = framing[p]
                own[m, p, j] += overall[f] - of_prompt[p] - of_model[m, f]


@numba.njit(cache=True, nogil=True)
def _apply(  # type: ignore[no-untyped-def]
    flat, out, sizes, dense, start, words, mask, weight, geometry, basis
):  # pragma: no cover - compiled
    """Read tables at the observed cells and sum what is read: ``Z'CR⁻¹Z`` times ``flat``."""
    n_framings, n_models, n_prompts, n_words = sizes
    framing, word_basis, per_prompt, per_model = geometry
    first, second = n_framings * n_models * n_words, (n_framings * n_models + n_prompts) * n_words
    shape = (n_framings, n_models, n_words)
    mean, to_mean = flat[:first].reshape(shape), out[:first].reshape(shape)
    prompts = flat[first:second].reshape((n_prompts, n_words))
    to_prompts = out[first:second].reshape((n_prompts, n_words))
    shape = (n_models, n_prompts, len(basis))
    axis, to_axis = flat[second:].reshape(shape), out[second:].reshape(shape)
    out[:] = 0.0
    if dense:
        gather_dense(
            mask, weight, framing, basis, per_prompt, per_model,
            mean, prompts, axis, to_mean, to_prompts, to_axis,
        )  # fmt: skip
    else:
        gather(
            start, words, weight, framing, word_basis, per_prompt, per_model,
            mean, prompts, axis, to_mean, to_prompts, to_axis,
        )  # fmt: skip


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def _add_prior(  # type: ignore[no-untyped-def]
    to, factor, flat, lifted, sizes, precision, framing
):  # pragma: no cover - compiled
    """Add ``factor`` times K⁻¹ ``flat`` to tables; ``lifted`` is P⁻¹ ``flat``."""
    n_framings, n_models, n_prompts, n_words = sizes
    first, second = n_framings * n_models * n_words, (n_framings * n_models + n_prompts) * n_words
    for f in range(n_framings):
        for i in range(f * n_models * n_words, (f + 1) * n_models * n_words):
            to[i] += factor * (lifted[i] - precision[f] * flat[i])
    for p in range(n_prompts):
        known = precision[framing[p]]
        for i in range(first + p * n_words, first + (p + 1) * n_words):
            to[i] += factor * (lifted[i] - known * flat[i])
    n_axes = (len(flat) - second) // (n_models * n_prompts)
    for row in range(n_models * n_prompts):
        known = precision[framing[row % n_prompts]]
        for i in range(second + row * n_axes, second + (row + 1) * n_axes):
            to[i] += factor * (lifted[i] - known * flat[i])


@numba.njit(cache=True, nogil=True)
def solve(  # type: ignore[no-untyped-def]
    right,
    work,
    error,
    most,
    sizes,
    share,
    residual,
    dense,
    start,
    words,
    mask,
    geometry,
    basis,
    gains,
):  # pragma: no cover - compiled
    """Solve for the effects; returns them and what is left of the squared error.

    ``error`` is in squared posterior SDs, summed over all directions. Where rounding has led the
    search astray it starts again from where it is. Tables are large, and every chain has its own:
    ``right`` is overwritten, and the others lie in ``work`` (:data:`N_VECTORS`, size).
    """
    n = len(right)
    weight, precision, framing = 1.0 / residual, share / residual, geometry[0]
    left, solution, direction, lifted = right, work[1], work[2], work[3]
    # What the precision makes of a step, then the preconditioned remainder.
    image = work[4]
    # Of the right side, what the prior's part of the precision has not used up.
    unused = work[5]
    _project(left, sizes, framing)
    _precondition(left, image, sizes, precision, framing, basis, gains)
    solution[:] = 0.0
    direction[:], lifted[:], unused[:] = image, left, left
    size = _dot(left, image)
    enough = max(error, 1e-14 * size)
    done, began = 0, size
    while size > enough and done < most:
        _apply(direction, image, sizes, dense, start, words, mask, weight, geometry, basis)
        _add_prior(image, 1.0, direction, lifted, sizes, precision, framing)
        _project(image, sizes, framing)
        curvature = _dot(direction, image)
        astray = not curvature > 0.0
        if not astray:
            step = size / curvature
            for i in range(n):
                solution[i] += step * direction[i]
                left[i] -= step * image[i]
            _add_prior(unused, -step, direction, lifted, sizes, precision, framing)
            _precondition(left, image, sizes, precision, framing, basis, gains)
            before, size = size, _dot(left, image)
            done += 1
            if size > enough and done % _RENEWED:
                ratio = size / before
                for i in range(n):
                    direction[i] = image[i] + ratio * direction[i]
                    lifted[i] = left[i] + ratio * lifted[i]
                continue
            if done < _RENEWED:
                break
        # What is left by itself, not by what the steps were to leave of it.
        _apply(solution, left, sizes, dense, start, words, mask, weight, geometry, basis)
        for i in range(n):
            left[i] = unused[i] - left[i]
        _project(left, sizes, framing)
        _precondition(left, image, sizes, precision, framing, basis, gains)
        direction[:], lifted[:] = image, left
        size = _dot(left, image)
        if size > 0.99 * began:
            done += most // 10
        began = size
    return solution, size
