"""The numbers of a report, each computed once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd
import xarray as xr

from valuebias.analysis.estimands.estimand import DIFFERENCE
from valuebias.analysis.headline import Headline
from valuebias.analysis.outcome import describe
from valuebias.errors import ValueBiasError
from valuebias.posterior.compare import Comparison, compare
from valuebias.posterior.headline import LEAST_DOUBT, make_headline, prior_alone
from valuebias.posterior.influence import left_out_units
from valuebias.posterior.planning import bases_needed, told_apart
from valuebias.posterior.wording import rope_in_words
from valuebias.report.content import Picture

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from valuebias.analysis.auditing.audit import Audit
    from valuebias.analysis.estimands.diagnostics import Diagnostics
    from valuebias.analysis.estimands.loo import LOO
    from valuebias.posterior.ablation.result import AblationPosterior
    from valuebias.posterior.posterior import Posterior

__all__ = [
    "PARTS",
    "PROB",
    "AblationReportInputs",
    "Advance",
    "Inputs",
    "ReportInputs",
    "collect",
    "why_no_influence",
]

PROB = 0.9
"""Probability of every interval in a report."""

PARTS = 8
"""How often :func:`collect` calls ``advance``."""

_MOST_UNITS = 24
"""Largest number of models and bases to leave out."""

Advance = Callable[[int, int], None]
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What the sections of any report are written from."""

    estimates: pd.DataFrame = field(repr=False)  # the headline's first
    figures: bool  # whether to draw

    @property
    def digits(self) -> int:
        """Decimals that give the headline's SD two figures."""
        sd = float(self.estimates["sd"].iloc[0])
        return int(np.clip(np.ceil(-np.log10(sd)) + 1, 0, 6)) if sd > 0 else 3

    def picture(
        self, name: str, draw: Callable[[], Figure], alt: str, caption: str
    ) -> Picture | None:
        """Draw a figure, if figures are wanted."""
        if not self.figures:
            return None
        from valuebias.plots.theme import house_style

        with house_style():
            return Picture(name, draw(), alt, caption)


@dataclass(frozen=True, kw_only=True)
class AblationReportInputs(Inputs):
    """What the sections on an ablation are written from; the estimates are gaps."""

    fit: AblationPosterior

    @property
    def models(self) -> pd.DataFrame:
        """The coordinates of the models."""
        return self.fit.curves.models

    @property
    def has_checkpoints(self) -> bool:
        """Whether there are steps before the last of a run."""
        return bool((self.models["progress"] < 1).any())


@dataclass(frozen=True, kw_only=True)
class ReportInputs(Inputs):
    """What the sections on a fit are written from; the estimates are its contrasts."""

    fit: Posterior
    headline: Headline
    models: pd.DataFrame = field(repr=False)
    # None where the formula compares no groups; `no_words` then says so.
    words: pd.DataFrame | None = field(repr=False)
    no_words: str
    # None where the units are items, of which the paper has none; likewise the audit.
    comparison: Comparison | None = field(repr=False)
    check: xr.Dataset = field(repr=False)  # the posterior predictive check
    diagnostics: Diagnostics
    sensitivity: pd.DataFrame = field(repr=False)
    # None where it takes too long; `no_influence` then says so.
    influence: pd.DataFrame | None = field(repr=False)
    no_influence: str
    loo: LOO | None  # None where scores have no exact density, or are of items
    audit: Audit | None = field(repr=False)
    # Bases of each family that would settle the direction, None where no number that was tried
    # would do; empty where that is not asked.
    bases_needed: tuple[int | None, ...]

    @property
    def unit(self) -> str:
        """The unit of the outcome."""
        return describe(self.fit.settings["outcome"]).unit

    @property
    def framing(self) -> str:
        """The framing of the headline: signed, or the only framing of the prompts."""
        return str(self.headline.row["framing"])

    @property
    def effective(self) -> float:
        """Effective draws of quantities whose own ESS is not computed."""
        draws = float(self.estimates.attrs["draws"])
        smallest = self.diagnostics.min_ess_bulk
        return min(draws, smallest) if np.isfinite(smallest) else draws

    @property
    def rope(self) -> str:
        """The region of practical equivalence in words."""
        scale = self.fit.problem.crossing.scale
        return rope_in_words(float(self.estimates.attrs["rope"]), self.unit, scale)


def collect(fit: Posterior, *, figures: bool, advance: Callable[[], None]) -> ReportInputs:
    """Compute everything, calling ``advance`` after each part.

    Once per fit: what another form of its report shows is the same.
    """
    known = vars(fit).get("report_inputs")
    if known is None:
        known = _compute(fit, advance)
        vars(fit)["report_inputs"] = known
    else:
        for _ in range(PARTS):
            advance()
    return replace(known, figures=figures)


def _compute(fit: Posterior, advance: Callable[[], None]) -> ReportInputs:
    from valuebias.analysis.auditing.audit import audit

    def advanced(value: _T) -> _T:
        advance()
        return value

    words, no_words = None, ""
    try:
        words = fit.items(prob=PROB) if fit.of_items else fit.words(prob=PROB)
    except ValueBiasError as error:
        no_words = str(error)
    no_influence = why_no_influence(fit)
    sensitivity = advanced(fit.prior_sensitivity(prob=PROB, progress=False))
    headline = make_headline(fit, sensitivity)
    return ReportInputs(
        fit=fit,
        headline=headline,
        estimates=fit.contrasts(prob=PROB),
        models=advanced(fit.models(prob=PROB)),
        words=words,
        no_words=no_words,
        check=advanced(fit.ppc()),
        diagnostics=advanced(fit.diagnostics()),
        loo=advanced(fit.loo() if fit.problem.noise.plain and not fit.of_items else None),
        audit=advanced(None if fit.of_items else audit(fit.data)),
        sensitivity=sensitivity,
        influence=advanced(None if no_influence else fit.influence(prob=PROB, progress=False)),
        no_influence=no_influence,
        comparison=advanced(None if fit.of_items else compare(fit)),
        bases_needed=_bases_needed(fit, headline.row),
        figures=False,
    )


def _bases_needed(fit: Posterior, row: pd.Series[Any]) -> tuple[int | None, ...]:
    others = [group for group in fit.problem.crossing.space.groups if group.name != "base"]
    # The largest of several is judged with the others: two families alone say nothing of that.
    asked = row["form"] == DIFFERENCE and row["variable"] == "family" and not row["at"]
    asked &= not fit.focus.largest
    plain = told_apart(fit) and fit.problem.noise.plain and not prior_alone(fit, row)
    plain &= not fit.of_items
    if not asked or others or not plain or row["p_direction"] >= LEAST_DOUBT:
        return ()
    return (bases_needed(fit, float(row["mean"])),)


def why_no_influence(fit: Posterior) -> str:
    """Say why leaving out each model would take minutes, or cannot be; empty where it does not."""
    why = fit.why_not("Leaving out models")
    if why:
        return why
    n = len(left_out_units(fit.data, fit.settings))
    if fit.settings["n_missing"]:
        why = "In an incomplete crossing each takes as long as the fit itself"
    elif n > _MOST_UNITS:
        why = f"There are {n} models and bases to leave out"
    else:
        return ""
    return f"{why}, so it is computed only on request: fit.influence()."
