"""Leans as functions of family, source, number of pairs and progress, as posterior draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from valuebias.analysis.diagnostics import describe_draws
from valuebias.analysis.formula import ModelDesign

__all__ = ["Curves", "first_inside", "summarise"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Curves:
    """Posterior draws of leans as functions of family, source, number of pairs and progress.

    Attributes
    ----------
    design : ModelDesign
        The formula over the models at hand, which have the coordinate ``progress``.
    coefficient : ndarray, shape (chain, draw, column)
        Effects of the design's columns on the lean.
    model : ndarray, shape (chain, draw, model)
        Leans of the models at hand.
    category : str
        Which lean, such as ``"agency − communion"``.
    """

    design: ModelDesign
    coefficient: Array
    model: Array
    category: str

    @property
    def models(self) -> pd.DataFrame:
        """The coordinates of the models at hand."""
        return self.design.models

    @property
    def families(self) -> list[str]:
        """Names of the families, in order."""
        return sorted(set(self.models["family"].astype(str)))

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """Every two families."""
        return list(combinations(self.families, 2))

    @property
    def sources(self) -> list[str]:
        """Names of the sources, the one with the most numbers of pairs first."""
        counts = self.models.groupby("source")["n_pairs"].nunique()
        return sorted(map(str, counts.index), key=lambda name: (-counts[name], name))

    def quantities(self, source: str) -> list[float]:
        """Numbers of pairs that runs on a source have, ascending."""
        there = self.models["source"].astype(str) == source
        return sorted(set(self.models.loc[there, "n_pairs"].astype(float)))

    def rows(self, family: str, cells: pd.DataFrame) -> Array:
        """Mean design row of a family in cells of source, n_pairs and progress; (cell, column).

        Other variables keep their distribution over the models at hand.
        """
        models = self.models
        frame = pd.concat([models] * len(cells), ignore_index=True)
        frame["family"] = family
        for name in ("source", "n_pairs", "progress"):
            frame[name] = np.repeat(cells[name].to_numpy(), len(models))
        rows = self.design.rows(frame)
        return np.asarray(rows.reshape(len(cells), len(models), -1).mean(axis=1))

    def gap(self, pair: tuple[str, str], cells: pd.DataFrame) -> Array:
        """Draws of the gap between two families, (chain, draw, cell)."""
        rows = self.rows(pair[0], cells) - self.rows(pair[1], cells)
        return np.asarray(self.coefficient @ rows.T)

    def ends(self, source: str, quantities: Sequence[float] | Array) -> pd.DataFrame:
        """Cells at the end of runs on a source."""
        return pd.DataFrame({"source": source, "n_pairs": quantities, "progress": 1.0})

    def cells(self) -> pd.DataFrame:
        """Every source, n_pairs and step at hand, with its progress and the runs of each family."""
        names = ["source", "n_pairs", "step"]
        grouped = self.models.groupby(names, sort=True)
        table = grouped["progress"].mean().reset_index()
        counts = self.models.groupby([*names, "family"]).size().unstack("family", fill_value=0)
        return table.join(counts.add_prefix("runs of "), on=names)

    def at_hand(self) -> tuple[pd.DataFrame, Array]:
        """Leans and gaps of the checkpoints at hand: a table of rows, draws (chain, draw, row)."""
        heads: list[tuple[object, ...]] = []
        draws: list[Array] = []
        models = self.models.reset_index(drop=True)
        for (source, n_pairs, step), group in models.groupby(["source", "n_pairs", "step"]):
            where = (self.category, source, n_pairs, step, group["progress"].mean())
            own = group["family"].astype(str).to_numpy()
            means = {
                str(name): self.model[..., group.index[own == name]].mean(axis=-1)
                for name in sorted(set(own))
            }
            for name, lean in means.items():
                heads.append(("family lean", name, *where))
                draws.append(lean)
            for a, b in self.pairs:
                if a in means and b in means:
                    heads.append(("family difference", f"{a} − {b}", *where))
                    draws.append(means[a] - means[b])
        names = ["estimand", "name", "category", "source", "n_pairs", "step", "progress"]
        return pd.DataFrame(heads, columns=names), np.stack(draws, axis=-1)

    def crossing_point(
        self, pair: tuple[str, str], source: str, *, rope: float, horizon: float
    ) -> Array:
        """Draws of the number of pairs at which the gap enters ±``rope``, (draw,).

        The smallest studied where it is inside already; infinite where it does not enter up to
        ``horizon`` times the largest.
        """
        studied = self.quantities(source)
        # Straight lines between the points: exact for a gap that is linear in log n_pairs.
        grid = np.geomspace(studied[0], studied[-1] * horizon, 241)
        gap = self.gap(pair, self.ends(source, grid)).reshape(-1, len(grid))
        return np.asarray(np.exp2(first_inside(gap, np.log2(grid), rope)))


def first_inside(gap: Array, x: Array, rope: float) -> Array:
    """Find where each curve first enters the band ±``rope``.

    Parameters
    ----------
    gap : ndarray, shape (draw, point)
        Curves, straight between points.
    x : ndarray, shape (point,)
        Ascending.
    rope : float
        Half-width of the band.

    Returns
    -------
    ndarray, shape (draw,)
        The first point where it starts inside; infinite where it never enters.

    Examples
    --------
    >>> first_inside(np.array([[3.0, 1.0, -1.0], [0.1, 5, 5], [1, 2, 3]]), np.arange(3.0), 0.5)
    array([1.25, 0.  ,  inf])
    """
    out = np.full(len(gap), np.inf)
    starts = np.abs(gap[:, 0]) <= rope
    out[starts] = x[0]
    # A step may cross the whole band, hence the second condition.
    enters = (np.abs(gap[:, 1:]) <= rope) | (np.sign(gap[:, 1:]) != np.sign(gap[:, :-1]))
    found = enters.any(axis=1) & ~starts
    rows, place = np.flatnonzero(found), enters[found].argmax(axis=1)
    before, after = gap[rows, place], gap[rows, place + 1]
    share = (before - np.sign(before) * rope) / (before - after)
    out[rows] = x[place] + share * (x[place + 1] - x[place])
    return out


def summarise(head: pd.DataFrame, draws: Array, *, prob: float, rope: float) -> pd.DataFrame:
    """Summarise draws (chain, draw, row), one row of ``head`` each."""
    flat = draws.reshape(-1, draws.shape[-1])
    body = describe_draws(xr.DataArray(draws, dims=("chain", "draw", "row")), prob)
    positive = (flat > 0).mean(axis=0)
    body.insert(5, "p_direction", np.maximum(positive, 1 - positive))
    body.insert(6, "p_rope", (np.abs(flat) <= rope).mean(axis=0))
    return pd.concat([head.reset_index(drop=True), body.reset_index(drop=True)], axis=1)
