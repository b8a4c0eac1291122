"""Split a completed cube into its random effects and its residual, table by table.

Given the variances, "everything but the residual" is a linear smoother of the cube's margins.
Applied with noise it draws from the exact conditional distribution; without noise it gives the
mean, which also multiplies a cube by its precision matrix: ``V⁻¹ y = (y − smooth(y)) / σ²``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numba
import numpy as np
from numpy.typing import NDArray

from valuebias.analysis.components import Components
from valuebias.analysis.crossing import REST, Axis, Crossing
from valuebias.analysis.effects import component_covariances, symmetric_root
from valuebias.analysis.grouping import Subspace
from valuebias.analysis.strata import coefficient_prior, split_words

__all__ = ["Fields", "Smoother", "accumulate", "read_cells"]

Array = NDArray[np.float64]
# Gain, noise root, prior root.
_Matrices = tuple[Array, Array, Array]


@dataclass
class Fields:
    """Margins of a cube, or what the smoother makes of them; the same four tables.

    Attributes
    ----------
    mean : ndarray, shape (framing, model, word)
        Over the prompts of a framing, times √P_f.
    prompt_word : ndarray, shape (prompt, word)
        Over models, times √M.
    axis : ndarray, shape (model, prompt, axis)
        On the axes.
    level : ndarray, shape (model, prompt)
        As a margin: sum over words. As a smooth: the level itself.
    """

    mean: Array
    prompt_word: Array
    axis: Array
    level: Array

    @classmethod
    def zeros(cls, crossing: Crossing) -> Fields:
        """Make tables of zeros."""
        m, p, w = crossing.shape
        n_axes, n_framings = len(crossing.axes), len(crossing.framings)
        return cls(
            np.zeros((n_framings, m, w)),
            np.zeros((p, w)),
            np.zeros((m, p, n_axes)),
            np.zeros((m, p)),
        )


class Smoother:
    """The smoother at one value ``v`` of the variances."""

    def __init__(
        self, crossing: Crossing, components: Components, coefficient_scales: Array, v: Array
    ) -> None:
        self.crossing, self.components, self.v = crossing, components, v
        self.residual = v[list(components["residual"].index[0])]
        self._priors = [
            coefficient_prior(crossing, components, j, coefficient_scales)
            for j in range(len(crossing.axes))
        ]

    def mean(self, margins: Fields) -> Fields:
        """Conditional mean of everything but the residual."""
        n_words = self.crossing.shape[2]
        white = Fields.zeros(self.crossing)
        out = self._apply(margins, white)
        out.level = margins.level / n_words
        return out

    def draw(self, margins: Fields, rng: np.random.Generator) -> Fields:
        """Draw everything but the residual."""
        out = self._apply(margins, self._white(rng))
        n_words = self.crossing.shape[2]
        sd = np.sqrt(self.residual / n_words)[self.crossing.framing]
        out.level = margins.level / n_words + sd * rng.standard_normal(margins.level.shape)
        return out

    def simulate_cube(self, rng: np.random.Generator) -> Array:
        """Draw a whole new cube (model, prompt, word): new models, prompts, words and residuals."""
        effects = self._apply(self._white(rng), None)
        effects.level = np.zeros(self.crossing.shape[:2])
        cube = rng.standard_normal(self.crossing.shape)
        cube *= np.sqrt(self.residual)[self.crossing.framing][:, None]
        cube += self.spread(effects)
        return np.asarray(cube)

    def spread(self, smooth: Fields) -> Array:
        """Write a smooth out over the whole cube (model, prompt, word)."""
        crossing = self.crossing
        per_prompt = 1 / np.sqrt(np.bincount(crossing.framing))
        cube = (smooth.mean * per_prompt[:, None, None])[crossing.framing].transpose(1, 0, 2)
        cube = cube + smooth.prompt_word / np.sqrt(crossing.shape[0])
        cube += smooth.axis @ crossing.word_basis.T
        cube += smooth.level[..., None]
        return np.asarray(cube)

    @property
    def margin_gains(self) -> tuple[Array, Array]:
        """Gain of a model × word mean and of a prompt × word mean, one a framing each."""
        n_framings = len(self.crossing.framings)
        by_prompt = [
            float(self._shrinkage(f, (REST,), shared=True, prior=False)[0][0])
            for f in range(n_framings)
        ]
        _, outside = self._mean_matrices[0]
        sizes = [max(subspace.size, 1) for subspace in self.crossing.space.subspaces]
        by_word = np.average([np.diag(gain) for gain, _, _ in outside], axis=0, weights=sizes)
        return by_word, np.array(by_prompt)

    def leverage(self) -> Array:
        """Diagonal of the smoother, the share of a cell in its own fit; (model, framing, word)."""
        crossing = self.crossing
        n_models, _, n_words = crossing.shape
        n_prompts = np.bincount(crossing.framing)
        on_axes = crossing.word_basis**2
        rest = 1 - 1 / n_words - on_axes.sum(axis=1)
        h = np.full((n_models, len(n_prompts), n_words), 1 / n_words)
        for block, share in enumerate([rest, *on_axes.T]):
            h += self._mean_leverage(block)[..., None] / n_prompts[:, None] * share
        for f, n in enumerate(n_prompts):
            shrink = 1 - 1 / n
            gain, _ = self._shrinkage(f, (REST,), shared=True, prior=False)
            h[:, f] += shrink / n_models * gain * rest
            gain, _ = self._shrinkage(f, crossing.axes, shared=True, prior=False)
            h[:, f] += shrink / n_models * (on_axes @ gain)
            gain, _ = self._shrinkage(f, crossing.axes, shared=False, prior=False)
            h[:, f] += shrink * (1 - 1 / n_models) * (on_axes @ gain)
        return h

    def _mean_leverage(self, block: int) -> Array:
        """Leverage of a framing mean in one block, shape (model, framing)."""
        basis, n = self.crossing.model_basis, len(self.crossing.framings)
        (gain_in, _, _), outside = self._mean_matrices[block]
        inside = gain_in.reshape(basis.shape[1], n, basis.shape[1], n)
        leverage = np.einsum("ma,afbf,mb->mf", basis, inside, basis)
        for subspace, (gain, _, _) in zip(self.crossing.space.subspaces, outside, strict=True):
            leverage += (subspace.basis**2).sum(axis=1, keepdims=True) * np.diag(gain)
        return np.asarray(leverage)

    def _white(self, rng: np.random.Generator) -> Fields:
        m, p, w = self.crossing.shape
        n_axes, n_framings = len(self.crossing.axes), len(self.crossing.framings)
        return Fields(
            rng.standard_normal((n_framings, m, w)),
            rng.standard_normal((p, w)),
            rng.standard_normal((m, p, n_axes)),
            np.zeros(0),
        )

    def _apply(self, first: Fields, noise: Fields | None) -> Fields:
        """Smooth ``first`` and add ``noise``; with none, colour ``first`` as the prior."""
        prior = noise is None
        second = first if noise is None else noise
        return Fields(
            self._means(first.mean, second.mean, prior=prior),
            self._prompts(first.prompt_word, second.prompt_word, prior=prior),
            self._model_prompts(first.axis, second.axis, prior=prior),
            np.zeros(0),
        )

    def _means(self, y: Array, noise: Array, *, prior: bool) -> Array:
        words = self.crossing.word_basis
        y_axis, y_rest = split_words(y, words)
        noise_axis, noise_rest = split_words(noise, words)
        rest = self._mean_block(0, y_rest, noise_rest, prior=prior)
        on_axes = [
            self._mean_block(j + 1, y_axis[..., j : j + 1], noise_axis[..., j : j + 1], prior=prior)
            for j in range(len(self.crossing.axes))
        ]
        return rest + np.concatenate(on_axes, axis=-1) @ words.T

    def _mean_block(self, block: int, y: Array, noise: Array, *, prior: bool) -> Array:
        """Smooth ``y`` (framing, model, unit), the rest of the words (block 0) or one axis."""
        basis = self.crossing.model_basis
        inside, outside = self._mean_matrices[block]
        rotated = basis.T @ y, basis.T @ noise
        # Jointly over the columns of the formula and the framings.
        joint = [table.transpose(1, 0, 2).reshape(-1, y.shape[2]) for table in rotated]
        smooth = _coloured(inside, joint[0], joint[1], prior=prior)
        out = basis @ smooth.reshape(basis.shape[1], -1, y.shape[2]).transpose(1, 0, 2)
        for subspace, matrices in zip(self.crossing.space.subspaces, outside, strict=True):
            here = [(subspace.basis.T @ table).reshape(len(y), -1) for table in (y, noise)]
            smooth = _coloured(matrices, here[0], here[1], prior=prior)
            out += subspace.basis @ smooth.reshape(len(y), subspace.size, y.shape[2])
        return np.asarray(out)

    @cached_property
    def _mean_matrices(self) -> list[tuple[_Matrices, list[_Matrices]]]:
        """In the span and in each subspace outside it, for the rest of words, then each axis."""
        constants: list[Array | float] = [0.0, *self._priors]
        return [
            (
                self._matrices(axis, constant),
                [self._matrices(axis, 0.0, s) for s in self.crossing.space.subspaces],
            )
            for axis, constant in zip([REST, *self.crossing.axes], constants, strict=True)
        ]

    def _matrices(
        self, axis: Axis, constant: Array | float, subspace: Subspace | None = None
    ) -> _Matrices:
        parts = component_covariances(self.components, self.v[None], axis, subspace)
        residual = parts["residual"][0]
        total = np.sum(list(parts.values()), axis=0)[0] + constant
        gain = np.eye(len(total)) - np.linalg.solve(total, residual).T
        return gain, symmetric_root(gain @ residual), symmetric_root(total - residual)

    def _prompts(self, y: Array, noise: Array, *, prior: bool) -> Array:
        """Smooth what a prompt adds for all models, about its framing's mean; (prompt, word)."""
        words = self.crossing.word_basis
        out = np.empty_like(y)
        for f in range(len(self.crossing.framings)):
            group = self.crossing.prompts_of(f)
            y_axis, y_rest = split_words(_centred(y[group], 0), words)
            e_axis, e_rest = split_words(_centred(noise[group], 0), words)
            gain, sd = self._shrinkage(f, (REST,), shared=True, prior=prior)
            rest = gain * y_rest + sd * e_rest
            gain, sd = self._shrinkage(f, self.crossing.axes, shared=True, prior=prior)
            out[group] = rest + (gain * y_axis + sd * e_axis) @ words.T
        return out

    def _model_prompts(self, y: Array, noise: Array, *, prior: bool) -> Array:
        """Smooth what is a model's own on a prompt and category axis; (model, prompt, axis)."""
        out = np.empty_like(y)
        for f in range(len(self.crossing.framings)):
            group = self.crossing.prompts_of(f)
            gain, sd = self._shrinkage(f, self.crossing.axes, shared=False, prior=prior)
            y_own = _centred(_centred(y[:, group], 1), 0)
            out[:, group] = gain * y_own + sd * _centred(_centred(noise[:, group], 1), 0)
        return out

    def _shrinkage(
        self, framing: int, axes: Sequence[Axis], *, shared: bool, prior: bool
    ) -> tuple[Array, Array]:
        """Gain and noise SD within a framing, one for each axis."""
        residual = self.residual[framing]
        totals = np.array([self._within_total(framing, axis, shared) for axis in axes])
        if prior:
            return np.sqrt(totals - residual), np.zeros_like(totals)
        gain = 1 - residual / totals
        return gain, np.sqrt(gain * residual)

    def _within_total(self, framing: int, axis: Axis, shared: bool) -> float:
        entries = self.components.within_entries(shared=shared, axis=axis)
        return float(
            sum(k * self.v[self.components[name].index[0][framing]] for name, k in entries.items())
        )


def _coloured(matrices: _Matrices, y: Array, noise: Array, *, prior: bool) -> Array:
    """Smooth ``y`` and add ``noise``; or colour ``y`` as the prior. Both (joint framing, unit)."""
    gain, root, prior_root = matrices
    return np.asarray(prior_root @ y if prior else gain @ y + root @ noise)


def _centred(table: Array, side: int) -> Array:
    return np.asarray(table - table.mean(axis=side, keepdims=True))


@numba.njit(cache=True, nogil=True)
def accumulate(  # type: ignore[no-untyped-def]
    cells,
    values,
    framing,
    word_basis,
    per_prompt,
    per_model,
    mean,
    prompt_word,
    axis,
    level,
):  # pragma: no cover - compiled
    """Add ``values`` at ``cells`` (cell, 3) to the margins, in place."""
    for i in range(len(cells)):
        m, p, w = cells[i, 0], cells[i, 1], cells[i, 2]
        mean[framing[p], m, w] += values[i] * per_prompt[framing[p]]
        prompt_word[p, w] += values[i] * per_model
        for j in range(word_basis.shape[1]):
            axis[m, p, j] += values[i] * word_basis[w, j]
        level[m, p] += values[i]


@numba.njit(cache=True, nogil=True)
def read_cells(  # type: ignore[no-untyped-def]
    cells,
    framing,
    word_basis,
    per_prompt,
    per_model,
    mean,
    prompt_word,
    axis,
    level,
):  # pragma: no cover - compiled
    """Value of a smooth at ``cells``, shape (cell,)."""
    out = np.empty(len(cells))
    for i in range(len(cells)):
        m, p, w = cells[i, 0], cells[i, 1], cells[i, 2]
        f = framing[p]
        value = level[m, p] + mean[f, m, w] * per_prompt[f] + prompt_word[p, w] * per_model
        for j in range(word_basis.shape[1]):
            value += axis[m, p, j] * word_basis[w, j]
        out[i] = value
    return out
