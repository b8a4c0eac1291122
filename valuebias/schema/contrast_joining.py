"""Put the models of several scorings of one contrast set into one dataset."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from valuebias.errors import ValueBiasError, shown
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
        if all(name in ds for ds in alike):
            out[name] = _longest(alike, name)
    return out


def _coords_of_answers(ds: xr.Dataset) -> dict[str, xr.DataArray]:
    return {str(name): coord for name, coord in ds.coords.items() if "model" not in coord.dims}


def _as_first(first: xr.Dataset, ds: xr.Dataset, position: int) -> xr.Dataset:
    """Put a dataset's items and variants in the order of the first; refuse another set's."""
    for dim in CONTRAST_DIMS[1:]:
        mine, other = (each[dim].to_numpy().tolist() for each in (first, ds))
        for name in [*mine, *other]:
            if name not in mine or name not in other:
                where = ("the first dataset", f"dataset {position}")
                has, lacks = where if name in mine else where[::-1]
                raise ValueBiasError(
                    f"The {dim} {name!r} is in {has}, not in {lacks}. Score the same contrast set, "
                    "or select what both have beforehand: scores.sel(item=..., variant=...)."
                )
    ds = ds.sel({dim: first[dim].to_numpy() for dim in CONTRAST_DIMS[1:]})
    mine, other = _coords_of_answers(first), _coords_of_answers(ds)
    for name in {**mine, **other}:
        if name not in mine or name not in other:
            where = "the first" if name in mine else f"dataset {position}"
            raise ValueBiasError(
                f"Only {where} has the coord {name!r}. Score with the same contrast set, or leave "
                f"it out: scores.drop_vars({name!r})."
            )
        if not mine[name].equals(other[name]):
            raise ValueBiasError(
                f"The coord {name!r} is {_difference(mine[name], other[name])}. Names of items and "
                "variants are the same, what was asked is not: score the same contrast set."
            )
    return ds


def _difference(mine: xr.DataArray, other: xr.DataArray) -> str:
    if mine.dims != other.dims:
        return f"along {mine.dims} in the first dataset and along {other.dims} in another"
    at = np.flatnonzero((mine.to_numpy() != other.to_numpy()).ravel())[0]
    one, two = (shown(each.to_numpy().ravel()[at].item()) for each in (mine, other))
    return f"{one} in the first dataset and {two} in another"


def _longest(parts: Sequence[xr.Dataset], name: str) -> xr.Variable:
    """Join what each token has, whose number differs by tokenizer."""
    longest = max(ds.sizes["token"] for ds in parts)
    beyond = _TOKENS[name]
    padded = [
        ds[name].variable.pad(token=(0, longest - ds.sizes["token"]), constant_values=beyond)
        for ds in parts
    ]
    return xr.Variable.concat(padded, "model").astype(parts[0][name].dtype)
