"""A small Gaussian model of the leans of models, given the variances.

The lean of a model is what a formula gives, plus independent parts (of its base, of its run, of the
words and prompts that it was measured on), each with a known matrix over models and a variance that
differs by draw. Given the variances, any other formula over the same models can be looked at
without sampling again.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from valuebias.analysis.design.grouping import OWN, Part

if TYPE_CHECKING:
    from valuebias.analysis.estimands.effects import Margins
    from valuebias.analysis.hierarchical import Problem

__all__ = ["Beside", "LeanModel", "LeanPart", "Leans", "lean_model"]

Array = NDArray[np.float64]

_WIDEST = 120
"""Rows at most; the work grows with their cube."""
_DRAWS = (50, 1000)
"""Draws of the variances: at least so many, at most so many."""
_BUDGET = 5e7
"""Limit of draws times the cube of the rows."""
_SMALL = 1e-8


@dataclass(frozen=True)
class LeanPart:
    """One part of what makes leans depart from the formula.

    Attributes
    ----------
    over_models : ndarray, shape (model, model)
        Its covariance over models, up to its variance.
    variance : ndarray, shape (draw,)
    relative_sd : ndarray, shape (draw, framing), optional
        Its SDs over the scale of their half-normal prior, where it is what runs of a kind differ
        by: what a formula gets wrong is counted in there.
    """

    over_models: Array
    variance: Array
    relative_sd: Array | None = None


@dataclass(frozen=True)
class LeanModel:
    """Leans, and all their parts except the formula.

    Attributes
    ----------
    lean : ndarray, shape (draw or 1, model)
        Measured leans; one per draw where the crossing is incomplete.
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
        return len(self.parts[0].variance)

    def of(self, models: NDArray[np.bool_]) -> LeanModel:
        """Take some of the models alone."""
        parts = [
            replace(part, over_models=part.over_models[np.ix_(models, models)])
            for part in self.parts
        ]
        return replace(self, lean=self.lean[:, models], parts=tuple(parts))

    def span(self, columns: Array) -> Array:
        """Orthonormal basis of columns and of their images under the parts, (model, row).

        It holds all information on the columns' effects, unless it grows too wide; then a
        little is lost, and the rest still follows the same model.
        """
        basis = linalg.orth(columns, rcond=_SMALL)
        while True:
            images = [part.over_models @ basis for part in self.parts]
            wider = linalg.orth(np.concatenate([basis, *images], axis=1), rcond=_SMALL)
            if wider.shape[1] == basis.shape[1] or wider.shape[1] > _WIDEST:
                return np.asarray(basis)
            basis = wider

    def within(self, basis: Array, *, share: float = 1.0) -> Leans:
        """Take the leans along the columns of a basis, at some draws of the variances.

        ``share`` is the share of the time that may be spent.
        """
        n = basis.shape[1]
        most = int(np.clip(share * min(_BUDGET / n**3, _DRAWS[1]), *_DRAWS))
        kept = np.unique(np.linspace(0, self.n_draws - 1, min(self.n_draws, most)).astype(int))
        lean = self.lean if len(self.lean) == 1 else self.lean[kept]
        fixed, between_runs = np.zeros((len(kept), n, n)), np.zeros((len(kept), n, n))
        for part in self.parts:
            inside = basis.T @ part.over_models @ basis
            total = fixed if part.relative_sd is None else between_runs
            total += part.variance[kept, None, None] * inside
        relative = [p.relative_sd[kept] for p in self.parts if p.relative_sd is not None]
        return Leans(
            lean=np.broadcast_to(lean @ basis, (len(kept), n)),
            fixed=fixed,
            between_runs=between_runs,
            beside=self._beside(basis, lean, kept),
            # Spreads by family are factors about the SD that the prior is of.
            relative_sd=np.exp(np.mean(np.log(relative), axis=0)),
            scales=self.scales,
        )

    def _beside(self, basis: Array, lean: Array, kept: NDArray[np.intp]) -> tuple[Beside, ...]:
        """Sum up what lies outside the basis, by how much of each part is in it.

        The parts' matrices have eigenvectors in common there, except in layouts so uneven that the
        basis could not be widened to hold its images; this is then an approximation.
        """
        outside = linalg.null_space(basis.T)
        matrices = [outside.T @ part.over_models @ outside for part in self.parts]
        # Symmetric matrices that commute have the eigenvectors of a generic sum in common.
        weights = np.sqrt(np.arange(2.0, 2.0 + len(matrices)))
        axes = np.linalg.eigh(np.tensordot(weights, np.array(matrices), axes=1))[1]
        loads = np.stack([(axes * (matrix @ axes)).sum(axis=0) for matrix in matrices], axis=1)
        squares = (lean @ outside @ axes) ** 2
        kinds, which = np.unique(loads.round(6), axis=0, return_inverse=True)
        variances = np.stack([part.variance[kept] for part in self.parts], axis=1)
        between_runs = np.array([part.relative_sd is not None for part in self.parts])
        return tuple(
            Beside(
                n=int((which.ravel() == k).sum()),
                scatter=squares[:, which.ravel() == k].sum(axis=1),
                fixed=variances @ (load * ~between_runs),
                between_runs=variances @ (load * between_runs),
            )
            for k, load in enumerate(kinds)
        )


@dataclass(frozen=True)
class Beside:
    """Directions beside those of the columns, in which leans vary alike.

    Attributes
    ----------
    n : int
        How many.
    scatter : ndarray, shape (draw or 1,)
        Sum over them of the squares of leans.
    fixed, between_runs : ndarray, shape (draw,)
        Variances, as in :class:`Leans`.
    """

    n: int
    scatter: Array
    fixed: Array
    between_runs: Array

    def log_density(self, squared_factors: Array) -> Array:
        """Log-density at squares of factors, (factor, draw), up to a constant."""
        variance = self.fixed + squared_factors[:, None] * self.between_runs
        return np.asarray(-0.5 * (self.n * np.log(variance) + self.scatter / variance))


@dataclass(frozen=True)
class Leans:
    """Leans along a few directions, at draws of the variances.

    Columns of a formula are given along the same directions, (draw, row, column), and how much runs
    of a kind differ as a factor of what was drawn, (draw,).

    Attributes
    ----------
    lean : ndarray, shape (draw, row)
    fixed, between_runs : ndarray, shape (draw, row, row)
        Covariance: of all parts but one, and of what runs of a kind differ by.
    beside : tuple of Beside
        What other directions say of the variances.
    relative_sd : ndarray, shape (draw, framing)
        SDs of runs over the scale of their half-normal prior.
    scales : ndarray, shape (column,)
    """

    lean: Array
    fixed: Array
    between_runs: Array
    beside: tuple[Beside, ...]
    relative_sd: Array
    scales: Array
    _kept: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def n_draws(self) -> int:
        """How many draws of the variances there are."""
        return len(self.lean)

    def with_further(self, n_columns: int) -> Leans:
        """Add columns, whose effects may be as large as any."""
        widest = self.scales[1:].max(initial=0.0) or self.scales[0]
        return replace(self, scales=np.append(self.scales, np.full(n_columns, widest)), _kept={})

    def log_evidence(self, columns: Array, factor: Array) -> Array:
        """Log-density of the leans, effects integrated out, as far as columns matter; (draw,)."""
        root, half = self._solved(columns, factor)
        log_det = np.log(np.einsum("sii->si", root)).sum(axis=1)
        return np.asarray(0.5 * (half**2).sum(axis=(1, 2)) - log_det)

    def draw(self, columns: Array, factor: Array, rng: np.random.Generator) -> Array:
        """Draw effects of the columns, (draw, column)."""
        root, half = self._solved(columns, factor)
        noise = rng.standard_normal(half.shape)
        return np.asarray(np.linalg.solve(root.swapaxes(-1, -2), half + noise)[..., 0])

    def log_density_of_factors(self, columns: Array, factors: Array) -> Array:
        """Log posterior density of factors, effects integrated out; (factor, draw)."""
        explained = (columns * self.scales**2) @ columns.swapaxes(-1, -2)
        root = np.linalg.cholesky(self.fixed + explained)
        half = np.linalg.solve(root, self.between_runs)
        # Along its axes what runs differ by is independent, whatever the factor.
        ratio, axes = np.linalg.eigh(np.linalg.solve(root, half.swapaxes(-1, -2)))
        along = np.einsum("sij,si->sj", axes, np.linalg.solve(root, self.lean[..., None])[..., 0])
        squared = factors**2
        variance = 1 + squared[:, None, None] * np.maximum(ratio, 0)
        fit = -0.5 * (np.log(variance) + along**2 / variance).sum(axis=-1)
        fit += sum(directions.log_density(squared) for directions in self.beside)
        # Scaling the SDs: their prior, and the change of volume. Factors are even on the log.
        volume = self.relative_sd.shape[1] * np.log(factors)[:, None]
        return np.asarray(fit + volume - 0.5 * np.outer(squared, (self.relative_sd**2).sum(axis=1)))

    def _solved(self, columns: Array, factor: Array) -> tuple[Array, Array]:
        """Root of the effects' precision, and its solution for the leans; (draw, column, ·)."""
        weighed = self._precision(factor) @ columns
        precision = columns.swapaxes(-1, -2) @ weighed
        at = np.arange(precision.shape[-1])
        precision[:, at, at] += self.scales**-2.0
        root = np.linalg.cholesky(precision)
        half = np.linalg.solve(root, weighed.swapaxes(-1, -2) @ self.lean[..., None])
        return np.asarray(root), np.asarray(half)

    def _precision(self, factor: Array) -> Array:
        # The same factor is asked for under every level.
        key = factor.tobytes()
        if self._kept.get("key") != key:
            whole = self.fixed + factor[:, None, None] ** 2 * self.between_runs
            self._kept.update(key=key, precision=np.linalg.inv(whole))
        return np.asarray(self._kept["precision"])


def lean_model(
    problem: Problem, margins: Margins, v: Array, weights: Array, sign: Array
) -> LeanModel:
    """Reduce a fit to the leans of a contrast of categories under a contrast of framings.

    ``v`` is (draw, variance); ``weights`` is (category,); ``sign`` is (framing,).
    """
    crossing, components = problem.crossing, problem.components
    on_axes = crossing.contrast_weights(weights)
    root = np.sqrt(components.replication)
    lean = np.einsum("...jmf,j,f->...m", margins.on_axes, on_axes, sign / root)
    runs = "run" if crossing.space.group("run") is not None else OWN
    parts = []
    for (name, kind), (over_models, size) in _over_models(problem, on_axes).items():
        covariance = components.covariance(name, v, kind)
        by = sign if components[name].joint else sign / root
        relative = None
        if name == f"{runs}_category":
            scale = problem.prior.sd_of(name) * crossing.scale
            relative = np.sqrt(np.einsum("sff->sf", covariance)) / scale
        variance = size * np.einsum("sfg,f,g->s", covariance, by, by)
        parts.append(LeanPart(over_models, variance, relative))
    spread = float(np.sqrt(on_axes**2 @ crossing.axis_weight)) * float(np.sqrt(sign @ sign))
    return LeanModel(
        lean=np.atleast_2d(lean),
        parts=tuple(_merged(parts)),
        scales=problem.coefficient_scales * spread,
    )


def _merged(parts: list[LeanPart]) -> list[LeanPart]:
    """Merge parts that cannot be told apart: those with one matrix over models."""
    out: list[LeanPart] = []
    for part in parts:
        for k, other in enumerate(out):
            plain = part.relative_sd is None and other.relative_sd is None
            if plain and np.allclose(part.over_models, other.over_models):
                out[k] = replace(other, variance=other.variance + part.variance)
                break
        else:
            out.append(part)
    return out


def _over_models(problem: Problem, on_axes: Array) -> dict[Part, tuple[Array, float]]:
    """Matrices over models by component and kind of model, and how much of each is in a lean."""
    space, components = problem.crossing.space, problem.components
    matrices: dict[Part, Array] = {}
    sizes: dict[Part, float] = {}
    for weight, axis in zip(on_axes, problem.crossing.axes, strict=True):
        if not weight:
            continue
        on_axis: dict[Part, Array] = {}
        multipliers: dict[Part, float] = {}
        for part, (inside, multiplier) in components.entries(axis).items():
            on_axis[part] = space.basis @ inside @ space.basis.T
            multipliers[part] = multiplier
        for subspace in space.subspaces:
            for part, (load, multiplier) in components.entries(axis, subspace).items():
                outside = load[0, 0] * subspace.basis @ subspace.basis.T
                on_axis[part] = on_axis.get(part, 0.0) + outside
                multipliers[part] = multiplier
        for part, multiplier in multipliers.items():
            sizes[part] = sizes.get(part, 0.0) + weight**2 * multiplier
        # The same on every axis that has the component.
        matrices |= on_axis
    return {part: (matrix, sizes[part]) for part, matrix in matrices.items()}
