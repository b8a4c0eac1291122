"""Whether the chains agree, said in words."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import xarray as xr

__all__ = ["Diagnostics", "describe_draws", "diagnose"]

_RHAT_LIMIT = 1.01
_ESS_LIMIT = 400


@dataclass(frozen=True)
class Diagnostics:
    """Convergence of a fit.

    Attributes
    ----------
    converged : bool
        True where no message was raised.
    messages : list of str
        What is wrong and what to do, one sentence each; empty where all is well.
    divergences : int
        Divergent transitions after tuning.
    max_rhat : float
        Largest split R-hat over SDs, correlations and contrasts.
    min_ess_bulk, min_ess_tail : float
        Smallest effective sample sizes over the same.
    table : DataFrame
        R-hat and effective sample sizes by parameter.
    """

    converged: bool
    messages: list[str]
    divergences: int
    max_rhat: float
    min_ess_bulk: float
    min_ess_tail: float
    table: pd.DataFrame = field(repr=False)


def describe_draws(draws: xr.DataArray, prob: float) -> pd.DataFrame:
    """Summarise draws (chain, draw, item): moments, equal-tailed interval, R-hat, ESS.

    Parameters
    ----------
    draws : DataArray
        Dimensions ``chain``, ``draw`` and one more.
    prob : float
        Probability of the interval.

    Returns
    -------
    DataFrame
        One row an item: mean, median, sd, lower, upper, rhat, ess_bulk, ess_tail.
    """
    import arviz as az

    item = next(dim for dim in draws.dims if dim not in ("chain", "draw"))
    values = draws.transpose("chain", "draw", item)
    flat = values.to_numpy().reshape(-1, draws.sizes[item])
    tail = (1 - prob) / 2
    lower, median, upper = np.quantile(flat, [tail, 0.5, 1 - tail], axis=0)
    dataset = xr.Dataset({"x": values.drop_vars(list(values.coords))})
    draws_enough = draws.sizes["draw"] >= 4
    chains_enough = draws_enough and draws.sizes["chain"] >= 2
    empty = np.full(draws.sizes[item], np.nan)
    # Chains that each stand still, at different places, have an infinite R-hat.
    with np.errstate(divide="ignore", invalid="ignore"):
        rhat = az.rhat(dataset)["x"].to_numpy() if chains_enough else empty
    return pd.DataFrame(
        {
            "mean": flat.mean(axis=0),
            "median": median,
            "sd": flat.std(axis=0, ddof=1),
            "lower": lower,
            "upper": upper,
            "rhat": rhat,
            "ess_bulk": az.ess(dataset)["x"].to_numpy() if draws_enough else empty,
            "ess_tail": az.ess(dataset, method="tail")["x"].to_numpy() if draws_enough else empty,
        },
        index=pd.Index(draws[item].to_numpy()) if item in draws.coords else None,
    )


def diagnose(table: pd.DataFrame, stats: xr.Dataset) -> Diagnostics:
    """Judge a table of :func:`describe_draws` rows and the sampler's statistics."""
    divergences = int(stats["diverging"].sum())
    max_rhat = float(table["rhat"].max())
    min_bulk, min_tail = float(table["ess_bulk"].min()), float(table["ess_tail"].min())
    messages = []
    if divergences:
        messages.append(
            f"{divergences} transitions diverged: the posterior has regions that the sampler "
            "cannot follow. Look at fit.plot('trace'), and consider a tighter prior on its SDs."
        )
    unknown = table["rhat"].isna()
    if unknown.all():
        messages.append(
            "whether the chains agree cannot be judged: R-hat needs two chains or more. Ask for "
            "chains=4."
        )
    elif unknown.any():
        messages.append(
            f"R-hat is undefined for {table.index[unknown][0]!r}: its draws do not vary. Sample "
            "longer (tune=, draws=) and do not report these numbers."
        )
    if max_rhat > _RHAT_LIMIT:
        messages.append(
            f"R-hat is {max_rhat:.3f} for {table['rhat'].idxmax()!r} (should be at most "
            f"{_RHAT_LIMIT}): the chains disagree. Sample longer (tune=, draws=) and do not report "
            "these numbers."
        )
    if min(min_bulk, min_tail) < _ESS_LIMIT:
        name = table[["ess_bulk", "ess_tail"]].min(axis=1).idxmin()
        messages.append(
            f"the effective sample size is {min(min_bulk, min_tail):.0f} for {name!r} (should be "
            f"at least {_ESS_LIMIT}): intervals are noisy. Ask for more draws."
        )
    return Diagnostics(
        not messages,
        messages,
        divergences,
        max_rhat,
        min_bulk,
        min_tail,
        table[["rhat", "ess_bulk", "ess_tail"]],
    )
