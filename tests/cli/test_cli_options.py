"""The options of a backend that the commands score and plan pass on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tiny_models
from typer.testing import Result

import valuebias

LACKING = tiny_models.missing()
requires_torch = pytest.mark.skipif(LACKING is not None, reason=str(LACKING))
Run = Callable[..., Result]

ASKED = ("reward", "--prompts", "prompts.yaml", "--lexicon", "words.csv")
PLUG_IN = """
from valuebias.backends import Backend

class Plain(Backend):
    name = "plain"
    description = "takes no options"
    def available(self):
        return None
    def load(self, source):
        raise AssertionError("not to be loaded")

class Threaded(Plain):
    name = "threaded"
    def __init__(self, *, threads=None):
        self.threads = threads
"""


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a package with backends, as pip leaves it on disk."""
    monkeypatch.syspath_prepend(tmp_path)
    module = f"plug_in_{tmp_path.name}"
    (tmp_path / f"{module}.py").write_text(PLUG_IN, encoding="utf-8")
    info = tmp_path / "plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 1.0\n")
    entries = f"[valuebias.backends]\nplain = {module}:Plain\nthreaded = {module}:Threaded\n"
    (info / "entry_points.txt").write_text(entries, encoding="utf-8")


@pytest.fixture
def threads() -> Iterator[None]:
    """Give the process the threads back that it had."""
    import torch

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@requires_torch
@pytest.mark.usefixtures("reward", "threads")
def test_device_and_threads_reach_the_backend(run: Run) -> None:
    done = run("score", *ASKED, "--device", "cpu", "--threads", "3", "--store", "scores.zarr")
    assert done.exit_code == 0, done.output
    provenance = json.loads(valuebias.read("scores.zarr").attrs["provenance"])
    (noted,) = provenance["models"][0]["runs"]
    assert (noted["device"], noted["details"]["threads"]) == ("cpu", 3)


@requires_torch
@pytest.mark.usefixtures("reward")
def test_an_unknown_device_is_named(run: Run) -> None:
    done = run("score", *ASKED, "--device", "cuda:99", "--store", "scores.zarr")
    assert done.exit_code == 1
    assert "no device 'cuda:99'" in done.stderr
    assert "Traceback" not in done.stderr


@requires_torch
@pytest.mark.usefixtures("reward")
def test_plan_is_for_the_device(run: Run) -> None:
    done = run("plan", *ASKED, "--device", "cpu")
    assert done.exit_code == 0, done.output
    assert "'torch' on cpu" in done.stdout


@pytest.mark.usefixtures("plug_in")
@pytest.mark.parametrize(
    ("backend", "option", "known"),
    [("plain", "threads", "none"), ("threaded", "device", "'threads'")],
)
def test_an_option_that_a_backend_lacks(run: Run, backend: str, option: str, known: str) -> None:
    options = ["--backend", backend, f"--{option}", "2", "--store", "scores.zarr"]
    done = run("score", "nowhere", *options)
    assert done.exit_code == 1
    assert f"The backend '{backend}' has no option '{option}'; it has {known}." in done.stderr
    assert f"Leave --{option} out" in done.stderr
    assert not Path("scores.zarr").exists()


def test_threads_must_be_positive(run: Run) -> None:
    done = run("score", *ASKED, "--threads", "0", "--store", "scores.zarr")
    assert done.exit_code == 2
