"""The answer of a fit in plain words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import special

from valuebias._core.numbers import signed
from valuebias.analysis.estimands.cells import n_models, outside
from valuebias.analysis.estimands.estimand import DIFFERENCE
from valuebias.analysis.estimands.weights import TURNED
from valuebias.analysis.headline import Headline
from valuebias.analysis.notes import Note
from valuebias.analysis.outcome import describe
from valuebias.posterior.prereg import judge
from valuebias.posterior.wording import effective_draws, percent
from valuebias.schema.contract import NEUTRAL

if TYPE_CHECKING:
    from valuebias.posterior.estimates import Estimates
    from valuebias.posterior.posterior import Posterior

__all__ = [
    "ALL",
    "LEAST_DOUBT",
    "MOST_CELLS",
    "NOT_CONVERGED",
    "OPEN",
    "POWER",
    "all_pairs",
    "crossed_cells",
    "detectable",
    "make_headline",
    "prior_alone",
    "prior_flips",
    "scale_name",
    "verdict_of",
]

LITTLE_DOUBT, SUGGESTED, OPEN = "little doubt", "suggested", "open"
LEAST_DOUBT = 0.975
"""Least probability of direction at which the data are said to leave little doubt."""
NOT_CONVERGED = "NOT CONVERGED, do not use these numbers: "
POWER = 0.8
"""The probability with which a minimum detectable effect is found."""
_LEAST = {LITTLE_DOUBT: LEAST_DOUBT, SUGGESTED: 0.9, OPEN: 0.0}
_VERDICTS = {
    LITTLE_DOUBT: "leave little doubt about the direction",
    SUGGESTED: "suggest the direction but do not settle it",
    OPEN: "do not settle the direction",
}
# Notes by which intervals are as wide as the prior makes them.
_PRIOR_ALONE = ("no replication", "one base a family", "unscored category")
_UNKNOWN = re.compile("spread of .*s unknown$")
MOST_CELLS = 6
_MOST_NOTES = 2
_MOST_FLIPS = 2
LEAST_MOVE = 0.01
# Coordinates that differ between families and that a formula may adjust for, with their nouns.
_ADJUSTED = {"source": "data", "n_params": "size"}
_LEAN = {
    "signed": "lean, signed by framing,",
    "positive": "lean under positive prompts",
    NEUTRAL: "lean under neutral prompts",
    TURNED: "lean under negative prompts, sign turned,",
}


ALL = "all"
"""The row of :meth:`Fit.prior_sensitivity` with all scales multiplied at once."""


def make_headline(fit: Posterior, sensitivity: pd.DataFrame | None = None) -> Headline:
    """Word the first contrast of a fit.

    In this order: a failure to converge; notes that qualify everything; the answer with its
    verdict; priors under which that would differ; what else families differ in; other notes.
    """
    table = fit.contrasts()
    row = table.iloc[0]
    diagnostics = fit.diagnostics()
    before, after = _choose_notes(fit.notes)
    parts = []
    if not diagnostics.converged:
        parts.append(NOT_CONVERGED + diagnostics.messages[0])
    parts += [note.headline for note in before]
    pairs, cells = all_pairs(fit, row), _crossed(fit, row)
    # Of the largest of several differences what all say jointly: where there is no effect, one
    # alone leaves little doubt in one study of twenty, the largest of fifteen in one of four.
    sure = float(row["p_direction"] if pairs is None else pairs.front["p_joint"])
    if cells is not None and fit.focus.by:
        # As sure as the least sure of the differences that are given.
        sure = min(sure, float(cells["p_direction"].min()))
    draws = effective_draws(table, table.attrs["draws"])[0]
    parts.append(_answer(fit, row, draws, sure, cells, pairs))
    if sensitivity is not None:
        parts.append(_on_priors(prior_flips(sensitivity, turned_only=fit.focus.largest)))
    parts.append(judge(fit))
    parts.append(_besides(fit, row))
    parts += [note.headline for note in after]
    parts.append(_more(fit.notes, len(before) + len(after)))
    text = " ".join(part for part in parts if part)
    return Headline(text, row, diagnostics.converged, verdict_of(sure))


def detectable(sd: float) -> float:
    """Give the effect that a posterior with this SD leaves little doubt about, in 80% of cases."""
    return float((special.ndtri(LEAST_DOUBT) + special.ndtri(POWER)) * sd)


def verdict_of(p_direction: float) -> str:
    """Class a probability of direction: "little doubt", "suggested" or "open"."""
    return next(name for name, least in _LEAST.items() if p_direction >= least)


def _choose_notes(notes: list[Note]) -> tuple[list[Note], list[Note]]:
    """Choose the notes that fit in the headline: before the answer, and after it."""
    speaking = [note for note in notes if note.headline]
    before = [note for note in speaking if note.first][:_MOST_NOTES]
    after = [note for note in speaking if not note.first]
    return before, after[: _MOST_NOTES - len(before)]


def _more(notes: list[Note], n_chosen: int) -> str:
    left = sum(bool(note.headline) for note in notes) - n_chosen
    if not left:
        return ""
    return f"And {left} more note{'s' if left > 1 else ''}: see fit.notes or the report."


@dataclass(frozen=True)
class Pairs:
    """All differences of which the headline's is the largest."""

    estimates: Estimates
    row: pd.Series  # of the headline

    @cached_property
    def table(self) -> pd.DataFrame:
        """Those of the headline's framing and categories."""
        return self._alike(self.estimates.table())

    @cached_property
    def front(self) -> pd.Series:
        """Of the headline's two levels, in either direction."""
        return self._front(self.table)

    def detectable(self) -> float:
        """Give the difference that would have left little doubt jointly with the others."""
        wide = self._front(self._alike(self.estimates.table(prob=2 * LEAST_DOUBT - 1)))
        return float(wide["upper_joint"] - wide["median"] + special.ndtri(POWER) * wide["sd"])

    def _alike(self, table: pd.DataFrame) -> pd.DataFrame:
        names = ["framing", "category"]
        return table[(table[names] == self.row[names].to_numpy()).all(axis=1)]

    def _front(self, table: pd.DataFrame) -> pd.Series:
        pair = {self.row["first"], self.row["second"]}
        return next(row for _, row in table.iterrows() if {row["first"], row["second"]} == pair)


def all_pairs(fit: Posterior, row: pd.Series) -> Pairs | None:
    """Compare all levels, where the headline's two are those that differ most."""
    if not fit.focus.largest or row["form"] != DIFFERENCE:
        return None
    return Pairs(fit.comparisons(row["variable"], at=fit.focus.first_values), row)


def _answer(
    fit: Posterior,
    row: pd.Series,
    draws: float,
    sure: float,
    crossed: pd.DataFrame | None,
    pairs: Pairs | None,
) -> str:
    units = describe(fit.settings["outcome"]).unit
    rest = "the other variants" if fit.of_items else "the other categories"
    over = f"{row['over']} over {row['against'] or rest}"
    estimate = f"{signed(row['mean'])} {units} ({_interval(row)})"
    # The side with most draws, which may not be that of the mean.
    direction = "positive" if row["median"] > 0 else "negative"
    probability = percent(row["p_direction"], draws).replace("> ", "above ")
    alone = "" if pairs is None else " by itself"
    chance = (
        f"The probability that it is {direction} is {probability}{alone}; the data "
        f"{_VERDICTS[verdict_of(sure)]}."
    )
    group, a, b = _compared(row)
    if verdict_of(sure) == OPEN and group and not prior_alone(fit, row):
        least = detectable(row["sd"]) if pairs is None else pairs.detectable()
        chance += (
            f" A difference of about {least:.2f} {units} would have been found "
            f"with a probability of {POWER:.0%}."
        )
    if not group:
        asked = f"{row['category']}, {fit.under(row['framing'])}"
        return (
            f"The {row['estimand']} of {row['name']} ({asked}) is estimated at {estimate}. {chance}"
        )
    noun = f"odels of the {a} {group}" if group == "family" else f"odels with {group} {a}"
    more = "more" if row["mean"] > 0 else "less"
    value = "prefer" if fit.of_items else "value"
    # The wording follows the verdict: at a probability of one half there is no direction.
    claim = {
        LITTLE_DOUBT: f"M{noun} {value} {over} {more} than those of {b}",
        SUGGESTED: f"M{noun} seem to {value} {over} {more} than those of {b}",
        OPEN: f"Whether m{noun} {value} {over} more or less than those of {b} is open",
    }[verdict_of(sure)]
    lean, where = _lean(fit, row), f" with {row['at']}" if row["at"] else ""
    after = f"{_caveat(fit, group, a, b)}{_beyond(fit, row, crossed)}"
    cells = "" if crossed is None else _cells(fit, row, crossed, units)
    if cells and fit.focus.by:
        return f"{cells}{after}"
    others = "" if pairs is None else _others(fit, pairs, units, draws)
    if cells:
        rest = f"With {row['at']}, averaged" if row["at"] else "Averaged"
        return (
            f"{cells} {rest} over the models at hand, which need hold for none of them, the "
            f"difference in {lean} is estimated at {estimate}. {chance}{others}{after}"
        )
    return (
        f"{claim}{where}: the difference in {lean} is estimated at {estimate}. {chance}"
        f"{others}{after}"
    )


def _lean(fit: Posterior, row: pd.Series) -> str:
    """Name what is estimated: of items the mean difference of their variants."""
    return _LEAN[row["framing"]] if not fit.of_items else "lean, mean over items,"


def _beyond(fit: Posterior, row: pd.Series, crossed: pd.DataFrame | None) -> str:
    """Say where the formula speaks of models that there are none of."""
    design = fit.problem.crossing.design
    cells = [(str(row["at"]), fit.focus.first_values)] if crossed is None else []
    if crossed is not None:
        set_to = [*fit.focus.by, *fit.focus.at]
        cells = [
            (str(cell["at"]), {name: cell[name] for name in set_to if name in cell.index})
            for _, cell in crossed.iterrows()
        ]
    said: dict[str, None] = {}
    for label, values in cells:
        for level in _compared(row)[1:]:
            if label and not n_models(design, {**values, row["variable"]: level}):
                said[f"No model at hand is of {level} with {label}"] = None
    known = "".join(f" {text}: the formula alone says what such models do." for text in said)
    far = outside(design, fit.focus.at)
    return f"{known} {far}".rstrip()


def _interval(row: pd.Series) -> str:
    return f"90% interval {signed(row['lower'])} to {signed(row['upper'])}"


def crossed_cells(fit: Posterior, row: pd.Series) -> tuple[Estimates, list[str]] | None:
    """Compare the headline's levels within those of what is asked or the formula crosses with them.

    With the names of these variables; None where there are none. Numbers are set to the quartiles
    of the models, so that nothing is said of sizes that few have.
    """
    design, variable = fit.problem.crossing.design, row["variable"]
    set_apart = {*fit.focus.by, *fit.focus.at}
    crossed = {
        factor.expression: factor
        for term in design.terms
        if variable in [factor.expression for factor in term.factors]
        for factor in term.factors
        if factor.expression != variable and not ({factor.expression} | factor.names) & set_apart
    }
    names = [*fit.focus.by, *crossed]
    if row["form"] != DIFFERENCE or not names:
        return None
    by = [*fit.focus.by, *(name for name, factor in crossed.items() if factor.categorical)]
    numbers = sorted({n for f in crossed.values() if not f.categorical for n in f.names})
    at = {n: np.quantile(np.asarray(design.models[n], float), [0.25, 0.75]) for n in numbers}
    rounded = {name: [float(f"{value:.3g}") for value in values] for name, values in at.items()}
    cells = fit.comparisons(
        variable, pair=(row["first"], row["second"]), by=by, at={**fit.focus.at, **rounded}
    )
    return cells, names


def _crossed(fit: Posterior, row: pd.Series) -> pd.DataFrame | None:
    """Return the crossed cells of the headline's framing and category, with their names."""
    crossed = crossed_cells(fit, row)
    if crossed is None:
        return None
    table = crossed[0].table()
    same = (table["framing"] == row["framing"]) & (table["category"] == row["category"])
    chosen: pd.DataFrame = table[same]
    chosen.attrs["names"] = crossed[1]
    return chosen


def _cells(fit: Posterior, row: pd.Series, crossed: pd.DataFrame, units: str) -> str:
    """Give the difference in each of the crossed cells."""
    cells, draws = [cell for _, cell in crossed.iterrows()], float(crossed.attrs["draws"])
    said = [
        f"{signed(cell['mean'])} {units} ({_interval(cell)}; "
        f"{'positive' if cell['median'] > 0 else 'negative'} with "
        f"{percent(cell['p_direction'], draws).replace('> ', 'above ')}) with {cell['at']}"
        for cell in cells[:MOST_CELLS]
    ]
    if len(cells) > MOST_CELLS:
        said.append(f"and {len(cells) - MOST_CELLS} more, see fit.comparisons and the report")
    known = [cell for cell in cells if verdict_of(cell["p_direction"]) != OPEN]
    turns = (
        " Its sign is not the same in all." if len({c["median"] > 0 for c in known}) == 2 else ""
    )
    on = " and ".join(crossed.attrs["names"])
    lead = f"depends, in this formula, on {on}" if not fit.focus.by else f"is given for each {on}"
    return (
        f"How models of {row['first']} and {row['second']} differ {lead}: the difference in "
        f"{_lean(fit, row)} is estimated at {'; '.join(said)}.{turns}"
    )


def _others(fit: Posterior, pairs: Pairs, units: str, draws: float) -> str:
    """Say that the pair is the largest of several, and place all levels."""
    row, table, first = pairs.row, pairs.table, pairs.front
    variable = row["variable"]
    sign = 1.0 if first["first"] == row["first"] else -1.0
    ends = sorted((sign * first["lower_joint"], sign * first["upper_joint"]))
    clear = int((table["lower_joint"] * table["upper_joint"] > 0).sum())
    ranks = fit.means(variable, at=fit.focus.first_values).ranks()
    ranks = ranks[
        (ranks[["framing", "category"]] == row[["framing", "category"]].to_numpy()).all(axis=1)
    ]
    ranks, n = ranks.set_index("name"), len(ranks)
    furthest, least = ranks.loc[row["first"], "rank_1"], ranks.loc[row["second"], f"rank_{n}"]
    return (
        f" It is the largest of the {len(table)} differences between {n} levels of {variable} "
        f"(90% interval jointly with the others {signed(ends[0])} to {signed(ends[1])} {units}), "
        f"of which {clear} have joint intervals without zero. {row['first']} leans furthest with a "
        f"probability of {percent(furthest, draws)}, {row['second']} least with "
        f"{percent(least, draws)}."
    )


def _compared(row: pd.Series) -> tuple[str, str, str]:
    """Return the factor whose levels the row compares, and the two; empty if there are none."""
    if row["form"] != DIFFERENCE:
        return "", "", ""
    return row["variable"], row["first"], row["second"]


def prior_alone(fit: Posterior, row: pd.Series) -> bool:
    """Whether the prior alone says how wide the headline's interval is.

    What would have been found is then a statement about the prior, not about the data.
    """
    said = any(note.code in _PRIOR_ALONE or _UNKNOWN.match(note.code) for note in fit.notes)
    return said or _one_of_each(fit, *_compared(row))


def _one_of_each(fit: Posterior, group: str, a: str, b: str) -> bool:
    if group not in fit.data.coords:
        return False
    levels = fit.data[group].to_numpy().astype(str).tolist()
    return bool(levels.count(a) == 1 and levels.count(b) == 1)


def _caveat(fit: Posterior, group: str, a: str, b: str) -> str:
    """Warn where a claim about groups rests on one model of each."""
    if not _one_of_each(fit, group, a, b):
        return ""
    return (
        f" But there is one model of each: two models cannot carry a claim about a {group}, and "
        "the prior alone says how much its models differ. Score more models."
    )


def _besides(fit: Posterior, row: pd.Series) -> str:
    """Warn that families also differ in what the formula does not adjust for."""
    if _compared(row)[0] != "family":
        return ""
    named = " ".join(v.expression for v in fit.problem.crossing.design.variables)
    # What is the same for all models makes no difference between families.
    kept = [w for name, w in _ADJUSTED.items() if name not in named and not _alike(fit, name)]
    if not kept:
        return ""
    kept = kept if _alike(fit, "base") else ["base", *kept]
    if len(kept) == 1:
        return f"Families differ in {kept[0]} as well, and this does not tell the two apart."
    listed = f"{', '.join(kept[:-1])} and {kept[-1]}"
    return f"Families differ in {listed} together, and this does not say which of them matters."


def _alike(fit: Posterior, name: str) -> bool:
    """Whether all models have the same known value of a coordinate."""
    if name not in fit.data.coords:
        return False
    values = {str(value).strip() for value in fit.data[name].to_numpy().tolist()}
    return len(values) == 1 and not values & {"", "nan", "None"}


def prior_flips(table: pd.DataFrame, *, turned_only: bool = False) -> list[str]:
    """Name the prior scales under which the verdict of the headline differs.

    Or only its sign: what is judged jointly with other differences has no verdict in this table.
    """
    fitted = table.iloc[0]
    verdict, positive = verdict_of(fitted["p_direction"]), fitted["median"] > 0
    flips: dict[str, float] = {}
    together: dict[str, float] = {}
    others = table.iloc[1:]
    for entry, (_, row) in zip(others.index.tolist(), others.iterrows(), strict=True):
        other, turned = verdict_of(row["p_direction"]), (row["median"] > 0) != positive
        # A verdict at its threshold may change by Monte Carlo error.
        moved = abs(row["p_direction"] - fitted["p_direction"]) >= LEAST_MOVE
        if (turned_only or other == verdict or not moved) and not turned:
            continue
        sign = "the sign is the other, and " if turned else ""
        clause = f"with {scale_name(entry)} {sign}the data {_VERDICTS[other]}"
        clauses = together if entry[0] == ALL else flips
        clauses[f"{clause} ({percent(row['p_direction'])})"] = abs(row["mean"] - fitted["mean"])
    clauses = flips or together
    return sorted(clauses, key=lambda clause: -clauses[clause])


def _on_priors(flips: list[str]) -> str:
    if not flips:
        return ""
    more = len(flips) - _MOST_FLIPS
    others = f"; and {more} more of the scales tried would change it" if more > 0 else ""
    return f"That depends on the prior: {'; '.join(flips[:_MOST_FLIPS])}{others}."


def scale_name(entry: tuple[str, float]) -> str:
    """Name a row of :meth:`Fit.prior_sensitivity`, such as "all prior scales halved"."""
    scale, factor = entry
    if factor == 1:
        return "this fit"
    subject = "all prior scales" if scale == ALL else f"the prior scale of {scale}"
    return f"{subject} { ({0.5: 'halved', 2.0: 'doubled'}.get(factor, f'× {factor:g}')) }"
