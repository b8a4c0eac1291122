"""Put the models of several datasets into one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from valuebias.errors import ValueBiasError, did_you_mean
from valuebias.schema.building import build
from valuebias.schema.contract import model_table, prompt_table
from valuebias.schema.validation import validate

__all__ = ["concat"]


def concat(datasets: Sequence[xr.Dataset], *, join: str = "exact") -> xr.Dataset:
    """Put the models of several datasets into one.

    Parameters
    ----------
    datasets : sequence of xarray.Dataset
        Scores of different models on the same prompts, of one kind, in one unit and with the same
        categories. Prompts and words may come in another order; the first dataset's is kept.
    join : {"exact", "outer"}
        What to do with words that not all datasets have: ``"exact"`` refuses them, ``"outer"``
        keeps them and fills their missing scores with NaN.

    Returns
    -------
    xarray.Dataset
        All models. A coord on model that some datasets lack is "" (text) or NaN there. The
        provenance lists those of the parts.

    Raises
    ------
    ValueBiasError
        If a model occurs twice, or kind, units, prompts, categories, memberships or (``"exact"``)
        words differ; the message names the first difference.

    Examples
    --------
    >>> import valuebias.simulate
    >>> ds = valuebias.simulate.simulate(n_models={"A": 2, "B": 2}, n_prompts=2, n_words=6, seed=1)
    >>> both = concat([ds.isel(model=[0]), ds.isel(model=[1, 2, 3])])
    >>> both.equals(ds)
    True
    """
    if join not in ("exact", "outer"):
        raise ValueBiasError(f"join is {join!r}. {did_you_mean(join, ('exact', 'outer'))}")
    parts = [validate(ds) for ds in datasets]
    if not parts:
        raise ValueBiasError("There is nothing to concatenate: expected at least one dataset.")
    first = parts[0]
    words = list(dict.fromkeys(str(w) for ds in parts for w in ds["response"].to_numpy()))
    _check_models_differ(parts)
    for position, ds in enumerate(parts[1:], start=2):
        _check_alike(first, ds, position)
    if join == "exact":
        _check_same_words(parts, words)
    return validate(_joined(parts, words))


def _check_models_differ(parts: list[xr.Dataset]) -> None:
    owner: dict[str, int] = {}
    for position, ds in enumerate(parts, start=1):
        for model in ds["model"].to_numpy().tolist():
            if model in owner:
                raise ValueBiasError(
                    f"Model {model!r} is in dataset {owner[model]} and in dataset {position}; "
                    "expected each model once. Drop or rename it in one of them."
                )
            owner[model] = position


def _check_alike(first: xr.Dataset, other: xr.Dataset, position: int) -> None:
    for name in ("kind", "units"):
        if first.attrs[name] != other.attrs[name]:
            raise ValueBiasError(
                f"Dataset {position} has {name} {other.attrs[name]!r}, the first "
                f"{first.attrs[name]!r}. Scores of different {name} cannot be joined."
            )
    for dim in ("prompt", "category"):
        _check_same_names(first[dim].to_numpy(), other[dim].to_numpy(), dim, position)
    for name in ("text", "framing"):
        mine = dict(zip(first["prompt"].to_numpy(), first[name].to_numpy(), strict=True))
        for prompt, value in zip(other["prompt"].to_numpy(), other[name].to_numpy(), strict=True):
            if mine[prompt] != value:
                raise ValueBiasError(
                    f"Prompt {str(prompt)!r} has {name} {str(value)!r} in dataset {position} and "
                    f"{str(mine[prompt])!r} in the first. Rename one of the prompts."
                )
    shared = [w for w in first["response"].to_numpy() if w in set(other["response"].to_numpy())]
    aligned = other["membership"].sel(response=shared, category=first["category"].to_numpy())
    differs = (first["membership"].sel(response=shared).values != aligned.values).any(axis=1)
    if differs.any():
        word = str(shared[int(np.argmax(differs))])
        raise ValueBiasError(
            f"The word {word!r} is in other categories in dataset {position} than in the first. "
            "Make all parts with the same lexicon."
        )


def _check_same_names(
    mine: npt.NDArray[Any], other: npt.NDArray[Any], dim: str, position: int
) -> None:
    differing = sorted(set(mine.tolist()) ^ set(other.tolist()))
    if differing:
        having = f"the first dataset, not dataset {position}"
        if differing[0] not in mine:
            having = f"dataset {position}, not the first"
        raise ValueBiasError(
            f"The {dim} {differing[0]!r} is in {having}; all parts must have the same {dim} names."
        )


def _check_same_words(parts: list[xr.Dataset], words: list[str]) -> None:
    for position, ds in enumerate(parts, start=1):
        absent = set(words) - set(ds["response"].to_numpy().tolist())
        if absent:
            word = next(w for w in words if w in absent)
            raise ValueBiasError(
                f"Dataset {position} lacks {len(absent)} of the {len(words)} words, the first "
                f"being {word!r}. Use join='outer' to keep all words, with NaN where there is no "
                "score, or select the shared words beforehand."
            )


def _joined(parts: list[xr.Dataset], words: list[str]) -> xr.Dataset:
    first = parts[0]
    models = pd.concat([model_table(ds) for ds in parts])
    score = np.full((len(models), first.sizes["prompt"], len(words)), np.nan, dtype=np.float32)
    member = np.zeros((len(words), first.sizes["category"]), dtype=bool)
    place = {word: i for i, word in enumerate(words)}
    start = 0
    for ds in parts:
        stop = start + ds.sizes["model"]
        aligned = ds.sel(prompt=first["prompt"].to_numpy(), category=first["category"].to_numpy())
        where = [place[str(word)] for word in ds["response"].to_numpy()]
        score[start:stop, :, where] = aligned["score"].to_numpy()
        member[where] |= aligned["membership"].to_numpy()
        start = stop
    records = [json.loads(ds.attrs["provenance"]) for ds in parts]
    lexicon = pd.DataFrame(
        member, index=pd.Index(words, dtype=object), columns=first["category"].to_numpy().tolist()
    )
    return build(
        score,
        models=models,
        prompts=prompt_table(first),
        lexicon=lexicon if lexicon.size else None,
        responses=words,
        kind=first.attrs["kind"],
        units=first.attrs["units"],
        provenance=records[0] if len(records) == 1 else {"parts": records},
    )
