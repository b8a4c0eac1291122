"""Check a dataset against the contract."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from valuebias.errors import ValueBiasError, did_you_mean, shown
from valuebias.schema.contract import (
    DIMS,
    FRAMINGS,
    KINDS,
    SCHEMA,
    STAGES,
    check_unique,
    member_table,
)
from valuebias.schema.spelling import check_spelling
from valuebias.schema.weights import check_weights, poles_advice

__all__ = ["check_scores", "no_dataset", "validate"]

_TEXT_COORDS = {"model": ("family", "base", "stage"), "prompt": ("text", "framing")}
# Implicit rewards that are differences of probabilities have no unit.
_OTHER_UNITS = {"implicit": ("1",)}
_CHOICES = {"stage": STAGES, "framing": FRAMINGS}
_MAY_BE_EMPTY = ("base",)


def validate(ds: xr.Dataset, *, min_categories: int = 0) -> xr.Dataset:
    """Check a dataset against the contract.

    Parameters
    ----------
    ds : xarray.Dataset
        Scores laid out as the head of this module says.
    min_categories : int, default 0
        How many categories the caller needs.

    Returns
    -------
    xarray.Dataset
        The same object.

    Raises
    ------
    ValueBiasError
        Naming the first dim, coord or cell that is not as expected: not a Dataset; a missing
        attribute, dim, variable or coord; a wrong order of dims or dtype; repeated or empty names;
        an unknown framing, stage, kind or schema; families, bases or reward models that differ in
        capitals or spaces only;
        units that are not those of the kind; infinite scores; log-probs above zero; a model without
        scores, or with a single value throughout; a category without words; weights of
        words that are not between −1 and 1.

    Examples
    --------
    >>> import valuebias
    >>> ds = valuebias.simulate(n_models={"A": 2, "B": 2}, n_prompts=2, n_words=6, seed=1)
    >>> validate(ds) is ds
    True
    """
    if not isinstance(ds, xr.Dataset):
        raise no_dataset(ds)
    _check_attrs(ds)
    _check_variables(ds)
    for dim in (*DIMS, "category"):
        _check_names(ds, dim)
    _check_coords(ds)
    check_scores(ds)
    _check_categories(ds, min_categories)
    return ds


def no_dataset(given: object) -> ValueBiasError:
    """Say what to give instead of what is no dataset."""
    if isinstance(given, xr.DataTree) and any("score" in node.data_vars for node in given.subtree):
        return ValueBiasError(
            "Expected an xarray.Dataset, found a DataTree with the scores of whole vocabularies, "
            f"which differ from model to model. {join_advice(given, 'tree')}"
        )
    description = f"the text {shown(given)}" if isinstance(given, str) else type(given).__name__
    return ValueBiasError(
        f"Expected an xarray.Dataset, found {description}. Make one with valuebias.read(path), "
        "valuebias.read_scores(...) or valuebias.schema.build(...); "
        "valuebias.datasets.load(name) gives a released or bundled one."
    )


def join_advice(scores: xr.DataTree | xr.Dataset, said: str) -> str:
    """Say how scores of whole vocabularies become one dataset."""
    groups = [scores, *scores.children.values()] if isinstance(scores, xr.DataTree) else [scores]
    kinds = {group.attrs["kind"] for group in groups if "kind" in group.attrs}
    if kinds - {"logprob"}:
        return (
            "Only log-probs of vocabularies can be joined. Score the words of one lexicon with all "
            "models: valuebias.score(..., lexicon='agency-communion')."
        )
    return (
        f"Join them: aligned = valuebias.align({said}, merge='space', lexicon='agency-communion') "
        "is a dataset, which valuebias.write(aligned, 'aligned.nc') keeps, also for the shell."
    )


def _check_attrs(ds: xr.Dataset) -> None:
    version = ds.attrs.get("schema")
    if {"item", "variant"} <= set(ds.dims):
        raise ValueBiasError(
            "These are scores of a contrast set, whose answers are no words of a lexicon. "
            "valuebias.fit(scores) and valuebias.contrast_statistics(scores) take them."
        )
    if version != SCHEMA:
        raise ValueBiasError(
            f"The attribute 'schema' is {version!r}; expected {SCHEMA!r}. "
            "Make datasets with valuebias.schema.build(...)."
        )
    kind = ds.attrs.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueBiasError(f"The attribute 'kind' is {kind!r}. {did_you_mean(kind, KINDS)}")
    units = (KINDS[kind], *_OTHER_UNITS.get(kind, ()))
    if ds.attrs.get("units") not in units:
        raise ValueBiasError(
            f"Scores of kind {kind!r} have the units {ds.attrs.get('units')!r}; expected "
            f"{' or '.join(map(repr, units))}. "
            "Convert them (1 bit = 0.693 nat) or correct the attribute 'units'."
        )
    try:
        record = json.loads(ds.attrs.get("provenance", "absent"))
    except (TypeError, ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise ValueBiasError(
            "The attribute 'provenance' is absent or no JSON object. Set it to at least '{}'."
        )


def _check_variables(ds: xr.Dataset) -> None:
    for dim in (*DIMS, "category"):
        if dim not in ds.dims:
            raise ValueBiasError(
                f"The dim {dim!r} is missing; found {tuple(ds.dims)}. "
                f"{did_you_mean(dim, [str(d) for d in ds.dims])}"
            )
    wanted = {
        "score": (DIMS, ("float32",)),
        "membership": (("response", "category"), ("bool", "float64")),
    }
    for name, (dims, dtypes) in wanted.items():
        if name not in ds.data_vars:
            raise ValueBiasError(f"The variable {name!r} is missing; found {list(ds.data_vars)}.")
        if ds[name].dims != dims:
            raise _other_dims(name, tuple(map(str, ds[name].dims)), dims)
        if str(ds[name].dtype) not in dtypes:
            weighted = ", or float64 where words have weights" if len(dtypes) > 1 else ""
            raise ValueBiasError(
                f"{name!r} has dtype {ds[name].dtype}; expected {dtypes[0]}{weighted}. "
                f"Convert it with ds[{name!r}].astype({dtypes[0]!r})."
            )


def _other_dims(name: str, found: tuple[str, ...], dims: tuple[str, ...]) -> ValueBiasError:
    """Say how dims in another order, or more or fewer of them, become those of the contract."""
    said = f"{name!r} has the dims {found}; expected {dims}, in this order."
    more = [dim for dim in found if dim not in dims]
    if set(found) == set(dims):
        order = ", ".join(map(repr, (*DIMS, "category")))
        return ValueBiasError(f"{said} Put them so: ds = ds.transpose({order}).")
    if name == "membership" and more and more[0] in DIMS:
        given = repr(more[0])
        joined = (
            "valuebias.schema.concat([...])"
            if more[0] == "model"
            else f"xr.concat([...], dim={given}, data_vars='minimal')"
        )
        return ValueBiasError(
            f"{said} xr.concat repeats it along {given}: join the datasets with {joined}, or "
            f"keep it once, with ds = ds.assign(membership=ds['membership'].isel({more[0]}=0))."
        )
    if more:
        return ValueBiasError(f"{said} Keep one along {more[0]!r}: ds = ds.isel({more[0]}=0).")
    return ValueBiasError(f"{said} Make datasets with valuebias.schema.build(...).")


def _check_names(ds: xr.Dataset, dim: str) -> None:
    if dim not in ds.coords:
        raise ValueBiasError(f"The coord {dim!r} is missing: each {dim} needs a name.")
    names = ds[dim].to_numpy().tolist()
    if not names and dim != "category":
        raise ValueBiasError(f"There is no {dim}: the dim {dim!r} has length 0.")
    for name in names:
        if not isinstance(name, str) or not name or "\0" in name:
            raise ValueBiasError(
                f"A {dim} is named {name!r}; expected text, not empty and without NUL characters."
            )
    check_unique(names, dim)


def _check_coords(ds: xr.Dataset) -> None:
    for dim, coords in (*_TEXT_COORDS.items(), ("model", ("n_params",))):
        for name in coords:
            if name not in ds.coords or ds[name].dims != (dim,):
                raise ValueBiasError(
                    f"The coord {name!r} is missing; expected one entry a {dim}. "
                    f"Add it with ds.assign_coords({name}=({dim!r}, [...]))."
                )
            values = ds[name].to_numpy()
            if name == "n_params":
                _check_sizes(ds, values)
            else:
                _check_texts(ds[dim].to_numpy().tolist(), values.tolist(), dim, name)
    for name in ("family", "base", "reward_model"):
        if name in ds.coords and ds[name].dims == ("model",):
            check_spelling(name, ds[name].to_numpy().tolist())


def _check_sizes(ds: xr.Dataset, values: npt.NDArray[Any]) -> None:
    if values.dtype != np.float64:
        raise ValueBiasError(f"'n_params' has dtype {values.dtype}; expected float64.")
    for model, value in zip(ds["model"].to_numpy().tolist(), values.tolist(), strict=True):
        if not (np.isnan(value) or 0 < value < np.inf):
            raise ValueBiasError(
                f"Model {model!r} has n_params {value!r}; expected a positive count, or NaN."
            )


def _check_texts(owners: list[str], values: list[Any], dim: str, name: str) -> None:
    choices = _CHOICES.get(name)
    for owner, value in zip(owners, values, strict=True):
        if not isinstance(value, str) or not (value or name in _MAY_BE_EMPTY):
            raise ValueBiasError(
                f"{dim.capitalize()} {owner!r} has {name} {value!r}; expected text."
            )
        if choices is not None and value not in choices:
            raise ValueBiasError(
                f"{dim.capitalize()} {owner!r} has {name} {value!r}. {did_you_mean(value, choices)}"
            )


def check_scores(
    ds: xr.Dataset, dims: tuple[str, ...] = DIMS, cells: str = "prompt and word"
) -> None:
    """Refuse scores that are infinite, or of which a model has none or but one."""
    score = ds["score"].to_numpy()
    rule = "Scores must be finite, or NaN where there is none."
    _check_cells(ds, np.isinf(score), rule, dims)
    if ds.attrs.get("kind") == "logprob":
        _check_cells(ds, score > 0, "Log-probs in nat are at most 0.", dims)
    for model, values in zip(ds["model"].to_numpy().tolist(), score, strict=True):
        kept = values[~np.isnan(values)]
        out = f"ds.drop_sel(model=[{model!r}])."
        if not kept.size:
            said = f"Model {model!r} has no score at all (every cell is NaN). Leave it out"
            raise ValueBiasError(f"{said} with {out}", in_shell=f"{said}.")
        if kept.size > 1 and kept.min() == kept.max():
            said = (
                f"Model {model!r} gives every {cells} the same score, {kept[0]}. Such "
                "scores say nothing: look at how they were made, or leave the model out"
            )
            raise ValueBiasError(f"{said}, {out}", in_shell=f"{said}.")


def _check_cells(ds: xr.Dataset, bad: npt.NDArray[Any], rule: str, dims: tuple[str, ...]) -> None:
    if bad.any():
        where = tuple(int(i) for i in np.argwhere(bad)[0])
        cell = {dim: str(ds[dim].to_numpy()[i]) for dim, i in zip(dims, where, strict=True)}
        value = ds["score"].to_numpy()[where]
        raise ValueBiasError(f"The score at {cell} is {value}. {rule} ({bad.sum()} such cells.)")


def _check_categories(ds: xr.Dataset, min_categories: int) -> None:
    names = ds["category"].to_numpy().tolist()
    left = "Where xr.concat left it so, as datasets have other words, join them with "
    check_weights(member_table(ds), missing=f"{left}valuebias.schema.concat([...], join='outer').")
    for category, any_word in zip(names, ds["membership"].any("response").values, strict=True):
        if not any_word:
            said = f"No word is in the category {category!r}. Leave the category out"
            raise ValueBiasError(
                f"{said}, with Lexicon.select([...]) or ds.drop_sel(category=[...]), or score "
                "words of it.",
                in_shell=f"{said} of the lexicon, or score words of it.",
            )
    if len(names) < min_categories:
        said = f"There are {len(names)} categories ({names}); at least {min_categories} are needed."
        in_python, in_shell = poles_advice(member_table(ds))
        more = " Give a lexicon with more when the dataset is made."
        raise ValueBiasError(f"{said}{in_python or more}", in_shell=f"{said}{in_shell or more}")
