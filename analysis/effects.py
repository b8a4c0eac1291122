"""Draw coefficients and random effects from their exact conditional distribution, given variances.

On each category axis the rotated outcome of a framing-mean stratum is a small Gaussian vector, the
sum of independent components. Given one draw of the variances, the components are jointly Gaussian,
so means and covariances are a few small matrix products, done for all draws at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from valuebias.analysis.components import Components
from valuebias.analysis.crossing import Crossing
from valuebias.analysis.sides import Subspace
from valuebias.analysis.strata import Tables, coefficient_prior, split_words

__all__ = [
    "EffectDraws",
    "Margins",
    "draw_effects",
    "draw_word_effects",
    "make_margins",
    "symmetric_root",
]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class EffectDraws:
    """Draws of the effects on the category axes, in outcome units.

    Attributes
    ----------
    coefficient : ndarray, shape (draw, column, framing, axis)
        Effect of each design column: the mean of models, words and prompts of the same kind.
    word_shift : ndarray, shape (draw, column, framing, axis)
        What the sampled words add to the coefficients: coefficient + word_shift holds for these
        words, coefficient for words like them.
    model : ndarray, shape (draw, model, framing, axis)
        Deviation of each model from what its coordinates predict.
    """

    coefficient: Array
    word_shift: Array
    model: Array


@dataclass(frozen=True)
class Margins:
    """What the effects need of the data.

    In an incomplete crossing every draw has its own completed data, hence the optional first side.

    Attributes
    ----------
    on_axes : ndarray, shape ([draw,] axis, model, framing)
        Framing means (times √P_f) on the category axes.
    rest : ndarray, shape ([draw,] column · framing, word)
        Framing means off the axes, rotated to the span of the formula.
    """

    on_axes: Array
    rest: Array


def make_margins(crossing: Crossing, tables: Tables) -> Margins:
    """Take the margins from the tables of a complete cube."""
    on_axes, rest = split_words(tables.mean, crossing.word_basis)
    rotated = np.einsum("ma,fmw->afw", crossing.model_basis, rest)
    return Margins(on_axes.transpose(2, 1, 0), rotated.reshape(-1, rotated.shape[-1]))


def draw_effects(
    crossing: Crossing,
    components: Components,
    margins: Margins,
    v: Array,
    coefficient_scales: Array,
    rng: np.random.Generator,
) -> EffectDraws:
    """Draw coefficients and model effects for every row of variances ``v`` (draw, variance)."""
    n_draws = len(v)
    n_models = crossing.shape[0]
    n_axes = len(crossing.axis_weight)
    n_framings = len(crossing.framings)
    q = crossing.model_basis.shape[1]
    basis = crossing.model_basis

    coefficient = np.empty((n_draws, q, n_framings, n_axes))
    word_shift = np.empty_like(coefficient)
    model = np.empty((n_draws, n_models, n_framings, n_axes))
    for j, weight in enumerate(crossing.axis_weight):
        prior = coefficient_prior(crossing, components, j, coefficient_scales)
        means = margins.on_axes[..., j, :, :]
        rotated = basis.T @ means
        drawn = np.empty((n_draws, 3, q, n_framings))
        for block in crossing.blocks:
            parts = component_covariances(components, v, weight, block=block)
            words = _sum(parts[name] for name in components.spans)
            own = _sum(parts[name] for name in components.model_level)
            at = slice(block.start * n_framings, block.stop * n_framings)
            wanted = [np.broadcast_to(prior[at, at], words.shape), words, own]
            total = _sum(parts.values()) + prior[at, at]
            here = rotated[..., block, :]
            found = _draw_parts(wanted, total, here.reshape(*here.shape[:-2], -1), rng)
            drawn[:, :, block] = found.reshape(n_draws, 3, -1, n_framings)
        coefficient[..., j], word_shift[..., j] = drawn[:, 0], drawn[:, 1]

        model[..., j] = np.einsum("ma,saf->smf", basis, drawn[:, 2])
        noise = rng.standard_normal((n_draws, n_models, n_framings))
        for subspace in crossing.sides.subspaces:
            parts = component_covariances(components, v, weight, subspace)
            own = _sum(parts[name] for name in components.model_level if name in parts)
            here, white = subspace.project(means), subspace.project(noise)
            model[..., j] += _draw_part(own, _sum(parts.values()), here, white)

    root = np.sqrt(components.replication)[:, None]
    # Coefficients lie in the design's own span, which the basis may exceed.
    unrotate = np.linalg.pinv(basis.T @ crossing.design.matrix)
    return EffectDraws(
        coefficient=np.einsum("ab,sbfj->safj", unrotate, coefficient) / root,
        word_shift=np.einsum("ab,sbfj->safj", unrotate, word_shift) / root,
        model=model / root,
    )


def draw_word_effects(
    crossing: Crossing,
    components: Components,
    margins: Margins,
    v: Array,
    effects: EffectDraws,
    row: Array,
    framing_weights: Array,
    rng: np.random.Generator,
) -> Array:
    """Draw one combination of design columns and framings for every word; shape (draw, word).

    ``row`` (column,) weighs design columns, e.g. the difference of two families' average rows;
    ``framing_weights`` (framing,) weighs framings. The result is the expected outcome of each word
    under that combination, relative to the lexicon's mean: category effects plus the word's own.
    """
    root = np.sqrt(components.replication)
    rotation = crossing.model_basis.T @ crossing.design.matrix
    rotated_row = np.linalg.pinv(rotation.T) @ row
    functional = np.kron(rotated_row, framing_weights / root)
    rest, spread = np.zeros((len(v), margins.rest.shape[-1])), np.zeros(len(v))
    for block in crossing.blocks:
        parts = component_covariances(components, v, 0.0, block=block)
        words = _sum(parts[name] for name in components.spans)
        at = slice(block.start * len(root), block.stop * len(root))
        here, table = functional[at], margins.rest[..., at, :]
        # V⁻¹ K ℓ, (draw, d)
        gain = np.linalg.solve(_sum(parts.values()), words @ here[:, None])[..., 0]
        spread += here @ words @ here - np.einsum("sd,sd->s", gain, words @ here)
        rest += np.einsum("sd,dw->sw" if table.ndim == 2 else "sd,sdw->sw", gain, table)
    noise = rng.standard_normal(rest.shape)
    noise -= noise.mean(axis=1, keepdims=True)
    noise -= (noise @ crossing.word_basis) @ crossing.word_basis.T
    rest += np.sqrt(np.maximum(spread, 0))[:, None] * noise
    on_axes = np.einsum(
        "a,f,safj->sj", row, framing_weights, effects.coefficient + effects.word_shift
    )
    return np.asarray(rest + on_axes @ crossing.word_basis.T)


def component_covariances(
    components: Components,
    v: Array,
    weight: float,
    subspace: Subspace | None = None,
    *,
    block: slice | None = None,
) -> dict[str, Array]:
    """Covariance of each component in a framing-mean stratum; (draw, q·F, q·F) or (draw, F, F).

    ``block`` picks columns of the formula's span.
    """
    out = {}
    for name, (whole, multiplier) in components.entries(weight, subspace).items():
        over_models = whole if block is None else whole[block, block]
        covariance = components.covariance(name, v)
        if components[name].joint:
            root = np.sqrt(components.replication)
            covariance = covariance * root[:, None] * root
        n, f = len(over_models), components.n_framings
        kron = over_models[None, :, None, :, None] * covariance[:, None, :, None, :]
        out[name] = multiplier * kron.reshape(len(v), n * f, n * f)
    return out


def _sum(matrices: Iterable[Array]) -> Array:
    return np.asarray(np.sum(list(matrices), axis=0))


def _draw_parts(wanted: list[Array], total: Array, y: Array, rng: np.random.Generator) -> Array:
    """Joint draw of components given their sum ``y`` ([draw,] d); returns (draw, component · d)."""
    stacked = np.concatenate(wanted, axis=1)  # Cov(parts, y), (draw, k·d, d)
    gain = np.linalg.solve(total, stacked.transpose(0, 2, 1)).transpose(0, 2, 1)
    covariance = -gain @ stacked.transpose(0, 2, 1)
    d = y.shape[-1]
    for i, part in enumerate(wanted):
        block = slice(i * d, (i + 1) * d)
        covariance[:, block, block] += part
    noise = rng.standard_normal(gain.shape[:2])
    mean = (gain @ y[..., None])[..., 0]
    return np.asarray(mean + np.einsum("sij,sj->si", symmetric_root(covariance), noise))


def _draw_part(part: Array, total: Array, y: Array, noise: Array) -> Array:
    """Draw one component for many units given sums ``y`` ([draw,] unit, F) and white ``noise``."""
    gain = np.linalg.solve(total, part).transpose(0, 2, 1)
    covariance = part - gain @ part
    return y @ gain.swapaxes(-1, -2) + noise @ symmetric_root(covariance)


def symmetric_root(covariance: Array) -> Array:
    """Square root of positive semi-definite matrices, symmetric."""
    values, vectors = np.linalg.eigh(0.5 * (covariance + covariance.swapaxes(-1, -2)))
    return np.asarray(
        (vectors * np.sqrt(np.maximum(values, 0))[..., None, :]) @ vectors.swapaxes(-1, -2)
    )
