"""Save an ablation's fit, and put it together again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from valuebias.ablation.framings import lean_curves
from valuebias.ablation.result import AblationFit
from valuebias.analysis.curves import Curves
from valuebias.analysis.formula import ModelDesign, parse_formula
from valuebias.analysis.levelling import LeanDraws, trained_cells
from valuebias.analysis.notes import as_notes, as_records
from valuebias.schema import model_table
from valuebias.storage import ABLATION, fit_groups, make_fit, write_groups

__all__ = ["make_ablation", "save_ablation"]

_DRAWS = ("chain", "draw")


def save_ablation(ablation: AblationFit, path: str | PathLike[str]) -> Path:
    """Write an ablation's fit to ``path`` (``.nc`` or ``.zarr``), whole or not at all.

    Parameters
    ----------
    ablation : AblationFit
        Of scores or of medians.
    path : path
        Where to.

    Returns
    -------
    pathlib.Path
        The same.

    Raises
    ------
    ValueBiasError
        If the suffix is neither of the two, or the path cannot be written to.
    """
    about = {
        "formula": ablation.formula,
        "rope": float(ablation.rope),
        "unit": ablation.unit,
        "notes": as_records(ablation.notes),
        "framing": ablation.framing,
        "category": ablation.curves.category,
    }
    if ablation.fit is not None:
        groups, attrs = fit_groups(ablation.fit)
    else:
        groups = {"models": _table_group(ablation.curves.models), "curves": _draws(ablation.curves)}
        attrs = {"provenance": json.dumps(ablation.provenance)}
    groups["leans"] = _lean_group(ablation.leans)
    return write_groups(groups, attrs | {"format": ABLATION, "ablation": json.dumps(about)}, path)


def make_ablation(groups: Mapping[str, xr.Dataset], attrs: Mapping[str, str]) -> AblationFit:
    """Put an ablation's fit together from what :func:`save_ablation` wrote.

    Parameters
    ----------
    groups : mapping of str to Dataset
        Those of a fit, or ``models`` and ``curves`` of medians.
    attrs : mapping of str to str
        With ``ablation``, as JSON.

    Returns
    -------
    AblationFit
        With the same answers.
    """
    about = json.loads(attrs["ablation"])
    leans, rest = groups["leans"], {k: group for k, group in groups.items() if k != "leans"}
    names = ("rope", "unit", "formula", "framing")
    settings = {name: about[name] for name in names} | {
        "notes": as_notes(about["notes"]),
        "provenance": json.loads(attrs["provenance"]),
    }
    if "curves" in rest:
        design = parse_formula(about["formula"], model_table(rest["models"]))
        drawn, made = rest["curves"], _leans(leans, design)
        arrays = (drawn[name].to_numpy() for name in ("coefficient", "model"))
        curves = made.curves(design, *arrays, about["category"], np.ones(1))
        return AblationFit(curves, fit=None, leans=made, **settings)
    fit = make_fit(rest, attrs)
    made = _leans(leans, fit.problem.crossing.design)
    return AblationFit(lean_curves(fit, made, about["framing"]), fit=fit, leans=made, **settings)


def _leans(group: xr.Dataset, design: ModelDesign) -> LeanDraws:
    names = ("coefficient", "level", "free")
    coefficient, level, free = (group[name].to_numpy() for name in names)
    return LeanDraws(coefficient, level, trained_cells(design), free)


def _lean_group(leans: LeanDraws) -> xr.Dataset:
    return xr.Dataset(
        {
            "coefficient": (("sample", "column", "framing"), leans.coefficient),
            "level": (("sample", "source"), leans.level),
            "free": (("free_sample", "cell", "framing"), leans.free),
        }
    )


def _draws(curves: Curves) -> xr.Dataset:
    return xr.Dataset(
        {
            "coefficient": ((*_DRAWS, "column"), curves.coefficient),
            "model": ((*_DRAWS, "model"), curves.model),
        }
    )


def _table_group(table: pd.DataFrame) -> xr.Dataset:
    """Keep a table of models as coordinates, which are where texts may be any."""
    columns = {str(name): ("model", _plain(table[name].to_numpy())) for name in table.columns}
    return xr.Dataset(coords={**columns, "model": _plain(table.index.to_numpy())})


def _plain(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return values if values.dtype.kind in "biuf" else np.array([str(value) for value in values])
