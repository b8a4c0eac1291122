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

__all__ = [
    "Stratum",
    "Tables",
    "coefficient_prior",
    "coefficient_spread",
    "make_strata",
    "make_tables",
    "span_blocks",
    "split_words",
]

Array = NDArray[np.float64]

_NOTHING = 1e-9


@dataclass
class Tables:
    """Sufficient statistics of a complete cube: its margins and sums of squares.

    ``ss`` is about the mean over words of each model × prompt; the others need no centring.
    """

    mean: Array  # (framing, model, word): sum over the prompts of a framing divided by √P_f
    prompt_word: Array  # (prompt, word): sum over models divided by √M
    axis: Array  # (model, prompt, axis): projection on the axes
    ss: Array  # (framing,): sum of squares of all cells of a framing about their mean over words


@dataclass(frozen=True)
class Stratum:
    """Independent draws of one small Gaussian vector."""

    name: str
    df: float  # number of draws
    scatter: Array  # (d, d): sum of their outer products
    patterns: dict[int, Array] = field(repr=False)  # (d, d): ``P_k`` by variance parameter k
    # (d, d): the part of the covariance without parameters (the coefficients' prior).
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
    scatters = _scatters(crossing, tables)
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


def _scatters(crossing: Crossing, tables: Tables) -> dict[str, Array]:
    """Rotate tables to the subspaces, and sum up the outer products of each stratum."""
    basis, words = crossing.model_basis, crossing.word_basis
    n_framings, n_axes = len(crossing.framings), words.shape[1]
    mean_axis, mean_rest = split_words(tables.mean, words)
    rest = (basis.T @ mean_rest).transpose(1, 0, 2).reshape(basis.shape[1] * n_framings, -1)
    rest = rest @ rest.T
    on_axes = np.einsum("ma,fmj->jaf", basis, mean_axis).reshape(n_axes, -1)
    out = {}
    for name, block in span_blocks(crossing):
        out[f"{name} × words"] = rest[block, block]
        for j, table in enumerate(on_axes, start=1):
            out[f"{name} × axis {j}"] = np.outer(table[block], table[block])
    for subspace in crossing.space.subspaces:
        flat = (subspace.basis.T @ mean_rest).reshape(n_framings, -1)
        out[f"{subspace.name} × words"] = flat @ flat.T
        outside = subspace.basis.T @ mean_axis
        for j, square in enumerate(np.einsum("fnj,gnj->jfg", outside, outside), start=1):
            out[f"{subspace.name} × axis {j}"] = square
    for f, name in enumerate(crossing.framings):
        prompts = crossing.prompts_of(f)
        shared_axis, shared_rest = _squares(tables.prompt_word[prompts], words)
        on_prompts = tables.axis[:, prompts]
        on_axis = ((on_prompts - on_prompts.mean(axis=1, keepdims=True)) ** 2).sum(axis=(0, 1))
        residual = tables.ss[f] - (mean_axis[f] ** 2).sum() - np.vdot(mean_rest[f], mean_rest[f])
        residual = residual - shared_rest - on_axis.sum()
        out[f"{name} residual"] = residual.reshape(1, 1)
        out[f"{name} prompts × words"] = shared_rest.reshape(1, 1)
        for j, (total, shared) in enumerate(zip(on_axis, shared_axis, strict=True), start=1):
            out[f"{name} models × prompts × axis {j}"] = (total - shared).reshape(1, 1)
            out[f"{name} prompts × axis {j}"] = shared.reshape(1, 1)
    return out


def _squares(table: Array, word_basis: Array) -> tuple[Array, Array]:
    """Squares of a table (prompt, word) about its mean prompt: on each axis, and of the rest.

    Without a table of the rest, which is what takes the time where words are many. The table is
    centred in its place.
    """
    table -= table.mean(axis=0)
    on_axes = ((table @ word_basis) ** 2).sum(axis=0)
    levels = table.shape[1] * (table.mean(axis=1) ** 2).sum()
    return on_axes, np.maximum(np.vdot(table, table) - levels - on_axes.sum(), 0.0)


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
    for name, block in span_blocks(crossing):
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


def span_blocks(crossing: Crossing) -> list[tuple[str, slice]]:
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
