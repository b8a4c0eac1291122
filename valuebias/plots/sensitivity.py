"""The headline under other prior scales."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from valuebias.analysis.outcome import describe
from valuebias.plots.asking import asked
from valuebias.plots.canvas import INTERVAL, Place, drawn, interval, lean_axes, whole
from valuebias.plots.labels import drawable
from valuebias.plots.theme import grey, ink
from valuebias.posterior.headline import ALL, scale_name
from valuebias.posterior.sensitivity import by_influence

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from valuebias.analysis.estimands.weights import Contrast
    from valuebias.posterior.posterior import Posterior

__all__ = ["plot_sensitivity"]

_MOST_SCALES = 6


def plot_sensitivity(
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
    """Draw the headline with its interval under other scales of the priors.

    First all of them scaled together, then each of those that move the headline most.

    Parameters
    ----------
    fit : Fit
        What :func:`valuebias.fit` returned.
    table : DataFrame, optional
        What :meth:`Fit.prior_sensitivity` returned; computed if not given.
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
    >>> figure = plot_sensitivity(fit, progress=False)
    >>> len(figure.axes) > 0
    True
    """
    fit = asked(fit, pair, framing, contrast)
    place = Place(ax, figure, figsize)
    scales = fit.prior_sensitivity(prob=INTERVAL, progress=progress) if table is None else table
    rows = pd.concat([scales.loc[[name]] for name in (ALL, *by_influence(scales)[:_MOST_SCALES])])
    headline = rows.iloc[0]
    of_fit = [scale_name(entry) == "this fit" for entry in rows.index]
    with drawn(7.2, 1.0 + 0.32 * len(rows), place) as figure:
        axes = place.one_panel(figure)
        lean_axes(axes, *headline[["over", "against"]])
        for i, (_, row) in enumerate(rows.iterrows()):
            colour, size = (ink(), 7) if of_fit[i] else (grey(), 5.5)
            interval(axes, -i, row, colour=colour, size=size)
        labels = [drawable(scale_name(entry)) for entry in rows.index]
        axes.set_yticks([-i for i in range(len(rows))], labels)
        axes.set_ylim(-len(rows) + 0.4, 0.6)
        unit = describe(fit.settings["outcome"]).unit
        axes.set_xlabel(drawable(f"{headline['estimand']}, {headline['name']} ({unit})", 90))
    return whole(figure)
