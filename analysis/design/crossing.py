"""Scatter a dataset's outcome into the cube that the hierarchical model is about.

A *crossing* is every model answering every prompt with every word. The cube is centred over words
within model × prompt: the level of a model's scores on a prompt says nothing about categories, so
it is taken out exactly, which is the same as giving each model × prompt its own free intercept.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from valuebias.analysis.design.formula import ModelDesign
from valuebias.analysis.design.grouping import Group, ModelSpace, find_groups, make_space
from valuebias.errors import ValueBiasError
from valuebias.schema import FRAMINGS
from valuebias.schema.weights import are_marks, poles_advice

__all__ = [
    "FRAMINGS",
    "REST",
    "Axis",
    "Crossing",
    "as_design",
    "centre",
    "kinds_of",
    "make_crossing",
    "word_axes",
]

_RANK = 1e-10
"""Below this part of the largest, a singular value of weights is rounding."""


class Axis(NamedTuple):
    """A direction among the words on which models, prompts and groups have effects of their own.

    ``weight`` is its squared singular value: an effect of variance 1 has this variance on the axis.
    ``kind`` says of what: ``"category"`` or ``"covariate"``; empty for the rest of the words.
    """

    weight: float
    kind: str


REST = Axis(0.0, "")
"""The words off every axis: their effects are each word's own."""


@dataclass(frozen=True)
class Crossing:
    """The outcome as a cube with everything that describes its three sides."""

    # (model, prompt, word): outcome minus its mean over the observed words of that model and
    # prompt; unobserved cells hold 0.
    y: NDArray[np.float64]
    observed: NDArray[np.bool_]  # (model, prompt, word)
    design: ModelDesign  # the formula's columns over models
    # How models vary, in the span of the formula and outside it, and what they share.
    space: ModelSpace
    framing: NDArray[np.intp]  # (prompt,): index into ``framings``
    # The framings present: positive first, then negative; or neutral alone.
    framings: tuple[str, ...]
    categories: tuple[str, ...]
    # (word, category): what the lexicon says: 0 or 1, or weights.
    loadings: NDArray[np.float64]
    # (word, category): each word's membership, rows summing to one (a word in two categories counts
    # half in each); of weights see `as_design`.
    membership: NDArray[np.float64]
    # (word, covariate): centred and scaled over the words; no columns where the words have no
    # formula.
    covariates: NDArray[np.float64]
    covariate_names: tuple[str, ...]
    # (word, axis): orthonormal: principal axes of the centred memberships, as far as the covariates
    # do not explain them (category − 1), then those of the covariates.
    word_basis: NDArray[np.float64]
    axes: tuple[Axis, ...]  # kind and weight of each
    scale: float  # root mean square of ``y`` over observed cells, the unit of the priors
    models: pd.Index
    prompts: pd.Index
    words: pd.Index
    # Of a contrast set: its items, as the words of which they are laid out (:mod:`.items`).
    items: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Numbers of models, prompts and words."""
        n_models, n_prompts, n_words = self.y.shape
        return n_models, n_prompts, n_words

    @property
    def belongs(self) -> NDArray[np.bool_]:
        """Whether a word is in a category, with whatever weight; (word, category)."""
        return np.asarray(self.loadings != 0)

    @property
    def weighted(self) -> bool:
        """Whether words belong to categories more or less."""
        return not are_marks(self.loadings)

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

    @property
    def model_basis(self) -> NDArray[np.float64]:
        """Orthonormal basis of the span over models, (model, column)."""
        return self.space.basis

    @property
    def blocks(self) -> tuple[slice, ...]:
        """Columns of `model_basis` that no covariance connects with others."""
        return self.space.blocks

    @property
    def axis_weight(self) -> NDArray[np.float64]:
        """Weights of the axes, (axis,)."""
        return np.array([axis.weight for axis in self.axes])

    @cached_property
    def to_category(self) -> NDArray[np.float64]:
        """Effects of the categories (zero-sum) by coordinate on each axis; (axis, category)."""
        n = len(self.categories) - 1
        members = self.membership - self.membership.mean(axis=0)
        out = np.zeros((len(self.axes), len(self.categories)))
        # The covariates' part of the memberships lies on the covariates' axes.
        out[:n] = np.linalg.pinv(self.word_basis[:, :n].T @ members).T
        return out

    @cached_property
    def to_slope(self) -> NDArray[np.float64]:
        """Slopes of the covariates, categories held fixed, by coordinate; (axis, covariate)."""
        members = self.membership - self.membership.mean(axis=0)
        whole = np.column_stack([members, self.covariates])
        return np.asarray((np.linalg.pinv(whole) @ self.word_basis)[members.shape[1] :].T)

    def contrast_weights(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn weights on categories (summing to zero) into weights on the axes.

        With b the categories' effects, covariates held fixed, and c the coordinates,
        ``weights @ b = contrast_weights(weights) @ c``.
        """
        return np.asarray(self.to_category @ weights)

    def unadjusted_weights(self, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weigh the axes as the difference of the categories' means is, whatever makes it."""
        members = self.membership - self.membership.mean(axis=0)
        return np.asarray(self.word_basis.T @ (np.linalg.pinv(members).T @ weights))


def make_crossing(
    outcome: NDArray[np.float64],
    design: ModelDesign,
    framing: NDArray[np.str_],
    membership: pd.DataFrame,
    prompts: pd.Index,
    *,
    groups: tuple[Group, ...] | None = None,
    spread: bool = False,
    covariates: pd.DataFrame | None = None,
    scale: float | None = None,
) -> Crossing:
    """Build the crossing.

    ``outcome`` is (model, prompt, word); ``framing`` is (prompt,); ``membership`` is (word,
    category); ``covariates`` is (word, covariate).
    """
    # In one order of memory: sums over another differ in their last bits, and so would draws.
    outcome = np.ascontiguousarray(outcome)
    observed = np.isfinite(outcome)
    y = centre(outcome, observed)
    loadings = np.ascontiguousarray(membership.to_numpy(dtype=float))
    weights = as_design(loadings)
    described, names = _standardised(covariates, len(weights))
    basis, axes = word_axes(weights, membership, described, names)
    present = tuple(f for f in FRAMINGS if (framing == f).any())
    index = np.array([present.index(f) for f in framing], dtype=np.intp)
    unit = float(np.sqrt(np.vdot(y, y) / observed.sum())) if scale is None else scale
    if not unit > 0:
        raise ValueBiasError(
            "the outcome does not vary over words for any model and prompt; nothing can be fitted."
        )
    shared = find_groups(design.models) if groups is None else groups
    spans = [design.matrix[:, term.columns] for term in design.terms]
    space = make_space(design.matrix, shared, kinds_of(design) if spread else None, spans)
    return Crossing(
        y=y,
        observed=observed,
        design=design,
        space=space,
        framing=index,
        framings=present,
        categories=tuple(map(str, membership.columns)),
        loadings=loadings,
        membership=weights,
        covariates=described,
        covariate_names=names,
        word_basis=basis,
        axes=axes,
        scale=unit,
        models=design.models.index,
        prompts=prompts,
        words=membership.index,
    )


def as_design(loadings: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the memberships that effects of categories are effects of; (word, category).

    Of words that belong or do not, each one's are parts of one. Of weights, they are those by which
    the least squares that the model is about are the categories' weighted means: their
    pseudo-inverse holds the weights, each category's summing to one. For words with one category
    each of weight 1 both are the same.
    """
    if are_marks(loadings):
        return np.asarray(loadings / loadings.sum(axis=1, keepdims=True))
    means = loadings / np.abs(loadings).sum(axis=0)
    contrasts = means - means.mean(axis=1, keepdims=True)
    # Of scores without their level it is the same.
    contrasts = contrasts - contrasts.mean(axis=0)
    return np.asarray(np.linalg.pinv(contrasts, rcond=_RANK).T)


def kinds_of(design: ModelDesign) -> dict[str, NDArray[np.bool_]]:
    """Masks of the models of each family, where at least two families have several models."""
    family = design.factor("family")
    if family is None:
        return {}
    families = design.models["family"].astype(str).to_numpy()
    kinds = {level: families == level for level in family.levels}
    return kinds if sum(int(mask.sum()) > 1 for mask in kinds.values()) > 1 else {}


def centre(outcome: NDArray[np.float64], observed: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Take the mean over observed words off each model × prompt; unobserved cells hold 0."""
    y = np.where(observed, outcome, 0.0)
    count = np.maximum(observed.sum(axis=2, keepdims=True), 1)
    y -= y.sum(axis=2, keepdims=True) / count
    if not observed.all():
        y[~observed] = 0.0
    return y


def _standardised(
    covariates: pd.DataFrame | None, n_words: int
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    if covariates is None:
        return np.zeros((n_words, 0)), ()
    values = np.ascontiguousarray(covariates.to_numpy(dtype=float))
    values = values - values.mean(axis=0)
    return values / values.std(axis=0), tuple(map(str, covariates.columns))


def word_axes(
    weights: NDArray[np.float64],
    membership: pd.DataFrame,
    covariates: NDArray[np.float64],
    names: tuple[str, ...],
) -> tuple[NDArray[np.float64], tuple[Axis, ...]]:
    """Axes of the categories, covariates taken out, then axes of the covariates.

    Random effects are independent on every axis, so that the strata stay small: a covariate's
    effects are those of the covariate with whatever categories go along with it, and the slope with
    the categories held fixed is worked out from the draws (:attr:`Crossing.to_slope`).
    """
    n_words, n_categories = weights.shape
    if n_categories < 2:
        said = (
            f"the lexicon has {n_categories} category {list(membership.columns)}; the model "
            "compares categories, so at least two are needed."
        )
        in_python, in_shell = poles_advice(membership)
        raise ValueBiasError(f"{said}{in_python}", in_shell=f"{said}{in_shell}")
    if n_words < n_categories + len(names) + 1:
        beside = f" and {len(names)} covariates" if names else ""
        raise ValueBiasError(
            f"{n_words} scored words for {n_categories} categories{beside} are too few; score more "
            "words."
        )
    centred = weights - weights.mean(axis=0)
    keep = n_categories - 1
    singular = np.linalg.svd(centred, compute_uv=False)
    # Where every word is in every category, all of them are zero.
    if singular[keep - 1] <= 1e-8 * singular[0]:
        twins = _twin_categories(membership)
        raise ValueBiasError(
            f"categories {twins} cannot be told apart by their words; merge or drop one of them."
        )
    span, strengths, _ = np.linalg.svd(covariates, full_matrices=False)
    left, singular, _ = np.linalg.svd(centred - span @ (span.T @ centred), full_matrices=False)
    if singular[keep - 1] < 1e-6 * np.sqrt(n_words):
        raise ValueBiasError(
            f"the words' {', '.join(names)} {'tells' if len(names) == 1 else 'tell'} the "
            f"categories {list(membership.columns)} apart "
            "completely, so that what is a category's and what is a covariate's cannot be told; "
            "leave a covariate out of words=."
        )
    axes = [Axis(float(x) ** 2, "category") for x in singular[:keep]]
    axes += [Axis(float(x) ** 2, "covariate") for x in strengths]
    return np.concatenate([left[:, :keep], span], axis=1), tuple(axes)


def _twin_categories(membership: pd.DataFrame) -> list[str]:
    columns: dict[bytes, object] = {}
    for name in membership.columns:
        key = membership[name].to_numpy(dtype=float).tobytes()
        if key in columns:
            return [str(columns[key]), str(name)]
        columns[key] = name
    return [str(name) for name in membership.columns]
