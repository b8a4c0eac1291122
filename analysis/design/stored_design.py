"""The columns of a fit's formulas, kept with its draws, so that loading reads no formula."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from valuebias.analysis.design.formula import Factor, ModelDesign, Term
from valuebias.analysis.design.grouping import Group
from valuebias.errors import ValueBiasError

__all__ = ["Layout", "pack_layout", "unpack_layout"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Layout:
    """Everything that formulas make of the models and words of a crossing.

    Attributes
    ----------
    design : ModelDesign
        Columns over the models.
    groups : tuple of Group
        What models share.
    covariates : DataFrame or None
        Columns over the words.
    words : str or None
        The formula of the words.
    """

    design: ModelDesign
    groups: tuple[Group, ...] = ()
    covariates: pd.DataFrame | None = None
    words: str | None = None


def pack_layout(layout: Layout, formula: str) -> xr.Dataset:
    """Turn a layout into numbers and one text of JSON; `formula` is the models' whole formula."""
    design = layout.design
    arrays: dict[str, Any] = {}
    factors = []
    for k, factor in enumerate(design.variables):
        factors.append(
            {
                "expression": factor.expression,
                "levels": list(factor.levels),
                "labels": list(factor.labels),
                "inputs": list(factor.inputs),
                "state": {key: list(numbers) for key, numbers in factor.state.items()},
            }
        )
        if factor.centre is not None and factor.scale is not None:
            arrays[f"columns_{k}"] = (("model", f"column_{k}"), design.coded[factor.expression])
            arrays[f"unit_{k}"] = (("part", f"column_{k}"), np.array([factor.centre, factor.scale]))
    position = {factor.expression: k for k, factor in enumerate(design.variables)}
    for k, group in enumerate(layout.groups):
        arrays[f"group_{k}"] = (("model", f"slope_{k}"), group.values)
    if layout.covariates is not None:
        arrays["covariates"] = (("word", "covariate"), layout.covariates.to_numpy(dtype=float))
    about = {
        "formula": formula,
        "fixed": design.formula,
        "words": layout.words,
        "factors": factors,
        "terms": [
            {"name": term.name, "factors": [position[f.expression] for f in term.factors]}
            for term in design.terms[1:]
        ],
        "groups": [
            {"name": group.name, "labels": list(map(str, group.labels))} for group in layout.groups
        ],
        "covariates": None
        if layout.covariates is None
        else list(map(str, layout.covariates.columns)),
    }
    # Within the values, which a saved fit is hashed by; as ASCII, which every format can hold.
    return xr.Dataset(arrays | {"about": ((), json.dumps(about))})


def unpack_layout(
    stored: xr.Dataset, models: pd.DataFrame, *, formula: str, words: str | None = None
) -> Layout:
    """Restore a layout from the result of :func:`pack_layout`."""
    try:
        about = json.loads(str(stored["about"].item()))
        same = (about["formula"], about["words"]) == (formula, words)
        design = _design(about, stored, models)
        groups = tuple(
            Group(
                str(entry["name"]),
                np.array(_texts(entry["labels"], len(models)), dtype=np.str_),
                _numbers(stored, f"group_{k}", (len(models), None)),
            )
            for k, entry in enumerate(about["groups"])
        )
        covariates = None
        if about["covariates"] is not None:
            names = _texts(about["covariates"])
            values = _numbers(stored, "covariates", (None, len(names)))
            covariates = pd.DataFrame(values, columns=names)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError) as error:
        raise ValueBiasError(
            "the saved fit's design is damaged: its parts do not fit together "
            f"({type(error).__name__}). Fit again, or copy the file again."
        ) from error
    if not same:
        raise ValueBiasError(
            "the saved fit's design belongs to another formula than it names; it was changed "
            "after saving. Fit again."
        )
    return Layout(design, groups, covariates, words)


def _design(about: Mapping[str, Any], stored: xr.Dataset, models: pd.DataFrame) -> ModelDesign:
    factors, coded = [], {}
    for k, entry in enumerate(about["factors"]):
        factor, columns = _factor(k, entry, stored, models)
        factors.append(factor)
        coded[factor.expression] = columns
    terms, start = [Term("mean", slice(0, 1))], 1
    for entry in about["terms"]:
        members = tuple(factors[k] for k in entry["factors"])
        width = int(np.prod([len(factor.labels) for factor in members]))
        terms.append(Term(str(entry["name"]), slice(start, start + width), members))
        start += width
    design = ModelDesign(str(about["fixed"]), np.empty((0, 0)), tuple(terms), models, coded)
    return design.with_matrix()


def _factor(
    k: int, entry: Mapping[str, Any], stored: xr.Dataset, models: pd.DataFrame
) -> tuple[Factor, Array]:
    """Make a factor and its columns; those of levels follow from the models' own."""
    expression, levels = str(entry["expression"]), tuple(_texts(entry["levels"]))
    labels = tuple(_texts(entry["labels"], len(levels) - 1 if levels else None))
    if levels:
        factor = Factor(expression, levels, labels=labels)
        return factor, factor.code(models)
    centre, scale = _numbers(stored, f"unit_{k}", (2, len(labels)))
    state = {str(key): tuple(map(float, numbers)) for key, numbers in dict(entry["state"]).items()}
    inputs = tuple(_texts(entry["inputs"]))
    columns = _numbers(stored, f"columns_{k}", (len(models), len(labels)))
    return Factor(expression, (), state, centre, scale, labels, inputs), columns


def _numbers(stored: xr.Dataset, name: str, shape: tuple[int | None, ...]) -> Array:
    values = np.asarray(stored[name].to_numpy(), dtype=np.float64)
    fits = values.ndim == len(shape) and all(
        wanted in (None, size) for wanted, size in zip(shape, values.shape, strict=True)
    )
    if not fits or not np.isfinite(values).all():
        raise ValueError(name)
    return values


def _texts(values: Any, n: int | None = None) -> list[str]:
    texts = [str(value) for value in list(values)]
    if n is not None and len(texts) != n:
        raise ValueError(len(texts))
    return texts
