"""Contrast sets: answers to the same question that differ in one respect."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from valuebias._core.checks import check_known
from valuebias._core.frames import as_frame
from valuebias._core.notebooks import as_html
from valuebias._core.tables import parse_csv, read_text
from valuebias._core.text import as_number, has_surrogate
from valuebias.errors import ValueBiasError, few, shown
from valuebias.instruments.contrast_checks import CORRECT, KEYS, TEXTS, checked, indexed
from valuebias.instruments.json_lines import HEAD, LINES, read_lines, write_contrasts

__all__ = ["CORRECT", "ContrastSet", "contrast_set", "item_of", "one_set", "several_sets"]

_LINE = (
    '{"item": "q1", "prompt": "What is 2 + 2?", "answers": {"right": "4", "wrong": "5"}, '
    '"correct": [true, false]}'
)
_TABLES = (".csv", ".tsv")


@dataclass(frozen=True, slots=True, eq=False)
class ContrastSet:
    """Items, each a question with two or more answers, its variants.

    Attributes
    ----------
    name : str
        Name of the set.
    table : pandas.DataFrame
        One row per conversation, those of an item together, indexed by ``item`` and ``variant``:
        the texts ``prompt`` (what the user says) and ``response`` (the answer), then a column for
        each respect in which variants or items differ, such as ``length``, ``hedging`` or
        ``position``. The column ``correct`` is bool. Variants of an item may differ in the prompt,
        as where a user gives an opinion. Items need not have all variants.
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
        object.__setattr__(self, "table", checked(self.table, self.name))

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

    def to_jsonl(self, path: str | os.PathLike[str]) -> Path:
        """Write the set to a file that :func:`valuebias.contrast_set` reads as the same set.

        Parameters
        ----------
        path : str or path
            A file that ends in .jsonl. Its first line has the name, the citation and how the set
            was made; each further one an item.

        Returns
        -------
        pathlib.Path
            The file, which is written whole or not at all.

        Raises
        ------
        ValueBiasError
            If the path has another suffix or cannot be written.

        Examples
        --------
        >>> import tempfile
        >>> answers = {"plain": "Yes.", "long": "Yes, it is."}
        >>> sky = contrast_set({"q1": {"prompt": "Blue?", "answers": answers}}, name="sky")
        >>> contrast_set(sky.to_jsonl(Path(tempfile.mkdtemp()) / "sky.jsonl"))
        <ContrastSet 'sky': 1 item × 2 variants ('plain' and 'long')>
        """
        return write_contrasts(self, path)

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
        return ContrastSet(name or "contrast set", indexed(source))
    if isinstance(source, Mapping):
        rows = [_named(key, entry) for key, entry in source.items()]
        return ContrastSet(name or "contrast set", _of_items(rows))
    if isinstance(source, str | os.PathLike):
        table, head = _of_file(Path(source))
        called = name or head.get(HEAD) or Path(source).stem
        return ContrastSet(called, table, head.get("about", {}), head.get("citation", ""))
    if isinstance(source, Sequence):
        rows = [(f"entry {i} of the items", entry) for i, entry in enumerate(source)]
        return ContrastSet(name or "contrast set", _of_items(rows))
    raise ValueBiasError(
        f"A contrast set is of type {type(source).__name__}; expected a file, a table, or items "
        f"such as {_LINE}."
    )


def several_sets(source: Any) -> dict[str, ContrastSet]:
    """Read a mapping from names to contrast sets or their files; empty if it is something else."""
    files = (str, os.PathLike)
    if not isinstance(source, Mapping) or not source:
        return {}
    given = {name: as_frame(one) for name, one in source.items()}
    kinds = [isinstance(one, ContrastSet | pd.DataFrame | os.PathLike) for one in given.values()]
    if not any(kinds) and not all(isinstance(one, str) for one in given.values()):
        return {}
    for name, one in given.items():
        if not isinstance(name, str) or not name.strip() or "\0" in name or has_surrogate(name):
            raise ValueBiasError(
                f"A contrast set is named {shown(name)}; expected text, such as 'length'."
            )
        if not isinstance(one, (ContrastSet, pd.DataFrame, *files)):
            raise ValueBiasError(
                f"The contrast set {name!r} is {shown(one)}; expected a ContrastSet, a file or a "
                "table, as the others are."
            )
    return {name: contrast_set(one) for name, one in given.items()}


def one_set(sets: Mapping[str, ContrastSet]) -> ContrastSet:
    """Put the conversations of several sets into one, whose items say which set they are of."""
    texts = [each.table[list(TEXTS)].reset_index() for each in sets.values()]
    owner: dict[str, str] = {}
    for name, each in sets.items():
        for item in each.items:
            joined = item_of(name, item)
            if joined in owner:
                raise ValueBiasError(
                    f"Items of the contrast sets {owner[joined]!r} and {name!r} would both be "
                    f"called {joined!r}, as names of sets and items are joined by a colon. Rename "
                    "one of the sets."
                )
            owner[joined] = name
    for name, table in zip(sets, texts, strict=True):
        table["item"] = [item_of(name, item) for item in table["item"]]
    about = {name: dict(each.about) for name, each in sets.items()}
    return ContrastSet(", ".join(sets), indexed(pd.concat(texts)), about)


def item_of(name: str, item: str) -> str:
    """Name an item among those of several sets."""
    return f"{name}: {item}"


def _named(key: Any, entry: Any) -> tuple[str, Any]:
    where = f"the item {shown(key)}"
    return where, {"item": key, **entry} if isinstance(entry, Mapping) else entry


def _of_file(path: Path) -> tuple[pd.DataFrame, Mapping[str, Any]]:
    """Read a table, and what the first line of a file of ours says of the set."""
    suffix = path.suffix.lower()
    if suffix not in (*LINES, *_TABLES):
        raise ValueBiasError(
            f"{os.fspath(path)!r} has the suffix {suffix!r}; expected .jsonl with lines such as "
            f"{_LINE}, or a table: {', '.join(_TABLES)}."
        )
    if not path.is_file():
        raise ValueBiasError(f"There is no file {os.fspath(path)!r}. Check the path.")
    if suffix in LINES:
        entries = list(read_lines(path, _LINE))
        head = _head(*entries[0]) if entries else {}
        return _of_items(entries[1:] if head else entries), head
    header, rows = parse_csv(read_text(path), os.fspath(path))
    cells = {column: [row[i] for row in rows] for i, column in enumerate(header) if column}
    texts = {*KEYS, *TEXTS, CORRECT}
    columns = {column: v if column in texts else _as_numbers(v) for column, v in cells.items()}
    return indexed(pd.DataFrame(columns, dtype=object)), {}


def _head(where: str, entry: Any) -> Mapping[str, Any]:
    if not isinstance(entry, Mapping) or HEAD not in entry or "answers" in entry:
        return {}
    for key, kind, noun in (
        (HEAD, str, "text"),
        ("about", Mapping, "{…}"),
        ("citation", str, "text"),
    ):
        if key in entry and not isinstance(entry[key], kind):
            raise ValueBiasError(
                f"{_begin(where)}, which says how the set was made, has the {key} "
                f"{shown(entry[key])}; expected {noun}. Correct it, or leave the line out."
            )
    return entry


def _as_numbers(cells: Sequence[str]) -> list[Any]:
    """Read a column as numbers where all of it are; empty cells are missing then.

    A number does not begin with further zeros: "007" is a code.
    """
    if any(len(c) > 1 and c[0] == "0" and c[1].isdecimal() for c in map(str.strip, cells)):
        return list(cells)
    numbers = [as_number(cell) for cell in cells]
    if all(n is not None or not c for n, c in zip(numbers, cells, strict=True)):
        return numbers
    truths = [{"true": True, "false": False}.get(cell.lower()) for cell in cells]
    return list(cells) if None in truths else truths


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
    if not entries:
        raise ValueBiasError(f"The contrast set has no items. Give some, such as {_LINE}.")
    return indexed(pd.DataFrame(rows, dtype=object))


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


def _dims(column: pd.Series[Any]) -> tuple[str, ...]:
    for dim in ("variant", "item"):
        if column.groupby(level=dim, sort=False).nunique(dropna=False).max() == 1:
            return (dim,)
    return KEYS
