"""The analysis of variance as a small table in a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from valuebias.analysis.classical.classical import Classical
from valuebias.plots.canvas import FAINT, GREY, INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["anova_cells", "draw_anova", "table_height"]

_LINE = 0.19  # inches
_TITLE = "Type-II ANOVA of the median ranks, prompts as replicates"
_HEAD = ("term", "F", "df", "p")
_WIDTH = 3.8  # inches
_PLACES = (0.0, 0.62, 0.8, 1.0)  # of the table's width


def table_height(anova: pd.DataFrame) -> float:
    """Height of the table in inches."""
    return _LINE * (max(len(anova), 2) + 1.5)


def anova_cells(anova: pd.DataFrame, *, by: str) -> list[tuple[str, str, str, str]]:
    """Format the table."""
    if not len(anova):
        return []
    rest = float(anova["Df"].to_numpy()[-1])
    cells = []
    terms: list[str] = anova.drop(index="Residuals").index.tolist()
    for term in terms:
        row = anova.loc[term]
        name = term.replace("family", by).replace(":", " × ")
        p = row["Pr(>F)"]
        p_text = "" if np.isnan(p) else "< .001" if p < 0.001 else f"{p:.3f}".replace("0.", ".", 1)
        cells.append((name, f"{row['F value']:.2f}", f"{row['Df']:.0f}, {rest:.0f}", p_text))
    return cells


def draw_anova(axes: Axes, result: Classical, *, by: str) -> None:
    """Write the table into its own axes."""
    width = _WIDTH / (axes.get_window_extent().width / axes.figure.dpi)
    cells = anova_cells(result.anova, by=by)
    line = _LINE / table_height(result.anova)
    _write(axes, 1 - 0.5 * line, width, (_TITLE, "", "", ""), weight="bold")
    if not cells:
        reason = next((m for m in result.messages if m.startswith("Type-II ANOVA")), "")
        short = "Not estimated." + reason.partition("not estimated.")[2]
        _write(axes, 1 - 1.6 * line, width, (short, "", "", ""))
        return
    _write(axes, 1 - 1.5 * line, width, _HEAD, colour=GREY)
    axes.plot([0, _PLACES[-1] * width], [1 - 2.02 * line] * 2, color=FAINT, linewidth=0.8,
              transform=axes.transAxes)  # fmt: skip
    for i, row in enumerate(cells, start=2):
        _write(axes, 1 - (i + 0.6) * line, width, row)


def _write(
    axes: Axes, y: float, width: float, row: tuple[str, ...], *, colour: str = INK,
    weight: str = "normal",
) -> None:  # fmt: skip
    for x, text in zip(_PLACES, row, strict=True):
        axes.text(
            x * width, y, text, transform=axes.transAxes, ha="right" if x else "left",
            va="center", fontsize=8, fontweight=weight, color=colour,
        )  # fmt: skip
