"""A reference rater: numbers that somebody else gave to the words of a dataset."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from valuebias.errors import ValueBiasError, did_you_mean, few, shown

__all__ = ["FEWEST", "reference_values"]

Array = NDArray[np.float64]

FEWEST = 3
"""With fewer words every order agrees or disagrees in full."""


def reference_values(
    dataset: xr.Dataset, reference: str | pd.Series | xr.DataArray
) -> tuple[Array, str]:
    """Give the reference for every word of a dataset, NaN where it has none, and what it is called.

    Examples
    --------
    >>> from valuebias import simulate
    >>> ds = simulate(n_models={"A": 1}, n_prompts=1, n_words={"x": 3, "y": 1}, seed=1)
    >>> human = pd.Series({"x_0003": 4, "x_0001": 2.5, "x_0002": 3, "other": 1}, name="human")
    >>> values, name = reference_values(ds, human)
    >>> values.tolist(), name
    ([2.5, 3.0, 4.0, nan], 'human')
    """
    words = pd.Index(dataset["response"].to_numpy().astype(object), dtype=object)
    if isinstance(reference, str):
        found, name = _coordinate(dataset, reference), reference
    elif isinstance(reference, pd.Series):
        found, name = _by_word(reference, words), str(reference.name or "reference")
    elif isinstance(reference, xr.DataArray):
        found, name = _of_array(reference, words), str(reference.name or "reference")
    else:
        raise ValueBiasError(
            f"reference is {shown(reference)}; expected the name of a coordinate on response, or a "
            "Series or DataArray whose index has the words: pd.Series(values, index=words)."
        )
    values = _numbers(found, name)
    known = values[~np.isnan(values)]
    if len(known) < FEWEST:
        raise ValueBiasError(
            f"The reference {name!r} has numbers for {len(known)} of the {len(words)} words of the "
            f"scores, {few(words.tolist())}; expected {FEWEST} at least. Its index should have the "
            "words as the scores write them."
        )
    if np.ptp(known) == 0:
        raise ValueBiasError(
            f"The reference {name!r} is {known[0]:g} for every word, so that it ranks none above "
            "another."
        )
    return values, name


def _coordinate(dataset: xr.Dataset, name: str) -> Iterable[object]:
    known = [
        str(key)
        for key, coord in dataset.coords.items()
        if coord.dims == ("response",) and key != "response"
    ]
    if name not in known:
        said = f"The scores have no coordinate {shown(name)} on response."
        if not known:
            raise ValueBiasError(
                f"{said} They have none at all: give the reference as a Series whose index has the "
                "words."
            )
        raise ValueBiasError(f"{said} {did_you_mean(name, known)}")
    return dataset[name].to_numpy()


def _by_word(series: pd.Series, words: pd.Index) -> Iterable[object]:
    twice = series.index[series.index.duplicated()]
    if len(twice):
        raise ValueBiasError(
            f"The reference has the word {shown(twice[0])} more than once. Keep one value a word, "
            "such as series.groupby(level=0).mean()."
        )
    # Not reindexed by pandas, whose own text refuses a lone surrogate.
    by_word = dict(zip(series.index.tolist(), series.tolist(), strict=True))
    return [by_word.get(word, np.nan) for word in words]


def _of_array(array: xr.DataArray, words: pd.Index) -> Iterable[object]:
    if array.dims != ("response",):
        raise ValueBiasError(
            f"The reference has the dims {array.dims}; expected ('response',), one number a word."
        )
    if "response" in array.coords:
        index = pd.Index(array["response"].to_numpy().astype(object), dtype=object)
        return _by_word(pd.Series(array.to_numpy(), index=index), words)
    if array.size != len(words):
        raise ValueBiasError(
            f"The reference has {array.size} values and no coordinate response that names their "
            f"words, and the scores have {len(words)} words. Give it their names."
        )
    return array.to_numpy()


def _numbers(values: Iterable[object], name: str) -> Array:
    try:
        numbers = np.array(
            [np.nan if value is None or value is pd.NA else value for value in values],
            dtype=np.float64,
        )
    except (TypeError, ValueError) as error:
        raise ValueBiasError(
            f"The reference {name!r} has values that are no numbers ({error}); expected a rating "
            "for each word, NaN where there is none."
        ) from error
    if np.isinf(numbers).any():
        raise ValueBiasError(
            f"The reference {name!r} has infinite values; expected numbers, NaN where a word has "
            "none."
        )
    return numbers
