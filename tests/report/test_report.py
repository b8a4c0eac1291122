from __future__ import annotations

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import unicodedata
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

import valuebias
from valuebias._core import text
from valuebias._core.markup import markdown, tex
from valuebias.analysis.estimands.diagnostics import Diagnostics
from valuebias.datasets.simulate import simulate
from valuebias.errors import ValueBiasError
from valuebias.fitting.result import Fit
from valuebias.plots.labels import visible
from valuebias.posterior.compare import compare
from valuebias.posterior.headline import make_headline
from valuebias.report import write_report
from valuebias.report.content import number
from valuebias.report.gathering import gather

SECTIONS = ["answer", "limits", "contrasts", "models", "densities", "words", "specs", "ppc",
            "convergence", "sensitivity", "influence", "loo", "audit", "methods", "provenance",
            "reproduce", "references"]  # fmt: skip
FIGURES = ["forest", "families", "words", "specs", "ppc", "trace", "sensitivity", "influence"]

any_text = st.text(st.characters(exclude_characters="\x00"), max_size=30)


class Page(HTMLParser):
    """Collect what a browser would make of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.cells: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in ("td", "th", "h1", "h2", "h3", "p", "li", "title"):
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if self.cells:
            self.cells[-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for found, attrs in self.tags if found == tag]


@pytest.fixture(scope="module")
def page(hostile_reports: Path) -> Page:
    return Page((hostile_reports / "report.html").read_text(encoding="utf-8"))


def test_html_shows_hostile_words_inert(page: Page, hostile_words: tuple[str, ...]) -> None:
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "iframe", "img", "object", "embed", "form", "input", "b", "i"}
    for _, attrs in page.tags:
        assert not [name for name in attrs if name.startswith("on")]
    # Twenty of the 26 words are in the table.
    shown = [word for word in hostile_words if visible(word) in page.cells]
    assert len(shown) >= len(hostile_words) - 6
    assert "<b>Gem$ma</b>" in page.cells


def test_html_is_self_contained(page: Page, hostile_reports: Path) -> None:
    for _, attrs in page.tags:
        for name in ("src", "srcset", "data", "action", "poster", "background"):
            assert name not in attrs
    links = [attrs["href"] or "" for attrs in page.all("a")]
    assert all(link.startswith(("#", "https://")) for link in links)
    drawn = [a for tag, a in page.tags if tag in ("use", "image", "link")]
    for attrs in drawn:
        target = attrs.get("xlink:href") or attrs.get("href") or ""
        assert target.startswith(("#", "data:"))
    source = (hostile_reports / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"url\((?!#|&quot;#)", source)
    assert "@import" not in source
    assert len(source) < 3_000_000


def test_html_is_accessible(page: Page) -> None:
    assert page.all("html")[0]["lang"] == "en"
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    for _, attrs in page.tags:
        for name in ("href", "xlink:href"):
            if (attrs.get(name) or "").startswith("#"):
                assert (attrs[name] or "")[1:] in ids
        for name in ("aria-labelledby",):
            assert name not in attrs or attrs[name] in ids
    figures = [attrs for attrs in page.all("svg") if attrs.get("role") == "img"]
    assert [f"figure-{name}" for name in FIGURES] == [attrs["id"] for attrs in figures]
    assert all(len(attrs["aria-label"] or "") > 40 for attrs in figures)
    assert len(page.all("figcaption")) == len(FIGURES)
    assert all(attrs.get("scope") == "col" for attrs in page.all("th"))


def test_html_sections_in_order(page: Page) -> None:
    headings = [attrs["id"] for attrs in page.all("h2")]
    assert headings == ["alarm", *SECTIONS]
    assert page.all("section")[0]["role"] == "alert"


def test_html_numbers_are_those_of_the_fit(page: Page, hostile_fit: Fit) -> None:
    row = hostile_fit.contrasts().iloc[0]
    form = number(2, signed=True)
    assert form(row["mean"]) in page.cells
    assert f"{form(row['lower'])} to {form(row['upper'])}" in page.cells
    answer = str(make_headline(hostile_fit, hostile_fit.prior_sensitivity()))
    assert answer in [cell.strip() for cell in page.cells]
    assert any(f"seed {hostile_fit.settings['seed']}" in cell for cell in page.cells)


def test_csv_reads_back(hostile_reports: Path, hostile_fit: Fit) -> None:
    folder = hostile_reports / "tables"
    names = {path.stem for path in folder.iterdir()}
    assert {"answer", "contrasts", "models", "words", "specs", "ppc", "summary", "diagnostics",
            "prior_sensitivity", "influence", "loo", "audit", "priors",
            "provenance"} <= names  # fmt: skip
    for path in folder.iterdir():
        with path.open(encoding="utf-8", newline="") as handle:
            for cell in (cell for row in csv.reader(handle) for cell in row):
                if cell.startswith(tuple("=+-@\t\r")):
                    float(cell)  # a number, or it would run
    words = hostile_fit.words()
    with (folder / "words.csv").open(encoding="utf-8", newline="") as handle:
        back = list(csv.DictReader(handle))
    assert [text.unescape(text.restore(row["word"])) for row in back] == words["word"].tolist()
    assert [float(row["mean"]) for row in back] == words["mean"].tolist()
    contrasts = pd.read_csv(folder / "contrasts.csv")
    np.testing.assert_allclose(contrasts["lower"], hostile_fit.contrasts()["lower"], rtol=1e-14)
    # What is compared has a hyphen that can be typed; what the report says has a minus sign.
    named = pd.concat([contrasts, pd.read_csv(folder / "specs.csv"), pd.DataFrame(back)])
    assert named["name"].str.contains(" - ").any()
    assert not [
        name for column in ("name", "category") for name in named[column] if "−" in str(name)
    ]


def test_permutation_tests_are_shown_without_a_p_of_zero(page: Page, hostile_reports: Path) -> None:
    folder = hostile_reports / "tables"
    labels = pd.read_csv(folder / "family_permutation.csv")
    assert set(labels["unit"]) == {"model", "base"}
    assert labels["p"].min() >= labels["p.min"].min() > 0
    cells = {cell.strip() for cell in page.cells}
    assert set(labels.loc[labels["framing"] == "signed", "remark"]) <= cells
    shuffled = pd.read_csv(folder / "paper_permutation.csv")
    assert (shuffled["p.plus1"] > 0).all()
    expected = np.minimum(1, len(shuffled) * shuffled["p.plus1"])
    np.testing.assert_allclose(shuffled["p.bonferroni"], expected)
    shown = f"{expected.min():.2g}"
    assert shown != "0"
    assert shown in cells


def test_markdown_is_text_and_tables(hostile_reports: Path, hostile_words: tuple[str, ...]) -> None:
    source = (hostile_reports / "report.md").read_text(encoding="utf-8")
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(source)
    parsed = Page(html)
    allowed = {"h1", "h2", "p", "strong", "em", "ul", "li", "table", "thead", "tbody", "tr", "th",
               "td", "pre", "code", "blockquote"}  # fmt: skip
    assert {tag for tag, _ in parsed.tags} <= allowed
    cells = [cell.strip() for cell in parsed.cells]
    shown = [word for word in hostile_words if visible(word).strip() in cells]
    assert len(shown) >= len(hostile_words) - 6
    assert len(parsed.all("table")) >= 10


@given(any_text)
def test_markdown_shows_any_text(value: str) -> None:
    shown = visible(value)
    html = (
        MarkdownIt("commonmark", {"html": True})
        .enable("table")
        .render(f"| a |\n| --- |\n| {markdown(value)} |\n")
    )
    parsed = Page(html)
    assert [tag for tag, _ in parsed.tags] == ["table", "thead", "tr", "th", "tbody", "tr", "td"]
    assert parsed.cells[1].strip() == shown.strip()


# What LaTeX prints for what the escaping writes; nothing else may follow a backslash.
_PRINTS = {
    r"\textbackslash{}": "\\", r"\{": "{", r"\}": "}", r"\$": "$", r"\&": "&", r"\#": "#",
    r"\%": "%", r"\_": "_", r"\textasciicircum{}": "^", r"\textasciitilde{}": "~",
    r"\textless{}": "<", r"\textgreater{}": ">", r"\textbar{}": "|", r"\textquotedbl{}": '"',
    r"\textquotesingle{}": "'", r"\textasciigrave{}": "`", "{-}": "-", "{[}": "[", "{]}": "]",
    "{*}": "*", ",{},": ",,", r"\allowbreak{}": "", r"\ensuremath{-}": "−",
    r"\ensuremath{\times}": "×", r"\ensuremath{\pm}": "±", r"\ensuremath{\leq}": "≤",
    r"\ensuremath{\geq}": "≥", r"\ensuremath{\rightarrow}": "→", r"\ensuremath{\leftarrow}": "←",
    r"\ensuremath{\sigma}": "σ", r"\ensuremath{\eta}": "η", r"\ensuremath{^2}": "²",
    r"\ensuremath{\Phi}": "Φ", r"\textperiodcentered{}": "·", r"\textendash{}": "–",
    r"\textemdash{}": "—", r"\ldots{}": "…", r"\textquotedblleft{}": "“",
    r"\textquotedblright{}": "”", r"\textquoteleft{}": "‘", r"\textquoteright{}": "’",
}  # fmt: skip
_TOKEN = re.compile(
    r"\\texttt\{\\textless\{\}U\+([0-9A-F]{4,6})\\textgreater\{\}\}|"
    + "|".join(re.escape(key) for key in sorted(_PRINTS, key=len, reverse=True))
    + r"|[^\\{}$&#%_^~]"
)


def printed(source: str) -> str:
    """Read LaTeX as written by ``tex``, refusing any command or special character besides."""
    made, at = "", 0
    while at < len(source):
        token = _TOKEN.match(source, at)
        assert token, f"not inert: {source[at : at + 30]!r}"
        made += chr(int(token[1], 16)) if token[1] else _PRINTS.get(token[0], token[0])
        at = token.end()
    return made


@given(any_text)
def test_tex_prints_any_text(value: str) -> None:
    assert printed(tex(value)) == unicodedata.normalize("NFC", visible(value))


def test_tex_cells_are_inert(hostile_reports: Path, hostile_words: tuple[str, ...]) -> None:
    source = (hostile_reports / "report.tex").read_text(encoding="utf-8")
    assert r"\input" not in source.replace(r"\usepackage[utf8]{inputenc}", "")
    rows = re.findall(r"^\{\}(.*) \\\\$", source, flags=re.MULTILINE)
    cells = [printed(cell.removeprefix("{}")) for row in rows for cell in row.split(" & ")]
    shown = [word for word in hostile_words if unicodedata.normalize("NFC", visible(word)) in cells]
    assert len(shown) >= len(hostile_words) - 6


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex is installed")
def test_tex_compiles(hostile_reports: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape",
         f"-output-directory={tmp_path}", str(hostile_reports / "report.tex")],
        capture_output=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-1500:].decode(errors="replace")
    assert (tmp_path / "report.pdf").stat().st_size > 10_000


def test_nc_is_the_fit(hostile_fit: Fit, tmp_path: Path) -> None:
    path = write_report(hostile_fit, tmp_path / "fit.nc")
    back = valuebias.load(path)
    assert back.contrasts().iloc[0]["mean"] == hostile_fit.contrasts().iloc[0]["mean"]


def test_unknown_suffix(hostile_fit: Fit, tmp_path: Path) -> None:
    with pytest.raises(ValueBiasError, match=r"Did you mean '\.html'"):
        write_report(hostile_fit, tmp_path / "report.htm")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_said_is_said(simulated: xr.Dataset, tmp_path: Path) -> None:
    fit = valuebias.fit(simulated, "~ 1", draws=60, tune=150, chains=2, seed=1, progress=False)
    assert isinstance(fit, Fit)
    source = write_report(fit, tmp_path / "report.html").read_text(encoding="utf-8")
    reasons = re.findall(r'<p class="missing">(.*?)</p>', source)
    assert len(reasons) == 3
    assert all("~ 1" in reason for reason in reasons)


def test_reproduce_runs(simulated: xr.Dataset) -> None:
    from valuebias.report.methods import reproduce

    settings = {"prior": {"effect": 0.25}, "contrast": ("communion", "agency"), "outcome": "z"}
    fit = valuebias.fit(simulated, draws=60, tune=150, chains=2, seed=7, progress=False, **settings)  # type: ignore[arg-type]
    assert isinstance(fit, Fit)
    code = reproduce(fit)
    lines = [line for line in code.splitlines() if not line.startswith(("dataset", "fit.report"))]
    space = {"dataset": simulated}
    exec("\n".join(lines), space)  # noqa: S102 - it is our own code that is tested
    again = space["fit"]
    assert isinstance(again, Fit)
    assert again.contrasts().iloc[0]["mean"] == fit.contrasts().iloc[0]["mean"]


class _ByScale(Fit):
    """A fit whose prior sensitivity goes by scale, of hostile names, and that has a caution."""

    def prior_sensitivity(self, **_: object) -> pd.DataFrame:  # type: ignore[override]
        own = self.contrasts().iloc[0]
        doubted = own.copy()
        doubted["p_direction"] = 0.6
        rest = {"pareto_k": 0.1, "refitted": False}
        index = pd.MultiIndex.from_tuples(
            [("all", 1.0), ("<b>$x$</b>", 0.5), ("=cmd()", 2.0)], names=["scale", "factor"]
        )
        return pd.DataFrame([own, own, doubted]).assign(**rest).set_axis(index)

    def diagnostics(self) -> Diagnostics:
        found = super().diagnostics()
        return replace(found, converged=True, messages=[], cautions=["<i>the tail</i> is thin."])


@pytest.fixture(scope="module")
def doubted(hostile_fit: Fit, tmp_path_factory: pytest.TempPathFactory) -> Page:
    """Give the page of a fit whose verdict hangs on one prior, and that has a caution."""
    fit = hostile_fit
    made = _ByScale(fit.data, fit.settings, fit.prior, fit.tree, fit.provenance, fit.problem)
    path = tmp_path_factory.mktemp("doubted") / "report.html"
    return Page(write_report(made, path).read_text(encoding="utf-8"))


def test_what_only_touches_a_parameter_is_no_alarm(doubted: Page, hostile_fit: Fit) -> None:
    assert "alarm" not in [attrs.get("id") for attrs in doubted.all("h2")]
    said = "".join(doubted.texts)
    assert "NOT CONVERGED" not in said
    assert any(cell.startswith("<i>the tail</i> is thin.") for cell in doubted.cells)
    assert not doubted.all("i")
    assert "What the answer rests on has converged." in said
    diverging = hostile_fit.tree["sample_stats"]["diverging"]
    assert f"{int(diverging.sum())} of {diverging.size} transitions diverged" in said


def test_a_verdict_that_hangs_on_one_prior_is_in_the_answer(doubted: Page) -> None:
    answer = next(cell for cell in doubted.cells if "depends on the prior" in cell)
    assert "with the prior scale of =cmd() doubled the data do not settle the direction" in answer
    assert "Models of the" in answer
    assert {"this fit", "the prior scale of <b>$x$</b> halved"} <= set(doubted.cells)
    assert not doubted.all("b")


def test_probabilities_are_no_surer_than_the_draws(tmp_path: Path) -> None:
    effects = {"A": 4.0, "B": -4.0}
    ds = simulate(n_models={"A": 3, "B": 3}, n_prompts=4, n_words=20, effects=effects, seed=1)
    fit = valuebias.fit(ds, outcome="raw", draws=150, tune=200, chains=2, seed=1, progress=False)
    assert isinstance(fit, Fit)
    assert (fit.contrasts()["p_direction"] == 1).any()
    source = write_report(fit, tmp_path / "report.md").read_text(encoding="utf-8")
    assert not re.search(r"(?<![\d.])100\.?0*%", source)
    bounds = re.findall(r"> (9\d\.?\d*)%", source)
    # 300 draws tell no more than one in two hundred, fewer effective ones less.
    assert 98 <= max(map(float, bounds)) <= 99.5


@pytest.mark.parametrize("framing", ["positive", "negative"])
def test_a_report_of_one_framing_signs_nothing(
    simulated: xr.Dataset, tmp_path: Path, framing: str
) -> None:
    chosen = simulated.isel(prompt=np.flatnonzero(simulated["framing"].to_numpy() == framing))
    with pytest.warns(valuebias.ValueBiasWarning, match="framing"):
        fit = valuebias.fit(chosen, draws=60, tune=150, chains=2, seed=1, progress=False)
    assert isinstance(fit, Fit)
    shown = write_report(fit, tmp_path / "report.md").read_text(encoding="utf-8")
    assert "signed" not in shown.lower()
    assert f"under {framing} prompts" in shown
    # The difference that the paper's model is compared with is turned the same way.
    found = compare(fit).headline().set_index("spec")["estimate"]
    assert (found > 0).all()
    assert {"hierarchical", "random intercept"} <= set(found.index)


def test_leans_of_bases_have_a_table_of_their_own(simulated: xr.Dataset) -> None:
    based = simulated.assign_coords(base=("model", ["<b>b</b>", "<b>b</b>", "c", *"ddee"]))
    fit = valuebias.fit(based, draws=60, tune=150, chains=2, seed=1, progress=False)
    assert isinstance(fit, Fit)
    content = gather(fit, figures=False)
    tables = {table.name: table for section in content.sections for table in section.tables}
    shown = tables["group_leans"].cells()
    assert {row[1] for row in shown} == {"<b>b</b>", "c", "d", "e"}
    own = fit.contrasts()
    means = own[(own["estimand"] == "base lean") & (own["framing"] == "signed")]["mean"]
    assert len(shown) == len(means) == 4
    main = tables["contrasts"]
    assert "base lean" not in {row[0] for row in main.cells()}
    assert (main.frame["estimand"] == "base lean").any()
    assert "generalises over models and bases" in tables["words"].caption


def test_word_lists_say_how_many_signs_are_wrong(page: Page, hostile_fit: Fit) -> None:
    words = hostile_fit.words()
    np.testing.assert_allclose(
        words["expected_false_signs"], np.cumsum(1 - words["p_direction"].to_numpy())
    )
    caption = next(cell for cell in page.cells if "signs" in cell and "words of 26" in cell)
    wrong = (1 - words["p_direction"].head(20)).sum()
    assert f"Of these 20 signs {wrong:.1f} are expected to be wrong" in caption
    assert "generalises over models and bases." in caption
    cells = [cell.strip() for cell in page.cells]
    assert number(2)(words["expected_false_signs"].iloc[19]) in cells


class _Interrupted(Fit):
    """A fit whose owner loses patience half-way through the report."""

    def loo(self, *, draws: int = 100) -> object:  # type: ignore[override]
        raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["report.html", "report.md", "report.tex", "tables/"])
def test_interrupt_leaves_what_was_there(hostile_fit: Fit, tmp_path: Path, name: str) -> None:
    fit = hostile_fit
    impatient = _Interrupted(
        fit.data, fit.settings, fit.prior, fit.tree, fit.provenance, fit.problem
    )
    target = tmp_path / name
    if name.endswith("/"):
        target.mkdir()
        (target / "answer.csv").write_text("old")
    else:
        target.write_text("old")
    with pytest.raises(KeyboardInterrupt):
        write_report(impatient, f"{tmp_path}/{name}")
    assert [path.name for path in tmp_path.iterdir()] == [name.rstrip("/")]
    kept = target / "answer.csv" if name.endswith("/") else target
    assert kept.read_text() == "old"


_CHILD = """
import sys, valuebias
fit = valuebias.load(sys.argv[1])
print("ready", flush=True)
while True:
    valuebias.report.write_report(fit, sys.argv[2])
    print("written", flush=True)
"""


@pytest.mark.once
@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGKILL])
def test_killed_process_leaves_whole_files(hostile_fit: Fit, tmp_path: Path, by: int) -> None:
    source, target = tmp_path / "fit.nc", tmp_path / "out" / "report.md"
    hostile_fit.save(source)
    with subprocess.Popen(
        [sys.executable, "-c", _CHILD, str(source), str(target)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ.copy(),
    ) as child:  # fmt: skip
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        assert child.stdout.readline() == "written\n"
        time.sleep(0.7)  # into the second report
        child.send_signal(by)
        assert child.wait(timeout=60) != 0
    whole = target.read_text(encoding="utf-8")
    assert whole.startswith("# ")
    assert whole.rstrip().splitlines()[-1].startswith("Written by valuebias")
    if by == signal.SIGINT:
        assert [path.name for path in target.parent.iterdir()] == ["report.md"]


def test_number() -> None:
    assert number(2)(-0.126) == "−0.13"
    assert number(0)(18024.9) == "18,025"


def test_a_folder_of_other_files_is_never_replaced(hostile_fit: Fit, tmp_path: Path) -> None:
    """A path without a suffix makes a folder; what lies in one already is somebody's."""
    kept = tmp_path / "precious" / "sub" / "thesis.txt"
    kept.parent.mkdir(parents=True)
    kept.write_text("all of it", encoding="utf-8")
    for path in (tmp_path / "precious", f"{tmp_path / 'precious'}/", kept.parent):
        with pytest.raises(ValueBiasError, match="which no report wrote"):
            hostile_fit.report(path)
    assert kept.read_text(encoding="utf-8") == "all of it"
    own = hostile_fit.report(tmp_path / "precious" / "report")
    assert hostile_fit.report(own) == own
    (own / "notes.md").write_text("mine", encoding="utf-8")
    with pytest.raises(ValueBiasError, match=r"with 'notes\.md'"):
        hostile_fit.report(own)
