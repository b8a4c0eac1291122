"""An estimand: what it compares, in columns, and its posterior draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from valuebias.analysis.estimands.diagnostics import describe_draws

__all__ = [
    "BASE",
    "COLUMNS",
    "DIFFERENCE",
    "DOUBLE_DIFFERENCE",
    "HYPOTHESIS",
    "LEAN",
    "MODEL",
    "OVERALL",
    "PREDICTED",
    "SLOPE",
    "SLOPE_DIFFERENCE",
    "THESE_ITEMS",
    "THESE_WORDS",
    "UNADJUSTED",
    "WORD_SLOPE",
    "CategoryPair",
    "Estimand",
    "stack_draws",
    "summarise_contrasts",
]

Array = NDArray[np.float64]

DIFFERENCE, LEAN, PREDICTED, SLOPE = "difference", "lean", "predicted lean", "slope"
HYPOTHESIS, DOUBLE_DIFFERENCE = "hypothesis", "difference of differences"
SLOPE_DIFFERENCE, WORD_SLOPE = "slope difference", "word slope"
OVERALL, MODEL, BASE = "overall", "model", "base"
THESE_WORDS, THESE_ITEMS, UNADJUSTED = "these words", "these items", "unadjusted"
COLUMNS = ("kind", "name", "framing", "category",
           "form", "variable", "first", "second", "over", "against", "variant", "at")  # fmt: skip
"""The columns that name an estimand: in words, then its parts."""


class CategoryPair(NamedTuple):
    """Two categories that are compared; the second is empty for the mean of all others."""

    first: str
    second: str

    @property
    def label(self) -> str:
        """Such as ``"agency − communion"``."""
        return f"{self.first} − {self.second or 'others'}"


@dataclass(frozen=True)
class Estimand:
    """One quantity of interest and its posterior draws."""

    # One of the words above: the difference between two levels of a factor, the lean of one, the
    # lean predicted for an unseen model, the slope of a number that describes models, what a
    # covariate of words does in one level less what it does in another, or in all models.
    form: str
    # Of the formula, such as "family"; "base", "model" or "overall" of leans of these.
    variable: str
    # First, second: the levels compared; of one level, model, base or number the second is empty.
    first: str
    second: str
    # ``"signed"``, ``"positive"`` or ``"negative"``; of prompts of one framing see
    # :func:`named_framings`.
    framing: str
    # Over, against: the categories compared, as in :class:`CategoryPair`; or a covariate of words,
    # and nothing.
    over: str
    against: str
    draws: Array  # (draw,): chains one after the other, in units of the outcome
    # "these words" where it does not generalise over words, "unadjusted" for their covariates.
    variant: str = ""
    at: str = ""  # what other variables are set to: "stage = reward"
    of_category: bool = False  # of one category, relative to the mean over categories

    @property
    def kind(self) -> str:
        """The estimand in words: "family difference, these words"."""
        words = {
            DIFFERENCE: f"{self.variable} difference",
            LEAN: f"{self.variable} {'mean' if self.of_category else 'lean'}",
            SLOPE_DIFFERENCE: f"{self.variable} difference in slope",
            WORD_SLOPE: "slope of words",
            DOUBLE_DIFFERENCE: f"{self.variable} difference of differences",
        }.get(self.form, self.form)
        return f"{words}, {self.variant}" if self.variant else words

    @property
    def name(self) -> str:
        """The levels compared: "Gemma − Llama"."""
        return f"{self.first} − {self.second}" if self.second else self.first

    @property
    def category(self) -> str:
        """The categories compared: "agency − communion"; or the covariate."""
        if self.of_category or self.form in (SLOPE_DIFFERENCE, WORD_SLOPE):
            return self.over
        return CategoryPair(self.over, self.against).label


def stack_draws(items: list[Estimand], chains: int) -> xr.DataArray:
    """Draws of all estimands as (chain, draw, estimand)."""
    values = np.stack([e.draws for e in items], axis=-1)
    values = values.reshape(chains, -1, len(items))
    labels = [
        " | ".join([e.kind, e.name, e.framing, e.category, *([e.at] if e.at else [])])
        for e in items
    ]
    return xr.DataArray(
        values,
        dims=("chain", "draw", "estimand"),
        coords={
            "estimand": labels,
            **{name: ("estimand", [getattr(e, name) for e in items]) for name in COLUMNS},
        },
    )


def summarise_contrasts(
    draws: xr.DataArray, prob: float, rope: float, agreed: pd.DataFrame | None = None
) -> pd.DataFrame:
    """One row per estimand: summary, probability of direction, probability within ±``rope``.

    ``agreed`` is as for :func:`describe_draws`.
    """
    flat = draws.to_numpy().reshape(-1, draws.sizes["estimand"])
    positive = (flat > 0).mean(axis=0)
    # Objects, because pandas' own text refuses a lone surrogate in a model's name.
    columns = {name: draws[name].to_numpy().astype(object) for name in COLUMNS}
    table = pd.DataFrame(columns, dtype=object).rename(columns={"kind": "estimand"})
    body = describe_draws(draws, prob, agreed).reset_index(drop=True)
    body.insert(5, "p_direction", np.maximum(positive, 1 - positive))
    body.insert(6, "p_rope", (np.abs(flat) < rope).mean(axis=0))
    return pd.concat([table.iloc[:, :4], body, table.iloc[:, 4:]], axis=1)
