"""The words of the contract, and the tables that lie in a dataset's coords."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

import numpy as np
import pandas as pd
import xarray as xr

from valuebias.errors import ValueBiasError

__all__ = [
    "DIMS",
    "FRAMINGS",
    "KINDS",
    "NEUTRAL",
    "SCHEMA",
    "SIGNS",
    "STAGES",
    "check_unique",
    "coord_table",
    "member_table",
    "model_table",
    "prompt_table",
    "word_table",
]

SCHEMA = "valuebias/1"
DIMS = ("model", "prompt", "response")
KINDS: Mapping[str, str] = {
    "reward": "1",
    "logprob": "nat",
    "implicit": "nat",
    "judged": "1",
}
"""Each kind of score and its units."""
STAGES = ("pretrained", "instruct", "reward")
SIGNS: Mapping[str, float] = {"positive": 1.0, "negative": -1.0}
"""The framings that say whether a high score is liking, and its sign there."""
NEUTRAL = "neutral"
"""The framing of prompts that ask for neither good nor bad."""
FRAMINGS = (*SIGNS, NEUTRAL)


def model_table(ds: xr.Dataset) -> pd.DataFrame:
    """Give the coords on model as a table.

    Parameters
    ----------
    ds : xarray.Dataset
        A dataset that follows the contract.

    Returns
    -------
    pandas.DataFrame
        One row per model, named by the index; one column a coord.

    Examples
    --------
    >>> from valuebias import simulate
    >>> ds = simulate(n_models={"A": 1, "B": 1}, n_prompts=2, n_words=6, seed=1)
    >>> model_table(ds)["family"].tolist()
    ['A', 'B']
    """
    return coord_table(ds, "model")


def prompt_table(ds: xr.Dataset) -> pd.DataFrame:
    """Give the coords on prompt as a table.

    Parameters
    ----------
    ds : xarray.Dataset
        A dataset that follows the contract.

    Returns
    -------
    pandas.DataFrame
        One row per prompt, named by the index; one column a coord.

    Examples
    --------
    >>> from valuebias import simulate
    >>> ds = simulate(n_models={"A": 1, "B": 1}, n_prompts=2, n_words=6, seed=1)
    >>> prompt_table(ds)["framing"].tolist()
    ['positive', 'negative']
    """
    return coord_table(ds, "prompt")


def word_table(ds: xr.Dataset) -> pd.DataFrame:
    """Give what is known of the words as a table.

    Parameters
    ----------
    ds : xarray.Dataset
        A dataset that follows the contract.

    Returns
    -------
    pandas.DataFrame
        One row per word, named by the index; one column a coord on response, such as ``n_tokens``
        (:func:`valuebias.score` says what it is) or one of your own. Where the dataset has no coord
        ``length``, a column ``length`` is added: the number of characters, which are the Unicode
        code points of the word's composed form (NFC), so that "é" is one, however it is written.

    Examples
    --------
    >>> from valuebias import simulate
    >>> ds = simulate(n_models={"A": 1, "B": 1}, n_prompts=2, n_words={"x": 1, "yy": 1}, seed=1)
    >>> ds = ds.assign_coords(frequency=("response", [3.5, 0.25]))
    >>> word_table(ds).to_dict("index")
    {'x_0001': {'frequency': 3.5, 'length': 6}, 'yy_0001': {'frequency': 0.25, 'length': 7}}
    """
    table = coord_table(ds, "response")
    if "length" in table.columns:
        return table
    lengths = [len(unicodedata.normalize("NFC", str(word))) for word in table.index]
    return table.assign(length=np.array(lengths, dtype=np.int64))


def member_table(ds: xr.Dataset) -> pd.DataFrame:
    """Give the membership as a table.

    Parameters
    ----------
    ds : xarray.Dataset
        A dataset that follows the contract.

    Returns
    -------
    pandas.DataFrame
        bool, or float where words have weights; one row per word, named by the index; one column
        per category.

    Examples
    --------
    >>> from valuebias import simulate
    >>> ds = simulate(n_models={"A": 1, "B": 1}, n_prompts=2, n_words={"x": 2, "y": 3}, seed=1)
    >>> member_table(ds).sum().to_dict()
    {'x': 2, 'y': 3}
    """
    membership = ds["membership"].transpose("response", "category")
    # Object indexes, because pandas' own text refuses a lone surrogate.
    index = pd.Index(ds["response"].to_numpy().astype(object), dtype=object, name="response")
    columns = pd.Index(ds["category"].to_numpy().astype(object), dtype=object, name="category")
    return pd.DataFrame(membership.to_numpy(), index=index, columns=columns)


def coord_table(ds: xr.Dataset, dim: str) -> pd.DataFrame:
    """Give the coords on a dim, and nothing else, as a table."""
    # Object columns, because pandas' own text refuses a lone surrogate.
    columns = {}
    for name, coord in ds.coords.items():
        if coord.dims == (dim,) and name != dim:
            values = coord.to_numpy()
            texts = values.dtype.kind in "OUT"
            columns[str(name)] = pd.Series(values, dtype=object) if texts else pd.Series(values)
    index = pd.Index(ds[dim].to_numpy().astype(object), dtype=object, name=dim)
    return pd.DataFrame(columns, index=range(len(index))).set_axis(index, axis=0)


def check_unique(names: list[str], noun: str) -> None:
    """Raise a ValueBiasError that names the first of `names` to occur more than once."""
    if len(set(names)) < len(names):
        seen: set[str] = set()
        for name in names:
            if name in seen:
                raise ValueBiasError(
                    f"The {noun} {name!r} occurs {names.count(name)} times; expected once. "
                    "Remove the repeats, or rename them if they differ."
                )
            seen.add(name)
