"""Names of estimands as programs read them: with an ordinary hyphen, which people can type."""

from __future__ import annotations

import pandas as pd

from valuebias.analysis.estimands.estimand import BASE, LEAN, MODEL

__all__ = ["ascii_name", "plain_name", "plain_names"]

_NAMED = ("estimand", "name", "category", "parameter", "quantity")
"""Columns that name an estimand; ``first``, ``over`` and the like are the data's own names."""


def plain_name(name: str) -> str:
    """Put an ordinary hyphen between what is compared.

    Examples
    --------
    >>> plain_name("Gemma − Llama")
    'Gemma - Llama'
    """
    return name.replace(" − ", " - ")


def ascii_name(name: str) -> str:
    """Write a name in ASCII; other letters as R does where it has no UTF-8.

    Examples
    --------
    >>> ascii_name("family lean | Zoë − Llama")
    'family lean | Zo<U+00EB> - Llama'
    """
    return "".join(
        letter if letter.isascii() else f"<U+{ord(letter):04X}>" for letter in plain_name(name)
    )


def plain_names(table: pd.DataFrame) -> pd.DataFrame:
    """Put ordinary hyphens into the names of estimands in a table that a program is to read.

    What is a model's or base's own name (a pair of models is called "a − b") stays as the data
    have it, so that tables can be joined.

    Examples
    --------
    >>> plain_names(pd.DataFrame({"name": ["A − B"], "mean": [0.1]}))["name"].tolist()
    ['A - B']
    """
    if "unit" in table:
        # What is left out in turn, or whose labels are shuffled: names of the data.
        columns = [name for name in _NAMED if name in table and name != "name"]
    else:
        columns = [name for name in _NAMED if name in table]
    new = {name: [_plain(cell) for cell in table[name]] for name in columns}
    if "name" in new and {"form", "variable"} <= {*table.columns}:
        of_one = (table["form"] == LEAN) & table["variable"].isin((MODEL, BASE))
        kept = zip(table["name"], new["name"], of_one, strict=True)
        new["name"] = [before if single else after for before, after, single in kept]
    # Objects, because pandas' own text refuses a lone surrogate in a model's name.
    return table.assign(
        **{name: pd.Series(cells, table.index, dtype=object) for name, cells in new.items()}
    )


def _plain(cell: object) -> object:
    return plain_name(cell) if isinstance(cell, str) else cell
