"""Make tables whose text columns hold any text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

__all__ = ["from_rows"]


def from_rows(
    rows: Sequence[Mapping[str, Any]], *, columns: Sequence[str] | None = None
) -> pd.DataFrame:
    r"""Make a table out of rows.

    Parameters
    ----------
    rows : sequence of mapping
        Each with the same keys.
    columns : sequence of str, optional
        The keys, in order; needed where there may be no row.

    Returns
    -------
    pandas.DataFrame
        Text stays as Python objects: pandas' own text type refuses a lone surrogate, which the
        decoded tokens of a language model may contain.

    Examples
    --------
    >>> from_rows([{"word": "\ud800", "n": 1}])["n"].tolist()
    [1]
    """
    names = list(columns if columns is not None else rows[0] if rows else ())
    made = {}
    for name in names:
        values = [row[name] for row in rows]
        text = not values or isinstance(values[0], str)
        made[name] = pd.Series(values, dtype=object) if text else pd.Series(values)
    return pd.DataFrame(made, columns=pd.Index(names, dtype=object))
