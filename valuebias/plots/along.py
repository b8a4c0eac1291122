"""One answer as a heat strip: its tokens, coloured by what each changes in the reward."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
import xarray as xr
from matplotlib.colors import to_hex, to_rgb
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from valuebias._core.numbers import signed
from valuebias._core.text import visible
from valuebias.analysis.along.readings import Answer, Readings
from valuebias.analysis.along.sentences import sentence_of, split_sentences
from valuebias.plots.canvas import Place, drawn, inches, legend, mark, tidy_axes, whole
from valuebias.plots.labels import drawable
from valuebias.plots.theme import faint, grey, hue, ink, natural_size, paper, points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

__all__ = ["plot_along", "strip_html"]

_WIDTH = 7.2
_CELL = 0.602
"""Width of a letter of DejaVu Sans Mono, in its size."""
_SIZE = 8.0
_LINE = 0.235
"""Inches from line to line."""
_MOST_LINES, _MOST_TOKENS = 40, 2000
_STRONGEST = 0.75
"""How much of the colour the largest change has; the text is to be read on it."""
_AFTER = "‹end›"


@dataclass(frozen=True, slots=True)
class _Cell:
    """A token, or the part of one that is on a line."""

    text: str
    change: float
    line: int
    column: int


def plot_along(
    scores: xr.Dataset,
    *,
    item: str | None = None,
    variant: str | None = None,
    model: str | None = None,
    figure: Figure | SubFigure | None = None,
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Draw an answer token by token, coloured by what each changes, above its reward as it goes.

    Parameters
    ----------
    scores : xarray.Dataset
        Scores of a contrast set with rewards at every token: :func:`valuebias.score_contrasts` with
        ``read="all"``.
    item, variant, model : str, optional
        Which answer, and who reads it; of what is not named, the first that was scored.
    figure : matplotlib.figure.Figure or SubFigure, optional
        Where to put the panels, in place of a new figure.
    figsize : pair of float, optional
        Width and height of a new figure in inches. If not given what suits the answer, or
        ``rcParams["figure.figsize"]`` where that has been changed.

    Returns
    -------
    matplotlib.figure.Figure
        The answer as it is read, each token on its colour: the change of the reward from the token
        before, darkest at the largest. The first token has none. "‹end›" stands for tokens that
        end the conversation, a box for a letter that the font lacks. Below, the reward after each
        token, with a line at the final one and lines where sentences end. Of a very long answer its
        beginning is drawn, and it says so.

    Raises
    ------
    ValueBiasError
        If rewards were read at the end only, there is no such answer, or where its tokens end is
        not known.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import valuebias
    >>> answers = {"right": "It is 4.", "wrong": "It is 5."}
    >>> sums = valuebias.contrast_set({"q1": {"prompt": "2 + 2?", "answers": answers}})
    >>> models = pd.DataFrame({"family": ["A"], "stage": "reward"}, index=["org/a"])
    >>> scores = valuebias.schema.build_contrasts([[[2.0, 1.0]]], models=models, contrasts=sums)
    >>> dims = ("model", "item", "variant", "token")
    >>> rewards = np.array([[[[0.5, 0.7, 2.0], [0.5, 0.7, 1.0]]]])
    >>> scores = scores.assign(
    ...     token_reward=(dims, rewards), token_end=(dims, np.full((1, 1, 2, 3), [2, 5, 8]))
    ... )
    >>> len(plot_along(scores, item="q1", variant="wrong").axes)
    2
    """
    answer = Readings.of(scores).one(model, item, variant)
    place = Place(None, figure, figsize)
    size = inches(figure) if figure is not None else figsize or natural_size(_WIDTH, 1.0)
    columns = max(20, int(size[0] * 72 * 0.93 / (points(_SIZE) * _CELL)))
    cells, n_shown = _laid_out(answer, columns)
    n_lines = max(cell.line for cell in cells) + 1
    with drawn(_WIDTH, 2.5 + _LINE * n_lines, place) as made:
        strip, curve = made.subplots(2, 1, height_ratios=[n_lines * _LINE + 0.25, 1.5])
        _draw_strip(strip, cells, columns, n_lines, _largest(answer))
        _draw_curve(curve, answer)
        title = " · ".join(
            drawable(name, 26) for name in (answer.item, answer.variant, answer.model)
        )
        if n_shown < len(answer.rewards):
            title += f"  (the first {n_shown:,} of {len(answer.rewards):,} tokens)"
        strip.set_title(title)
        marks = [mark(hue(i), "s") for i in (0, 1)]
        legend(made, marks, ["raises the reward", "lowers it"])
    return whole(made)


def _largest(answer: Answer) -> float:
    changes = answer.changes[1:]
    return float(np.abs(changes).max()) if changes.size and np.abs(changes).max() > 0 else 1.0


def _texts(answer: Answer) -> Iterator[tuple[str, bool, float]]:
    """Give each token's text, whether it is the answer's own, and what it changes."""
    ends = answer.ends if answer.ends is not None else answer.starts
    for place, (a, b) in enumerate(zip(answer.starts, ends, strict=True)):
        is_own = place < answer.n_own
        yield answer.response[a:b] if is_own else _AFTER, is_own, float(answer.changes[place])


def _laid_out(answer: Answer, columns: int) -> tuple[list[_Cell], int]:
    """Put tokens into lines of so many letters."""
    cells: list[_Cell] = []
    line = column = shown = 0
    for text, _, change in _texts(answer):
        # What reads no letter, such as half of an emoji, has a place as well.
        for piece in text.splitlines(keepends=True) or ["·"]:
            left = visible(piece)
            if column + len(left) > columns and column > 0 and len(left) <= columns:
                line, column = line + 1, 0
            while left:
                if column >= columns:
                    line, column = line + 1, 0
                part, left = left[: columns - column], left[columns - column :]
                cells.append(_Cell(part, change, line, column))
                column += len(part)
            if piece.endswith("\n"):
                line, column = line + 1, 0
        shown += 1
        if line >= _MOST_LINES:
            break
    return cells, shown


def _draw_strip(axes: Axes, cells: list[_Cell], columns: int, n_lines: int, most: float) -> None:
    axes.set_xlim(0, columns)
    axes.set_ylim(n_lines, 0)
    axes.axis("off")
    own = mpl.rcParams["font.family"]
    # The user's font is kept; letters of the package's own are all as wide.
    family = ["DejaVu Sans Mono", *own] if own == ["DejaVu Sans"] else own
    for cell in cells:
        place = (cell.column + 0.04, cell.line + 0.08)
        axes.add_patch(
            Rectangle(place, len(cell.text) - 0.08, 0.84, facecolor=_tint(cell.change, most),
                      edgecolor=faint() if np.isnan(cell.change) else "none", linewidth=0.6)
        )  # fmt: skip
        # Letter by letter, so that what the font draws narrower or wider stays in its place.
        for i, letter in enumerate(cell.text):
            if letter != " ":
                axes.text(
                    cell.column + i + 0.5, cell.line + 0.52, _glyph(letter), ha="center",
                    va="center", fontsize=points(_SIZE), color=ink(),
                    family=family,
                )  # fmt: skip


def _glyph(letter: str) -> str:
    shown = drawable(letter, 8)
    return "□" if shown.startswith("U+") else shown


def _tint(change: float, most: float) -> str:
    """Mix the ground with the colour of a rise or a fall."""
    if np.isnan(change):
        return paper()
    share = _STRONGEST * min(abs(change) / most, 1.0)
    pairs = zip(to_rgb(hue(0 if change > 0 else 1)), to_rgb(paper()), strict=True)
    red, green, blue = (share * of_hue + (1 - share) * of_paper for of_hue, of_paper in pairs)
    return to_hex((red, green, blue))


def _draw_curve(axes: Axes, answer: Answer) -> None:
    tidy_axes(axes, grid="y")
    place = np.arange(1, len(answer.rewards) + 1)
    axes.axhline(answer.rewards[-1], color=grey(), linewidth=1.0, linestyle=(0, (2, 1.4)))
    sentence = sentence_of(answer, split_sentences(answer.response))
    for last in np.flatnonzero(np.diff(sentence)):
        axes.axvline(last + 1.5, color=faint(), linewidth=1.0)
    axes.plot(place, answer.rewards, color=hue(0), linewidth=1.3, marker="o",
              markersize=3 if len(place) <= 80 else 0)  # fmt: skip
    axes.set_xlim(0.5, len(place) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("tokens read (upright lines: ends of sentences; broken line: the final reward)")
    axes.set_ylabel("reward")


def strip_html(answer: Answer) -> str:
    """Write an answer as HTML, each token on the colour of what it changes; none of it runs."""
    most = _largest(answer)
    parts = []
    for place, (text, is_own, change) in enumerate(_texts(answer)):
        if place == _MOST_TOKENS:
            parts.append(f"… and {len(answer.rewards) - place:,} tokens more")
            break
        shown = html.escape(visible(text) or "·")
        colour = _rgba(change, most)
        mark = "" if is_own else "; font-style: italic"
        parts.append(
            f'<bdi style="background-color: {colour}; white-space: pre-wrap{mark}">{shown}</bdi>'
        )
        if "\n" in text:
            parts.append("</p><p>")
    named = html.escape(" · ".join(visible(x) for x in (answer.item, answer.variant, answer.model)))
    first, last = (signed(float(answer.rewards[i]), 3) for i in (0, -1))
    return (
        f'<div style="max-width: 62em"><p>{named}: {first} after the first token, {last} in the '
        f'end; the strongest colour is a change of {most:.3g}.</p><p style="line-height: 1.7">'
        f"{''.join(parts)}</p></div>"
    )


def _rgba(change: float, most: float) -> str:
    """Give a colour that any ground shows through, as pages are light or dark."""
    if np.isnan(change):
        return "transparent"
    red, green, blue = (round(255 * one) for one in to_rgb(hue(0 if change > 0 else 1)))
    return f"rgba({red}, {green}, {blue}, {_STRONGEST * min(abs(change) / most, 1.0):.2f})"
