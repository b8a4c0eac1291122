"""Statistics of contrast sets by model or family, one panel a set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np

from valuebias.analysis.contrasting.statistics import ContrastStatistics
from valuebias.errors import ValueBiasError, shown
from valuebias.plots.canvas import Place, drawn, interval, legend, mark, tidy_axes, whole
from valuebias.plots.labels import drawable
from valuebias.plots.theme import colours, grey, points

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

__all__ = ["plot_statistics"]

_UNITS = {
    "gap": "gap (SDs of the model's scores)",
    "spread over positions": "spread over positions (SDs of the model's scores)",
}
_ROW, _HEAD = 0.22, 1.3  # inches; and rows that a set takes besides its own
_SHORT = 34  # letters of a title that has room above the dots


def plot_statistics(
    found: ContrastStatistics | Mapping[str, ContrastStatistics],
    *,
    statistic: str = "gap",
    level: Literal["family", "model"] = "model",
    ax: Axes | None = None,
    figure: Figure | SubFigure | None = None,
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Draw a statistic of contrast sets with its intervals, set below set.

    Parameters
    ----------
    found : ContrastStatistics or mapping from str to ContrastStatistics
        What :func:`valuebias.contrast_statistics` returned; of several sets by their names.
    statistic : str, default "gap"
        One that :meth:`ContrastStatistics.to_frame` has. Sets without it are refused.
    level : {"model", "family"}, default "model"
        Whose.
    ax : matplotlib.axes.Axes, optional
        Where to draw, in place of a new figure.
    figure : matplotlib.figure.Figure or SubFigure, optional
        Where to put the panel, in place of a new figure.
    figsize : pair of float, optional
        Width and height of a new figure in inches. If not given what suits its rows, or
        ``rcParams["figure.figsize"]`` where that has been changed.

    Returns
    -------
    matplotlib.figure.Figure
        A dot per model or family in its family's colour, filled where the interval excludes the
        null value, which is the grey line; without a line where there is no interval.

    Raises
    ------
    ValueBiasError
        If there is no such statistic or level.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import valuebias
    >>> from valuebias.schema.contrast_scores import build_contrasts
    >>> lines = [{"prompt": f"Is {i} a number?", "answers": {"long": "Yes, it is.", "short": "Yes"}}
    ...          for i in range(30)]
    >>> models = pd.DataFrame({"family": ["A", "B"], "stage": "reward"}, index=["org/a", "org/b"])
    >>> scores = np.random.default_rng(1).normal(size=(2, 30, 2)) + [1.0, 0.0]
    >>> ds = build_contrasts(scores, models=models, contrasts=valuebias.contrast_set(lines))
    >>> figure = plot_statistics({"length": valuebias.contrast_statistics(ds)})
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['org/a', 'org/b']
    """
    place = Place(ax, figure, figsize)
    tables = _tables(found, statistic, level)
    families = sorted({name for table in tables.values() for name in table["family"]})
    palette = colours(families)
    n_rows = sum(len(table) + _HEAD for table in tables.values())
    with drawn(7.2, 1.1 + _ROW * n_rows, place) as figure:
        axes = place.one_panel(figure)
        tidy_axes(axes)
        nulls = {float(table["null"].iloc[0]) for table in tables.values()} - {np.nan}
        ticks: list[float] = []
        labels: list[str] = []
        y = 0.0
        titles = [drawable(title, 70) for title in tables]
        # Long ones reach over the labels' side, where nothing stands in their row.
        x, side = (0, "left") if max(map(len, titles)) <= _SHORT else (1, "right")
        for title, table in zip(titles, tables.values(), strict=True):
            axes.text(x, y, title, transform=axes.get_yaxis_transform(), va="center", ha=side,
                      fontweight="bold", fontsize=points(9), in_layout=x == 0)  # fmt: skip
            y -= 1
            top = y
            for _, row in table.iterrows():
                _draw(axes, y, row, palette[row["family"]])
                ticks.append(y)
                labels.append(drawable(row["name"]))
                y -= 1
            null = float(table["null"].iloc[0])
            if np.isfinite(null):
                axes.plot([null, null], [top + 0.45, y + 0.55], color=grey(), linewidth=1, zorder=1)
            y -= _HEAD - 1
        axes.set_yticks(ticks, labels)
        axes.set_ylim(y + 0.3, 0.8)
        low, high = _ends(tables, nulls)
        axes.set_xlim(low, high)
        axes.set_xlabel(_UNITS.get(statistic, statistic))
        if len(families) > 1:
            handles = [mark(palette[name], size=6, width=1.8) for name in families]
            legend(figure, handles, families, place=place)
    return whole(figure)


def _tables(
    found: ContrastStatistics | Mapping[str, ContrastStatistics], statistic: str, level: str
) -> dict[str, pd.DataFrame]:
    """Give a table a panel, by its title: the set's name and what the statistic is of."""
    if level not in ("family", "model"):
        raise ValueBiasError(f"level is {shown(level)}; expected 'model' or 'family'.")
    several = found if isinstance(found, Mapping) else {"": found}
    named = {str(name): one for name, one in several.items()}
    if not named or not all(isinstance(one, ContrastStatistics) for one in named.values()):
        raise ValueBiasError(
            f"found is {shown(found)}; expected what valuebias.contrast_statistics(...) gave, or "
            "several in a mapping by names of yours."
        )
    out: dict[str, pd.DataFrame] = {}
    for name, one in named.items():
        table = one.to_frame(statistic)
        for of, rows in table[table["level"] == level].groupby("of", sort=False):
            said = f"{name}: {of}" if name else str(of)
            out[said] = rows
    return out


def _ends(tables: Mapping[str, pd.DataFrame], nulls: set[float]) -> tuple[float, float]:
    values = [
        float(value)
        for table in tables.values()
        for column in ("estimate", "lower", "upper")
        for value in table[column]
        if np.isfinite(value)
    ] + [null for null in nulls if np.isfinite(null)]
    if not values:
        return 0.0, 1.0
    room = 0.05 * ((max(values) - min(values)) or 1.0)
    return min(values) - room, max(values) + room


def _draw(axes: Axes, y: float, row: pd.Series[float], colour: str) -> None:
    if not np.isfinite(row["estimate"]):
        return
    ends = {"mean": row["estimate"], "lower": row["lower"], "upper": row["upper"]}
    found = not row["lower"] <= row["null"] <= row["upper"]
    interval(axes, y, ends, colour=colour, hollow=not found)
