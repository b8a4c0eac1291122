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

from valuebias.analysis.estimands.smoother import Smoother
from valuebias.analysis.sampling.rows import gather, gather_dense

__all__ = ["Gains", "gains_of", "solve"]

Array = NDArray[np.float64]
# What the compiled solver takes of a smoother: gains of framing means off the axes and on each, of
# prompts' own off the axes and on each, of models' own on each.
Gains = tuple[Array, Array, Array, Array, Array]


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
    flat, out, sizes, dense, start, words, mask, nothing, weight, geometry, basis
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
            start, words, nothing, weight, framing, word_basis, per_prompt, per_model,
            mean, prompts, axis, to_mean, to_prompts, to_axis,
        )  # fmt: skip


@numba.njit(cache=True, nogil=True)
def solve(  # type: ignore[no-untyped-def]
    right, error, most, sizes, share, residual, dense, start, words, mask, geometry, basis, gains
):  # pragma: no cover - compiled
    """Solve for the effects; returns them and what is left of the squared error.

    ``error`` is in squared posterior SDs, summed over all directions. Where rounding has led the
    search astray it starts again from where it is.
    """
    n = len(right)
    nothing, weight, precision = np.zeros(0), 1.0 / residual, share / residual
    n_framings, n_models, n_prompts, n_words = sizes
    first, second = n_framings * n_models * n_words, (n_framings * n_models + n_prompts) * n_words
    typical = np.empty(n)
    for f in range(n_framings):
        typical[f * n_models * n_words : (f + 1) * n_models * n_words] = precision[f]
    for p in range(n_prompts):
        at = first + p * n_words
        typical[at : at + n_words] = precision[geometry[0][p]]
    n_axes = len(basis)
    for m in range(n_models):
        for p in range(n_prompts):
            at = second + (m * n_prompts + p) * n_axes
            typical[at : at + n_axes] = precision[geometry[0][p]]
    solution, lifted_solution = np.zeros(n), np.zeros(n)
    left, image, product = right.copy(), np.empty(n), np.empty(n)
    _project(left, sizes, geometry[0])
    target = left.copy()
    direction, lifted = np.empty(n), np.empty(n)
    done, first_size = 0, -1.0
    while True:
        _precondition(left, image, sizes, precision, geometry[0], basis, gains)
        size = _dot(left, image)
        if first_size < 0.0:
            first_size = size
        enough = max(error, 1e-14 * first_size)
        if not size > enough or done >= most:
            return solution, size
        direction[:] = image
        lifted[:] = left
        began = size
        for _ in range(100):
            _apply(
                direction, product, sizes, dense, start, words, mask, nothing, weight, geometry,
                basis,
            )  # fmt: skip
            for i in range(n):
                product[i] += lifted[i] - typical[i] * direction[i]
            _project(product, sizes, geometry[0])
            curvature = _dot(direction, product)
            if not curvature > 0.0:
                break
            step = size / curvature
            for i in range(n):
                solution[i] += step * direction[i]
                lifted_solution[i] += step * lifted[i]
                left[i] -= step * product[i]
            _precondition(left, image, sizes, precision, geometry[0], basis, gains)
            before, size = size, _dot(left, image)
            done += 1
            if not size > enough:
                break
            ratio = size / before
            for i in range(n):
                direction[i] = image[i] + ratio * direction[i]
                lifted[i] = left[i] + ratio * lifted[i]
        if done < 100:
            return solution, size
        _apply(
            solution, product, sizes, dense, start, words, mask, nothing, weight, geometry, basis
        )
        for i in range(n):
            left[i] = target[i] - product[i] - lifted_solution[i] + typical[i] * solution[i]
        _project(left, sizes, geometry[0])
        if size > 0.99 * began:
            done += most // 10
