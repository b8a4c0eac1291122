"""Items of a contrast set as the sampled units of a crossing.

What an item says is how the scores of its variants depart from their mean, one coordinate for each
contrast between groups of variants. Of a table of models by items and contrasts the mean over items
is what is asked about, and items have effects as words have in a crossing: for all models, by term
of the formula, by base and by model. So the crossing has one prompt, and its words are such
coordinates, turned so that none of it lies on their mean, which a crossing takes out: effects that
are alike for all words are alike however these are turned.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import linalg

from valuebias.analysis.design.crossing import Axis, Crossing, kinds_of
from valuebias.analysis.design.formula import ModelDesign
from valuebias.analysis.design.grouping import Group, make_space
from valuebias.errors import ValueBiasError
from valuebias.schema.contract import NEUTRAL

__all__ = ["ItemLayout", "make_item_crossing"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class ItemLayout:
    """How items and groups of variants are laid out as words of a crossing."""

    n_items: int
    n_groups: int

    @property
    def contrasts(self) -> Array:
        """Orthonormal contrasts between the groups, (group, contrast)."""
        return np.asarray(linalg.helmert(self.n_groups).T)

    def to_words(self, table: Array) -> Array:
        """Turn (…, item, group) into (…, word); what the groups have in common is lost."""
        flat = (table @ self.contrasts).reshape(*table.shape[:-2], -1)
        return self._reflected(np.concatenate([flat, np.zeros((*flat.shape[:-1], 1))], axis=-1))

    def to_items(self, words: Array) -> Array:
        """Turn (…, word) back into departures from each item's mean, (…, item, group)."""
        flat = self._reflected(words)[..., :-1]
        shape = (*words.shape[:-1], self.n_items, self.n_groups - 1)
        return np.asarray(flat.reshape(shape) @ self.contrasts.T)

    def _reflected(self, words: Array) -> Array:
        """Reflect such that the last coordinate and the mean over all change places."""
        n = words.shape[-1]
        normal = np.full(n, -1 / np.sqrt(n))
        normal[-1] += 1
        normal /= np.linalg.norm(normal)
        return np.asarray(words - 2 * (words @ normal)[..., None] * normal)


def make_item_crossing(
    outcome: Array,
    design: ModelDesign,
    groups: tuple[str, ...],
    items: pd.Index,
    *,
    shared: tuple[Group, ...],
    spread: bool,
    scale: float | None = None,
) -> Crossing:
    """Build the crossing of a complete table ``outcome`` (model, item, group of variants)."""
    _, n_items, n_groups = outcome.shape
    layout = ItemLayout(n_items, n_groups)
    y = layout.to_words(np.ascontiguousarray(outcome))[:, None]
    unit = float(np.sqrt(np.vdot(y, y) / outcome.size)) if scale is None else scale
    if not unit > 0:
        raise ValueBiasError(
            "every model gives all variants of an item one score; nothing can be fitted."
        )
    # An effect on a group moves every item's coordinates alike.
    effects = np.broadcast_to(np.eye(n_groups)[:, None], (n_groups, n_items, n_groups))
    members = layout.to_words(effects).T
    basis = members @ layout.contrasts / np.sqrt(n_items)
    spans = [design.matrix[:, term.columns] for term in design.terms]
    space = make_space(design.matrix, shared, kinds_of(design) if spread else None, spans)
    n_words = y.shape[-1]
    return Crossing(
        y=y,
        observed=np.ones(y.shape, dtype=bool),
        design=design,
        space=space,
        framing=np.zeros(1, dtype=np.intp),
        framings=(NEUTRAL,),
        categories=groups,
        loadings=np.ones((n_words, n_groups)),
        membership=members,
        covariates=np.zeros((n_words, 0)),
        covariate_names=(),
        word_basis=basis,
        axes=tuple(Axis(float(n_items), "category") for _ in range(n_groups - 1)),
        scale=unit,
        models=design.models.index,
        prompts=pd.Index(["all items"]),
        words=pd.RangeIndex(n_words),
        items=tuple(map(str, items)),
    )
