"""The estimate of this model beside the paper's, all in ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from valuebias._core.numbers import signed
from valuebias.errors import ValueBiasError
from valuebias.plots.asking import asked
from valuebias.plots.canvas import Place, drawn, interval, lean_axes, whole
from valuebias.plots.labels import drawable
from valuebias.plots.theme import hue, ink, points
from valuebias.posterior.wording import sampled_units

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from valuebias.analysis.estimands.weights import Contrast
    from valuebias.posterior.compare import Comparison
    from valuebias.posterior.posterior import Posterior

__all__ = ["plot_specs"]

_HUES = {"random slopes": 2, "random intercept": 1}
_LABELS = {
    "hierarchical": "valuebias: hierarchical,\n{units} as the sample",
    "random slopes": "paper's mixed model\nwith random slopes by model",
    "random intercept": "paper's mixed model\n(random intercept by model)",
}


def plot_specs(
    fit: Posterior,
    comparison: Comparison | None = None,
    *,
    pair: tuple[str, str] | None = None,
    contrast: Contrast | None = None,
    ax: Axes | None = None,
    figure: Figure | SubFigure | None = None,
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Draw the family difference in lean as three specifications estimate it.

    Parameters
    ----------
    fit : Fit
        What :func:`valuebias.fit` returned.
    comparison : Comparison, optional
        What it shows; computed if not given.
    pair : pair of str, optional
        The two families, or other levels, to compare, as in :meth:`Fit.focused`.
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

    Raises
    ------
    ValueBiasError
        If there is nothing to compare.

    Examples
    --------
    >>> import valuebias
    >>> data = valuebias.datasets.load("simulated")
    >>> fit = valuebias.fit(data, draws=50, tune=200, chains=2, seed=1, progress=False)
    >>> figure = plot_specs(fit)
    >>> len(figure.axes) > 0
    True
    """
    from valuebias.posterior.compare import compare

    fit = asked(fit, pair, None, contrast)
    place = Place(ax, figure, figsize)
    comparison = compare(fit) if comparison is None else comparison
    if comparison.reason:
        raise ValueBiasError(comparison.reason)
    table = comparison.headline()
    pairs = list(dict.fromkeys(table["category"]))
    n_columns = min(len(pairs), 2)
    n_rows = -(-len(pairs) // n_columns)
    units = sampled_units(fit.problem.components.names)
    place.check_one_panel(len(pairs), "Choose two categories with contrast=")
    with drawn(7.2, 0.5 + 1.65 * n_rows, place) as figure:
        if place.ax is None:
            panels = figure.subplots(n_rows, n_columns, squeeze=False, sharey=True, sharex=True)
        else:
            panels = np.array([[place.ax]])
        for axes, two in zip(panels.ravel(), pairs, strict=False):
            _panel(axes, table[table["category"] == two], units)
        for axes in panels.ravel()[len(pairs) :]:
            axes.set_axis_off()
        name = drawable(table["name"].iloc[0], 40)
        label = f"difference in lean, {name} (ranks; {comparison.interval} intervals)"
        if len(pairs) == 1:
            panels[0, 0].set_xlabel(label)
        else:
            figure.supxlabel(label, size=points(9))
    return whole(figure)


def _panel(axes: Axes, rows: pd.DataFrame, units: str) -> None:
    lean_axes(axes, *rows.iloc[0][["over", "against"]])
    for i, (_, row) in enumerate(rows.iterrows()):
        colour = hue(_HUES[row["spec"]]) if row["spec"] in _HUES else ink()
        centre, low, high = row["estimate"], row["lower"], row["upper"]
        interval(axes, -i, row.rename({"estimate": "mean"}), colour=colour, size=7, width=2.4)
        numbers = f"{signed(centre, 1)} [{signed(low, 1)}, {signed(high, 1)}]"
        axes.text(
            centre, -i + 0.2, numbers, ha="center", va="bottom", fontsize=points(7.5), color=colour
        )
    labels = [_LABELS[str(spec)].format(units=units) for spec in rows["spec"]]
    axes.set_yticks([-i for i in range(len(rows))], labels)
    axes.set_ylim(-len(rows) + 0.5, 0.75)
