"""Files of JSON lines: how they are read, and how a contrast set is written as one."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from valuebias._core.atomic import atomic_path
from valuebias._core.foreign import describe_error, parse_json, reading
from valuebias.errors import ValueBiasError

if TYPE_CHECKING:
    from valuebias.instruments.contrast_sets import ContrastSet

__all__ = ["HEAD", "LINES", "read_lines", "write_contrasts"]

LINES = (".jsonl", ".ndjson")
HEAD = "contrast_set"
"""The key of the first line that says what a contrast set is called and how it was made."""


def read_lines(path: Path, example: str) -> Iterator[tuple[str, Any]]:
    """Give what each line holds, with words for where it stands."""
    with reading(path, advice="Write it again, as UTF-8."), path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                where = f"line {number} of {path.name!r}"
                advice = f"Write it as {example}."
                yield where, parse_json(line, f"{where[0].upper()}{where[1:]}", advice=advice)


def write_contrasts(contrasts: ContrastSet, path: str | os.PathLike[str]) -> Path:
    """Write a contrast set, of which each line holds an item, below one that says how it was made.

    Examples
    --------
    >>> import tempfile, valuebias
    >>> sums = valuebias.contrast_set({"q": {"prompt": "2 + 2?", "answers": ["4", "5"]}})
    >>> path = write_contrasts(sums, Path(tempfile.mkdtemp()) / "sums.jsonl")
    >>> print(path.read_text().splitlines()[1])
    {"item": "q", "prompt": "2 + 2?", "answers": {"answer 1": "4", "answer 2": "5"}}
    """
    target = Path(path)
    if target.suffix.lower() not in LINES:
        raise ValueBiasError(
            f"A contrast set cannot be written to {os.fspath(path)!r}; expected a path that ends "
            f"in {' or '.join(LINES)}."
        )
    head = {HEAD: contrasts.name, "about": contrasts.about, "citation": contrasts.citation}
    try:
        json.dumps(head, default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueBiasError(
            f"What says how the contrast set {contrasts.name!r} was made cannot be written as JSON "
            f"({describe_error(error)}). Give it as texts, numbers, lists and mappings from texts."
        ) from error
    with atomic_path(target) as part, part.open("w", encoding="utf-8", newline="\n") as file:
        for entry in (head, *_items(contrasts)):
            file.write(json.dumps(entry, ensure_ascii=False, default=_plain) + "\n")
    return target


def _items(contrasts: ContrastSet) -> Iterator[dict[str, Any]]:
    columns = list(contrasts.table.columns)
    variants = contrasts.table.index.get_level_values("variant")
    cells = {column: contrasts.table[column].tolist() for column in columns}
    at = 0
    # Rows of an item stand together.
    sizes = contrasts.table.groupby(level="item", sort=False).size()
    for item, size in sizes.items():
        rows = slice(at, at + size)
        at += size
        answers = dict(zip(variants[rows], cells["response"][rows], strict=True))
        entry = {"item": item, "prompt": _one_or_all(cells["prompt"][rows]), "answers": answers}
        yield entry | {
            column: _one_or_all([_finite(value) for value in cells[column][rows]])
            for column in columns
            if column not in ("prompt", "response")
        }


def _one_or_all(values: list[Any]) -> Any:
    return values[0] if all(value == values[0] for value in values) else values


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _plain(value: Any) -> Any:
    """Give what JSON has no word for, of what says how a set was made, as it can hold it."""
    if hasattr(value, "tolist"):
        return value.tolist()
    return dict(value) if isinstance(value, Mapping) else str(value)
