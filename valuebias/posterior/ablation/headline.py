"""The answer of an ablation in plain words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from valuebias._core.numbers import signed
from valuebias.analysis.ablation.curves import summarise
from valuebias.analysis.headline import Headline
from valuebias.posterior.ablation.framings import SIGNED, lean_name, rope_of
from valuebias.posterior.ablation.support import SUPPORT, support_of
from valuebias.posterior.headline import LITTLE_DOUBT, NOT_CONVERGED, OPEN, verdict_of
from valuebias.posterior.wording import chance

if TYPE_CHECKING:
    from valuebias.posterior.ablation.result import AblationPosterior

__all__ = ["ablation_headline", "estimate_text"]

_MOST_SOURCES = 3


def ablation_headline(fit: AblationPosterior) -> Headline:
    """Word the gap of the first two families: every source's, the one most studied at length."""
    pair, source = fit.curves.pairs[0], fit.curves.sources[0]
    warning = ""
    if fit.fit is not None and not (diagnostics := fit.fit.diagnostics()).converged:
        warning = f"{NOT_CONVERGED}{diagnostics.messages[0]}"
    row, gap = _gap(fit, pair, source)
    lead = _lead(fit, pair, source, row)
    sentences = [warning, *(note.headline for note in fit.notes if note.first), lead, gap]
    if source in fit.studied:
        sentences += _change(fit, pair, source)
    sentences.append(_other_sources(fit, pair))
    sentences += [note.headline for note in fit.notes if not note.first]
    text = " ".join(sentence for sentence in sentences if sentence)
    return Headline(text, row, not warning, verdict_of(row["p_direction"]))


def _lead(fit: AblationPosterior, pair: tuple[str, str], source: str, row: pd.Series[Any]) -> str:
    """Say who values what more, before any number; of signed leans, which are of valuing."""
    shared = fit.curves.shared(pair, source)
    if not shared or not lean_name(fit).startswith(SIGNED):
        return ""
    first, second = fit.curves.categories
    over = f"{first} over {second}" if second else first
    after = f"after {_count(shared[-1])} preference pairs of {source}"
    verdict = verdict_of(row["p_direction"])
    if verdict == OPEN:
        return f"Whether {pair[0]} values {over} more or less than {pair[1]} {after} is open."
    more = "more" if row["mean"] > 0 else "less"
    said = "There is little doubt" if verdict == LITTLE_DOUBT else "The data suggest"
    return f"{said} that {pair[0]} values {over} {more} than {pair[1]} {after}."


def _gap(fit: AblationPosterior, pair: tuple[str, str], source: str) -> tuple[pd.Series, str]:
    """Word the gap at the most pairs that both families were trained on."""
    curves = fit.curves
    shared, known = curves.shared(pair, source), curves.n_pairs_of(source)
    most = {family: [0.0, *curves.n_pairs_of(source, family)][-1] for family in pair}
    n_pairs = shared[-1] if shared else max(known[-1], *most.values())
    end = curves.ends(source, [n_pairs])
    row = summarise(end, curves.gap(pair, end), prob=0.9, rope=fit.rope).iloc[0]
    framed = lean_name(fit)
    framing = f", {framed}" if framed and not framed.startswith(SIGNED) else ""
    subject = f"the gap in lean ({curves.category}{framing}) between {' and '.join(pair)}"
    where = f"{_count(n_pairs)} pairs of {source}"
    if not shared:
        support = support_of(curves, pair, end).iloc[0]
        who = support["extrapolated_for"]
        how = f"extrapolated for {who}" if who else "interpolated"
        return row, (
            f"{' and '.join(pair)} have no number of pairs of {source} in common: after {where}, "
            f"{subject} is {how}, at {estimate_text(row, fit.unit)}."
        )
    if max(most.values()) == n_pairs:
        return row, f"After {where}, {subject} is {estimate_text(row, fit.unit)}."
    more, less = sorted(pair, key=lambda family: -most[family])
    return row, (
        f"After {where}, the most that both families were trained on, {subject} is "
        f"{estimate_text(row, fit.unit)}. {more} was trained on up to {_count(most[more])}; there "
        f"the gap is extrapolated for {less}, not measured."
    )


def _other_sources(fit: AblationPosterior, pair: tuple[str, str]) -> str:
    """Say what each other source gives: what is said of the first need hold for none of them."""
    others = fit.curves.sources[1:]
    said = [_elsewhere(fit, pair, source) for source in others[:_MOST_SOURCES]]
    if left := len(others) - len(said):
        said.append(f"{left} more source{'s' if left > 1 else ''}: see fit.gaps or the report")
    return f"On other sources: {'; '.join(said)}." if said else ""


def _elsewhere(fit: AblationPosterior, pair: tuple[str, str], source: str) -> str:
    row, n_pairs, how = _last(fit, pair, source)
    side = "positive" if row["median"] > 0 else "negative"
    chance_of = f"{side} with probability {_chance(fit, row['p_direction'])}"
    # Of an open one no direction is claimed.
    is_open = verdict_of(row["p_direction"]) == OPEN
    verdict = f"its direction open ({chance_of})" if is_open else chance_of
    return (
        f"after {_count(n_pairs)} pairs of {source} the gap is {how}"
        f"{estimate_text(row, fit.unit)}, {verdict}"
    )


def _last(
    fit: AblationPosterior, pair: tuple[str, str], source: str
) -> tuple[pd.Series[Any], float, str]:
    """Give the gap at the most pairs of a source that both families have, if they share any."""
    curves, shared = fit.curves, fit.curves.shared(pair, source)
    most = [n for family in pair for n in curves.n_pairs_of(source, family)]
    n_pairs = shared[-1] if shared else max(most or curves.n_pairs_of(source))
    end = curves.ends(source, [n_pairs])
    row = summarise(end, curves.gap(pair, end), prob=0.9, rope=fit.rope).iloc[0]
    support = support_of(curves, pair, end).iloc[0]
    who = support["extrapolated_for"]
    how = "" if shared else f"extrapolated for {who}, at " if who else "interpolated, at "
    return row, n_pairs, how


def _change(fit: AblationPosterior, pair: tuple[str, str], source: str) -> list[str]:
    name = " − ".join(pair)
    slopes, closing = fit.slope(), fit.closing_point()
    row = slopes[(slopes["name"] == name) & (slopes["source"] == source)].iloc[0]
    end = closing[(closing["name"] == name) & (closing["source"] == source)].iloc[0]
    first = fit.curves.ends(source, [row["smallest"]])
    was = summarise(first, fit.curves.gap(pair, first), prob=0.9, rope=fit.rope).iloc[0]
    measured = row["support"] == SUPPORT[0]
    how = "" if measured else f" ({row['support']})"
    sentences = [
        f"At {_count(row['smallest'])} pairs it was {estimate_text(was, fit.unit)}; up to "
        f"{_count(row['largest'])}{how} it changes by {estimate_text(row, fit.unit)} for every "
        f"doubling, and shrinks with probability {_chance(fit, row['p_shrinks'])}."
    ]
    half = rope_of(fit)
    if end["p_inside"] > 0.5:
        return [*sentences, f"It probably lies within {half} at the smallest number of pairs."]
    within = f"It enters {half} within that range with probability {_chance(fit, end['p_within'])}"
    if fit.curves.by_pairs == "points":
        return [*sentences, f"{within}; beyond it, the formula predicts nothing."]
    sentences.append(
        f"{within}, later (by extrapolation) with {_chance(fit, end['p_beyond'])}, and not at all "
        f"with {_chance(fit, end['p_not'])}."
    )
    levelling = fit.levelling()
    rows = (levelling["name"] == name) & (levelling["source"] == source)
    return sentences + [
        f"That it has levelled off within the range studied has probability {_chance(fit, p)}; how "
        "long it would continue beyond, the data cannot show."
        for p in levelling.loc[rows, "p_within"]
    ]


def _chance(fit: AblationPosterior, p: float) -> str:
    return chance(float(p), float(np.prod(fit.curves.coefficient.shape[:2])))


def estimate_text(row: pd.Series, unit: str) -> str:
    """Write an estimate with its interval.

    Examples
    --------
    >>> estimate_text(pd.Series({"mean": -1e-5, "lower": -0.0045, "upper": 0.0044}), "SD")
    '0.0000 SD (90% interval −0.0045 to +0.0044)'
    >>> estimate_text(pd.Series({"mean": 0.041, "lower": 0.0, "upper": 0.0712}), "SD")
    '+0.04 SD (90% interval 0.00 to +0.07)'
    """
    largest = max(abs(row["lower"]), abs(row["upper"]))
    digits = 0 if largest >= 20 else 2
    if 0 < largest < 0.02:
        # Two digits of the wider end: a change for every doubling may be small.
        digits = 1 - math.floor(math.log10(largest))
    mean, lower, upper = (signed(row[name], digits) for name in ("mean", "lower", "upper"))
    return f"{mean} {unit} (90% interval {lower} to {upper})"


def _count(n: float) -> str:
    return f"{n:,.0f}"
