"""Files are whole, the same every time, and hold text that is inert."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.image import imread

import valuebias
from valuebias import ValueBiasError

SVG = "{http://www.w3.org/2000/svg}"
SCRIPT = """
import sys, valuebias
figure = valuebias.plots.plot_ranks(valuebias.datasets.load("simulated"))
valuebias.plots.save_figure(figure, sys.argv[1])
"""


@pytest.fixture(scope="module")
def figure(pairs: xr.Dataset) -> Figure:
    return valuebias.plots.plot_chosen_words(pairs, pairs["response"].values.tolist())


def test_three_formats(figure: Figure, tmp_path: Path) -> None:
    made = valuebias.plots.save_figure(figure, tmp_path / "new" / "words")
    assert made == tuple(tmp_path / "new" / f"words.{suffix}" for suffix in ("pdf", "png", "svg"))
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "words.pdf", "words.png", "words.svg",
    ]  # fmt: skip
    pdf = made[0].read_bytes()
    assert pdf.startswith(b"%PDF")
    assert b"/FontFile2" in pdf
    assert b"/Type3" not in pdf
    assert not re.search(rb"/JavaScript|/JS\b|/URI|/Launch|/OpenAction|CreationDate", pdf)
    assert imread(made[1]).std() > 0.01


def test_the_svg_is_inert_and_keeps_its_text(figure: Figure, tmp_path: Path) -> None:
    (path,) = valuebias.plots.save_figure(figure, tmp_path / "words.svg")
    root = ElementTree.fromstring(path.read_bytes())  # noqa: S314 - our own file
    used = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert used <= {"svg", "metadata", "defs", "style", "g", "path", "use", "clipPath", "rect",
                    "text", "tspan"} | {tag for tag in used if tag.startswith("{")}  # fmt: skip
    names = {name for element in root.iter() for name in element.attrib}
    assert not [name for name in names if name.lower().startswith("on")]
    links = [
        value for element in root.iter() for name, value in element.attrib.items()
        if name.endswith("href")
    ]  # fmt: skip
    assert links
    assert all(link.startswith("#") for link in links)
    texts = ["".join(element.itertext()) for element in root.iter(f"{SVG}text")]
    assert "=cmd()" in texts
    assert "␣love" in texts
    assert not any("\u202e" in text for text in texts)


def test_the_same_figure_has_the_same_bytes(
    figure: Figure, pairs: xr.Dataset, tmp_path: Path
) -> None:
    again = valuebias.plots.plot_chosen_words(pairs, pairs["response"].values.tolist())
    first = valuebias.plots.save_figure(figure, tmp_path / "first")
    twice = valuebias.plots.save_figure(figure, tmp_path / "twice")
    other = valuebias.plots.save_figure(again, tmp_path / "other")
    for a, b, c in zip(first, twice, other, strict=True):
        assert a.read_bytes() == b.read_bytes() == c.read_bytes()


@pytest.mark.slow
def test_another_process_writes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        subprocess.run([sys.executable, "-c", SCRIPT, tmp_path / name], check=True)
    for suffix in ("pdf", "png", "svg"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_the_readers_settings_change_nothing(figure: Figure, tmp_path: Path) -> None:
    import matplotlib as mpl

    (first,) = valuebias.plots.save_figure(figure, tmp_path / "first.pdf")
    with mpl.rc_context({"pdf.fonttype": 3, "savefig.dpi": 50, "text.usetex": True}):
        (other,) = valuebias.plots.save_figure(figure, tmp_path / "other.PDF")
    assert first.read_bytes() == other.read_bytes()


def test_formats_that_are_chosen(figure: Figure, tmp_path: Path) -> None:
    made = valuebias.plots.save_figure(figure, str(tmp_path / "words"), formats=["svg", "PDF"])
    assert [path.name for path in made] == ["words.svg", "words.pdf"]
    made = valuebias.plots.save_figure(figure, tmp_path / "one.png", formats=["svg"])
    assert [path.name for path in made] == ["one.png"]


@pytest.mark.parametrize(
    ("name", "formats", "message"),
    [
        ("a.pnd", ("pdf",), "The suffix of '.*a.pnd' is 'pnd'. Did you mean 'png'"),
        ("a.v2", ("pdf",), "Known: 'pdf', 'png', 'svg'"),
        ("a", ("pdf", "eps"), "A format is 'eps'"),
        ("a", "pdf", "expected one or several of"),
        ("a", (), "expected one or several of"),
    ],
)
def test_unknown_formats(
    figure: Figure, tmp_path: Path, name: str, formats: Any, message: str
) -> None:
    with pytest.raises(ValueBiasError, match=message):
        valuebias.plots.save_figure(figure, tmp_path / name, formats=formats)
    assert not list(tmp_path.iterdir())


def test_nothing_is_left_of_a_save_that_failed(figure: Figure, tmp_path: Path) -> None:
    (tmp_path / "words.svg").mkdir()
    with pytest.raises(ValueBiasError, match="is a folder already"):
        valuebias.plots.save_figure(figure, tmp_path / "words")
    assert [path.name for path in tmp_path.iterdir()] == ["words.svg"]
