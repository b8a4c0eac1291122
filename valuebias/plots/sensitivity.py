"""The headline under other prior scales."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from valuebias.analysis.outcome import describe
from valuebias.headline import in_order, scale_name
from valuebias.plots.canvas import (
    GREY,
    INK,
    INTERVAL,
    blank_figure,
    interval,
    styled,
    tidy_axes,
    towards,
    zero_line,
)
from valuebias.plots.labels import drawable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from valuebias.fit_result import Fit

__all__ = ["draw"]


def draw(fit: Fit, table: pd.DataFrame | None = None) -> Figure:
    """Draw the headline with its interval, one row a multiple of the prior scales.

    Parameters
    ----------
    fit : Fit
        A fit.
    table : DataFrame, optional
        What ``fit.prior_sensitivity()`` gave; made anew, by refitting, if not given.

    Returns
    -------
    matplotlib.figure.Figure
        The fit itself in black, the others in grey.
    """
    rows = in_order(fit.prior_sensitivity(prob=INTERVAL) if table is None else table)
    headline = rows.iloc[0]
    own = [scale_name(entry) == "this fit" for entry in rows.index]
    with styled():
        figure = blank_figure(7.2, 1.0 + 0.32 * len(rows))
        axes = figure.subplots()
        tidy_axes(axes)
        zero_line(axes)
        towards(axes, str(headline["category"]))
        for i, (_, row) in enumerate(rows.iterrows()):
            interval(axes, -i, row["mean"], (row["lower"], row["upper"]),
                     colour=INK if own[i] else GREY, size=7 if own[i] else 5.5)  # fmt: skip
        labels = [drawable(scale_name(entry)) for entry in rows.index]
        axes.set_yticks([-i for i in range(len(rows))], labels)
        axes.set_ylim(-len(rows) + 0.4, 0.6)
        unit = describe(fit.spec["outcome"]).unit
        axes.set_xlabel(drawable(f"{headline['estimand']}, {headline['name']} ({unit})", 90))
        figure.draw_without_rendering()
    return figure
