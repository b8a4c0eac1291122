"""Columns that tables of estimates share."""

from __future__ import annotations

import pandas as pd

from valuebias.posterior.wording import effective_draws, percent
from valuebias.report.content import Column, number
from valuebias.report.inputs import PROB, ReportInputs

__all__ = ["chance_column", "displayed", "interval_column", "with_chance", "with_interval"]

_INTERVAL = "_interval"


def with_interval(frame: pd.DataFrame, digits: int, *, signed: bool = True) -> pd.DataFrame:
    """Add the interval as one column of text."""
    form = number(digits, signed=signed)
    ends = zip(frame["lower"], frame["upper"], strict=True)
    return frame.assign(**{_INTERVAL: [f"{form(low)} to {form(high)}" for low, high in ends]})


def interval_column() -> Column:
    """Give the column that :func:`with_interval` adds."""
    return Column(_INTERVAL, f"{PROB:.0%} interval", right=True)


def with_chance(frame: pd.DataFrame, draws: float, *names: str) -> pd.DataFrame:
    """Add probabilities as columns of text, each bounded by its effective draws."""
    sizes = effective_draws(frame, draws)
    texts = {
        f"_{name}": [percent(p, n) for p, n in zip(frame[name], sizes, strict=True)]
        for name in names
    }
    return frame.assign(**texts)


def chance_column(name: str, label: str) -> Column:
    """Give a column that :func:`with_chance` adds."""
    return Column(f"_{name}", label, right=True)


def displayed(inputs: ReportInputs, frame: pd.DataFrame, *names: str) -> pd.DataFrame:
    """Add the interval and probabilities as text, each of these bounded by its effective draws."""
    return with_chance(with_interval(frame, inputs.digits), inputs.effective, *names)
