"""Fit again with something changed."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from valuebias.errors import ValueBiasWarning
from valuebias.fitting import fit as fit_again

if TYPE_CHECKING:
    from valuebias.analysis.priors import Prior
    from valuebias.fit_result import Fit

__all__ = ["refit"]


def refit(fit: Fit, *, prior: Prior, outcome: str, progress: bool = False) -> Fit:
    """Fit the same data with another prior or outcome, all else (seed included) the same."""
    names = ("formula", "words", "base", "spread", "draws", "tune", "chains", "seed", "sampler")
    settings = {name: fit.spec[name] for name in names}
    contrast = tuple(fit.spec["contrast"]) if fit.spec["contrast"] else None
    with warnings.catch_warnings():
        # The first fit has warned already.
        warnings.simplefilter("ignore", ValueBiasWarning)
        other: Fit = fit_again(
            fit.data,
            outcome=outcome,
            prior=prior,
            contrast=contrast,
            progress=progress,
            **settings,
        )
        return other
