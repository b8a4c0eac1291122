"""Statistics of replicated crossings against those observed."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from valuebias.plots.canvas import Place, drawn, legend, mark, tidy_axes, whole
from valuebias.plots.theme import faint, grey, hue, ink, points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from valuebias.posterior.posterior import Posterior

__all__ = ["plot_ppc"]

_BAR, _OBSERVED = 4, 1
"""Colours of the palette."""


def plot_ppc(
    fit: Posterior,
    check: xr.Dataset | None = None,
    *,
    figure: Figure | SubFigure | None = None,
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Draw one small panel per statistic.

    Parameters
    ----------
    fit : Fit
        What :func:`valuebias.fit` returned.
    check : xarray.Dataset, optional
        What :meth:`Fit.ppc` returned; computed if not given.
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
    >>> figure = plot_ppc(fit)
    >>> len(figure.axes) > 3
    True
    """
    from matplotlib.patches import Patch

    place = Place(None, figure, figsize)
    check = fit.ppc() if check is None else check
    names = [str(name) for name in check["statistic"].to_numpy()]
    n_columns = 3
    n_rows = -(-len(names) // n_columns)
    with drawn(7.2, 0.5 + 1.5 * n_rows, place) as figure:
        panels = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
        for axes, name in zip(panels, names, strict=False):
            _panel(axes, check.sel(statistic=name))
        for axes in panels[len(names) :]:
            axes.set_axis_off()
        handles = [Patch(color=hue(_BAR), alpha=0.6), mark(hue(_OBSERVED), "", width=2)]
        legend(figure, handles, ["replicated from the posterior", "observed"])
    return whole(figure)


def _panel(axes: Axes, one: xr.Dataset) -> None:
    values, observed = one["replicated"].to_numpy(), float(one["observed"])
    tidy_axes(axes, grid=None)
    low, high = min(values.min(), observed), max(values.max(), observed)
    pad = 0.06 * (high - low or 1.0)
    axes.hist(values, bins=np.linspace(low, high + 1e-9, 22).tolist(), color=hue(_BAR), alpha=0.6)
    axes.axvline(observed, color=hue(_OBSERVED), linewidth=2)
    axes.set_xlim(low - pad, high + pad)
    axes.set_yticks([])
    axes.locator_params(axis="x", nbins=4)
    axes.spines["bottom"].set_color(faint())
    p = float(one["p"])
    extreme = p < 0.05
    axes.set_title(str(one["statistic"].to_numpy()), fontsize=points(8.5), pad=4)
    description = textwrap.fill(str(one["description"].to_numpy()), 38)
    axes.set_xlabel(description, fontsize=points(7), color=grey())
    axes.text(1, 1.03, f"p = {p:.2f}" if p >= 0.01 else "p < 0.01", transform=axes.transAxes,
              ha="right", va="bottom", fontsize=points(7.5),
              color=hue(_OBSERVED) if extreme else ink(),
              fontweight="bold" if extreme else "normal")  # fmt: skip
