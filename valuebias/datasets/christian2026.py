"""Clean the authors' table of the reward models that they trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from valuebias._core.provenance import sha256
from valuebias._core.tables import parse_csv, read_text
from valuebias.errors import ValueBiasError

__all__ = ["read_training"]

_COLUMNS = ("model_id", "Category", "checkpoint", "base_model", "sum_value")


@dataclass(frozen=True, slots=True)
class _Run:
    """What a file name stands for: the source of the preferences, and the number of pairs."""

    source: str
    n_pairs: float


# Pairs as in the paper; the last checkpoint (16 pairs per step, 2 epochs) agrees within 2 %.
_RUNS: Mapping[str, _Run] = {
    "rank_results_uf_13.csv": _Run("unified-feedback", 13_000),
    "rank_results_uf_27.csv": _Run("unified-feedback", 27_000),
    "rank_results_uf_54.csv": _Run("unified-feedback", 53_000),
    "rank_results_uf_100.csv": _Run("unified-feedback", 106_000),
    "rank_results_sky_80k.csv": _Run("skywork", 77_000),
    # Two released models by other authors. The file says 85k pairs, the paper 550k and 632k.
    "rank_results_grm_80k.csv": _Run("grm", np.nan),
}
_BASES: Mapping[str, str] = {
    "Gemma": "google/gemma-2b-it",
    "Llama": "meta-llama/Llama-3.2-3B",
    "Qwen": "Qwen/Qwen2.5-3B-Instruct",
}
_BASES_OF_GRM: Mapping[str, str] = {
    "Gemma": "google/gemma-2-2b-it",
    "Llama": "meta-llama/Llama-3.2-3B-Instruct",
}


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
        last = max(same, key=lambda path: _run(path).n_pairs)
        kept.append(last)
        faults.extend(
            f"{copy.name} is byte-identical to {last.name}: it is left out. "
            "There is no released run with its number of pairs."
            for copy in same
            if copy is not last
        )
    return kept


def _run(path: Path) -> _Run:
    if path.name not in _RUNS:
        raise ValueBiasError(f"{path.name!r} is not one of the released files: {', '.join(_RUNS)}.")
    return _RUNS[path.name]


def _cleaned(path: Path, faults: list[str]) -> pd.DataFrame:
    run = _run(path)
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
    bases = _BASES_OF_GRM if run.source == "grm" else _BASES
    return pd.DataFrame(
        {
            "source": run.source,
            "n_pairs": run.n_pairs,
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
