"""Median log-prob ranks of two language models: the paper's Figure 2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr

from valuebias.analysis.classical.classical import Classical, classical
from valuebias.analysis.classical.medians import MedianRanks
from valuebias.errors import ValueBiasError, did_you_mean
from valuebias.plots.asking import of_framing
from valuebias.plots.canvas import INTERVAL, Place, drawn, interval, legend, mark, tidy_axes, whole
from valuebias.plots.layout import Panels, Rows, bracket, make_panels, rank_label, spread, width
from valuebias.plots.theme import colours, faint, grey, ink, points
from valuebias.schema import validate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from valuebias.posterior.posterior import Posterior

__all__ = ["anova_cells", "plot_logprobs", "stars"]

_LINE = 0.19  # inches
_TITLE = "Type-II ANOVA of the median ranks, prompts as replicates"
_HEAD = ("term", "F", "df", "p")
_WIDTH = 3.8  # inches
_PLACES = (0.0, 0.62, 0.8, 1.0)  # of the table's width
_STARS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))


def plot_logprobs(
    logprobs: xr.Dataset,
    *,
    models: Sequence[str] | None = None,
    fit: Posterior | None = None,
    framing: str | None = None,
    contrast: tuple[str, str] | None = None,
    figure: Figure | SubFigure | None = None,
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Draw the median ranks of each category's words for two models, by framing.

    Parameters
    ----------
    logprobs : xarray.Dataset
        Log-probs with two or more categories; scores of another kind work as well, and the axis
        says which.
    models : pair of str, optional
        The two models to compare, where the dataset has more.
    fit : Fit, optional
        The result of :func:`valuebias.fit` on the same dataset, or on the two models alone. Its
        estimates for the two models are drawn beside the ranks.
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
        Small dots: the median rank of the category's words after one prompt, 1 = highest score.
        Large dots: their mean over the prompts with its 90 % interval (Student's t). Stars: Welch's
        t tests of one model against the other, with the false discovery rate controlled over all
        categories and framings. Below: the type-II ANOVA of the median ranks. With a fit, further
        panels with the posterior mean and 90 % interval of each model's mean of the category,
        relative to the mean of the categories, in units of the fit's outcome. In every panel a
        higher score lies further to the right.

    Raises
    ------
    ValueBiasError
        If the dataset is not valid or has fewer than two categories, if `models` does not name two
        of its models (or it has more than two and none are named), or if `fit` is of other data.

    Notes
    -----
    After Christian et al. (2026), Figure 2. The numbers are those of ``valuebias.classical`` of the
    two models; where both are of one family, each is its own group.

    The intervals, stars and the ANOVA take the prompts as independent replicates, as the paper
    does. The prompts are paraphrases of one question, so they resemble each other and the p values
    are too small; and two models say nothing about how other models of their families differ.

    Examples
    --------
    >>> import valuebias
    >>> scores = valuebias.datasets.load("simulated")
    >>> pair = [str(name) for name in scores["model"].values[[0, -1]]]
    >>> figure = plot_logprobs(scores, models=pair)
    >>> figure.axes[0].get_xlabel()
    'median rank  (1 = highest reward)'
    """
    place = Place(None, figure, figsize)
    validate(logprobs, min_categories=2)
    pair = _grouped(_pair(logprobs, models))
    result = classical(
        of_framing(pair, framing), contrast=contrast, n_permutations=1, progress=False
    )
    medians = result.ranks
    rows = Rows(medians.categories, medians.families)
    below = _table_height(result.anova)
    across = max(6.6, width(len(medians.framings), fitted=fit is not None))
    with drawn(across, 1.9 + 0.36 * rows.height + below, place) as figure:
        panels = make_panels(figure, medians.framings, fitted=fit is not None, below=below)
        for level, axes in zip(medians.framings, panels.data, strict=True):
            _panel(axes, result, rows, level)
            axes.set_xlabel(rank_label(str(logprobs.attrs["kind"]), narrow=fit is not None))
        panels.data[0].invert_xaxis()
        rows.label(panels.data[0])
        if fit is not None:
            _posterior(panels, fit, logprobs, pair, rows, medians)
        _legend(figure, rows, medians)
        whole(figure).draw_without_rendering()
        if panels.below is not None:
            _draw_anova(panels.below, result, by=str(pair.attrs["groups"]))
    return whole(figure)


def stars(p: float) -> str:
    """Mark a p value with stars: three below 0.001, two below 0.01, one below 0.05."""
    return next((mark for limit, mark in _STARS if p < limit), "")


def _pair(scores: xr.Dataset, models: Sequence[str] | None) -> xr.Dataset:
    """Select the two models."""
    known = [str(name) for name in scores["model"].to_numpy()]
    if models is None:
        if len(known) != 2:
            raise ValueBiasError(
                f"The dataset has {len(known)} models, and the figure compares two. Name them with "
                f"models=, such as models={tuple(known[:2])!r}."
                if len(known) > 2
                else "The dataset has one model, and the figure compares two. Score another."
            )
        return scores
    if isinstance(models, str) or len(models) != 2 or models[0] == models[1]:
        raise ValueBiasError(f"models is {models!r}; expected two different models.")
    for name in models:
        if name not in known:
            raise ValueBiasError(
                f"models names {name!r}, which the dataset lacks. {did_you_mean(name, known)}"
            )
    return scores.isel(model=[known.index(name) for name in models])


def _grouped(pair: xr.Dataset) -> xr.Dataset:
    """Make each model its own group where both are of one family."""
    if len(set(pair["family"].to_numpy().tolist())) == 2:
        return pair.assign_attrs(groups="family")
    return pair.assign_coords(family=("model", pair["model"].to_numpy())).assign_attrs(
        groups="model"
    )


def _panel(axes: Axes, result: Classical, rows: Rows, framing: str) -> None:
    tidy_axes(axes)
    axes.axvline((result.ranks.n_ranked + 1) / 2, color=faint(), linewidth=1.6, zorder=1)
    palette = colours(rows.groups)
    medians = result.medians[result.medians["framing"] == framing]
    tests = result.welch[result.welch["framing"] == framing].set_index("category")["p.fdr"]
    for c, category in enumerate(rows.categories):
        for g, name in enumerate(rows.groups):
            cell = (medians["category"] == category) & (medians["family"] == name)
            _prompts(axes, medians["rank"][cell], rows.y(c, g), palette[name])
        p = float(tests[category])
        if not np.isnan(p):
            bracket(axes, rows.y(c, 0), rows.y(c, 1), stars(p) or "n.s.")
    axes.spines["bottom"].set_color(faint())


def _prompts(axes: Axes, ranks: pd.Series[float], y: float, colour: str) -> None:
    """Draw one dot per prompt, and their mean with its interval."""
    from scipy import stats

    # The dots lie below their mean, so that neither hides the other.
    axes.plot(ranks, y - 0.33 + spread(ranks, 0.14), "o", color=colour, alpha=0.45, markersize=3,
              markeredgewidth=0)  # fmt: skip
    n, mean = len(ranks), float(ranks.mean())
    half = 0.0
    if n > 1:
        half = float(stats.t.ppf((1 + INTERVAL) / 2, n - 1) * ranks.std() / np.sqrt(n))
    if n:
        row = {"mean": mean, "lower": mean - half, "upper": mean + half}
        interval(axes, y, row, colour=colour, size=6, width=2.4)


def _posterior(
    panels: Panels, fit: Posterior, scores: xr.Dataset, pair: xr.Dataset, rows: Rows,
    medians: MedianRanks,
) -> None:  # fmt: skip
    from valuebias.plots.posterior_numbers import check_same_data, draw_means

    names = dict(zip(medians.family, medians.models, strict=True))
    fitted = {str(name) for name in fit.data["model"].to_numpy()} if hasattr(fit, "data") else set()
    fit = check_same_data(fit, pair if fitted == set(names.values()) else scores)
    by_framing = dict(zip(medians.framings, panels.fitted, strict=True))
    draw_means(by_framing, fit, rows, names, by="model")


def _legend(figure: Figure | SubFigure, rows: Rows, medians: MedianRanks) -> None:
    palette = colours(rows.groups)
    names = dict(zip(medians.family, medians.models, strict=True))
    handles = [mark(palette[name]) for name in rows.groups]
    handles += [mark(grey(), size=7, width=2.4), mark(grey(), "")]
    labels = [names[name] for name in rows.groups]
    labels.append(f"mean over prompts, {INTERVAL:.0%} interval")
    labels.append("* p < .05, ** < .01, *** < .001 (Welch, FDR)")
    legend(figure, handles, labels, columns=2)


def _table_height(anova: pd.DataFrame) -> float:
    """Height of the table in inches."""
    return _LINE * (max(len(anova), 2) + 1.5)


def anova_cells(anova: pd.DataFrame, *, by: str) -> list[tuple[str, str, str, str]]:
    """Format the table."""
    if not len(anova):
        return []
    rest = float(anova["Df"].to_numpy()[-1])
    cells = []
    terms: list[str] = anova.drop(index="Residuals").index.tolist()
    for term in terms:
        row = anova.loc[term]
        name = term.replace("family", by).replace(":", " × ")
        p = row["Pr(>F)"]
        p_text = "" if np.isnan(p) else "< .001" if p < 0.001 else f"{p:.3f}".replace("0.", ".", 1)
        cells.append((name, f"{row['F value']:.2f}", f"{row['Df']:.0f}, {rest:.0f}", p_text))
    return cells


def _draw_anova(axes: Axes, result: Classical, *, by: str) -> None:
    """Write the table into its own axes."""
    width = points(_WIDTH) / (axes.get_window_extent().width / axes.figure.dpi)
    cells = anova_cells(result.anova, by=by)
    line = _LINE / _table_height(result.anova)
    _write(axes, 1 - 0.5 * line, width, (_TITLE, "", "", ""), weight="bold")
    if not cells:
        reason = next((m for m in result.messages if m.startswith("Type-II ANOVA")), "")
        short = "Not estimated." + reason.partition("not estimated.")[2]
        _write(axes, 1 - 1.6 * line, width, (short, "", "", ""))
        return
    _write(axes, 1 - 1.5 * line, width, _HEAD, colour=grey())
    axes.plot([0, _PLACES[-1] * width], [1 - 2.02 * line] * 2, color=faint(), linewidth=0.8,
              transform=axes.transAxes)  # fmt: skip
    for i, row in enumerate(cells, start=2):
        _write(axes, 1 - (i + 0.6) * line, width, row)


def _write(
    axes: Axes, y: float, width: float, row: tuple[str, ...], *, colour: str | None = None,
    weight: str = "normal",
) -> None:  # fmt: skip
    for x, text in zip(_PLACES, row, strict=True):
        axes.text(
            x * width, y, text, transform=axes.transAxes, ha="right" if x else "left",
            va="center", fontsize=points(8), fontweight=weight, color=colour or ink(),
        )  # fmt: skip
