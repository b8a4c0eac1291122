"""The headline without each model and each base."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from valuebias.analysis.outcome import describe
from valuebias.plots.asking import asked
from valuebias.plots.canvas import INTERVAL, Place, drawn, interval, lean_axes, whole
from valuebias.plots.labels import drawable, shortened
from valuebias.plots.theme import grey, ink, points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from valuebias.analysis.estimands.weights import Contrast
    from valuebias.posterior.posterior import Posterior

__all__ = ["plot_influence"]

_MOST_ROWS = {"base": 6, "model": 10}


def plot_influence(
    fit: Posterior,
    table: pd.DataFrame | None = None,
    *,
    progress: bool = True,
    pair: tuple[str, str] | None = None,
    framing: str | None = None,
    contrast: Contrast | None = None,
    ax: Axes | None = None,
    figure: Figure | SubFigure | None = None,
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Draw the headline with its interval, and without each base and each model.

    Parameters
    ----------
    fit : Fit
        What :func:`valuebias.fit` returned.
    table : DataFrame, optional
        What :meth:`Fit.influence` returned; computed if not given.
    progress : bool, default True
        Show a progress bar on standard error while the table is computed.
    pair : pair of str, optional
        The two families, or other levels, to compare, as in :meth:`Fit.focused`.
    framing : {"signed", "positive", "negative"}, optional
        The prompts to speak of, likewise.
    contrast : pair of str or mapping, optional
        The two categories to compare, likewise.
    ax : matplotlib.axes.Axes, optional
        Where to draw, in place of a new figure; for one panel.
    figure : matplotlib.figure.Figure or SubFigure, optional
        Where to put the panels, in place of a new figure.
    figsize : pair of float, optional
        Width and height of a new figure in inches. If not given what suits its rows, or
        ``rcParams["figure.figsize"]`` where that has been changed.

    Returns
    -------
    matplotlib.figure.Figure
        A new one, not attached to pyplot, or the one that was drawn in.

    Examples
    --------
    >>> import valuebias
    >>> data = valuebias.datasets.load("simulated")
    >>> fit = valuebias.fit(data, draws=50, tune=200, chains=2, seed=1, progress=False)
    >>> figure = plot_influence(fit, progress=False)
    >>> len(figure.axes) > 0
    True
    """
    fit = asked(fit, pair, framing, contrast)
    place = Place(ax, figure, figsize)
    effects = fit.influence(prob=INTERVAL, progress=progress) if table is None else table
    rows = pd.concat([effects.iloc[[0]], *(_chosen(effects, unit) for unit in _MOST_ROWS)])
    with drawn(7.2, 1.0 + 0.29 * len(rows), place) as figure:
        axes = place.one_panel(figure)
        lean_axes(axes, *next(iter(fit.categories)))
        axes.axvline(effects["mean"].iloc[0], color=ink(), linewidth=0.8, linestyle=(0, (4, 3)))
        for i, (_, row) in enumerate(rows.iterrows()):
            _row(axes, -i, row)
        axes.set_yticks([-i for i in range(len(rows))], [_label(row) for _, row in rows.iterrows()])
        axes.set_ylim(-len(rows) + 0.4, 0.6)
        unit = describe(fit.settings["outcome"]).unit
        label = f"{effects.attrs['estimand']}, {effects.attrs['name']} ({unit})"
        axes.set_xlabel(drawable(label, 90))
    return whole(figure)


def _chosen(table: pd.DataFrame, unit: str) -> pd.DataFrame:
    rows = table[table["unit"] == unit]
    # Units without which the headline is not estimable come first: they matter most.
    order = rows["shift"].abs().fillna(float("inf")).sort_values(ascending=False, kind="stable")
    return rows.loc[order.index[: _MOST_ROWS[unit]]]


def _row(axes: Axes, y: float, row: pd.Series) -> None:
    if row["remark"]:
        axes.text(0.5, y, drawable(row["remark"], 70), transform=axes.get_yaxis_transform(),
                  ha="center", va="center", fontsize=points(8), color=grey())  # fmt: skip
        return
    of_fit = row["unit"] == "fit"
    interval(axes, y, row, colour=ink() if of_fit else grey(), size=7 if of_fit else 5.5)


def _label(row: pd.Series) -> str:
    if row["unit"] == "fit":
        return "all data"
    without = "without base " if row["unit"] == "base" else "without "
    return drawable(without + shortened(str(row["name"]), 44), 60)
