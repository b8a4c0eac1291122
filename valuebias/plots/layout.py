"""The layout of the paper's figures: rows of categories, panels side by side."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from valuebias.plots.canvas import Place, drawn, inches
from valuebias.plots.labels import drawable
from valuebias.plots.theme import grey, points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

__all__ = [
    "Panels",
    "Rows",
    "bracket",
    "header",
    "make_panels",
    "panel_grid",
    "rank_label",
    "spread",
    "width",
]

_GAP = 0.7
_RANKED = {
    "reward": "1 = highest reward",
    "logprob": "1 = most likely",
    "implicit": "1 = highest implicit reward",
    "judged": "1 = judged best",
}


@dataclass(frozen=True)
class Rows:
    """Rows from the top: each category, and below its name each of the groups."""

    categories: tuple[str, ...]  # categories, groups: names, from the top
    groups: tuple[str, ...]

    @property
    def height(self) -> float:
        """Height of all rows, in rows."""
        return len(self.categories) * (len(self.groups) + _GAP)

    def y(self, category: int, group: int) -> float:
        """Position of a row."""
        return -(category * (len(self.groups) + _GAP) + group)

    def label(self, axes: Axes) -> None:
        """Write the names at the rows and set the limits."""
        positions, labels = [], []
        for c, category in enumerate(self.categories):
            header(axes, self.y(c, 0) + 0.62, category)
            for g, name in enumerate(self.groups):
                positions.append(self.y(c, g))
                labels.append(drawable(name, 18))
        axes.set_yticks(positions, labels)
        axes.set_ylim(self.y(len(self.categories) - 1, len(self.groups) - 1) - 0.6, 0.95)


@dataclass(frozen=True)
class Panels:
    """One panel per framing for the data, and one for the estimates of the fit."""

    data: list[Axes]  # data, fitted: in the order of the framings; `fitted` is empty without a fit
    fitted: list[Axes]
    below: Axes | None  # across the figure, for a table


def width(n: int, *, fitted: bool) -> float:
    """Width in inches of a figure with `n` framings."""
    return {1: 4.6, 2: 7.2}[n] + {1: 2.4, 2: 4.0}[n] * fitted


def make_panels(
    figure: Figure | SubFigure, framings: Sequence[str], *, fitted: bool, below: float = 0.0
) -> Panels:
    """Put panels side by side that share their rows, and `below` inches for a table under them."""
    n = len(framings)
    below = points(below)
    ratios = [max(inches(figure)[1] - below, below), below] if below else [1.0]
    grid = figure.add_gridspec(len(ratios), n * (1 + fitted), height_ratios=ratios)
    axes: list[Axes] = []
    for i in range(n * (1 + fitted)):
        first = axes[i - i % n] if i % n else None
        axes.append(figure.add_subplot(grid[0, i], sharex=first, sharey=axes[0] if axes else None))
        axes[i].tick_params(labelleft=i == 0)
        axes[i].set_title(f"posterior, {framings[i % n]}" if i >= n else f"{framings[i]} framing")
    table_axes = figure.add_subplot(grid[1, :]) if below else None
    if table_axes is not None:
        table_axes.set_axis_off()
    return Panels(axes[:n], axes[n:], table_axes)


def header(axes: Axes, y: float, text: str) -> None:
    """Write the name of a group of rows above them, to the left of the axes."""
    axes.annotate(
        drawable(text, 24),
        (0, y),
        xycoords=("axes fraction", "data"),
        xytext=(-6, 0),
        textcoords="offset points",
        ha="right",
        va="center",
        fontsize=points(8.5),
        fontweight="bold",
        color=grey(),
    )


def bracket(axes: Axes, top: float, bottom: float, text: str) -> None:
    """Join two rows at the right edge, with a text on how they compare."""
    edge = axes.get_yaxis_transform()
    axes.plot([1.0, 1.015, 1.015, 1.0], [top, top, bottom, bottom], color=grey(), linewidth=0.8,
              transform=edge, clip_on=False)  # fmt: skip
    axes.text(
        1.03,
        (top + bottom) / 2,
        text,
        transform=edge,
        va="center",
        color=grey(),
        fontsize=points(8),
    )


def rank_label(kind: str, *, narrow: bool) -> str:
    """Label an axis of median ranks with what rank 1 means."""
    return "median rank" + ("\n" if narrow else "  ") + f"({_RANKED[kind]})"


def spread(values: Iterable[float], most: float) -> NDArray[np.float64]:
    """Offsets within ± `most` that keep neighbouring marks apart, the same every time."""
    n = len(list(values))
    # Multiples of the golden ratio fill an interval evenly, whatever their number.
    return np.asarray(most * (2 * (np.arange(n) * 0.6180339887 % 1.0) - 1), dtype=np.float64)


@contextmanager
def panel_grid(
    n: int, *, margin: float, height: float, sharex: bool, place: Place
) -> Iterator[tuple[Figure | SubFigure, list[Axes], list[Axes]]]:
    """Draw panels of equal size, three in a row at the most; give all, and those at the left."""
    columns = min(n, 3)
    rows = -(-n // columns)
    with drawn(margin + 2.6 * columns, 0.9 + height * rows, place) as figure:
        if place.ax is not None:
            yield figure, [place.ax], [place.ax]
            return
        grid = figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=True).ravel()
        for axes in grid[n:]:
            axes.remove()
        yield figure, list(grid[:n]), list(grid[:n:columns])
