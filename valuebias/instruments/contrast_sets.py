"""Contrast sets: answers to the same question that differ in one respect."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from valuebias._core.checks import check_known
from valuebias._core.foreign import parse_json, reading
from valuebias._core.frames import as_frame
from valuebias._core.notebooks import as_html
from valuebias._core.tables import parse_csv, read_text
from valuebias._core.text import as_number, has_surrogate
from valuebias.errors import ValueBiasError, few, shown

__all__ = ["CORRECT", "ContrastSet", "contrast_set"]

CORRECT = "correct"
"""The column that says which variants of an item are right answers."""

_KEYS = ("item", "variant")
_TEXTS = ("prompt", "response")
_LINE = (
    '{"item": "q1", "prompt": "What is 2 + 2?", "answers": {"right": "4", "wrong": "5"}, '
    '"correct": [true, false]}'
)
_TAKEN = frozenset({*_KEYS, "model", "score", "family", "base", "stage", "n_params", "token"})
_LINES = (".jsonl", ".ndjson")
_TABLES = (".csv", ".tsv")


@dataclass(frozen=True, slots=True, eq=False)
class ContrastSet:
    """Items, each a question with two or more answers, its variants.

    Attributes
    ----------
    name : str
        Name of the set.
    table : pandas.DataFrame
        One row per conversation, indexed by ``item`` and ``variant``: the texts ``prompt`` (what
        the user says) and ``response`` (the answer), then a column for each respect in which
        variants or items differ, such as ``length``, ``hedging`` or ``position``. The column
        ``correct`` is bool. Variants of an item may differ in the prompt, as where a user gives an
        opinion. Items need not have all variants.
    about : mapping
        How it was made, as JSON can hold it; may be empty.
    citation : str
        Where the items come from; may be empty.

    Examples
    --------
    >>> answers = {"plain": "Yes.", "long": "Yes, it is."}
    >>> contrast_set({"q1": {"prompt": "Is the sky blue?", "answers": answers}}, name="length")
    <ContrastSet 'length': 1 item × 2 variants ('plain' and 'long')>
    """

    name: str
    table: pd.DataFrame
    about: Mapping[str, Any] = field(default_factory=dict)
    citation: str = ""

    def __post_init__(self) -> None:
        """Check the table and keep a copy of it."""
        object.__setattr__(self, "table", _checked(self.table, self.name))

    def __len__(self) -> int:
        """Count the items."""
        return len(self.items)

    @property
    def items(self) -> tuple[str, ...]:
        """The items' names, in order."""
        return tuple(dict.fromkeys(self.table.index.get_level_values("item")))

    @property
    def variants(self) -> tuple[str, ...]:
        """The variants' names, in the order in which they first occur."""
        return tuple(dict.fromkeys(self.table.index.get_level_values("variant")))

    @property
    def coords(self) -> dict[str, tuple[str, ...]]:
        """The columns beside the texts, each with the dims along which it varies.

        ``("variant",)`` where all items have the same in a variant, ``("item",)`` where all
        variants of an item do, else ``("item", "variant")``. Two-dimensional as well is what would
        be known of some items or variants only.
        """
        return {column: _dims(self.table[column]) for column in self.table.columns[2:]}

    def select(
        self, *, items: Sequence[str] | None = None, variants: Sequence[str] | None = None
    ) -> ContrastSet:
        """Keep some items, some variants, or both.

        Parameters
        ----------
        items, variants : sequence of str, optional
            Their names; all if not given.

        Returns
        -------
        ContrastSet
            In the order of this set.

        Raises
        ------
        ValueBiasError
            If a name is unknown, or an item keeps fewer than two variants.

        Examples
        --------
        >>> answers = {"a": "Yes.", "b": "Yes!", "c": "Sure."}
        >>> three = contrast_set({"q1": {"prompt": "Blue?", "answers": answers}})
        >>> three.select(variants=["a", "c"]).variants
        ('a', 'c')
        """
        kept = self.table
        for key, wanted, known in (
            ("item", items, self.items),
            ("variant", variants, self.variants),
        ):
            if wanted is None:
                continue
            for name in wanted:
                check_known(name, known, f"The contrast set {self.name!r} has no {key} {name!r}.")
            kept = kept[kept.index.get_level_values(key).isin(list(wanted))]
        return ContrastSet(self.name, kept, self.about, self.citation)

    def to_frame(self) -> pd.DataFrame:
        """Return the conversations as a table.

        Returns
        -------
        pandas.DataFrame
            A copy, with ``item`` and ``variant`` as its first columns.
        """
        return self.table.reset_index()

    def __repr__(self) -> str:
        """Say how many items and variants there are."""
        items = f"{len(self):,} item{'s' if len(self) > 1 else ''}"
        names = few(self.variants)
        return f"<ContrastSet {self.name!r}: {items} × {len(self.variants)} variants ({names})>"

    def _repr_html_(self) -> str:
        """Show the first conversations in a notebook."""
        return as_html(repr(self).strip("<>"), self.to_frame(), self.citation, most=6)


def contrast_set(
    source: str | os.PathLike[str] | ContrastSet | pd.DataFrame | Mapping[str, Any] | Sequence[Any],
    *,
    name: str | None = None,
) -> ContrastSet:
    """Read a contrast set of your own.

    Parameters
    ----------
    source : str, path, ContrastSet, DataFrame, mapping or sequence of mappings
        A JSON-lines file (.jsonl), each line an item::

            {"item": "q1", "prompt": "What is 2 + 2?",
             "answers": {"right": "4", "wrong": "5"}, "correct": [true, false]}

        ``answers`` names the variants; or it is a list of texts, whose names ``labels`` gives.
        ``prompt`` may be a list with one text a variant. Every further key is a coordinate: a list
        has one entry a variant, anything else holds for the item. Without ``item`` they are
        numbered. The same as a sequence of mappings, or as a mapping from the items' names. A
        DataFrame or a .csv or .tsv file has one row a conversation, with the ``item``,
        ``variant``, ``prompt``, ``response`` and the coordinates.
    name : str, optional
        Name of the set.

    Returns
    -------
    ContrastSet
        The items in the order given.

    Raises
    ------
    ValueBiasError
        If the file cannot be read; texts are missing or empty; an item or variant occurs twice; an
        item has fewer than two variants, two that are equal, or a column ``correct`` without a
        right answer; or a list has not one entry a variant.

    Examples
    --------
    >>> lines = [{"prompt": "2 + 2?", "answers": ["4", "5"], "labels": ["right", "wrong"],
    ...           "correct": [True, False]}]
    >>> sums = contrast_set(lines, name="sums")
    >>> sums.table["correct"].tolist(), sums.items
    ([True, False], ('item 1',))
    """
    if isinstance(source, ContrastSet):
        if name is None:
            return source
        return ContrastSet(name, source.table, source.about, source.citation)
    source = as_frame(source)
    if isinstance(source, pd.DataFrame):
        return ContrastSet(name or "contrast set", _indexed(source))
    if isinstance(source, Mapping):
        rows = [_named(key, entry) for key, entry in source.items()]
        return ContrastSet(name or "contrast set", _of_items(rows))
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        return ContrastSet(name or path.stem, _of_file(path))
    if isinstance(source, Sequence):
        rows = [(f"entry {i} of the items", entry) for i, entry in enumerate(source)]
        return ContrastSet(name or "contrast set", _of_items(rows))
    raise ValueBiasError(
        f"A contrast set is of type {type(source).__name__}; expected a file, a table, or items "
        f"such as {_LINE}."
    )


def _named(key: Any, entry: Any) -> tuple[str, Any]:
    where = f"the item {shown(key)}"
    return where, {"item": key, **entry} if isinstance(entry, Mapping) else entry


def _of_file(path: Path) -> pd.DataFrame:
    suffix = path.suffix.lower()
    if suffix not in (*_LINES, *_TABLES):
        raise ValueBiasError(
            f"{os.fspath(path)!r} has the suffix {suffix!r}; expected .jsonl with lines such as "
            f"{_LINE}, or a table: {', '.join(_TABLES)}."
        )
    if not path.is_file():
        raise ValueBiasError(f"There is no file {os.fspath(path)!r}. Check the path.")
    if suffix in _LINES:
        return _of_items(list(_lines(path)))
    header, rows = parse_csv(read_text(path), os.fspath(path))
    cells = {column: [row[i] for row in rows] for i, column in enumerate(header) if column}
    texts = {*_KEYS, *_TEXTS, CORRECT}
    return _indexed(
        pd.DataFrame(
            {column: v if column in texts else _as_numbers(v) for column, v in cells.items()},
            dtype=object,
        )
    )


def _as_numbers(cells: Sequence[str]) -> list[Any]:
    """Read a column as numbers where all of it are; empty cells are missing then."""
    numbers = [as_number(cell) for cell in cells]
    if all(n is not None or not c for n, c in zip(numbers, cells, strict=True)):
        return numbers
    truths = [{"true": True, "false": False}.get(cell.lower()) for cell in cells]
    return list(cells) if None in truths else truths


def _lines(path: Path) -> Iterator[tuple[str, Any]]:
    with reading(path, advice="Write it again, as UTF-8."), path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                where = f"line {number} of {path.name!r}"
                yield where, parse_json(line, where.capitalize(), advice=f"Write it as {_LINE}.")


def _of_items(entries: Sequence[tuple[str, Any]]) -> pd.DataFrame:
    """Make a table out of items, each with its variants inside."""
    rows: list[dict[str, Any]] = []
    for number, (where, entry) in enumerate(entries, 1):
        if not isinstance(entry, Mapping):
            raise ValueBiasError(f"{_begin(where)} is {shown(entry)}; expected {_LINE}.")
        lacking = [key for key in ("prompt", "answers") if key not in entry]
        if lacking:
            raise ValueBiasError(
                f"{_begin(where)} has no {lacking[0]!r}; found {few(map(str, entry))}. Write it "
                f"as {_LINE}."
            )
        rows += _variants(where, entry, entry.get("item", f"item {number}"))
    return _indexed(pd.DataFrame(rows, dtype=object))


def _variants(where: str, entry: Mapping[str, Any], item: Any) -> list[dict[str, Any]]:
    answers = entry["answers"]
    if isinstance(answers, Mapping):
        labels, texts = list(answers), list(answers.values())
    elif isinstance(answers, Sequence) and not isinstance(answers, str):
        texts = list(answers)
        labels = entry.get("labels", [f"answer {i}" for i in range(1, len(texts) + 1)])
    else:
        raise ValueBiasError(f"{_begin(where)} has the answers {shown(answers)}; expected {_LINE}.")
    columns = {"variant": labels, "response": texts}
    columns |= {str(k): v for k, v in entry.items() if k not in ("item", "answers", "labels")}
    for key, value in columns.items():
        listed = isinstance(value, Sequence) and not isinstance(value, str)
        if listed and len(value) != len(texts):
            raise ValueBiasError(
                f"{_begin(where)} has {len(texts)} answers and {len(value)} entries of {key!r}; "
                "expected as many, or one value for the whole item."
            )
        columns[key] = list(value) if listed else [value] * len(texts)
    cells = zip(*columns.values(), strict=True)
    return [{"item": item, **dict(zip(columns, row, strict=True))} for row in cells]


def _begin(where: str) -> str:
    return where[0].upper() + where[1:]


def _indexed(table: pd.DataFrame) -> pd.DataFrame:
    if list(table.index.names) == list(_KEYS):
        return table
    for column in _KEYS:
        if column not in table.columns:
            raise ValueBiasError(
                f"The table of a contrast set has no column {column!r}; found "
                f"{few(map(str, table.columns))}. Give one row a conversation, with the columns "
                "item, variant, prompt and response."
            )
    return table.set_index(list(_KEYS))


def _checked(table: pd.DataFrame, name: str) -> pd.DataFrame:
    table = _indexed(table)
    if not len(table):
        raise ValueBiasError(f"The contrast set {name!r} has no items.")
    for column in _TEXTS:
        if column not in table.columns:
            raise ValueBiasError(
                f"The contrast set {name!r} has no column {column!r}; found "
                f"{few(map(str, table.columns))}. Give each conversation a prompt and a response."
            )
    _check_names(table, name)
    _check_texts(table)
    coords = [column for column in table.columns if column not in _TEXTS]
    for column in coords:
        if not isinstance(column, str) or column in _TAKEN:
            raise ValueBiasError(
                f"The contrast set {name!r} has a column called {shown(column)}, a name that is "
                "taken. Rename it."
            )
    table = table[[*_TEXTS, *coords]].copy()
    for column in coords:
        table[column] = _coordinate(table[column], column)
    _check_items(table)
    return table


def _check_names(table: pd.DataFrame, name: str) -> None:
    for item, variant in table.index:
        for key, given in (("item", item), ("variant", variant)):
            if not isinstance(given, str) or not given or "\0" in given or has_surrogate(given):
                raise ValueBiasError(
                    f"{'An' if key == 'item' else 'A'} {key} of the contrast set {name!r} is named "
                    f"{given!r}; expected text."
                )
    twice = table.index[table.index.duplicated()]
    if len(twice):
        item, variant = twice[0]
        raise ValueBiasError(
            f"The item {item!r} has the variant {variant!r} more than once. Rename one of them."
        )


def _check_texts(table: pd.DataFrame) -> None:
    for column in _TEXTS:
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
    conversations = table[list(_TEXTS)].assign(item=keys.to_numpy())
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


def _dims(column: pd.Series[Any]) -> tuple[str, ...]:
    for dim in ("variant", "item"):
        if column.groupby(level=dim, sort=False).nunique(dropna=False).max() == 1:
            return (dim,)
    return _KEYS
