"""Tiny reward models, and items whose variants differ in length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny_models

import valuebias
from valuebias import ContrastSet, Model

WORDS = ("love", "power", "friendship", "ambition", "freedom", "competence", "kindness", "harmony",
         "success", "control", "trust", "care")  # fmt: skip


@pytest.fixture(scope="session")
def long() -> ContrastSet:
    items: dict[str, Any] = {
        f"q{i}": {
            "prompt": f"What is the {word} thing?",
            "answers": {"long": f"{word} trust and care {word}", "short": word},
        }
        for i, word in enumerate(WORDS)
    }
    return valuebias.contrast_set(items, name="length")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Model:
    lacking = tiny_models.missing()
    if lacking is not None:
        pytest.skip(lacking)
    folder: Path = tmp_path_factory.mktemp("shaping")
    return Model(str(tiny_models.tiny("llama", "reward", folder / "rm")), base="x")
