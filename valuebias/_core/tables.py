"""Read a user's file from CSV or YAML, with text kept as text."""

from __future__ import annotations

import codecs
import csv
import io
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from valuebias._core.foreign import check_file, describe_error
from valuebias._core.opening.packed import unpacked
from valuebias._core.opening.yaml_text import check_length, parse_yaml
from valuebias.errors import ValueBiasError, shown

__all__ = [
    "DELIMITERS",
    "as_series",
    "parse_csv",
    "read_table",
    "read_text",
    "read_yaml",
    "text_frame",
]

DELIMITERS = ",;\t"


def read_text(path: str | os.PathLike[str]) -> str:
    """Read a text file, whole: UTF-8, or UTF-16 where a byte-order mark says so; also packed."""
    name = os.fspath(path)
    check_file(path)
    try:
        raw = unpacked(Path(path))
    except ValueBiasError:
        raise
    except (OSError, ValueError) as error:
        raise ValueBiasError(
            f"{name!r} cannot be read ({describe_error(error)}). Check the path."
        ) from error
    if not raw.strip():
        raise ValueBiasError(f"{name!r} is empty.")
    # Spreadsheets save "Unicode text" so.
    encoding = "utf-16" if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8"
    try:
        return raw.decode(encoding, errors="surrogatepass").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise ValueBiasError(
            f"{name!r} is not {encoding.upper()} text (byte {error.start}). Save it as UTF-8."
        ) from error


def parse_csv(
    text: str, name: str, *, delimiter: str | None = None
) -> tuple[list[str], list[list[str]]]:
    """Split CSV text into its header and rows, every cell as text.

    Without a delimiter it is the one of comma, semicolon and tab that the first line has most of.

    Examples
    --------
    >>> parse_csv(chr(10).join(["word,n", "love,1"]), "words.csv")
    (['word', 'n'], [['love', '1']])
    """
    if "\0" in text:
        raise ValueBiasError(f"{name!r} holds NUL characters: it is damaged, or no text file.")
    if delimiter is None:
        delimiter = max(DELIMITERS, key=text.lstrip().partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    lines: list[tuple[int, list[str]]] = []
    try:
        lines.extend((reader.line_num, row) for row in reader if any(cell.strip() for cell in row))
    except csv.Error as error:
        raise ValueBiasError(
            f"{name!r} is damaged or truncated near line {reader.line_num} ({error})."
        ) from error
    if len(lines) < 2:
        raise ValueBiasError(f"{name!r} has no rows below its header.")
    header = [cell.strip() for cell in lines[0][1]]
    seen: set[str] = set()
    for column in header:
        if column in seen:
            raise ValueBiasError(f"{name!r} has two columns called {shown(column)}. Rename one.")
        seen.add(column)
    for line, row in lines[1:]:
        if len(row) != len(header):
            raise ValueBiasError(
                f"Line {line} of {name!r} has {len(row)} cells, the header {len(header)}. "
                "The file may be truncated."
            )
    return header, [row for _, row in lines[1:]]


def read_yaml(path: str | os.PathLike[str]) -> Any:
    """Read a YAML file."""
    name = os.fspath(path)
    # A file that is not there is explained by what reads it.
    with suppress(OSError, ValueError):
        check_length(Path(path).stat().st_size, name)
    return parse_yaml(read_text(path), name)


def read_table(path: str | os.PathLike[str], *, key: str) -> pd.DataFrame:
    """Read a table whose rows have names, from CSV or YAML."""
    name, suffix = os.fspath(path), Path(path).suffix.lower()
    if suffix in (".csv", ".tsv"):
        header, rows = parse_csv(read_text(path), name)
        if key not in header:
            raise ValueBiasError(f"{name!r} has no column {key!r}; found {header}.")
        key_column = header.index(key)
        kept = [i for i, column in enumerate(header) if i != key_column and column]
        return text_frame(rows, [row[key_column] for row in rows], header, kept, key)
    if suffix in (".yaml", ".yml"):
        return _from_yaml(read_yaml(path), name, key)
    raise ValueBiasError(f"{name!r} has the suffix {suffix!r}; expected .csv, .tsv, .yaml or .yml.")


def text_frame(
    rows: Sequence[Sequence[str]],
    names: list[str],
    header: Sequence[str],
    kept: Sequence[int],
    key: str,
) -> pd.DataFrame:
    """Make a table of text from some columns of rows that have names."""
    # At once: of thousands of columns, each would take longer to make than to read.
    cells = np.empty((len(rows), len(kept)), dtype=object)
    for i, row in enumerate(rows):
        cells[i] = [row[j] for j in kept]
    index, columns = pd.Index(names, dtype=object, name=key), [header[j] for j in kept]
    try:
        return pd.DataFrame(cells, index=index, columns=columns)
    except UnicodeEncodeError:
        # pandas' own text holds no half of a surrogate pair.
        of_objects = pd.Index(columns, dtype=object)
        return pd.DataFrame(cells, index=index, columns=of_objects, dtype=object)


def _from_yaml(content: Any, name: str, key: str) -> pd.DataFrame:
    if isinstance(content, list) and all(isinstance(e, Mapping) and key in e for e in content):
        rows = {e[key]: {k: v for k, v in e.items() if k != key} for e in content}
        if len(rows) < len(content):
            raise ValueBiasError(f"{name!r} describes the same {key} twice.")
    elif isinstance(content, Mapping) and all(isinstance(e, Mapping) for e in content.values()):
        rows = dict(content)
    else:
        raise ValueBiasError(
            f"{name!r} must hold a list of entries that each have {key!r}, or a mapping of names "
            "to entries."
        )
    for row, entries in rows.items():
        if not isinstance(row, str):
            raise ValueBiasError(f"{name!r} has the {key} {row!r}, which is no text: quote it.")
        if not all(isinstance(column, str) for column in entries):
            raise ValueBiasError(
                f"{name!r} has an entry of {row!r} whose name is no text: quote it."
            )
    columns = dict.fromkeys(column for entries in rows.values() for column in entries)
    return pd.DataFrame(
        {c: as_series([entries.get(c) for entries in rows.values()]) for c in columns},
    ).set_axis(pd.Index(list(rows), dtype=object, name=key), axis=0)


def as_series(values: Sequence[Any]) -> pd.Series[Any]:
    """Make a column of Python values: text as objects, all else as pandas sees fit."""
    texts = any(isinstance(value, str) for value in values)
    return pd.Series(list(values), dtype=object) if texts else pd.Series(list(values))
