"""The paper's specification beside the hierarchical one, in the same units and sign."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from valuebias.analysis.estimands.estimand import summarise_contrasts
from valuebias.errors import ValueBiasError
from valuebias.posterior.estimate import refit

if TYPE_CHECKING:
    from valuebias.analysis.classical.classical import Classical
    from valuebias.posterior.posterior import Posterior

__all__ = ["COLUMNS", "Comparison", "compare"]

COLUMNS = ("spec", "name", "category", "estimate", "lower", "upper", "t", "df", "p",
           "over", "against")  # fmt: skip

_PROB = 0.9
_KIND = "family difference"
# With more categories than five there are too many pairs to read.
_MOST_PAIRS = 10


@dataclass(frozen=True)
class Comparison:
    """Family differences in lean as three specifications estimate them."""

    # One row per specification, pair of families and pair of categories, with :data:`COLUMNS`; in
    # ranks, positive towards the first category. ``t``, ``df`` and ``p`` are NaN for the
    # hierarchical model, which has none.
    table: pd.DataFrame = field(repr=False)
    classical: Classical | None = field(repr=False)  # the paper's analysis
    messages: tuple[str, ...]  # messages of the paper's analysis
    reason: str  # why there is nothing to compare; empty where there is
    interval: str = f"{_PROB:.0%}"  # the probability of the intervals, in words

    def headline(self) -> pd.DataFrame:
        """Select the rows of the first pair of families."""
        first: pd.DataFrame = self.table[self.table["name"] == self.table["name"].iloc[0]]
        return first


def compare(fit: Posterior) -> Comparison:
    """Estimate the family difference in ranks: hierarchically and as the paper did.

    Notes
    -----
    Source: the mixed model of Christian et al. 2026, Figure 1, fitted to median ranks by model,
    category and prompt.
    """
    fit.require_words("The paper's analysis is of ranks of words")
    if not (fit.contrast_draws["kind"] == _KIND).any():
        return _nothing(
            f"The formula {fit.settings['formula']!r} does not compare families, as the paper does."
        )
    from valuebias.analysis.classical.classical import classical

    pair = fit.contrast
    if isinstance(pair, Mapping):
        return _nothing("The paper compares two categories; this fit weighs several.")
    try:
        seed = int(fit.settings["seed"])
        paper = classical(fit.data, contrast=pair, seed=seed, progress=False)
    except ValueBiasError as error:
        return _nothing(f"The paper's analysis cannot be made of these data. {error}")
    theirs = paper.contrasts(prob=_PROB)
    if theirs.empty:
        reason = "The paper's mixed models could not be estimated. " + " ".join(paper.messages)
        return Comparison(_frame([]), paper, paper.messages, reason)
    ranked = fit.settings["outcome"] == "rank"
    on_ranks = fit if ranked else refit(fit, prior=fit.prior, outcome="rank")
    rows = []
    for first, second in _pairs(fit, pair):
        ours = _estimates(on_ranks, first, second)
        for estimate in ours:
            rows.append(estimate)
            rows += _match(theirs, estimate)
    return Comparison(_frame(rows), paper, paper.messages, "")


def _nothing(reason: str) -> Comparison:
    return Comparison(_frame([]), None, (), reason)


def _frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _pairs(fit: Posterior, pair: tuple[str, ...] | None) -> list[tuple[str, str]]:
    """Pairs of categories, in the order in which this fit takes their difference."""
    if pair is not None:
        return [(pair[0], pair[1])]
    names = [str(name) for name in fit.data["category"].to_numpy()]
    if len(names) == 2:
        compared = next(iter(fit.categories))
        return [(compared.first, compared.second)]
    pairs = list(combinations(names, 2))
    return pairs if len(pairs) <= _MOST_PAIRS else pairs[: len(names) - 1]


def _estimates(on_ranks: Posterior, first: str, second: str) -> list[dict[str, Any]]:
    """Read the family differences of a pair of categories off a fit on ranks."""
    # The pair of levels in front is that of the fit, whatever differs most in these categories.
    pair = on_ranks.focus.pair
    draws = on_ranks.focused(
        pair=pair, by=(), at={}, contrast=(first, second), framing="signed"
    ).contrast_draws
    kind, framing = draws["kind"].to_numpy(), draws["framing"].to_numpy()
    # The headline's framing: signed, or that of all prompts, which the paper's tables call signed.
    chosen = np.flatnonzero((kind == _KIND) & (framing == framing[0]))
    table = summarise_contrasts(draws.isel(estimand=chosen), _PROB, 0.0)
    return [
        {
            "spec": "hierarchical",
            "name": row["name"],
            "category": row["category"],
            **row[["first", "second", "over", "against"]],
            "estimate": row["mean"],
            "lower": row["lower"],
            "upper": row["upper"],
        }
        for _, row in table.iterrows()
    ]


def _match(theirs: pd.DataFrame, ours: dict[str, Any]) -> list[dict[str, Any]]:
    """Find the paper's estimates of the same difference, with the same sign convention."""
    leading = theirs["framing"].iloc[0]  # signed, but of neutral prompts
    rows = theirs[(theirs["estimand"] == _KIND) & (theirs["framing"] == leading)]
    matched = []
    for spec in ("random slopes", "random intercept"):
        for _, row in rows[rows["spec"] == spec].iterrows():
            sign = _way(row["name"], ours["first"], ours["second"])
            sign *= _way(row["category"], ours["over"], ours["against"])
            if sign:
                ends = sorted((sign * row["lower"], sign * row["upper"]))
                matched.append(
                    {
                        "spec": spec,
                        "name": ours["name"],
                        "category": ours["category"],
                        "estimate": sign * row["estimate"],
                        "lower": ends[0],
                        "upper": ends[1],
                        "t": sign * row["t"],
                        "df": row["df"],
                        "p": row["p"],
                        "over": ours["over"],
                        "against": ours["against"],
                    }
                )
    return matched


def _way(theirs: str, first: str, second: str) -> int:
    """+1 for the same difference, −1 for the reverse, 0 for another."""
    return {f"{first} − {second}": 1, f"{second} − {first}": -1}.get(theirs, 0)
