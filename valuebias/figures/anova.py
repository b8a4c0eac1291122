"""The analysis of variance as a small table in a figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from valuebias.analysis.classical import Classical
from valuebias.plots.canvas import FAINT, GREY

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["anova_cells", "draw_anova", "table_height"]

_LINE = 0.19  # inches
_TITLE = "Type-II ANOVA of the median ranks, prompts as replicates"
_HEAD = ("term", "F", "df", "p")
_PLACES = (0.0, 0.52, 0.68, 0.84)  # of the table's width, which is 4.2 inches
_WIDTH = 4.2


def table_height(anova: pd.DataFrame) -> float:
    """Give the height in inches that the table takes."""
    return _LINE * (max(len(anova), 2) + 1.5)


def anova_cells(anova: pd.DataFrame, *, by: str) -> list[tuple[str, str, str, str]]:
    """Write the table out.

    Parameters
    ----------
    anova : pandas.DataFrame
        ``classical(dataset).anova``.
    by : str
        What to call the groups of models that are compared.

    Returns
    -------
    list of tuple of str
        Term, F, degrees of freedom and p, a row a term.
    """
    if not len(anova):
        return []
    rest = anova.loc["Residuals", "Df"]
    made = []
    for term, row in anova.drop(index="Residuals").iterrows():
        name = str(term).replace("family", by).replace(":", " × ")
        p = row["Pr(>F)"]
        shown = "" if np.isnan(p) else "< .001" if p < 0.001 else f"{p:.3f}".replace("0.", ".", 1)
        made.append((name, f"{row['F value']:.2f}", f"{row['Df']:.0f}, {rest:.0f}", shown))
    return made


def draw_anova(axes: Axes, made: Classical, *, by: str) -> None:
    """Write the table into axes of its own.

    Parameters
    ----------
    axes : Axes
        Empty and without frame.
    made : Classical
        The analysis.
    by : str
        What to call the groups of models that are compared.
    """
    cells = anova_cells(made.anova, by=by)
    line = _LINE / table_height(made.anova)
    _write(axes, 0, line, (_TITLE, "", "", ""), weight="bold")
    if not cells:
        reason = next((m for m in made.messages if m.startswith("Type-II ANOVA")), "not estimated")
        _write(axes, 1, line, (reason.partition(" Some ")[0], "", "", ""))
        return
    _write(axes, 1, line, _HEAD, colour=GREY)
    for i, row in enumerate(cells, start=2):
        _write(axes, i, line, row)
    axes.plot([0, _inches(axes, 1.0)], [1 - 1.95 * line] * 2, color=FAINT, linewidth=0.8,
              transform=axes.transAxes)  # fmt: skip


def _write(
    axes: Axes, i: int, line: float, row: tuple[str, ...], *, colour: str | None = None,
    weight: str = "normal",
) -> None:  # fmt: skip
    for j, (place, text) in enumerate(zip(_PLACES, row, strict=True)):
        axes.text(
            _inches(axes, place + 0.1 * (j > 0)), 1 - (i + 0.55) * line, text,
            transform=axes.transAxes, ha="right" if j else "left", va="center", fontsize=8,
            fontweight=weight, **({} if colour is None else {"color": colour}),
        )  # fmt: skip


def _inches(axes: Axes, share: float) -> float:
    """Give a share of the table's width as a share of the axes, whatever their width."""
    return share * _WIDTH / (0.8 * axes.get_figure(root=True).get_figwidth())
