"""Families compared by giving their labels to the models, or to the bases, in every other way.

The paper shuffles labels among median ranks, of which one model has as many as there are prompts.
Here labels stay with what was given one: a model has a family, and so has the base that it and
others were trained from. With few of them p is exact, and coarse: two bases and three can be told
apart in ten ways only, so that no data at all could give a p below .1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from valuebias.analysis.classical.frames import from_rows
from valuebias.analysis.classical.medians import MedianRanks
from valuebias.analysis.design.grouping import known_bases
from valuebias.schema import model_table
from valuebias.schema.contract import SIGNS

__all__ = ["assignments", "bases_of", "family_permutations", "label_test"]

Array = NDArray[np.float64]

_COLUMNS = ["unit", "family1", "family2", "n1", "n2", "framing", "category", "difference",
            "method", "assignments", "p", "p.min", "remark"]  # fmt: skip
_MOST_EXACT = 20_000
_LEVEL = 0.05
_NEVER = f"no p below {_LEVEL:g} is possible"
_ALIKE = "models share bases"
# Sums in another order differ by rounding, and count as equal.
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class _Comparison:
    """Two families with the units that have their labels: each the positions of its models."""

    unit: str
    families: tuple[str, str]
    first: tuple[NDArray[np.intp], ...]
    second: tuple[NDArray[np.intp], ...]
    remark: str = ""


def bases_of(dataset: xr.Dataset) -> list[str]:
    """Name the base of every model; a model of which none is known has one to itself.

    Examples
    --------
    >>> from valuebias import simulate
    >>> ds = simulate(n_models={"A": 2}, n_prompts=4, n_words=9, seed=1)
    >>> bases_of(ds.assign_coords(base=("model", ["A 7B", "A 7B"])))
    ['A 7B', 'A 7B']
    """
    models = model_table(dataset)
    return known_bases(models) or [str(name) for name in models.index]


def family_permutations(
    medians: MedianRanks, bases: Sequence[str], *, n_permutations: int, seed: int
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    r"""Test the difference in lean of every two families by permuting their labels.

    Notes
    -----
    A model's lean is the mean over the prompts of the median rank of the second category less that
    of the first; "signed" averages the lean under positive prompts and minus the lean under
    negative ones; a base's lean is the mean of its models' leans.

    The p value is the share of assignments whose difference is at least as large, either way, as
    the one observed, which is among them: of all :math:`\binom{n_1 + n_2}{n_1}`, or
    (b + 1)/(n + 1) where b of n drawn ones are as large (Phipson & Smyth 2010, Stat. Appl. Genet.
    Mol. Biol. 9, 39). Nothing is corrected for the number of rows.

    It holds where labels are exchangeable if families do not differ. Models of one base resemble
    each other, so their labels are not, and p is too small; labels of bases are, but for what
    unequal numbers of models do to the spread of the bases' means.

    Examples
    --------
    >>> from valuebias import simulate
    >>> from valuebias.analysis.classical.medians import median_ranks
    >>> medians = median_ranks(simulate(n_models={"A": 3, "B": 4}, n_prompts=4, n_words=9, seed=1))
    >>> bases = ["A 1", "A 1", "A 2", "B 1", "B 1", "B 2", "B 3"]
    >>> table, _ = family_permutations(medians, bases, n_permutations=99, seed=1)
    >>> table.loc[table["framing"] == "signed", ["unit", "assignments"]].to_numpy().tolist()
    [['model', 35], ['base', 10]]
    >>> table["remark"].iloc[-1], float(table["p.min"].iloc[-1])
    ('no p below 0.05 is possible', 0.1)
    """
    comparisons, messages = _comparisons(medians, bases)
    rng = np.random.default_rng(seed)
    seen: dict[tuple[int, int], tuple[Array, bool]] = {}
    rows = []
    for category, leans in _leans(medians):
        for each in comparisons:
            for framing, lean in leans.items():
                first, second = (_of_units(lean, units) for units in (each.first, each.second))
                size = (len(first), len(second))
                if size not in seen:
                    seen[size] = assignments(*size, n_permutations, rng)
                rows.append(
                    {
                        "unit": each.unit,
                        "family1": each.families[0],
                        "family2": each.families[1],
                        "framing": framing,
                        "category": category,
                        **label_test(first, second, seen[size], each.remark),
                    }
                )
    return from_rows(rows, columns=_COLUMNS), messages


def _comparisons(
    medians: MedianRanks, bases: Sequence[str]
) -> tuple[list[_Comparison], tuple[str, ...]]:
    family, base = np.asarray(medians.family), np.asarray(bases)
    comparisons, messages = [], []
    for pair in combinations(medians.families, 2):
        models = [np.flatnonzero(family == name) for name in pair]
        by_base = [[rows[base[rows] == name] for name in np.unique(base[rows])] for rows in models]
        across = np.intersect1d(base[models[0]], base[models[1]])
        sharing = across.size or sum(map(len, by_base)) < sum(map(len, models))
        first, second = (tuple(rows[:, None]) for rows in models)
        comparisons.append(_Comparison("model", pair, first, second, _ALIKE if sharing else ""))
        if across.size:
            messages.append(
                f"Models of {pair[0]} and of {pair[1]} share the base {str(across[0])!r}, so bases "
                "cannot be permuted whole between these families; their models are, as if "
                "independent."
            )
        elif sharing:
            comparisons.append(_Comparison("base", pair, tuple(by_base[0]), tuple(by_base[1])))
    return comparisons, tuple(messages)


def _leans(medians: MedianRanks) -> Iterator[tuple[str, dict[str, Array]]]:
    """Return the models' leans by framing for every pair of categories; NaN where there is none."""
    framing = np.asarray(medians.framing)
    for a, b in combinations(range(len(medians.categories)), 2):
        by_prompt = medians.values[..., b] - medians.values[..., a]
        by_framing = {level: _mean(by_prompt[:, framing == level]) for level in medians.framings}
        signed = [SIGNS[level] * lean for level, lean in by_framing.items() if level in SIGNS]
        category = f"{medians.categories[a]} − {medians.categories[b]}"
        yield category, {**({"signed": np.mean(signed, axis=0)} if signed else {}), **by_framing}


def _of_units(lean: Array, units: tuple[NDArray[np.intp], ...]) -> Array:
    """Average the models of each unit; units without a lean are left out."""
    unit_leans = np.array([_mean(lean[models][None])[0] for models in units])
    return np.asarray(unit_leans[~np.isnan(unit_leans)])


def _mean(values: Array) -> Array:
    """Take means along the last axis over known values; NaN where there are none."""
    known = ~np.isnan(values)
    total, count = np.where(known, values, 0.0).sum(axis=-1), known.sum(axis=-1)
    means = np.full(total.shape, np.nan)
    np.divide(total, count, out=means, where=count > 0)
    return means


def assignments(
    n1: int, n2: int, n_permutations: int, rng: np.random.Generator
) -> tuple[Array, bool]:
    """Mark the units that have the first family's label, (way, unit); whether these are all."""
    n, exact = n1 + n2, comb(n1 + n2, n1) <= _MOST_EXACT
    if exact:
        at = np.array(list(combinations(range(n), n1)), dtype=np.intp).reshape(comb(n, n1), n1)
    else:
        at = rng.random((n_permutations, n)).argsort(axis=1)[:, :n1]
    chosen = np.zeros((len(at), n))
    np.put_along_axis(chosen, at, 1.0, axis=1)
    return chosen, exact


def label_test(
    first: Array, second: Array, ways: tuple[Array, bool], remark: str = ""
) -> dict[str, object]:
    """Return the columns with the result, of units with one label and units with the other."""
    (chosen, exact), n1, n2 = ways, first.size, second.size
    count = len(chosen)
    counts = {"n1": n1, "n2": n2, "method": "exact" if exact else "sampled"}
    if not min(n1, n2):
        nothing = {"difference": np.nan, "assignments": 0, "p": np.nan, "p.min": np.nan}
        return {**counts, **nothing, "remark": remark}
    values = np.concatenate([first, second])
    inside = chosen @ values
    size = np.abs(inside / n1 - (values.sum() - inside) / n2)
    difference = float(first.mean() - second.mean())
    slack = _ROUNDING * float(np.abs(values).max())
    as_large = int((size >= abs(difference) - slack).sum())
    largest = int((size >= size.max() - slack).sum())
    if exact:
        p, least = as_large / count, largest / count
    else:
        p, least = (as_large + 1) / (count + 1), 1 / (count + 1)
    remarks = [_NEVER] if least > _LEVEL else []
    return {
        **counts,
        "difference": difference,
        "assignments": count,
        "p": p,
        "p.min": least,
        "remark": "; ".join([*remarks, *([remark] if remark else [])]),
    }
