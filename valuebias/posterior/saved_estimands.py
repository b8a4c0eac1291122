"""Leans and contrasts of a fit, as its file has them for those who read it without this package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from valuebias.analysis.estimands.estimand import BASE, LEAN, MODEL, SLOPE
from valuebias.analysis.estimands.plain_names import plain_name, plain_names

if TYPE_CHECKING:
    import pandas as pd

    from valuebias.posterior.posterior import Posterior

__all__ = ["ESTIMANDS", "estimands_group"]

ESTIMANDS = "estimands"
_PROB = 0.9
_NAMES = ("name", "framing", "category", "at")
_ABOUT = {
    "mean": "posterior mean",
    "median": "posterior median",
    "sd": "posterior standard deviation",
    "lower": f"lower end of the {_PROB:.0%} interval",
    "upper": f"upper end of the {_PROB:.0%} interval",
    "p_direction": "probability of the sign that is more probable",
    "p_rope": "probability of lying within rope of zero",
    "rhat": "R-hat, rank-normalised and split",
    "ess_bulk": "effective sample size, bulk",
    "ess_tail": "effective sample size, tail",
}
_UNITLESS = ("p_direction", "p_rope", "rhat", "ess_bulk", "ess_tail")


def estimands_group(fit: Posterior) -> xr.Dataset:
    """Lay out the table of contrasts, and draws of the headline, the slopes and the leans.

    Differences are those of the leans' draws, and all draws would double the file.
    """
    table = plain_names(fit.contrasts(prob=_PROB))
    labels = [plain_name(str(label)) for label in fit.contrast_draws["estimand"].to_numpy()]
    drawn = _drawn(table)
    units = str(table.attrs["units"])
    variables: dict[str, Any] = {
        name: ("estimand", table[name].to_numpy(), _about(name, long_name, units))
        for name, long_name in _ABOUT.items()
    }
    # As a variable too: attributes have no checksum.
    variables["units"] = ((), units)
    variables["rope"] = ((), float(table.attrs["rope"]))
    variables["draws"] = (
        ("chain", "draw", "drawn"),
        fit.contrast_draws[..., drawn].to_numpy().astype(np.float32),
        {"long_name": "posterior draws of the headline, slopes and leans", "units": units},
    )
    texts = {"kind": table["estimand"], **{name: table[name] for name in _NAMES}}
    coords = {
        name: ("estimand", [str(text) for text in column])
        for name, column in texts.items()
        if column.astype(bool).any()
    }
    coords["label"] = ("estimand", labels)
    coords["drawn_label"] = ("drawn", [labels[i] for i in drawn])
    return xr.Dataset(variables, coords=coords)


def _drawn(table: pd.DataFrame) -> list[int]:
    """Choose the headline, and what else holds of all words under its framing, models left out."""
    same = (table["framing"] == table["framing"].iloc[0]) & (table["variant"] == "")
    lean = (table["form"] == LEAN) & ~table["variable"].isin((MODEL, BASE))
    kept = same & (lean | (table["form"] == SLOPE))
    kept.iloc[0] = True
    return np.flatnonzero(kept).tolist()


def _about(name: str, long_name: str, units: str) -> dict[str, str]:
    return {"long_name": long_name, "units": "1" if name in _UNITLESS else units}
