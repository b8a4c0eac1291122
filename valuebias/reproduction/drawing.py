"""Figures 2 and 3, and saving, until :mod:`valuebias.figures` has them: the same calls.

To switch over, import ``logprob_figure``, ``word_figure`` and ``save_figure`` from there and delete
this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from valuebias.figures.ranks import rank_figure
from valuebias.plots.canvas import PAPER, blank_figure, colours, styled, tidy_axes, zero_line
from valuebias.plots.labels import drawable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["logprob_figure", "save_figure", "word_figure"]

_NO_METADATA: dict[str, dict[str, Any]] = {
    "pdf": {"CreationDate": None},
    "png": {"Software": None},
    "svg": {"Date": None},
}


def logprob_figure(logprobs: xr.Dataset) -> Figure:
    """Draw the median ranks of two models, as dots without their spread over prompts."""
    return rank_figure(logprobs)


def word_figure(rewards: xr.Dataset, words: Sequence[str], *, framing: str) -> Figure:
    """Draw the reward of chosen words: a row a word, a dot a pair, a stem to their mean."""
    chosen = np.flatnonzero(rewards["framing"].to_numpy() == framing)
    values = rewards["score"].isel(prompt=chosen).mean("prompt")
    colour = colours(words)
    with styled():
        figure = blank_figure(6.0, 1.0 + 0.5 * len(words))
        axes = figure.subplots()
        tidy_axes(axes)
        zero_line(axes)
        for row, word in enumerate(words):
            dots = values.sel(response=word).to_numpy()
            axes.plot([0, dots.mean()], [-row, -row], color=colour[word], linewidth=1.2)
            axes.plot(dots, np.full(len(dots), -row), "o", color=colour[word], alpha=0.5,
                      markersize=4.5, markeredgewidth=0)  # fmt: skip
            axes.plot([dots.mean()], [-row], "D", color=colour[word], markersize=6.5,
                      markeredgecolor=PAPER, markeredgewidth=0.8)  # fmt: skip
        axes.set_yticks([-row for row in range(len(words))], [drawable(word) for word in words])
        axes.set_ylim(-len(words) + 0.4, 0.6)
        axes.set_title(f"{framing} framing")
        axes.set_xlabel(f"implicit reward  ({rewards.attrs['units']})")
        figure.draw_without_rendering()
    return figure


def save_figure(
    figure: Figure, path: Path, *, formats: Sequence[str] = ("pdf", "png", "svg")
) -> tuple[Path, ...]:
    """Save a figure in several formats, without dates and random names."""
    import matplotlib as mpl

    made = tuple(path.with_name(f"{path.name}.{kind}") for kind in formats)
    text = {"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "valuebias"}
    with styled(), mpl.rc_context(text):
        for kind, target in zip(formats, made, strict=True):
            figure.savefig(target, format=kind, metadata=_NO_METADATA[kind], dpi=200)
    return made
