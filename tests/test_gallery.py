"""The gallery has every public figure, and its code runs."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

from valuebias import plots

PAGE = (Path(__file__).parents[1] / "docs" / "gallery.md").read_text(encoding="utf-8")
CELLS = re.findall(r"^```\{code-cell\} ipython3\n(?::tags: [^\n]*\n)?(.*?)^```$", PAGE, re.M | re.S)
NO_FIGURES = {"KINDS", "TokenTable", "plot", "save_figure"}
"""What draws nothing of its own; `plot` and `save_figure` take what the others draw."""


def calls(text: str) -> set[str]:
    return {
        node.func.attr
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }


def test_every_public_figure_has_its_call() -> None:
    # The second cell draws small pictures of some; what counts is the call that readers see.
    shown = set().union(*(calls(cell) for n, cell in enumerate(CELLS) if n != 1))
    assert set(plots.__all__) - NO_FIGURES <= shown
    assert "save_figure" in PAGE


def test_small_pictures_lead_to_their_sections() -> None:
    anchors = set(re.findall(r'^    "([a-z-]+)": plots', CELLS[1], re.M))
    titles = {
        re.sub(r"[^a-z]+", "-", title.lower()).strip("-")
        for title in re.findall(r"^## (.*)$", PAGE, re.M)
    }
    assert len(anchors) > 10
    assert anchors <= titles


@pytest.mark.once
@pytest.mark.filterwarnings("ignore::valuebias.ValueBiasWarning")
def test_its_code_runs() -> None:
    names: dict[str, Any] = {}
    drawn = 0
    for n, cell in enumerate(CELLS):
        if n == 1:  # takes IPython, which the site has
            continue
        *body, last = ast.parse(cell).body
        exec(compile(ast.Module(body, []), "cell", "exec"), names)  # noqa: S102 - our own page
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)  # noqa: S307
            drawn += hasattr(value, "savefig") or isinstance(value, plots.TokenTable)
        else:
            exec(compile(ast.Module([last], []), "cell", "exec"), names)  # noqa: S102
    assert drawn == len(set(plots.__all__) - NO_FIGURES)
