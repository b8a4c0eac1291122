"""Save the fit of an ablation, and read it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from valuebias.analysis.ablation.lean_rows import trained_cells
from valuebias.analysis.ablation.levelling import LeanDraws
from valuebias.analysis.design.formula import ModelDesign, parse_formula
from valuebias.analysis.design.stored_design import Layout, pack_layout, unpack_layout
from valuebias.analysis.estimands.estimand import CategoryPair
from valuebias.analysis.notes import as_notes, as_records
from valuebias.posterior.ablation.framings import lean_curves
from valuebias.posterior.ablation.result import AblationPosterior
from valuebias.posterior.saved import ABLATION, fit_groups, make_posterior, write_groups
from valuebias.posterior.saved_settings import SETTINGS_OF_ABLATIONS, parse_settings
from valuebias.schema import model_table

__all__ = ["make_ablation", "save_ablation"]

_DRAWS = ("chain", "draw")
_LEANS = "leans_"


def save_ablation(ablation: AblationPosterior, path: str | PathLike[str]) -> Path:
    """Write an ablation's fit to ``path`` (``.nc`` or ``.zarr``), whole or not at all."""
    about = {
        "formula": ablation.formula,
        "rope": float(ablation.rope),
        "unit": ablation.unit,
        "notes": as_records(ablation.notes),
        "framing": ablation.framing,
        "category": ablation.curves.category,
        "categories": list(ablation.curves.categories),
    }
    if ablation.fit is not None:
        groups, attrs = fit_groups(ablation.fit)
    else:
        # As coordinates, which may hold any text.
        models = ablation.curves.models
        columns = {str(name): ("model", _plain(models[name].to_numpy())) for name in models.columns}
        groups = {
            "models": xr.Dataset(coords={**columns, "model": _plain(models.index.to_numpy())}),
            "curves": xr.Dataset(
                {
                    "coefficient": ((*_DRAWS, "column"), ablation.curves.coefficient),
                    "model": ((*_DRAWS, "model"), ablation.curves.model),
                }
            ),
            "design": pack_layout(Layout(ablation.curves.design), ablation.formula),
        }
        attrs = {"provenance": json.dumps(ablation.provenance)}
    groups |= {f"{_LEANS}{framing}": _lean_group(lean) for framing, lean in ablation.leans.items()}
    return write_groups(groups, attrs | {"format": ABLATION, "ablation": json.dumps(about)}, path)


def make_ablation(groups: Mapping[str, xr.Dataset], attrs: Mapping[str, str]) -> AblationPosterior:
    """Make an ablation's fit from the groups that :func:`save_ablation` wrote."""
    about = parse_settings(attrs["ablation"], SETTINGS_OF_ABLATIONS)
    rest = {name: group for name, group in groups.items() if not name.startswith(_LEANS)}
    drawn = {name.removeprefix(_LEANS): groups[name] for name in groups if name not in rest}
    names = ("rope", "unit", "formula", "framing")
    settings = {name: about[name] for name in names} | {
        "notes": as_notes(about["notes"]),
        "provenance": json.loads(attrs["provenance"]),
    }
    fit = None if "curves" in rest else make_posterior(rest, attrs)
    design = fit.problem.crossing.design if fit is not None else _design(rest, about["formula"])
    leans = {framing: _leans(group, design) for framing, group in drawn.items()}
    current = leans[about["framing"]]
    if fit is not None:
        curves = lean_curves(fit, current, about["framing"])
    else:
        straight, model = (rest["curves"][name].to_numpy() for name in ("coefficient", "model"))
        # An earlier version saved the names of the two categories as one text.
        pair = CategoryPair(*(about.get("categories") or about["category"].partition(" − ")[::2]))
        curves = current.curves(design, straight, model, pair)
    return AblationPosterior(curves, fit=fit, leans=leans, **settings)


def _design(groups: Mapping[str, xr.Dataset], formula: str) -> ModelDesign:
    """Return the design of medians; an earlier version did not save it."""
    models = model_table(groups["models"])
    if "design" not in groups:
        return parse_formula(formula, models)
    return unpack_layout(groups["design"], models, formula=formula).design


def _leans(group: xr.Dataset, design: ModelDesign) -> LeanDraws:
    arrays = {str(name): group[name].to_numpy() for name in group.data_vars}
    return LeanDraws(cells=trained_cells(design), **arrays)


def _lean_group(leans: LeanDraws) -> xr.Dataset:
    by_draw = ("pair", "sample")
    return xr.Dataset(
        {
            "coefficient": ((*by_draw, "column"), leans.coefficient),
            "level": ((*by_draw, "source"), leans.level),
            "lean": ((*by_draw, "cell"), leans.lean),
            "free": (("free_sample", "cell"), leans.free),
        }
    )


def _plain(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return values if values.dtype.kind in "biuf" else np.array([str(value) for value in values])
