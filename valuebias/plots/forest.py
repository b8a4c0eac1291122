"""Leans of the models by family, with each family's mean and its prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from valuebias.analysis.estimands.estimand import LEAN, MODEL, OVERALL, PREDICTED
from valuebias.analysis.outcome import describe
from valuebias.plots.asking import asked
from valuebias.plots.canvas import INTERVAL, Place, drawn, interval, lean_axes, legend, mark, whole
from valuebias.plots.labels import drawable
from valuebias.plots.theme import colours, grey, points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from valuebias.analysis.estimands.weights import Contrast
    from valuebias.posterior.posterior import Posterior

__all__ = ["plot_forest"]


@dataclass(frozen=True)
class _Row:
    y: float
    label: str
    kind: str  # "model", "mean" or "unseen"
    name: str
    colour: str
    at: str = ""  # what other variables are set to


def plot_forest(
    fit: Posterior,
    *,
    pair: tuple[str, str] | None = None,
    framing: str | None = None,
    contrast: Contrast | None = None,
    ax: Axes | None = None,
    figure: Figure | SubFigure | None = None,
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Draw the forest plot; one panel per contrast of categories.

    Parameters
    ----------
    fit : Fit
        What :func:`valuebias.fit` returned.
    pair : pair of str, optional
        The two families, or other levels, to draw, as in :meth:`Fit.focused`; all if not given.
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
    >>> figure = plot_forest(fit)
    >>> len(figure.axes)
    1
    """
    fit = asked(fit, pair, framing, contrast)
    place = Place(ax, figure, figsize)
    table = fit.contrasts(prob=INTERVAL)
    framing = table["framing"].iloc[0]
    # Not differences, nor slopes of words, which have categories of their own.
    leans = table[(table["framing"] == framing) & table["form"].isin((LEAN, PREDICTED))]
    models = fit.models(prob=INTERVAL)
    models = models[models["framing"] == framing]
    categories = list(dict.fromkeys(leans["category"]))
    rows = _rows(leans, models, pair)
    height = 1.25 + 0.235 * (rows[0].y - rows[-1].y + 1)
    place.check_one_panel(len(categories), "Choose two categories with contrast=")
    with drawn(3.0 + max(4.2, 2.3 * len(categories)), height, place) as figure:
        if place.ax is None:
            panels = list(figure.subplots(1, len(categories), sharey=True, squeeze=False)[0])
        else:
            panels = [place.ax]
        for axes, category in zip(panels, categories, strict=True):
            _panel(axes, rows, leans[leans["category"] == category])
            unit = describe(fit.settings["outcome"]).unit
            long = f"lean, {category}, {fit.under(framing)} ({unit})"
            if len(categories) == 1:
                axes.set_xlabel(drawable(long, 90))
            else:
                axes.set_xlabel(f"lean ({unit})\n{fit.under(framing)}", size=points(8))
        panels[0].set_yticks([r.y for r in rows], [drawable(r.label) for r in rows])
        _dress_labels(panels[0], rows)
        _legend(figure, rows, place)
    return whole(figure)


def _rows(table: pd.DataFrame, models: pd.DataFrame, pair: tuple[str, str] | None) -> list[_Row]:
    """Lay the rows out from the top: each group's models, its mean, an unseen model of it."""
    # A factor of the formula, or else the family.
    factors = dict.fromkeys(table.loc[table["form"] == LEAN, "variable"])
    factor = next((factor for factor in factors if factor in models.columns), "family")
    category = models["category"].iloc[0]
    first = models[models["category"] == category].copy()
    first["_group"] = first[factor].astype(str)
    # Colours in alphabetical order, so that a family has the same one in every figure.
    palette = colours(sorted(first["_group"]))
    if pair is not None:
        first = first[first["_group"].isin([str(level) for level in pair])]
    order = first.groupby("_group")["mean"].mean().sort_values(ascending=False).index
    leans = table[_is_lean(table, factor)]
    cells = list(dict.fromkeys(leans["at"]))
    unseen = set(table.loc[_is_unseen(table), "name"])
    rows, y = [], 0.0
    for group in order:
        members = first[first["_group"] == group].sort_values("mean", ascending=False)
        for name in members["name"]:
            rows.append(_Row(y, str(name), "model", str(name), palette[group]))
            y -= 1
        for at in cells if group in set(leans["name"]) else []:
            where = f", {at}" if at else ""
            rows.append(_Row(y - 0.15, f"{group}{where}: mean", "mean", group, palette[group], at))
            y -= 1.15
            if group in unseen:
                label = f"{group}{where}: an unseen model"
                rows.append(_Row(y, label, "unseen", group, palette[group], at))
                y -= 1
        y -= 0.55
    overall = table.loc[_is_lean(table, OVERALL), "at"]
    if leans.empty and len(overall):
        at = str(overall.iloc[0])
        rows.append(_Row(y, "all models: mean", "overall", "all models", grey(), at))
    return rows


def _is_lean(table: pd.DataFrame, factor: str) -> pd.Series[bool]:
    return (table["form"] == LEAN) & (table["variable"] == factor)


def _is_unseen(table: pd.DataFrame) -> pd.Series[bool]:
    return (table["form"] == PREDICTED) & (table["variant"] == "")


def _panel(axes: Axes, rows: list[_Row], table: pd.DataFrame) -> None:
    lean_axes(axes, *table.iloc[0][["over", "against"]])
    of_kind = {
        "model": _is_lean(table, MODEL),
        "overall": _is_lean(table, OVERALL),
        "unseen": _is_unseen(table),
        "mean": (table["form"] == LEAN) & ~table["variable"].isin((MODEL, OVERALL)),
    }
    for row in rows:
        same = (table["name"] == row.name) & (table["at"] == row.at)
        post = table[of_kind[row.kind] & same].iloc[0]
        mean = row.kind in ("mean", "overall")
        interval(
            axes, row.y, post, colour=row.colour, marker="D" if mean else "o",
            size=7 if mean else 5.5, width=3.0 if mean else 1.6, hollow=row.kind == "unseen",
            dashed=row.kind == "unseen",
        )  # fmt: skip
    axes.set_ylim(rows[-1].y - 0.8, rows[0].y + 0.8)


def _dress_labels(axes: Axes, rows: list[_Row]) -> None:
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        if row.kind != "model":
            label.set_color(row.colour)
            label.set_fontweight("bold" if row.kind != "unseen" else "normal")


def _legend(figure: Figure | SubFigure, rows: list[_Row], place: Place) -> None:
    kinds = {row.kind for row in rows}
    handles = [mark(grey(), size=5.5, width=1.6)]
    labels = [f"a model ({INTERVAL:.0%} interval)"]
    if kinds & {"mean", "overall"}:
        handles.append(mark(grey(), "D", size=7, width=3))
        labels.append("mean of the models" if "overall" in kinds else "mean of a family")
    if "unseen" in kinds:
        handles.append(
            mark(grey(), size=5.5, width=1.6, markerfacecolor="none", linestyle=(0, (2, 1.4)))
        )
        labels.append("predicted: an unseen model")
    legend(figure, handles, labels, place=place)
