"""The words that drive the difference between two families."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pandas as pd

from valuebias.analysis.outcome import describe
from valuebias.plots.asking import asked
from valuebias.plots.canvas import (
    INTERVAL,
    Place,
    drawn,
    inches,
    interval,
    legend,
    mark,
    tidy_axes,
    whole,
)
from valuebias.plots.labels import drawable
from valuebias.plots.theme import colours, grey, points
from valuebias.posterior.wording import false_signs, sampled_units, under

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from valuebias.posterior.posterior import Posterior

__all__ = ["plot_words"]

_EACH_WAY = 14
_LETTERS = 17  # of the note, to an inch
_SEVERAL = "several categories"


def plot_words(
    fit: Posterior,
    *,
    pair: tuple[str, str] | None = None,
    framing: str | None = None,
    figure: Figure | SubFigure | None = None,
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Draw the words with the largest differences each way.

    Parameters
    ----------
    fit : Fit
        What :func:`valuebias.fit` returned.
    pair : pair of str, optional
        The two families, or other levels, to compare, as in :meth:`Fit.focused`.
    framing : {"signed", "positive", "negative"}, optional
        The prompts to speak of, likewise.
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
    >>> figure = plot_words(fit)
    >>> [axes.get_title(loc="left") for axes in figure.axes][0]
    'Valued more by Birch'
    """
    fit = asked(fit, pair, framing, None)
    place = Place(None, figure, figsize)
    table = fit.words(prob=INTERVAL)
    at = str(table["at"].iloc[0]) if "at" in table else ""
    if at:
        table = table[table["at"] == at]
    table["_colour"] = [_SEVERAL if "," in c else c for c in table["categories"]]
    # Families have the first colours in other figures; categories start from the third.
    names = [str(c) for c in fit.data["category"].to_numpy()]
    shifted = colours(["", " ", *names])
    first, second = table.attrs["pair"]
    ordered = table.sort_values("mean")
    tables = {
        f"Valued more by {drawable(second, 15)}": ordered[ordered["mean"] < 0].head(_EACH_WAY),
        f"Valued more by {drawable(first, 15)}": ordered[ordered["mean"] > 0][::-1].head(_EACH_WAY),
    }
    n_rows = max(1, *(len(rows) for rows in tables.values()))
    unit = describe(fit.settings["outcome"]).unit
    with drawn(7.2, 1.35 + 0.2 * n_rows, place) as figure:
        palette = {name: shifted[name] for name in names} | {_SEVERAL: grey()}
        panels = figure.subplots(1, 2)
        for axes, (title, rows) in zip(panels, tables.items(), strict=True):
            _panel(axes, rows, palette)
            axes.set_title(title, loc="left" if axes is panels[0] else "right")
            axes.set_xlabel(f"difference ({unit}), {INTERVAL:.0%} interval")
            axes.set_ylim(-n_rows + 0.3, 0.7)
        _same_reach(panels[0], panels[1])
        units = sampled_units(fit.problem.components.names)
        wrong = false_signs(pd.concat(tables.values()), fit.contrast_draws[..., 0].size)
        prompts = under(str(fit.contrast_draws["framing"].to_numpy()[0]))
        where = f"; {drawable(at, 40)}" if at else ""
        note = f"{prompts}; intervals generalise over {units}; {wrong}{where}"
        note = textwrap.fill(note, round(_LETTERS * inches(figure)[0]))
        figure.suptitle(note, size=points(7.5), color=grey(), fontweight="normal")
        present = [name for name in palette if name in set(table["_colour"])]
        legend(figure, [mark(palette[name], width=1.5) for name in present], present)
    return whole(figure)


def _panel(axes: Axes, rows: pd.DataFrame, palette: dict[str, str]) -> None:
    tidy_axes(axes, zero=True)
    for i, (_, row) in enumerate(rows.iterrows()):
        colour = palette.get(row["_colour"], grey())
        interval(axes, -i, row, colour=colour, size=5)
    axes.set_yticks([-i for i in range(len(rows))], [drawable(w, 20) for w in rows["word"]])
    for label, kind in zip(axes.get_yticklabels(), rows["_colour"], strict=True):
        label.set_color(palette.get(kind, grey()))


def _same_reach(left: Axes, right: Axes) -> None:
    """Give both sides the same scale, so that lengths can be compared across."""
    reach = max(-left.get_xlim()[0], right.get_xlim()[1])
    inner = max(left.get_xlim()[1], -right.get_xlim()[0])
    left.set_xlim(-reach, inner)
    right.set_xlim(-inner, reach)
