"""Put the models of several scorings of one contrast set into one dataset."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from valuebias.errors import ValueBiasError, ValueBiasWarning, shown
from valuebias.schema.building import assemble
from valuebias.schema.contract import NEUTRAL, model_table
from valuebias.schema.contrast_scores import CONTRAST_DIMS, from_contract

__all__ = ["join_contrasts"]

_TOKENS = {"token_reward": np.nan, "token_logprob": np.nan, "token_end": -1}
"""Variables along the tokens of an answer, with what stands beyond its last."""


def join_contrasts(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """Join datasets of different models that have the same items and variants."""
    first = parts[0]
    alike = [first, *(_as_first(first, ds, i) for i, ds in enumerate(parts[1:], start=2))]
    records = [json.loads(ds.attrs["provenance"]) for ds in parts]
    items = first["item"].to_numpy().tolist()
    made = assemble(
        np.concatenate([ds["score"].to_numpy() for ds in alike]),
        models=pd.concat([model_table(ds) for ds in alike]),
        prompts=pd.DataFrame({"text": items, "framing": NEUTRAL}, index=items),
        responses=first["variant"].to_numpy().tolist(),
        kind=first.attrs["kind"],
        units=first.attrs["units"],
        provenance=records[0] if len(records) == 1 else {"parts": records},
    )
    out = from_contract(made).assign_coords(_coords_of_answers(first))
    for name in _TOKENS:
        having = [i for i, ds in enumerate(alike, start=1) if name in ds]
        if len(having) == len(alike):
            out[name] = _longest(alike, name)
        elif having:
            warnings.warn(
                f"Only {len(having)} of {len(alike)} datasets have {name!r}, the first being "
                f"dataset {having[0]}; it is left out. Score all models with it to keep it.",
                ValueBiasWarning,
                stacklevel=4,
            )
    return out


def _coords_of_answers(ds: xr.Dataset) -> dict[str, xr.DataArray]:
    # Tokens are of a tokenizer, and numbers along them, where there are any, say nothing.
    of_models = {"model", "token"}
    return {str(n): coord for n, coord in ds.coords.items() if not of_models & set(coord.dims)}


def _as_first(first: xr.Dataset, ds: xr.Dataset, position: int) -> xr.Dataset:
    """Put a dataset's items and variants in the order of the first; refuse another set's."""
    for dim in CONTRAST_DIMS[1:]:
        mine, other = (each[dim].to_numpy().tolist() for each in (first, ds))
        in_both = set(mine) & set(other)
        for name in [*mine, *other]:
            if name not in in_both:
                has, lacks = "the first dataset", f"dataset {position}"
                if name not in mine:
                    has, lacks = lacks, has
                raise ValueBiasError(
                    f"The {dim} {name!r} is in {has}, not in {lacks}. Score the same contrast set, "
                    "or select what both have beforehand: scores.sel(item=..., variant=...)."
                )
    ds = ds.sel({dim: first[dim].to_numpy() for dim in CONTRAST_DIMS[1:]})
    here, there = _coords_of_answers(first), _coords_of_answers(ds)
    for name in {**here, **there}:
        if name not in here or name not in there:
            only = "the first" if name in here else f"dataset {position}"
            raise ValueBiasError(
                f"Only {only} has the coord {name!r}. Score with the same contrast set, or leave "
                f"it out: scores.drop_vars({name!r})."
            )
        differ = _difference(here[name], there[name])
        if differ:
            raise ValueBiasError(
                f"The coord {name!r} is {differ}. Names of items and "
                "variants are the same, what was asked is not: score the same contrast set."
            )
    return ds


def _difference(mine: xr.DataArray, other: xr.DataArray) -> str:
    """Say where two coords differ; empty where they do not."""
    if mine.dims != other.dims:
        return f"along {mine.dims} in the first dataset and along {other.dims} in another"
    pairs = zip(*(each.to_numpy().ravel().tolist() for each in (mine, other)), strict=True)
    # A number that is not known differs from itself.
    found = next(((a, b) for a, b in pairs if a != b and (a == a or b == b)), None)
    if found is None:
        return ""
    return f"{shown(found[0])} in the first dataset and {shown(found[1])} in another"


def _longest(parts: Sequence[xr.Dataset], name: str) -> xr.DataArray:
    """Join what each token has, whose number differs by tokenizer."""
    longest = max(ds.sizes["token"] for ds in parts)
    padded = [
        ds[name]
        .transpose(*CONTRAST_DIMS, "token")
        .pad(token=(0, longest - ds.sizes["token"]), constant_values=_TOKENS[name])
        for ds in parts
    ]
    return xr.concat([one.drop_vars(one.coords) for one in padded], "model").astype(
        parts[0][name].dtype
    )
