"""The headline under other prior scales."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from valuebias._core.progress import progress_bar
from valuebias.analysis.design.priors import Prior
from valuebias.analysis.estimands.estimand import summarise_contrasts
from valuebias.analysis.estimands.reweighting import k_limit, smoothed
from valuebias.errors import ValueBiasError
from valuebias.posterior.estimate import refit
from valuebias.posterior.headline import ALL

if TYPE_CHECKING:
    from distributed import Client

    from valuebias.analysis.estimands.weights import Contrast
    from valuebias.posterior.posterior import Posterior

__all__ = ["by_influence", "prior_sensitivity"]

_HEAD = {"estimand": "kind", "name": "name", "framing": "framing", "category": "category"}


def prior_sensitivity(
    fit: Posterior,
    *,
    factors: tuple[float, ...],
    prob: float,
    client: Client | None,
    progress: bool,
) -> pd.DataFrame:
    """Scale each prior alone, then all together; see :meth:`Fit.prior_sensitivity`."""
    for factor in factors:
        if not (isinstance(factor, float | int | np.number) and 0 < factor < np.inf):
            raise ValueBiasError(
                f"factors must be positive numbers such as (0.5, 2.0), found {factor!r}."
            )
    if client is not None:
        from valuebias.posterior.cluster import check

        check(client)
    contrasts = fit.contrasts(prob=prob)
    half = contrasts.attrs["rope"]
    moves = [(scale, factor) for scale in (ALL, *_scales(fit)) for factor in factors if factor != 1]
    priors = {
        (scale, float(factor)): fit.prior.scaled(
            factor, fit.problem.components, "" if scale == ALL else scale
        )
        for scale, factor in moves
    }
    rows: dict[tuple[str, float], dict[str, Any]] = {
        (ALL, 1.0): {**contrasts.iloc[0], "pareto_k": np.nan, "refitted": False}
    }
    again: dict[tuple[str, float], Prior] = {}
    with progress_bar("prior scales", shown=progress) as advance:
        for key, prior in priors.items():
            rows[key], reliable = _reweighted(fit, prior, prob, half)
            if not reliable:
                again[key] = prior
            elif advance is not None:
                advance(len(rows) - 1 - len(again), len(priors))
        results = _refitted(
            _Refits(fit.data, fit.settings, fit.contrast, prob, half), again, client
        )
        with closing(results):
            for count, (key, row) in enumerate(results, start=1):
                rows[key] |= row
                if advance is not None:
                    advance(len(priors) - len(again) + count, len(priors))
    table = pd.DataFrame.from_dict(rows, orient="index").infer_objects()
    table.index = pd.MultiIndex.from_tuples(rows, names=["scale", "factor"])
    table.attrs |= contrasts.attrs
    return table


@dataclass(frozen=True)
class _Refits:
    """What all fits with other priors share."""

    data: xr.Dataset
    settings: Mapping[str, Any]
    contrast: Contrast | None
    prob: float
    half: float  # the width of what is too small to matter

    def estimate(self, prior: Prior) -> dict[str, Any]:
        """Fit with another prior, and read the headline."""
        other = refit(self, prior=prior, outcome=self.settings["outcome"])
        draws = other.contrast_draws.isel(estimand=[0])
        return {**summarise_contrasts(draws, self.prob, self.half).iloc[0], "refitted": True}


def _refitted(
    refits: _Refits, priors: Mapping[tuple[str, float], Prior], client: Client | None
) -> Generator[tuple[tuple[str, float], dict[str, Any]]]:
    """Fit with other priors, here or by workers."""
    if client is None or not priors:
        for key, prior in priors.items():
            yield key, refits.estimate(prior)
        return
    from valuebias.posterior.cluster import estimated

    said = {key: f"the prior of {key[0]} times {key[1]:g}" for key in priors}
    yield from estimated(client, refits, priors, said)


def by_influence(table: pd.DataFrame) -> list[str]:
    """Sort the scales of :func:`prior_sensitivity`, the one that moves the headline most first.

    By how far it moves either end of the interval, in widths of the interval.
    """
    fitted, others = table.iloc[0], table.iloc[1:]
    ends = ["lower", "upper"]
    moved = (others[ends] - fitted[ends].astype(float)).abs().max(axis=1)
    apart = moved.drop(index=ALL, level="scale", errors="ignore").groupby("scale").max()
    return [str(name) for name in apart.sort_values(ascending=False, kind="stable").index]


def _scales(fit: Posterior) -> list[str]:
    """Name the scales of a fit's prior: of its components, then of its fixed effects."""
    crossing = fit.problem.crossing
    fixed = ["mean"] + ["effect"] * (len(crossing.design.terms) > 1)
    return [*fit.problem.components.names, *fixed, *(["spread"] if crossing.space.kinds else [])]


def _reweighted(
    fit: Posterior, prior: Prior, prob: float, half: float
) -> tuple[dict[str, Any], bool]:
    """Reweight the draws to another prior; say whether the weights are reliable."""
    draws = fit.contrast_draws.isel(estimand=0)
    values = draws.to_numpy().ravel()
    weighted = smoothed(fit.log_ratio_to(prior))
    if weighted.k > k_limit(len(values)):
        return {"pareto_k": weighted.k}, False
    tail = (1 - prob) / 2
    lower, median, upper = weighted.quantiles(values, [tail, 0.5, 1 - tail])
    mean = weighted.mean(values)
    positive = weighted.mean((values > 0).astype(float))
    row = {name: draws[coord].item() for name, coord in _HEAD.items()} | {
        "mean": mean,
        "median": median,
        "sd": float(np.sqrt(weighted.mean((values - mean) ** 2))),
        "lower": lower,
        "upper": upper,
        "p_direction": max(positive, 1 - positive),
        "p_rope": weighted.mean((np.abs(values) < half).astype(float)),
        "rhat": np.nan,
        "ess_bulk": weighted.ess,
        "ess_tail": np.nan,
        "pareto_k": weighted.k,
        "refitted": False,
    }
    return row, True
