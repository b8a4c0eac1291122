"""What choices show, model by model, and the parameters of a learning model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from valuebias.analysis.learning.measures import MEASURES, choice_measures
from valuebias.errors import ValueBiasError
from valuebias.plots.canvas import Place, drawn, interval, legend, mark, tidy_axes, whole
from valuebias.plots.labels import drawable
from valuebias.plots.theme import colours, grey

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

__all__ = ["plot_choices", "plot_learning"]

_TITLES = {
    MEASURES[0]: "training: better option",
    MEASURES[1]: "transfer: better option",
    MEASURES[2]: "transfer: relatively better",
    MEASURES[3]: "option named first",
}


def plot_choices(
    choices: xr.Dataset,
    *,
    predicted: xr.Dataset | None = None,
    figure: Figure | SubFigure | None = None,
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Draw how often models choose the better option, and the relatively better one.

    Parameters
    ----------
    choices : xarray.Dataset
        What :func:`valuebias.choices` or :func:`valuebias.read_choices` gave.
    predicted : xarray.Dataset, optional
        The same choices as a learning model expects them, :meth:`ChoiceFit.predicted`.
    figure : matplotlib.figure.Figure or SubFigure, optional
        Where to put the panels, in place of a new figure.
    figsize : pair of float, optional
        Width and height of a new figure in inches.

    Returns
    -------
    matplotlib.figure.Figure
        A panel per measure of :func:`valuebias.choice_measures`, a row per model (and style, where
        there are several), with 90% intervals over tasks. Open squares: predictions.

    Raises
    ------
    ValueBiasError
        If the choices break their contract.

    Examples
    --------
    >>> import valuebias
    >>> task = valuebias.bandit_task(trials=6, tasks=3, seed=1)
    >>> figure = plot_choices(valuebias.simulate_choices(task, seed=1))
    >>> len(figure.axes)
    4
    """
    place = Place(None, figure, figsize)
    by = ["model"]
    if "style" in choices.coords and len(np.unique(choices["style"].to_numpy())) > 1:
        by.append("style")
    table = choice_measures(choices, by=by)
    other = None if predicted is None else choice_measures(predicted, by=by)
    labels = list(dict.fromkeys(_label(row, by) for _, row in table.iterrows()))
    names = [str(name) for name in choices["model"].to_numpy()]
    families = dict.fromkeys(names, "")
    if "family" in choices.coords:
        families = dict(zip(names, map(str, choices["family"].to_numpy()), strict=True))
    colour = colours(dict.fromkeys(families.values()))
    shown = [name for name in MEASURES if name in set(table["measure"])]
    with drawn(2.4 + 1.75 * len(shown), 1.1 + 0.3 * len(labels), place) as canvas:
        panels = np.atleast_1d(canvas.subplots(1, len(shown), sharey=True))
        for axes, measure in zip(panels, shown, strict=True):
            tidy_axes(axes)
            axes.axvline(0.5, color=grey(), linewidth=1.0, zorder=1)
            for _, row in table[table["measure"] == measure].iterrows():
                y = labels.index(_label(row, by))
                interval(axes, y, _ends(row), colour=colour[families[str(row["model"])]])
            if other is not None:
                rows = other[other["measure"] == measure]
                ys = [labels.index(_label(row, by)) for _, row in rows.iterrows()]
                axes.plot(rows["mean"], ys, "s", markersize=7, markerfacecolor="none",
                          markeredgecolor=grey(), markeredgewidth=1.1, zorder=4)  # fmt: skip
            axes.set_xlim(-0.03, 1.03)
            axes.set_title(_TITLES[measure], loc="left")
        panels[0].set_yticks(range(len(labels)), [drawable(label, 40) for label in labels])
        panels[0].set_ylim(len(labels) - 0.5, -0.5)
        panels[0].set_xlabel("share of choices")
        if other is not None:
            legend(canvas, [mark(grey()), mark(grey(), "s", size=7, markerfacecolor="none")],
                   ["choices", "learning model"])  # fmt: skip
    return whole(canvas)


def plot_learning(
    table: pd.DataFrame,
    *,
    figure: Figure | SubFigure | None = None,
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Draw the parameters of a learning model.

    Parameters
    ----------
    table : pandas.DataFrame
        :meth:`ChoiceFit.summary` of a fit by likelihood.
    figure : matplotlib.figure.Figure or SubFigure, optional
        Where to put the panels, in place of a new figure.
    figsize : pair of float, optional
        Width and height of a new figure in inches.

    Returns
    -------
    matplotlib.figure.Figure
        A panel per parameter, a row per model, with intervals; open marks are at a bound, or have
        no interval.

    Raises
    ------
    ValueBiasError
        If the table is no summary.

    Examples
    --------
    >>> import valuebias
    >>> task = valuebias.bandit_task(trials=8, tasks=4, seed=1)
    >>> fit = valuebias.fit_choices(valuebias.simulate_choices(task, seed=1))
    >>> len(plot_learning(fit.summary()).axes)
    2
    """
    place = Place(None, figure, figsize)
    needed = {"model", "family", "parameter", "estimate", "lower", "upper"}
    if not isinstance(table, pd.DataFrame) or not needed <= set(table):
        raise ValueBiasError(
            "The table is no summary of parameters; expected what fit.summary() gives."
        )
    names, models = list(dict.fromkeys(table["parameter"])), list(dict.fromkeys(table["model"]))
    colour = colours(dict.fromkeys(map(str, table["family"])))
    with drawn(2.4 + 1.9 * len(names), 1.0 + 0.3 * len(models), place) as canvas:
        panels = np.atleast_1d(canvas.subplots(1, len(names), sharey=True))
        for axes, name in zip(panels, names, strict=True):
            tidy_axes(axes)
            for _, row in table[table["parameter"] == name].iterrows():
                known = bool(np.isfinite([row["lower"], row["upper"]]).all())
                ends = {"mean": row["estimate"], "lower": row["lower"], "upper": row["upper"]}
                interval(axes, models.index(row["model"]), ends,
                         colour=colour[str(row["family"])], hollow=not known)  # fmt: skip
            if name != "inverse_temperature":
                axes.set_xlim(-0.03, 1.03)
            axes.set_title(name.replace("_", " "), loc="left")
        panels[0].set_yticks(range(len(models)), [drawable(str(m), 40) for m in models])
        panels[0].set_ylim(len(models) - 0.5, -0.5)
    return whole(canvas)


def _label(row: Any, by: list[str]) -> str:
    return ", ".join(str(row[name]) for name in by)


def _ends(row: Any) -> dict[str, float]:
    ends = {"mean": row["mean"], "lower": row["lower"], "upper": row["upper"]}
    return {k: float(row["mean"] if not np.isfinite(v) else v) for k, v in ends.items()}
