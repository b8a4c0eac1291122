"""Heat strips: tokens are drawn and written as they are, and nothing of them runs."""

from __future__ import annotations

import html
import re
import warnings

import numpy as np
import pytest
from along_worlds import read, token_ends
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from matplotlib.text import Text

import valuebias
from valuebias import plots
from valuebias.plots.theme import PAPER, hue

HOSTILE = {
    "chosen": (
        "<script>alert(1)</script> $\\frac{1}{2}$ \u202eevil \u4e2d\u6587 x^2_ \x1b[31m \\input{x}"
    ),
    "rejected": "plain & <img src=x onerror=alert(1)> \"'> &amp; 🙂 אבג",
}  # fmt: skip


def test_hostile_tokens_are_drawn_and_not_run() -> None:
    scores = read(texts=HOSTILE, n_items=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = valuebias.along(scores).plot(item="q1", variant="chosen", model="org/m0")
        figure.canvas.draw()
    strip = figure.axes[0]
    drawn = "".join(text.get_text() for text in strip.texts)
    assert "<script>" in drawn
    assert r"\$" in drawn
    assert "\u202e" not in drawn
    assert "\x1b" not in drawn


def test_each_token_has_the_colour_of_what_it_changes() -> None:
    scores = read(n_items=2)
    found = valuebias.along(scores)
    table = found.contributions(item="q0", variant="rejected", model="org/m1")
    figure = found.plot(item="q0", variant="rejected", model="org/m1")
    boxes = [one for one in figure.axes[0].patches if isinstance(one, Rectangle)]
    assert len(boxes) == len(table)

    def distance(box: Rectangle) -> float:
        return float(np.abs(np.subtract(box.get_facecolor()[:3], to_rgb(PAPER))).sum())

    changes = table["change"].to_numpy()
    assert distance(boxes[0]) == 0
    strongest = int(np.nanargmax(np.abs(changes)))
    assert strongest == int(np.argmax([distance(box) for box in boxes]))
    for box, change in zip(boxes[1:], changes[1:], strict=True):
        mixed = np.subtract(to_rgb(hue(0 if change > 0 else 1)), to_rgb(PAPER))
        share = np.subtract(box.get_facecolor()[:3], to_rgb(PAPER)) / mixed
        expected = 0.75 * abs(change) / np.nanmax(np.abs(changes))
        np.testing.assert_allclose(share, expected, atol=0.03)
    curve = figure.axes[1].lines[-1].get_ydata()
    np.testing.assert_allclose(curve, table["reward"])


def test_lines_are_broken_where_they_are_full_and_where_the_answer_breaks_them() -> None:
    text = "word " * 60 + "\nx" + "y" * 200
    scores = read(texts={"a": text, "b": "short"}, n_items=2)
    figure = valuebias.along(scores).plot(item="q0", variant="a", model="org/m0")
    strip = figure.axes[0]
    right = max(p.get_x() + p.get_width() for p in strip.patches)
    assert right <= strip.get_xlim()[1]
    letters = "".join(t.get_text() for t in strip.texts if isinstance(t, Text))
    assert letters.count("y") == 200
    assert letters.count("word") == 60
    renderer = figure.canvas.get_renderer()
    box = strip.get_window_extent(renderer)
    for t in strip.texts:
        assert box.x0 - 2 <= t.get_window_extent(renderer).x0
        assert t.get_window_extent(renderer).x1 <= box.x1 + 2


def test_a_very_long_answer_is_cut_and_says_so() -> None:
    scores = read(texts={"a": "word " * 3000, "b": "short"}, n_items=2)
    found = valuebias.along(scores)
    figure = found.plot(item="q0", variant="a", model="org/m0")
    assert "tokens)" in figure.axes[0].get_title(loc="left")
    assert figure.get_size_inches()[1] < 15
    assert "tokens more" in found.to_html(item="q0", variant="a")


@pytest.mark.parametrize("variant", list(HOSTILE))
def test_the_html_shows_every_token_and_runs_none(variant: str) -> None:
    scores = read(texts=HOSTILE, n_items=2)
    page = valuebias.along(scores).to_html(item="q0", variant=variant, model="org/m0")
    assert set(re.findall(r"</?([a-z]+)", page)) == {"div", "p", "bdi"}
    assert set(re.findall(r" ([a-z-]+)=\"", page)) == {"style"}
    page.encode("utf-8")
    cells = [html.unescape(cell) for cell in re.findall(r"<bdi[^>]*>(.*?)</bdi>", page)]
    assert len(cells) == len(token_ends(HOSTILE[variant]))
    assert cells[-1] == "‹end›"
    assert all(letter.isprintable() for letter in "".join(cells))
    assert cells[0] in ("<script>alert(1)</script>", "plain")


def test_scores_as_they_are_can_be_drawn() -> None:
    scores = read(n_items=2)
    figure = plots.plot_along(scores, item="q1")
    assert figure.axes[0].get_title(loc="left").startswith("q1 · chosen · org/m0")
