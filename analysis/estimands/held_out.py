"""Densities of some models, or of one word, given all the other scores: exact given the variances.

Models are left out whole: their contrasts between words given those of the other models, since a
level of its own for each model × prompt carries nothing. A word is left out whole: its scores given
how the models score the other words.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from valuebias.analysis.design.components import Components
from valuebias.analysis.design.crossing import Crossing
from valuebias.analysis.design.strata import Tables, make_tables, split_words
from valuebias.analysis.estimands.precision import Precision, block_sizes, covariance_at
from valuebias.analysis.estimands.rows import Combination

__all__ = [
    "ModelTables",
    "WordTables",
    "axis_means",
    "combination_given_all",
    "make_model_tables",
    "make_word_tables",
    "models_given_others",
    "words_given_others",
]

Array = NDArray[np.float64]
Index = NDArray[np.intp]

_LOG_2PI = np.log(2 * np.pi)


@dataclass(frozen=True)
class ModelTables:
    """The tables of a cube that the densities of models depend on."""

    # (model · framing, model · framing): scatter of the framing means (times √P_f) over the words
    # off all axes.
    rest: Array
    axes: Array  # (axis, model · framing): the same means on each axis
    # (framing, block, model, model): products of the models' deviations from their framing means,
    # summed over prompts and words.
    within: Array


def axis_means(crossing: Crossing, tables: Tables) -> Array:
    """Framing means (times √P_f) on each axis, (axis, model · framing)."""
    means = tables.mean @ crossing.word_basis
    return means.transpose(2, 1, 0).reshape(len(crossing.axes), -1)


def make_model_tables(crossing: Crossing, y: Array) -> ModelTables:
    """Collapse a complete cube ``y`` (model, prompt, word)."""
    tables = make_tables(crossing, y)
    on_axes, rest = split_words(tables.mean.transpose(1, 0, 2), crossing.word_basis)
    rest = rest.reshape(-1, rest.shape[-1])
    means = on_axes.reshape(len(rest), -1)
    n_models, n_framings = crossing.shape[0], len(crossing.framings)
    within = np.empty((n_framings, len(crossing.axes) + 1, n_models, n_models))
    by_model = rest.reshape(n_models, n_framings, -1)
    for f in range(n_framings):
        group = crossing.prompts_of(f)
        flat = (y[:, group] - y[:, group].mean(axis=2, keepdims=True)).reshape(n_models, -1)
        by_axis = tables.axis[:, group]
        within[f, 0] = flat @ flat.T - np.einsum("mpj,npj->mn", by_axis, by_axis)
        within[f, 0] -= by_model[:, f] @ by_model[:, f].T
        about_mean = by_axis - by_axis.mean(axis=1, keepdims=True)
        within[f, 1:] = np.einsum("mpj,npj->jmn", about_mean, about_mean)
    return ModelTables(rest @ rest.T, means.T, within)


def models_given_others(
    crossing: Crossing, precision: Precision, tables: ModelTables, left_out: list[Index]
) -> Array:
    """Log-density of the models in each of ``left_out`` given all others; (draw, set).

    Of their contrasts between words within each prompt, in any orthonormal basis.
    """
    _, n_prompts, n_words = crossing.shape
    out = np.zeros((len(precision.by_model), len(left_out)))
    framings = np.arange(len(crossing.framings))
    for block, size in enumerate(block_sizes(crossing)):
        whole = precision.over_models(crossing, block)
        for k, models in enumerate(left_out):
            rows = (models[:, None] * len(framings) + framings).ravel()
            of_models, half = whole[:, rows[:, None], rows], whole[:, rows]
            out[:, k] += 0.5 * size * np.linalg.slogdet(of_models)[1]
            if block:
                surprise = half @ tables.axes[block - 1]
                scatter = surprise[:, :, None] * surprise[:, None, :]
            else:
                scatter = half @ tables.rest @ half.swapaxes(1, 2)
            out[:, k] -= 0.5 * np.trace(np.linalg.solve(of_models, scatter), axis1=1, axis2=2)
    for k, models in enumerate(left_out):
        out[:, k] += _within_prompts(crossing, precision, tables, models)
        out[:, k] -= 0.5 * len(models) * n_prompts * (n_words - 1) * _LOG_2PI
    return out


def _within_prompts(
    crossing: Crossing, precision: Precision, tables: ModelTables, models: Index
) -> Array:
    """Add the part within framings, whose precision over models is ``a I + b 1 1'``."""
    n, k = crossing.shape[0], len(models)
    df = (np.bincount(crossing.framing) - 1)[:, None] * block_sizes(crossing)
    apart, other = precision.by_model, precision.shared - precision.by_model
    total = apart + k * other / n
    gram = tables.within
    part = gram[:, :, models]
    spread = np.trace(part[..., models], axis1=2, axis2=3)
    mean = part[..., models].sum(axis=(2, 3)) / k
    cross, everyone = part.sum(axis=(2, 3)) / n, k * gram.sum(axis=(2, 3)) / n**2
    square = apart * (spread - mean)
    square = square + (apart**2 * mean + 2 * apart * other * cross + other**2 * everyone) / total
    value = df * ((k - 1) * np.log(apart) + np.log(total)) - square
    return np.asarray(0.5 * value.sum(axis=(1, 2)))


def combination_given_all(
    crossing: Crossing,
    components: Components,
    v: Array,
    axes: Array,
    coefficient_scales: Array,
    target: Combination,
) -> tuple[Array, Array]:
    """Mean and variance of a combination of coefficients given the scores; both (draw,).

    ``axes`` are the scores' framing means on each axis, as in :class:`ModelTables`. Worked out as
    the inverse of a sum of precisions: prior less explained variance would cancel to below zero
    where the scores tell the coefficients nearly exactly.
    """
    n_framings = len(crossing.framings)
    rotation = np.kron(crossing.model_basis.T, np.eye(n_framings))
    columns = crossing.model_basis.T @ crossing.design.matrix
    loads = np.kron(columns, np.diag(np.sqrt(components.replication)))
    asked = np.kron(target.row, target.framing).astype(float)
    mean, variance = np.zeros(len(v)), np.zeros(len(v))
    for j, axis in enumerate(crossing.axes):
        explained = np.linalg.solve(covariance_at(components, v, axis), loads[None])
        prior = np.kron(coefficient_scales**2 * axis.weight, np.ones(n_framings))
        precision = loads.T @ explained + np.diag(1 / prior)
        part = np.linalg.solve(precision, asked[None, :, None])[..., 0]
        seen = explained.swapaxes(1, 2) @ (rotation @ axes[j])
        mean += target.axis[j] * np.einsum("sq,sq->s", part, seen)
        variance += target.axis[j] ** 2 * (part @ asked)
    return mean, variance


@dataclass(frozen=True)
class WordTables:
    """The tables of a cube that the densities of words depend on, by word.

    The unit vector of a word lies on the axes with ``share`` and off them with ``rest``; its scores
    are projected on it within each block of words.
    """

    share: Array  # (word, axis)
    rest: Array  # (word,): squared length of what lies off the axes
    mean: Array  # (word, block, model, framing): framing means, times √P_f
    # by_model, shared: (framing, word, block, block): products of deviations from the framing
    # means, between models and of what they share.
    by_model: Array
    shared: Array

    def of(self, words: Index) -> WordTables:
        """Select words."""
        return WordTables(
            share=self.share[words],
            rest=self.rest[words],
            mean=self.mean[words],
            by_model=self.by_model[:, words],
            shared=self.shared[:, words],
        )


def make_word_tables(crossing: Crossing, y: Array) -> WordTables:
    """Collapse a complete cube ``y`` (model, prompt, word) for every word."""
    n_models, _, n_words = crossing.shape
    length = np.sqrt(1 - 1 / n_words)
    share = crossing.word_basis / length
    on_axes, rest = split_words(y, crossing.word_basis)
    # One table per block and word, (model, prompt): rest first.
    blocks = len(crossing.axes) + 1
    mean = np.empty((n_words, blocks, n_models, len(crossing.framings)))
    by_model = np.empty((len(crossing.framings), n_words, blocks, blocks))
    shared = np.empty_like(by_model)
    for f in range(len(crossing.framings)):
        group = crossing.prompts_of(f)
        root = np.sqrt(len(group))
        axis_mean = on_axes[:, group].mean(axis=1)
        rest_mean = rest[:, group].mean(axis=1) / length
        mean[:, 0, :, f] = root * rest_mean.T
        mean[:, 1:, :, f] = root * axis_mean.T
        axis = on_axes[:, group] - axis_mean[:, None]
        other = rest[:, group] / length - rest_mean[:, None]
        together = [table.mean(axis=0) for table in (axis, other)]
        shared[f] = n_models * _products(together[0][None], together[1][None])
        by_model[f] = _products(axis - together[0], other - together[1])
    return WordTables(share, 1 - (share**2).sum(axis=1), mean, by_model, shared)


def _products(axis: Array, rest: Array) -> Array:
    """Sum up products between blocks over models and prompts, (word, block, block)."""
    n = axis.shape[-1] + 1
    out = np.empty((rest.shape[-1], n, n))
    out[:, 0, 0] = np.einsum("mpw,mpw->w", rest, rest)
    out[:, 1:, 1:] = np.einsum("mpj,mpk->jk", axis, axis)
    out[:, 0, 1:] = np.einsum("mpw,mpj->wj", rest, axis)
    out[:, 1:, 0] = out[:, 0, 1:]
    return out


def words_given_others(
    crossing: Crossing, precision: Precision, whole: WordTables, words: Index
) -> Array:
    """Log-density of the scores of each of ``words`` given those of all other words; (draw, word).

    The other words tell each model's level on each prompt.
    """
    tables = whole.of(words)
    n_models, n_prompts, n_words = crossing.shape
    squares = np.column_stack([np.maximum(tables.rest, 0), tables.share**2])
    # The part off the axes has its own projection, that on an axis the axis's times the share.
    times = np.column_stack([np.ones(len(words)), tables.share])
    out = np.zeros((len(precision.by_model), len(words)))
    inside = np.einsum("ma,wbmf->wbaf", crossing.model_basis, tables.mean)
    flat = inside.reshape(*inside.shape[:2], -1)
    for block in crossing.blocks:
        n_framings = len(crossing.framings)
        at = slice(block.start * n_framings, block.stop * n_framings)
        inverses = [inverse[:, at, at] for inverse in precision.inside]
        out += _means(inverses, squares, times, flat[:, :, None, at])
    for s, subspace in enumerate(crossing.space.subspaces):
        if subspace.size:
            table = np.einsum("mn,wbmf->wbnf", subspace.basis, tables.mean)
            out += _means([inverses[s] for inverses in precision.outside], squares, times, table)
    for f, size in enumerate(np.bincount(crossing.framing)):
        by_model = precision.by_model, tables.by_model, n_models - 1
        for inverse, products, n in (by_model, (precision.shared, tables.shared, 1)):
            total = inverse[:, f] @ squares.T
            gain = inverse[:, f, None] * times
            square = np.einsum("swb,wbc,swc->sw", gain, products[f], gain, optimize=True) / total
            out += 0.5 * ((size - 1) * n * np.log(total) - square)
    jacobian = np.log(1 - 1 / n_words)
    return np.asarray(out + 0.5 * n_models * n_prompts * (jacobian - _LOG_2PI))


def _means(inverses: list[Array], squares: Array, times: Array, tables: Array) -> Array:
    """Sum up independent units of framing means ``tables`` (word, block, unit, d); (draw, word)."""
    stacked = np.stack(inverses, axis=1)
    out = np.empty((len(stacked), len(tables)))
    n_units = tables.shape[2]
    for w, (square, time, table) in enumerate(zip(squares, times, tables, strict=True)):
        total = np.einsum("b,sbde->sde", square, stacked)
        surprise = np.einsum("b,sbde,bue->sdu", time, stacked, table, optimize=True)
        solved = np.linalg.solve(total, surprise)
        out[:, w] = n_units * np.linalg.slogdet(total)[1] - (surprise * solved).sum(axis=(1, 2))
    return 0.5 * out
