"""Workers of a Dask cluster do a study's runs: the same scores as one process has."""

from __future__ import annotations

import _thread
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_models
import xarray as xr
from cluster_backends import at_work
from tiny_studies import BRIEF, bases, grid, pairs, study
from typer.testing import CliRunner

import valuebias
from valuebias import Model, ValueBiasError
from valuebias.ablation import TrainingSettings
from valuebias.backends.torch_backend import TorchBackend
from valuebias.cli.app import app

distributed = pytest.importorskip("distributed")
torch = pytest.importorskip("torch")
pytest.importorskip("trl")
Client, LocalCluster = distributed.Client, distributed.LocalCluster

LACKING = tiny_models.missing()
pytestmark = [
    pytest.mark.skipif(LACKING is not None, reason=str(LACKING)),
    pytest.mark.slow,
    # Of connections to a process that is killed.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
ENGINE = TorchBackend(device="cpu", threads=1)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    options: dict[str, Any] = {"dashboard_address": ":0", "silence_logs": 50}
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, **options) as workers,
        Client(workers) as connected,
    ):
        yield connected


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bases(tmp_path_factory.mktemp("bases"))


def undated(scores: xr.Dataset) -> dict[str, Any]:
    about = dict(json.loads(scores.attrs["provenance"]))
    del about["date"]
    return about


def same(one: xr.Dataset, two: xr.Dataset) -> None:
    xr.testing.assert_equal(one, two)
    assert undated(one) == undated(two)


@pytest.mark.parametrize("tuning", ["head", "lora"])
def test_as_one_process(client: Any, folder: Path, tmp_path: Path, tuning: str) -> None:
    both = grid(folder).bases
    changes: dict[str, Any] = {"training": BRIEF} if tuning == "lora" else {"training": None}
    asked = study(folder, bases=both, tuning=tuning, **changes)
    options: dict[str, Any] = {"backend": ENGINE, "progress": False}
    together = asked.run(tmp_path / "together", client=client, **options)
    same(together, asked.run(tmp_path / "alone", **options))
    # All of it is finished.
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "together").rglob("*.npz")}
    assert before
    same(together, asked.run(tmp_path / "together", client=client, **options))
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "together").rglob("*.npz")} == before


def test_runs_that_fail(client: Any, folder: Path, tmp_path: Path) -> None:
    # Without a penalty pairs that a head can tell apart have no optimum.
    asked = study(folder, tuning="head", training=None, penalty=0.0)
    with pytest.raises(ValueBiasError, match="No run could be trained") as alone:
        asked.run(tmp_path / "alone", backend=ENGINE, progress=False)
    with pytest.raises(ValueBiasError, match="No run could be trained") as together:
        asked.run(tmp_path / "together", backend=ENGINE, client=client, progress=False)
    assert str(together.value) == str(alone.value)


def test_a_worker_that_is_killed(client: Any, folder: Path, tmp_path: Path) -> None:
    asked, out = study(folder, seeds=[0, 1]), tmp_path / "killed"
    victim = next(iter(client.run(os.getpid).values()))

    def kill() -> None:
        end = time.monotonic() + 120
        while not list(out.rglob("step-*.npz")) and time.monotonic() < end:
            time.sleep(0.01)
        os.kill(victim, signal.SIGKILL)

    killing = threading.Thread(target=kill)
    killing.start()
    scores = asked.run(out, backend=ENGINE, client=client, progress=False)
    killing.join()
    same(scores, asked.run(tmp_path / "alone", backend=ENGINE, progress=False))


def test_ctrl_c_ends_what_workers_train(client: Any, folder: Path, tmp_path: Path) -> None:
    """Within a step, of a training that would go on for minutes; then workers are free."""
    long = TrainingSettings(learning_rate=1e-3, max_steps=20_000, log_checkpoints=2)
    asked, out = study(folder, seeds=[0, 1], training=long), tmp_path / "out"

    def interrupt() -> None:
        end = time.monotonic() + 120
        while not list(out.rglob("step-*.npz")) and time.monotonic() < end:
            time.sleep(0.01)
        _thread.interrupt_main()

    stopping = threading.Thread(target=interrupt)
    stopping.start()
    with pytest.raises(KeyboardInterrupt) as caught:
        asked.run(out, backend=ENGINE, client=client, progress=False)
    stopping.join()
    assert f"What was finished is kept in {str(out)!r}" in caught.value.__notes__[0]
    end = time.monotonic() + 30
    while any(client.run(at_work).values()) and time.monotonic() < end:
        time.sleep(0.1)
    assert not any(client.run(at_work).values())
    assert not list(out.rglob("done.json"))


@pytest.mark.skipif(sys.platform != "linux", reason="a path that each process has its own file at")
def test_another_base_under_the_same_path(
    client: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seed in (("here", 0), ("there", 1)):
        tiny_models.tiny("llama", "logprob", tmp_path / name / "base", seed=seed)
    (tmp_path / "nowhere").mkdir()
    base = Model("/proc/self/cwd/base", name="org/base", family="Llama", base="L")
    asked = study(folder, bases=base, tuning="head", training=None)
    monkeypatch.chdir(tmp_path / "here")
    for place, said in (
        (
            "there",
            r"worker tcp://\S+ finds other files of the base 'org/base' .*: '\w+', not '",
        ),
        ("nowhere", r"The worker tcp://\S+ finds no '/proc/self/cwd/base', where the base"),
    ):
        before = client.run(os.getcwd)
        client.run(os.chdir, str(tmp_path / place))
        try:
            with pytest.raises(ValueBiasError, match=said):
                asked.run(tmp_path / "out", backend=ENGINE, client=client, progress=False)
        finally:
            for worker, home in before.items():
                client.run(os.chdir, home, workers=[worker])


def test_the_command(client: Any, folder: Path, tmp_path: Path) -> None:
    pairs(60).to_json(tmp_path / "pairs.jsonl", orient="records", lines=True)
    (tmp_path / "study.yaml").write_text(
        f"bases: [{folder / 'llama'}]\nsources: {{mine: pairs.jsonl}}\nn_pairs: [10, 20]\n",
        encoding="utf-8",
    )
    asked = ["ablate", str(tmp_path / "study.yaml"), "--out"]
    made = []
    for out, more in (("alone", []), ("together", ["--scheduler", client.scheduler.address])):
        done = CliRunner().invoke(app, [*asked, str(tmp_path / out), *more])
        assert done.exit_code == 0, done.output
        made.append(valuebias.read(tmp_path / out / "scores.nc"))
    same(*made)
    # By the workers: this process only reads what they wrote.
    written = {path.name for path in (tmp_path / "together" / "heads").iterdir()}
    assert written == {path.name for path in (tmp_path / "alone" / "heads").iterdir()}
    bad = ["--scheduler", "tcp://127.0.0.1:1"]
    done = CliRunner().invoke(app, [*asked, str(tmp_path / "none"), *bad])
    assert done.exit_code == 1
    assert "No scheduler of Dask answers at 'tcp://127.0.0.1:1'" in " ".join(done.stderr.split())


def test_workers_that_share_a_process(folder: Path, tmp_path: Path) -> None:
    asked = study(folder, training=BRIEF)
    for options, said in (
        ({"n_workers": 1, "threads_per_worker": 2}, "has 2 threads"),
        ({"n_workers": 2, "threads_per_worker": 1}, "Several workers are one process"),
    ):
        with (
            LocalCluster(**options, processes=False, dashboard_address=":0") as workers,
            Client(workers) as given,
            pytest.raises(ValueBiasError, match=said),
        ):
            asked.run(tmp_path / "out", backend=ENGINE, client=given, progress=False)
