"""A pipe, socket, device or folder where a file is expected: told at once, never waited for."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import valuebias
from valuebias import ValueBiasError
from valuebias.ablation import Study

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has no such files")


def _models(path: Path) -> Any:
    return valuebias.read_scores({"org/one": path}, models=path.with_suffix(".csv"))


READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "scores, CSV": ("x.csv", valuebias.read),
    "scores, Parquet": ("x.parquet", valuebias.read),
    "scores, netCDF": ("x.nc", valuebias.read),
    "scores, Zarr": ("x.zarr", valuebias.read),
    "fit, netCDF": ("x.nc", valuebias.load),
    "fit, Zarr": ("x.zarr", valuebias.load),
    "wide CSV": ("x_rewards_Ray2333_GRM-Llama3.2-3B-rewardmodel-ft.csv", valuebias.read_scores),
    "table of models, CSV": ("x.csv", _models),
    "log-probs": ("google_gemma-2-2b_logprobs.csv", valuebias.read_logprobs),
    "lexicon, CSV": ("x.csv", valuebias.lexicon),
    "lexicon, .dic": ("x.dic", valuebias.lexicon),
    "prompts, CSV": ("x.csv", valuebias.prompts),
    "prompts, YAML": ("x.yaml", valuebias.prompts),
    "models, CSV": ("x.csv", valuebias.read_models),
    "models, YAML": ("x.yaml", valuebias.read_models),
    "study": ("x.yaml", Study.read),
    "preferences, lines": ("x.jsonl", valuebias.preferences),
    "preferences, Parquet": ("x.parquet", valuebias.preferences),
    "check, CSV": ("x.csv", valuebias.check),
    "check, netCDF": ("x.nc", valuebias.check),
    "check, array": ("x.npy", valuebias.check),
}


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


MAKERS = {"pipe": _pipe, "device": _device, "socket": _socket, "folder": Path.mkdir}


@contextmanager
def at_once() -> Iterator[None]:
    """Interrupt what waits, or reads without end."""

    def late(*_: object) -> None:
        raise TimeoutError("it waits")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(30)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file_is_refused(
    reader: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of short names, since those of sockets may not be long.
    monkeypatch.chdir(tmp_path)
    name, read = READERS[reader]
    MAKERS[kind](Path(name))
    with at_once(), pytest.raises(ValueBiasError) as told:
        read(Path(name))
    said = str(told.value)
    assert "it waits" not in said
    # Where a folder is expected, any of these is refused likewise; an empty one is empty.
    if kind != "folder":
        assert "where a file is expected" in said or name.endswith(".zarr")


def test_a_pipe_beside_a_table_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("model,prompt,response,score\na,b,c,1\n")
    os.mkfifo(tmp_path / "x.csv.json")
    with at_once(), pytest.raises(ValueBiasError, match="is a pipe, where a file is expected"):
        valuebias.read(path)
