"""Fixtures and settings that all tests share."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, settings

import valuebias
from valuebias import datasets
from valuebias.backends.memory import set_aside
from valuebias.datasets.simulate import simulate
from valuebias.fitting.result import Fit
from valuebias.report import write_report

# Timing says nothing on a shared machine, so no deadline. In CI every run tries the same examples.
settings.register_profile(
    "default", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


HOSTILE_WORDS = (
    "<script>alert(1)</script>",
    "=cmd()",
    r"\input{x}",
    "\U0001f600",
    "\u05e9\u05dc\u05d5\u05dd \u0633\u0644\u0627\u0645",
    "$x$",
    "&amp;",
    "a|b",
    "two\nlines",
    "`tick`",
    "\ud83d",
    "\u202eoverride",
    "-1+1",
    "_under_ *star* [link](javascript:alert(1))",
    "\u4e2d\u6587",
    "\"quoted\" 'text'",
    "{{ 7 * 7 }}<< 7 >>{% raw %}",
    "'; --,,~^#%",
    "\x1b[31mred",
    "</svg><img src=x onerror=alert(2)>",
)
HOSTILE_FAMILIES = ("<b>Gem$ma</b>", r"Lla|ma_%\&")
HOSTILE_MODELS = ("@SUM(A1)", "org/<i>one</i>", "=LINK(1)", "a_b^c~d#e", r"$\alpha$", "x" * 80)
HOSTILE_BASES = ("=HYPERLINK(1)", "<u>base</u>", "a|b_$c$", r"\input{y}")


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> Iterator[None]:
    """Hear SIGINT, in child processes too: a shell's background job starts with it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module", autouse=True)
def _imports_set_aside(_n_modules: list[int], _aside: None) -> None:
    """Spare the garbage collector what has been imported: going through it was half of all work.

    Scoring collects garbage once a model, and PyTorch, transformers and PyMC are a million objects.
    """
    if len(sys.modules) > _n_modules[-1] + 100:
        _n_modules.append(len(sys.modules))
        gc.collect()
        gc.freeze()


@pytest.fixture(scope="session")
def _aside() -> Iterator[None]:
    """Keep what scoring finds set aside from being taken back after it."""
    with set_aside():
        yield


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
def elo(released_data: Path) -> xr.Dataset:
    """Give the scores of things that humans rated: 10 models, 3 prompts, 7,530 things."""
    if not any((folder / "elo").is_dir() for folder in (released_data, released_data.parent)):
        pytest.skip("neither VALUEBIAS_DATA nor the folder around it has a folder elo")
    ds = datasets.load("christian2025-elo")
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


def _hostile_dataset() -> xr.Dataset:
    """Give 6 models of 2 families, 8 prompts and 26 words, named as above."""
    ds = simulate(
        n_models={"A": [2, 1], "B": [2, 1]},
        n_prompts=8,
        n_words={"agency": 12, "communion": 14},
        effects={"A": 0.3, "B": -0.3},
        seed=11,
    )
    # Numpy's own text: pandas' refuses a lone surrogate.
    words = ds["response"].to_numpy().astype("U80")
    words[: len(HOSTILE_WORDS)] = HOSTILE_WORDS
    family = np.repeat(np.array(HOSTILE_FAMILIES), 3)
    number = np.unique(ds["base"].to_numpy(), return_inverse=True)[1]
    base = np.array(HOSTILE_BASES)[number]
    return ds.assign_coords(
        response=words,
        model=np.array(HOSTILE_MODELS),
        family=("model", family),
        base=("model", base),
    )


@pytest.fixture(scope="session")
def hostile_words() -> tuple[str, ...]:
    """Give words that would run as a script, a formula or a command where they are not escaped."""
    return HOSTILE_WORDS


@pytest.fixture(scope="session")
def hostile_fit() -> Fit:
    """Give a fit of too few draws, so that it does not converge and has to say so."""
    fit = valuebias.fit(_hostile_dataset(), draws=100, tune=200, chains=2, seed=3, progress=False)
    assert isinstance(fit, Fit)
    return fit


@pytest.fixture(scope="session")
def hostile_reports(hostile_fit: Fit, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with report.html, report.md, report.tex and the folder tables/."""
    folder = tmp_path_factory.mktemp("hostile")
    for name in ("report.html", "report.md", "report.tex", "tables/"):
        write_report(hostile_fit, f"{folder}/{name}")
    return folder


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests have recorded as properties, also when other processes ran them."""
    reports = [r for kind in ("passed", "failed") for r in terminalreporter.getreports(kind)]
    for report in reports:
        for name, value in report.user_properties:
            terminalreporter.write_line(f"{name}: {value}")
