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

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from valuebias.analysis.estimands.smoother import Fields, Smoother
from valuebias.analysis.sampling.rows import (
    gather,
    gather_dense,
    gather_surprise,
    level_precision,
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


class System:
    """The precision of the effects given the observed cells, and how to draw by it."""

    def __init__(self, gaps: Gaps, smoother: Smoother) -> None:
        self.gaps, self.crossing = gaps, gaps.crossing
        self.residual = smoother.residual
        self._ratio = smoother.prompt_word / self.residual
        self._roots = smoother.roots_between
        n_models, n_prompts, n_words = self.crossing.shape
        framing = self.crossing.framing
        levels = np.empty((n_prompts, n_models, n_models))
        for p, f in enumerate(framing):
            levels[p] = level_precision(self.crossing.observed[:, p], self._ratio[f])
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
            np.linalg.inv(np.eye(own.shape[2]) + own @ typical[:, None] @ own),
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
        solution, left, direction, image, tables = work
        for table in (solution, prompts):
            if rng is None:
                table[:] = 0
            else:
                rng.standard_normal(out=table)
        self._multiply(self._roots, solution, tables)
        self._surprise(rng, tables, image)
        self._multiply(self._roots, image, left)
        self._solve(solution, left, direction, image, tables, error)
        self._multiply(self._roots, solution, tables)
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

    def _tables(self, flat: Array) -> tuple[Array, Array]:
        """See a vector as framing means (framing, model, word) and own (axis, model, prompt)."""
        (m, p, w), n_framings = self.crossing.shape, len(self.crossing.framings)
        size = n_framings * m * w
        return flat[:size].reshape(n_framings, m, w), flat[size:].reshape(-1, m, p)

    def _multiply(self, blocks: _Blocks, flat: Array, out: Array) -> None:
        """Multiply tables by blocks; models' own about the means of each framing."""
        (means, own), basis = blocks, self.crossing.word_basis
        (table, axis), (to_table, to_axis) = self._tables(flat), self._tables(out)
        table, to_table = (one.reshape(len(means[0]), -1) for one in (table, to_table))
        np.matmul(means[0], table, out=to_table)
        on_axes = ((means[1:] - means[0]) @ (table @ basis).T[..., None])[..., 0]
        to_table += on_axes.T @ basis.T
        for f, group in enumerate(self.gaps.groups):
            here = own[f] @ axis[:, :, group]
            to_axis[:, :, group] = here - here.mean(axis=2, keepdims=True)

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
    def _precision(self) -> tuple[Array, ...]:
        """What the compiled passes take of V and of the geometry."""
        framing, basis, per_prompt, _ = self.gaps.geometry.transposed
        return self._ratio, 1 / self.residual, self._inverse, framing, basis, per_prompt

    def _apply(self, flat: Array, out: Array, tables: Array) -> None:
        """Multiply a vector by the precision."""
        gaps = self.gaps
        self._multiply(self._roots, flat, tables)
        out[:] = 0
        cells = (gaps.observed.start, gaps.observed.words) if gaps.few_observed else (gaps.mask,)
        kernel = gather if gaps.few_observed else gather_dense
        kernel(*cells, *self._precision, *self._tables(tables), *self._tables(out))
        self._multiply(self._roots, out, tables)
        np.add(flat, tables, out=out)

    def _solve(
        self,
        solution: Array,
        left: Array,
        direction: Array,
        image: Array,
        spare: Array,
        error: float,
    ) -> None:
        """Add to ``solution`` what the precision turns into ``left``, which is overwritten."""
        self._multiply(self._gains, left, image)
        direction[:] = image
        size = float(left @ image)
        enough = max(error, 1e-14 * size)
        for _ in range(_CG_MOST):
            if size <= enough:
                return
            self._apply(direction, image, spare)
            step = size / float(direction @ image)
            np.multiply(direction, step, out=spare)
            solution += spare
            np.multiply(image, step, out=spare)
            left -= spare
            self._multiply(self._gains, left, image)
            before, size = size, float(left @ image)
            direction *= size / before
            direction += image
        if not size < max(1.0, error):
            raise ValueBiasError(
                f"the missing cells could not be drawn given the observed ones in {_CG_MOST:,} "
                "steps: the gaps leave too little to go by. Drop words, prompts or models that "
                "hardly any others share scores with."
            )
