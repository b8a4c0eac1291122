"""Tables in the files that people keep them in, each as a header and rows of text."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from valuebias._core.foreign import check_file, reading
from valuebias._core.opening.limits import MOST, MOST_TEXT, check_size
from valuebias._core.opening.packed import PACKED
from valuebias._core.tables import DELIMITERS, parse_csv, read_text, text_frame
from valuebias._core.text import has_surrogate
from valuebias.errors import ValueBiasError, shown
from valuebias.io.feather import read_feather
from valuebias.io.workbooks import read_workbook

__all__ = [
    "SUFFIXES",
    "Sheet",
    "cells_of",
    "check_has_sheets",
    "check_parquet",
    "parse_sheet",
    "read_arrow",
    "read_frame",
    "read_sheet",
    "stem_of",
    "suffix_of",
]

_TEXT = (".csv", ".tsv")
_NUMBER, _OBJECT = 8, 64
"""Bytes that a cell takes, and that one as text takes."""
_AGAIN = "Copy it again, or write it again."
_INDEX = re.compile(r"__index_level_\d+__")
"""What pandas calls an index without a name in Parquet and Feather."""
_HINT = re.compile(r"sep=(.)")
"""The first line by which spreadsheets are told the separator."""
_OTHERS = MappingProxyType(
    {
        ".xls": "Save it as .xlsx or .csv.",
        ".xlsb": "Save it as .xlsx or .csv.",
        ".ods": "Save it as .xlsx or .csv.",
        ".numbers": "Export it as .xlsx or .csv.",
        ".rds": "Write it anew as .csv or .parquet, in R.",
        ".zip": "Unpack it, and give the files in it.",
    }
)
"""Files of tables that are not read, and what to do with them."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """A table: the names of its columns, and its rows; every cell is text, "" where empty."""

    name: str
    header: list[str]
    rows: list[list[str]]


def suffix_of(path: Path) -> str:
    """Give the end of a file's name that tells its format, in small letters.

    Examples
    --------
    >>> suffix_of(Path("Qwen2.5-3B.CSV.gz")), suffix_of(Path("Qwen2.5-3B.parquet"))
    ('.csv.gz', '.parquet')
    """
    last = path.suffix.lower()
    before = Path(path.stem).suffix.lower()
    return before + last if last in PACKED and before in _TEXT else last


def stem_of(path: Path) -> str:
    """Give a file's name without what tells its format.

    Examples
    --------
    >>> stem_of(Path("Qwen2.5-3B.csv.gz"))
    'Qwen2.5-3B'
    """
    return path.name[: len(path.name) - len(suffix_of(path))]


def read_sheet(path: Path, sheet: str | None = None, *, choice: bool = True) -> Sheet:
    """Read a table of any of the formats; a suffix that tells none is taken for one of text.

    `sheet` is that of a workbook, and `choice` whether whoever asks could name one.
    """
    check_file(path)
    suffix = suffix_of(path)
    if suffix in _OTHERS:
        raise ValueBiasError(
            f"{str(path)!r} is a {suffix} file, which is not read. {_OTHERS[suffix]}"
        )
    if suffix == ".xlsx":
        return _checked(Sheet(str(path), *read_workbook(path, sheet, choice=choice)))
    check_has_sheets(path, sheet)
    return _READERS.get(suffix, _read_text)(path)


def check_has_sheets(path: Path, sheet: str | None) -> None:
    """Refuse the name of a sheet for a file that has none."""
    if sheet is not None and suffix_of(path) != ".xlsx":
        said = f"{str(path)!r} is no .xlsx file, and has no sheet {sheet!r}. Leave"
        raise ValueBiasError(f"{said} sheet= out.", in_shell=f"{said} --sheet out.")


def read_frame(path: Path, *, key: str) -> pd.DataFrame:
    """Read a table whose rows have names, as text."""
    sheet = read_sheet(path, choice=False)
    if key not in sheet.header:
        raise ValueBiasError(f"{sheet.name!r} has no column {key!r}; found {sheet.header}.")
    for cell in itertools.chain(sheet.header, *sheet.rows):
        if has_surrogate(cell):
            raise ValueBiasError(
                f"{sheet.name!r} holds {shown(cell)}, in which a letter is damaged. Save it as "
                "UTF-8 again, or write the letter anew."
            )
    at = sheet.header.index(key)
    kept = [j for j, column in enumerate(sheet.header) if j != at and column]
    return text_frame(sheet.rows, [row[at] for row in sheet.rows], sheet.header, kept, key)


def read_arrow(path: Path) -> pa.Table:
    """Read Parquet or Feather as it is, with text that repeats stored once."""
    if suffix_of(path) == ".feather":
        table = read_feather(path)
        check_cells(table.num_rows, table.num_columns, path, _NUMBER, MOST)
        return table
    with reading(path, because="it is damaged, truncated or no Parquet", advice=_AGAIN):
        with pq.ParquetFile(path) as stored:
            check_parquet(stored.metadata, path)
            texts = [field.name for field in stored.schema_arrow if _is_text(field.type)]
        with pq.ParquetFile(path, page_checksum_verification=True, read_dictionary=texts) as stored:
            table = stored.read()
        table.validate(full=True)
    return table


def check_parquet(about: pq.FileMetaData, path: Path) -> None:
    """Refuse a file of which a few bytes stand for more cells, or longer ones, than memory has."""
    # What is stored in runs takes no room in the file, however long it is.
    check_cells(about.num_rows, about.num_columns, path, _NUMBER, MOST)
    unpacked = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
    check_size(unpacked, path.stat().st_size, repr(str(path)))


def check_cells(n_rows: int, n_columns: int, path: Path, each: int, most: int) -> None:
    """Refuse more cells than a file of that length can have need of; `each` takes as many bytes."""
    declared = each * n_rows * max(1, n_columns)
    check_size(declared, path.stat().st_size, repr(str(path)), most=most)


def parse_sheet(text: str, name: str) -> Sheet:
    """Split text into cells, at what the first line has most of, or else at what fits all lines.

    Examples
    --------
    >>> text = chr(10).join(["word;What, in one word, is best?", "love;1,5"])
    >>> parse_sheet(text, "a.csv").rows
    [['love', '1,5']]
    """
    first, _, rest = text.partition("\n")
    if hint := _HINT.fullmatch(first.strip().strip('"')):
        return Sheet(name, *parse_csv(rest, name, delimiter=hint[1]))
    try:
        return Sheet(name, *parse_csv(text, name))
    except ValueBiasError:
        fitting = [sheet for sheet in _tried(text, first, name) if _is_table(sheet)]
        if len(fitting) != 1:
            raise
        return fitting[0]


def _is_table(sheet: Sheet) -> bool:
    return len(sheet.header) > 1 and any(row[-1].strip() for row in sheet.rows)


def _tried(text: str, first: str, name: str) -> Iterable[Sheet]:
    for delimiter in DELIMITERS:
        # R's write.table has no name over those of the rows.
        for whole in (text, delimiter + text) if delimiter in first else ():
            with suppress(ValueBiasError):
                yield Sheet(name, *parse_csv(whole, name, delimiter=delimiter))


def _read_text(path: Path) -> Sheet:
    return parse_sheet(read_text(path), str(path))


def _read_table(path: Path) -> Sheet:
    table, name = read_arrow(path), str(path)
    check_cells(table.num_rows, table.num_columns, path, _OBJECT, MOST_TEXT)
    with reading(path, because="it holds what is neither text nor a number", advice=_AGAIN):
        columns = [cells_of(table, i, name) for i in range(table.num_columns)]
    header = [column.strip() for column in table.column_names]
    for i, column in enumerate(header):
        if _INDEX.fullmatch(column):
            # pandas puts the index behind all else; in a CSV it comes first, without a name.
            header.insert(0, "")
            columns.insert(0, columns.pop(i))
            del header[i + 1]
            break
    return _checked(Sheet(name, header, [list(row) for row in zip(*columns, strict=True)]))


def cells_of(table: pa.Table, position: int, name: str) -> list[str]:
    """Give the cells of a column as text."""
    column = table.column(position).combine_chunks()
    kind = column.type
    if pa.types.is_dictionary(kind):
        values = [_text(value) for value in column.dictionary.to_pylist()]
        codes = column.indices.fill_null(len(values)).to_pylist()
        values.append("")
        return [values[code] for code in codes]
    if not (_is_text(kind) or pa.types.is_boolean(kind) or _is_number(kind)):
        raise ValueBiasError(
            f"The column {table.column_names[position]!r} of {name!r} holds {kind}; expected text "
            "or numbers."
        )
    return [_text(value) for value in column.to_pylist()]


def _text(value: Any) -> str:
    if value is None or value != value:
        return ""
    return str(value) if isinstance(value, str | Decimal) else repr(value)


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_number(kind: pa.DataType) -> bool:
    tests = (pa.types.is_floating, pa.types.is_integer, pa.types.is_decimal, pa.types.is_null)
    return any(test(kind) for test in tests)


def _checked(sheet: Sheet) -> Sheet:
    """Ask of a table what is asked of text."""
    for column, count in Counter(sheet.header).items():
        if count > 1:
            raise ValueBiasError(f"{sheet.name!r} has two columns called {column!r}. Rename one.")
    if not sheet.rows:
        raise ValueBiasError(f"{sheet.name!r} has no rows below its header.")
    return sheet


_READERS: Mapping[str, Callable[[Path], Sheet]] = MappingProxyType(
    {
        ".csv": _read_text,
        ".tsv": _read_text,
        **{f"{kind}{packed}": _read_text for kind in _TEXT for packed in PACKED},
        ".parquet": _read_table,
        ".feather": _read_table,
    }
)
SUFFIXES = (*_READERS, ".xlsx")
"""Of the files of tables that are read."""
