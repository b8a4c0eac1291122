"""Which method recovers a known change, by noise and size of the vocabulary."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from valuebias.plots.canvas import Place, drawn, legend, tidy_axes, whole
from valuebias.plots.theme import colours

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.lines import Line2D

    from valuebias.logprobs.validation import Validation

__all__ = ["plot_validation"]

_MARKS = "osD^vP"
_MEASURES = {"auc": "AUC of the raised words", "recall": "share among the top-ranked"}


def plot_validation(
    validation: Validation,
    *,
    figure: Figure | SubFigure | None = None,
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Draw mean AUC and recall by noise: one column per vocabulary size, one line per method.

    Parameters
    ----------
    validation : Validation
        What :func:`valuebias.validate_implicit` or :func:`valuebias.injection_report` gives.
        Fine-tuned models have their own column, without noise.
    figure : matplotlib.figure.Figure or SubFigure, optional
        Where to put the panels, in place of a new figure.
    figsize : pair of float, optional
        Width and height of a new figure in inches. If not given what suits its rows, or
        ``rcParams["figure.figsize"]`` where that has been changed.

    Returns
    -------
    matplotlib.figure.Figure
        Means with 90 % intervals over seeds.

    Examples
    --------
    >>> import valuebias
    >>> from valuebias.plots import plot_validation
    >>> settings = {"vocabulary": 500, "n_words": 20, "n_seeds": 3}
    >>> validation = valuebias.validate_implicit(**settings, progress=False)
    >>> len(plot_validation(validation).axes)
    2
    """
    place = Place(None, figure, figsize)
    summary = validation.summary()
    columns = list(summary.groupby(["source", "vocabulary"]))
    methods = sorted(summary["method"].unique())
    handles: dict[str, Line2D] = {}
    with drawn(1.2 + 3.1 * len(columns), 5.2, place) as figure:
        panels = figure.subplots(len(_MEASURES), len(columns), sharex="col", sharey="row",
                                 squeeze=False)  # fmt: skip
        for row, (measure, label) in zip(panels, _MEASURES.items(), strict=True):
            row[0].set_ylabel(label)
            for axes, (_, one) in zip(row, columns, strict=True):
                handles |= _lines(axes, one, measure, methods)
        for axes, ((_, size), _) in zip(panels[0], columns, strict=True):
            axes.set_title(f"{size:,} texts")
        for axes, ((source, _), _) in zip(panels[-1], columns, strict=True):
            if source == "arithmetic":
                axes.set_xlabel("noise, SD in nats at a log-prob of −10")
            else:
                axes.set_xlabel("raised by fine-tuning")
                axes.set_xticks([])
        legend(figure, list(handles.values()), list(handles), columns=2 * len(columns))
    return whole(figure)


def _lines(
    axes: Axes, summary: pd.DataFrame, measure: str, methods: list[str]
) -> dict[str, Line2D]:
    tidy_axes(axes, grid="y")
    colour = colours(methods)
    # Fine-tuning has no noise that could be put on an axis.
    summary = summary.assign(noise=summary["noise"].fillna(0))
    # Side by side, because equal values would hide one another.
    width = 0.02 * (summary["noise"].max() or 1)
    handles = {}
    for i, method in enumerate(methods):
        rows = summary[summary["method"] == method].sort_values("noise")
        x = rows["noise"] + width * (i - (len(methods) - 1) / 2)
        ends = rows[f"{measure}_lower"], rows[f"{measure}_upper"]
        axes.vlines(x, *ends, color=colour[method])
        (handles[method],) = axes.plot(
            x, rows[measure], marker=_MARKS[i % len(_MARKS)], color=colour[method], markersize=4.5,
            linewidth=1.1,
        )  # fmt: skip
    return handles
