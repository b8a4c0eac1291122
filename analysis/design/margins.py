"""A compiled pass over the table of prompts × words, the largest of a cube's margins.

It works row by row and holds no other table of that size, so that chains need little memory beside
the scores.
"""

from __future__ import annotations

import numba
import numpy as np

__all__ = ["smooth_prompts"]

# Sums in any order let the processor do several words at once.
_FAST = {"reassoc", "nsz", "contract"}


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def _centres(table, framing, n_framings):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Mean over the prompts of each framing, (framing, word)."""
    n_prompts, n_words = table.shape
    counts, centres = np.zeros(n_framings), np.zeros((n_framings, n_words))
    for p in range(n_prompts):
        counts[framing[p]] += 1.0
        to, row = centres[framing[p]], table[p]
        for w in range(n_words):
            to[w] += row[w]
    for f in range(n_framings):
        to, share = centres[f], 1.0 / max(counts[f], 1.0)
        for w in range(n_words):
            to[w] *= share
    return centres


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def smooth_prompts(  # type: ignore[no-untyped-def]
    y, noise, framing, basis, gain, sd, axis_gain, axis_sd, out
):  # pragma: no cover - compiled
    """Take framing means off ``y`` and ``noise`` and weigh them, apart on each axis; levels zero.

    Tables are (prompt, word) and may be empty, ``basis`` (axis, word), gains and SDs
    (framing[, axis]). ``out`` may be ``y``.
    """
    n_prompts, n_words = out.shape
    n_axes = len(basis)
    y_centres = _centres(y, framing, len(gain))
    noise_centres = _centres(noise, framing, len(gain))
    row, on_axis = np.empty(n_words), np.empty(n_axes)
    for p in range(n_prompts):
        f = framing[p]
        to = out[p]
        on_axis[:] = 0.0
        row[:] = 0.0
        if len(y):
            one, centre, weight = y[p], y_centres[f], gain[f]
            for w in range(n_words):
                row[w] = one[w] - centre[w]
            for j in range(n_axes):
                direction, total = basis[j], 0.0
                for w in range(n_words):
                    total += row[w] * direction[w]
                on_axis[j] = (axis_gain[f, j] - weight) * total
            for w in range(n_words):
                row[w] *= weight
        if len(noise):
            noise_of_framing, about, scale = noise[p], noise_centres[f], sd[f]
            for j in range(n_axes):
                direction, total = basis[j], 0.0
                for w in range(n_words):
                    total += (noise_of_framing[w] - about[w]) * direction[w]
                on_axis[j] += (axis_sd[f, j] - scale) * total
            for w in range(n_words):
                row[w] += scale * (noise_of_framing[w] - about[w])
        level = 0.0
        for w in range(n_words):
            level += row[w]
        level /= n_words
        for w in range(n_words):
            to[w] = row[w] - level
        for j in range(n_axes):
            direction, value = basis[j], on_axis[j]
            for w in range(n_words):
                to[w] += value * direction[w]
