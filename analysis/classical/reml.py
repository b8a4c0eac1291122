"""Restricted maximum likelihood for models × cells, with any covariance between a model's cells.

A model's rows in one cell differ only by residual error, so their mean and their number carry all
that is known of the rest: model i's cell means are N(D_i β, G + σ² diag(1/n_i)).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize

__all__ = [
    "CellMeans",
    "Estimates",
    "FixedEffects",
    "Variances",
    "fixed_effects",
    "gls",
    "shared_intercept",
    "unstructured",
]

Array = NDArray[np.float64]

_FLAT = 1e-9  # an eigenvalue below this share of the largest counts as zero


@dataclass(frozen=True, eq=False)
class FixedEffects:
    """Names and design of the fixed effects."""

    # ``"(Intercept)"``, ``"family[Llama]"``, ``"family[Llama]:category[communion]"`` …, in R's
    # order.
    names: tuple[str, ...]
    # The factors of the term each effect belongs to; empty for the intercept.
    term_of: tuple[tuple[str, ...], ...]
    cells: tuple[str, ...]  # ``"agency:positive"`` …, category-fastest
    # (family, cell, effect): the row of the design matrix for a family in a cell.
    design: NDArray[np.float64]

    @property
    def terms(self) -> tuple[tuple[str, ...], ...]:
        """The distinct terms but the intercept."""
        return tuple(dict.fromkeys(term for term in self.term_of if term))


def fixed_effects(
    families: Sequence[str], categories: Sequence[str], framings: Sequence[str]
) -> FixedEffects:
    """Code family * category * framing by treatment contrasts.

    Examples
    --------
    >>> fixed_effects(["Gemma", "Llama"], ["agency"], ["positive", "negative"]).names
    ('(Intercept)', 'family[Llama]', 'framing[negative]', 'family[Llama]:framing[negative]')
    """
    levels = {"family": families, "category": categories, "framing": framings}
    grid = np.indices((len(families), len(framings), len(categories))).reshape(3, -1)
    position = {"family": grid[0], "framing": grid[1], "category": grid[2]}
    varying = [name for name, values in levels.items() if len(values) > 1]
    names: list[str] = []
    term_of: list[tuple[str, ...]] = []
    columns: list[NDArray[np.float64]] = []
    for order in range(len(varying) + 1):
        for term in combinations(varying, order):
            # R lets the first factor's levels vary fastest.
            for reverse in product(*(range(1, len(levels[name])) for name in reversed(term))):
                picked = dict(zip(term, reversed(reverse), strict=True))
                names.append(
                    ":".join(f"{name}[{levels[name][i]}]" for name, i in picked.items())
                    or "(Intercept)"
                )
                term_of.append(term)
                inside = [position[name] == i for name, i in picked.items()]
                columns.append(np.logical_and.reduce([np.ones(grid.shape[1], bool), *inside]) * 1.0)
    design = np.stack(columns, axis=-1)
    return FixedEffects(
        names=tuple(names),
        term_of=tuple(term_of),
        cells=tuple(f"{c}:{f}" for f in framings for c in categories),
        design=design.reshape(len(families), len(framings) * len(categories), len(names)),
    )


@dataclass(frozen=True, eq=False)
class CellMeans:
    """The sufficient statistics of the rows."""

    means: Array  # (model, cell): mean of the rows of a model in a cell, NaN where there are none
    counts: NDArray[np.int_]  # (model, cell): how many rows that is
    within: float  # sum of squares of the rows about their means
    family: NDArray[np.int_]  # (model,): the family of each model

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return int(self.counts.sum())

    @property
    def df_within(self) -> int:
        """Degrees of freedom of `within`."""
        return self.rows - int((self.counts > 0).sum())

    @property
    def complete(self) -> bool:
        """Whether every model has the same number of rows in a cell, and none is empty."""
        return bool((self.counts == self.counts[0]).all() and (self.counts > 0).all())


@dataclass(frozen=True, eq=False)
class Variances:
    """Estimated variances."""

    between: Array  # (cell, cell): g, the covariance of a model's effects on its cells
    residual: float  # σ², the variance of a row about its cell
    singular: bool  # whether G is not of full rank
    messages: tuple[str, ...] = ()  # remarks on the estimate


class Estimates(NamedTuple):
    """Generalised least squares for given variances."""

    beta: Array  # beta, cov: the fixed effects and their covariance
    cov: Array
    loglik: float  # the restricted log-likelihood of all rows, with the constant of nlme and lme4
    # The sum of squares of the residuals, weighted by the inverse of their covariance.
    quadratic: float


def gls(cells: CellMeans, effects: FixedEffects, variances: Variances) -> Estimates:
    """Estimate the fixed effects for given variances."""
    size = effects.design.shape[-1]
    information, score = np.zeros((size, size)), np.zeros(size)
    determinant = cells.df_within * np.log(variances.residual)
    parts = []
    roots: dict[bytes, Array] = {}  # models with the same rows share a covariance
    for mean, count, family in zip(cells.means, cells.counts, cells.family, strict=True):
        seen = count > 0
        if count.tobytes() not in roots:
            covariance = _covariance(variances, count, seen)
            roots[count.tobytes()] = np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)
        root = roots[count.tobytes()]
        white = np.linalg.solve(root, np.column_stack([effects.design[family][seen], mean[seen]]))
        parts.append(white)
        information += white[:, :-1].T @ white[:, :-1]
        score += white[:, :-1].T @ white[:, -1]
        determinant += 2 * np.log(np.diag(root)).sum() + np.log(count[seen]).sum()
    factor = linalg.cho_factor(information, lower=True)
    beta = linalg.cho_solve(factor, score)
    cov = linalg.cho_solve(factor, np.eye(size))
    determinant += 2 * np.log(np.diag(factor[0])).sum()
    # From the residuals themselves: as a difference of large sums it could come out negative.
    quadratic = cells.within / variances.residual
    quadratic += sum(float(((w[:, -1] - w[:, :-1] @ beta) ** 2).sum()) for w in parts)
    constant = (cells.rows - size) * np.log(2 * np.pi)
    loglik = float(-0.5 * (constant + determinant + quadratic))
    return Estimates(beta, cov, loglik, quadratic)


def shared_intercept(cells: CellMeans, effects: FixedEffects, *, start: float) -> Variances:
    """Estimate one variance of the models' shifts of all their cells alike."""
    size = cells.means.shape[1]

    def at(ratio: float) -> tuple[float, Variances]:
        unit = gls(cells, effects, Variances(np.full((size, size), ratio), 1.0, False))
        freedom = cells.rows - effects.design.shape[-1]
        residual = unit.quadratic / freedom
        loglik = unit.loglik + 0.5 * (unit.quadratic - freedom * (1.0 + np.log(residual)))
        return loglik, Variances(np.full((size, size), ratio * residual), residual, ratio == 0.0)

    guesses = np.append(np.geomspace(1e-8, 1e6, 29), max(start, 1e-12))
    best = np.log(guesses[np.argmax([at(guess)[0] for guess in guesses])])
    optimum = optimize.minimize_scalar(
        lambda log_ratio: -at(float(np.exp(log_ratio)))[0],
        bounds=(best - 1.2, best + 1.2),
        method="bounded",
        options={"xatol": 1e-9},
    )
    (at_zero, zero), (at_found, inside) = at(0.0), at(float(np.exp(optimum.x)))
    # Near a maximum at zero the likelihoods differ by rounding only.
    return inside if at_found > at_zero + 1e-9 else zero


def unstructured(cells: CellMeans, effects: FixedEffects) -> Variances:
    """Estimate a free covariance of the models' effects on the cells.

    Notes
    -----
    Where every model has the same rows the maximum is known in closed form: in the scale in which
    the residual part of a cell mean is σ² I, the eigenvalues of the between-model covariance that
    lie under σ² are pooled with it (Amemiya 1985, What should be done when an estimated
    between-group covariance matrix is not nonnegative definite? The American Statistician 39,
    112–117). Otherwise the likelihood is climbed with its exact gradient, from the closed form of
    the filled-in table.
    """
    if cells.complete:
        estimate = _closed_form(cells)
        messages: tuple[str, ...] = ()
    else:
        estimate, messages = _climbed(cells, effects)
    size = len(estimate.between)
    eigenvalues = np.linalg.eigvalsh(estimate.between)
    rank = int((eigenvalues > _FLAT * max(eigenvalues.max(), estimate.residual)).sum())
    if rank < size:
        messages += (
            f"The covariance of the models' {size} category × framing effects is singular (rank "
            f"{rank}): {len(cells.means)} models do not determine all of it.",
        )
    return Variances(estimate.between, estimate.residual, rank < size, messages)


def _covariance(variances: Variances, count: NDArray[np.int_], seen: NDArray[np.bool_]) -> Array:
    out: Array = variances.between[np.ix_(seen, seen)] + np.diag(variances.residual / count[seen])
    return out


def _closed_form(cells: CellMeans) -> Variances:
    weight = np.sqrt(np.median(np.maximum(cells.counts, 1), axis=0))
    centred = np.array(cells.means)
    families = np.unique(cells.family)
    for family in families:
        rows = cells.family == family
        mean = np.nanmean(centred[rows], axis=0)
        centred[rows] = np.where(np.isnan(centred[rows]), 0.0, centred[rows] - mean)
    df = len(centred) - len(families)
    scaled = centred * weight
    values, vectors = np.linalg.eigh(scaled.T @ scaled / df)
    residual = cells.within / cells.df_within
    for pooled in range(1, len(values) + 1):
        # `values` ascend: pool the smallest for as long as they lie under the residual variance.
        if values[pooled - 1] >= residual:
            break
        residual = (cells.within + df * values[:pooled].sum()) / (cells.df_within + df * pooled)
    between = (vectors * np.maximum(values - residual, 0.0)) @ vectors.T
    return Variances(between / np.outer(weight, weight), residual, singular=False)


def _climbed(cells: CellMeans, effects: FixedEffects) -> tuple[Variances, tuple[str, ...]]:
    """Maximise over the Cholesky factor of G/s² and log σ, s² being the starting residual."""
    start = _closed_form(cells)
    size = len(start.between)
    unit = start.residual
    lower = np.tril_indices(size)
    # A column of zeros is a stationary point, so start inside the cone.
    inside = start.between / unit + 0.1 * np.eye(size)
    first = np.append(np.linalg.cholesky(inside)[lower], 0.0)

    def unpack(point: Array) -> tuple[Array, Variances]:
        root = np.zeros((size, size))
        root[lower] = point[:-1]
        residual = unit * float(np.exp(2 * point[-1]))
        return root, Variances(unit * root @ root.T, residual, singular=False)

    def objective(point: Array) -> tuple[float, Array]:
        root, variances = unpack(point)
        by_between, by_residual = _gradient(cells, effects, variances)
        gradient = np.append(
            (2 * unit * by_between @ root)[lower], 2 * variances.residual * by_residual
        )
        return -gls(cells, effects, variances).loglik, -gradient

    optimum = optimize.minimize(
        objective,
        first,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 5000, "maxfun": 20000, "maxcor": 30, "ftol": 1e-15, "gtol": 1e-6},
    )
    steepest = float(np.abs(optimum.jac).max())
    messages: tuple[str, ...] = ()
    if steepest > 1e-3:
        messages = (
            "The search for the models' covariance stopped early (largest gradient "
            f"{steepest:.2g}, expected under 0.001): its standard errors are approximate.",
        )
    return unpack(optimum.x)[1], messages


def _gradient(cells: CellMeans, effects: FixedEffects, variances: Variances) -> tuple[Array, float]:
    """Differentiate the restricted log-likelihood by G (symmetric) and by σ²."""
    beta, cov, *_ = gls(cells, effects, variances)
    by_between = np.zeros_like(variances.between)
    residual = variances.residual
    by_residual = 0.5 * (cells.within / residual - cells.df_within) / residual
    for mean, count, family in zip(cells.means, cells.counts, cells.family, strict=True):
        seen = count > 0
        inverse = np.linalg.inv(_covariance(variances, count, seen))
        design = effects.design[family][seen]
        error = inverse @ (mean[seen] - design @ beta)
        projected = inverse - inverse @ design @ cov @ design.T @ inverse
        slope = 0.5 * (np.outer(error, error) - projected)
        by_between[np.ix_(seen, seen)] += slope
        by_residual += float(np.diag(slope) @ (1.0 / count[seen]))
    return by_between, by_residual
