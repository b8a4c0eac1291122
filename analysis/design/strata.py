"""Factorise a balanced crossing into independent Gaussian strata.

In a complete crossing every random effect acts on products of a few orthogonal subspaces:

=========  =============================  ==========================================
side       subspaces                      symbols
=========  =============================  ==========================================
models     span of the formula, the rest  A (q columns), N (M − q); several N where models
                                          share something (:mod:`.grouping`)
prompts    mean of each framing, within   F (one per framing), P_f − 1 in framing f
words      axes, the rest                 C_j (category − 1, one per covariate), R (the rest)
=========  =============================  ==========================================

Within a stratum (a product of such subspaces) the rotated outcome is a set of independent draws of
a small vector with covariance ``V = const + Σ_k v_k P_k``, linear in the variance parameters v. The
log-likelihood is the sum over strata of ``−½ [df log|V| + tr(V⁻¹ S)]``; coefficients are integrated
out because their prior is part of ``const``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from valuebias.analysis.design.components import Components
from valuebias.analysis.design.crossing import REST, Crossing
from valuebias.analysis.design.margins import prompt_squares

__all__ = [
    "Stratum",
    "Tables",
    "coefficient_prior",
    "coefficient_spread",
    "make_scatter",
    "make_strata",
    "make_tables",
    "split_words",
]

Array = NDArray[np.float64]

_NOTHING = 1e-9


@dataclass
class Tables:
    """Sufficient statistics of a complete cube: its margins and sums of squares.

    ``ss`` is about the mean over words of each model × prompt; the others need no centring.

    Attributes
    ----------
    mean : ndarray, shape (framing, model, word)
        Sum over the prompts of a framing divided by √P_f.
    prompt_word : ndarray, shape (prompt, word)
        Sum over models divided by √M.
    axis : ndarray, shape (model, prompt, axis)
        Projection on the axes.
    ss : ndarray, shape (framing,)
        Sum of squares of all cells of a framing about their mean over words.
    """

    mean: Array
    prompt_word: Array
    axis: Array
    ss: Array


@dataclass(frozen=True)
class Stratum:
    """Independent draws of one small Gaussian vector.

    Attributes
    ----------
    name : str
    df : float
        Number of draws.
    scatter : ndarray, shape (d, d)
        Sum of their outer products.
    patterns : dict of int to ndarray, shape (d, d)
        ``P_k`` by variance parameter k.
    constant : ndarray, shape (d, d)
        The part of the covariance without parameters (the coefficients' prior).
    """

    name: str
    df: float
    scatter: Array
    patterns: dict[int, Array] = field(repr=False)
    constant: Array = field(repr=False)


def make_tables(crossing: Crossing, y: Array) -> Tables:
    """Collapse a complete cube ``y`` (model, prompt, word) to its tables."""
    n_models = crossing.shape[0]
    groups = [crossing.prompts_of(f) for f in range(len(crossing.framings))]
    return Tables(
        # Model by model: a copy of all prompts of a framing would be half the cube.
        mean=np.array([[one[g].sum(axis=0) / np.sqrt(len(g)) for one in y] for g in groups]),
        prompt_word=y.sum(axis=0) / np.sqrt(n_models),
        axis=y @ crossing.word_basis,
        ss=np.array([sum(_square_sum(one[g]) for one in y) for g in groups]),
    )


def _square_sum(y: Array) -> float:
    level = y.mean(axis=-1)
    return float(np.vdot(y, y) - y.shape[-1] * (level @ level))


def coefficient_prior(
    crossing: Crossing, components: Components, axis: int, scales: Array
) -> Array:
    """Prior covariance of the rotated formula means on one axis, shape (q·F, q·F)."""
    over_columns = coefficient_spread(crossing, axis, scales)
    return np.asarray(np.kron(over_columns, np.diag(components.replication)))


def coefficient_spread(crossing: Crossing, axis: int, scales: Array) -> Array:
    """Prior covariance over columns (q, q) of the formula's part of a prompt's mean.

    ``scales`` are the prior SDs of the design's columns (outcome units); a column's effect on each
    category × framing is independent Normal(0, scale).
    """
    rotation = crossing.model_basis.T @ crossing.design.matrix
    return np.asarray(rotation @ np.diag(scales**2) @ rotation.T * crossing.axes[axis].weight)


def make_strata(
    crossing: Crossing, components: Components, tables: Tables, coefficient_scales: Array
) -> list[Stratum]:
    """All strata with at least one degree of freedom, in a fixed order."""
    scatters = _scatters(crossing, _split(crossing, tables))
    specs = _mean_specs(crossing, components, coefficient_scales)
    specs += _within_specs(crossing, components)
    return [
        Stratum(name, df, scatters[name], patterns, constant)
        for name, df, patterns, constant in specs
        if df > 0
    ]


def split_words(table: Array, word_basis: Array) -> tuple[Array, Array]:
    """Split (…, word) into coordinates on the axes (…, axis) and the rest (…, word)."""
    on_axes = table @ word_basis
    rest = table - table.mean(axis=-1, keepdims=True)
    rest -= on_axes @ word_basis.T
    return on_axes, rest


def make_scatter(crossing: Crossing, tables: Tables, strata: list[Stratum]) -> Array:
    """Scatter matrices of new tables, flat, in the order of ``strata``.

    What changes between two completions of the same incomplete crossing; the strata's patterns and
    degrees of freedom stay.
    """
    scatters = _scatters(crossing, _split(crossing, tables))
    return np.concatenate([np.ravel(scatters[s.name]) for s in strata])


def _scatters(crossing: Crossing, split: _Split) -> dict[str, Array]:
    out = {}
    for name, block in _span_blocks(crossing):
        out[f"{name} × words"] = split.a_rest[block, block]
        for j in range(len(crossing.axis_weight)):
            table = split.a_axis[j, block]
            out[f"{name} × axis {j + 1}"] = np.outer(table, table)
    for n, subspace in enumerate(crossing.space.subspaces):
        out[f"{subspace.name} × words"] = split.n_rest[n]
        for j in range(len(crossing.axis_weight)):
            out[f"{subspace.name} × axis {j + 1}"] = split.n_axis[n, j]
    for f, name in enumerate(crossing.framings):
        out[f"{name} residual"] = split.residual[f].reshape(1, 1)
        out[f"{name} prompts × words"] = split.shared_rest[f].reshape(1, 1)
        for j in range(len(crossing.axis_weight)):
            square = split.own_axis[f, j].reshape(1, 1)
            out[f"{name} models × prompts × axis {j + 1}"] = square
            out[f"{name} prompts × axis {j + 1}"] = split.shared_axis[f, j].reshape(1, 1)
    return out


@dataclass(frozen=True)
class _Split:
    """Tables rotated to the subspaces."""

    a_rest: Array  # (q·F, q·F) scatter over R
    a_axis: Array  # (axis, q·F)
    n_rest: Array  # (subspace, F, F) scatter
    n_axis: Array  # (subspace, axis, F, F) scatter
    shared_rest: Array  # (F,) model mean, within framing, R
    shared_axis: Array  # (F, axis)
    own_axis: Array  # (F, axis) deviations of models
    residual: Array  # (F,)


def _split(crossing: Crossing, tables: Tables) -> _Split:
    basis, words = crossing.model_basis, crossing.word_basis
    n_framings = len(crossing.framings)
    q = basis.shape[1]

    mean_axis, mean_rest = split_words(tables.mean, words)
    a_rest = (basis.T @ mean_rest).transpose(1, 0, 2).reshape(q * n_framings, -1)
    a_axis = np.einsum("ma,fmj->jaf", basis, mean_axis)
    outside = [subspace.basis.T for subspace in crossing.space.subspaces]
    n_rest = [_gram(other @ mean_rest) for other in outside]
    n_axis = [other @ mean_axis for other in outside]

    own_axis = np.zeros((n_framings, words.shape[1]))
    residual = np.zeros(n_framings)
    shared_rest, shared_axis = prompt_squares(
        tables.prompt_word, crossing.framing, np.ascontiguousarray(words.T), n_framings
    )
    for f in range(n_framings):
        group = crossing.prompts_of(f)
        deviations = tables.axis[:, group] - tables.axis[:, group].mean(axis=1, keepdims=True)
        total_own = (deviations**2).sum(axis=(0, 1))
        own_axis[f] = total_own - shared_axis[f]
        residual[f] = (
            tables.ss[f]
            - (mean_axis[f] ** 2).sum()
            - np.vdot(mean_rest[f], mean_rest[f])
            - shared_rest[f]
            - total_own.sum()
        )
    return _Split(
        a_rest=a_rest @ a_rest.T,
        a_axis=a_axis.reshape(len(a_axis), -1),
        n_rest=np.stack(n_rest),
        n_axis=np.stack([np.einsum("fnj,gnj->jfg", one, one) for one in n_axis]),
        shared_rest=shared_rest,
        shared_axis=shared_axis,
        own_axis=own_axis,
        residual=residual,
    )


def _gram(table: Array) -> Array:
    """Products of framings, summed over the others; (framing, framing)."""
    flat = table.reshape(len(table), -1)
    return np.asarray(flat @ flat.T)


# A stratum without data: name, degrees of freedom, patterns, constant.
_Spec = tuple[str, float, dict[int, Array], Array]


def _mean_specs(
    crossing: Crossing, components: Components, coefficient_scales: Array
) -> list[_Spec]:
    q = crossing.model_basis.shape[1]
    n_framings = len(crossing.framings)
    df_rest = crossing.shape[2] - 1 - len(crossing.axis_weight)
    zero_a, zero_n = np.zeros((q * n_framings,) * 2), np.zeros((n_framings,) * 2)
    axes = [REST, *crossing.axes]
    priors = [
        coefficient_prior(crossing, components, j, coefficient_scales)
        for j in range(len(crossing.axis_weight))
    ]
    whole = [components.stratum_patterns(axis) for axis in axes]
    specs: list[_Spec] = []
    for name, block in _span_blocks(crossing):
        for j, (patterns, prior) in enumerate(zip(whole, [zero_a, *priors], strict=True)):
            in_block = {k: p[block, block] for k, p in patterns.items()}
            # Contrasts of families, say, do not contain what all models share.
            in_block = {k: p for k, p in in_block.items() if np.abs(p).max() > _NOTHING}
            label = f"{name} × axis {j}" if j else f"{name} × words"
            specs.append((label, 1 if j else df_rest, in_block, prior[block, block]))
    for subspace in crossing.space.subspaces:
        patterns = components.stratum_patterns(REST, subspace)
        specs.append((f"{subspace.name} × words", subspace.size * df_rest, patterns, zero_n))
        for j, axis in enumerate(crossing.axes):
            patterns = components.stratum_patterns(axis, subspace)
            specs.append((f"{subspace.name} × axis {j + 1}", subspace.size, patterns, zero_n))
    return specs


def _span_blocks(crossing: Crossing) -> list[tuple[str, slice]]:
    """Name the blocks of the formula's span, with their slices of column × framing."""
    n = len(crossing.framings)
    slices = [slice(b.start * n, b.stop * n) for b in crossing.blocks]
    if len(slices) == 1:
        return [("formula", slices[0])]
    return [(f"formula {i + 1}", rows) for i, rows in enumerate(slices)]


def _within_specs(crossing: Crossing, components: Components) -> list[_Spec]:
    n_models, _, n_words = crossing.shape
    df_rest = n_words - 1 - len(crossing.axis_weight)
    zero = np.zeros((1, 1))
    specs: list[_Spec] = []
    for f, name in enumerate(crossing.framings):
        df = len(crossing.prompts_of(f)) - 1
        by_model, shared = (components.within(f, shared=s) for s in (False, True))
        specs += [
            (f"{name} residual", (n_models - 1) * df * df_rest, by_model, zero),
            (f"{name} prompts × words", df * df_rest, shared, zero),
        ]
        for j, axis in enumerate(crossing.axes):
            by_model, shared = (components.within(f, shared=s, axis=axis) for s in (False, True))
            specs += [
                (f"{name} models × prompts × axis {j + 1}", (n_models - 1) * df, by_model, zero),
                (f"{name} prompts × axis {j + 1}", df, shared, zero),
            ]
    return specs
