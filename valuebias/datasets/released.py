"""Datasets by name: the paper's released ones, a demonstration study, and a simulated one.

Files by others are not bundled. They are looked up in the folder that the environment variable
VALUEBIAS_DATA names, then in the cache, then on the network, and their hash is checked every time.
"""

from __future__ import annotations

import json
import warnings
from contextlib import AbstractContextManager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import pandas as pd
import xarray as xr

from valuebias._core.checks import check_known
from valuebias._core.fetch import fetch, registry, released
from valuebias._core.provenance import record
from valuebias.datasets.christian2026 import read_training
from valuebias.errors import ValueBiasWarning
from valuebias.instruments.lexicons import lexicon
from valuebias.instruments.prompts import prompts
from valuebias.io import read
from valuebias.io.wide import read_scores
from valuebias.schema import build

__all__ = ["Info", "info", "load", "names"]


@dataclass(frozen=True, slots=True)
class Info:
    """The description of a dataset, before it is loaded.

    Examples
    --------
    >>> info("christian2026-big2").size
    1491438
    """

    name: str  # name for :func:`load`
    title: str  # its contents
    citation: str  # how to cite it
    licence: str  # its licence
    url: str  # address of its files; empty if it is bundled
    files: tuple[str, ...]  # its files, relative to the folder VALUEBIAS_DATA
    size: int | None  # their bytes in total; None if unknown before the download
    notes: tuple[str, ...]  # caveats


def names() -> tuple[str, ...]:
    """Give the names of the datasets.

    Returns
    -------
    tuple of str
        Names that :func:`info` and :func:`load` take.

    Examples
    --------
    >>> names()
    ('christian2026-big2', 'christian2026-mfd2', 'christian2026-training', 'demo', 'simulated')
    """
    return tuple(registry()["datasets"])


def info(name: str) -> Info:
    """Describe a dataset without loading it.

    Parameters
    ----------
    name : str
        One of :func:`names`.

    Returns
    -------
    Info
        Title, citation, licence, address, files, size and caveats.

    Raises
    ------
    ValueBiasError
        If there is no such dataset.

    Examples
    --------
    >>> info("simulated").title
    'SIMULATED scores of eight invented models: no real model was asked'
    """
    entry = _entry(name)
    sources = [released(local) for local in entry["files"]]
    sizes = [file.size for file in sources if file.size is not None]
    folders = sorted({file.url.rpartition("/")[0] for file in sources})
    return Info(
        name=name,
        title=entry["title"],
        citation=entry["citation"],
        licence=entry["licence"],
        url=folders[0] if folders else "",
        files=tuple(entry["files"]),
        size=sum(sizes) if len(sizes) == len(sources) else None,
        notes=tuple(entry["notes"]),
    )


@overload
def load(name: Literal["christian2026-training"]) -> pd.DataFrame: ...
@overload
def load(
    name: Literal["christian2026-big2", "christian2026-mfd2", "demo", "simulated"],
) -> xr.Dataset: ...
@overload
def load(name: str) -> xr.Dataset | pd.DataFrame: ...
def load(name: str) -> xr.Dataset | pd.DataFrame:
    """Load a dataset.

    Parameters
    ----------
    name : str
        One of :func:`names`. ``"christian2026-big2"``: rewards of ten reward models for 54 prompts
        and 265 words, 263 of them in the lexicon "big2-nouns". ``"christian2026-mfd2"``: the same
        models on the Moral Foundations Dictionary. ``"christian2026-training"``: median ranks of
        the models that the authors trained. ``"demo"``: rewards of 48 reward models that were
        trained for this package on two small bases, two synthetic sources of preferences, four
        numbers of pairs and three seeds. ``"simulated"``: simulated scores of invented models.

    Returns
    -------
    xarray.Dataset or pandas.DataFrame
        Scores as a dataset that follows the contract (:mod:`valuebias.schema`). For
        "christian2026-training" a table with the columns source, n_pairs (NaN where the sources
        contradict each other), base, family, category, checkpoint (step) and median_rank.

    Raises
    ------
    ValueBiasError
        If there is no such dataset, or a file is not available or not the released one.

    Warns
    -----
    ValueBiasWarning
        For "christian2026-training": a file that is a copy of another, and one that repeats its
        rows.

    Notes
    -----
    Source: Christian et al. (2026), figures 1, 4, A1 and A5.

    Examples
    --------
    >>> ds = load("simulated")
    >>> dict(ds.sizes)
    {'model': 8, 'prompt': 12, 'response': 182, 'category': 2}
    >>> dict(load("demo").sizes)
    {'model': 48, 'prompt': 54, 'response': 182, 'category': 2}
    """
    entry = _entry(name)
    if entry["kind"] == "simulated":
        return _simulated(name, entry)
    if entry["kind"] == "study":
        with _bundled(f"{name}.nc") as file:
            return _with_citation(read(file), name, entry)
    paths = [fetch(released(local)) for local in entry["files"]]
    if entry["kind"] == "training":
        table, faults = read_training(paths)
        for fault in faults:
            warnings.warn(fault, ValueBiasWarning, stacklevel=2)
        return table
    return _with_citation(read_scores(paths, lexicon=entry["lexicon"]), name, entry)


def _entry(name: str) -> dict[str, Any]:
    check_known(name, names(), f"There is no dataset {name!r}.")
    return dict(registry()["datasets"][name])


def _with_citation(ds: xr.Dataset, name: str, entry: dict[str, Any]) -> xr.Dataset:
    known = {**json.loads(ds.attrs["provenance"]), "dataset": _about(name, entry)}
    return ds.assign_attrs(provenance=json.dumps(known))


def _about(name: str, entry: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, **{key: entry[key] for key in ("title", "citation", "licence", "notes")}}


def _bundled(file: str) -> AbstractContextManager[Path]:
    return resources.as_file(resources.files("valuebias") / "data" / file)


def _simulated(name: str, entry: dict[str, Any]) -> xr.Dataset:
    """Combine the stored scores with the bundled prompts and lexicon."""
    words = lexicon()
    with _bundled(f"{name}.npz") as file, np.load(file, allow_pickle=False) as stored:
        score, parameters = stored["score"], json.loads(str(stored["parameters"]))
        models = pd.DataFrame({key: stored[key] for key in ("family", "base", "n_params")})
        models = models.assign(stage="reward").set_axis(stored["model"].tolist(), axis=0)
        table = prompts("superlatives").table.loc[stored["prompt"].tolist()]
    details = {
        "simulated": True,
        "parameters": parameters,
        "lexicon": words.about(),
        "dataset": _about(name, entry),
    }
    return build(
        score.astype(np.float32),
        models=models,
        prompts=table,
        lexicon=words,
        responses=words.words,
        provenance=record(details=details),
    )
