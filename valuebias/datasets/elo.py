"""Read rewards beside human ratings of the same things: a table a prompt, a column a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from valuebias._core.provenance import record
from valuebias._core.tables import parse_csv, read_text
from valuebias.errors import ValueBiasError
from valuebias.io.wide import bundled_models
from valuebias.schema import build

__all__ = ["read_elo"]

_NAME = "name"
_HUMAN: Mapping[str, type] = {"elo_score": float, "elo_rank": int, "elo_matches": int}


def read_elo(paths: Sequence[Path], prompts: Mapping[str, str]) -> xr.Dataset:
    """Read one file for each prompt, whose text is the value of `prompts`, in the same order."""
    tables = [_table(path) for path in paths]
    first, known = tables[0], bundled_models()
    models = [column for column in first.columns if column not in (*_HUMAN, _NAME)]
    for path, table in zip(paths, tables, strict=True):
        if list(table.columns) != list(first.columns):
            raise ValueBiasError(
                f"{str(path)!r} has the columns {list(table.columns)}; expected those of "
                f"{paths[0].name!r}, {list(first.columns)}."
            )
        if not table[[_NAME, *_HUMAN]].equals(first[[_NAME, *_HUMAN]]):
            raise ValueBiasError(
                f"{str(path)!r} has other things or other human ratings than {paths[0].name!r}."
            )
    for model in models:
        if model not in known.index:
            raise ValueBiasError(
                f"{str(paths[0])!r} has the column {model!r}, which is none of the models "
                f"{list(known.index)}."
            )
    names = [str(name) for name in first[_NAME]]
    score = np.stack(
        [
            [_numbers(table[model], path, float) for path, table in zip(paths, tables, strict=True)]
            for model in models
        ]
    )
    human = {name: _numbers(first[name], paths[0], kind) for name, kind in _HUMAN.items()}
    return build(
        score.astype(np.float32),
        models=known.loc[models].dropna(axis="columns", how="all"),
        prompts=pd.DataFrame(
            {"text": list(prompts.values()), "framing": "positive"}, index=list(prompts)
        ),
        responses=names,
        words=pd.DataFrame(human, index=pd.Index(names, dtype=object)),
        provenance=record(files=paths),
    )


def _table(path: Path) -> pd.DataFrame:
    header, rows = parse_csv(read_text(path), str(path))
    for column in (_NAME, *_HUMAN):
        if column not in header:
            raise ValueBiasError(f"{str(path)!r} has no column {column!r}; found {header}.")
    # Cell by cell as text: "nan" and "1" are things.
    columns = dict(zip(header, zip(*rows, strict=True), strict=True))
    return pd.DataFrame({name: pd.Series(cells, dtype=object) for name, cells in columns.items()})


def _numbers(cells: pd.Series[Any], path: Path, kind: type) -> NDArray[Any]:
    try:
        return np.array([kind(cell) for cell in cells])
    except ValueError as error:
        raise ValueBiasError(
            f"The column {cells.name!r} of {str(path)!r} has a cell that is no number ({error})."
        ) from error
