"""Split a completed cube into its random effects and its residual, table by table.

Given the variances, "everything but the residual" is a linear smoother of the cube's margins.
Applied with noise it draws from the exact conditional distribution; without noise it gives the
mean, which also multiplies a cube by its precision matrix: ``V⁻¹ y = (y − smooth(y)) / σ²``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from valuebias.analysis.design.components import Components
from valuebias.analysis.design.crossing import REST, Axis, Crossing
from valuebias.analysis.design.grouping import Subspace
from valuebias.analysis.design.strata import coefficient_prior, split_words
from valuebias.analysis.estimands.effects import component_covariances, symmetric_root

__all__ = ["Fields", "Smoother"]

Array = NDArray[np.float64]


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


class _Matrices:
    """How a block of framing means is smoothed; what is not asked for is not computed."""

    def __init__(self, total: Array, residual: Array) -> None:
        self.total, self.residual = total, residual

    @cached_property
    def gain(self) -> Array:
        """Share of the means that is not the residual's."""
        return np.asarray(np.eye(len(self.total)) - np.linalg.solve(self.total, self.residual).T)

    @cached_property
    def root(self) -> Array:
        """Root of the covariance given the means."""
        return symmetric_root(self.gain @ self.residual)

    @cached_property
    def prior_root(self) -> Array:
        """Root of the covariance of all but the residual."""
        return symmetric_root(self.total - self.residual)


class Smoother:
    """The smoother at one value ``v`` of the variances."""

    def __init__(
        self, crossing: Crossing, components: Components, coefficient_scales: Array, v: Array
    ) -> None:
        self.crossing, self.components, self.v = crossing, components, v
        self._scales = coefficient_scales
        self.residual = v[list(components["residual"].index[0])]
        self._priors = [
            coefficient_prior(crossing, components, j, coefficient_scales)
            for j in range(len(crossing.axes))
        ]

    def mean(self, margins: Fields) -> Fields:
        """Conditional mean of everything but the residual."""
        out = self._apply(margins, None)
        out.level = margins.level / self.crossing.shape[2]
        return out

    def draw(self, margins: Fields, rng: np.random.Generator) -> Fields:
        """Draw everything but the residual."""
        out = self._apply(margins, self._white(rng))
        n_words = self.crossing.shape[2]
        sd = np.sqrt(self.residual / n_words)[self.crossing.framing]
        out.level = margins.level / n_words + sd * rng.standard_normal(margins.level.shape)
        return out

    def with_fewer_scores(self, share: float) -> Smoother:
        """Make the smoother of as many cells that tell a ``share`` of what these do."""
        v = self.v.copy()
        v[list(self.components["residual"].index[0])] /= share
        return Smoother(self.crossing, self.components, self._scales, v)

    def simulate(self, rng: np.random.Generator) -> Fields:
        """Draw everything but the residual from its prior, levels zero."""
        out = self._apply(self._white(rng), None, prior=True)
        out.level = np.zeros(self.crossing.shape[:2])
        return out

    def simulate_cube(self, rng: np.random.Generator) -> Array:
        """Draw a whole new cube (model, prompt, word): new models, prompts, words and residuals."""
        effects = self.simulate(rng)
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

    def smooth_means(self, block: int, y: Array) -> Array:
        """Smooth framing means ``y`` (framing, model, unit) off the axes (block 0) or on one."""
        return self._mean_block(block, y, None, prior=False)

    @property
    def prompt_gains(self) -> tuple[Array, Array, Array]:
        """Gains of prompts off the axes (framing,), on each, and of models' own on each."""
        rest, shared, own = [], [], []
        for f in range(len(self.crossing.framings)):
            axes = self.crossing.axes
            rest.append(self._shrinkage(f, (REST,), shared=True, prior=False)[0][0])
            shared.append(self._shrinkage(f, axes, shared=True, prior=False)[0])
            own.append(self._shrinkage(f, axes, shared=False, prior=False)[0])
        return np.array(rest), np.array(shared), np.array(own)

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
        here, outside = self._mean_matrices[block]
        inside = here.gain.reshape(basis.shape[1], n, basis.shape[1], n)
        leverage = np.einsum("ma,afbf,mb->mf", basis, inside, basis)
        for subspace, matrices in zip(self.crossing.space.subspaces, outside, strict=True):
            leverage += (subspace.basis**2).sum(axis=1, keepdims=True) * np.diag(matrices.gain)
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

    def _apply(self, y: Fields, noise: Fields | None, *, prior: bool = False) -> Fields:
        """Smooth ``y`` and add ``noise``, if there is any; or colour ``y`` as the prior."""
        return Fields(
            self._means(y.mean, None if noise is None else noise.mean, prior=prior),
            self._prompts(y.prompt_word, None if noise is None else noise.prompt_word, prior=prior),
            self._model_prompts(y.axis, None if noise is None else noise.axis, prior=prior),
            np.zeros(0),
        )

    def _means(self, y: Array, noise: Array | None, *, prior: bool) -> Array:
        words = self.crossing.word_basis
        y_axis, y_rest = split_words(y, words)
        noise_axis, noise_rest = (None, None) if noise is None else split_words(noise, words)
        out = self._mean_block(0, y_rest, noise_rest, prior=prior)
        on_axes = np.empty_like(y_axis)
        for j in range(len(self.crossing.axes)):
            here = None if noise_axis is None else noise_axis[..., j : j + 1]
            axis = self._mean_block(j + 1, y_axis[..., j : j + 1], here, prior=prior)
            on_axes[..., j] = axis[..., 0]
        out += on_axes @ words.T
        return out

    def _mean_block(self, block: int, y: Array, noise: Array | None, *, prior: bool) -> Array:
        """Smooth ``y`` (framing, model, unit), the rest of the words (block 0) or one axis."""
        basis = self.crossing.model_basis
        inside, outside = self._mean_matrices[block]

        def joint(table: Array) -> Array:
            # Jointly over the columns of the formula and the framings.
            rotated = basis.T @ table
            return np.asarray(rotated.transpose(1, 0, 2).reshape(-1, table.shape[2]))

        smooth = _coloured(inside, joint(y), None if noise is None else joint(noise), prior=prior)
        out = basis @ smooth.reshape(basis.shape[1], -1, y.shape[2]).transpose(1, 0, 2)
        for subspace, matrices in zip(self.crossing.space.subspaces, outside, strict=True):
            side = subspace.basis.T
            here = (side @ y).reshape(len(y), -1)
            beside = None if noise is None else (side @ noise).reshape(len(y), -1)
            smooth = _coloured(matrices, here, beside, prior=prior)
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
        total = np.sum(list(parts.values()), axis=0)[0] + constant
        return _Matrices(total, parts["residual"][0])

    def _prompts(self, y: Array, noise: Array | None, *, prior: bool) -> Array:
        """Smooth what a prompt adds for all models, about its framing's mean; (prompt, word)."""
        words = self.crossing.word_basis
        out = np.empty_like(y)
        for f in range(len(self.crossing.framings)):
            group = self.crossing.prompts_of(f)
            gain, sd = self._shrinkage(f, (REST,), shared=True, prior=prior)
            gain_axis, sd_axis = self._shrinkage(f, self.crossing.axes, shared=True, prior=prior)
            here = _scaled(_centred(y[group], 0), words, gain, gain_axis)
            if noise is not None:
                here += _scaled(_centred(noise[group], 0), words, sd, sd_axis)
            out[group] = here
        return out

    def _model_prompts(self, y: Array, noise: Array | None, *, prior: bool) -> Array:
        """Smooth what is a model's own on a prompt and category axis; (model, prompt, axis)."""
        out = np.empty_like(y)
        for f in range(len(self.crossing.framings)):
            group = self.crossing.prompts_of(f)
            gain, sd = self._shrinkage(f, self.crossing.axes, shared=False, prior=prior)
            here = gain * _centred(_centred(y[:, group], 1), 0)
            if noise is not None:
                here += sd * _centred(_centred(noise[:, group], 1), 0)
            out[:, group] = here
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


def _coloured(matrices: _Matrices, y: Array, noise: Array | None, *, prior: bool) -> Array:
    """Smooth ``y`` and add ``noise``; or colour ``y`` as the prior. Both (joint framing, unit)."""
    if prior:
        return np.asarray(matrices.prior_root @ y)
    smooth = matrices.gain @ y
    return np.asarray(smooth if noise is None else smooth + matrices.root @ noise)


def _scaled(y: Array, words: Array, rest: Array, on_axes: Array) -> Array:
    """Multiply what lies off the axes by ``rest`` and what lies on each by ``on_axes``."""
    axes = y @ words
    y -= y.mean(axis=1, keepdims=True)
    y *= rest
    y += (axes * (on_axes - rest)) @ words.T
    return y


def _centred(table: Array, side: int) -> Array:
    return np.asarray(table - table.mean(axis=side, keepdims=True))
