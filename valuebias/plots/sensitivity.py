"""The headline under other prior scales."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from valuebias.analysis.outcome import describe
from valuebias.plots.canvas import GREY, INK, INTERVAL, drawn, interval, lean_axes
from valuebias.plots.labels import drawable
from valuebias.posterior.headline import ALL, scale_name
from valuebias.posterior.sensitivity import by_influence

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from valuebias.posterior.posterior import Posterior

__all__ = ["plot_sensitivity"]

_MOST_SCALES = 6


def plot_sensitivity(
    fit: Posterior, table: pd.DataFrame | None = None, *, progress: bool = True
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

    Returns
    -------
    matplotlib.figure.Figure
        Not attached to pyplot.

    Examples
    --------
    >>> import valuebias
    >>> data = valuebias.datasets.load("simulated")
    >>> fit = valuebias.fit(data, draws=50, tune=200, chains=2, seed=1, progress=False)
    >>> figure = plot_sensitivity(fit, progress=False)
    >>> len(figure.axes) > 0
    True
    """
    whole = fit.prior_sensitivity(prob=INTERVAL, progress=progress) if table is None else table
    rows = pd.concat([whole.loc[[name]] for name in (ALL, *by_influence(whole)[:_MOST_SCALES])])
    headline = rows.iloc[0]
    of_fit = [scale_name(entry) == "this fit" for entry in rows.index]
    with drawn(7.2, 1.0 + 0.32 * len(rows)) as figure:
        axes = figure.subplots()
        lean_axes(axes, *headline[["over", "against"]])
        for i, (_, row) in enumerate(rows.iterrows()):
            colour, size = (INK, 7) if of_fit[i] else (GREY, 5.5)
            interval(axes, -i, row, colour=colour, size=size)
        labels = [drawable(scale_name(entry)) for entry in rows.index]
        axes.set_yticks([-i for i in range(len(rows))], labels)
        axes.set_ylim(-len(rows) + 0.4, 0.6)
        unit = describe(fit.settings["outcome"]).unit
        axes.set_xlabel(drawable(f"{headline['estimand']}, {headline['name']} ({unit})", 90))
    return figure
