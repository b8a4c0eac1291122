"""Work that writes, to be killed before each of its file operations, and done on full disks.

Each job starts from a folder that is as somebody left it, and does something to it. Afterwards what
lies there is read: as before, or as after, and nothing else. Jobs that go on where they stopped are
done again instead, and must end with the very same content.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tiny_models
import tiny_studies
import xarray as xr
from hostile_base import QUICK, scores, stamp
from hostile_models import PROMPTS, WORDS
from hostile_work import inject, read_reproduction, released, reproduce

import valuebias
from valuebias import Model, ValueBiasError
from valuebias.cli.app import app
from valuebias.report import write_report

__all__ = ["JOBS", "PLAIN", "Job"]


@dataclass(frozen=True, slots=True)
class Job:
    """Work that writes into a folder.

    `make` lays out what is there before; `act` works; `read` gives a hash of what lies there.
    With `again`, work that was broken off is done again before it is looked at. What `ready` does
    is the same for all cases and writes nothing: it is done once in a process.
    """

    name: str
    make: Callable[[Path], Any]
    act: Callable[[Path], Any]
    read: Callable[[Path], str]
    again: bool = False
    ready: Callable[[Path], Any] | None = None


def _other() -> xr.Dataset:
    return scores(seed=2)


def _writing(suffix: str) -> Job:
    name = f"scores{suffix}"
    return Job(
        f"write {suffix} over an older one",
        lambda folder: valuebias.write(scores(), folder / name),
        lambda folder: valuebias.write(_other(), folder / name),
        lambda folder: stamp(valuebias.read(folder / name)),
    )


_MINUTE = re.compile(rb"\d{4}\\?-\d\d\\?-\d\d \d\d:\d\d UTC")


# --- fits and reports ----------------------------------------------------------------------------


def _two_fits(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in (1, 2):
            fit = valuebias.fit(scores(seed=seed), **QUICK)
            fit.save(folder / f"{seed}.nc")


def _fitting() -> Job:
    def make(folder: Path) -> None:
        _two_fits(folder)
        valuebias.write(_other(), folder / "scores.nc")
        valuebias.load(folder / "1.nc").save(folder / "kept.nc")

    def act(folder: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sizes = {name: str(QUICK[name]) for name in ("draws", "chains", "seed")}
            options = [f"--{name}={size}" for name, size in sizes.items()]
            code = app(["fit", str(folder / "scores.nc"), f"--out={folder / 'kept.nc'}",
                 f"--report={folder / 'report.md'}", *options], standalone_mode=False)  # fmt: skip
        if code:
            raise ValueBiasError("The command has said what is wrong.")

    return Job(
        "fit by the command, over an older fit", make, act,
        lambda folder: stamp(valuebias.load(folder / "kept.nc").tree),
    )  # fmt: skip


def _once_loaded(name: str) -> Callable[[Path], valuebias.Fit]:
    """Give what loads a fit once in a process: it takes longer than saving it."""
    kept: list[valuebias.Fit] = []

    def loaded(folder: Path) -> valuebias.Fit:
        if not kept:
            kept.append(valuebias.load(folder / name))
        return kept[0]

    return loaded


def _saving(suffix: str) -> Job:
    def make(folder: Path) -> None:
        _two_fits(folder)
        valuebias.load(folder / "1.nc").save(folder / f"kept{suffix}")

    second = _once_loaded("2.nc")
    return Job(
        f"Fit.save {suffix} over an older one",
        make,
        lambda folder: second(folder).save(folder / f"kept{suffix}"),
        lambda folder: stamp(valuebias.load(folder / f"kept{suffix}").tree),
        ready=second,
    )


def _reporting(name: str) -> Job:
    def make(folder: Path) -> None:
        _two_fits(folder)
        write_report(valuebias.load(folder / "1.nc"), f"{folder}/{name}")

    second = _once_loaded("2.nc")
    return Job(
        f"report {name} over an older one",
        make,
        lambda folder: write_report(second(folder), f"{folder}/{name}"),
        lambda folder: _files(folder / name.rstrip("/")),
        ready=second,
    )


def _files(path: Path) -> str:
    """Hash files but for the minute they name; what is hidden is no result."""
    found = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    if not found:
        raise FileNotFoundError(path)
    return stamp(*((p.name, _MINUTE.sub(b"", p.read_bytes())) for p in found))


# --- scoring, training, reproducing ---------------------------------------------------------------


def _score(folder: Path, *models: str, **more: Any) -> Any:
    asked = [Model(str(folder / m), name=m, family="A", base="b") for m in models]
    given: dict[str, Any] = {"prompts": PROMPTS, "lexicon": WORDS, "progress": False}
    return valuebias.score(asked, store=folder / "store.zarr", **(given | more))


def _models(folder: Path, kind: str = "reward") -> None:
    tiny_models.tiny("llama", kind, folder / "one")
    tiny_models.tiny("gemma2", kind, folder / "two", seed=1)


def _make_begun(folder: Path) -> None:
    _models(folder)
    _score(folder, "one")


def _read_vocabularies(folder: Path) -> str:
    return stamp(valuebias.read_vocabulary(folder / "store.zarr").load())


def _study(folder: Path) -> None:
    study = tiny_studies.study(
        folder, tuning="head", training=None, n_pairs=[8, 16],
        sources={"plain": tiny_studies.pairs(40)},
    )  # fmt: skip
    study.run(folder / "out", progress=False)


def _make_base(folder: Path) -> None:
    tiny_models.tiny("llama", "logprob", folder / "llama")


def _make_large_vocabulary(folder: Path) -> None:
    tiny_models.tiny("llama", "logprob", folder / "llama", tokens=1000)


def _read_injected(folder: Path) -> str:
    found = sorted((folder / "store").rglob("*.zarr"))
    return stamp(*(valuebias.read_vocabulary(path).load() for path in found))


JOBS: tuple[Job, ...] = (
    *(_writing(suffix) for suffix in (".zarr", ".nc", ".parquet", ".csv")),
    _fitting(),
    _saving(".nc"),
    _saving(".zarr"),
    _reporting("report.md"),
    _reporting("tables/"),
    Job("score two models into a new store", _models, lambda folder: _score(folder, "one", "two"),
        lambda folder: stamp(valuebias.read(folder / "store.zarr")), again=True),
    Job("add a model to a store", _make_begun, lambda folder: _score(folder, "one", "two"),
        lambda folder: stamp(valuebias.read(folder / "store.zarr")), again=True),
    Job("score vocabularies", lambda folder: _models(folder, "logprob"),
        lambda folder: _score(folder, "one", "two", kind="logprob", lexicon="vocabulary"),
        _read_vocabularies, again=True),
    Job("ablate", _make_base, _study,
        lambda folder: stamp(valuebias.read(folder / "out" / "scores.nc")), again=True),
    Job("inject words", _make_large_vocabulary, inject, _read_injected, again=True),
    Job("reproduce", released, reproduce, read_reproduction, again=True),
)  # fmt: skip


# --- the same by plain xarray and zarr -----------------------------------------------------------


def _plain_write(ds: xr.Dataset, path: Path) -> None:
    if path.suffix == ".zarr":
        ds.to_zarr(path, mode="w", zarr_format=2, consolidated=False)
    else:
        ds.to_netcdf(path, engine="h5netcdf")


def _plain_read(path: Path) -> str:
    engine = "zarr" if path.suffix == ".zarr" else "h5netcdf"
    options: dict[str, Any] = {"consolidated": False} if engine == "zarr" else {}
    with xr.open_dataset(path, engine=engine, **options) as ds:
        return stamp(ds.load())


def _plainly(suffix: str) -> Job:
    name = f"scores{suffix}"
    return Job(
        f"plain xarray: {'to_zarr' if suffix == '.zarr' else 'to_netcdf'} over an older one",
        lambda folder: _plain_write(scores(), folder / name),
        lambda folder: _plain_write(_other(), folder / name),
        lambda folder: _plain_read(folder / name),
    )


PLAIN: tuple[Job, ...] = (_plainly(".zarr"), _plainly(".nc"))
"""What a reader is to compare with."""
