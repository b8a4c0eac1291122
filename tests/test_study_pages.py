"""Study pages show results also where their data are not at hand."""

from __future__ import annotations

import ast
import html
import io
import json
import re
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import valuebias

STUDIES = Path(__file__).parents[1] / "docs" / "studies"
BIG_TWO = STUDIES / "big-two.ipynb"
BANDITS = STUDIES / "bandits.ipynb"
CONTRASTS = STUDIES / "contrast-sets.ipynb"


def code_cells(path: Path) -> list[dict[str, Any]]:
    found = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in found if cell["cell_type"] == "code"]


def kept_text(cell: dict[str, Any]) -> str:
    texts = [output.get("text") or output.get("data", {}).get("text/plain", "")
             for output in cell["outputs"]]  # fmt: skip
    return "".join("".join(text) for text in texts)


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_page_that_is_not_run_shows_what_it_gave(path: Path) -> None:
    for cell in code_cells(path):
        last = ast.parse("".join(cell["source"])).body[-1]
        if isinstance(last, ast.Expr):
            assert cell["outputs"], "".join(cell["source"])
        for output in cell["outputs"]:
            assert output["output_type"] != "error"
            assert output.get("name") != "stderr"
    written = path.read_text(encoding="utf-8")
    assert str(Path.home()) not in written


def test_the_scores_themselves_are_not_kept() -> None:
    # Tables of results have at most a row for each model or word listed; the scores have 142,020.
    for cell in code_cells(BIG_TWO):
        assert len(re.findall(r"-?\d+\.\d+", kept_text(cell))) < 400


def words(text: str) -> str:
    """Leave out numbers: draws differ in the last digits between versions of what is below."""
    return " ".join(re.sub(r"[-+−]?\d[\d.,]*(?:e-?\d+)?", "#", text).split())


def test_the_page_of_bandit_tasks_keeps_what_learners_give() -> None:
    # Its models are run when it is made; what comes before them is run here.
    names: dict[str, Any] = {}
    for cell in code_cells(BANDITS)[:2]:
        *body, last = ast.parse("".join(cell["source"])).body
        told = io.StringIO()
        with redirect_stdout(told):
            exec(compile(ast.Module(body, []), "cell", "exec"), names)  # noqa: S102 - our own page
        assert isinstance(last, ast.Expr)
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)  # noqa: S307
        (page,) = [o["data"]["text/plain"] for o in cell["outputs"] if "data" in o]
        assert "".join(page).split() == repr(value).split()
        printed = [o["text"] for o in cell["outputs"] if o.get("name") == "stdout"]
        assert "".join("".join(text) for text in printed) == told.getvalue()


def test_the_page_of_contrast_sets_keeps_what_its_rules_give() -> None:
    # Its models are run when it is made; its questions, batteries and pairs are made here.
    names: dict[str, Any] = {"pd": pd, "valuebias": valuebias}
    shown = []
    width = pd.get_option("display.max_colwidth")
    try:
        for cell in code_cells(CONTRASTS)[1:5]:
            *body, last = ast.parse("".join(cell["source"])).body
            exec(compile(ast.Module(body, []), "cell", "exec"), names)  # noqa: S102 - our own page
            if not isinstance(last, ast.Expr):
                exec(compile(ast.Module([last], []), "cell", "exec"), names)  # noqa: S102
                continue
            value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)  # noqa: S307
            (page,) = [o["data"] for o in cell["outputs"] if "data" in o]
            if isinstance(value, pd.DataFrame):
                for text in map(str, value.to_numpy().ravel()):
                    cell_text = html.escape(text.replace("\n", "\\n"), quote=False)
                    assert cell_text in "".join(page["text/html"])
            else:
                assert "".join(page["text/plain"]) == repr(value)
            shown.append(value)
    finally:
        pd.set_option("display.max_colwidth", width)
    asked, table, pairs = shown
    assert (len(asked), len(table), len(pairs)) == (40, 8, 300)


@pytest.mark.released_data
@pytest.mark.filterwarnings("ignore::valuebias.ValueBiasWarning")
def test_the_page_of_the_paper_keeps_what_its_code_gives() -> None:
    names: dict[str, Any] = {}
    for cell in code_cells(BIG_TWO):
        *body, last = ast.parse("".join(cell["source"])).body
        told = io.StringIO()
        with redirect_stdout(told):
            exec(compile(ast.Module(body, []), "cell", "exec"), names)  # noqa: S102 - our own page
            value: Any = None
            if isinstance(last, ast.Expr):
                value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)  # noqa: S307
            else:
                exec(compile(ast.Module([last], []), "cell", "exec"), names)  # noqa: S102
        if isinstance(value, pd.DataFrame):
            (page,) = [output["data"]["text/html"] for output in cell["outputs"]]
            ours, theirs = words(value._repr_html_()), words("".join(page))  # type: ignore[operator]
            # Of words and models that are all but equal, another comes first.
            assert sorted(ours.split())[:60] == sorted(theirs.split())[:60]
        elif hasattr(value, "savefig"):
            assert any("image/png" in output["data"] for output in cell["outputs"])
        else:
            shown = told.getvalue() if value is None else repr(value)
            kept = kept_text(cell)
            # A probability of direction at .9 is where the verdict turns.
            if "probability that it is negative" in kept:
                shown, kept = (
                    text[text.index("the difference in lean") :] for text in (shown, kept)
                )
                shown, kept = (text[: text.index("; the data")] for text in (shown, kept))
            assert words(shown) == words(kept)
