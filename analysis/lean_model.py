"""What is known of the leans of models, once the variances are: a small Gaussian model of them.

The lean of a model under a framing is what a formula gives, plus independent parts (of its base, of
its run, of the words and prompts that it was measured on), each with a known matrix over models and
a covariance over framings that differs by draw. Given the variances, any other formula over the
same models can be looked at without sampling anew.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from valuebias.analysis.formula import ModelDesign
from valuebias.analysis.grouping import OWN, Part

if TYPE_CHECKING:
    from valuebias.analysis.effects import Margins
    from valuebias.analysis.hierarchical import Problem

__all__ = ["LeanModel", "LeanPart", "Leans", "average_rows", "lean_model"]

Array = NDArray[np.float64]

_WIDEST = 120
"""Rows; all that is computed grows with their cube."""
_DRAWS = (50, 1000)
"""Draws of the variances: at least so many, at most so many."""
_BUDGET = 1e8
"""Of draws times the cube of the size."""


@dataclass(frozen=True)
class LeanPart:
    """One part of what makes leans depart from the formula.

    Attributes
    ----------
    over_models : ndarray, shape (model, model)
        Its covariance over models, up to that over framings.
    covariance : ndarray, shape (draw, framing, framing)
    prior_sd : float
        Scale of the half-normal prior on its SDs, where it is what runs of a kind differ by: what a
        formula gets wrong is counted in there. 0 elsewhere.
    """

    over_models: Array
    covariance: Array
    prior_sd: float = 0.0


@dataclass(frozen=True)
class LeanModel:
    """Leans, and all that they are made of but for the formula.

    Attributes
    ----------
    lean : ndarray, shape (draw or 1, model, framing)
        Measured leans; one a draw where the crossing is incomplete.
    parts : tuple of LeanPart
    scales : ndarray, shape (column,)
        Prior SDs of the effects of the formula's columns on a lean.
    """

    lean: Array
    parts: tuple[LeanPart, ...]
    scales: Array

    @property
    def n_draws(self) -> int:
        """How many draws of the variances there are."""
        return len(self.parts[0].covariance)

    def span(self, columns: Array) -> Array:
        """Orthonormal basis of columns and of what the parts make of them, (model, row).

        In it is all that the leans say of the columns' effects, unless it grows too wide; then a
        little is lost, and what is kept still follows the same model.
        """
        basis = _orthonormal(columns)
        while True:
            images = [part.over_models @ basis for part in self.parts]
            wider = _orthonormal(np.concatenate([basis, *images], axis=1))
            if wider.shape[1] == basis.shape[1] or wider.shape[1] > _WIDEST:
                return basis
            basis = wider

    def within(self, basis: Array) -> Leans:
        """Take the leans along the columns of a basis, at some draws of the variances."""
        size = basis.shape[1] * self.lean.shape[2]
        most = int(np.clip(_BUDGET / size**3, *_DRAWS))
        kept = np.unique(np.linspace(0, self.n_draws - 1, min(self.n_draws, most)).astype(int))
        lean = self.lean if len(self.lean) == 1 else self.lean[kept]
        fixed, own = np.zeros((len(kept), size, size)), np.zeros((len(kept), size, size))
        density: list[Array] = []
        for part in self.parts:
            inside, covariance = basis.T @ part.over_models @ basis, part.covariance[kept]
            whole = np.einsum("ab,sfg->safbg", inside, covariance).reshape(len(kept), size, size)
            if part.prior_sd:
                own += whole
                sd = np.sqrt(np.einsum("sff->sf", covariance))
                density.append(np.log(sd / part.prior_sd))
            else:
                fixed += whole
        return Leans(
            lean=np.broadcast_to(
                np.einsum("ma,smf->saf", basis, lean).reshape(-1, size), (len(kept), size)
            ),
            fixed=fixed,
            own=own,
            # Spreads by family are factors about the SD that the prior is of.
            relative_sd=np.exp(np.mean(density, axis=0)),
            scales=self.scales,
        )


@dataclass(frozen=True)
class Leans:
    """Leans along a few directions, at draws of the variances.

    Columns of a formula are given along the same directions, (draw, row, column), and how much runs
    of a kind differ as a factor of what was drawn, (draw,).

    Attributes
    ----------
    lean : ndarray, shape (draw, row · framing)
    fixed, own : ndarray, shape (draw, row · framing, row · framing)
        Covariance: of all parts but one, and of what runs of a kind differ by.
    relative_sd : ndarray, shape (draw, framing)
        SDs of the latter over the scale of their half-normal prior.
    scales : ndarray, shape (column,)
    """

    lean: Array
    fixed: Array
    own: Array
    relative_sd: Array
    scales: Array
    _kept: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def n_draws(self) -> int:
        """How many draws of the variances there are."""
        return len(self.lean)

    @property
    def n_framings(self) -> int:
        """Number of framings."""
        return int(self.relative_sd.shape[1])

    def with_scales(self, scales: Array) -> Leans:
        """The same with other prior SDs of the columns' effects."""
        return replace(self, scales=scales, _kept={})

    def log_evidence(self, columns: Array, factor: Array) -> Array:
        """Log-density of the leans, effects of the columns integrated out, up to what these leave."""
        precision, wanted = self._normal_equations(columns, factor)
        root = np.linalg.cholesky(precision)
        half = np.linalg.solve(root, wanted[..., None])[..., 0]
        log_det = np.log(np.einsum("sii->si", root)).sum(axis=1)
        return np.asarray(0.5 * (half**2).sum(axis=1) - log_det)

    def draw(self, columns: Array, factor: Array, rng: np.random.Generator) -> Array:
        """Draw effects of the columns, (draw, column, framing)."""
        precision, wanted = self._normal_equations(columns, factor)
        root = np.linalg.cholesky(precision)
        half = np.linalg.solve(root, wanted[..., None])
        noise = rng.standard_normal(half.shape)
        drawn = np.linalg.solve(root.swapaxes(-1, -2), half + noise)[..., 0]
        return drawn.reshape(self.n_draws, -1, self.n_framings)

    def log_density_of_factors(self, columns: Array, factors: Array) -> Array:
        """Log posterior density of the factor at some values, (factor, draw); effects integrated out."""
        spread = np.repeat(self.scales, self.n_framings)
        wide = self._by_framing(columns)
        root = np.linalg.cholesky(self.fixed + (wide * spread**2) @ wide.swapaxes(-1, -2))
        half = np.linalg.solve(root, self.own)
        # Along its axes what runs differ by is independent, whatever the factor.
        ratio, axes = np.linalg.eigh(np.linalg.solve(root, half.swapaxes(-1, -2)))
        along = np.einsum("sij,si->sj", axes, np.linalg.solve(root, self.lean[..., None])[..., 0])
        squared = factors[:, None] ** 2
        variance = 1 + squared[..., None] * np.maximum(ratio, 0)
        fit = -0.5 * (np.log(variance) + along**2 / variance).sum(axis=-1)
        # Moving all SDs by a factor: their prior, and the volume that goes along; even on the log.
        prior = self.n_framings * np.log(factors)[:, None]
        return np.asarray(fit + prior - 0.5 * squared * (self.relative_sd**2).sum(axis=1))

    def _normal_equations(self, columns: Array, factor: Array) -> tuple[Array, Array]:
        weight = self._inverse(factor)
        wide = self._by_framing(columns)
        weighed = weight @ wide
        precision = wide.swapaxes(-1, -2) @ weighed
        at = np.arange(precision.shape[-1])
        precision[:, at, at] += np.repeat(self.scales, self.n_framings) ** -2.0
        return precision, np.einsum("sij,si->sj", weighed, self.lean)

    def _inverse(self, factor: Array) -> Array:
        # The same factor is asked for under every level.
        key = factor.tobytes()
        if self._kept.get("key") != key:
            whole = self.fixed + factor[:, None, None] ** 2 * self.own
            self._kept.update(key=key, inverse=np.linalg.inv(whole))
        return self._kept["inverse"]

    def _by_framing(self, columns: Array) -> Array:
        """Columns that have an effect by framing, (draw, row · framing, column · framing)."""
        n = self.n_framings
        out = np.zeros((*columns.shape[:2], n, columns.shape[2], n))
        for f in range(n):
            out[:, :, f, :, f] = columns
        return out.reshape(len(columns), columns.shape[1] * n, -1)


def lean_model(problem: Problem, margins: Margins, v: Array, weights: Array) -> LeanModel:
    """Reduce a fit to the leans of a contrast of categories.

    Parameters
    ----------
    problem : Problem
        What was fitted.
    margins : Margins
        What its effects need of the data.
    v : ndarray, shape (draw, variance)
        Draws of the variances.
    weights : ndarray, shape (category,)
        Of the categories in the contrast; summing to zero.

    Returns
    -------
    LeanModel
        In units of the outcome.
    """
    crossing, components = problem.crossing, problem.components
    on_axes = crossing.contrast_weights(weights)
    root = np.sqrt(components.replication)
    lean = np.einsum("...jmf,j->...mf", margins.on_axes, on_axes) / root
    spread = float(np.sqrt(on_axes**2 @ crossing.axis_weight))
    runs = "run" if crossing.space.group("run") is not None else OWN
    parts = []
    for (name, kind), (over_models, size) in _over_models(problem, on_axes).items():
        covariance = components.covariance(name, v, kind) * size
        if not components[name].joint:
            covariance = covariance / (root[:, None] * root)
        own = name == f"{runs}_category"
        scale = problem.prior.sd_of(name) * crossing.scale * np.sqrt(size) if own else 0.0
        parts.append(LeanPart(over_models, covariance, scale))
    return LeanModel(
        lean=lean.reshape(-1, *lean.shape[-2:]),
        parts=tuple(parts),
        scales=problem.coefficient_scales * spread,
    )


def _over_models(problem: Problem, on_axes: Array) -> dict[Part, tuple[Array, float]]:
    """Matrices over models by component and kind of model, and how much of each is in a lean."""
    space, components = problem.crossing.space, problem.components
    matrices: dict[Part, Array] = {}
    sizes: dict[Part, float] = {}
    for weight, axis in zip(on_axes, problem.crossing.axes, strict=True):
        if not weight:
            continue
        here: dict[Part, Array] = {}
        for part, (inside, multiplier) in components.entries(axis).items():
            here[part] = space.basis @ inside @ space.basis.T
            sizes[part] = sizes.get(part, 0.0) + weight**2 * multiplier
        for subspace in space.subspaces:
            for part, (load, multiplier) in components.entries(axis, subspace).items():
                outside = load[0, 0] * subspace.basis @ subspace.basis.T
                if part not in here:
                    sizes[part] = sizes.get(part, 0.0) + weight**2 * multiplier
                here[part] = here.get(part, 0.0) + outside
        # The same on every axis that has the component.
        matrices |= here
    return {part: (matrix, sizes[part]) for part, matrix in matrices.items()}


def _orthonormal(columns: Array) -> Array:
    """Orthonormal basis of the span of columns."""
    left, singular, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(left[:, singular > 1e-8 * singular[0]])


def average_rows(design: ModelDesign, cells: pd.DataFrame) -> Array:
    """Design rows of cells of family, source, n_pairs and progress, (cell, column).

    Other variables keep their distribution over the models at hand.
    """
    names = ["family", "source", "n_pairs", "progress"]
    models = design.models
    others = sorted(set().union(*(f.names for f in design.variables)) - set(names))
    kinds = models.groupby(others).size() if others else pd.Series([1.0])
    frame = models.iloc[[0] * (len(cells) * len(kinds))].reset_index(drop=True)
    if others:
        found = kinds.index.to_frame(index=False)
        for name in others:
            frame[name] = np.tile(found[name].to_numpy(), len(cells))
    for name in names:
        frame[name] = np.repeat(cells[name].to_numpy(), len(kinds))
    # A number may be a level, too, and a level is a text: 1000 is not 1000.0.
    if np.issubdtype(models["n_pairs"].dtype, np.integer) and (frame["n_pairs"] % 1 == 0).all():
        frame["n_pairs"] = frame["n_pairs"].astype(models["n_pairs"].dtype)
    rows = design.rows(frame).reshape(len(cells), len(kinds), -1)
    return np.asarray(np.average(rows, axis=1, weights=kinds.to_numpy(dtype=float)))
