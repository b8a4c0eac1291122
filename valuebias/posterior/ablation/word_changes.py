"""Which words moved most between two numbers of pairs, or two points of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from valuebias.analysis.ablation.curves import Curves
from valuebias.errors import ValueBiasError, did_you_mean
from valuebias.posterior.ablation.support import SUPPORT, support_of
from valuebias.schema import member_table

if TYPE_CHECKING:
    from valuebias.posterior.ablation.result import AblationPosterior

__all__ = ["most_moved"]

_COORD = {"n_pairs": "n_pairs", "step": "progress"}


def most_moved(
    ablation: AblationPosterior,
    *,
    n: int,
    by: str,
    source: str | None,
    between: tuple[float, float] | None,
    prob: float,
) -> pd.DataFrame:
    """List the words that moved most; see :meth:`valuebias.AblationFit.word_changes`."""
    curves, fit = ablation.curves, ablation.fit
    if fit is None:
        raise ValueBiasError(
            "a table of medians has no words; word_changes() needs "
            "valuebias.fit_ablation(dataset) of a dataset with scores by word."
        )
    if not (isinstance(n, int | np.integer) and n >= 1):
        raise ValueBiasError(f"n must be a whole number of 1 or more, found {n!r}.")
    if by not in _COORD:
        raise ValueBiasError(f"by is {by!r}. {did_you_mean(by, _COORD)}")
    if source is not None and source not in curves.sources:
        raise ValueBiasError(
            f"there is no source {source!r}. {did_you_mean(source, curves.sources)}"
        )
    chosen = curves.sources[0] if source is None else source
    start, end = _between(curves, by, chosen, between)
    ends = _cells(curves, by, chosen, (start, end))
    framing = ablation.framing
    member = member_table(fit.data).astype(bool)
    labels = [", ".join(member.columns[row]) for row in member.to_numpy()]
    tables = []
    for family in curves.families:
        before, after = (curves.rows(family, cells).mean(axis=0) for cells in ends)
        change = fit.words_of(after - before, framing)
        lower, upper = np.quantile(change, [(1 - prob) / 2, (1 + prob) / 2], axis=0)
        positive = (change > 0).mean(axis=0)
        support = support_of(curves, (family,), pd.concat(ends))["support"]
        table = pd.DataFrame(
            {
                "family": family,
                "word": member.index.astype(object),
                "categories": labels,
                "source": chosen,
                "start": start,
                "end": end,
                "support": max(support, key=SUPPORT.index),
                "before": fit.words_of(before, framing).mean(axis=0),
                "after": fit.words_of(after, framing).mean(axis=0),
                "mean": change.mean(axis=0),
                "sd": change.std(axis=0, ddof=1),
                "lower": lower,
                "upper": upper,
                "p_direction": np.maximum(positive, 1 - positive),
            }
        )
        order = table["mean"].abs().sort_values(ascending=False, kind="stable").index[:n]
        tables.append(table.loc[order])
    return pd.concat(tables, ignore_index=True)


def _between(
    curves: Curves, by: str, source: str, between: tuple[float, float] | None
) -> tuple[float, float]:
    """Check or choose the two ends that the words move between."""
    name = _COORD[by]
    models = curves.models[curves.models["source"].astype(str) == source]
    known = sorted(set(models[name].astype(float)))
    if by == "n_pairs":
        # The numbers that every family was trained on, if there are two.
        per_family = [set(curves.n_pairs_of(source, family)) for family in curves.families]
        shared = sorted(set.intersection(*per_family))
        known = shared if len(shared) > 1 else known
    if not any(name in factor.expression for factor in curves.design.variables):
        raise ValueBiasError(
            f"the formula {curves.design.formula!r} has no {name}, so no word moves with it."
        )
    if between is None:
        if len(known) < 2:
            raise ValueBiasError(
                f"all models of the source {source!r} have {name} = {known[0]:g}; nothing moves. "
                "Name another source."
            )
        return known[0], known[-1]
    numbers = np.asarray(between, dtype=float)
    least = 0.0 if by == "step" else np.nextafter(0, 1)
    if numbers.shape != (2,) or not (np.isfinite(numbers) & (numbers >= least)).all():
        raise ValueBiasError(
            f"between must be two numbers such as {(known[0], known[-1])}, found {between!r}."
        )
    return float(numbers[0]), float(numbers[1])


def _cells(
    curves: Curves, by: str, source: str, values: tuple[float, float]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give the cells at both ends."""
    if by == "n_pairs":
        first, last = (curves.ends(source, [value]) for value in values)
        return first, last
    whole = curves.ends(source, curves.n_pairs_of(source))
    return whole.assign(progress=values[0]), whole.assign(progress=values[1])
