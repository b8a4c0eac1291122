"""The precision of a complete crossing, stratum by stratum, for many draws of the variances.

The strata are orthogonal, so the precision ``Q = V⁻¹`` of all scores is a sum of their inverses. A
conditional distribution needs no more: given the rest, the part left out has the precision
``Q_ss`` and departs from its mean by ``Q_ss⁻¹ (Q y)_s``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from valuebias.analysis.design.components import Components
from valuebias.analysis.design.crossing import REST, Axis, Crossing
from valuebias.analysis.design.grouping import Subspace
from valuebias.analysis.design.strata import coefficient_prior
from valuebias.analysis.estimands.effects import component_covariances

__all__ = ["Precision", "block_sizes", "covariance_at", "precision_at"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Precision:
    """Inverses of the strata's covariances; a block of words lies off all axes, or on one."""

    # (draw, column · framing, column · framing): of framing means in the dense span over models,
    # one per block of words.
    inside: list[Array]
    # (draw, framing, framing): in each subspace outside the span, likewise.
    outside: list[list[Array]]
    # by_model, shared: (draw, framing, block): within a framing, of what differs between models and
    # of what all models share.
    by_model: Array
    shared: Array

    def times(self, crossing: Crossing, block: int, vector: Array) -> Array:
        """Multiply `over_models` by a vector, (draw, model · framing), without laying it out.

        For 500 models and 800 draws it would take 6 GB.
        """
        table = vector.reshape(-1, len(crossing.framings))
        inside = self.inside[block] @ (crossing.model_basis.T @ table).ravel()
        inside = inside.reshape(len(inside), -1, table.shape[1])
        out = np.asarray(crossing.model_basis @ inside)
        for subspace, precision in zip(crossing.space.subspaces, self.outside[block], strict=True):
            part = subspace.basis @ (subspace.basis.T @ table)
            out += part @ precision.swapaxes(1, 2)
        return out.reshape(len(out), -1)

    def over_models(self, crossing: Crossing, block: int) -> Array:
        """Precision of framing means over all models, (draw, model · framing, model · framing)."""
        eye = np.eye(len(crossing.framings))
        basis = np.kron(crossing.model_basis, eye)
        out = basis @ self.inside[block] @ basis.T
        for subspace, precision in zip(crossing.space.subspaces, self.outside[block], strict=True):
            projector = subspace.basis @ subspace.basis.T
            kron = projector[None, :, None, :, None] * precision[:, None, :, None, :]
            out += kron.reshape(out.shape)
        return np.asarray(out)


def block_sizes(crossing: Crossing) -> NDArray[np.intp]:
    """Dimension of each block of words: off all axes, then one per axis."""
    n_axes = len(crossing.axes)
    return np.array([crossing.shape[2] - 1 - n_axes, *([1] * n_axes)])


def precision_at(
    crossing: Crossing, components: Components, coefficient_scales: Array, v: Array
) -> Precision:
    """Invert the strata at every row of variances ``v`` (draw, variance)."""
    axes = [REST, *crossing.axes]
    n_framings = len(crossing.framings)
    inside, outside = [], []
    for j, axis in enumerate(axes):
        total = covariance_at(components, v, axis)
        if j:
            total = total + coefficient_prior(crossing, components, j - 1, coefficient_scales)
        inverse = np.zeros_like(total)
        for block in crossing.blocks:
            at = slice(block.start * n_framings, block.stop * n_framings)
            inverse[:, at, at] = np.linalg.inv(total[:, at, at])
        inside.append(inverse)
        outside.append(
            [
                np.asarray(np.linalg.inv(covariance_at(components, v, axis, s)), dtype=float)
                for s in crossing.space.subspaces
            ]
        )
    by_model, shared = (_within(components, v, axes, shared=s) for s in (False, True))
    return Precision(inside, outside, by_model, shared)


def covariance_at(
    components: Components, v: Array, axis: Axis, subspace: Subspace | None = None
) -> Array:
    """Add up the components' covariances of framing means, the coefficients given."""
    parts = component_covariances(components, v, axis, subspace)
    return np.asarray(np.sum(list(parts.values()), axis=0))


def _within(components: Components, v: Array, axes: list[Axis], *, shared: bool) -> Array:
    """Precisions within framings, (draw, framing, block)."""
    out = np.zeros((len(v), components.n_framings, len(axes)))
    for j, axis in enumerate(axes):
        for name, times in components.within_entries(shared=shared, axis=axis).items():
            out[..., j] += times * v[:, list(components[name].index[0])]
    return np.asarray(1 / out)
