"""Simulation-based calibration: the rank of what was drawn among draws of its posterior.

After Talts et al. (2018), Validating Bayesian inference algorithms with simulation-based
calibration. Everything comes from the prior, scores included; the posterior is that of
:func:`valuebias.fit`, through its public methods.
"""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prior_draws import DESIGNS, draw_truth, fit_prior

import valuebias
from valuebias.analysis.design.priors import Prior
from valuebias.errors import ValueBiasWarning

__all__ = ["GROUPS", "N_RANKS", "design", "group_of", "one", "ranks_of"]

FIT = {"draws": 500, "chains": 1}
# Nearly independent draws: those of neighbouring steps are not.
EVERY = 10
N_RANKS = FIT["draws"] // EVERY + 1
PRIOR = Prior()
WORDS = ("word 0", "word 19")
GROUPS = {
    "SDs": r"sd\[",
    "correlations": r"correlation\[",
    "spreads": r"spread\[",
    "residuals": r"(nu|residual_\w+)\[",
    "means": r"mean\[",
    "leans and differences": r"(family|overall|model|base) ",
    "words": r"word \d",
}
"""Patterns of parameters' names, by what they are called together."""


def design(name: str) -> str:
    """Say what is drawn and fitted under a name."""
    return json.dumps([asdict(DESIGNS[name]), FIT, PRIOR.to_dict()]) if name in DESIGNS else ""


def one(name: str, seed: int) -> dict[str, Any]:
    """Draw, fit and rank once."""
    truth = draw_truth(DESIGNS[name], PRIOR, seed)
    sds = [n for n in truth.parameters if n.startswith("sd[")]
    components = [re.sub(r"sd\[(.*), \w+\]", r"\1", n) for n in sds]
    with warnings.catch_warnings():
        # Small designs leave much to the prior, of which the fit warns.
        warnings.simplefilter("ignore", ValueBiasWarning)
        fit = valuebias.fit(
            truth.dataset,
            words=DESIGNS[name].words,
            family=DESIGNS[name].family,
            residual=DESIGNS[name].residual,
            heavy_tails=DESIGNS[name].heavy_tails or None,
            outcome="raw",
            prior=fit_prior(truth.dataset, PRIOR, components),
            **FIT,
            seed=seed,
            progress=False,
        )
    frame = fit.draws()
    kept = frame[frame["draw"] % EVERY == 0].groupby("parameter", sort=False)["value"]
    draws = {key: values.to_numpy() for key, values in kept if key in truth.parameters}
    by_word = fit.word_draws(framing="signed").sel(response=list(WORDS))[0, EVERY - 1 :: EVERY]
    values = dict(truth.parameters)
    for word in WORDS:
        values[word] = float(truth.words[word])
        draws[word] = by_word.sel(response=word).to_numpy()
    # All that was drawn is ranked: a name that the fit lacks is a mistake.
    ranks = {key: int((draws[key] < value).sum()) for key, value in values.items()}
    diverging = int(fit.tree["sample_stats"]["diverging"].sum())
    return {"ranks": ranks, "diverging": diverging}


def ranks_of(found: list[dict[str, Any]]) -> tuple[list[str], NDArray[np.intp]]:
    """Give the parameters, and their ranks (parameter, simulation).

    Without those that only repeat others: with two categories one's mean is the other's negative,
    with two families one's spread the other's inverse.
    """
    names = [name for name in found[0]["ranks"] if "communion]" not in name]
    names = [name for name in names if not re.match(r"spread\[\w+, B\]", name)]
    return names, np.array([[result["ranks"][name] for result in found] for name in names])


def group_of(name: str) -> str:
    """Say what kind of parameter it is."""
    return next(group for group, pattern in GROUPS.items() if re.match(pattern, name))
