"""Split a completed cube into its random effects and its residual, table by table.

Given the variances, "everything but the residual" is a linear smoother of the cube's margins.
Applied with noise it draws from the exact conditional distribution; without noise it gives the
mean, which also multiplies a cube by its precision matrix: ``V⁻¹ y = (y − smooth(y)) / σ²``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from valuebias.analysis.design.components import Components
from valuebias.analysis.design.crossing import REST, Axis, Crossing
from valuebias.analysis.design.margins import smooth_prompts
from valuebias.analysis.design.noise import Factors
from valuebias.analysis.design.strata import coefficient_prior
from valuebias.analysis.estimands.effects import symmetric_root

__all__ = ["Fields", "Smoother"]

Array = NDArray[np.float64]
Noise = NDArray[np.floating[Any]]

# Numbers of a table over framings, models and words that are smoothed at a time.
_AT_A_TIME = 50_000


@dataclass
class Fields:
    """Margins of a cube, or what the smoother makes of them; the same four tables."""

    mean: Array  # (framing, model, word): over the prompts of a framing, times √P_f
    prompt_word: Array  # (prompt, word): over models, times √M
    axis: Array  # (model, prompt, axis): on the axes
    level: Array  # (model, prompt): as a margin: sum over words. As a smooth: the level itself.

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
        self._shrunk: dict[tuple[Any, ...], tuple[Array, Array]] = {}
        self.residual = v[list(components["residual"].index[0])]
        self._priors = [
            coefficient_prior(crossing, components, j, coefficient_scales)
            for j in range(len(crossing.axes))
        ]

    def without(self, names: Iterable[str]) -> Smoother:
        """Make the smoother at the same variances, some components left out."""
        v = self.v.copy()
        for name in names:
            for index in self.components[name].index:
                v[list(index)] = 0
        return Smoother(self.crossing, self.components, self._scales, v)

    def mean(self, margins: Fields) -> Fields:
        """Conditional mean of everything but the residual."""
        return Fields(
            self._means(margins.mean, None),
            self._prompts(margins.prompt_word, None, np.empty_like(margins.prompt_word)),
            self._model_prompts(margins.axis, None),
            margins.level / self.crossing.shape[2],
        )

    def draw(self, margins: Fields, rng: np.random.Generator) -> Fields:
        """Draw everything but the residual."""
        n_words, prompts = self.crossing.shape[2], margins.prompt_word
        sd = np.sqrt(self.residual / n_words)[self.crossing.framing]
        noise = rng.standard_normal(prompts.shape, dtype=np.float32)
        return Fields(
            self._means(margins.mean, rng),
            self._prompts(prompts, noise, np.empty_like(prompts)),
            self._model_prompts(margins.axis, rng.standard_normal(margins.axis.shape)),
            margins.level / n_words + sd * rng.standard_normal(margins.level.shape),
        )

    def simulate(self, rng: np.random.Generator, noise: Noise | None = None) -> Fields:
        """Draw everything but the residual from its prior, levels zero.

        To save memory, where the ``noise`` of prompts is drawn may be given.
        """
        m, p, w = self.crossing.shape
        means = self._means(None, rng)
        prompts = self._prompts(None, _white((p, w), rng, noise), np.empty((p, w)))
        axis = rng.standard_normal((m, p, len(self.crossing.axes)))
        return Fields(means, prompts, self._model_prompts(None, axis), np.zeros((m, p)))

    def simulate_cube(self, rng: np.random.Generator, factors: Factors | None = None) -> Array:
        """Draw a whole new cube (model, prompt, word): new models, prompts, words and residuals."""
        effects = self.simulate(rng, noise=np.empty(self.crossing.shape[1:]))
        cube = rng.standard_normal(self.crossing.shape)
        if factors is not None:
            factors.scale(cube, rng)
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
    def prompt_word(self) -> Array:
        """Variance of what all models share on a prompt and word, (framing,)."""
        if "prompt_word" not in self.components:
            return np.zeros_like(self.residual)
        return self.v[list(self.components["prompt_word"].index[0])]

    @property
    def roots_between(self) -> tuple[Array, Array]:
        """Symmetric roots of the covariance of all but residual and ``prompt_word``.

        Of framing means off the axes and on each, (block, framing · model) square; and of models'
        own on each axis of a prompt, about the means of its framing: (framing, axis, model, model).
        """
        crossing, components = self.crossing, self.components
        bare = self.without({"residual", "prompt_word"} & set(components.names))
        n_framings, n_models = len(crossing.framings), crossing.shape[0]
        unit = np.eye(n_framings * n_models)
        means = [
            bare._mean_block(block, None, unit.reshape(n_framings, n_models, -1))
            for block in range(len(crossing.axes) + 1)
        ]
        variances = [
            [[bare._within_total(f, axis, s) for axis in crossing.axes] for s in (False, True)]
            for f in range(n_framings)
        ]
        sd = np.sqrt(variances)[..., None, None]
        over_all = np.full((n_models, n_models), 1 / n_models)
        between = sd[:, 0] * (np.eye(n_models) - over_all) + sd[:, 1] * over_all
        return np.reshape(means, (-1, *unit.shape)), between

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
            gain, _ = self._shrinkage(f, (REST,), shared=True)
            h[:, f] += shrink / n_models * gain * rest
            gain, _ = self._shrinkage(f, crossing.axes, shared=True)
            h[:, f] += shrink / n_models * (on_axes @ gain)
            gain, _ = self._shrinkage(f, crossing.axes, shared=False)
            h[:, f] += shrink * (1 - 1 / n_models) * (on_axes @ gain)
        return h

    def _mean_leverage(self, block: int) -> Array:
        """Leverage of a framing mean in one block, shape (model, framing)."""
        basis, n = self.crossing.model_basis, len(self.crossing.framings)
        spanned, outside = self._mean_matrices[block]
        inside = spanned.gain.reshape(basis.shape[1], n, basis.shape[1], n)
        leverage = np.einsum("ma,afbf,mb->mf", basis, inside, basis)
        for subspace, matrices in zip(self.crossing.space.subspaces, outside, strict=True):
            leverage += (subspace.basis**2).sum(axis=1, keepdims=True) * np.diag(matrices.gain)
        return np.asarray(leverage)

    def _means(self, y: Array | None, rng: np.random.Generator | None) -> Array:
        """Smooth framing means (framing, model, word), and add noise where there is ``rng``.

        Without ``y`` they are drawn from the prior. What lies on the axes is smoothed apart: it is
        taken from what the smooth of the rest of the words makes of it.
        """
        words = self.crossing.word_basis
        n_framings, n_models = len(self.crossing.framings), self.crossing.shape[0]
        out = np.empty((n_framings, n_models, len(words)))
        noise_axis = np.zeros((n_framings, n_models, words.shape[1]))
        step = max(1, _AT_A_TIME // (n_framings * n_models))
        for first in range(0, len(words), step):
            part = slice(first, first + step)
            noise = None
            if rng is not None:
                noise = rng.standard_normal(out[..., part].shape)
                noise_axis += noise @ words[part]
            out[..., part] = self._mean_block(0, None if y is None else y[..., part], noise)
        y_axis = None if y is None else y @ words
        on_axes = np.empty_like(noise_axis)
        for j in range(words.shape[1]):
            one = slice(j, j + 1)
            on_axes[..., one] = self._mean_block(
                j + 1,
                None if y_axis is None else y_axis[..., one],
                None if rng is None else noise_axis[..., one],
            )
        on_axes -= out @ words
        out -= out.mean(axis=2, keepdims=True)
        for f in range(n_framings):
            out[f] += on_axes[f] @ words.T
        return out

    def _mean_block(self, block: int, y: Array | None, noise: Array | None) -> Array:
        """Smooth ``y`` (framing, model, unit), the rest of the words (block 0) or one axis.

        Without ``y`` the noise is coloured as the prior.
        """
        basis = self.crossing.model_basis
        inside, outside = self._mean_matrices[block]
        n_framings = len(self.crossing.framings)

        def joint(table: Array | None) -> Array | None:
            # Jointly over the columns of the formula and the framings.
            if table is None:
                return None
            rotated = basis.T @ table
            return np.asarray(rotated.transpose(1, 0, 2).reshape(-1, table.shape[2]))

        smooth = _coloured(inside, joint(y), joint(noise))
        out = basis @ smooth.reshape(basis.shape[1], n_framings, -1).transpose(1, 0, 2)
        for subspace, matrices in zip(self.crossing.space.subspaces, outside, strict=True):
            values, beside = (
                None if table is None else (subspace.basis.T @ table).reshape(n_framings, -1)
                for table in (y, noise)
            )
            smooth = _coloured(matrices, values, beside)
            out += subspace.basis @ smooth.reshape(n_framings, subspace.size, out.shape[2])
        return np.asarray(out)

    @cached_property
    def _mean_matrices(self) -> list[tuple[_Matrices, list[_Matrices]]]:
        """In the span and in each subspace outside it, for the rest of words, then each axis."""
        indices = [None, *range(len(self.crossing.space.subspaces))]
        parts = {
            axis.kind: [self.components.mean_covariance(self.v, axis.kind, at) for at in indices]
            for axis in {axis.kind: axis for axis in (REST, *self.crossing.axes)}.values()
        }
        out, priors = [], [np.zeros((1, 1)), *self._priors]
        for axis, prior in zip([REST, *self.crossing.axes], priors, strict=True):
            totals = [constant + axis.weight * slope for constant, slope in parts[axis.kind]]
            totals[0] = totals[0] + prior
            # Vectors are over framings, or over columns and framings.
            n = len(self.residual)
            inside, *outside = (
                _Matrices(total, np.diag(np.tile(self.residual, len(total) // n)))
                for total in totals
            )
            out.append((inside, outside))
        return out

    def _prompts(self, y: Array | None, noise: Noise | None, out: Array) -> Array:
        """Smooth what a prompt adds for all models, about its framing's mean; (prompt, word).

        Without ``y`` the noise is coloured as the prior. ``out`` may be ``y``.
        """
        axes, prior = self.crossing.axes, y is None
        by_framing = [
            (
                *self._shrinkage(f, (REST,), shared=True, prior=prior),
                *self._shrinkage(f, axes, shared=True, prior=prior),
            )
            for f in range(len(self.crossing.framings))
        ]
        gain, sd, gain_axis, sd_axis = (np.array(one) for one in zip(*by_framing, strict=True))
        smooth_prompts(
            np.empty((0, 0)) if y is None else y,
            np.empty((0, 0), dtype=np.float32) if noise is None else noise,
            self.crossing.framing, np.ascontiguousarray(self.crossing.word_basis.T),
            gain[:, 0], sd[:, 0], gain_axis, sd_axis, out,
        )  # fmt: skip
        return out

    def _model_prompts(self, y: Array | None, noise: Array | None) -> Array:
        """Smooth what is a model's own on a prompt and category axis; (model, prompt, axis).

        Without ``y`` the noise is coloured as the prior.
        """
        m, p, _ = self.crossing.shape
        out = np.zeros((m, p, len(self.crossing.axes)))
        for f in range(len(self.crossing.framings)):
            group = self.crossing.prompts_of(f)
            gain, sd = self._shrinkage(f, self.crossing.axes, shared=False, prior=y is None)
            for factor, table in ((gain, y), (sd, noise)):
                if table is not None:
                    out[:, group] += factor * _centred(_centred(table[:, group], 1), 0)
        return out

    def _shrinkage(
        self, framing: int, axes: Sequence[Axis], *, shared: bool, prior: bool = False
    ) -> tuple[Array, Array]:
        """Gain and noise SD within a framing, one for each axis; the SD of the ``prior``."""
        key = framing, tuple(axes), shared, prior
        if key not in self._shrunk:  # solvers ask many times
            residual = self.residual[framing]
            totals = np.array([self._within_total(framing, axis, shared) for axis in axes])
            gain = 1 - residual / totals
            sd = np.sqrt(totals - residual if prior else gain * residual)
            self._shrunk[key] = gain, sd
        return self._shrunk[key]

    def _within_total(self, framing: int, axis: Axis, shared: bool) -> float:
        entries = self.components.within_entries(shared=shared, axis=axis)
        return float(
            sum(k * self.v[self.components[name].index[0][framing]] for name, k in entries.items())
        )


def _white(shape: tuple[int, ...], rng: np.random.Generator, noise: Noise | None) -> Noise:
    noise = np.empty(shape, dtype=np.float32) if noise is None else noise
    rng.standard_normal(dtype=noise.dtype, out=noise)
    return noise


def _coloured(matrices: _Matrices, y: Array | None, noise: Array | None) -> Array:
    """Smooth ``y`` and add ``noise``; or colour noise as the prior. Both (joint framing, unit)."""
    smooth = None if y is None else matrices.gain @ y
    if noise is None:
        return np.asarray(smooth)
    coloured = (matrices.prior_root if smooth is None else matrices.root) @ noise
    return np.asarray(coloured if smooth is None else coloured + smooth)


def _centred(table: Array, coord: int) -> Array:
    return np.asarray(table - table.mean(axis=coord, keepdims=True))
