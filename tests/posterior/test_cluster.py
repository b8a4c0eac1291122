"""Workers of a Dask cluster fit: the same tables as one process makes."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import xarray as xr

import valuebias
from valuebias import ValueBiasError, simulate

distributed = pytest.importorskip("distributed")
Client, LocalCluster = distributed.Client, distributed.LocalCluster

pytestmark = [
    pytest.mark.slow,
    # Of connections to a process that is killed.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
CHOICES: dict[str, Any] = {
    "outcomes": ["normal", "rank"], "lexicons": None, "seed": 1, "progress": False
}  # fmt: skip


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    options: dict[str, Any] = {"dashboard_address": ":0", "silence_logs": 50}
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, **options) as workers,
        Client(workers) as connected,
    ):
        yield connected


@pytest.fixture(scope="module")
def scores() -> xr.Dataset:
    effects = {"Alder": 0.5, "Birch": -0.5}
    models = {"Alder": 4, "Birch": 4}
    return simulate(n_models=models, n_prompts=6, n_words=24, effects=effects, seed=1)


@pytest.fixture(scope="module")
def alone(scores: xr.Dataset) -> pd.DataFrame:
    return valuebias.multiverse(scores, **CHOICES).table


def test_the_same_table(client: Any, scores: xr.Dataset, alone: pd.DataFrame) -> None:
    together = valuebias.multiverse(scores, client=client, **CHOICES).table
    pd.testing.assert_frame_equal(together, alone, check_exact=True)


def test_a_worker_that_is_killed(
    client: Any, scores: xr.Dataset, alone: pd.DataFrame, tmp_path: Path
) -> None:
    victim = next(iter(client.run(os.getpid).values()))

    def kill() -> None:
        end = time.monotonic() + 120
        # The first is fitted by this process.
        while len(list(tmp_path.rglob("*.json"))) < 4 and time.monotonic() < end:
            time.sleep(0.01)
        os.kill(victim, signal.SIGKILL)

    killing = threading.Thread(target=kill)
    killing.start()
    together = valuebias.multiverse(scores, client=client, out=tmp_path, **CHOICES).table
    killing.join()
    pd.testing.assert_frame_equal(together, alone, check_exact=True)


@pytest.fixture(scope="module", params=["hmc", "nutpie", "pymc"])
def fit(request: pytest.FixtureRequest, scores: xr.Dataset) -> valuebias.Fit:
    if request.param != "hmc":
        pytest.importorskip(request.param)
    numbers: dict[str, Any] = {"draws": 100, "tune": 100, "chains": 2, "seed": 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return valuebias.fit(
            scores, outcome="raw", sampler=request.param, progress=False, **numbers
        )


# PyMC's own processes warn of overflows, and end.
@pytest.mark.filterwarnings("ignore")
def test_the_same_prior_sensitivity(client: Any, fit: valuebias.Fit) -> None:
    asked: dict[str, Any] = {"factors": (0.1,), "progress": False}
    together = fit.prior_sensitivity(client=client, **asked)
    # Few draws, so that weights are not reliable.
    assert together["refitted"].sum() >= 2
    pd.testing.assert_frame_equal(together, fit.prior_sensitivity(**asked), check_exact=True)


def test_prior_sensitivity_where_a_worker_is_killed(client: Any, scores: xr.Dataset) -> None:
    numbers: dict[str, Any] = {"draws": 400, "tune": 300, "chains": 2, "seed": 1}
    fit = valuebias.fit(scores, outcome="raw", progress=False, **numbers)
    asked: dict[str, Any] = {"factors": (0.05, 0.1), "progress": False}
    alone = fit.prior_sensitivity(**asked)
    assert alone["refitted"].sum() >= 4
    homes, over = client.run(os.getpid), threading.Event()
    killed: list[int] = []

    def kill() -> None:
        while not over.is_set():
            busy = [worker for worker, tasks in client.processing().items() if tasks]
            if busy:
                os.kill(homes[busy[0]], signal.SIGKILL)
                killed.append(homes[busy[0]])
                return
            time.sleep(0.005)

    killing = threading.Thread(target=kill)
    killing.start()
    try:
        together = fit.prior_sensitivity(client=client, **asked)
    finally:
        over.set()
        killing.join()
    assert killed
    pd.testing.assert_frame_equal(together, alone, check_exact=True)


def test_what_is_no_client(scores: xr.Dataset) -> None:
    with pytest.raises(ValueBiasError, match=r"expected a distributed.Client"):
        valuebias.multiverse(scores, client="tcp://127.0.0.1:8786", **CHOICES)  # type: ignore[arg-type]
