"""What the log-probs of verdicts say beyond the scores: probability elsewhere, and positions."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from valuebias.errors import ValueBiasError, few, shown

__all__ = [
    "MUCH_OUTSIDE",
    "has_verdicts",
    "mass_outside",
    "outside_notes",
    "position_bias",
    "verdict_coords",
]

MUCH_OUTSIDE = 0.1
"""The mean probability of other replies from which on a judge is said to leave much of it."""

_TOKENS = ("model", "prompt", "response", "token")
_OF_CONTRASTS = ("model", "item", "variant", "token")


def verdict_coords(judge: Any) -> dict[str, tuple[str, Any]]:
    """Name the log-probs that a judge's pairs have, by what a store says of the judge."""
    try:
        labels, orders = [str(label) for label in judge["labels"]], int(judge["orders"])
        if not labels or orders not in (1, 2):
            raise ValueError
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueBiasError(
            f"The provenance says of the judge {shown(judge)}, which valuebias.score does not "
            "write. Score again, into another store."
        ) from error
    return {
        "verdict": ("token", np.array(labels * orders, dtype="U")),
        "order": ("token", np.repeat(np.arange(1, orders + 1), len(labels))),
    }


def has_verdicts(ds: xr.Dataset) -> bool:
    """Tell whether a dataset has the log-probs of a judge's verdicts."""
    return (
        "token_logprob" in ds.data_vars
        and set(ds["token_logprob"].dims) in (set(_TOKENS), set(_OF_CONTRASTS))
        and all(name in ds.coords and ds[name].dims == ("token",) for name in ("verdict", "order"))
    )


def mass_outside(ds: xr.Dataset) -> xr.DataArray:
    """Give the probability that judges leave for other tokens than their verdicts.

    Where much is left, the judge would reply something else, and a score says less.

    Parameters
    ----------
    ds : xarray.Dataset
        Scores of kind "judged", with their variable ``token_logprob``.

    Returns
    -------
    xarray.DataArray
        From 0 to 1, over model, prompt and response, or model, item and variant; of two orders
        the mean. NaN where there is no score.

    Raises
    ------
    ValueBiasError
        If there are no log-probs of verdicts.

    Examples
    --------
    >>> import valuebias
    >>> ds = valuebias.simulate(n_models={"A": 1, "B": 1}, n_prompts=2, n_words=6, seed=1)
    >>> tokens = np.broadcast_to(np.log(np.float32([0.5, 0.25])), (2, 2, 6, 2))
    >>> judged = ds.assign(token_logprob=(("model", "prompt", "response", "token"), tokens))
    >>> judged = judged.assign_coords(verdict=("token", ["yes", "no"]), order=("token", [1, 1]))
    >>> round(mass_outside(judged).mean().item(), 3)
    0.25
    """
    logprobs = _verdicts(ds)
    orders = len(np.unique(ds["order"].to_numpy()))
    inside = np.exp(logprobs.to_numpy()).sum(axis=-1) / orders
    # A sum of probabilities may come out a little above one.
    outside = np.maximum(1 - inside, 0)
    return logprobs.isel(token=0, drop=True).copy(data=outside).rename("mass_outside")


def outside_notes(ds: xr.Dataset) -> list[str]:
    """Say which judges leave much probability for other replies; empty where none does."""
    outside = mass_outside(ds)
    means = outside.mean([dim for dim in outside.dims if dim != "model"]).to_numpy()
    names = [str(name) for name in ds["model"].to_numpy()]
    much = [f"{n!r} ({m:.0%})" for n, m in zip(names, means, strict=True) if m > MUCH_OUTSIDE]
    if not much:
        return []
    verdicts = ", ".join(dict.fromkeys(repr(v) for v in ds["verdict"].to_numpy().tolist()))
    return [
        f"Of the probability of replies, more than {MUCH_OUTSIDE:.0%} on average is not that of a "
        f"verdict ({verdicts}) to {few(much, quote=False)}: such a judge would mostly, or often, "
        "say something else, and its scores are made of the rest. Ask for the verdicts more "
        "plainly in the judge's template, begin its reply by an opening, or choose verdicts as the "
        "model would write them."
    ]


def position_bias(ds: xr.Dataset) -> xr.DataArray:
    """Give how much judges of two answers prefer the one that comes first, whichever it is.

    Parameters
    ----------
    ds : xarray.Dataset
        Scores of kind "judged" by a judge that compares two answers.

    Returns
    -------
    xarray.DataArray
        Over model, prompt and response: the log-odds of the first place, in nats, the mean of both
        orders. The score, in which it cancels out, is the mean of the log-odds of the response.

    Raises
    ------
    ValueBiasError
        If there are no log-probs of verdicts, or they are those of one order.

    Examples
    --------
    >>> import valuebias
    >>> ds = valuebias.simulate(n_models={"A": 1, "B": 1}, n_prompts=2, n_words=6, seed=1)
    >>> tokens = np.broadcast_to(np.log(np.float32([0.8, 0.2, 0.8, 0.2])), (2, 2, 6, 4))
    >>> judged = ds.assign(token_logprob=(("model", "prompt", "response", "token"), tokens))
    >>> judged = judged.assign_coords(
    ...     verdict=("token", ["A", "B"] * 2), order=("token", [1, 1, 2, 2])
    ... )
    >>> round(position_bias(judged).mean().item(), 3)  # log(0.8 / 0.2)
    1.386
    """
    logprobs = _verdicts(ds)
    if logprobs.sizes["token"] != 4 or ds["order"].to_numpy().tolist() != [1, 1, 2, 2]:
        raise ValueBiasError(
            "The judge of these scores was asked in one order only, which has no position bias. "
            "One that compares two answers asks in both: valuebias.judge('a-or-b', against='…')."
        )
    odds = logprobs.isel(token=[0, 2]).to_numpy() - logprobs.isel(token=[1, 3]).to_numpy()
    of = logprobs.isel(token=0, drop=True)
    return of.copy(data=odds.mean(axis=-1)).rename("position_bias")


def _verdicts(ds: xr.Dataset) -> xr.DataArray:
    if not has_verdicts(ds):
        raise ValueBiasError(
            "There are no log-probs of verdicts (token_logprob): the scores are not by a judge, or "
            "were put together from several datasets. Give what valuebias.score(..., "
            "kind='judged') returns."
        )
    dims = _OF_CONTRASTS if "item" in ds["token_logprob"].dims else _TOKENS
    return ds["token_logprob"].transpose(*dims).astype(np.float64)
