"""The command explain."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from typer.testing import CliRunner

from valuebias.cli.app import app

Run = Callable[..., Any]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    return lambda *arguments: CliRunner().invoke(app, list(arguments), prog_name="valuebias")


@pytest.mark.skipif(tiny_models.missing() is not None, reason=str(tiny_models.missing()))
def test_a_table_and_advice(run: Run, tmp_path: Path) -> None:
    tiny_models.tiny("llama", "reward", tmp_path / "rm")
    Path("models.yaml").write_text("- location: rm\n- {location: rm, name: own, head: score}\n")
    done = run("explain", "models.yaml", "--backend", "torch", "--backend", "vllm")
    assert done.exit_code == 0, done.output
    lines = [" ".join(line.split()[:4]) for line in done.stdout.splitlines()]
    assert "rm torch yes yes" in lines
    assert "own vllm no no" in lines
    assert "rm: use 'torch'" in done.stdout
    # In the words of a shell.
    assert "found 'head: score'" in done.stdout
    assert "valuebias.plan" not in done.stdout
    assert "client=" not in done.stdout
    whole = run("explain", "rm", "--json")
    rows = {row["backend"]: row for row in json.loads(whole.stdout)["models"]}
    assert (rows["torch"]["scores"], rows["torch"]["recommended"]) == ("yes", True)
    assert rows["vllm"]["fits"] is None


def test_backends_names_it(run: Run) -> None:
    last = run("backends").stdout.strip().splitlines()[-1]
    assert last.endswith("valuebias explain MODELS")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.yaml"], "nowhere.yaml"),
        (["rm", "--backend", "torhc"], "'torch'"),
        (["rm", "--kind", "judged"], "--judge rating"),
        (["rm", "--backend", "torch", "--address", "http://127.0.0.1:8000"], "Add --backend vllm"),
    ],
)
def test_errors(run: Run, arguments: list[str], message: str) -> None:
    done = run("explain", *arguments)
    assert done.exit_code == 1
    assert done.stdout == ""
    assert message in done.stderr
