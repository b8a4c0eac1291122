"""Leans and accuracy of a reward model before and after shaping."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from valuebias.plots.canvas import Place, drawn, interval, legend, mark, tidy_axes, whole
from valuebias.plots.labels import drawable
from valuebias.plots.theme import grey, hue

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from valuebias.shaping.report import ShapingReport

__all__ = ["plot_shaping"]

_APART = 0.17


def plot_shaping(
    report: ShapingReport,
    *,
    figure: Figure | SubFigure | None = None,
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Draw each axis before and after shaping, targets first, and accuracy below.

    Parameters
    ----------
    report : ShapingReport
        What :func:`valuebias.shaping_report` returned.
    figure : matplotlib.figure.Figure or SubFigure, optional
        Where to put the panels, in place of a new figure.
    figsize : pair of float, optional
        Width and height of a new figure in inches. If not given what suits its rows, or
        ``rcParams["figure.figsize"]`` where that has been changed.

    Returns
    -------
    matplotlib.figure.Figure
        Hollow marks are before, full ones after; targets are in a colour of their own.

    Examples
    --------
    >>> import pandas as pd
    >>> from valuebias import ShapingReport
    >>> from valuebias.plots import plot_shaping
    >>> table = pd.DataFrame({"axis": ["length"], "first": "long", "second": "short",
    ...     "unit": "items", "n": 50, "target": True, "before": 1.2, "before_lower": 0.9,
    ...     "before_upper": 1.5, "after": 0.1, "after_lower": -0.1, "after_upper": 0.3,
    ...     "verdict": "removed"})
    >>> report = ShapingReport(table, pd.DataFrame(), ("a", "b"), {"length": 1.0}, 0.9, 0.05)
    >>> len(plot_shaping(report).axes)
    1
    """
    place = Place(None, figure, figsize)
    table = report.table.sort_values("target", ascending=False, kind="stable")
    heights = [len(table), *([1] if len(report.accuracy) else [])]
    with drawn(6.4, 1.3 + 0.45 * sum(heights), place) as figure:
        ratios = [height + 0.4 for height in heights]
        panels = figure.subplots(len(heights), 1, squeeze=False, height_ratios=ratios)[:, 0]
        _leans(panels[0], table, report.prob)
        if len(report.accuracy):
            _accuracy(panels[1], report)
        handles = [
            mark(grey(), markerfacecolor="none", width=1.4),
            mark(grey(), width=1.4),
            mark(hue(0), width=1.4),
        ]
        legend(figure, handles, ["before", "after", "after, to be removed"], columns=3)
    return whole(figure)


def _leans(axes: Axes, table: pd.DataFrame, prob: float) -> None:
    tidy_axes(axes, zero=True)
    labels = []
    for y, (_, row) in enumerate(table.iterrows()):
        _pair(axes, -y, row, hue(0) if row["target"] else grey())
        labels.append(
            f"{drawable(row['axis'], 34)}\n{drawable(row['first'], 18)} less "
            f"{drawable(row['second'], 18)}"
        )
    axes.set_yticks([-y for y in range(len(table))], labels)
    axes.set_ylim(-len(table) + 0.5, 0.5)
    axes.set_xlabel(f"difference in reward, {100 * prob:g}% intervals over items or words")


def _accuracy(axes: Axes, report: ShapingReport) -> None:
    tidy_axes(axes)
    row = report.accuracy.iloc[0] * 100
    _pair(axes, 0, row, grey())
    axes.set_yticks([0], ["accuracy"])
    axes.set_ylim(-0.5, 0.5)
    lowest = min(row["before_lower"], row["after_lower"])
    axes.set_xlim(min(50, lowest) - 1, 101)
    axes.set_xlabel("right answers above wrong ones, %")


def _pair(axes: Axes, y: float, row: pd.Series[float], colour: str) -> None:
    for name, shift in (("before", _APART), ("after", -_APART)):
        ends = {"mean": row[name], "lower": row[f"{name}_lower"], "upper": row[f"{name}_upper"]}
        own = grey() if name == "before" else colour
        interval(axes, y + shift, ends, colour=own, hollow=name == "before")
