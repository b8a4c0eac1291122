"""Median ranks of each category's words, by family and framing: the paper's Figure 1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from valuebias.analysis.medians import MedianRanks, median_ranks
from valuebias.plots.canvas import FAINT, GREY, PAPER, blank_figure, colours, styled, tidy_axes
from valuebias.plots.labels import drawable
from valuebias.schema import validate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["rank_figure"]


def rank_figure(scores: xr.Dataset) -> Figure:
    """Draw the median ranks of each category's words, a panel a framing.

    Parameters
    ----------
    scores : xarray.Dataset
        Scores of any kind with categories; words may be in several.

    Returns
    -------
    matplotlib.figure.Figure
        Dots: a model's median rank over the words of the category and the prompts of the framing,
        1 = highest score. Diamonds: their mean over the models of a family. The line marks the
        middle of the ranks.

    Raises
    ------
    ValueBiasError
        If the dataset is not valid or has no categories.

    Notes
    -----
    After Christian et al. (2026), Figures 1 and A1. The numbers are those of
    ``valuebias.classical(scores)``.

    Examples
    --------
    >>> import valuebias
    >>> figure = rank_figure(valuebias.datasets.load("demo"))
    >>> [axes.get_title(loc="left") for axes in figure.axes]
    ['positive framing', 'negative framing']
    """
    medians = median_ranks(validate(scores, min_categories=1))
    with styled():
        rows = len(medians.categories) * (len(medians.families) + 0.7)
        figure = blank_figure(7.2, 1.1 + 0.3 * rows)
        panels = figure.subplots(1, len(medians.framings), sharex=True, sharey=True, squeeze=False)
        for framing, axes in zip(medians.framings, panels[0], strict=True):
            _panel(axes, medians, framing)
        _label_rows(panels[0][0], medians)
        figure.draw_without_rendering()
    return figure


def _panel(axes: Axes, medians: MedianRanks, framing: str) -> None:
    tidy_axes(axes)
    axes.axvline((medians.n_ranked + 1) / 2, color=FAINT, linewidth=1.6, zorder=1)
    colour = colours(medians.families)
    family = np.asarray(medians.family)
    table = medians.table().set_index(["framing", "category", "family"])["rank"]
    for c, category in enumerate(medians.categories):
        for f, name in enumerate(medians.families):
            y = _row(medians, c, f)
            ranks = medians.pooled[family == name, medians.framings.index(framing), c]
            axes.plot(ranks, np.full(len(ranks), y), "o", color=colour[name], alpha=0.55,
                      markersize=4.5, markeredgewidth=0)  # fmt: skip
            mean = table[framing, category, name]
            axes.plot([mean], [y], "D", color=colour[name], markersize=6.5, markeredgecolor=PAPER,
                      markeredgewidth=0.8, zorder=4)  # fmt: skip
    axes.set_title(f"{framing} framing")
    axes.set_xlabel("median rank  (1 = highest score)")
    axes.spines["bottom"].set_color(FAINT)


def _row(medians: MedianRanks, category: int, family: int) -> float:
    return -(category * (len(medians.families) + 0.7) + family)


def _label_rows(axes: Axes, medians: MedianRanks) -> None:
    places, labels = [], []
    for c, category in enumerate(medians.categories):
        for f, name in enumerate(medians.families):
            places.append(_row(medians, c, f))
            labels.append(drawable(name, 18))
        # The category stands above its families, in the space between the groups.
        axes.annotate(
            drawable(category, 24),
            (0, _row(medians, c, 0) + 0.62),
            xycoords=("axes fraction", "data"),
            xytext=(-6, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            fontsize=8.5,
            fontweight="bold",
            color=GREY,
        )
    axes.set_yticks(places, labels)
    axes.set_ylim(_row(medians, len(medians.categories) - 1, len(medians.families) - 1) - 0.6, 0.95)
