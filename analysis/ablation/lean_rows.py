"""Design rows of runs and of kinds of runs, also where what depends on the family levels off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from valuebias.analysis.ablation.levels import Bend, Levels, levels_of
from valuebias.analysis.design.formula import ModelDesign

__all__ = ["PairRows", "average_rows", "own_columns", "pair_rows", "telling", "trained_cells"]

Array = NDArray[np.float64]

_CELL = ["family", "source", "n_pairs"]
_COURSE = "np.sqrt(progress)"


@dataclass(frozen=True)
class PairRows:
    """The models of two families, and their rows under every level.

    After the formula's columns there are columns of what the two families have in common, which is
    free at single numbers of pairs: it says nothing of the gap.
    """

    models: NDArray[np.bool_]  # (model,): which models are of the two
    # By source, over the numbers of pairs that tell of the gap; none for sources with one.
    levels: dict[str, Levels]
    # (level, model of the two, column): by source, zero for models of others: the sum over sources
    # is whole.
    columns: dict[str, Array]
    # (level, cell, column): by source: rows of cells at the end of training, zero for cells of
    # other sources.
    at_end: dict[str, Array]
    n_common: int  # number of columns after the formula's


def pair_rows(design: ModelDesign, pair: tuple[str, str]) -> PairRows:
    """Lay out the models of two families."""
    cells = trained_cells(design)
    mine = cells["family"].isin(pair)
    levels = {}
    for source, group in cells[mine].groupby("source"):
        numbers = telling(*(group.loc[group["family"] == name, "n_pairs"] for name in pair))
        if len(numbers) > 1:
            levels[str(source)] = levels_of(numbers)
    common = _in_common(cells, pair)
    models = design.models["family"].astype(str).isin(pair).to_numpy()
    of_models = (own_columns(design, cells) @ common)[models]
    source_of = design.models["source"].astype(str).to_numpy()[models]
    columns, at_end = {}, {}
    for source in sorted(set(source_of)):
        bends: list[Bend | None] = [*levels[source].bends] if source in levels else [None]
        in_source = (source_of == source)[:, None]
        rows = bent_rows(design, design.models[models], bends)
        columns[source] = _beside(rows, of_models) * in_source
        rows = average_rows(design, cells.assign(progress=1.0), bends)
        at_end[source] = _beside(rows, common) * (cells["source"] == source).to_numpy()[:, None]
    return PairRows(models, levels, columns, at_end, common.shape[1])


def telling(first: Iterable[float], second: Iterable[float]) -> list[float]:
    """Return the numbers of pairs that tell of a gap's change: those that two families share.

    Where these are fewer than two, all of them: what is said is then extrapolated for one or both.
    """
    shared = set(first) & set(second)
    return sorted(shared if len(shared) > 1 else set(first) | set(second))


def _beside(rows: Array, further: Array) -> Array:
    whole = np.broadcast_to(further, (*rows.shape[:2], further.shape[1]))
    return np.concatenate([rows, whole], axis=2)


def _in_common(cells: pd.DataFrame, pair: tuple[str, str]) -> Array:
    """Mark the numbers of pairs at which what two families have in common is free.

    Where both were trained on several numbers of pairs of a source, these alone tell of the gap:
    free are all that one family has for itself, and the shared ones where there are three (two are
    on a line anyway). Shape (cell, number).
    """
    keys = [(source, n) for _, source, n in cells[_CELL].itertuples(index=False)]
    count = Counter(key for key, mine in zip(keys, cells["family"].isin(pair), strict=True) if mine)
    shared = Counter(source for (source, _), n in count.items() if n > 1)
    wanted = [key for key, n in count.items() if shared[key[0]] > (2 if n > 1 else 1)]
    same = [[key == one for one in wanted] for key in keys]
    return np.array(same, dtype=float).reshape(len(keys), len(wanted))


def bent_rows(design: ModelDesign, models: pd.DataFrame, bends: Sequence[Bend | None]) -> Array:
    """Design rows (bend, model, column), in which what depends on the family may level off."""
    pairs = models["n_pairs"]
    numbers = [pairs]
    for bend in bends:
        if bend is not None:
            numbers += [pairs.astype(float).clip(upper=n) for n in (bend.smallest, bend.level)]
    # Reading a formula takes far longer than computing its rows.
    whole = pd.concat([models.assign(n_pairs=n) for n in numbers])
    rows = iter(design.rows(whole).reshape(len(numbers), len(models), -1))
    straight = next(rows)
    family = np.zeros(straight.shape[1], dtype=bool)
    for term in design.terms:
        family[term.columns] = any("family" in factor.names for factor in term.factors)
    out = []
    for bend in bends:
        bent = straight
        if bend is not None:
            first, last = next(rows), next(rows)
            bent = np.where(family, first + bend.stretch * (last - first), straight)
        out.append(bent)
    return np.stack(out)


def average_rows(
    design: ModelDesign, cells: pd.DataFrame, bends: Sequence[Bend | None] = (None,)
) -> Array:
    """Design rows of cells of family, source, n_pairs and progress, (bend, cell, column).

    Other variables keep their distribution over the models at hand.
    """
    names = [*_CELL, "progress"]
    models = design.models
    others = sorted(set().union(*(f.names for f in design.variables)) - set(names))
    kinds = models.groupby(others).size() if others else pd.Series([1.0])
    frame = models.iloc[[0] * (len(cells) * len(kinds))].reset_index(drop=True)
    if others:
        levels = kinds.index.to_frame(index=False)
        for name in others:
            frame[name] = np.tile(levels[name].to_numpy(), len(cells))
    for name in names:
        frame[name] = np.repeat(cells[name].to_numpy(), len(kinds))
    # A number may be a level, too, and a level is a text: 1000 is not 1000.0.
    whole = pd.api.types.is_integer_dtype(models["n_pairs"])
    if whole and (frame["n_pairs"] % 1 == 0).all():
        frame["n_pairs"] = frame["n_pairs"].astype(models["n_pairs"].dtype)
    rows = bent_rows(design, frame, bends).reshape(len(bends), len(cells), len(kinds), -1)
    return np.asarray(np.average(rows, axis=2, weights=kinds.to_numpy(dtype=float)))


def trained_cells(design: ModelDesign) -> pd.DataFrame:
    """List the cells that were trained: columns ``family``, ``source``, ``n_pairs``."""
    return _cell_of(design).drop_duplicates().sort_values(_CELL, ignore_index=True)


def own_columns(design: ModelDesign, cells: pd.DataFrame) -> Array:
    """Make an indicator column for every cell, (model, cell)."""
    keys = [tuple(cell) for cell in cells[_CELL].itertuples(index=False)]
    columns = np.zeros((len(design.models), len(keys)))
    for m, cell in enumerate(_cell_of(design).itertuples(index=False)):
        columns[m, keys.index(tuple(cell))] = 1.0
    if design.factor(_COURSE) is None:
        return columns
    # Runs start alike, whatever they are trained on.
    return np.asarray(columns * np.sqrt(design.models["progress"].to_numpy(dtype=float))[:, None])


def _cell_of(design: ModelDesign) -> pd.DataFrame:
    return design.models[_CELL].astype({"family": str, "source": str, "n_pairs": float})
