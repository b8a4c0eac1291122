"""What is checked of a contrast set, and the form in which its table is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from valuebias._core.text import has_surrogate
from valuebias.errors import ValueBiasError, few, shown

__all__ = ["CORRECT", "KEYS", "TEXTS", "checked", "indexed"]

CORRECT = "correct"
"""The column that says which variants of an item are right answers."""
KEYS = ("item", "variant")
TEXTS = ("prompt", "response")
_TAKEN = frozenset(
    {*KEYS, "model", "score", "family", "base", "stage", "n_params", "token", "answers", "labels"}
)


def indexed(table: pd.DataFrame) -> pd.DataFrame:
    """Name the rows of a table by item and variant, where columns do."""
    if list(table.index.names) == list(KEYS):
        return table
    for column in KEYS:
        if column not in table.columns:
            raise ValueBiasError(
                f"The table of a contrast set has no column {column!r}; found "
                f"{few(map(str, table.columns))}. Give one row a conversation, with the columns "
                "item, variant, prompt and response."
            )
    return table.set_index(list(KEYS))


def checked(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Check a table, and give a copy whose columns have a type and whose items stand together."""
    table = indexed(table)
    if not len(table):
        raise ValueBiasError(f"The contrast set {name!r} has no items.")
    for column in TEXTS:
        if column not in table.columns:
            raise ValueBiasError(
                f"The contrast set {name!r} has no column {column!r}; found "
                f"{few(map(str, table.columns))}. Give each conversation a prompt and a response."
            )
    _check_names(table, name)
    _check_texts(table)
    coords = [column for column in table.columns if column not in TEXTS]
    for column in coords:
        if not isinstance(column, str) or column in _TAKEN:
            raise ValueBiasError(
                f"The contrast set {name!r} has a column called {shown(column)}, a name that is "
                "taken. Rename it."
            )
    table = table[[*TEXTS, *coords]].copy()
    for column in coords:
        table[column] = _coordinate(table[column], column)
    _check_items(table)
    return _alike(table)


def _alike(table: pd.DataFrame) -> pd.DataFrame:
    """Make equal sets equal tables: texts are objects, and rows of an item stand together."""
    order = np.argsort(pd.factorize(table.index.get_level_values("item"))[0], kind="stable")
    table = table.iloc[order].astype(dict.fromkeys(TEXTS, object))
    names = (pd.Index(table.index.get_level_values(key), dtype=object) for key in KEYS)
    index = pd.MultiIndex.from_arrays(list(names), names=KEYS)
    return table.set_axis(index, axis=0).set_axis(pd.Index(table.columns, dtype=object), axis=1)


def _check_names(table: pd.DataFrame, name: str) -> None:
    for item, variant in table.index:
        for key, given in (("item", item), ("variant", variant)):
            if not isinstance(given, str) or not given or "\0" in given or has_surrogate(given):
                raise ValueBiasError(
                    f"{'An' if key == 'item' else 'A'} {key} of the contrast set {name!r} is named "
                    f"{given!r}; expected text, such as 'q1'. Write numbers as texts, str(...)."
                )
    twice = table.index[table.index.duplicated()]
    if len(twice):
        item, variant = twice[0]
        raise ValueBiasError(
            f"The item {item!r} has the variant {variant!r} more than once. Rename one of them."
        )


def _check_texts(table: pd.DataFrame) -> None:
    for column in TEXTS:
        for (item, variant), text in zip(table.index, table[column], strict=True):
            if not isinstance(text, str) or not text.strip():
                raise ValueBiasError(
                    f"The variant {variant!r} of the item {item!r} has the {column} {text!r}; "
                    "expected text."
                )
            if has_surrogate(text) or "\0" in text:
                raise ValueBiasError(
                    f"The {column} of the variant {variant!r} of the item {item!r} has a character "
                    "that no text has, such as half of a surrogate pair. Leave it out."
                )


def _coordinate(column: pd.Series[Any], name: str) -> pd.Series[Any]:
    """Give a column one type: bool, float or text."""
    values = column.tolist()
    if name == CORRECT:
        return pd.Series(_truth(column), index=column.index)
    if all(isinstance(value, bool | np.bool_) for value in values):
        return column.astype(bool)
    absent = [v is None or v is pd.NA or (isinstance(v, float) and np.isnan(v)) for v in values]
    number = (int, float, np.number)
    if all(a or isinstance(v, number) for a, v in zip(absent, values, strict=True)):
        found = [np.nan if a else float(v) for a, v in zip(absent, values, strict=True)]
        return pd.Series(found, index=column.index)
    texts = ["" if a else v for a, v in zip(absent, values, strict=True)]
    for (item, variant), text in zip(column.index, texts, strict=True):
        if not isinstance(text, str) or has_surrogate(text) or "\0" in text:
            raise ValueBiasError(
                f"The column {name!r} holds {shown(text)} at the variant {variant!r} of the item "
                f"{item!r}; expected texts, numbers, or true and false, of one kind."
            )
    return pd.Series(texts, index=column.index, dtype=object)


_TRUE, _FALSE = ("true", "1", "yes"), ("false", "0", "no")


def _truth(column: pd.Series[Any]) -> list[bool]:
    found = []
    for (item, variant), value in zip(column.index, column, strict=True):
        text = str(value).strip().lower()
        text = {"1.0": "1", "0.0": "0"}.get(text, text)
        if text not in (*_TRUE, *_FALSE):
            raise ValueBiasError(
                f"The variant {variant!r} of the item {item!r} has {CORRECT} {shown(value)}; "
                "expected true or false."
            )
        found.append(text in _TRUE)
    return found


def _check_items(table: pd.DataFrame) -> None:
    keys = table.index.get_level_values("item")
    counts = keys.value_counts(sort=False)
    if counts.min() < 2:
        item = counts.idxmin()
        raise ValueBiasError(
            f"The item {item!r} has one variant only, which is in contrast to nothing. Give it "
            "another, or leave it out."
        )
    conversations = table[list(TEXTS)].assign(item=keys.to_numpy())
    repeated = conversations.duplicated(keep=False).to_numpy()
    if repeated.any():
        item, first = table.index[repeated][0]
        other = next(v for i, v in table.index[repeated][1:] if i == item)
        raise ValueBiasError(
            f"The variants {first!r} and {other!r} of the item {item!r} are the same prompt and "
            "the same response, so that any difference is none of the model's. Leave one out."
        )
    if CORRECT in table.columns:
        right = table[CORRECT].groupby(keys, sort=False).any()
        if not right.all():
            raise ValueBiasError(
                f"The item {right.idxmin()!r} has no right answer: {CORRECT} is false for all its "
                "variants. Add one, or leave the item out."
            )
