"""What a multiverse chooses from: lists by name, halves, subsets of words and prompts."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from valuebias._core.sums import json_sum, sum_of
from valuebias.analysis.design.priors import Prior, as_prior
from valuebias.errors import ValueBiasError, ValueBiasWarning, did_you_mean, few, shown
from valuebias.instruments import Lexicon
from valuebias.schema import member_table, prompt_table
from valuebias.schema.weights import marks_or_weights

__all__ = [
    "by_name",
    "is_whole",
    "meaning",
    "read_lexicons",
    "read_priors",
    "read_prompts",
    "subset",
]

_ALL_WORDS = "all words"
_ALL_PROMPTS = "all prompts"


def is_whole(value: object, least: int) -> bool:
    """Tell whether a value is a whole number of at least that."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return whole and value >= least  # type: ignore[operator]


def by_name(argument: str, values: Any) -> dict[str, Any]:
    """Return the choices by their names, each once."""
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise ValueBiasError(f"{argument} must be a list, found {shown(values)}.")
    wrong = [value for value in values if not isinstance(value, str | None)]
    if wrong:
        raise ValueBiasError(f"{argument} must list texts, found {shown(wrong[0])}.")
    names = [str(value) for value in values]
    if None in values and "None" in values:
        raise ValueBiasError(
            f"{argument} lists None and 'None', which are one name; leave one out."
        )
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        text = f"{argument} lists {few(twice)} more than once; it counts once."
        warnings.warn(text, ValueBiasWarning, stacklevel=3)
    return dict(zip(names, values, strict=True))


def _halves(groups: Sequence[np.ndarray[Any, Any]], seed: int) -> list[np.ndarray[Any, Any]]:
    """Split each group at random, and return the two halves over all."""
    rng = np.random.default_rng([seed, 14])
    mixed = [rng.permutation(group) for group in groups]
    return [np.unique(np.concatenate([group[k::2] for group in mixed])) for k in (0, 1)]


def read_lexicons(data: xr.Dataset, asked: Any, seed: int) -> dict[str, Any]:
    """Return what each lexicon keeps of the words: positions, or a table of memberships."""
    every: dict[str, Any] = {_ALL_WORDS: None}
    member = member_table(data).to_numpy(dtype=bool)
    if asked is None:
        return every
    if isinstance(asked, str) and asked == "halves":
        used = np.zeros(len(member), dtype=bool)
        groups = []
        for column in member.T:
            groups.append(np.flatnonzero(column & ~used))
            used |= column
        first, second = _halves(groups, seed)
        return every | {"half 1": first, "half 2": second}
    words = [str(word) for word in data["response"].to_numpy()]
    if isinstance(asked, str) and asked == "jackknife":
        inside = np.flatnonzero(member.any(axis=1))
        return every | {f"without {words[i]}": np.setdiff1d(inside, [i]) for i in inside}
    if not isinstance(asked, Mapping):
        raise ValueBiasError(
            f"lexicons is {shown(asked)}. {did_you_mean(asked, ('halves', 'jackknife'))} Or map "
            "names to lexicons or to lists of words."
        )
    for name, given in _named("lexicons", asked, _ALL_WORDS).items():
        if isinstance(given, Lexicon):
            every[name] = given.membership(words)
        else:
            every[name] = _positions("lexicons", name, given, words, "a Lexicon or a list of words")
    return every


def read_prompts(data: xr.Dataset, asked: Any, seed: int) -> dict[str, Any]:
    """Return which prompts each choice keeps."""
    every: dict[str, Any] = {_ALL_PROMPTS: None}
    if asked is None:
        return every
    if isinstance(asked, str) and asked == "halves":
        framing = prompt_table(data)["framing"].to_numpy().astype(str)
        groups = [np.flatnonzero(framing == name) for name in dict.fromkeys(framing.tolist())]
        first, second = _halves(groups, seed)
        return every | {"half 1": first, "half 2": second}
    if not isinstance(asked, Mapping):
        raise ValueBiasError(
            f"prompts is {shown(asked)}; give 'halves', None, or lists of prompts by name."
        )
    known = [str(name) for name in data["prompt"].to_numpy()]
    return every | {
        name: _positions("prompts", name, given, known, "a list of prompts")
        for name, given in _named("prompts", asked, _ALL_PROMPTS).items()
    }


def _named(argument: str, asked: Mapping[Any, Any], reserved: str = "") -> dict[str, Any]:
    """Return choices by their names as text, by which tables and files tell them."""
    named: dict[str, Any] = {}
    for name, given in asked.items():
        if str(name) in named:
            raise ValueBiasError(
                f"{argument} has two choices that are named {shown(str(name))}, as text. Give each "
                "a name of its own."
            )
        if reserved and str(name) == reserved:
            raise ValueBiasError(
                f"{argument} names a choice {reserved!r}, which stands for all there are, and "
                "comes first by itself. Give yours another name."
            )
        named[str(name)] = given
    return named


def _positions(
    argument: str, name: str, given: Any, known: list[str], wanted: str
) -> np.ndarray[Any, Any]:
    """Positions of the words or prompts to keep."""
    # A text would be taken for its letters, a table for its columns.
    no_list = isinstance(given, str | bytes | Mapping | pd.DataFrame)
    try:
        asked = [] if no_list else [str(one) for one in given]
    except TypeError:
        no_list = True
    if no_list:
        raise ValueBiasError(f"{argument}[{name!r}] must be {wanted}, found {shown(given)}.")
    unknown = [one for one in asked if one not in known]
    if unknown or not asked:
        raise ValueBiasError(
            f"{argument}[{name!r}] names {few(unknown) or 'nothing'}, which the scores lack. "
            f"{did_you_mean(unknown[0] if unknown else '', known)}"
        )
    return np.flatnonzero(np.isin(known, asked))


def read_priors(asked: Any) -> dict[str, Prior]:
    """Return the priors by name."""
    if asked is None:
        return {"default": Prior(), "wider": Prior(mean=2.0, effect=1.0)}
    if not isinstance(asked, Mapping):
        raise ValueBiasError(f"priors must map names to priors, found {shown(asked)}.")
    priors = {}
    for name, given in _named("priors", asked).items():
        try:
            priors[name] = as_prior(given)
        except ValueBiasError as error:
            raise ValueBiasError(f"priors[{name!r}]: {error}") from error
    return priors


def meaning(value: Any) -> str:
    """Give the sum of what stands behind the name of a choice."""
    said: Any = value
    if isinstance(value, Prior):
        said = {name: number for name, number in value.to_dict().items() if name != "sd"}
        said = {name: float(number) for name, number in said.items()}
        said["sd"] = {str(name): float(scale) for name, scale in value.sd.items()}
    elif isinstance(value, pd.DataFrame):
        member = np.ascontiguousarray(marks_or_weights(value).to_numpy())
        said = [[str(name) for name in value.columns], sum_of(member.tobytes())]
    elif isinstance(value, np.ndarray):
        said = sum_of(value.astype("<i8").tobytes())
    return json_sum({type(value).__name__: said})


def subset(data: xr.Dataset, lexicon: Any, prompts: Any) -> xr.Dataset:
    """Keep some words or give them other categories, and keep some prompts."""
    if isinstance(lexicon, pd.DataFrame):
        member = xr.DataArray(
            marks_or_weights(lexicon).to_numpy(), dims=("response", "category"),
            coords={"category": [str(name) for name in lexicon.columns]},
        )  # fmt: skip
        data = data.drop_vars(["membership", "category"]).assign(membership=member)
    elif lexicon is not None:
        data = data.isel(response=lexicon)
    return data if prompts is None else data.isel(prompt=prompts)
