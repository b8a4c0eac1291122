"""The look that all figures share: size, type, colours, marks."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from valuebias.plots.labels import drawable

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

__all__ = [
    "FAINT",
    "GREY",
    "INK",
    "INTERVAL",
    "PAPER",
    "blank_figure",
    "colours",
    "drawn",
    "half_eye",
    "interval",
    "lean_axes",
    "legend",
    "mark",
    "styled",
    "tidy_axes",
]

Array = NDArray[np.float64]

# The report's style sheet replaces these four by the reader's colours, light or dark.
INK = "#1b1c20"
GREY = "#6e7079"
FAINT = "#d7d8dd"
PAPER = "#fefefe"

# Okabe & Ito 2008, without black and yellow, which are lost on a dark and on a light ground.
_PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")

INTERVAL = 0.9
"""Probability of the intervals in all figures."""

_STYLE: dict[Any, Any] = {
    "axes.edgecolor": GREY,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.labelsize": 9,
    "axes.linewidth": 0.7,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.unicode_minus": True,
    "figure.dpi": 110,
    "figure.facecolor": PAPER,
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "savefig.dpi": 200,
    "svg.fonttype": "path",
    "text.color": INK,
    "text.usetex": False,
    "xtick.color": GREY,
    "xtick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.color": GREY,
    "ytick.labelcolor": INK,
    "ytick.labelsize": 8.5,
    "ytick.left": False,
}


@contextmanager
def styled() -> Iterator[None]:
    """Draw in the style of the package, whatever the user's settings."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE)
        yield


class ShownFigure(Figure):
    """A figure made without pyplot, of which notebooks otherwise show only the repr."""

    def _repr_png_(self) -> bytes:
        """Render the figure for IPython."""
        picture = io.BytesIO()
        self.savefig(picture, format="png", dpi=110)
        return picture.getvalue()


def blank_figure(width: float, height: float, *, constrained: bool = True) -> Figure:
    """Make an empty figure of a size in inches, laid out by constraints or by hand."""
    layout = ConstrainedLayoutEngine(w_pad=0.07, h_pad=0.06) if constrained else None
    figure = ShownFigure(figsize=(width, height), layout=layout)
    FigureCanvasAgg(figure)
    return figure


@contextmanager
def drawn(width: float, height: float) -> Iterator[Figure]:
    """Draw a figure of a size in inches in the style of the package, and lay it out at the end."""
    with styled():
        figure = blank_figure(width, height)
        yield figure
        figure.get_layout_engine().execute(figure)


def colours(names: Iterable[str]) -> dict[str, str]:
    """Give each name a colour, in order; colours repeat after six."""
    return {name: _PALETTE[i % len(_PALETTE)] for i, name in enumerate(dict.fromkeys(names))}


def tidy_axes(axes: Axes, *, grid: Literal["x", "y"] | None = "x", zero: bool = False) -> None:
    """Put faint lines behind the marks, at the ticks of one axis, and a darker one at its zero."""
    axes.set_axisbelow(True)
    if grid:
        axes.grid(axis=grid, color=FAINT, linewidth=0.6)
    if zero:
        line = axes.axvline if grid == "x" else axes.axhline
        line(0, color=GREY, linewidth=1.0, zorder=1)
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
              markerfacecolor=PAPER if hollow else colour,
              markeredgecolor=colour if hollow else PAPER,
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
              markeredgecolor=PAPER, markeredgewidth=0.7, zorder=4)  # fmt: skip


def lean_axes(axes: Axes, first: str, second: str, *, narrow: bool = False) -> None:
    """Mark zero and the category that each side favours; an empty second one means all others."""
    tidy_axes(axes, zero=True)
    room, word = (12, "") if narrow else (22, "towards ")
    left, right = drawable(second or "others", room), drawable(first, room)
    note = {"transform": axes.transAxes, "va": "bottom", "fontsize": 8, "color": GREY}
    axes.text(0, 1.01, f"← {word}{left}", ha="left", **note)  # type: ignore[arg-type]
    axes.text(1, 1.01, f"{word}{right} →", ha="right", **note)  # type: ignore[arg-type]


def mark(
    colour: str, marker: str = "o", *, size: float = 5, width: float = 0.0, **style: Any
) -> Line2D:
    """Make a mark for a legend, on a line of some width."""
    return Line2D([], [], color=colour, marker=marker, markersize=size, linewidth=width, **style)


def legend(
    figure: Figure, handles: Sequence[Artist], labels: Sequence[str], *, columns: int = 4
) -> None:
    """Put a legend below the figure, outside the axes."""
    # Matplotlib leaves out labels that start with an underscore, as words may.
    texts = [f" {label}" if label.startswith("_") else label for label in map(drawable, labels)]
    figure.legend(
        list(handles),
        texts,
        loc="outside lower center",
        ncols=min(len(texts), columns),
        handlelength=1.8,
        columnspacing=1.6,
    )
