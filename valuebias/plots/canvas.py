"""The look that all figures share: size, type, colours, marks."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation
from numpy.typing import NDArray

from valuebias.errors import ValueBiasError
from valuebias.plots.labels import drawable
from valuebias.plots.theme import faint, grey, natural_size, paper, points, styled

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist

__all__ = [
    "INTERVAL",
    "NEW",
    "Place",
    "blank_figure",
    "drawn",
    "half_eye",
    "inches",
    "interval",
    "lean_axes",
    "legend",
    "mark",
    "tidy_axes",
    "whole",
]

Array = NDArray[np.float64]

INTERVAL = 0.9
"""Probability of the intervals in all figures."""


class ShownFigure(Figure):
    """A figure made without pyplot, of which notebooks otherwise show only the repr."""

    def _repr_png_(self) -> bytes:
        """Render the figure for IPython."""
        picture = io.BytesIO()
        self.savefig(picture, format="png", dpi="figure")
        return picture.getvalue()


@dataclass(frozen=True)
class Place:
    """Where to draw: in axes or a figure that are there already, or in a new figure of a size."""

    ax: Axes | None = None
    figure: Figure | SubFigure | None = None
    figsize: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        """Check what a user has given."""
        given = [name for name in ("ax", "figure", "figsize") if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueBiasError(
                f"{' and '.join(given)} were given; expected one of them: axes or a figure to draw "
                "in, or the size of a new one."
            )
        if self.ax is not None and not isinstance(self.ax, Axes):
            raise ValueBiasError(
                f"ax is of type {type(self.ax).__name__}; expected one Axes of matplotlib, such as "
                "plt.subplots()[1]."
            )
        if self.figure is not None and not isinstance(self.figure, Figure | SubFigure):
            raise ValueBiasError(
                f"figure is of type {type(self.figure).__name__}; expected a Figure or SubFigure "
                "of matplotlib."
            )
        if self.figsize is not None:
            _check_size(self.figsize)

    def one_panel(self, figure: Figure | SubFigure) -> Axes:
        """Give the axes to draw in, or make some."""
        return figure.subplots() if self.ax is None else self.ax

    def check_one_panel(self, n: int, how: str) -> None:
        """Refuse axes where there are several panels."""
        if self.ax is not None and n > 1:
            raise ValueBiasError(
                f"ax is one panel, and there are {n} to draw. {how}, or give figure= a Figure or "
                "SubFigure for all of them."
            )


NEW = Place()


def _check_size(size: Any) -> None:
    try:
        width, height = (float(side) for side in size)
    except (TypeError, ValueError):
        width = height = math.nan
    if not (0 < width < math.inf and 0 < height < math.inf):
        raise ValueBiasError(
            f"figsize is {size!r}; expected width and height in inches, such as (6, 4)."
        )


def blank_figure(width: float, height: float, *, constrained: bool = True) -> Figure:
    """Make an empty figure of a size in inches, laid out by constraints or by hand."""
    layout = ConstrainedLayoutEngine(w_pad=0.07, h_pad=0.06) if constrained else None
    figure = ShownFigure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


@contextmanager
def drawn(
    width: float, height: float, place: Place = NEW, *, constrained: bool = True
) -> Iterator[Figure | SubFigure]:
    """Draw in a place, or a new figure of about a size in inches, and lay it out at the end."""
    with styled():
        given = place.figure if place.ax is None else place.ax.figure
        if given is None:
            size = place.figsize or natural_size(width, height)
            figure: Figure | SubFigure = blank_figure(*size, constrained=constrained)
        else:
            figure = given
            # Labels and legends need room, which a figure without a layout does not make.
            if place.ax is None and whole(figure).get_layout_engine() is None and constrained:
                whole(figure).set_layout_engine("constrained")
        yield figure
        engine = whole(figure).get_layout_engine()
        if engine is not None:
            engine.execute(whole(figure))


def whole(figure: Figure | SubFigure) -> Figure:
    """Give the figure that something is a part of."""
    while not isinstance(figure, Figure):
        figure = figure.figure
    return figure


def inches(figure: Figure | SubFigure) -> tuple[float, float]:
    """Give the size of a figure or of a part of one."""
    box = figure.bbox.transformed(whole(figure).dpi_scale_trans.inverted())
    return float(box.width), float(box.height)


def tidy_axes(axes: Axes, *, grid: Literal["x", "y"] | None = "x", zero: bool = False) -> None:
    """Put faint lines behind the marks, at the ticks of one axis, and a darker one at its zero."""
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis=grid, color=faint(), linewidth=0.6)
    if zero:
        line = axes.axvline if grid == "x" else axes.axhline
        line(0, color=grey(), linewidth=1.0, zorder=1)
    axes.tick_params(axis="x", length=3)
    axes.tick_params(axis="y", length=0)


def interval(
    axes: Axes,
    y: float,
    row: Mapping[str, float] | pd.Series,
    *,
    colour: str,
    marker: str = "o",
    size: float = 5.5,
    hollow: bool = False,
    dashed: bool = False,
    width: float = 1.6,
) -> None:
    """Draw the mean of a row with its interval."""
    style = (0, (2, 1.4)) if dashed else "-"
    ends = (row["lower"], row["upper"])
    axes.plot(ends, [y, y], color=colour, linewidth=width, linestyle=style,
              solid_capstyle="round", zorder=2)  # fmt: skip
    axes.plot([row["mean"]], [y], marker=marker, markersize=size, color=colour, zorder=3,
              markerfacecolor=paper() if hollow else colour,
              markeredgecolor=colour if hollow else paper(),
              markeredgewidth=1.2 if hollow else 0.6)  # fmt: skip


def half_eye(axes: Axes, y: float, draws: Array, colour: str) -> None:
    """Draw a density on a row, and below it the median with a 50% and a 90% interval."""
    from scipy.stats import gaussian_kde

    tail = (1 - INTERVAL) / 2
    low, q1, median, q3, high = np.quantile(draws, [tail, 0.25, 0.5, 0.75, 1 - tail])
    spread = draws.std()
    if spread > 0:
        grid = np.linspace(draws.min() - 0.3 * spread, draws.max() + 0.3 * spread, 200)
        density = gaussian_kde(draws)(grid)
        top = y + 0.72 * density / density.max()
        axes.fill_between(grid, y, top, color=colour, alpha=0.32, linewidth=0, zorder=2)
        axes.plot(grid, top, color=colour, linewidth=1.1, zorder=2)
    below = y - 0.1
    axes.plot([low, high], [below, below], color=colour, linewidth=1.5, solid_capstyle="round")
    axes.plot([q1, q3], [below, below], color=colour, linewidth=3.6, solid_capstyle="round")
    axes.plot([median], [below], "o", markersize=5, color=colour,
              markeredgecolor=paper(), markeredgewidth=0.7, zorder=4)  # fmt: skip


def lean_axes(axes: Axes, first: str, second: str, *, narrow: bool = False) -> None:
    """Mark zero and the category that each side favours; an empty second one means all others."""
    tidy_axes(axes, zero=True)
    room, word = (12, "") if narrow else (22, "towards ")
    left, right = drawable(second or "others", room), drawable(first, room)
    note = {"transform": axes.transAxes, "va": "bottom", "fontsize": points(8), "color": grey()}
    axes.text(0, 1.01, f"← {word}{left}", ha="left", **note)  # type: ignore[arg-type]
    axes.text(1, 1.01, f"{word}{right} →", ha="right", **note)  # type: ignore[arg-type]


def mark(
    colour: str, marker: str = "o", *, size: float = 5, width: float = 0.0, **style: Any
) -> Line2D:
    """Make a mark for a legend, on a line of some width."""
    return Line2D([], [], color=colour, marker=marker, markersize=size, linewidth=width, **style)


def legend(
    figure: Figure | SubFigure,
    handles: Sequence[Artist],
    labels: Sequence[str],
    *,
    columns: int = 4,
    place: Place = NEW,
) -> None:
    """Put a legend below the figure, outside the axes, or below the axes of the user."""
    # Matplotlib leaves out labels that start with an underscore, as words may.
    texts = [f" {label}" if label.startswith("_") else label for label in map(drawable, labels)]
    shape: dict[str, Any] = {
        "ncols": min(len(texts), columns), "handlelength": 1.8, "columnspacing": 1.6,
    }  # fmt: skip
    if place.ax is None:
        figure.legend(list(handles), texts, loc="outside lower center", **shape)
        return
    below = ScaledTranslation(0, -points(38) / 72, whole(figure).dpi_scale_trans)
    place.ax.legend(
        list(handles), texts, loc="upper center", bbox_to_anchor=(0.5, 0),
        bbox_transform=place.ax.transAxes + below, borderaxespad=0, **shape,
    )  # fmt: skip
