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
from valuebias.analysis.formula import parse_formula
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
        "notes": list(ablation.notes),
        "framing": ablation.framing,
        "category": ablation.curves.category,
    }
    if ablation.fit is not None:
        # The curves follow from the fit's own draws.
        groups, attrs = fit_groups(ablation.fit)
    else:
        groups = {"models": _table_group(ablation.curves.models), "curves": _draws(ablation.curves)}
        attrs = {"provenance": json.dumps(ablation.provenance)}
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
    fit = None if "curves" in groups else make_fit(groups, attrs)
    curves = _curves(groups, about) if fit is None else lean_curves(fit, about["framing"])
    names = ("rope", "unit", "formula", "notes", "framing")
    return AblationFit(
        curves,
        fit=fit,
        provenance=json.loads(attrs["provenance"]),
        **{name: about[name] for name in names},
    )


def _curves(groups: Mapping[str, xr.Dataset], about: Mapping[str, Any]) -> Curves:
    draws = groups["curves"]
    return Curves(
        parse_formula(about["formula"], model_table(groups["models"])),
        draws["coefficient"].to_numpy(),
        draws["model"].to_numpy(),
        about["category"],
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
