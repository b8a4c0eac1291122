"""The notebook of real models keeps outputs that its code gives."""

from __future__ import annotations

import html
import io
import json
import re
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import small_models

import valuebias

NOTEBOOK = Path(__file__).parents[1] / "docs" / "studies" / "base-models.ipynb"

pytestmark = pytest.mark.slow


def cells() -> list[dict[str, Any]]:
    found = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in found if cell["cell_type"] == "code"]


def words(made: str) -> list[str]:
    return [html.unescape(word) for word in re.findall("<bdi>(.*?)</bdi>", made)]


def table(cell: dict[str, Any]) -> str | None:
    for output in cell["outputs"]:
        if "text/html" in output.get("data", {}):
            return "".join(output["data"]["text/html"])
    return None


@pytest.fixture(scope="module")
def again() -> list[tuple[dict[str, Any], Any, str]]:
    """Run every cell; its last value and what it printed, beside what the notebook keeps."""
    for name in small_models.NAMES:
        if small_models.missing(name) is not None:
            pytest.skip(str(small_models.missing(name)))
    names: dict[str, Any] = {}
    made = []
    for cell in cells():
        *body, last = _statements("".join(cell["source"]))
        told = io.StringIO()
        with redirect_stdout(told):
            exec("\n".join(body), names)  # noqa: S102 - our own notebook
            value = _value(last, names)
        made.append((cell, value, told.getvalue()))
        if "models" in names and "logprobs" not in names:
            # The same weights, converted once for all tests; out of GGUF it takes two minutes.
            sources = (small_models.language_model(name) for name in ("gemma3", "smollm2"))
            names["models"] = [
                replace(model, location=str(source))
                for model, source in zip(names["models"], sources, strict=True)
            ]
    return made


def _statements(source: str) -> list[str]:
    import ast

    return [ast.unparse(node) for node in ast.parse(source).body]


def _value(last: str, names: dict[str, Any]) -> Any:
    try:
        code = compile(last, "cell", "eval")
    except SyntaxError:
        exec(last, names)  # noqa: S102 - our own notebook
        return None
    return eval(code, names)  # noqa: S307 - our own notebook


def test_the_tables_of_tokens_are_those_kept(again: list[tuple[dict[str, Any], Any, str]]) -> None:
    tables = [(table(c), v) for c, v, _ in again if isinstance(v, valuebias.plots.TokenTable)]
    assert len(tables) == 3
    for kept, value in tables:
        assert kept is not None
        ours, theirs = words(value.to_html()), words(kept)
        assert len(ours) == 40
        # Another processor may turn round two tokens that are all but equal.
        assert len(set(ours) ^ set(theirs)) <= 4


def test_the_headlines_and_the_alignment_are_those_kept(
    again: list[tuple[dict[str, Any], Any, str]],
) -> None:
    for cell, _, told in again:
        kept = "".join(
            "".join(output["text"]) for output in cell["outputs"] if output.get("name") == "stdout"
        )
        assert re.sub(r"[\d.]+", "#", told) == re.sub(r"[\d.]+", "#", kept)
    _, report, _ = again[1]
    kept = table(again[1][0])
    assert kept is not None
    for count in report.to_numpy().ravel():
        assert f"<td>{count}</td>" in kept


def test_every_figure_is_drawn(again: list[tuple[dict[str, Any], Any, str]]) -> None:
    kept = [o for cell in cells() for o in cell["outputs"] if "image/png" in o.get("data", {})]
    drawn = [value for _, value, _ in again if hasattr(value, "savefig")]
    assert len(drawn) == len(kept) == 5


def test_nothing_of_the_machine_or_of_a_failure_is_kept() -> None:
    for cell in cells():
        assert not [o for o in cell["outputs"] if o["output_type"] == "error"]
        assert not [o for o in cell["outputs"] if o.get("name") == "stderr"]
    assert str(Path.home()) not in NOTEBOOK.read_text(encoding="utf-8")
