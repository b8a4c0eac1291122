"""Leans as functions of family, source, number of pairs and progress, as posterior draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from valuebias.analysis.ablation.lean_rows import average_rows, telling
from valuebias.analysis.ablation.levels import level_stretch
from valuebias.analysis.design.formula import ModelDesign
from valuebias.analysis.estimands.diagnostics import describe_draws
from valuebias.analysis.estimands.estimand import CategoryPair
from valuebias.errors import ValueBiasError

__all__ = ["Curves", "Levelled", "by_pairs", "first_inside", "sources_of", "summarise"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Levelled:
    """Draws of gaps that may level off, for every two families in the order of `Curves.pairs`."""

    coefficient: Array  # (pair, chain, draw, column): effects of the design's columns on the lean
    # (pair, chain, draw, source): number of pairs of preferences from which the gap stays as it is,
    # in the order of `Curves.sources`; infinite for never.
    level: Array
    lean: Array  # (pair, chain, draw, cell): leans of the families' cells at the end of training


@dataclass(frozen=True)
class Curves:
    """Posterior draws of leans as functions of family, source, number of pairs and progress."""

    # The formula over the models at hand, which have the coordinate ``progress``.
    design: ModelDesign
    coefficient: Array  # (chain, draw, column): effects of the design's columns on the lean
    model: Array  # (chain, draw, model): leans of the models at hand
    categories: CategoryPair  # the two that the lean compares
    levelled: Levelled | None = None  # the same where gaps may level off
    # Columns ``family``, ``source``, ``n_pairs``: those that were trained.
    cells: pd.DataFrame | None = None
    # (free draw, cell): leans at the end of training where every cell has one of its own.
    free: Array | None = None

    @property
    def category(self) -> str:
        """Which lean, such as "agency − communion"."""
        return self.categories.label

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
        return sources_of(self.models)

    @property
    def by_pairs(self) -> Literal["", "curve", "points"]:
        """How the formula tells numbers of pairs apart: not, by a curve, or each by itself."""
        return by_pairs(self.design)

    def n_pairs_of(self, source: str, family: str | None = None) -> list[float]:
        """Numbers of pairs that runs on a source have, of a family or of any; ascending."""
        of_source = self.models["source"].astype(str) == source
        if family is not None:
            of_source &= self.models["family"].astype(str) == family
        return sorted(set(self.models.loc[of_source, "n_pairs"].astype(float)))

    def shared(self, pair: tuple[str, str], source: str) -> list[float]:
        """Numbers of pairs on a source that both families have runs with, ascending."""
        first, second = (set(self.n_pairs_of(source, family)) for family in pair)
        return sorted(first & second)

    def telling(self, pair: tuple[str, str], source: str) -> list[float]:
        """Numbers of pairs on a source that tell of a gap's change, ascending."""
        return telling(*(self.n_pairs_of(source, family) for family in pair))

    def replicates(self, pair: tuple[str, str]) -> int:
        """How many runs two families have beyond one a cell, which tell chance from curvature."""
        of_pair = self.models[self.models["family"].astype(str).isin(pair)]
        names = ["family", "base", "source", "n_pairs", "seed"]
        runs = of_pair[names].astype(str).drop_duplicates()
        return len(runs) - len(runs[["family", "source", "n_pairs"]].drop_duplicates())

    def lean(self, family: str, source: str, n_pairs: float) -> Array:
        """Draws of the lean of a family that was trained so, at the end, (chain, draw).

        Other variables keep their distribution over the models at hand.
        """
        if self.levelled is None or self.cells is None:
            end = self.ends(source, [n_pairs]).assign(family=family)
            return np.asarray(self.coefficient @ average_rows(self.design, end)[0, 0])
        pair = next(k for k, pair in enumerate(self.pairs) if family in pair)
        return self.levelled.lean[pair, ..., self._indices([family], source, [n_pairs])[0]]

    def gap(self, pair: tuple[str, str], cells: pd.DataFrame) -> Array:
        """Draws of the gap between two families in cells of source, n_pairs and progress.

        Other variables keep their distribution over the models at hand. Shape (chain, draw, cell).
        """
        cells = cells.reset_index(drop=True)
        if self.levelled is None:
            return np.asarray(self.coefficient @ self._gap_rows(pair, cells).T)
        place = self.pairs.index(pair)
        coefficient, levels = self.levelled.coefficient[place], self.levelled.level[place]
        out = np.empty((*coefficient.shape[:2], len(cells)))
        for (source, progress), group in cells.groupby(["source", "progress"]):
            n = group["n_pairs"].to_numpy(dtype=float)
            level = levels[..., self.sources.index(str(source))]
            measured = self.telling(pair, str(source))
            first = measured[0] if measured else n.min()
            points = np.unique([first, *level[level < n.max()], *n])
            points_at = self.ends(str(source), points).assign(progress=float(str(progress)))
            # What both families have in common drops out, so that all may be taken at the level.
            values = coefficient @ self._gap_rows(pair, points_at).T
            at = np.searchsorted(points, np.minimum(n, level[..., None]))
            start = values[..., np.searchsorted(points, np.minimum(n, first))]
            change = np.take_along_axis(values, at, axis=-1) - start
            if len(measured) > 1:
                change *= level_stretch(level, measured[0], measured[-1])[..., None]
            out[..., group.index] = start + change
        return out

    def _gap_rows(self, pair: tuple[str, str], cells: pd.DataFrame) -> Array:
        first, second = (self.rows(family, cells) for family in pair)
        return np.asarray(first - second)

    def rows(self, family: str, cells: pd.DataFrame) -> Array:
        """Mean design rows of a family in cells of source, n_pairs and progress; (cell, column)."""
        return np.asarray(average_rows(self.design, cells.assign(family=family))[0])

    def ends(self, source: str, n_pairs: Sequence[float] | Array) -> pd.DataFrame:
        """Cells at the end of runs on a source."""
        return pd.DataFrame({"source": source, "n_pairs": n_pairs, "progress": 1.0})

    def steps(self) -> pd.DataFrame:
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
            families = group["family"].astype(str).to_numpy()
            means = {
                str(name): self.model[..., group.index[families == name]].mean(axis=-1)
                for name in sorted(set(families))
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
        self, pair: tuple[str, str], source: str, *, between: tuple[float, float], rope: float
    ) -> Array:
        """Draws of the number of pairs at which the gap enters ±``rope``, (draw,).

        The smaller end of ``between`` where it is inside already; infinite where it does not enter
        up to the larger one.
        """
        # Straight lines between the points: exact for a gap that is linear in log n_pairs.
        grid = np.geomspace(*between, 241)
        if self.by_pairs == "points":
            grid = np.array([n for n in self.n_pairs_of(source) if between[0] <= n <= between[1]])
        gap = self.gap(pair, self.ends(source, grid)).reshape(-1, len(grid))
        return np.asarray(np.exp2(first_inside(gap, np.log2(grid), rope)))

    def free_gaps(self, pair: tuple[str, str], source: str) -> tuple[list[float], Array]:
        """Draws of the gap at the end of training that no curve ties together, by quantity."""
        if self.free is None:
            raise ValueBiasError("these curves have no free leans.")
        n_pairs = self.shared(pair, source)
        first, second = (self._indices([family], source, n_pairs) for family in pair)
        return n_pairs, self.free[:, first] - self.free[:, second]

    def _indices(self, families: list[str], source: str, n_pairs: list[float]) -> list[int]:
        """Where some cells are among `cells`."""
        if self.cells is None:
            raise ValueBiasError("these curves have no cells.")
        keys = list(self.cells[["family", "source", "n_pairs"]].itertuples(index=False, name=None))
        return [keys.index((family, source, n)) for family in families for n in n_pairs]


def sources_of(models: pd.DataFrame) -> list[str]:
    """Names of the sources, the one with the most numbers of pairs first."""
    counts = models.groupby("source")["n_pairs"].nunique()
    return sorted(map(str, counts.index), key=lambda name: (-counts[name], name))


def by_pairs(design: ModelDesign) -> Literal["", "curve", "points"]:
    """How a formula tells numbers of pairs apart: not, by a curve, or each by itself."""
    factors = [f for f in design.variables if "n_pairs" in f.names]
    if not factors:
        return ""
    apart = any(f.categorical or f.expression.startswith("C(") for f in factors)
    return "points" if apart else "curve"


def first_inside(gap: Array, x: Array, rope: float) -> Array:
    """Find where each curve first enters the band ±``rope``.

    ``gap`` is (draw, point); ``x`` is (point,); the result is (draw,).

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
    reached = enters.any(axis=1) & ~starts
    rows, place = np.flatnonzero(reached), enters[reached].argmax(axis=1)
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
