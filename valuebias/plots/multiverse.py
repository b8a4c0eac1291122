"""The specification curve: estimates in their order, and the choices behind each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from valuebias.errors import ValueBiasError
from valuebias.plots.canvas import Place, drawn, tidy_axes, whole
from valuebias.plots.labels import drawable
from valuebias.plots.theme import faint, grey, hue, ink, points
from valuebias.posterior.headline import LEAST_DOUBT
from valuebias.posterior.multiverse import CHOICES, Multiverse

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

__all__ = ["plot_multiverse"]

_MOST_CHOICES = 12


def plot_multiverse(
    many: Multiverse,
    *,
    figure: Figure | SubFigure | None = None,
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Draw the specification curve.

    Parameters
    ----------
    many : Multiverse
        What :func:`valuebias.multiverse` returned.
    figure : matplotlib.figure.Figure or SubFigure, optional
        Where to put the panels, in place of a new figure.
    figsize : pair of float, optional
        Width and height of a new figure in inches. If not given what suits its rows, or
        ``rcParams["figure.figsize"]`` where that has been changed.

    Returns
    -------
    matplotlib.figure.Figure
        A new one, not attached to pyplot, or the one that was drawn in.

    Raises
    ------
    ValueBiasError
        If no specification could be estimated.

    Examples
    --------
    >>> import valuebias
    >>> data = valuebias.datasets.load("simulated")
    >>> made = valuebias.multiverse(
    ...     data, outcomes=["normal"], lexicons=None, prompts=None, workers=1, seed=1,
    ...     progress=False,
    ... )
    >>> len(valuebias.plots.plot_multiverse(made).axes)
    2
    """
    place = Place(None, figure, figsize)
    table = many.table
    rows = table[table["error"] == ""].sort_values("mean", kind="stable").reset_index(drop=True)
    if rows.empty:
        raise ValueBiasError("no specification could be estimated, so there is no curve to draw.")
    varied = [name for name in CHOICES if rows[name].nunique() > 1]
    labels = [
        (name, value)
        for name in varied
        for value in list(dict.fromkeys(rows[name]))[:_MOST_CHOICES]
    ]
    x = np.arange(len(rows))
    sure = rows["p_direction"].to_numpy() >= LEAST_DOUBT
    with drawn(7.2, 2.6 + 0.19 * len(labels), place) as figure:
        colour = np.where(sure, hue(0), grey())
        above, below = figure.subplots(
            2, 1, sharex=True, gridspec_kw={"height_ratios": [2.2, max(0.19 * len(labels), 0.4)]}
        )
        tidy_axes(above, grid=None)
        above.axhline(0, color=ink(), linewidth=0.8)
        above.vlines(x, rows["lower"], rows["upper"], color=colour, linewidth=0.8, alpha=0.5)
        above.scatter(x, rows["mean"], s=9, color=colour, zorder=3)
        first = rows.index[rows["first"]]
        above.scatter(
            first, rows.loc[first, "mean"], s=60, facecolor="none", edgecolor=ink(), zorder=4
        )
        head = rows.loc[first[0]] if len(first) else rows.iloc[0]
        above.set_ylabel("SD of the outcome")
        above.set_title(drawable(f"{head['name']}, {head['category']}", 80))
        tidy_axes(below, grid=None)
        for k, (name, value) in enumerate(labels):
            with_value = rows[name].to_numpy() == value
            below.axhline(-k, color=faint(), linewidth=0.5, zorder=0)
            ys = np.full(with_value.sum(), -k)
            below.scatter(x[with_value], ys, s=7, marker="s", color=colour[with_value])
        below.set_yticks(
            [-k for k in range(len(labels))],
            [drawable(f"{name}: {value}", 34) for name, value in labels],
            fontsize=points(7),
        )
        below.set_xlabel(
            "specifications, by estimate; circle: the first; in colour: little doubt about the "
            "direction"
        )
    return whole(figure)
