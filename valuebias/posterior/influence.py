"""The headline without each model and each base."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from valuebias._core.progress import progress_bar
from valuebias.analysis.design.reduced import without_models
from valuebias.analysis.design.strata import make_tables
from valuebias.analysis.design.units import Unit, base_units, model_units
from valuebias.analysis.estimands.held_out import axis_means, combination_given_all
from valuebias.analysis.estimands.mixtures import Mixture
from valuebias.analysis.estimands.rows import Combination, headline_combination
from valuebias.analysis.replication import posterior_of
from valuebias.posterior.headline import LEAST_MOVE, verdict_of
from valuebias.posterior.leave_out import base_coordinate

if TYPE_CHECKING:
    from valuebias.posterior.posterior import Posterior
    from valuebias.posterior.refit import LeftOutFit

__all__ = ["influence", "left_out_units", "most_influential", "other_verdicts"]

Array = NDArray[np.float64]

_NUMBERS = ("mean", "lower", "upper", "p_direction")
_TOLERANCE = 1e-8
# Of the variances, given each of which the headline's posterior is exact.
_DRAWS = 400


def influence(fit: Posterior, table: pd.DataFrame, *, progress: bool) -> pd.DataFrame:
    """Estimate the first of the contrasts without each unit; see :meth:`Fit.influence`."""
    headline, prob = table.iloc[0], table.attrs["prob"]
    combination = headline_combination(fit.problem.crossing, fit.contrast, fit.focus)
    first = {"unit": "fit", "name": "all data", **headline[list(_NUMBERS)], "remark": ""}
    rows: list[dict[str, Any]] = [first]
    units = left_out_units(fit.data, fit.settings)
    with progress_bar("leaving out", shown=progress) as advance:
        for i, (kind, unit) in enumerate(units):
            rows.append({"unit": kind, "name": unit.name, **_without(fit, combination, unit, prob)})
            if advance is not None:
                advance(i + 1, len(units))
    out = pd.DataFrame(rows, columns=["unit", "name", *_NUMBERS, "remark"])
    out.insert(6, "shift", (out["mean"] - headline["mean"]) / headline["sd"])
    size = out["shift"].abs().where(out["unit"] != "fit")
    out.insert(7, "largest", size.eq(size.groupby(out["unit"]).transform("max")))
    out.attrs |= table.attrs | {"estimand": headline["estimand"], "name": headline["name"]}
    return out


def left_out_units(data: xr.Dataset, spec: Mapping[str, Any]) -> list[tuple[str, Unit]]:
    """List the units to leave out: every model, then every base that several models share."""
    models, bases = model_units(data), base_units(data, base_coordinate(spec))
    alone = {unit.models for unit in models}
    shared = [unit for unit in bases if unit.models not in alone]
    return [("model", unit) for unit in models] + [("base", unit) for unit in shared]


def most_influential(table: pd.DataFrame) -> pd.DataFrame:
    """Select the model and the base that move the headline most."""
    return table[table["largest"]]


def other_verdicts(table: pd.DataFrame) -> pd.DataFrame:
    """Select the rows whose verdict on the direction, or whose sign, differs."""
    headline, rest = table.iloc[0], table.iloc[1:].dropna(subset=["mean"])
    verdict = verdict_of(headline["p_direction"])
    # On either side of a limit, but no further apart than draws of one posterior.
    same = [
        verdict_of(p) == verdict or abs(p - headline["p_direction"]) < LEAST_MOVE
        for p in rest["p_direction"]
    ]
    turned = np.sign(rest["mean"].to_numpy()) != np.sign(headline["mean"])
    other = ~np.array(same, dtype=bool) | turned
    return rest.iloc[np.flatnonzero(other)]


def _without(fit: Posterior, combination: Combination, unit: Unit, prob: float) -> dict[str, Any]:
    crossing = fit.problem.crossing
    keep = np.setdiff1d(np.arange(crossing.shape[0]), unit.models)
    if not _estimable(crossing.design.matrix[keep], combination.row):
        return dict.fromkeys(_NUMBERS, np.nan) | {"remark": f"not estimable: {_loss(fit, keep)}"}
    try:
        return _numbers(_mixture(fit, combination, unit), prob)
    except np.linalg.LinAlgError:
        # Of the rest some variance is zero to the computer's precision.
        why = "not estimable: the other models' scores hardly depend on the prompt"
        return dict.fromkeys(_NUMBERS, np.nan) | {"remark": why}


def _mixture(fit: Posterior, combination: Combination, unit: Unit) -> Mixture:
    if fit.problem.crossing.complete:
        reduced = without_models(fit.problem, np.array(unit.models, dtype=np.intp))
        rng = np.random.default_rng([int(fit.settings["seed"]), 15, *unit.models])
        return posterior_of(reduced, combination, reduced.crossing.y, rng, draws=_DRAWS)
    return _headline(fit.without(unit), combination)


def _numbers(mixture: Mixture, prob: float) -> dict[str, Any]:
    tail = (1 - prob) / 2
    negative = mixture.below(0.0)
    return {
        "mean": mixture.mean,
        "lower": mixture.quantile(tail),
        "upper": mixture.quantile(1 - tail),
        "p_direction": max(negative, 1 - negative),
        "remark": "",
    }


def _estimable(design: Array, row: Array) -> bool:
    """Whether the design identifies a combination of its columns."""
    if not len(design):
        return False
    fitted = np.linalg.lstsq(design.T, row)[0]
    return bool(np.abs(design.T @ fitted - row).max() < _TOLERANCE)


def _loss(fit: Posterior, keep: NDArray[np.intp]) -> str:
    """Name what the rest of the data lacks."""
    family = fit.data["family"].to_numpy().astype(str)
    gone = sorted(set(family.tolist()) - set(family[keep].tolist()))
    if gone:
        return f"no other model of {', '.join(gone)}"
    return "the other models do not identify the terms of the formula"


def _headline(left: LeftOutFit, combination: Combination) -> Mixture:
    """Compute it without the unit in an incomplete crossing, exact given each completion."""
    problem = left.problem
    crossing, scales = problem.crossing, problem.coefficient_scales
    means, variances = [], []
    for cube, v in left.cubes:
        axes = axis_means(crossing, make_tables(crossing, cube))
        mean, variance = combination_given_all(
            crossing, problem.components, v, axes, scales, combination
        )
        means.append(mean)
        variances.append(variance)
    return Mixture(np.concatenate(means), np.sqrt(np.concatenate(variances)))
