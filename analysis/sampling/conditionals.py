"""What effects are given a completed cube, at one value of the variances after the other.

The same as :class:`.Smoother` says, for chains that ask thousands of times: what does not depend on
the variances is made once, and the rest in one compiled pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from valuebias.analysis.design.components import Components
from valuebias.analysis.design.crossing import REST, Crossing
from valuebias.analysis.design.grouping import Subspace
from valuebias.analysis.design.strata import Stratum, Tables, coefficient_prior, span_blocks
from valuebias.analysis.sampling.completing import scatter_of, write_moments

__all__ = ["LEAST_RESIDUAL", "Conditionals", "Moments"]

Array = NDArray[np.float64]

# Where effects can explain every score, the residual's SD may wander off to zero, and with it the
# system for the effects to singularity: they are then drawn as with this share of the variance.
LEAST_RESIDUAL = 1e-6


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
        rows, constants = _patterns(crossing, components, coefficient_scales)
        self._by_variance, self._constant = np.concatenate(rows), np.concatenate(constants)

    def at(self, v: Array) -> Moments:
        """Make the moments at ``v``, with a residual large enough for effects to be solved for."""
        v = v.copy()
        v[self._residual] = np.maximum(v[self._residual], self._least)
        residual, n_blocks, size = v[self._residual], len(self.basis) + 1, len(self.span)
        gains, roots = np.empty((2, n_blocks, size, size))
        within = np.empty((len(residual), n_blocks, 2))
        write_moments(
            self._constant + self._by_variance @ v, residual, self.span, self._mean_model,
            self.projectors, gains, roots, within,
        )  # fmt: skip
        return Moments(residual, gains, roots, within)

    def scatter(self, tables: Tables, at: NDArray[np.intp]) -> Array:
        """Scatter matrices of new tables, flat; ``at`` is :meth:`positions`."""
        out = np.empty(len(self._constant))
        mean, prompt_word, axis = map(
            np.ascontiguousarray, (tables.mean, tables.prompt_word, tables.axis)
        )
        scatter_of(
            mean, prompt_word, axis, tables.ss, self.crossing.framing, self.basis, self.span,
            self.projectors, out,
        )  # fmt: skip
        return np.asarray(out[at])

    def positions(self, strata: list[Stratum]) -> NDArray[np.intp]:
        """Say where the scatter matrices of ``strata`` lie, one after the other."""
        at, n_framings, d = 0, len(self.crossing.framings), self.span.shape[1]
        n_blocks, where = len(self.basis) + 1, {}
        suffixes = ["words", *(f"axis {j}" for j in range(1, n_blocks))]
        for suffix in suffixes:
            square = np.arange(at, at + d * d).reshape(d, d)
            for name, block in span_blocks(self.crossing):
                where[f"{name} × {suffix}"] = square[block, block]
            at += d * d
        for subspace in _other_subspaces(self.crossing):
            for suffix in suffixes:
                where[f"{subspace.name} × {suffix}"] = np.arange(at, at + n_framings**2)
                at += n_framings**2
        for name in self.crossing.framings:
            pairs = [("residual", "prompts × words")]
            pairs += [(f"models × prompts × {one}", f"prompts × {one}") for one in suffixes[1:]]
            for label in (label for pair in pairs for label in pair):
                where[f"{name} {label}"] = np.array([at])
                at += 1
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
