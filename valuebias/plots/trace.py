"""Chains and their ranks, for the headline and every SD."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from valuebias.plots.asking import asked
from valuebias.plots.canvas import Place, drawn, inches, mark, whole
from valuebias.plots.labels import drawable
from valuebias.plots.theme import colours, faint, grey, points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from valuebias.analysis.estimands.weights import Contrast
    from valuebias.posterior.posterior import Posterior

__all__ = ["plot_trace"]

Array = NDArray[np.float64]

_POINTS = 400
_BINS = 20


def plot_trace(
    fit: Posterior,
    *,
    pair: tuple[str, str] | None = None,
    framing: str | None = None,
    contrast: Contrast | None = None,
    figure: Figure | SubFigure | None = None,
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Draw trace and rank plot of the headline and of each SD.

    Parameters
    ----------
    fit : Fit
        What :func:`valuebias.fit` returned.
    pair : pair of str, optional
        The two families, or other levels, to compare, as in :meth:`Fit.focused`.
    framing : {"signed", "positive", "negative"}, optional
        The prompts to speak of, likewise.
    contrast : pair of str or mapping, optional
        The two categories to compare, likewise.
    figure : matplotlib.figure.Figure or SubFigure, optional
        Where to put the panels, in place of a new figure.
    figsize : pair of float, optional
        Width and height of a new figure in inches. If not given what suits its rows, or
        ``rcParams["figure.figsize"]`` where that has been changed.

    Returns
    -------
    matplotlib.figure.Figure
        A new one, not attached to pyplot, or the one that was drawn in.

    Notes
    -----
    Where the chains agree, each chain's ranks among all draws are spread evenly. Source: Vehtari et
    al. 2021, Bayesian Analysis 16(2), 667–718.

    Examples
    --------
    >>> import valuebias
    >>> data = valuebias.datasets.load("simulated")
    >>> fit = valuebias.fit(data, draws=50, tune=200, chains=2, seed=1, progress=False)
    >>> figure = plot_trace(fit)
    >>> len(figure.axes) > 1
    True
    """
    fit = asked(fit, pair, framing, contrast)
    place = Place(None, figure, figsize)
    items = _items(fit)
    n_rows = -(-len(items) // 2)
    n_chains = next(iter(items.values())).shape[0]
    # Manual layout: constrained layout takes seconds for so many panels.
    with drawn(7.2, 0.6 + 0.78 * n_rows, place, constrained=False) as figure:
        palette = list(colours(str(i) for i in range(n_chains)).values())
        height = inches(figure)[1]
        panels = figure.subplots(n_rows, 4, squeeze=False, width_ratios=[2, 1, 2, 1])
        alone = whole(figure).get_layout_engine() is None
        if alone:
            figure.subplots_adjust(
                left=0.075, right=0.985, bottom=points(0.42) / height,
                top=1 - points(0.28) / height, hspace=0.62, wspace=0.3,
            )  # fmt: skip
        pairs = panels.reshape(-1, 2)
        for (left, right), (name, draws) in zip(pairs, items.items(), strict=False):
            _trace(left, draws, palette)
            _ranks(right, draws, palette)
            left.set_title(drawable(name), fontsize=points(7.5), fontweight="normal", pad=2)
        for axes in pairs[len(items) :].ravel():
            axes.set_axis_off()
        handles = [mark(colour, "", width=1.5) for colour in palette]
        labels = [f"chain {i + 1}" for i in range(n_chains)]
        figure.legend(
            handles[:8],
            labels[:8],
            loc="lower center" if alone else "outside lower center",
            ncols=min(n_chains, 8),
        )
    return whole(figure)


def _items(fit: Posterior) -> dict[str, Array]:
    """Draws (chain, draw) by name: the headline, then the SDs."""
    first = fit.contrast_draws.isel(estimand=0)
    items = {f"{first['name'].item()}, {first['framing'].item()}": first.to_numpy()}
    sd = fit.tree["posterior"]["sd"]
    for component in sd["component"].to_numpy():
        for framing in sd["framing"].to_numpy():
            chosen = sd.sel(component=component, framing=framing)
            items[f"SD {component}, {framing}"] = chosen.to_numpy()
    return items


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.tick_params(axis="y", labelsize=points(6.5), colors=grey(), pad=1)
    axes.spines["bottom"].set_color(faint())


def _trace(axes: Axes, draws: Array, palette: list[str]) -> None:
    _bare(axes)
    step = max(1, draws.shape[1] // _POINTS)
    for chain, colour in zip(draws, palette, strict=True):
        # As a bitmap: thousands of points would make a vector file slow to show.
        axes.plot(chain[::step], color=colour, linewidth=0.45, alpha=0.8, rasterized=True)
    axes.locator_params(axis="y", nbins=3)


def _ranks(axes: Axes, draws: Array, palette: list[str]) -> None:
    _bare(axes)
    axes.set_yticks([])
    rank = draws.ravel().argsort().argsort().reshape(draws.shape)
    edges = np.linspace(0, draws.size, _BINS + 1)
    expected = draws.shape[1] / _BINS
    for chain, colour in zip(rank, palette, strict=True):
        counts, _ = np.histogram(chain, edges)
        axes.stairs(counts / expected, edges, baseline=None, color=colour, linewidth=0.9, alpha=0.9)
    axes.axhline(1, color=grey(), linewidth=0.6, linestyle=(0, (3, 2)))
    axes.set_ylim(0, 2.2)
