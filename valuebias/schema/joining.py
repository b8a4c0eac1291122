"""Put the models of several datasets into one."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from valuebias.errors import ValueBiasError, ValueBiasWarning, did_you_mean
from valuebias.schema.building import build
from valuebias.schema.contract import coord_table, model_table, prompt_table
from valuebias.schema.contrast_joining import join_contrasts
from valuebias.schema.contrast_scores import is_contrasts, validate_contrasts
from valuebias.schema.validation import validate

__all__ = ["concat", "joined_words"]


def concat(datasets: Sequence[xr.Dataset], *, join: str = "exact") -> xr.Dataset:
    """Put the models of several datasets into one.

    Parameters
    ----------
    datasets : sequence of xarray.Dataset
        Scores of different models, of one kind, in one unit and with the same categories. Prompts
        and words may come in another order; the first dataset's is kept. Or scores of one contrast
        set, likewise.
    join : {"exact", "outer"}
        What to do with words and prompts that not all datasets have: ``"exact"`` refuses them,
        ``"outer"`` keeps them and fills their missing scores with NaN.

    Returns
    -------
    xarray.Dataset
        All models. A coord on model that some datasets lack is "" (text) or NaN there. A coord on
        response is taken from whichever dataset knows it of a word; ``n_tokens`` is the mean over
        the models of those that have it. The provenance lists those of the parts. What is known
        of each token of an answer is kept where all have it.

    Raises
    ------
    ValueBiasError
        If a model occurs twice, or kind, units, texts of prompts, categories, memberships, coords
        on response or (``"exact"``) prompts or words differ; the message names the first
        difference. Of contrast sets, if items, variants or anything that is known of them differ.

    Warns
    -----
    ValueBiasWarning
        If :func:`valuebias.align` of another version made some of them by another rule; or, of
        contrast sets, if only some have what was read at each token, which is then left out.

    Examples
    --------
    >>> import valuebias
    >>> ds = valuebias.simulate(n_models={"A": 2, "B": 2}, n_prompts=2, n_words=6, seed=1)
    >>> both = concat([ds.isel(model=[0]), ds.isel(model=[1, 2, 3])])
    >>> both.equals(ds)
    True
    """
    if join not in ("exact", "outer"):
        raise ValueBiasError(f"join is {join!r}. {did_you_mean(join, ('exact', 'outer'))}")
    listed = _listed(datasets)
    if not listed:
        raise ValueBiasError("There is nothing to concatenate: expected at least one dataset.")
    if any(map(is_contrasts, listed)):
        return _of_contrasts([validate_contrasts(ds) for ds in listed], join)
    parts = [validate(ds) for ds in listed]
    first = parts[0]
    _say_how_aligned(parts)
    words = list(dict.fromkeys(str(w) for ds in parts for w in ds["response"].to_numpy()))
    _check_models_differ(parts)
    for position, ds in enumerate(parts[1:], start=2):
        _check_alike(first, ds, position)
        if join == "exact":
            _check_same_names(first["prompt"].to_numpy(), ds["prompt"].to_numpy(), position)
    if join == "exact":
        _check_same_words(parts, words)
    return validate(_joined(parts, words))


def _listed(datasets: Any) -> Sequence[xr.Dataset]:
    """Refuse what goes through names and not through datasets."""
    if isinstance(datasets, xr.Dataset | Mapping):
        listed = "[ds]" if isinstance(datasets, xr.Dataset) else "list(parts.values())"
        raise ValueBiasError(
            f"The datasets are given as {type(datasets).__name__}; expected a list of them: "
            f"{listed}."
        )
    return list(datasets)


def _of_contrasts(parts: Sequence[xr.Dataset], join: str) -> xr.Dataset:
    if join == "outer":
        raise ValueBiasError(
            "join='outer' is for words and prompts; contrast sets are joined where items and "
            "variants are the same. Select those that all have: scores.sel(item=..., variant=...)."
        )
    _check_models_differ(parts)
    for position, ds in enumerate(parts[1:], start=2):
        _check_measured(parts[0], ds, position)
    return join_contrasts(parts)


def _say_how_aligned(parts: Sequence[xr.Dataset]) -> None:
    """Warn where some were joined on texts of tokens as earlier versions had them."""
    how = [json.loads(ds.attrs["provenance"]).get("alignment") for ds in parts]
    rules = {str(one.get("texts")) for one in how if isinstance(one, dict)}
    if len(rules) > 1:
        warnings.warn(
            "Some of these scores were aligned by an earlier version of valuebias, to which tokens "
            "of SentencePiece vocabularies (Llama 2, Mistral) had lost the space that they begin "
            "with, others were not. Align them again unless they have no such model.",
            ValueBiasWarning,
            stacklevel=3,
        )


def joined_words(tables: Sequence[pd.DataFrame], n_models: Sequence[int]) -> pd.DataFrame:
    """Put what several datasets know of words into one table; raise where they contradict.

    The index of each table are its words. How many tokens a word has differs by model, so
    ``n_tokens``, a mean over models, becomes the mean over all.
    """
    columns = dict.fromkeys(column for table in tables for column in table.columns)
    if not columns:
        return pd.DataFrame()
    words = list(dict.fromkeys(word for table in tables for word in table.index))
    index = pd.Index(words, dtype=object)
    columns_of_words = {}
    for column in columns:
        having = [(t[column], n) for t, n in zip(tables, n_models, strict=True) if column in t]
        columns_of_words[column] = (
            _mean(having, index) if column == "n_tokens" else _agreed(having, index)
        )
    return pd.DataFrame(columns_of_words, index=index)


def _mean(having: Sequence[tuple[pd.Series[Any], int]], index: pd.Index[Any]) -> pd.Series[Any]:
    values = np.array([s.reindex(index).to_numpy(dtype=np.float64) for s, _ in having])
    weights = np.array([[n] for _, n in having]) * ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        mean = np.nansum(values * weights, axis=0) / weights.sum(axis=0)
    return pd.Series(mean, index=index)


def _agreed(having: Sequence[tuple[pd.Series[Any], int]], index: pd.Index[Any]) -> pd.Series[Any]:
    first = having[0][0]
    if all(series.equals(first) for series, _ in having) and first.index.equals(index):
        return first
    value_of: dict[Any, Any] = {}
    for series, _ in having:
        for word, value in zip(series.index, series.tolist(), strict=True):
            if value == "" or value != value:
                continue
            if value_of.setdefault(word, value) != value:
                raise ValueBiasError(
                    f"The word {word!r} has {series.name} {value_of[word]!r} in one dataset and "
                    f"{value!r} in another. Correct one, or leave the coord out of one: "
                    f"ds.drop_vars({series.name!r})."
                )
    if any(series.dtype == object for series, _ in having):
        return pd.Series([value_of.get(word, "") for word in index], index=index, dtype=object)
    # A truth that is not known is no truth value, so that it becomes a number.
    kind = None if len(value_of) == len(index) else np.float64
    return pd.Series([value_of.get(word, np.nan) for word in index], index=index, dtype=kind)


def _check_models_differ(parts: Sequence[xr.Dataset]) -> None:
    owner: dict[str, int] = {}
    for position, ds in enumerate(parts, start=1):
        for model in ds["model"].to_numpy().tolist():
            if model in owner:
                raise ValueBiasError(
                    f"Model {model!r} is in dataset {owner[model]} and in dataset {position}; "
                    "expected each model once. Drop or rename it in one of them."
                )
            owner[model] = position


def _check_measured(first: xr.Dataset, other: xr.Dataset, position: int) -> None:
    for name in ("kind", "units"):
        if first.attrs[name] != other.attrs[name]:
            raise ValueBiasError(
                f"Dataset {position} has {name} {other.attrs[name]!r}, the first "
                f"{first.attrs[name]!r}. Scores of different {name} cannot be joined."
            )


def _check_alike(first: xr.Dataset, other: xr.Dataset, position: int) -> None:
    _check_measured(first, other, position)
    _check_same_names(
        first["category"].to_numpy(), other["category"].to_numpy(), position, dim="category"
    )
    for name in ("text", "framing"):
        mine = dict(zip(first["prompt"].to_numpy(), first[name].to_numpy(), strict=True))
        for prompt, value in zip(other["prompt"].to_numpy(), other[name].to_numpy(), strict=True):
            if mine.get(prompt, value) != value:
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
    mine: npt.NDArray[Any], other: npt.NDArray[Any], position: int, dim: str = "prompt"
) -> None:
    differing = sorted(set(mine.tolist()) ^ set(other.tolist()))
    if differing:
        having = f"the first dataset, not dataset {position}"
        if differing[0] not in mine:
            having = f"dataset {position}, not the first"
        advice = (
            "Use join='outer' to keep all prompts, with NaN where there is no score, or select the "
            "shared ones beforehand."
            if dim == "prompt"
            else "All parts must have the same category names: make them with one lexicon."
        )
        raise ValueBiasError(f"The {dim} {differing[0]!r} is in {having}. {advice}")


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
    prompts = prompt_table(first)
    for ds in parts[1:]:
        more = prompt_table(ds)
        more = more[~more.index.isin(prompts.index)]
        prompts = pd.concat([prompts, more]) if len(more) else prompts
    row_of_prompt = {str(prompt): i for i, prompt in enumerate(prompts.index)}
    score = np.full((len(models), len(prompts), len(words)), np.nan, dtype=np.float32)
    # As weights, of which marks are the special case.
    member = np.zeros((len(words), first.sizes["category"]))
    row_of = {word: i for i, word in enumerate(words)}
    start = 0
    for ds in parts:
        stop = start + ds.sizes["model"]
        aligned = ds.sel(category=first["category"].to_numpy())
        where = [row_of[str(word)] for word in ds["response"].to_numpy()]
        asked = [row_of_prompt[str(prompt)] for prompt in ds["prompt"].to_numpy()]
        score[np.ix_(range(start, stop), asked, where)] = aligned["score"].to_numpy()
        mine = aligned["membership"].to_numpy().astype(float)
        member[where] = np.where(mine != 0, mine, member[where])
        start = stop
    records = [json.loads(ds.attrs["provenance"]) for ds in parts]
    lexicon = pd.DataFrame(
        member, index=pd.Index(words, dtype=object), columns=first["category"].to_numpy().tolist()
    )
    return build(
        score,
        models=models,
        prompts=prompts,
        lexicon=lexicon if lexicon.size else None,
        responses=words,
        words=joined_words(
            [coord_table(ds, "response") for ds in parts], [ds.sizes["model"] for ds in parts]
        ),
        kind=first.attrs["kind"],
        units=first.attrs["units"],
        provenance=records[0] if len(records) == 1 else {"parts": records},
    )
