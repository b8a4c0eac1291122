"""What effects are given a completed cube, at one value of the variances after the other.

The same as :class:`.Smoother` says, for chains that ask thousands of times: what does not depend on
the variances is made once, and the rest in one compiled pass.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from valuebias.analysis.design.components import Components
from valuebias.analysis.design.crossing import REST, Crossing
from valuebias.analysis.design.grouping import Subspace
from valuebias.analysis.design.strata import Stratum, Tables, coefficient_prior, span_blocks
from valuebias.analysis.sampling.completing import sum_up, write_moments

__all__ = ["LEAST_RESIDUAL", "Conditionals", "Moments"]

Array = NDArray[np.float64]

# Where effects can explain every score, the residual's SD may wander off to zero, and with it the
# system for the effects to singularity: they are then drawn as with this share of the variance.
LEAST_RESIDUAL = 1e-6
_NOBODY = np.empty(0)


@dataclass(frozen=True)
class Moments:
    """How tables are smoothed, and how effects vary about that."""

    residual: Array  # variance, by framing
    # Of framing means, by block of words (off the axes, on each): (block, framing · model) square.
    gains: Array
    roots: Array  # of the covariance, less what the noise of the cells makes of it
    within: Array  # gains within framings: (framing, block, models' own or shared)


class Conditionals:
    """The layout of the strata; read-only once made."""

    def __init__(
        self, crossing: Crossing, components: Components, coefficient_scales: Array
    ) -> None:
        self.crossing = crossing
        self.span, self.projectors = _sides(crossing)
        self.basis = np.ascontiguousarray(crossing.word_basis.T)
        self._mean_model = crossing.model_basis.sum(axis=0) / np.sqrt(crossing.shape[0])
        self._residual = list(components["residual"].index[0])
        self._least = LEAST_RESIDUAL * crossing.scale**2
        self._n_models, n_framings = crossing.shape[0], len(crossing.framings)
        self._flat_projectors = self.projectors.reshape(-1, self._n_models**2)
        n_blocks, d = len(self.basis) + 1, self.span.shape[1]
        self._inside_shape = n_blocks, d, d
        self._outside_shape = len(self.projectors), n_blocks, n_framings, n_framings
        self._within_shape = n_framings, n_blocks, 2
        rows, constants = _patterns(crossing, components, coefficient_scales)
        self._by_variance, self._constant = np.concatenate(rows), np.concatenate(constants)

    def at(self, v: Array) -> Moments:
        """Make the moments at ``v``, with a residual large enough for effects to be solved for."""
        v = v.copy()
        v[self._residual] = np.maximum(v[self._residual], self._least)
        residual, within = v[self._residual], np.empty(self._within_shape)
        # Gains, then roots.
        inside, outside = np.empty((2, *self._inside_shape)), np.empty((2, *self._outside_shape))
        totals = self._constant + self._by_variance @ v
        write_moments(totals, residual, self._mean_model, _NOBODY, inside, outside, within)
        full = self.span @ inside @ self.span.T
        n_subspaces, n_blocks, n_framings = self._outside_shape[:3]
        spread = outside.reshape(2, n_subspaces, n_blocks * n_framings**2)
        spread = spread.swapaxes(1, 2) @ self._flat_projectors
        by_side = spread.reshape(2, n_blocks, n_framings, n_framings, self._n_models, -1)
        full += by_side.transpose(0, 1, 2, 4, 3, 5).reshape(full.shape)
        return Moments(residual, full[0], full[1], within)

    def scatter(self, tables: Tables, at: NDArray[np.intp]) -> Array:
        """Scatter matrices of new tables, flat; ``at`` is :meth:`positions`."""
        mean, prompt_word, axis = map(
            np.ascontiguousarray, (tables.mean, tables.prompt_word, tables.axis)
        )
        n_words, size = mean.shape[2], len(self.span)
        grams, within = np.empty((len(self.basis) + 1, size, size)), np.empty(self._within_shape)
        sum_up(
            mean.reshape(size, n_words), prompt_word, axis, tables.ss, self.crossing.framing,
            self.basis, grams, within, *np.empty((2, n_words)),
        )  # fmt: skip
        inside = self.span.T @ grams @ self.span
        n_framings = len(within)
        by_side = grams.reshape(-1, n_framings, self._n_models, n_framings, self._n_models)
        by_side = by_side.transpose(0, 1, 3, 2, 4).reshape(-1, self._n_models**2)
        outside = by_side @ self._flat_projectors.T
        return np.concatenate([inside.ravel(), outside.ravel(), within.ravel()])[at]

    def positions(self, strata: list[Stratum]) -> NDArray[np.intp]:
        """Say where the scatter matrices of ``strata`` lie, one after the other."""
        n_subspaces, n_blocks, n_framings, _ = self._outside_shape
        n_inside, n_outside = math.prod(self._inside_shape), math.prod(self._outside_shape)
        every = np.arange(n_inside + n_outside + math.prod(self._within_shape))
        inside = every[:n_inside].reshape(self._inside_shape)
        by_subspace = n_blocks, n_framings, n_framings, n_subspaces
        outside = every[n_inside : n_inside + n_outside].reshape(by_subspace)
        within = every[n_inside + n_outside :].reshape(self._within_shape)
        where: dict[str, NDArray[np.intp]] = {}
        for j in range(n_blocks):
            words = f"axis {j}" if j else "words"
            for name, block in span_blocks(self.crossing):
                where[f"{name} × {words}"] = inside[j, block, block]
            for s, subspace in enumerate(_other_subspaces(self.crossing)):
                where[f"{subspace.name} × {words}"] = outside[j, :, :, s]
            for f, name in enumerate(self.crossing.framings):
                own = f"models × prompts × {words}" if j else "residual"
                where[f"{name} {own}"] = within[f, j, 0]
                where[f"{name} prompts × {words}"] = within[f, j, 1]
        return np.concatenate([where[s.name].ravel() for s in strata])


def _other_subspaces(crossing: Crossing) -> list[Subspace]:
    return [subspace for subspace in crossing.space.subspaces if subspace.size]


def _sides(crossing: Crossing) -> tuple[Array, Array]:
    """Give the span over (framing · model, column · framing), and projectors on what is outside."""
    n_models, n_framings = crossing.shape[0], len(crossing.framings)
    span = np.einsum("ma,fg->fmag", crossing.model_basis, np.eye(n_framings))
    bases = [subspace.basis for subspace in _other_subspaces(crossing)]
    projectors = np.array([basis @ basis.T for basis in bases])
    return (
        np.ascontiguousarray(span.reshape(n_framings * n_models, -1)),
        projectors.reshape(-1, n_models, n_models),
    )


def _patterns(
    crossing: Crossing, components: Components, scales: Array
) -> tuple[list[Array], list[Array]]:
    """List derivatives of covariances, (entry, variance), and what has no parameters.

    In the order of :func:`.write_moments`.
    """
    rows, constants = [], []
    axes, n_framings = [REST, *crossing.axes], len(crossing.framings)

    def add(patterns: dict[int, Array], constant: Array) -> None:
        row = np.zeros((constant.size, components.n_variances))
        for k, pattern in patterns.items():
            row[:, k] = pattern.ravel()
        rows.append(row)
        constants.append(constant.ravel())

    for j, axis in enumerate(axes):
        size = crossing.model_basis.shape[1] * n_framings
        prior = coefficient_prior(crossing, components, j - 1, scales) if j else None
        add(components.stratum_patterns(axis), np.zeros((size, size)) if prior is None else prior)
    for subspace in _other_subspaces(crossing):
        for axis in axes:
            add(components.stratum_patterns(axis, subspace), np.zeros((n_framings,) * 2))
    for f in range(n_framings):
        for axis in axes:
            for shared in (False, True):
                add(components.within(f, shared=shared, axis=axis), np.zeros((1, 1)))
    return rows, constants
