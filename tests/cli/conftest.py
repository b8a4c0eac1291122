"""What the tests of the commands share: a folder to run them in, and a tiny model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_models
from typer.testing import CliRunner, Result

from valuebias.cli.app import app

PROMPTS = """
up: {text: "What is good?", framing: positive}
down: {text: "What is bad?", framing: negative}
"""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """Run a command in a folder with models, prompts and a lexicon."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    (tmp_path / "prompts.yaml").write_text(PROMPTS, encoding="utf-8")
    (tmp_path / "words.csv").write_text("word,category\nlove,good\npower,bad\n", encoding="utf-8")
    models = "a: {location: reward, family: One}\nb: {location: reward, family: Two}\n"
    (tmp_path / "models.yaml").write_text(models, encoding="utf-8")

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments), prog_name="valuebias")

    return call


@pytest.fixture
def reward(tmp_path: Path) -> Path:
    return tiny_models.tiny("llama", "reward", tmp_path / "reward")
