"""Make and format tables whose text columns hold any text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

__all__ = ["as_records", "as_text", "from_rows"]

_P_VALUES = ("p", "Pr(>F)", "Pr(>Chisq)")


def from_rows(
    rows: Sequence[Mapping[str, Any]], *, columns: Sequence[str] | None = None
) -> pd.DataFrame:
    r"""Make a table out of rows.

    Examples
    --------
    >>> from_rows([{"word": "\ud800", "n": 1}])["n"].tolist()
    [1]
    """
    names = list(columns if columns is not None else rows[0] if rows else ())
    series = {}
    for name in names:
        values = [row[name] for row in rows]
        text = not values or isinstance(values[0], str)
        series[name] = pd.Series(values, dtype=object) if text else pd.Series(values)
    return pd.DataFrame(series, columns=pd.Index(names, dtype=object))


def as_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table as rows of plain numbers and text, its index included if it has a name.

    Examples
    --------
    >>> as_records(from_rows([{"word": "wit", "t": float("nan")}]))
    [{'word': 'wit', 't': None}]
    """
    columns: dict[str, list[Any]] = {}
    if frame.index.name is not None:
        columns[str(frame.index.name)] = frame.index.tolist()
    columns |= {str(name): frame[name].tolist() for name in frame.columns}
    return [
        {
            name: None if isinstance(value, float) and not np.isfinite(value) else value
            for name, value in zip(columns, row, strict=True)
        }
        for row in zip(*columns.values(), strict=True)
    ]


def as_text(frame: pd.DataFrame) -> str:
    """Write a table out, its index included if it has a name.

    Examples
    --------
    >>> print(as_text(from_rows([{"t": 2.5, "p": 0.0}])))
      t        p
    2.5 < 1e-300
    """
    if not len(frame):
        return "not estimated"
    p_values = {
        name: _p_value
        for name in frame.columns
        if name in _P_VALUES or str(name).startswith(("p.", "p-"))
    }
    return frame.to_string(
        index=frame.index.name is not None, float_format=_short, na_rep="",
        formatters=p_values,
    )  # fmt: skip


def _short(value: float) -> str:
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:.1f}"


def _p_value(value: float) -> str:
    if np.isnan(value):
        return ""
    return _short(value) if value > 0 else "< 1e-300"
