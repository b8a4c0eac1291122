"""Make a dataset out of scores, models, prompts and word lists."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from valuebias._core.frames import as_frame
from valuebias.errors import ValueBiasError, did_you_mean
from valuebias.schema.contract import DIMS, KINDS, SCHEMA, check_unique
from valuebias.schema.narrowing import narrowed
from valuebias.schema.validation import validate
from valuebias.schema.weights import check_weights, marks_or_weights

__all__ = ["assemble", "build"]


@runtime_checkable
class _Table(Protocol):
    """What :func:`build` needs of a prompt set."""

    @property
    def table(self) -> pd.DataFrame: ...


@runtime_checkable
class _Memberships(Protocol):
    """What :func:`build` needs of a lexicon."""

    def membership(self, words: Sequence[str]) -> pd.DataFrame: ...


def build(
    score: xr.DataArray | npt.ArrayLike,
    *,
    models: pd.DataFrame,
    prompts: _Table | pd.DataFrame,
    lexicon: _Memberships | pd.DataFrame | None = None,
    responses: Sequence[str] | None = None,
    words: pd.DataFrame | None = None,
    kind: str = "reward",
    units: str | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Put scores, models, prompts and word lists together as a dataset.

    Parameters
    ----------
    score : xarray.DataArray or array_like, shape (model, prompt, response)
        A DataArray names its dims and carries their names as coords; `models` and `prompts` are
        then looked up by name. The rows of a bare array are those of `models` and `prompts`, and
        `responses` names the words. NaN = not scored.
    models : pandas.DataFrame
        One row per model, named by the index or by a column ``model``. Columns ``family`` and
        ``stage`` are required. ``base`` is the checkpoint that a model was trained from, such as
        "google/gemma-2-2b-it": models of one base are not independent. It is "" where left out, and
        ``n_params`` (a count) NaN; every further column becomes a coord.
    prompts : PromptSet or pandas.DataFrame
        One row per prompt, named by the index or by a column ``prompt``. Columns ``text`` and
        ``framing`` are required.
    lexicon : Lexicon or pandas.DataFrame, optional
        Which word is in which category. A DataFrame has the words as its index, or in a column
        ``word``, and a bool column a category. Left out, the dataset has no categories.
    responses : sequence of str, optional
        The words, where `score` does not name them.
    words : pandas.DataFrame, optional
        What is known of the words, such as their frequency: one row per word, named by the index or
        by a column ``response``. Every column becomes a coord on response, which is NaN or "" for
        words without a row; rows of other words are left out.
    kind : {"reward", "logprob", "implicit", "judged"}
        What was measured.
    units : str, optional
        Found from `kind` when left out: ``"1"`` or ``"nat"``.
    provenance : mapping, optional
        How the scores came about; kept as JSON.

    Returns
    -------
    xarray.Dataset
        A dataset that passes :func:`validate`.

    Raises
    ------
    ValueBiasError
        If names are missing or repeated, no word is in the lexicon, or :func:`validate` objects.

    Examples
    --------
    >>> models = pd.DataFrame(
    ...     {
    ...         "family": ["Gemma", "Llama"],
    ...         "base": ["google/gemma-2-2b-it", "meta-llama/Llama-3.2-3B-Instruct"],
    ...         "stage": "reward",
    ...     },
    ...     index=["org/a", "org/b"],
    ... )
    >>> prompts = pd.DataFrame({"text": ["Best?"], "framing": ["positive"]}, index=["best"])
    >>> words = pd.DataFrame({"frequency": [210.0, 45.5, 3.0]}, index=["love", "win", "zeal"])
    >>> ds = build([[[1, 2]], [[3, 5]]], models=models, prompts=prompts,
    ...            responses=["win", "love"], words=words)
    >>> dict(ds.sizes)
    {'model': 2, 'prompt': 1, 'response': 2, 'category': 0}
    >>> ds["frequency"].values.tolist()
    [45.5, 210.0]
    """
    parts = (models, prompts, lexicon, responses, words, kind, units, provenance)
    return validate(assemble(score, *parts))


def assemble(
    score: xr.DataArray | npt.ArrayLike,
    models: pd.DataFrame,
    prompts: _Table | pd.DataFrame,
    lexicon: _Memberships | pd.DataFrame | None = None,
    responses: Sequence[str] | None = None,
    words: pd.DataFrame | None = None,
    kind: str = "reward",
    units: str | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """Do what :func:`build` does, but do not validate: the scores may be yet to come."""
    models = _by_name(models, "model")
    prompt_table = _by_name(prompts.table if isinstance(prompts, _Table) else prompts, "prompt")
    values, coords = _as_array(score, models=models, prompts=prompt_table, responses=responses)
    models = _looked_up(models, coords["model"], "model")
    prompt_table = _looked_up(prompt_table, coords["prompt"], "prompt")
    if "n_params" not in models:
        models = models.assign(n_params=np.nan)
    base: list[Any] = list(models["base"]) if "base" in models else [None] * len(models)
    models = models.assign(base=["" if _absent(value) else value for value in base])
    names = coords["response"].tolist()
    member, categories = _membership(lexicon, names)
    coords["category"] = categories
    tables = {"model": models, "prompt": prompt_table, "response": _of_words(words, names)}
    for dim, table in tables.items():
        for column in table.columns:
            name = str(column)
            if name in (*DIMS, "category", "score", "membership"):
                raise ValueBiasError(f"A column of the {dim} table may not be called {name!r}.")
            if name in coords:
                raise ValueBiasError(
                    f"The {dim} table has a column {name!r}, and so has the {coords[name][0]} "
                    "table. Rename one."
                )
            coords[name] = (dim, _column(table[column], name))
    return xr.Dataset(
        {"score": (DIMS, values), "membership": (("response", "category"), member)},
        coords=coords,
        attrs={
            "schema": SCHEMA,
            "kind": kind,
            "units": KINDS.get(kind, "") if units is None else units,
            "provenance": _json(provenance),
        },
    )


def _by_name(table: pd.DataFrame, dim: str) -> pd.DataFrame:
    table = as_frame(table)
    if not isinstance(table, pd.DataFrame):
        raise ValueBiasError(
            f"The {dim}s are a {type(table).__name__}; expected a pandas.DataFrame with one row "
            f"a {dim}, named by its index or a column {dim!r}."
        )
    if dim in table.columns:
        table = table.set_index(dim)
    for name in table.index:
        if not isinstance(name, str):
            raise ValueBiasError(
                f"A {dim} is named {name!r}, which is no text. Name each {dim} by the index of the "
                f"table or by a column {dim!r}."
            )
    check_unique([str(name) for name in table.index], dim)
    return table


def _as_array(
    score: xr.DataArray | npt.ArrayLike,
    *,
    models: pd.DataFrame,
    prompts: pd.DataFrame,
    responses: Sequence[str] | None,
) -> tuple[npt.NDArray[np.float32], dict[str, Any]]:
    """Give the scores, in the order of the contract, and the names along each dim."""
    if isinstance(score, xr.DataArray):
        if set(score.dims) != set(DIMS):
            raise ValueBiasError(f"score has the dims {score.dims}; expected {DIMS}.")
        score = score.transpose(*DIMS)
        names = {dim: score[dim].to_numpy() for dim in DIMS if dim in score.coords}
        values = np.asarray(score.to_numpy())
    else:
        names = {"model": np.asarray(models.index), "prompt": np.asarray(prompts.index)}
        values = np.asarray(score)
    if responses is not None:
        names["response"] = np.asarray(list(responses), dtype=object)
    missing = [dim for dim in DIMS if dim not in names]
    if missing:
        raise ValueBiasError(
            f"score does not name its {missing[0]}s. Give it a coord {missing[0]!r}"
            + (", or give the words as responses=[...]." if missing[0] == "response" else ".")
        )
    shape = tuple(len(names[dim]) for dim in DIMS)
    if values.shape != shape:
        raise ValueBiasError(
            f"score has shape {values.shape}; expected (model, prompt, response) = {shape}."
        )
    if values.dtype.kind not in "fiu":
        raise ValueBiasError(f"score has dtype {values.dtype}; expected numbers.")
    coords: dict[str, Any] = {dim: _text(names[dim], f"A {dim}") for dim in DIMS}
    for dim in DIMS:
        check_unique(coords[dim].tolist(), dim)
    return narrowed(values, coords["model"].tolist()), coords


def _looked_up(table: pd.DataFrame, names: npt.NDArray[np.str_], dim: str) -> pd.DataFrame:
    row_of = {name: row for row, name in enumerate(table.index)}
    for name in names.tolist():
        if name not in row_of:
            raise ValueBiasError(
                f"There are scores for the {dim} {name!r}, but the {dim} table has no such row. "
                f"Add it. {did_you_mean(name, [str(k) for k in table.index][:50])}"
            )
    return table.iloc[[row_of[name] for name in names.tolist()]]


def _of_words(words: pd.DataFrame | None, names: list[str]) -> pd.DataFrame:
    """Give the rows of the words at hand; empty ones for words that the table lacks."""
    words = as_frame(words)
    if words is None or (isinstance(words, pd.DataFrame) and words.columns.empty):
        return pd.DataFrame()
    table = _by_name(words, "response")
    order = table.index.get_indexer(pd.Index(names, dtype=object))
    if (order >= 0).all():
        return table.iloc[order]
    # A truth that is not known is no truth value.
    flags = {name: float for name in table.columns if pd.api.types.is_bool_dtype(table[name])}
    return table.astype(flags).reset_index(drop=True).reindex(order)


def _membership(
    lexicon: _Memberships | pd.DataFrame | None, words: list[str]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.str_]]:
    if lexicon is None:
        return np.zeros((len(words), 0), dtype=bool), np.empty(0, dtype="U1")
    lexicon = as_frame(lexicon)
    if isinstance(lexicon, pd.DataFrame):
        # Tables of other libraries have no index.
        lexicon = lexicon.set_index("word") if "word" in lexicon.columns else lexicon
        check_unique([str(word) for word in lexicon.index], "lexicon word")
        for name in lexicon.columns:
            if lexicon[name].dtype not in (np.bool_, np.float64):
                raise ValueBiasError(
                    f"Category {name!r} of the lexicon has dtype {lexicon[name].dtype}; "
                    "expected bool, or float64 for weights."
                )
        check_weights(lexicon)
        given = marks_or_weights(lexicon).to_numpy()
        rows = dict(zip(lexicon.index, given, strict=True))
        nowhere = np.zeros(lexicon.shape[1], dtype=given.dtype)
        table = np.array([rows.get(word, nowhere) for word in words], dtype=given.dtype)
        categories = list(lexicon.columns)
    else:
        frame = marks_or_weights(lexicon.membership(words))
        table, categories = frame.to_numpy(), list(frame.columns)
    if not table.any():
        raise ValueBiasError(
            f"None of the {len(words)} words (such as {words[:3]}) is in the lexicon. "
            "Choose the lexicon that the words were taken from, or mind the spelling and case."
        )
    return table, _text(np.asarray(categories, dtype=object), "A category")


def _column(column: pd.Series[Any], name: str) -> npt.NDArray[Any]:
    if name == "n_params":
        return np.array([_count(value) for value in column], dtype=np.float64)
    whole = pd.api.types.is_bool_dtype(column.dtype) or pd.api.types.is_integer_dtype(column.dtype)
    if whole and not column.isna().any():
        return column.to_numpy(dtype=bool if column.dtype.kind == "b" else np.int64)
    if whole or pd.api.types.is_float_dtype(column.dtype):
        return column.to_numpy(dtype=np.float64, na_value=np.nan)
    values = ["" if _absent(value) else value for value in column]
    if values and all(isinstance(value, int | float) for value in values):
        return np.array(values)
    return _text(np.array(values, dtype=object), f"An entry of the column {name!r}")


def _absent(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value))


def _count(value: Any) -> float:
    try:
        return np.nan if _absent(value) or value == "" else float(value)
    except (TypeError, ValueError) as error:
        raise ValueBiasError(
            f"n_params is {value!r}; expected a number of parameters, such as 2.6e9, or nothing "
            "where it is unknown."
        ) from error


def _text(values: npt.NDArray[Any], noun: str) -> npt.NDArray[np.str_]:
    # Fixed-width text: unlike pandas' own, it also holds words with a lone surrogate.
    listed = values.tolist()
    # Vocabularies are long, so all are looked through at once before anything is said of one.
    fine = set(map(type, listed)) <= {str} and "\0" not in "\n".join(listed)
    for value in () if fine else listed:
        if not isinstance(value, str):
            raise ValueBiasError(f"{noun} is {value!r} ({type(value).__name__}); expected text.")
        if "\0" in value:
            raise ValueBiasError(f"{noun} is {value!r}: NUL characters cannot be stored.")
    return np.array(listed, dtype="U") if listed else np.empty(0, dtype="U1")


def _json(provenance: Mapping[str, Any] | None) -> str:
    try:
        return json.dumps(dict(provenance or {}), sort_keys=True)
    except (TypeError, ValueError) as error:
        raise ValueBiasError(f"provenance cannot be written as JSON: {error}.") from error
