"""Whether rewards are log-odds: how often models are right, by how sure they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from valuebias.analysis.contrasting.statistics import ContrastStatistics
from valuebias.errors import ValueBiasError
from valuebias.plots.canvas import Place, drawn, legend, mark, tidy_axes, whole
from valuebias.plots.labels import shortened
from valuebias.plots.theme import colours, grey

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

__all__ = ["plot_reliability"]

_LEAST, _MOST = 3.0, 11.0  # sizes of dots, in points


def plot_reliability(
    found: ContrastStatistics,
    *,
    level: Literal["family", "model"] = "family",
    ax: Axes | None = None,
    figure: Figure | SubFigure | None = None,
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Draw how often answers that score higher are right, by the probability that this implies.

    Parameters
    ----------
    found : ContrastStatistics
        What :func:`valuebias.contrast_statistics` returned.
    level : {"family", "model"}, default "family"
        Whether the models of a family are taken together, or each has a line in its family's
        colour.
    ax : matplotlib.axes.Axes, optional
        Where to draw, in place of a new figure; for one panel.
    figure : matplotlib.figure.Figure or SubFigure, optional
        Where to put the panel, in place of a new figure.
    figsize : pair of float, optional
        Width and height of a new figure in inches, or ``rcParams["figure.figsize"]`` where that has
        been changed.

    Returns
    -------
    matplotlib.figure.Figure
        A line per family or model, a dot per bin, the larger the more pairs it has; in the legend
        of families the calibration error. On the dashed line σ of the difference of rewards is the
        probability of being right; below it models are too sure.

    Raises
    ------
    ValueBiasError
        If no answer was known to be right, or `level` is another.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import valuebias
    >>> from valuebias.schema.contrast_scores import build_contrasts
    >>> answers = {"right": "Yes.", "wrong": "No."}
    >>> lines = [{"prompt": f"Is {i} a number?", "answers": answers, "correct": [True, False]}
    ...          for i in range(50)]
    >>> models = pd.DataFrame({"family": ["A"], "stage": "reward"}, index=["org/a"])
    >>> made = valuebias.contrast_set(lines)
    >>> scores = np.random.default_rng(1).normal(size=(1, 50, 2)) + [1.0, 0.0]
    >>> ds = build_contrasts(scores, models=models, contrasts=made)
    >>> figure = plot_reliability(valuebias.contrast_statistics(ds))
    >>> figure.axes[0].get_ylabel()
    'share that is right'
    """
    place = Place(ax, figure, figsize)
    if level not in ("family", "model"):
        raise ValueBiasError(f"level is {level!r}; expected 'family' or 'model'.")
    table = found.reliability
    if table.empty:
        raise ValueBiasError(
            "No answer of these scores is known to be right, so that there is no reliability. Give "
            "the variants a coordinate of true and false: contrast_statistics(scores, "
            "correct='correct')."
        )
    families = list(dict.fromkeys(table["family"]))
    palette = colours(sorted(families))
    shown = table[table["level"] == level]
    with drawn(4.8, 4.6, place) as figure:
        axes = place.one_panel(figure)
        tidy_axes(axes)
        axes.plot([0.5, 1], [0.5, 1], color=grey(), linestyle=(0, (4, 3)), linewidth=1)
        most = float(shown["n_pairs"].max())
        for _, rows in shown.groupby("name", sort=False):
            _draw(axes, rows, palette[rows["family"].iloc[0]], most, faint=level == "model")
        axes.set_xlim(0.485, 1.015)
        low = min(0.5, float(shown["accuracy"].min()))
        axes.set_ylim(low - 0.03, 1.03)
        axes.set_xlabel("probability by the difference of rewards, " r"$\sigma(|\Delta r|)$")
        axes.set_ylabel("share that is right")
        handles = [mark(palette[name], size=6, width=1.8) for name in families]
        labels = [f"{shortened(name, 24)}{_error(found, name)}" for name in families]
        legend(figure, handles, labels, place=place)
    return whole(figure)


def _draw(axes: Axes, rows: pd.DataFrame, colour: str, most: float, *, faint: bool) -> None:
    x, y = rows["confidence"].to_numpy(), rows["accuracy"].to_numpy()
    axes.plot(x, y, color=colour, linewidth=1.0 if faint else 1.8, alpha=0.6 if faint else 1.0)
    size = _LEAST + (_MOST - _LEAST) * (rows["n_pairs"].to_numpy() / most) ** 0.5
    axes.scatter(x, y, s=size**2, color=colour, alpha=0.6 if faint else 1.0, linewidth=0, zorder=3)


def _error(found: ContrastStatistics, family: str) -> str:
    """Give a family's calibration error for the legend."""
    table = found.to_frame("calibration error", level="family")
    error = float(table["estimate"].to_numpy()[table["name"] == family][0])
    return f" (error {error:.2f}, {found.bins} bins)"
