"""The answer of a fit in plain words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from valuebias.analysis.outcome import describe

if TYPE_CHECKING:
    from valuebias.fit_result import Fit

__all__ = ["Headline", "make_headline"]


@dataclass(frozen=True)
class Headline:
    """A fit's answer.

    Attributes
    ----------
    text : str
        One to three sentences; a fit that did not converge says so first.
    row : Series
        The row of :meth:`Fit.contrasts` it is about.
    converged : bool
    """

    text: str
    row: pd.Series
    converged: bool

    def __str__(self) -> str:
        return self.text


def make_headline(fit: Fit) -> Headline:
    """Word the first contrast of a fit."""
    row = fit.contrasts().iloc[0]
    diagnostics = fit.diagnostics()
    text = _answer(fit, row)
    if not diagnostics.converged:
        text = "NOT CONVERGED, do not use these numbers: " + diagnostics.messages[0] + " " + text
    return Headline(text, row, diagnostics.converged)


def _answer(fit: Fit, row: pd.Series) -> str:
    units = describe(fit.spec["outcome"]).unit
    first, _, second = row["category"].partition(" − ")
    over = f"{first} over {second}" if second != "others" else f"{first} over the other categories"
    more = row["mean"] > 0
    estimate = (
        f"{row['mean']:+.2f} {units} (90% interval {row['lower']:+.2f} to {row['upper']:+.2f})"
    ).replace("-", "−")
    direction = "positive" if more else "negative"
    chance = f"The probability that it is {direction} is {_percent(row['p_direction'])}; "
    verdict = _verdict(row["p_direction"])
    if row["estimand"].endswith("difference"):
        a, _, b = row["name"].partition(" − ")
        group = row["estimand"].removesuffix(" difference")
        noun = f"Models of the {a} {group}" if group == "family" else f"Models with {group} {a}"
        return (
            f"{noun} value {over} "
            f"{'more' if more else 'less'} than those of {b}: the difference in lean, signed by "
            f"framing, is estimated at {estimate}. {chance}{verdict}{_caveat(fit, group, a, b)}"
        )
    return (
        f"The {row['estimand']} of {row['name']} ({row['category']}, signed by framing) is "
        f"estimated at {estimate}. {chance}{verdict}"
    )


def _caveat(fit: Fit, group: str, a: str, b: str) -> str:
    """Say so where a claim about groups rests on one model of each."""
    if group not in fit.data.coords:
        return ""
    found = fit.data[group].to_numpy().astype(str).tolist()
    if found.count(a) != 1 or found.count(b) != 1:
        return ""
    return (
        f" But there is one model of each: two models cannot carry a claim about a {group}, and "
        "the prior alone says how much its models differ. Score more models."
    )


def _verdict(p_direction: float) -> str:
    if p_direction >= 0.975:
        return "the data leave little doubt about the direction."
    if p_direction >= 0.9:
        return "the data suggest the direction but do not settle it."
    return "the data do not settle the direction."


def _percent(p: float) -> str:
    return "above 99.9%" if p > 0.999 else f"{100 * p:.1f}%"
