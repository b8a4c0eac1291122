"""The words of the contract, and the tables that lie in a dataset's coords."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import xarray as xr

from valuebias.errors import ValueBiasError

__all__ = [
    "DIMS",
    "FRAMINGS",
    "KINDS",
    "SCHEMA",
    "STAGES",
    "demand_unique",
    "member_table",
    "model_table",
    "prompt_table",
]

SCHEMA = "valuebias/1"
DIMS = ("model", "prompt", "response")
KINDS: Mapping[str, str] = {"reward": "1", "logprob": "nat", "implicit": "nat"}
"""Each kind of score and its units."""
STAGES = ("pretrained", "instruct", "reward")
FRAMINGS = ("positive", "negative")


def model_table(ds: xr.Dataset) -> pd.DataFrame:
    """Give the coords on model as a table.

    Parameters
    ----------
    ds : xarray.Dataset
        A dataset that follows the contract.

    Returns
    -------
    pandas.DataFrame
        One row a model, named by the index; one column a coord.

    Examples
    --------
    >>> from valuebias.simulate import simulate
    >>> ds = simulate(n_models={"A": 1, "B": 1}, n_prompts=2, n_words=6, seed=1)
    >>> model_table(ds)["family"].tolist()
    ['A', 'B']
    """
    return _table(ds, "model")


def prompt_table(ds: xr.Dataset) -> pd.DataFrame:
    """Give the coords on prompt as a table.

    Parameters
    ----------
    ds : xarray.Dataset
        A dataset that follows the contract.

    Returns
    -------
    pandas.DataFrame
        One row a prompt, named by the index; one column a coord.

    Examples
    --------
    >>> from valuebias.simulate import simulate
    >>> ds = simulate(n_models={"A": 1, "B": 1}, n_prompts=2, n_words=6, seed=1)
    >>> prompt_table(ds)["framing"].tolist()
    ['positive', 'negative']
    """
    return _table(ds, "prompt")


def member_table(ds: xr.Dataset) -> pd.DataFrame:
    """Give the membership as a table.

    Parameters
    ----------
    ds : xarray.Dataset
        A dataset that follows the contract.

    Returns
    -------
    pandas.DataFrame
        bool; one row a word, named by the index; one column a category.

    Examples
    --------
    >>> from valuebias.simulate import simulate
    >>> ds = simulate(n_models={"A": 1, "B": 1}, n_prompts=2, n_words={"x": 2, "y": 3}, seed=1)
    >>> member_table(ds).sum().to_dict()
    {'x': 2, 'y': 3}
    """
    membership = ds["membership"].transpose("response", "category")
    # Object indexes, because pandas' own text refuses a lone surrogate.
    index = pd.Index(ds["response"].to_numpy().astype(object), dtype=object, name="response")
    columns = pd.Index(ds["category"].to_numpy().astype(object), dtype=object, name="category")
    return pd.DataFrame(membership.to_numpy(), index=index, columns=columns)


def _table(ds: xr.Dataset, dim: str) -> pd.DataFrame:
    # Object columns, because pandas' own text refuses a lone surrogate.
    columns = {}
    for name, coord in ds.coords.items():
        if coord.dims == (dim,) and name != dim:
            values = coord.to_numpy()
            columns[str(name)] = values.astype(object) if values.dtype.kind in "UT" else values
    index = pd.Index(ds[dim].to_numpy().astype(object), dtype=object, name=dim)
    return pd.DataFrame(columns).set_axis(index, axis=0)


def demand_unique(names: list[str], what: str) -> None:
    """Raise a ValueBiasError that names the first of `names` to occur more than once."""
    if len(set(names)) < len(names):
        seen: set[str] = set()
        for name in names:
            if name in seen:
                raise ValueBiasError(
                    f"The {what} {name!r} occurs {names.count(name)} times; expected once. "
                    "Remove the repeats, or rename them if they differ."
                )
            seen.add(name)
