"""The headline under other prior scales."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from valuebias._core.progress import progress_bar
from valuebias.analysis.design.priors import Prior
from valuebias.analysis.estimands.estimand import summarise_contrasts
from valuebias.analysis.estimands.reweighting import k_limit, smoothed
from valuebias.errors import ValueBiasError
from valuebias.posterior.estimate import refit
from valuebias.posterior.headline import ALL

if TYPE_CHECKING:
    from valuebias.posterior.posterior import Posterior

__all__ = ["by_influence", "prior_sensitivity"]

_HEAD = {"estimand": "kind", "name": "name", "framing": "framing", "category": "category"}


def prior_sensitivity(
    fit: Posterior, *, factors: tuple[float, ...], prob: float, progress: bool
) -> pd.DataFrame:
    """Scale each prior alone, then all together; see :meth:`Fit.prior_sensitivity`."""
    for factor in factors:
        if not (isinstance(factor, float | int | np.number) and 0 < factor < np.inf):
            raise ValueBiasError(
                f"factors must be positive numbers such as (0.5, 2.0), found {factor!r}."
            )
    contrasts = fit.contrasts(prob=prob)
    half = contrasts.attrs["rope"]
    rows = {(ALL, 1.0): {**contrasts.iloc[0], "pareto_k": np.nan, "refitted": False}}
    moves = [(scale, factor) for scale in (ALL, *_scales(fit)) for factor in factors if factor != 1]
    with progress_bar("prior scales", shown=progress) as advance:
        for i, (scale, factor) in enumerate(moves):
            prior = fit.prior.scaled(factor, fit.problem.components, "" if scale == ALL else scale)
            rows[scale, float(factor)] = _row(fit, prior, prob, half)
            if advance is not None:
                advance(i + 1, len(moves))
    table = pd.DataFrame.from_dict(rows, orient="index").infer_objects()
    table.index = pd.MultiIndex.from_tuples(rows, names=["scale", "factor"])
    table.attrs |= contrasts.attrs
    return table


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


def _row(fit: Posterior, prior: Prior, prob: float, half: float) -> dict[str, Any]:
    """Reweight the draws to another prior; fit again where the weights are unreliable."""
    draws = fit.contrast_draws.isel(estimand=0)
    values = draws.to_numpy().ravel()
    weighted = smoothed(fit.log_ratio_to(prior))
    if weighted.k > k_limit(len(values)):
        other = refit(fit, prior=prior, outcome=fit.settings["outcome"])
        row = summarise_contrasts(other.contrast_draws.isel(estimand=[0]), prob, half).iloc[0]
        return {**row, "pareto_k": weighted.k, "refitted": True}
    tail = (1 - prob) / 2
    lower, median, upper = weighted.quantiles(values, [tail, 0.5, 1 - tail])
    mean = weighted.mean(values)
    positive = weighted.mean((values > 0).astype(float))
    return {name: draws[coord].item() for name, coord in _HEAD.items()} | {
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
