"""Tests of valuebias._core.atomic."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from valuebias._core.atomic import atomic_path
from valuebias.errors import ValueBiasError


def entries(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def half_written(target: Path, stop: type[BaseException]) -> None:
    with atomic_path(target) as part:
        if part.suffix == ".zarr":
            part.mkdir()
            (part / "chunk").write_text("half")
        else:
            part.write_text("half")
        raise stop


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.txt"
    for text in ("old", "new"):
        with atomic_path(target) as part:
            assert part.parent.parent == target.parent
            assert part.suffix == ".txt"
            part.write_text(text)
    assert target.read_text() == "new"
    assert entries(target.parent) == ["a.txt"]


@pytest.mark.parametrize("stop", [KeyboardInterrupt, RuntimeError])
def test_an_interrupt_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, stop: type[BaseException]
) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(stop):
        half_written(target, stop)
    assert target.read_text() == "old"
    assert entries(tmp_path) == ["a.txt"]


def test_an_interrupt_leaves_no_half_folder(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        half_written(tmp_path / "a.zarr", KeyboardInterrupt)
    assert entries(tmp_path) == []


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "a.zarr"
    for name in ("old", "new"):
        with atomic_path(target) as part:
            part.mkdir()
            (part / name).touch()
    assert entries(target) == ["new"]
    assert entries(tmp_path) == ["a.zarr"]


def test_a_file_does_not_replace_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with (
        pytest.raises(ValueBiasError, match="is a folder already"),
        atomic_path(tmp_path / "a") as part,
    ):
        part.write_text("x")
    assert entries(tmp_path) == ["a"]


def test_writing_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueBiasError, match="Nothing was written"), atomic_path(tmp_path / "a"):
        pass


def test_a_parent_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ValueBiasError, match="is not a folder"), atomic_path(tmp_path / "file/a"):
        pass


_WRITE = """
import sys
from valuebias._core.atomic import atomic_path
for i in range(300):
    with atomic_path(f"{sys.argv[1]}/{sys.argv[2]}{i}.txt") as part:
        part.write_text("whole")
"""


def test_processes_that_write_beside_one_another_lose_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _WRITE, str(tmp_path)]
    running = [subprocess.Popen([*command, name], stderr=subprocess.PIPE) for name in "abc"]
    said = [process.communicate()[1].decode() for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], said
    assert len(entries(tmp_path)) == 900
