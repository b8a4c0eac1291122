"""Scatter a dataset's outcome into the cube that the hierarchical model is about.

A *crossing* is every model answering every prompt with every word. The cube is centred over words
within model × prompt: the level of a model's scores on a prompt says nothing about categories, so
it is taken out exactly, which is the same as giving each model × prompt its own free intercept.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from valuebias.analysis.blocks import invariant_blocks
from valuebias.analysis.formula import ModelDesign
from valuebias.analysis.sides import ModelSides, model_sides
from valuebias.errors import ValueBiasError

__all__ = ["FRAMINGS", "Crossing", "make_crossing"]

FRAMINGS = ("positive", "negative")
# Up to so many columns one dense block is quick.
_FEW_COLUMNS = 5


@dataclass(frozen=True)
class Crossing:
    """The outcome as a cube with everything that describes its three sides.

    Attributes
    ----------
    y : ndarray of float64, shape (model, prompt, word)
        Outcome minus its mean over the observed words of that model and prompt; unobserved
        cells hold 0.
    observed : ndarray of bool, shape (model, prompt, word)
    design : ModelDesign
        The formula's columns over models.
    model_basis : ndarray, shape (model, column)
        Orthonormal basis of the design's span, its first column constant; with further columns
        where what models share asks for them (:mod:`valuebias.analysis.sides`).
    sides : ModelSides
        How models vary outside that span, and which of them share a model or a training run.
    blocks : tuple of slice
        Columns of `model_basis` that no covariance connects with others.
    framing : ndarray of int, shape (prompt,)
        Index into ``framings``.
    framings : tuple of str
        The framings present, positive first.
    categories : tuple of str
    membership : ndarray of float64, shape (word, category)
        Each word's membership, rows summing to one (a word in two categories counts half in each).
    word_basis : ndarray, shape (word, category − 1)
        Orthonormal basis of the centred memberships (principal axes).
    axis_weight : ndarray, shape (category − 1,)
        Squared singular values of the centred memberships, one an axis.
    category_axes : ndarray, shape (category, category − 1)
        Right singular vectors: maps category effects to the axes.
    scale : float
        Root mean square of ``y`` over observed cells, the unit of the priors.
    """

    y: NDArray[np.float64]
    observed: NDArray[np.bool_]
    design: ModelDesign
    model_basis: NDArray[np.float64]
    sides: ModelSides
    blocks: tuple[slice, ...]
    framing: NDArray[np.intp]
    framings: tuple[str, ...]
    categories: tuple[str, ...]
    membership: NDArray[np.float64]
    word_basis: NDArray[np.float64]
    axis_weight: NDArray[np.float64]
    category_axes: NDArray[np.float64]
    scale: float
    models: pd.Index
    prompts: pd.Index
    words: pd.Index

    @property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of models, prompts and words."""
        n_models, n_prompts, n_words = self.y.shape
        return n_models, n_prompts, n_words

    @property
    def complete(self) -> bool:
        """Whether every cell was observed."""
        return bool(self.observed.all())

    @property
    def n_missing(self) -> int:
        """Number of cells not observed."""
        return int((~self.observed).sum())

    def prompts_of(self, framing: int) -> NDArray[np.intp]:
        """Positions of the prompts of one framing."""
        return np.flatnonzero(self.framing == framing)

    def contrast_weights(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn weights on categories (summing to zero) into weights on the axes.

        Axis coordinates are √axis_weight times the category effects' projection, so the
        contrast of category effects b is ``weights @ b = contrast_weights(weights) @ coordinate``.
        """
        return np.asarray((weights @ self.category_axes) / np.sqrt(self.axis_weight))


def make_crossing(
    outcome: NDArray[np.float64],
    design: ModelDesign,
    framing: NDArray[np.str_],
    membership: pd.DataFrame,
    prompts: pd.Index,
) -> Crossing:
    """Build the crossing.

    Parameters
    ----------
    outcome : ndarray, shape (model, prompt, word)
        NaN where a cell was not scored.
    design : ModelDesign
        Rows in the order of the cube's models.
    framing : ndarray of str, shape (prompt,)
        ``"positive"`` or ``"negative"``.
    membership : DataFrame of bool, shape (word, category)
        Every word in at least one category.
    prompts : Index
        Prompt names.

    Returns
    -------
    Crossing
        The centred cube with its sides.

    Raises
    ------
    ValueBiasError
        Fewer than two categories, categories that contain the same words, or too few words.
    """
    observed = np.isfinite(outcome)
    y = _centre(outcome, observed)
    weights = membership.to_numpy(dtype=float)
    weights = weights / weights.sum(axis=1, keepdims=True)
    basis, axis_weight, axes = _word_axes(weights, membership)
    present = tuple(f for f in FRAMINGS if (framing == f).any())
    index = np.array([present.index(f) for f in framing], dtype=np.intp)
    scale = float(np.sqrt((y**2).sum() / observed.sum()))
    if not scale > 0:
        raise ValueBiasError(
            "the outcome does not vary over words for any model and prompt; nothing can be fitted."
        )
    model_basis = np.linalg.qr(design.matrix)[0]
    model_basis = model_basis * np.sign(model_basis[0, 0])
    sides = model_sides(design.models, model_basis)
    sides, blocks = _in_blocks(sides, design)
    return Crossing(
        y=y,
        observed=observed,
        design=design,
        model_basis=sides.basis,
        sides=sides,
        blocks=blocks,
        framing=index,
        framings=present,
        categories=tuple(map(str, membership.columns)),
        membership=weights,
        word_basis=basis,
        axis_weight=axis_weight,
        category_axes=axes,
        scale=scale,
        models=design.models.index,
        prompts=prompts,
        words=membership.index,
    )


def _in_blocks(sides: ModelSides, design: ModelDesign) -> tuple[ModelSides, tuple[slice, ...]]:
    """Turn the basis of a large span so that it falls into blocks."""
    basis = sides.basis
    if basis.shape[1] <= _FEW_COLUMNS:
        return sides, (slice(0, basis.shape[1]),)
    by_term = [basis.T @ design.matrix[:, term.columns] for term in design.terms]
    spans = [columns @ columns.T for columns in by_term]
    rotation, blocks = invariant_blocks([*spans, *sides.in_span.values()])
    turned = {name: rotation.T @ m @ rotation for name, m in sides.in_span.items()}
    return replace(sides, basis=basis @ rotation, in_span=turned), blocks


def _centre(outcome: NDArray[np.float64], observed: NDArray[np.bool_]) -> NDArray[np.float64]:
    y = np.where(observed, outcome, 0.0)
    count = np.maximum(observed.sum(axis=2, keepdims=True), 1)
    return np.where(observed, y - y.sum(axis=2, keepdims=True) / count, 0.0)


def _word_axes(
    weights: NDArray[np.float64], membership: pd.DataFrame
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    n_words, n_categories = weights.shape
    if n_categories < 2:
        raise ValueBiasError(
            f"the lexicon has {n_categories} category {list(membership.columns)}; the model "
            "compares categories, so at least two are needed."
        )
    if n_words < n_categories + 2:
        raise ValueBiasError(
            f"{n_words} scored words for {n_categories} categories are too few; score more words."
        )
    left, singular, right = np.linalg.svd(weights - weights.mean(axis=0), full_matrices=False)
    keep = n_categories - 1
    if singular[keep - 1] < 1e-8 * singular[0]:
        twins = _twin_categories(membership)
        raise ValueBiasError(
            f"categories {twins} cannot be told apart by their words; merge or drop one of them."
        )
    return left[:, :keep], singular[:keep] ** 2, right[:keep].T


def _twin_categories(membership: pd.DataFrame) -> list[str]:
    columns: dict[bytes, object] = {}
    for name in membership.columns:
        key = membership[name].to_numpy(dtype=bool).tobytes()
        if key in columns:
            return [str(columns[key]), str(name)]
        columns[key] = name
    return [str(name) for name in membership.columns]
