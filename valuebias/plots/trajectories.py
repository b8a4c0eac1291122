"""Leans over training: the paper's Figures 4a and A5a, with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from valuebias.plots.canvas import INTERVAL, Place, legend, tidy_axes, whole
from valuebias.plots.gaps import at_framing, lean_label, panel_title
from valuebias.plots.layout import panel_grid
from valuebias.plots.theme import colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from valuebias.posterior.ablation.result import AblationPosterior

__all__ = ["plot_trajectories"]

_MOST = 12


def plot_trajectories(
    fit: AblationPosterior,
    *,
    framing: str | None = None,
    figure: Figure | SubFigure | None = None,
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Draw the lean of every family over the steps of training.

    Parameters
    ----------
    fit : AblationFit
        What :func:`valuebias.fit_ablation` or :func:`valuebias.fit_ablation_medians` returns.
    framing : {"signed", "positive", "negative"}, optional
        The prompts to speak of, as in :meth:`AblationFit.at_framing`; the fit's if not given.
    figure : matplotlib.figure.Figure or SubFigure, optional
        Where to put the panels, in place of a new figure.
    figsize : pair of float, optional
        Width and height of a new figure in inches. If not given what suits its rows, or
        ``rcParams["figure.figsize"]`` where that has been changed.

    Returns
    -------
    matplotlib.figure.Figure
        A panel for each source and number of pairs (the twelve with the most pairs). Points: the
        mean of the family's checkpoints at that step; bands: 90 % intervals; a line at zero.

    Raises
    ------
    ValueBiasError
        If `fit` is not the fit of an ablation.

    Notes
    -----
    After Christian et al. (2026), Figures 4a and A5a, which show medians without intervals.

    Examples
    --------
    >>> from itertools import product
    >>> import pandas as pd
    >>> from valuebias import fit_ablation_medians
    >>> import warnings
    >>> warnings.simplefilter("ignore")  # warns that every family has one base
    >>> names = ["family", "base", "n_pairs", "seed", "checkpoint", "category"]
    >>> grid = product("AB", "1", (1e3, 2e3), (1, 2), (1, 2), "xy")
    >>> table = pd.DataFrame(grid, columns=names).assign(source="s", median_rank=50.0)
    >>> table["base"] = table["family"] + table["base"]
    >>> table["median_rank"] += table.index % 5
    >>> fit = fit_ablation_medians(table, contrast=("x", "y"), draws=10, seed=1)
    >>> [axes.get_title(loc="left") for axes in plot_trajectories(fit).axes]
    ['s, 1,000 pairs', 's, 2,000 pairs']
    """
    fit = at_framing(fit, framing)
    place = Place(None, figure, figsize)
    table = fit.trajectories(prob=INTERVAL)
    leans = table[table["estimand"] == "family lean"]
    keys = leans[["source", "n_pairs"]].drop_duplicates().nlargest(_MOST, "n_pairs")
    keys = keys.sort_values(["source", "n_pairs"])
    grid = panel_grid(len(keys), margin=1.3, height=2.3, sharex=False, place=place)
    with grid as (figure, panels, left):
        palette = colours(fit.curves.families)
        for axes, (source, n_pairs) in zip(panels, keys.itertuples(index=False), strict=True):
            rows = leans[(leans["source"] == source) & (leans["n_pairs"] == n_pairs)]
            _panel(axes, rows, palette)
            axes.set_title(panel_title(source, n_pairs))
            axes.set_xlabel("step")
            axes.locator_params(axis="x", nbins=5)
        for axes in left:
            axes.set_ylabel(lean_label(fit, "lean"))
        legend(figure, *panels[0].get_legend_handles_labels())
    return whole(figure)


def _panel(axes: Axes, leans: pd.DataFrame, palette: dict[str, str]) -> None:
    tidy_axes(axes, grid="y", zero=True)
    for family, colour in palette.items():
        rows = leans[leans["name"] == family].sort_values("step")
        band = (rows["lower"], rows["upper"])
        if len(rows) > 1:
            axes.fill_between(rows["step"], *band, color=colour, alpha=0.2, linewidth=0)
        else:
            axes.vlines(rows["step"], *band, color=colour, linewidth=1.6)
        axes.plot(rows["step"], rows["mean"], "-o", color=colour, markersize=4, linewidth=1.4,
                  label=family)  # fmt: skip
