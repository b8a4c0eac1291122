"""Median ranks of each category's words, by family and framing: the paper's Figures 1 and A1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from valuebias.analysis.classical.medians import MedianRanks, median_ranks
from valuebias.plots.asking import narrowed
from valuebias.plots.canvas import Place, drawn, tidy_axes, whole
from valuebias.plots.layout import Rows, make_panels, rank_label, width
from valuebias.plots.theme import colours, faint, paper
from valuebias.schema import validate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from valuebias.posterior.posterior import Posterior

__all__ = ["plot_ranks"]


def plot_ranks(
    scores: xr.Dataset,
    *,
    fit: Posterior | None = None,
    pair: tuple[str, str] | None = None,
    framing: str | None = None,
    contrast: tuple[str, str] | None = None,
    figure: Figure | SubFigure | None = None,
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Draw the median ranks of each category's words, one panel per framing.

    Parameters
    ----------
    scores : xarray.Dataset
        Scores of any kind with categories; words may be in several.
    fit : Fit, optional
        The result of :func:`valuebias.fit` on the same dataset, by family (``"~ family"``) where
        it has several. Its estimates are drawn beside the ranks.
    pair : pair of str, optional
        The two families to show; all if not given.
    framing : {"positive", "negative"}, optional
        The prompts to show; all, side by side, if not given.
    contrast : pair of str, optional
        The two categories to show; all if not given.
    figure : matplotlib.figure.Figure or SubFigure, optional
        Where to put the panels, in place of a new figure.
    figsize : pair of float, optional
        Width and height of a new figure in inches. If not given what suits its rows, or
        ``rcParams["figure.figsize"]`` where that has been changed.

    Returns
    -------
    matplotlib.figure.Figure
        Dots: a model's median rank over the words of the category and the prompts of the framing,
        1 = highest score. Diamonds: their mean over the models of a family. The line marks the
        middle of the ranks. With a fit, further panels with the posterior mean and 90 % interval of
        each family's mean of the category, relative to the mean of the categories, in units of the
        fit's outcome. In every panel a higher score lies further to the right.

    Raises
    ------
    ValueBiasError
        If the dataset is not valid or has no categories, or `fit` is of other data or does not
        compare families.

    Notes
    -----
    After Christian et al. (2026), Figures 1 and A1. The numbers are those of
    ``valuebias.classical(scores)``.

    Examples
    --------
    >>> import valuebias
    >>> figure = plot_ranks(valuebias.datasets.load("simulated"))
    >>> [axes.get_title(loc="left") for axes in figure.axes]
    ['positive framing', 'negative framing']
    """
    place = Place(None, figure, figsize)
    validate(scores, min_categories=1)
    medians = narrowed(median_ranks(scores, contrast=contrast), pair, framing)
    rows = Rows(medians.categories, medians.families)
    across = width(len(medians.framings), fitted=fit is not None)
    with drawn(across, 1.1 + 0.3 * rows.height, place) as figure:
        panels = make_panels(figure, medians.framings, fitted=fit is not None)
        for level, axes in zip(medians.framings, panels.data, strict=True):
            _panel(axes, medians, rows, level)
            axes.set_xlabel(rank_label(str(scores.attrs["kind"]), narrow=fit is not None))
        panels.data[0].invert_xaxis()
        rows.label(panels.data[0])
        if fit is not None:
            from valuebias.plots.posterior_numbers import check_same_data, draw_means

            fitted = dict(zip(medians.framings, panels.fitted, strict=True))
            names = {family: family for family in rows.groups}
            draw_means(fitted, check_same_data(fit, scores), rows, names, by="family")
    return whole(figure)


def _panel(axes: Axes, medians: MedianRanks, rows: Rows, framing: str) -> None:
    tidy_axes(axes)
    axes.axvline((medians.n_ranked + 1) / 2, color=faint(), linewidth=1.6, zorder=1)
    colour = colours(medians.families)
    family = np.asarray(medians.family)
    table = medians.table().set_index(["framing", "category", "family"])["rank"]
    for c, category in enumerate(medians.categories):
        for f, name in enumerate(medians.families):
            y = rows.y(c, f)
            ranks = medians.pooled[family == name, medians.framings.index(framing), c]
            axes.plot(ranks, np.full(len(ranks), y), "o", color=colour[name], alpha=0.55,
                      markersize=4.5, markeredgewidth=0)  # fmt: skip
            mean = table[framing, category, name]
            axes.plot([mean], [y], "D", color=colour[name], markersize=6.5, markeredgecolor=paper(),
                      markeredgewidth=0.8, zorder=4)  # fmt: skip
    axes.spines["bottom"].set_color(faint())
