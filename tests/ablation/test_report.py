"""The report of an ablation, in every form."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ablations import ablation
from markupsafe import escape
from matplotlib.text import Text

import valuebias
from valuebias import AblationFit
from valuebias._core.text import visible
from valuebias.plots import plot_gaps
from valuebias.report.content import Content
from valuebias.report.gathering import gather_ablation

SECTIONS = ["glance", "limits", "gaps", "slope", "share", "closing", "curve", "framings",
            "trajectories", "word_changes", "convergence", "audit", "methods", "provenance",
            "reproduce"]  # fmt: skip


@pytest.fixture(scope="module")
def page(hostile_fit: AblationFit, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = hostile_fit.report(tmp_path_factory.mktemp("report") / "report.html")
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def content(hostile_fit: AblationFit) -> Content:
    return gather_ablation(hostile_fit, figures=False)


def table(content: Content, name: str) -> pd.DataFrame:
    return next(t.frame for s in content.sections for t in s.tables if t.name == name)


def test_html_has_every_section_and_figure(page: str) -> None:
    anchors = re.findall(r'<h2 id="([a-z_]+)"', page)
    assert anchors == ["alarm", "answer", *SECTIONS, "references"]
    figures = re.findall(r'<svg id="figure-([a-z_]+)"', page)
    assert figures == ["ablation", "trajectories", "word_changes", "trace"]
    assert "Not converged: do not use these numbers" in page


def test_html_shows_names_inert(page: str, hostile_fit: AblationFit) -> None:
    assert not re.search(r"<script|<b>|<[^>]+ on\w+=", page)
    assert "&lt;b&gt;Gem$ma&lt;/b&gt;" in page
    for word in hostile_fit.word_changes()["word"]:
        assert f"<bdi>{escape(visible(word))}</bdi>" in page


def test_tables_are_those_of_the_fit(content: Content, hostile_fit: AblationFit) -> None:
    for name, frame in (
        ("gaps", hostile_fit.gaps()),
        ("slope", hostile_fit.slope()),
        ("share_remaining", hostile_fit.share_remaining()),
        ("closing", hostile_fit.closing_point()),
        ("levelling", hostile_fit.levelling()),
        ("framings", hostile_fit.by_framing()),
        ("trajectories", hostile_fit.trajectories()),
        ("word_changes", hostile_fit.word_changes()),
    ):
        pd.testing.assert_frame_equal(table(content, name), frame)
    assert [section.key for section in content.sections] == SECTIONS
    assert not [section.key for section in content.sections if section.missing]


def test_cells_are_counted_with_their_accuracy(content: Content, hostile_fit: AblationFit) -> None:
    cells = table(content, "cells")
    assert len(cells) == 2 * 2 * 2
    assert cells["seeds"].tolist() == [2] * 8
    models = hostile_fit.curves.models
    last = models[models["progress"] == 1].groupby(["base", "source", "n_pairs"])["accuracy"]
    assert sorted(cells["accuracy"]) == pytest.approx(sorted(last.mean()))


def test_extrapolated_numbers_are_marked(content: Content, hostile_fit: AblationFit) -> None:
    closing = next(s for s in content.sections if s.key == "closing").tables[0]
    cells = [row[-2] for row in closing.cells()]
    expected = hostile_fit.closing_point()
    beyond = expected["extrapolated"] & (expected["median"] < float("inf"))
    assert ["extrapolated" in cell for cell in cells] == beyond.tolist()


@pytest.mark.parametrize("name", ["report.md", "report.tex"])
def test_text_forms(hostile_fit: AblationFit, tmp_path: Path, name: str) -> None:
    text = hostile_fit.at_framing("positive").report(tmp_path / name).read_text(encoding="utf-8")
    assert "under positive prompts by preference pairs" in text
    assert re.search(r"fit[ ~]=[ ~]fit\.at(_|\\_)framing\(", text)
    assert not re.search(r"(?<!\\)<script", text)
    assert r"\input{x}" not in text


def test_csv_has_all_rows(hostile_fit: AblationFit, tmp_path: Path) -> None:
    folder = hostile_fit.report(f"{tmp_path}/tables/")
    assert len(pd.read_csv(folder / "gaps.csv")) == len(hostile_fit.gaps())
    framings = pd.read_csv(folder / "framings.csv")
    assert set(framings["framing"]) == {"signed", "positive", "negative"}
    words = pd.read_csv(folder / "word_changes.csv")["word"]
    assert not words.str.startswith(("=", "+", "-", "@")).any()
    assert len(words) == len(hostile_fit.word_changes())


def test_nc_is_the_fit(hostile_fit: AblationFit, tmp_path: Path) -> None:
    loaded = valuebias.load(hostile_fit.report(tmp_path / "fit.nc"))
    assert str(loaded.headline()) == str(hostile_fit.headline())


@pytest.mark.parametrize("framing", ["positive", "negative"])
def test_prompts_of_one_framing_sign_nothing(framing: str, tmp_path: Path) -> None:
    ds = ablation(1, n_pairs=(8_000, 16_000), seeds=2, n_words=8)
    chosen = ds.isel(prompt=np.flatnonzero(ds["framing"].to_numpy() == framing))
    with pytest.warns(valuebias.ValueBiasWarning):
        fit = valuebias.fit_ablation(
            chosen, rope=0.1234, draws=20, tune=50, chains=2, seed=1, progress=False
        )
    first = {"positive": "positive", "negative": "negative, turned"}[framing]
    assert fit.by_framing()["framing"].unique().tolist() == list(dict.fromkeys([first, framing]))
    assert f"agency − communion, {framing} prompts" in str(fit.headline())
    source = fit.report(tmp_path / "report.md").read_text(encoding="utf-8")
    assert "signed" not in source.lower()
    # A region is written as it was given.
    assert source.count("±0.1234 SD") >= 3
    labels = [text.get_text() for text in plot_gaps(fit).findobj(Text)]
    assert "within ±0.1234 SD" in labels


def test_medians_have_a_report_that_says_what_they_lack(medians_fit: AblationFit) -> None:
    content = gather_ablation(medians_fit, figures=False)
    missing = {s.key: s.missing for s in content.sections if s.missing}
    assert set(missing) == {"framings", "word_changes", "audit"}
    assert "has no words" in missing["word_changes"]
    assert "seed=7" in next(s for s in content.sections if s.key == "reproduce").code
    assert not content.alarms


def test_the_code_of_the_report_makes_the_fit_again(content: Content) -> None:
    code = next(s for s in content.sections if s.key == "reproduce").code
    assert "valuebias.fit_ablation(" in code
    compile(code, "report", "exec")
