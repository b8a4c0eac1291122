"""What the layout of an ablation cannot tell, and where data contradict its curves."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from valuebias._core.numbers import signed
from valuebias.analysis.ablation.layout import is_ablation
from valuebias.analysis.design.formula import ModelDesign
from valuebias.analysis.notes import Note

__all__ = ["curve_notes", "layout_notes", "plain_fit_notes"]

_UNLIKELY = 0.01
_CELL = ("base", "source", "n_pairs", "tuning", "objective")


def layout_notes(
    models: pd.DataFrame, formula: str, *, base_slopes: bool | None, both: Mapping[str, float]
) -> list[Note]:
    """Note what an ablation of this layout cannot tell."""
    notes = [_one_base(models), _single_seeds(models)]
    if base_slopes is False:
        notes.append(
            Note(
                "slopes of bases left out",
                f"families have several bases, and the formula {formula!r} takes these to respond "
                "alike to more pairs. If they do not, intervals on changes with the pairs, and on "
                "where gaps close, are too narrow. Add '(log2(n_pairs) | base)'.",
                "Slopes of the bases' own are left out, so that statements on change may be too "
                "sure.",
            )
        )
    notes += [_apart(models, source, most) for source, most in both.items()]
    if models["n_pairs"].nunique() == 1:
        text = "all runs have the same number of pairs: nothing is said about quantity."
        notes.append(Note("one number of pairs", text))
    elif "n_pairs" not in formula:
        notes.append(
            Note(
                "pairs left out",
                f"the formula {formula!r} leaves the number of pairs out; where every source has "
                "one number of pairs, the two cannot be told apart.",
            )
        )
    return [note for note in notes if note is not None]


def _one_base(models: pd.DataFrame) -> Note | None:
    """Note that gaps are between bases where families have one each."""
    bases = models.assign(base=models["base"].astype(str)).groupby("family")["base"]
    count = bases.nunique()
    lone = bases.first()[count == 1]
    if lone.empty:
        return None
    if len(lone) == len(count):
        named = " and ".join(f"{base} ({family})" for family, base in list(lone.items())[:4])
        return Note(
            "one base a family",
            f"every family has one base: {named}. What is a family's and what is its base's cannot "
            "be told apart, so that gaps are between these bases, and how far other bases of the "
            "families would differ is not in the intervals. Train further bases to speak of "
            "families.",
            f"There is one base per family, so that this is about {named}, not about families.",
            first=True,
        )
    names = ", ".join(map(str, lone.index))
    return Note(
        "one base of a family",
        f"one base only of {names}: how much its bases differ is taken from the other families.",
    )


def _single_seeds(models: pd.DataFrame) -> Note | None:
    cell = [name for name in _CELL if name in models.columns]
    seeds = models.groupby(cell)["seed"].nunique()
    single = int((seeds == 1).sum())
    if not single:
        return None
    who = "every cell was" if single == len(seeds) else f"{single} of {len(seeds)} cells were"
    return Note(
        "single seed",
        f"{who} trained with a single seed: how much a run would differ if it were repeated is "
        "judged only by how far runs depart from the formula, where there are more runs than "
        "columns. Train with more seeds to tell chance from curvature.",
        "With a single seed, chance between runs cannot be told from curvature."
        if single == len(seeds)
        else "",
    )


def _apart(models: pd.DataFrame, source: str, most: float) -> Note:
    of_source = models[models["source"].astype(str) == source]
    ends = of_source.groupby("family")["n_pairs"].max().astype(float).sort_values()
    named = ", ".join(f"{family} up to {n:,.0f}" for family, n in ends.items())
    common = f"beyond {most:,.0f} pairs" if most > 0 else "with any number of pairs"
    return Note(
        "extrapolated gaps",
        f"families were trained on different numbers of pairs of {source}: {named}. A gap {common} "
        "is extrapolated for the family that has no runs there, and marked so.",
    )


def plain_fit_notes(design: ModelDesign) -> list[Note]:
    """Note that a formula averages over training data, where models differ in it."""
    used = set().union(*(factor.names for factor in design.variables))
    if used & {"source", "n_pairs"} or not is_ablation(design.models):
        return []
    return [
        Note(
            "training averaged over",
            f"models differ in the preferences they were trained on, and the formula "
            f"{design.formula!r} averages over that. valuebias.fit_ablation(dataset) says how the "
            "gap between families changes with it.",
        )
    ]


def curve_notes(departures: pd.DataFrame, *, levelling: bool) -> list[Note]:
    """Note where gaps at single numbers of pairs contradict the curve through them."""
    notes = []
    tests = departures.drop_duplicates(["name", "source"])
    limit = _UNLIKELY / max(len(tests), 1)
    for (name, source), table in departures.groupby(["name", "source"], sort=False):
        first = table.iloc[0]
        if first["p_straight"] >= limit:
            continue
        far = table.iloc[int(np.argmax(table["mean"].abs() / table["sd"]))]
        off, lower, upper = (_signed(far[column]) for column in ("mean", "lower", "upper"))
        departure = (
            f"the gap {name} on {source} does not change evenly over doublings of the pairs: at "
            f"{far['n_pairs']:,.0f} it departs by {off} from a straight line (90% interval {lower} "
            f"to {upper})"
        )
        if levelling and not first["p_levelling"] < limit:
            text = f"{departure}. A line that levels off agrees with it; gaps are taken from that."
            notes.append(Note("straight line contradicted", text))
            continue
        other = ", nor does a line that levels off agree with it" if levelling else ""
        notes.append(
            Note(
                "curve contradicted",
                f"{departure}{other}. Gaps at single numbers of pairs and where they close are "
                "then wrong; ask for '~ family * C(n_pairs)', which draws no curve.",
                f"The gap {name} on {source} does not follow the curve, so that statements on "
                "its change and on where it closes are not to be trusted.",
            )
        )
    return notes


def _signed(value: float) -> str:
    digits = 0 if abs(value) >= 20 else 2
    return signed(value, digits)
