"""What notebooks are given: HTML in which nothing of others runs, and a line of progress."""

from __future__ import annotations

import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import along_worlds
import numpy as np
import pandas as pd
import pytest

import valuebias
from valuebias import datasets
from valuebias._core.notebooks import NotebookBar, as_html, in_notebook
from valuebias.fitting.result import Fit

ALLOWED = {"div", "p", "table", "thead", "tbody", "tr", "th", "td", "bdi", "code"}
# Settings and the like, whose plain text is all there is to show, and what runs models.
PLAIN = {"Factorial", "Model", "LoraSettings", "ScoringPlan", "ValueBiasError", "ValueBiasWarning"}


class Parsed(HTMLParser):
    """Collects the tags, their attributes and the text of some HTML, and refuses odd nesting."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.styles: set[str] = set()
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert {name for name, _ in attrs} <= {"style"}
        self.tags.append(tag)
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(value: Any) -> Parsed:
    made = Parsed(value._repr_html_())
    assert set(made.tags) <= ALLOWED
    made.text.encode("utf-8")
    assert all(letter.isprintable() for letter in made.text)
    return made


def test_texts_and_tables_are_shown_and_never_run() -> None:
    words = pd.Series(["<script>alert(1)</script>", "\ud83d\x1b[31m"] * 8, dtype=object)
    frame = pd.DataFrame({"<b>word": words, "n": np.arange(16) - 0.5})
    html = as_html("one <i>\ntwo", frame, most=3)
    made = Parsed(html)
    assert set(made.tags) == {"div", "p", "table", "thead", "tbody", "tr", "th", "td", "bdi"}
    assert "one <i>" in made.text
    assert "<script>alert(1)</script>" in made.text
    assert "−0.5" in made.text
    assert "… and 13 rows more" in made.text
    assert made.tags.count("tr") == 4
    assert "<table>" not in as_html(frame.iloc[:0])


def shaping_of(words: tuple[str, ...]) -> valuebias.ShapingReport:
    names = ("before", "after", "change", "growth")
    ends = {f"{name}{end}": 1.0 for name in names for end in ("", "_lower", "_upper")}
    row = {"axis": words[0], "first": words[1], "second": words[2], "unit": "items", "n": 3,
           "target": True, "verdict": "removed", **ends}  # fmt: skip
    table = pd.DataFrame([row, {**row, "axis": words[9], "target": False, "verdict": "grew"}])
    return valuebias.ShapingReport(table, pd.DataFrame(), ("<m>", "n"), {words[0]: 1.0}, 0.9, 0.1)


@pytest.mark.filterwarnings("ignore::valuebias.ValueBiasWarning")
def test_answers_with_hostile_names_are_inert(
    hostile_fit: Fit, hostile_words: tuple[str, ...], tmp_path: Path
) -> None:
    fit = hostile_fit
    claims = "The difference is 0.31 SD <script>alert(1)</script> (90% interval 0.1 to 0.5)."
    family = str(fit.data["family"].values[0])
    lexicon = valuebias.lexicon(
        pd.DataFrame({"<b>cat": True}, index=pd.Index(list(hostile_words), dtype=object))
    )
    prompts = valuebias.prompts(
        {"<i>": "What is <script>alert(1)</script>?"}, framing="positive", name="<u>"
    )
    asked = valuebias.questions(
        [
            {"question": f"<b>{i}", "right": "<script>alert(1)</script>", "wrong": "<i>"}
            for i in "ab"
        ]
    )
    answers = [
        asked, valuebias.battery("length", asked),
        valuebias.along(along_worlds.read(texts={"<b>a": "<i>One. <u>Two.", "<b>b": "Three."})),
        fit, fit.headline(), fit.means(by="family"), fit.diagnostics(), fit.placebo(n=49),
        valuebias.card(fit, str(fit.data["model"].values[0]), progress=False),
        valuebias.classical(fit.data, n_permutations=9, progress=False),
        valuebias.audit(fit.data), valuebias.check_claims(claims, fit), lexicon, prompts,
        fit.loo(by="model", progress=False),
        valuebias.Direction(
            hostile_words[0], *np.eye(3), ("<b>", hostile_words[1]), "by", family, "0", 9, None,
            0.5, np.nan,
        ),
        shaping_of(hostile_words),
        valuebias.explain("<script>alert(1)</script>", backend="torch"),
        datasets.info("christian2026-big2"),
    ]  # fmt: skip
    for answer in answers:
        made = parsed(answer)
        assert made.text, type(answer)
    assert family in parsed(fit).text
    assert hostile_words[0] in parsed(lexicon).text
    # xarray's and pandas' own.
    for html in (fit.data._repr_html_(), fit.words()._repr_html_()):
        assert "<script>alert" not in html
        assert "<img src=x" not in html


def test_a_converged_fit_shows_its_contrasts(simulated: Any) -> None:
    fit = valuebias.fit(simulated, "~ family", seed=1, progress=False)
    text = parsed(fit).text
    assert str(fit.headline()) in text
    shown = valuebias.shown(fit.contrasts()).iloc[0]
    assert f"{shown['name']}" in text
    assert f"{shown['mean']}{shown['lower']}{shown['upper']}" in text
    assert "In SD; 90% intervals." in text


def test_every_public_result_has_html() -> None:
    classes = {
        name: value
        for name in valuebias.__all__
        if isinstance(value := getattr(valuebias, name), type) and name not in PLAIN
    }
    assert len(classes) > 10
    assert [name for name, value in classes.items() if not hasattr(value, "_repr_html_")] == []


def test_a_line_of_progress_says_how_far_it_is() -> None:
    bar = NotebookBar()
    bar.add_task("<b>fit\x1b[31m", total=None)
    assert str(bar).startswith("<b>fit")
    assert "\x1b" not in str(bar)
    bar.update(0, completed=1, total=4, prompts="3/9 prompts")
    assert f"[{'#' * 7}{'-' * 23}]  25%  3/9 prompts  0:00" in str(bar)
    bar.update(0, completed=4)
    assert f"[{'#' * 30}] 100%" in str(bar)
    # What is over at once shows nothing, and outside of a notebook nothing could.
    bar.close()
    assert not in_notebook()


def test_time_is_told_in_minutes_and_hours() -> None:
    bar = NotebookBar()
    bar.add_task("", total=4)
    for ago, done, said in ((65, 2, "1:05, 1:05 left"), (3725, 4, "1:02:05")):
        bar._began = time.monotonic() - ago
        bar._told = ago  # not yet time to show it again
        bar.update(0, completed=done)
        assert str(bar).endswith(said)


def test_progress_outside_of_a_terminal_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    from valuebias._core.progress import progress_bar

    opened: list[Callable[[int, int], None] | None] = []
    for shown in (True, False):
        with progress_bar("x", shown=shown) as advance:
            opened.append(advance)
    assert opened == [None, None]
    assert capsys.readouterr() == ("", "")
