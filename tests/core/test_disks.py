"""Full, nearly full and read-only disks: every writer says so, and leaves what was there."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from small_disk import fill, small_disk
from typer.testing import CliRunner

import valuebias
from valuebias import Fit, ValueBiasError
from valuebias._core.disk import WriteError
from valuebias.ablation import fit_head
from valuebias.cli.app import app
from valuebias.datasets.simulate import simulate
from valuebias.report import write_report

SIZE = "24m"
STATES = ["full", "8 KiB left", "read-only"]
SAID = {"full": "no space is left", "8 KiB left": "no space is left", "read-only": "read-only"}


def scores() -> xr.Dataset:
    # Enough that no form of it fits into what is nearly full.
    return simulate(n_models={"A": 3, "B": 3}, n_prompts=4, n_words=200, seed=1)


@pytest.fixture(scope="module")
def fit() -> Fit:
    ds = simulate(n_models={"A": 2, "B": 2}, n_prompts=4, n_words=8, seed=1)
    # So many draws that reports need few fits with other priors.
    return valuebias.fit(ds, draws=400, tune=100, chains=2, seed=1, progress=False)


def _figure(place: Path, fit: Fit) -> None:
    figure = valuebias.plots.plot_ranks(scores())
    valuebias.plots.save_figure(figure, place)


def _head(place: Path, fit: Fit) -> None:
    rng = np.random.default_rng(1)
    chosen, rejected = rng.normal(size=(2, 40, 2000))
    fit_head(chosen, rejected, penalty=1.0).save(place)


WRITERS: dict[str, Callable[[Path, Fit], Any]] = {
    "scores.zarr": lambda place, fit: valuebias.write(scores(), place),
    "scores.nc": lambda place, fit: valuebias.write(scores(), place),
    "scores.parquet": lambda place, fit: valuebias.write(scores(), place),
    "scores.csv": lambda place, fit: valuebias.write(scores(), place),
    "fit.nc": lambda place, fit: fit.save(place),
    "fit.zarr": lambda place, fit: fit.save(place),
    "report.html": lambda place, fit: write_report(fit, place),
    "report.md": lambda place, fit: write_report(fit, place),
    "report.tex": lambda place, fit: write_report(fit, place),
    "report.nc": lambda place, fit: write_report(fit, place),
    "report": lambda place, fit: write_report(fit, place),
    "figure.pdf": _figure,
    "figure.png": _figure,
    "figure.svg": _figure,
    "head.npz": _head,
}
"""What writes to a path of that name."""


_SLOW = ("report.html", "report.tex", "figure.png", "figure.svg")


def slowly(names: Iterable[str]) -> list[Any]:
    """Leave what is drawn to the slow tests, but for one of each."""
    return [pytest.param(name, marks=pytest.mark.slow) if name in _SLOW else name for name in names]


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with small_disk(tmp_path_factory.mktemp("disks") / "disk", SIZE) as place:
        yield place


@pytest.fixture
def state(disk: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    ballast = None
    if request.param == "read-only":
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    else:
        ballast = fill(disk, leave=0 if request.param == "full" else 8192)
    try:
        yield request.param
    finally:
        if ballast is None:
            subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        else:
            ballast.unlink()


def tree(folder: Path) -> dict[str, int]:
    return {str(p): p.stat().st_size for p in folder.rglob("*") if p.name != "ballast"}


@pytest.mark.parametrize("state", STATES, indirect=True)
@pytest.mark.parametrize("name", slowly(WRITERS))
def test_a_writer_says_so_and_leaves_nothing(disk: Path, state: str, name: str, fit: Fit) -> None:
    before = tree(disk)
    with pytest.raises(WriteError, match=SAID[state]) as caught:
        WRITERS[name](disk / name, fit)
    assert name in str(caught.value)
    assert tree(disk) == before


@pytest.mark.parametrize("name", slowly(WRITERS))
def test_what_was_there_is_left(disk: Path, name: str, fit: Fit) -> None:
    WRITERS[name](disk / name, fit)
    before = {path: path.read_bytes() for path in disk.rglob("*") if path.is_file()}
    ballast = fill(disk)
    try:
        with pytest.raises(WriteError, match="no space is left"):
            WRITERS[name](disk / name, fit)
        ballast.unlink()
        assert {p: p.read_bytes() for p in disk.rglob("*") if p.is_file()} == before
    finally:
        ballast.unlink(missing_ok=True)
        for path in sorted(disk.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()


COMMANDS = {
    "fit --out": ["fit", "simulated", "--out", "{}/fit.nc"],
    "fit --out zarr": ["fit", "simulated", "--out", "{}/fit.zarr"],
    "fit --report": ["fit", "simulated", "--report", "{}/report.html"],
    "fit --report folder": ["fit", "simulated", "--report", "{}/report"],
    "demo": ["demo", "--out", "{}/demo"],
    "report": ["report", "nowhere.nc", "--out", "{}/report.html"],
    "score": ["score", "nowhere", "--store", "{}/scores.zarr"],
    "reproduce": ["reproduce", "christian2026", "--out", "{}/paper"],
    "data load": ["data", "load", "simulated", "--out", "{}/scores.nc"],
}


@pytest.mark.parametrize("state", STATES, indirect=True)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_says_so_before_its_work(
    disk: Path, state: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*given: Any, **more: Any) -> None:
        raise AssertionError("the work has begun")

    for work in ("fit", "fit_ablation", "load", "score", "reproduce", "read"):
        monkeypatch.setattr(valuebias, work, never)
    monkeypatch.setattr(valuebias.datasets, "load", never)
    before = tree(disk)
    told = CliRunner().invoke(app, [part.format(disk) for part in COMMANDS[name]])
    assert told.exit_code == 1
    assert isinstance(told.exception, SystemExit)
    assert SAID[state] in told.output
    assert tree(disk) == before


@pytest.mark.parametrize("state", ["full", "read-only"], indirect=True)
def test_python_says_so_before_its_work(disk: Path, state: str) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    # None of these models is there, which would be said next.
    with pytest.raises(WriteError, match=SAID[state]):
        valuebias.score("nowhere/model", store=disk / "scores.zarr")
    with pytest.raises(WriteError, match=SAID[state]):
        valuebias.reproduce("christian2026", out=disk / "paper", progress=False)
    pairs = [{"prompt": f"{i}", "chosen": "a", "rejected": "b"} for i in range(9)]
    import pandas as pd

    study = valuebias.ablation.Study(
        bases=valuebias.Model("nowhere/model", family="A", base="b"),
        sources={"plain": pd.DataFrame(pairs)}, n_pairs=[2], seeds=[0], tuning="head",
    )  # fmt: skip
    with pytest.raises(WriteError, match=SAID[state]):
        study.run(disk / "out", progress=False)


def test_a_place_that_cannot_be_is_refused_before_the_work(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    (tmp_path / "folder.nc").mkdir()
    (tmp_path / "mine.zarr").mkdir()
    (tmp_path / "mine.zarr" / "x").touch()
    for place, said in (
        (file / "fit.nc", "is a file"),
        (tmp_path / "folder.nc", "is a folder already"),
        (tmp_path / "mine.zarr", "Zarr did not make"),
    ):
        told = CliRunner().invoke(app, ["fit", "nowhere.nc", "--out", str(place)])
        assert told.exit_code == 1
        assert said in told.output.replace("\n", " ")


def test_a_fit_that_cannot_be_saved_is_shown_all_the_same(
    disk: Path, fit: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    ballasts = []

    def fitted(*given: Any, **more: Any) -> Fit:
        # Another process takes what room there was.
        ballasts.append(fill(disk))
        return fit

    monkeypatch.setattr(valuebias, "fit", fitted)
    try:
        told = CliRunner().invoke(
            app, ["fit", "simulated", "--no-ablation", "--out", str(disk / "fit.nc")]
        )
    finally:
        ballasts[0].unlink()
    assert told.exit_code == 1
    assert "no space is left" in told.output
    assert str(fit.headline()).split(".")[0][:40] in told.output.replace("\n", " ")


def test_the_error_is_one_of_ours() -> None:
    assert issubclass(WriteError, ValueBiasError)
