"""The answer of an ablation in plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from valuebias.ablation.framings import SIGNED, lean_name, rope_of

if TYPE_CHECKING:
    from valuebias.ablation.result import AblationFit

__all__ = ["ablation_headline"]


def ablation_headline(fit: AblationFit) -> str:
    """Word the gap of the first two families on the source with the most numbers of pairs."""
    gaps = fit.gaps()
    source, name = fit.curves.sources[0], gaps["name"].iloc[0]
    here = gaps[(gaps["name"] == name) & (gaps["source"] == source)]
    ends = here[here["progress"] == here["progress"].max()].sort_values("n_pairs")
    last = ends.iloc[-1]
    framed = lean_name(fit)
    said = f", {framed}" if framed and not framed.startswith(SIGNED) else ""
    text = _warning(fit)
    text += (
        f"After {_count(last['n_pairs'])} pairs of {source}, the gap in lean "
        f"({last['category']}{said}) between {name.replace(' − ', ' and ')} "
        f"is {_estimate(last, fit.unit)}. "
    )
    if len(ends) > 1 and "n_pairs" in fit.formula:
        text += _change(fit, ends.iloc[0], name, source)
    return text + " ".join(_sentence(note) for note in fit.notes)


def _warning(fit: AblationFit) -> str:
    if fit.fit is None:
        return ""
    diagnostics = fit.fit.diagnostics()
    if diagnostics.converged:
        return ""
    return "NOT CONVERGED, do not use these numbers: " + diagnostics.messages[0] + " "


def _change(fit: AblationFit, first: pd.Series, name: str, source: str) -> str:
    slopes, closing = fit.slope(), fit.closing()
    row = slopes[(slopes["name"] == name) & (slopes["source"] == source)].iloc[0]
    end = closing[(closing["name"] == name) & (closing["source"] == source)].iloc[0]
    told = (
        f"At {_count(first['n_pairs'])} pairs it was {_estimate(first, fit.unit)}; it changes by "
        f"{_estimate(row, fit.unit)} for every doubling, and shrinks with probability "
        f"{row['p_shrinks']:.2f}. "
    )
    half = rope_of(fit)
    if end["p_inside"] > 0.5:
        return told + f"It probably lies within {half} already at the smallest number of pairs. "
    chances = (
        f"It enters {half} within the range studied with probability {end['p_within']:.2f}, later "
        f"(by extrapolation) with {end['p_beyond']:.2f}, and not at all with {end['p_not']:.2f}. "
    )
    return told + chances


def _estimate(row: pd.Series, unit: str) -> str:
    digits = 0 if max(abs(row["lower"]), abs(row["upper"])) >= 20 else 2
    text = (
        f"{row['mean']:+.{digits}f} {unit} (90% interval {row['lower']:+.{digits}f} to "
        f"{row['upper']:+.{digits}f})"
    )
    return text.replace("-", "−")


def _count(n: float) -> str:
    return f"{n:,.0f}"


def _sentence(note: str) -> str:
    return note[:1].upper() + note[1:]
