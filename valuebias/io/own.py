"""Long tables as people make them: their files, and the names of their columns."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from valuebias._core.foreign import reading
from valuebias._core.opening.formats import check_format
from valuebias._core.opening.packed import unpacked
from valuebias._core.tables import DELIMITERS, read_text
from valuebias._core.text import as_number
from valuebias.errors import ValueBiasError, few
from valuebias.io.contrast_rows import is_contrast_table
from valuebias.io.numbers import NOT_SCORED, found_decimal, with_point
from valuebias.io.sheets import check_has_sheets, read_arrow, read_sheet, suffix_of

__all__ = ["FALSE", "LONG", "TRUE", "header_of", "is_long", "is_long_table", "named", "own_rows"]

TRUE = ["true", "True", "TRUE", "T", "1"]
FALSE = ["false", "False", "FALSE", "F", "0"]
"""What is read as a truth value, beside what R writes."""
LONG = ("model", "prompt", "score")
"""The columns by which a table is known to be a long one."""
_TEXTS = (
    "model",
    "prompt",
    "response",
    "item",
    "variant",
    "family",
    "base",
    "stage",
    "text",
    "framing",
    "category",
)
_KNOWN = (*_TEXTS, "score", "n_params")
_WORDS = ("word", "token")
_INDEX = re.compile(r"|index|X|rownames|\.\.\.1|Unnamed: ?\d+|__index_level_\d+__")
"""What R and pandas call row numbers."""
_AGAIN = "Copy it again, or write it again."
_LONGEST = 2**20


def is_long(header: Sequence[str]) -> bool:
    """Tell a table with a row a score by its columns.

    Examples
    --------
    >>> is_long(["Word", "prompt", "model", "score"]), is_long(["word", "best_ever_one"])
    (True, False)
    """
    columns = {column.strip().lower() for column in header}
    return set(LONG) <= columns or is_contrast_table(columns)


def is_long_table(path: Path, sheet: str | None = None) -> bool:
    """Tell whether a file is there and has a row a score."""
    if not path.is_file():
        return False
    check_format(path)
    return is_long(header_of(path, sheet))


def own_rows(path: Path, sheet: str | None = None) -> pa.Table:
    """Read the rows of a long table that valuebias did not write, of any format."""
    check_has_sheets(path, sheet)
    if suffix_of(path) in (".parquet", ".feather"):
        return read_arrow(path)
    source, header, delimiter = _opened(path, sheet)
    names = _names(header, str(path))
    shared = pa.dictionary(pa.int32(), pa.string())
    types: dict[str, pa.DataType] = {
        column: shared for column in header if names.get(column, column) in _TEXTS
    }
    # A number with a decimal comma is text to what reads it.
    score = pa.float64() if delimiter == "," else pa.string()
    types |= {column: score for column in header if names.get(column, column) == "score"}
    types |= {column: pa.float64() for column in header if names.get(column, column) == "n_params"}
    with reading(path, because="it is damaged, truncated or no CSV", advice=_AGAIN):
        return pa_csv.read_csv(
            source,
            parse_options=pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            convert_options=pa_csv.ConvertOptions(
                column_types=types, true_values=TRUE, false_values=FALSE
            ),
        )


def header_of(path: Path, sheet: str | None = None) -> list[str]:
    """Give the names of the columns of a table, without reading its rows where that can be."""
    suffix = suffix_of(path)
    if suffix == ".xlsx":
        return read_sheet(path, sheet).header
    if suffix not in (".parquet", ".feather"):
        return _opened(path)[1]
    with reading(path, because=f"it is damaged, truncated or no {suffix} file", advice=_AGAIN):
        if suffix == ".parquet":
            return list(pq.read_schema(path).names)
        with pa.memory_map(str(path)) as file:
            return list(pa.ipc.open_file(file).schema.names)


def _opened(path: Path, name: str | None = None) -> tuple[Path | pa.BufferReader, list[str], str]:
    """Give what text can be read from, the names of its columns, and what they are parted by."""
    if suffix_of(path) == ".xlsx":
        sheet = read_sheet(path, name)
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([sheet.header, *sheet.rows])
        raw = text.getvalue().encode("utf-8", errors="surrogatepass")
        return pa.BufferReader(raw), sheet.header, ","
    with reading(path, because="it is damaged, truncated or no CSV", advice=_AGAIN):
        source: Path | bytes = path
        if path.suffix.lower() in (".csv", ".tsv"):
            with path.open("rb") as file:
                first = file.readline(_LONGEST)
        else:
            source = unpacked(path)
            first = source.partition(b"\n")[0]
        if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            source = read_text(path).encode("utf-8", errors="surrogatepass")
            first = source.partition(b"\n")[0]
        line = first.decode("utf-8-sig", errors="replace").rstrip("\r\n")
        header, delimiter = _split(line)
    return pa.BufferReader(source) if isinstance(source, bytes) else source, header, delimiter


def _split(line: str) -> tuple[list[str], str]:
    """Split the first line where that gives a long table's columns; at commas otherwise."""
    for delimiter in DELIMITERS:
        header = next(csv.reader([line], delimiter=delimiter), [])
        if is_long(header):
            return header, delimiter
    return next(csv.reader([line]), []), ","


def named(table: pa.Table, name: str) -> pa.Table:
    """Call the columns of somebody's own table as this package does, and leave out row numbers."""
    with reading(repr(name), because="the name of a column is no text", advice=_AGAIN):
        names = _names(table.column_names, name)
    table = table.rename_columns([names.get(column, column) for column in table.column_names])
    numbers = [i for i, column in enumerate(table.column_names) if _is_numbering(table, i, column)]
    for i in reversed(numbers):
        table = table.remove_column(i)
    if "score" in table.column_names:
        i = table.column_names.index("score")
        column = table.column(i)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            table = table.set_column(i, "score", _numbers(column, name))
        elif pa.types.is_decimal(column.type):
            table = table.set_column(i, "score", column.cast(pa.float64()))
    return table


def _names(header: Sequence[str], name: str) -> dict[str, str]:
    """Say which columns are meant by which names."""
    columns = set(header)
    meant = {}
    for column in header:
        plain = column.strip().lower()
        if plain in _KNOWN and plain not in columns:
            meant[column] = plain
    if "response" not in columns and "response" not in meant.values():
        words = [column for column in header if column.strip().lower() in _WORDS]
        if len(words) > 1:
            raise ValueBiasError(
                f"{name!r} has the columns {few(words)}, each of which may be the words. Call the "
                "right one 'response'."
            )
        meant |= dict.fromkeys(words, "response")
    return meant


def _is_numbering(table: pa.Table, position: int, name: str) -> bool:
    if not _INDEX.fullmatch(name):
        return False
    column = table.column(position)
    if not pa.types.is_integer(column.type) or column.null_count:
        # R's own column without a name has always been left out.
        return name == ""
    values = np.sort(column.to_numpy())
    return name == "" or bool((np.diff(values) == 1).all())


def _numbers(column: pa.ChunkedArray, name: str) -> pa.Array:
    """Make numbers of scores that are text, with whichever decimal mark they have."""
    cells = ["" if cell is None else cell for cell in column.to_pylist()]
    advice = "Write scores with a decimal point."
    comma = found_decimal(cells, name, advice=advice, in_shell=advice) == ","
    numbers = []
    for given in cells:
        number = as_number(with_point(given) if comma else given)
        if number is None and given.strip().lower() not in NOT_SCORED:
            raise ValueBiasError(
                f"The column 'score' of {name!r} holds {given!r}; expected numbers, or nothing "
                "where there is no score."
            )
        numbers.append(number)
    return pa.array(numbers, type=pa.float64())
