"""The numbers of a report, each computed once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import pandas as pd
import xarray as xr

from valuebias.analysis.headline import Headline
from valuebias.analysis.outcome import describe
from valuebias.errors import ValueBiasError
from valuebias.posterior.compare import Comparison, compare
from valuebias.posterior.headline import make_headline
from valuebias.posterior.influence import left_out_units
from valuebias.posterior.wording import rope_in_words

if TYPE_CHECKING:
    from valuebias.analysis.auditing.audit import Audit
    from valuebias.analysis.estimands.diagnostics import Diagnostics
    from valuebias.analysis.estimands.loo import LOO
    from valuebias.posterior.posterior import Posterior

__all__ = ["PROB", "Advance", "ReportInputs", "collect", "why_no_influence"]

PROB = 0.9
"""Probability of every interval in a report."""

_MOST_UNITS = 24
"""Largest number of models and bases to leave out: each takes about half a second."""

Advance = Callable[[int, int], None]
_T = TypeVar("_T")


@dataclass(frozen=True)
class ReportInputs:
    """What the sections are written from."""

    fit: Posterior
    headline: Headline
    contrasts: pd.DataFrame = field(repr=False)
    models: pd.DataFrame = field(repr=False)
    # None where the formula compares no groups; `no_words` then says so.
    words: pd.DataFrame | None = field(repr=False)
    no_words: str
    comparison: Comparison = field(repr=False)
    check: xr.Dataset = field(repr=False)  # the posterior predictive check
    diagnostics: Diagnostics
    sensitivity: pd.DataFrame = field(repr=False)
    # None where it takes too long; `no_influence` then says so.
    influence: pd.DataFrame | None = field(repr=False)
    no_influence: str
    loo: LOO
    audit: Audit = field(repr=False)
    figures: bool  # whether to draw

    @property
    def framing(self) -> str:
        """The framing of the headline: signed, or the only framing of the prompts."""
        return str(self.headline.row["framing"])

    @property
    def effective(self) -> float:
        """Effective draws of quantities whose own ESS is not computed."""
        draws = float(self.contrasts.attrs["draws"])
        smallest = self.diagnostics.min_ess_bulk
        return min(draws, smallest) if np.isfinite(smallest) else draws

    @property
    def rope(self) -> str:
        """The region of practical equivalence in words."""
        crossing, unit = self.fit.problem.crossing, describe(self.fit.settings["outcome"]).unit
        return rope_in_words(float(self.contrasts.attrs["rope"]), unit, crossing.scale)

    @property
    def digits(self) -> int:
        """Decimals that give the headline's SD two figures."""
        sd = float(self.contrasts["sd"].iloc[0])
        return int(np.clip(np.ceil(-np.log10(sd)) + 1, 0, 6)) if sd > 0 else 3


def collect(fit: Posterior, *, figures: bool, advance: Callable[[], None]) -> ReportInputs:
    """Compute everything, calling ``advance`` after each part."""
    from valuebias.analysis.auditing.audit import audit

    def advanced(value: _T) -> _T:
        advance()
        return value

    words, no_words = _words(fit)
    no_influence = why_no_influence(fit)
    sensitivity = advanced(fit.prior_sensitivity(prob=PROB, progress=False))
    return ReportInputs(
        fit=fit,
        headline=make_headline(fit, sensitivity),
        contrasts=fit.contrasts(prob=PROB),
        models=advanced(fit.models(prob=PROB)),
        words=words,
        no_words=no_words,
        check=advanced(fit.ppc()),
        diagnostics=advanced(fit.diagnostics()),
        loo=advanced(fit.loo()),
        audit=advanced(audit(fit.data)),
        sensitivity=sensitivity,
        influence=advanced(None if no_influence else fit.influence(prob=PROB, progress=False)),
        no_influence=no_influence,
        comparison=advanced(compare(fit)),
        figures=figures,
    )


def _words(fit: Posterior) -> tuple[pd.DataFrame | None, str]:
    try:
        return fit.words(prob=PROB), ""
    except ValueBiasError as error:
        return None, str(error)


def why_no_influence(fit: Posterior) -> str:
    """Say why leaving out each model would take minutes; empty where it does not."""
    n = len(left_out_units(fit.data, fit.settings))
    if fit.settings["n_missing"]:
        why = "In an incomplete crossing each takes as long as the fit itself"
    elif n > _MOST_UNITS:
        why = f"There are {n} models and bases to leave out"
    else:
        return ""
    return f"{why}, so it is computed only on request: fit.influence()."
