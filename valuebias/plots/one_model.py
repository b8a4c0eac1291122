"""The lean of one model on the leans that are predicted for others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from valuebias.plots.canvas import drawn, half_eye, lean_axes, whole
from valuebias.plots.labels import drawable
from valuebias.plots.theme import colours, grey, ink
from valuebias.posterior.wording import under

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from valuebias.posterior.one_model import OneModel

__all__ = ["plot_one_model"]


def plot_one_model(card: OneModel, families: list[str], unit: str) -> Figure:
    """Draw the densities: the model, a new model of its family, and any new model."""
    with drawn(6.4, 1.1 + 0.62 * (2 + (card.of_family is not None))) as figure:
        rows = [("this model", card.lean, ink())]
        if card.of_family is not None:
            colour = colours(sorted(families))[card.family]
            rows.append((f"a new model of {drawable(card.family, 18)}", card.of_family, colour))
        rows.append(("a new model of any family", card.of_all, grey()))
        axes = figure.subplots()
        lean_axes(axes, *card.category)
        for i, (_, draws, colour) in enumerate(rows):
            half_eye(axes, float(-i), draws, colour)
        axes.axvline(float(np.median(card.lean)), color=ink(), linewidth=0.8, linestyle=(0, (4, 3)))
        axes.set_yticks([-i for i in range(len(rows))], [label for label, _, _ in rows])
        axes.set_ylim(-len(rows) + 0.7, 0.85)
        axes.set_xlabel(f"lean, {under(card.framing)} ({unit})")
    return whole(figure)
