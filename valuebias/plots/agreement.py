"""How far models rank words as humans do, by family."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from valuebias.errors import ValueBiasError
from valuebias.plots.canvas import Place, drawn, interval, legend, mark, tidy_axes, whole
from valuebias.plots.labels import drawable
from valuebias.plots.theme import colours, grey
from valuebias.posterior.wording import under

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

__all__ = ["plot_agreement"]

_NAMES = {"spearman": "Spearman's ρ", "kendall": "Kendall's τ"}
_NEEDED = ("estimand", "name", "family", "framing", "prompt", "unit", "estimate", "lower", "upper")


def plot_agreement(
    table: pd.DataFrame,
    *,
    framing: str | None = None,
    ax: Axes | None = None,
    figure: Figure | SubFigure | None = None,
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Draw the agreement of models and families with a reference.

    Parameters
    ----------
    table : pandas.DataFrame
        What :func:`valuebias.rank_agreement` returned.
    framing : str, optional
        The framing of the prompts to average over; the table's first if not given, "signed" where
        there are positive and negative prompts.
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
        Dots: models, with the interval for other words. Diamonds: means of a family's bases, with
        the interval for other bases, or without one where there is one base.

    Raises
    ------
    ValueBiasError
        If the table is another one, or has no such framing.

    Examples
    --------
    >>> import valuebias
    >>> scores = valuebias.datasets.load("simulated")
    >>> human = scores["score"].mean(["model", "prompt"])
    >>> table = valuebias.rank_agreement(scores, human, n_resamples=99, progress=False)
    >>> [label.get_text() for label in plot_agreement(table).axes[0].get_yticklabels()][-1]
    'Birch: mean of 4 bases'
    """
    place = Place(ax, figure, figsize)
    lacking = [name for name in _NEEDED if name not in table.columns]
    if lacking or not len(table):
        raise ValueBiasError(
            f"The table has no {f'column {lacking[0]!r}' if lacking else 'rows'}; expected what "
            "valuebias.rank_agreement returned."
        )
    framings = list(dict.fromkeys(table["framing"]))
    chosen = framings[0] if framing is None else framing
    if chosen not in framings:
        raise ValueBiasError(f"framing is {chosen!r}; the table has {framings}.")
    shown = table[(table["framing"] == chosen) & (table["prompt"] == "")]
    rows = _rows(shown)
    palette = colours(sorted(set(shown.loc[shown["estimand"] == "family", "name"])))
    with drawn(7.2, 1.15 + 0.25 * len(rows), place) as figure:
        axes = place.one_panel(figure)
        tidy_axes(axes, zero=True)
        for y, _, row in rows:
            _draw(axes, y, row, palette[row["family"]])
        axes.set_yticks([y for y, _, _ in rows], [label for _, label, _ in rows])
        for text, (_, _, row) in zip(axes.get_yticklabels(), rows, strict=True):
            if row["estimand"] == "family":
                text.set(color=palette[row["family"]], fontweight="bold")
        axes.set_ylim(rows[-1][0] - 0.8, rows[0][0] + 0.8)
        name = _NAMES[table.attrs["method"]] if "method" in table.attrs else "rank correlation"
        reference = drawable(table.attrs.get("reference", "the reference"), 30)
        axes.set_xlabel(f"{name} with {reference}, {under(chosen)}")
        handles = [mark(grey(), size=5.5, width=1.6), mark(grey(), "D", size=7, width=3)]
        prob = f"{table.attrs['prob']:.0%} interval " if "prob" in table.attrs else "interval "
        legend(
            figure,
            handles,
            [f"a model ({prob}for other words)", f"a family ({prob}for other bases)"],
            place=place,
        )
    return whole(figure)


def _rows(table: pd.DataFrame) -> list[tuple[float, str, pd.Series]]:
    """Lay the rows out from the top: each family's models, then the family."""
    families = table[(table["estimand"] == "family") & (table["unit"] == "base")]
    out, y = [], 0.0
    for _, family in families.sort_values("estimate", ascending=False).iterrows():
        models = table[(table["estimand"] == "model") & (table["family"] == family["name"])]
        for _, model in models.sort_values("estimate", ascending=False).iterrows():
            out.append((y, drawable(model["name"]), model))
            y -= 1
        n = family["n_bases"]
        label = f"{drawable(family['name'])}: mean of {n} base{'' if n == 1 else 's'}"
        out.append((y - 0.15, label, family))
        y -= 1.8
    return out


def _draw(axes: Axes, y: float, row: pd.Series, colour: str) -> None:
    of_family = row["estimand"] == "family"
    ends = {"mean": row["estimate"], "lower": row["lower"], "upper": row["upper"]}
    if np.isfinite(row["estimate"]):
        interval(
            axes, y, ends, colour=colour, marker="D" if of_family else "o",
            size=7 if of_family else 5.5, width=3.0 if of_family else 1.6,
        )  # fmt: skip
