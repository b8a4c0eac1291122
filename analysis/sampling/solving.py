"""Draw the effects given the observed cells of an incomplete crossing.

Of a score, its row's level is of any size, what all models share on a prompt and word is
independent of all else, and so is the residual: with these three, one prompt's scores have a
precision V⁻¹ that is quickly multiplied with. Unknown are the other effects, as z of independent
standard normals with S z the tables: framing means, and models' own on each prompt and axis about
them. With Z what reads tables at the observed cells, the precision of z is ``1 + SZ'V⁻¹ZS``.

Conjugate gradients are preconditioned by what the precision were if all words were observed as
often: V⁻¹ then is the same for each. What models share is drawn last, prompt by prompt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numba
import numpy as np
from numpy.typing import NDArray

from valuebias.analysis.estimands.smoother import Fields, Smoother
from valuebias.analysis.sampling.rows import (
    gather,
    gather_dense,
    gather_surprise,
    level_precisions,
    share_out,
)
from valuebias.errors import ValueBiasError

if TYPE_CHECKING:
    from valuebias.analysis.sampling.completion import Gaps

__all__ = ["System"]

Array = NDArray[np.float64]
# By block of words (off the axes, on each), (framing · model) square; by framing and axis, models'.
_Blocks = tuple[Array, Array]

# Squared error of the effects in posterior SDs, summed over all directions.
_CG_ERROR = 1e-4
_CG_MOST = 3000
_N_VECTORS = 5
_FAST = {"reassoc", "nsz", "contract"}


@numba.njit(cache=True, nogil=True)
def _tables(flat, sizes):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    n_framings, n_models, n_prompts, n_words = sizes
    size = n_framings * n_models * n_words
    n_axes = (len(flat) - size) // (n_models * n_prompts)
    mean = flat[:size].reshape((n_framings, n_models, n_words))
    return mean, flat[size:].reshape((n_axes, n_models, n_prompts))


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def _multiply(  # type: ignore[no-untyped-def]
    blocks, framing, basis, sizes, flat, out
):  # pragma: no cover - compiled
    """Multiply a vector by blocks; models' own come out about the means of each framing."""
    (means, own), n_words = blocks, sizes[3]
    (mean, axis), (to_mean, to_axis) = _tables(flat, sizes), _tables(out, sizes)
    n_means = sizes[0] * sizes[1]
    table, to_table = mean.reshape((n_means, n_words)), to_mean.reshape((n_means, n_words))
    np.dot(means[0], table, to_table)
    for j in range(len(basis)):
        direction = basis[j]
        on_axis = np.dot(means[j + 1] - means[0], np.dot(table, direction))
        for i in range(n_means):
            row, value = to_table[i], on_axis[i]
            for w in range(n_words):
                row[w] += value * direction[w]
        for f in range(sizes[0]):
            here = np.dot(own[f, j], axis[j])
            for m in range(sizes[1]):
                total, n = 0.0, 0
                for p in range(sizes[2]):
                    if framing[p] == f:
                        total += here[m, p]
                        n += 1
                for p in range(sizes[2]):
                    if framing[p] == f:
                        to_axis[j, m, p] = here[m, p] - total / n


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def _dot(a, b):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    total = 0.0
    for i in range(len(a)):
        total += a[i] * b[i]
    return total


@numba.njit(cache=True, nogil=True, fastmath=_FAST)
def solve(  # type: ignore[no-untyped-def]
    work, error, dense, start, words, mask, precision, roots, gains, sizes
):  # pragma: no cover - compiled
    """Add to the first vector of ``work`` what the precision turns into the second.

    The others are room. Returns what is left of the squared error, which is to be ``error``: in
    squared posterior SDs, summed over all directions.
    """
    solution, left, direction, image, spare = work[0], work[1], work[2], work[3], work[4]
    ratio, weight, inverse, framing, basis, per_prompt = precision
    (mean, axis), (to_mean, to_axis) = _tables(spare, sizes), _tables(image, sizes)
    n = len(left)
    _multiply(gains, framing, basis, sizes, left, image)
    direction[:] = image
    size = _dot(left, image)
    enough = max(error, 1e-14 * size)
    for _ in range(_CG_MOST):
        if size <= enough:
            break
        _multiply(roots, framing, basis, sizes, direction, spare)
        image[:] = 0.0
        if dense:
            gather_dense(
                mask, ratio, weight, inverse, framing, basis, per_prompt,
                mean, axis, to_mean, to_axis,
            )  # fmt: skip
        else:
            gather(
                start, words, ratio, weight, inverse, framing, basis, per_prompt,
                mean, axis, to_mean, to_axis,
            )  # fmt: skip
        _multiply(roots, framing, basis, sizes, image, spare)
        step = size / (_dot(direction, direction) + _dot(direction, spare))
        for i in range(n):
            solution[i] += step * direction[i]
            left[i] -= step * (direction[i] + spare[i])
        _multiply(gains, framing, basis, sizes, left, image)
        before, size = size, _dot(left, image)
        change = size / before
        for i in range(n):
            direction[i] = image[i] + change * direction[i]
    return size


class System:
    """The precision of the effects given the observed cells, and how to draw by it."""

    def __init__(self, gaps: Gaps, smoother: Smoother) -> None:
        self.gaps, self.crossing = gaps, gaps.crossing
        self.residual = smoother.residual
        self._ratio = smoother.prompt_word / self.residual
        self._roots = smoother.roots_between
        levels = level_precisions(gaps.mask, self._ratio, self.crossing.framing)
        n_models, _, n_words = self.crossing.shape
        typical = np.array([levels[g].mean(axis=0) for g in gaps.groups])
        typical /= n_words * self.residual[:, None, None]
        # A row without a score has no level; any will do.
        levels[:, range(n_models), range(n_models)] += (gaps.counts == 0).T
        self._inverse = np.linalg.inv(levels)
        self._gains = self._gains_of(typical)

    def _gains_of(self, typical: Array) -> _Blocks:
        """Invert the precision as if ``typical`` (framing, model, model) were each word's."""
        (means, own), n_framings = self._roots, len(typical)
        size = means.shape[1]
        over_means = np.einsum("fmn,fg->fmgn", typical, np.eye(n_framings)).reshape(size, size)
        return (
            np.linalg.inv(np.eye(size) + means @ over_means @ means),
            np.asarray(np.linalg.inv(np.eye(own.shape[2]) + own @ typical[:, None] @ own)),
        )

    def draw(
        self,
        rng: np.random.Generator | None,
        work: Array,
        prompts: Array,
        error: float = _CG_ERROR,
    ) -> tuple[Fields, Array]:
        """Draw the effects; without ``rng``, give their mean.

        Levels are the mean of what effects leave of each row's scores, and by framing come the
        squares about it. Room for the draw: ``work`` (:meth:`work`), and ``prompts`` (prompt, word)
        for their table.
        """
        solution, left, _, image, tables = work
        for table in (solution, prompts):
            if rng is None:
                table[:] = 0
            else:
                rng.standard_normal(out=table)
        self._colour(solution, tables)
        self._surprise(rng, tables, image)
        self._colour(image, left)
        gaps = self.gaps
        remainder = solve(
            work, error, not gaps.few_observed, gaps.observed.start, gaps.observed.words, gaps.mask,
            self._precision, self._roots, self._gains, self._sizes,
        )  # fmt: skip
        if not remainder < max(1.0, error):
            raise ValueBiasError(
                f"the missing cells could not be drawn given the observed ones in {_CG_MOST:,} "
                "steps: the gaps leave too little to go by. Drop words, prompts or models that "
                "hardly any others share scores with."
            )
        self._colour(solution, tables)
        mean, axis = self._tables(tables)
        shake = np.zeros(self._inverse.shape[:2])
        if rng is not None:
            shake = np.linalg.cholesky(self._inverse) @ rng.standard_normal((*shake.shape, 1))
            shake = np.sqrt(self.residual)[self.crossing.framing, None] * shake[..., 0]
        level, squares = share_out(
            self.gaps.mask, self.crossing.y, shake, prompts, *self._precision, mean, axis
        )
        prompts *= np.sqrt(self.crossing.shape[0])
        return Fields(mean, prompts, np.ascontiguousarray(axis.transpose(1, 2, 0)), level), squares

    def work(self) -> Array:
        """Make room for all vectors that :meth:`draw` needs."""
        (m, p, w), n_axes = self.crossing.shape, len(self.crossing.axes)
        return np.empty((_N_VECTORS, (len(self.crossing.framings) * w + p * n_axes) * m))

    @property
    def _sizes(self) -> tuple[int, int, int, int]:
        return len(self.crossing.framings), *self.crossing.shape

    def _tables(self, flat: Array) -> tuple[Array, Array]:
        """See a vector as framing means (framing, model, word) and own (axis, model, prompt)."""
        return _tables(flat, self._sizes)  # type: ignore[no-any-return]

    def _colour(self, flat: Array, out: Array) -> None:
        """Give S times a vector."""
        geometry = self.gaps.geometry
        _multiply(self._roots, geometry.framing, geometry.transposed[1], self._sizes, flat, out)

    def _surprise(self, rng: np.random.Generator | None, tables: Array, out: Array) -> None:
        """Give ``Z'V⁻¹(y − Z tables)``; with ``rng``, of y less noise as V."""
        gaps, noise = self.gaps, np.zeros(0, dtype=np.float32)
        sizes, out[:] = gaps.counts.sum(axis=0) + self.crossing.shape[2], 0
        for p, size in enumerate(sizes):
            if rng is not None:
                noise = rng.standard_normal(size, dtype=np.float32)
            gather_surprise(
                p, gaps.mask, self.crossing.y, noise, *self._precision,
                *self._tables(tables), *self._tables(out),
            )  # fmt: skip

    @property
    def _precision(self) -> tuple[NDArray[Any], ...]:
        """What the compiled passes take of V and of the geometry."""
        framing, basis, per_prompt, _ = self.gaps.geometry.transposed
        return self._ratio, 1 / self.residual, self._inverse, framing, basis, per_prompt
