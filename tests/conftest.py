"""Fixtures and settings that all tests share."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import xarray as xr
from hypothesis import HealthCheck, settings

from valuebias import datasets
from valuebias.datasets.simulate import simulate

# Timing says nothing on a shared machine, so no deadline. In CI every run tries the same examples.
settings.register_profile(
    "default", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> Iterator[None]:
    """Hear SIGINT, in child processes too: a shell's background job starts with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module", autouse=True)
def _imports_set_aside(_n_modules: list[int]) -> None:
    """Spare the garbage collector what has been imported: going through it was half of all work.

    Scoring collects garbage once a model, and PyTorch, transformers and PyMC are a million objects.
    """
    if len(sys.modules) > _n_modules[-1] + 100:
        _n_modules.append(len(sys.modules))
        gc.collect()
        gc.freeze()


@pytest.fixture(scope="session")
def _n_modules() -> list[int]:
    """Give how many modules there were each time that they were set aside."""
    return [0]


@pytest.fixture(scope="session")
def released_data() -> Path:
    """Give the folder of the paper's released files, or skip the test."""
    folder = os.environ.get("VALUEBIAS_DATA")
    if not folder:
        pytest.skip("VALUEBIAS_DATA is not set: it names the folder with the released data")
    if not (Path(folder) / "reward_scores_big2").is_dir():
        pytest.skip(f"VALUEBIAS_DATA is {folder!r}, which has no folder reward_scores_big2")
    return Path(folder)


@pytest.fixture(scope="session")
def big2(released_data: Path) -> xr.Dataset:
    """Give the paper's Big Two scores: 10 models, 54 prompts, 265 words."""
    ds = datasets.load("christian2026-big2")
    assert isinstance(ds, xr.Dataset)
    return ds


@pytest.fixture(scope="session")
def simulated() -> xr.Dataset:
    """Give a small complete dataset with a planted family difference of 0.6."""
    return simulate(
        n_models={"Gemma": 3, "Llama": 4},
        n_prompts=8,
        n_words={"agency": 12, "communion": 15},
        effects={"Gemma": 0.3, "Llama": -0.3},
        seed=20260131,
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have recorded as properties, also when other processes ran them."""
    reports = [r for kind in ("passed", "failed") for r in terminalreporter.getreports(kind)]
    for report in reports:
        for name, value in report.user_properties:
            terminalreporter.write_line(f"{name}: {value}")
