"""What the shell completes: names beside files, as typer asks for them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from lexicon_packages import install_made

from valuebias.cli import completing


def completed(line: str, folder: Path) -> list[str]:
    """Ask as bash does when the tab key is pressed after a line."""
    asked = {"_VALUEBIAS_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD":
             str(len(line.split(" ")) - 1)}  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-P", "-c", "from valuebias.cli import main; main()"],
        cwd=folder, env={**os.environ, **asked}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.split("\n")[:-1]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("valuebias fit sim", ["simulated"]),
        ("valuebias fit sco", ["scores/", "scores.nc"]),
        ("valuebias data load dem", ["demo"]),
        ("valuebias lexicons show agency", ["agency-communion"]),
        ("valuebias score models.yaml --lexicon agency", ["agency-communion"]),
        ("valuebias score christian2026-r", ["christian2026-rms"]),
        ("valuebias data read scores --prompts sup", ["superlatives"]),
        ("valuebias battery syc", ["sycophancy"]),
        ("valuebias battery length --questions arith", ["arithmetic"]),
        ("valuebias explain models.yaml --backend vl", ["vllm"]),
    ],
)
def test_bash_is_told_names_and_files(line: str, expected: list[str], tmp_path: Path) -> None:
    (tmp_path / "scores.nc").touch()
    (tmp_path / "scores").mkdir()
    assert completed(line, tmp_path) == expected


def test_lists_in_packages_and_paths_are_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "vocabulary" in completing.lexicon_names("")
    assert completing.lexicon_names("nothing-begins-so") == []
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / ".hidden").touch()
    (tmp_path / "lists" / "a.csv").touch()
    (tmp_path / "lists" / "b.zarr").mkdir()
    assert completing.lexicon_names("lists/") == ["lists/a.csv", "lists/b.zarr"]
    assert completing.data_names("nowhere/x") == []
    install_made(tmp_path / "site", {"Some Values.dicx": "DicTerm,A\nwin,X\n"})
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert completing.lexicon_names("tat") == ["taters:Some Values"]
