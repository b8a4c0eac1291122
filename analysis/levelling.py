"""A gap that may level off: from some number of pairs on, more of them change nothing.

Whether, and where, is unknown. For every source of preferences that was trained on with several
numbers of pairs, *levels* stand for where the change may stop: at one of these numbers, half-way
between two, or not in the range at all. Beyond the range the data say nothing and the prior all:
with the doublings of the range as the unit, the change has stopped after t of them with probability
t / (1 + t). So it stops in the range about as likely as beyond it, and what has gone on for long
goes on for about as long again.

Given the variances, which the fit has drawn, leans are Gaussian under every level, so that the
level's probability and the effects of the formula's columns follow exactly. What a straight line
gets wrong is in how much runs of a kind differ, so that this variance is drawn anew with the level.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from valuebias.analysis.curves import Curves, by_pairs, sources_of
from valuebias.analysis.formula import ModelDesign
from valuebias.analysis.lean_model import LeanModel, Leans, average_rows

__all__ = ["LeanDraws", "Levels", "draw_leans", "levels_of", "trained_cells"]

Array = NDArray[np.float64]

_WARM_UP = 2
_FACTORS = 2.0 ** np.arange(-2.5, 1.01, 0.25)
"""By which the SD of runs is multiplied."""
_STEP = 0.125
_FARTHEST = 20.0
"""Doublings beyond the range; a change that goes on so far goes on for ever."""
_COURSE = "np.sqrt(progress)"
_CELL = ["family", "source", "n_pairs"]


@dataclass(frozen=True)
class Levels:
    """Where the change on one source of preferences may stop.

    Attributes
    ----------
    at : ndarray, shape (level,)
        Logarithms to base 2 of numbers of pairs, ascending; the last is the largest number studied
        and stands for not stopping before.
    log_prior : ndarray, shape (level,)
    start, width : float
        Where the range studied begins, and how wide it is, in doublings.
    latest : float
        Prior probability that the change has not stopped before the last level.
    """

    at: Array
    log_prior: Array
    start: float
    width: float
    latest: float

    def beyond(self, n: int, rng: np.random.Generator) -> Array:
        """Draw where a change stops that does not in the range, shape (n,); infinite for never."""
        at = self.start + self.width * (1 / rng.uniform(0, self.latest, n) - 1)
        end = self.at[-1]
        # On a grid, so that there are few numbers of pairs to look at.
        at = end + _STEP * np.maximum(np.ceil((at - end) / _STEP), 0)
        return np.where(at > end + _FARTHEST, np.inf, at)


@dataclass(frozen=True)
class LeanDraws:
    """Draws of what leans depend on.

    Attributes
    ----------
    coefficient : ndarray, shape (draw, column, framing)
        Effects of the formula's columns on the lean.
    level : ndarray, shape (draw, source)
        Number of pairs from which more change nothing; infinite for never.
    cells : DataFrame
        Columns ``family``, ``source`` and ``n_pairs``: those that were trained.
    free : ndarray, shape (free draw, cell, framing)
        Leans at the end of training where every cell has one of its own.
    """

    coefficient: Array
    level: Array
    cells: pd.DataFrame
    free: Array

    @property
    def levels_off(self) -> bool:
        """Whether the change may stop on some source."""
        return bool(np.isfinite(self.level).any())

    def curves(
        self, design: ModelDesign, straight: Array, model: Array, category: str, sign: Array
    ) -> Curves:
        """Give the curves under one framing.

        Parameters
        ----------
        design : ModelDesign
            The formula over the models at hand.
        straight : ndarray, shape (chain, draw, column)
            The effects that the fit has drawn; they hold where nothing levels off.
        model : ndarray, shape (chain, draw, model)
            Leans of the models at hand.
        category : str
            Which lean.
        sign : ndarray, shape (framing,)
            Weights of the framings.

        Returns
        -------
        Curves
        """
        level = None
        if self.levels_off:
            straight = (self.coefficient @ sign).reshape(straight.shape)
            level = self.level.reshape(*straight.shape[:2], -1)
        return Curves(design, straight, model, category, level, self.cells, self.free @ sign)


def levels_of(quantities: list[float]) -> Levels:
    """Lay out where the change may stop.

    Parameters
    ----------
    quantities : list of float
        Two or more numbers of pairs, ascending.

    Returns
    -------
    Levels

    Examples
    --------
    >>> levels = levels_of([1000, 2000, 4000, 8000])
    >>> np.exp2(levels.at).round()
    array([2000., 2828., 4000., 5657., 8000.])
    >>> np.exp(levels.log_prior).round(2)
    array([0.33, 0.07, 0.06, 0.05, 0.49])
    """
    x = np.log2(np.asarray(quantities, dtype=float))
    width = x[-1] - x[0]
    # A stop before the second number is a jump between the first two, wherever it is.
    between = np.stack([(x[1:-1] + x[2:]) / 2, x[2:]], axis=1).ravel()
    at = np.concatenate([x[1:2], between])
    bounds = np.concatenate([x[:1], (at[:-1] + at[1:]) / 2])
    goes_on = 1 / (1 + (bounds - x[0]) / width)
    mass = goes_on - np.append(goes_on[1:], 0.0)
    return Levels(at, np.log(mass), float(x[0]), float(width), float(goes_on[-1]))


def draw_leans(
    model: LeanModel, design: ModelDesign, *, levelling: bool, rng: np.random.Generator
) -> LeanDraws:
    """Draw levels, effects of the columns, and free leans.

    Parameters
    ----------
    model : LeanModel
        Leans of the models of the design.
    design : ModelDesign
        The formula over models, which have the coordinates ``family``, ``source``, ``n_pairs`` and
        ``progress``.
    levelling : bool
        Whether the change may stop; it does not where the formula has no number of pairs, or gives
        each an effect of its own.
    rng : numpy.random.Generator
        Random numbers.

    Returns
    -------
    LeanDraws
        As many draws as the model has.
    """
    sources = sources_of(design.models)
    levels = _levels(design) if levelling and by_pairs(design) == "curve" else {}
    cells = trained_cells(design)
    of_cell = _free_columns(design, cells)
    basis = model.span(np.concatenate([*_every_course(design, levels), of_cell], axis=1))
    leans = model.within(basis)
    state = _State(leans, _courses(design, levels, basis), levels, rng)
    # Draws that share the variances follow one another, so that chains stay chains.
    of_variances = np.arange(model.n_draws) * leans.n_draws // model.n_draws
    place = np.arange(model.n_draws) - np.searchsorted(of_variances, of_variances)
    coefficient, level = [], []
    for sweep in range(_WARM_UP + int(place.max()) + 1):
        state.draw_levels()
        if sweep < _WARM_UP:
            state.draw_factor()
        else:
            coefficient.append(leans.draw(state.columns(), state.factor, rng))
            level.append(state.level_of(sources))
    free = _draw_free(leans, design, cells, basis.T @ of_cell, basis, rng)
    return LeanDraws(
        np.stack(coefficient)[place, of_variances], np.stack(level)[place, of_variances], cells, free
    )


def _levels(design: ModelDesign) -> dict[str, Levels]:
    """Lay out levels for the sources that have several numbers of pairs."""
    pairs = design.models["n_pairs"].astype(float).groupby(design.models["source"].astype(str))
    studied = {str(source): sorted(set(own)) for source, own in pairs}
    return {source: levels_of(own) for source, own in studied.items() if len(own) > 1}


class _State:
    """Levels and the factor of the runs' SD, a value for every draw of the variances."""

    def __init__(
        self,
        leans: Leans,
        courses: dict[str, Array],
        levels: dict[str, Levels],
        rng: np.random.Generator,
    ) -> None:
        self.leans, self.courses, self.levels, self.rng = leans, courses, levels, rng
        self.factor = np.ones(leans.n_draws)
        last = {source: len(course) - 1 for source, course in courses.items()}
        self.chosen = {source: np.full(leans.n_draws, k) for source, k in last.items()}

    def columns(self, **instead: Array) -> Array:
        """Columns under the levels as they are, or some others; (draw, row, column)."""
        chosen = self.chosen | instead
        return np.asarray(sum(course[chosen[s]] for s, course in self.courses.items()))

    def draw_levels(self) -> None:
        """Draw the level on every source in turn, given those on the others."""
        for source, levels in self.levels.items():
            rest = self.columns() - self.courses[source][self.chosen[source]]
            weight = [
                log_prior + self.leans.log_evidence(rest + self.courses[source][k], self.factor)
                for k, log_prior in enumerate(levels.log_prior)
            ]
            self.chosen[source] = _choose(np.stack(weight), self.rng)

    def draw_factor(self) -> None:
        """Draw the factor, given the levels."""
        weight = self.leans.log_density_of_factors(self.columns(), _FACTORS)
        self.factor = _FACTORS[_choose(weight, self.rng)]

    def level_of(self, sources: list[str]) -> Array:
        """Number of pairs from which more change nothing, (draw, source)."""
        out = np.full((self.leans.n_draws, len(sources)), np.inf)
        for source, levels in self.levels.items():
            chosen = self.chosen[source]
            later = levels.beyond(len(chosen), self.rng)
            at = np.where(chosen < len(levels.at) - 1, levels.at[chosen], later)
            out[:, sources.index(source)] = np.exp2(at)
        return out


def _choose(log_weight: Array, rng: np.random.Generator) -> NDArray[np.intp]:
    """Choose one of the first side's places for each of the second's."""
    return np.asarray(np.argmax(log_weight + rng.gumbel(size=log_weight.shape), axis=0))


def _levelled(design: ModelDesign, source: str, level: float) -> Array:
    """Columns of the models of a source if more pairs than ``level`` change nothing."""
    models = design.models
    there = (models["source"].astype(str) == source).to_numpy()
    pairs = np.minimum(models["n_pairs"].to_numpy(dtype=float), np.exp2(level))
    return design.rows(models.assign(n_pairs=pairs)) * there[:, None]


def _every_course(design: ModelDesign, levels: dict[str, Levels]) -> list[Array]:
    out = [design.matrix]
    for source, own in levels.items():
        out += [_levelled(design, source, level) for level in own.at]
    return out


def _courses(design: ModelDesign, levels: dict[str, Levels], basis: Array) -> dict[str, Array]:
    """Columns within the basis by source and level, (level, row, column); their sum is whole."""
    out = {}
    for source in sorted(set(design.models["source"].astype(str))):
        at = levels[source].at if source in levels else [np.inf]
        out[source] = np.stack([basis.T @ _levelled(design, source, level) for level in at])
    return out


def trained_cells(design: ModelDesign) -> pd.DataFrame:
    """List the cells that were trained: columns ``family``, ``source``, ``n_pairs``."""
    models = design.models[_CELL].astype({"family": str, "source": str, "n_pairs": float})
    return models.drop_duplicates().sort_values(_CELL, ignore_index=True)


def _free_columns(design: ModelDesign, cells: pd.DataFrame) -> Array:
    """Give every cell a column of its own, (model, cell)."""
    models = design.models[_CELL].astype({"family": str, "source": str, "n_pairs": float})
    place = cells.reset_index().merge(models.reset_index(drop=True), on=_CELL, how="right")["index"]
    own = (place.to_numpy()[:, None] == np.arange(len(cells))).astype(float)
    if design.factor(_COURSE) is None:
        return own
    # Runs start alike, whatever they are trained on.
    return own * np.sqrt(design.models["progress"].to_numpy(dtype=float))[:, None]


def _draw_free(
    leans: Leans,
    design: ModelDesign,
    cells: pd.DataFrame,
    of_cell: Array,
    basis: Array,
    rng: np.random.Generator,
) -> Array:
    """Draw leans of cells of which each has its own, (draw, cell, framing)."""
    columns = np.concatenate([basis.T @ design.matrix, of_cell], axis=1)
    # What a cell adds may be as large as any effect.
    wider = leans.with_scales(np.append(leans.scales, np.full(len(cells), leans.scales[1:].max())))
    whole = np.broadcast_to(columns, (leans.n_draws, *columns.shape))
    factor = _FACTORS[_choose(wider.log_density_of_factors(whole, _FACTORS), rng)]
    drawn = wider.draw(whole, factor, rng)
    rows = average_rows(design, cells.assign(progress=1.0))
    return np.asarray(rows @ drawn[:, : rows.shape[1]] + drawn[:, rows.shape[1] :])
