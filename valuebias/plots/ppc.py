"""Statistics of replicated crossings against those observed."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from valuebias.plots.canvas import FAINT, GREY, INK, drawn, legend, mark, tidy_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from valuebias.posterior.posterior import Posterior

__all__ = ["plot_ppc"]

_BAR = "#56b4e9"
_OBSERVED = "#d55e00"


def plot_ppc(fit: Posterior, check: xr.Dataset | None = None) -> Figure:
    """Draw one small panel per statistic.

    Parameters
    ----------
    fit : Fit
        What :func:`valuebias.fit` returned.
    check : xarray.Dataset, optional
        What :meth:`Fit.ppc` returned; computed if not given.

    Returns
    -------
    matplotlib.figure.Figure
        Not attached to pyplot.

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

    check = fit.ppc() if check is None else check
    names = [str(name) for name in check["statistic"].to_numpy()]
    n_columns = 3
    n_rows = -(-len(names) // n_columns)
    with drawn(7.2, 0.5 + 1.5 * n_rows) as figure:
        panels = figure.subplots(n_rows, n_columns, squeeze=False).ravel()
        for axes, name in zip(panels, names, strict=False):
            _panel(axes, check.sel(statistic=name))
        for axes in panels[len(names) :]:
            axes.set_axis_off()
        handles = [Patch(color=_BAR, alpha=0.6), mark(_OBSERVED, "", width=2)]
        legend(figure, handles, ["replicated from the posterior", "observed"])
    return figure


def _panel(axes: Axes, one: xr.Dataset) -> None:
    values, observed = one["replicated"].to_numpy(), float(one["observed"])
    tidy_axes(axes, grid=None)
    low, high = min(values.min(), observed), max(values.max(), observed)
    pad = 0.06 * (high - low or 1.0)
    axes.hist(values, bins=np.linspace(low, high + 1e-9, 22).tolist(), color=_BAR, alpha=0.6)
    axes.axvline(observed, color=_OBSERVED, linewidth=2)
    axes.set_xlim(low - pad, high + pad)
    axes.set_yticks([])
    axes.locator_params(axis="x", nbins=4)
    axes.spines["bottom"].set_color(FAINT)
    p = float(one["p"])
    extreme = p < 0.05
    axes.set_title(str(one["statistic"].to_numpy()), fontsize=8.5, pad=4)
    description = textwrap.fill(str(one["description"].to_numpy()), 38)
    axes.set_xlabel(description, fontsize=7, color=GREY)
    axes.text(1, 1.03, f"p = {p:.2f}" if p >= 0.01 else "p < 0.01", transform=axes.transAxes,
              ha="right", va="bottom", fontsize=7.5, color=_OBSERVED if extreme else INK,
              fontweight="bold" if extreme else "normal")  # fmt: skip
