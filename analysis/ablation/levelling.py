"""A gap between two families that may level off: beyond some number of pairs it is constant.

Whether, and where, is unknown. For every source of preferences that was trained on with several
numbers of pairs, *levels* stand for where the change may stop: at one of these numbers, half-way
between two, or not in the range at all. Beyond the range there is only the prior
(:func:`.levels.levels_of`): a change stops in the range about as likely as beyond it, and what has
lasted for long lasts for about as long again.

Only what depends on the family levels off; what the two families have in common is free at every
number of pairs that both were trained on. Given the variances, which the fit has drawn, leans are
Gaussian under every level, so that the level's probability and the effects of the columns follow
exactly. What a straight line gets wrong is in how much runs of a kind differ, so that this variance
is drawn again with the level.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from valuebias.analysis.ablation.curves import Curves, Levelled, by_pairs, sources_of
from valuebias.analysis.ablation.lean_model import LeanModel, Leans
from valuebias.analysis.ablation.lean_rows import (
    PairRows,
    average_rows,
    own_columns,
    pair_rows,
    trained_cells,
)
from valuebias.analysis.design.formula import ModelDesign
from valuebias.analysis.estimands.estimand import CategoryPair

__all__ = ["LeanDraws", "draw_leans"]

Array = NDArray[np.float64]

_WARM_UP = 2
_FACTORS = 2.0 ** np.arange(-2.5, 1.01, 0.25)
"""Factors by which the SD of runs is multiplied."""


@dataclass(frozen=True)
class LeanDraws:
    """Draws of the quantities that gaps depend on.

    Every two families have draws of their own, in the order of their names; none where nothing may
    level off.
    """

    coefficient: Array  # (pair, draw, column): effects of the formula's columns on the lean
    # (pair, draw, source): number of pairs of preferences from which the gap stays as it is;
    # infinite for never.
    level: Array
    # (pair, draw, cell): leans at the end of training, where the cell is of one of the two
    # families.
    lean: Array
    cells: pd.DataFrame  # columns ``family``, ``source`` and ``n_pairs``: those that were trained
    # (free draw, cell): leans at the end of training where every cell has one of its own.
    free: Array

    def curves(
        self, design: ModelDesign, straight: Array, model: Array, categories: CategoryPair
    ) -> Curves:
        """Return the curves of effects (chain, draw, column) and leans (chain, draw, model)."""
        levelled = None
        if len(self.level):
            arrays = (self.coefficient, self.level, self.lean)
            chains = (len(self.level), *straight.shape[:2], -1)
            levelled = Levelled(*(array.reshape(chains) for array in arrays))
        return Curves(design, straight, model, categories, levelled, self.cells, self.free)


def draw_leans(
    models: Mapping[str, LeanModel],
    design: ModelDesign,
    *,
    levelling: bool,
    rng: np.random.Generator,
) -> dict[str, LeanDraws]:
    """Draw levels and effects of the columns for every two families, and free leans."""
    cells = trained_cells(design)
    by_cell = own_columns(design, cells)
    at_end = average_rows(design, cells.assign(progress=1.0))[0]
    pairs = []
    if levelling and by_pairs(design) == "curve":
        pairs = [pair_rows(design, two) for two in combinations(sorted(set(cells["family"])), 2)]
    sources, out = sources_of(design.models), {}
    for framing, model in models.items():
        free = _draw_free(model, np.concatenate([design.matrix, by_cell], axis=1), at_end, rng)
        drawn = [_draw_pair(model, rows, sources, 1 / len(pairs), rng) for rows in pairs]
        sizes = (design.matrix.shape[1], len(sources), len(cells))
        coefficient, level, lean = (
            np.stack([one[k] for one in drawn]) if drawn else np.zeros((0, model.n_draws, size))
            for k, size in enumerate(sizes)
        )
        out[framing] = LeanDraws(coefficient, level, lean, cells, free)
    return out


def _draw_pair(
    model: LeanModel, rows: PairRows, sources: list[str], share: float, rng: np.random.Generator
) -> tuple[Array, Array, Array]:
    """Draw coefficients, levels and leans of cells for two families, from their models alone."""
    mine = model.of(rows.models)
    basis = mine.span(np.concatenate([c for each in rows.columns.values() for c in each], axis=1))
    leans = mine.within(basis, share=share).with_further(rows.n_common)
    state = _State(leans, rows, basis, rng)
    # Draws that share the variances follow one another, so that chains stay chains.
    of_variances = np.arange(model.n_draws) * leans.n_draws // model.n_draws
    index = np.arange(model.n_draws) - np.searchsorted(of_variances, of_variances)
    effects, level, lean = [], [], []
    for sweep in range(_WARM_UP + int(index.max()) + 1):
        state.draw_levels()
        if sweep < _WARM_UP:
            state.draw_factor()
            continue
        effects.append(leans.draw(state.columns(), state.factor, rng))
        level.append(state.level_of(sources))
        lean.append(np.einsum("scq,sq->sc", state.at_end(), effects[-1]))
    coefficient = np.stack(effects)[..., : len(model.scales)]
    return (
        coefficient[index, of_variances],
        np.stack(level)[index, of_variances],
        np.stack(lean)[index, of_variances],
    )


class _State:
    """Levels and the factor of the runs' SD, a value for every draw of the variances."""

    def __init__(
        self, leans: Leans, rows: PairRows, basis: Array, rng: np.random.Generator
    ) -> None:
        self.leans, self.rows, self.rng = leans, rows, rng
        self.along = {source: basis.T @ columns for source, columns in rows.columns.items()}
        self.factor = np.ones(leans.n_draws)
        last = {source: len(columns) - 1 for source, columns in self.along.items()}
        self.chosen = {source: np.full(leans.n_draws, k) for source, k in last.items()}

    def columns(self) -> Array:
        """Columns under the levels as they are; (draw, row, column)."""
        return np.asarray(sum(one[self.chosen[source]] for source, one in self.along.items()))

    def at_end(self) -> Array:
        """Rows of cells under the levels as they are; (draw, cell, column)."""
        at_end = self.rows.at_end.items()
        return np.asarray(sum(one[self.chosen[source]] for source, one in at_end))

    def draw_levels(self) -> None:
        """Draw the level on every source in turn, given those on the others."""
        for source, levels in self.rows.levels.items():
            one = self.along[source]
            rest = self.columns() - one[self.chosen[source]]
            weight = [
                log_prior + self.leans.log_evidence(rest + one[k], self.factor)
                for k, log_prior in enumerate(levels.log_prior)
            ]
            self.chosen[source] = _choose(np.stack(weight), self.rng)

    def draw_factor(self) -> None:
        """Draw the factor, given the levels."""
        weight = self.leans.log_density_of_factors(self.columns(), _FACTORS)
        self.factor = _FACTORS[_choose(weight, self.rng)]

    def level_of(self, sources: list[str]) -> Array:
        """Draw the number of pairs from which the gap stays as it is, (draw, source)."""
        out = np.full((self.leans.n_draws, len(sources)), np.inf)
        for source, levels in self.rows.levels.items():
            out[:, sources.index(source)] = levels.draw(self.chosen[source], self.rng)
        return out


def _choose(log_weight: Array, rng: np.random.Generator) -> NDArray[np.intp]:
    """Choose one position on the first side for each on the second."""
    return np.asarray(np.argmax(log_weight + rng.gumbel(size=log_weight.shape), axis=0))


def _draw_free(model: LeanModel, columns: Array, at_end: Array, rng: np.random.Generator) -> Array:
    """Draw leans of cells, each free, (draw, cell)."""
    basis = model.span(columns)
    n_cells, n = at_end.shape
    leans = model.within(basis).with_further(n_cells)
    along = np.broadcast_to(basis.T @ columns, (leans.n_draws, basis.shape[1], columns.shape[1]))
    factor = _FACTORS[_choose(leans.log_density_of_factors(along, _FACTORS), rng)]
    drawn = leans.draw(along, factor, rng)
    return np.asarray(drawn[:, :n] @ at_end.T + drawn[:, n:])
