"""Datasets by name: the authors' released ones, a demonstration study, and a simulated one.

Files by others are not bundled. They are looked up in the folder that the environment variable
VALUEBIAS_DATA names and beside it, then in the cache, then on the network, and their hash is
checked every time.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
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
from valuebias._core.notebooks import as_html
from valuebias._core.provenance import record, sha256
from valuebias._core.tables import parse_csv, read_text
from valuebias.datasets.elo import read_elo
from valuebias.errors import ValueBiasError, ValueBiasWarning
from valuebias.instruments.lexicons import lexicon
from valuebias.instruments.prompts import prompts
from valuebias.io import read
from valuebias.io.wide import read_scores
from valuebias.schema import build

__all__ = ["Info", "info", "load", "names", "read_training"]

_COLUMNS = ("model_id", "Category", "checkpoint", "base_model", "sum_value")
_BASES: Mapping[str, str] = {
    "Gemma": "google/gemma-2b-it",
    "Llama": "meta-llama/Llama-3.2-3B",
    "Qwen": "Qwen/Qwen2.5-3B-Instruct",
}
_BASES_OF_GRM: Mapping[str, str] = {
    "Gemma": "google/gemma-2-2b-it",
    "Llama": "meta-llama/Llama-3.2-3B-Instruct",
}
# File to source of the preferences and number of pairs. Pairs as in the paper; the last checkpoint
# (16 pairs per step, 2 epochs) agrees within 2 %.
_RUNS: Mapping[str, tuple[str, float]] = {
    "rank_results_uf_13.csv": ("unified-feedback", 13_000),
    "rank_results_uf_27.csv": ("unified-feedback", 27_000),
    "rank_results_uf_54.csv": ("unified-feedback", 53_000),
    "rank_results_uf_100.csv": ("unified-feedback", 106_000),
    "rank_results_sky_80k.csv": ("skywork", 77_000),
    # Two released models by other authors. The file says 85k pairs, the paper 550k and 632k.
    "rank_results_grm_80k.csv": ("grm", np.nan),
}


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

    def _repr_html_(self) -> str:
        """Show everything in a notebook."""
        size = "" if self.size is None else f"{self.size / 1e6:.1f} MB"
        about = (self.citation, self.licence, " ".join(part for part in (self.url, size) if part))
        return as_html(f"{self.name}: {self.title}", *(text for text in about if text), *self.notes)


def names() -> tuple[str, ...]:
    """Give the names of the datasets.

    Returns
    -------
    tuple of str
        Names that :func:`info` and :func:`load` take.

    Examples
    --------
    >>> names()
    ('christian2025-elo', 'christian2026-big2', 'christian2026-mfd2', 'christian2026-training',
    'demo', 'simulated')
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
    name: Literal[
        "christian2025-elo", "christian2026-big2", "christian2026-mfd2", "demo", "simulated"
    ],
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
        the models that the authors trained. ``"christian2025-elo"``: rewards of the same ten
        models for 7,530 things and three prompts, with the ratings that humans gave them as coords
        on response: ``elo_score`` (a higher one is preferred), ``elo_rank`` (1 = the highest) and
        ``elo_matches`` (comparisons); see :func:`valuebias.rank_agreement`. ``"demo"``:
        rewards of 48 reward models that were trained for this package on two small bases, two
        synthetic sources of preferences, four numbers of pairs and three seeds. ``"simulated"``:
        simulated scores of invented models.

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
    Source: Christian et al. (2026), figures 1, 4, A1 and A5; "christian2025-elo" is of Christian et
    al. (2025), Reward Model Interpretability via Optimal and Pessimal Tokens.

    Files by others are looked for in the folder that the environment variable VALUEBIAS_DATA names,
    as :func:`info` lists them, and where they belong beside it, then in the cache, and are
    downloaded otherwise.

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
    if entry["kind"] == "elo":
        return _with_citation(read_elo(paths, entry["prompts"]), name, entry)
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


def read_training(paths: list[Path]) -> tuple[pd.DataFrame, list[str]]:
    """Read and clean ``rank_results_*.csv``."""
    faults: list[str] = []
    tables = [_cleaned(path, faults) for path in _without_copies(paths, faults)]
    table = pd.concat(tables, ignore_index=True)
    order = ["source", "n_pairs", "family", "base", "category", "checkpoint"]
    table = table.sort_values(order, ignore_index=True)
    columns = ["source", "n_pairs", "base", "family", "category", "checkpoint", "median_rank"]
    return table[columns], faults


def _without_copies(paths: list[Path], faults: list[str]) -> list[Path]:
    """Keep one of the files with the same bytes: the one with the most pairs."""
    by_hash: dict[str, list[Path]] = {}
    for path in paths:
        by_hash.setdefault(sha256(path), []).append(path)
    kept = []
    for same in by_hash.values():
        # The checkpoints go up to step 3314, so 'uf_13' is a copy of 'uf_27', not the reverse.
        last = max(same, key=lambda path: _run(path)[1])
        kept.append(last)
        faults.extend(
            f"{copy.name} is byte-identical to {last.name}: it is left out. "
            "There is no released run with its number of pairs."
            for copy in same
            if copy is not last
        )
    return kept


def _run(path: Path) -> tuple[str, float]:
    if path.name not in _RUNS:
        raise ValueBiasError(f"{path.name!r} is not one of the released files: {', '.join(_RUNS)}.")
    return _RUNS[path.name]


def _cleaned(path: Path, faults: list[str]) -> pd.DataFrame:
    source, n_pairs = _run(path)
    header, rows = parse_csv(read_text(path), str(path))
    for column in _COLUMNS:
        if column not in header:
            raise ValueBiasError(f"{str(path)!r} has no column {column!r}; found {header}.")
    raw = pd.DataFrame({column: [row[header.index(column)] for row in rows] for column in _COLUMNS})
    distinct = raw.drop_duplicates(ignore_index=True)
    if len(distinct) < len(raw):
        faults.append(
            f"{path.name} repeats its rows: of {len(raw)}, {len(distinct)} differ and are kept."
        )
    pairs = zip(distinct["base_model"], distinct["model_id"], strict=True)
    family = [_family(base_model, model) for base_model, model in pairs]
    bases = _BASES_OF_GRM if source == "grm" else _BASES
    return pd.DataFrame(
        {
            "source": source,
            "n_pairs": n_pairs,
            "base": [bases[name] for name in family],
            "family": family,
            "category": distinct["Category"].str.lower(),
            "checkpoint": distinct["checkpoint"].astype(np.int64),
            "median_rank": distinct["sum_value"].astype(np.float64),
        }
    )


def _family(base_model: str, model: str) -> str:
    if base_model in _BASES:
        return base_model
    if base_model == "NA" and model.lower().startswith("qwen"):
        return "Qwen"
    raise ValueBiasError(
        f"The model {model!r} has base_model {base_model!r}; expected one of {list(_BASES)}."
    )
