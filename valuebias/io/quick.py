"""Read plain tables of words and numbers fast, where there is nothing to be said of them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pa_csv

from valuebias._core.opening.packed import PACKED, unpacked
from valuebias._core.tables import DELIMITERS
from valuebias.io.numbers import NOT_SCORED
from valuebias.io.sheets import suffix_of

__all__ = ["Numbers", "read_numbers"]

Numbers = tuple[list[str], list[str], npt.NDArray[np.float64]]
"""The names of all columns but the first, the words in the first, and a number for each of both."""
_TEXT = frozenset(f"{kind}{packed}" for kind in (".csv", ".tsv") for packed in ("", *PACKED))
_NULLS = sorted({form for text in NOT_SCORED for form in (text, text.upper(), text.title(), "NaN")})


def read_numbers(path: Path, first: str) -> Numbers | None:
    """Read a table whose first column is called so; give nothing where anything else is not plain.

    It is then for the csv module, which takes many times as long, and says what is wrong where.
    """
    if suffix_of(path) not in _TEXT or not path.is_file():
        return None
    raw = unpacked(path)
    # Quotes may hold lines, CR alone may end them, and Arrow takes "nan(1)" for a number.
    plain = not any(sign in raw for sign in (b'"', b"\0", b"("))
    if not plain or raw.count(b"\r") != raw.count(b"\r\n"):
        return None
    line, _, rest = raw.partition(b"\n")
    try:
        head = line.decode("utf-8-sig").rstrip("\r")
    except UnicodeDecodeError:
        return None
    delimiter = max(DELIMITERS, key=head.count)
    header = [name.strip() for name in head.split(delimiter)]
    named = header[0] == first and all(header) and len(set(header)) == len(header) > 1
    if not named or not rest.strip():
        return None
    columns = [str(i) for i in range(len(header))]
    with suppress(pa.ArrowException):
        table = pa_csv.read_csv(
            pa.BufferReader(rest),
            read_options=pa_csv.ReadOptions(column_names=columns, use_threads=False),
            parse_options=pa_csv.ParseOptions(delimiter=delimiter, quote_char=False),
            convert_options=pa_csv.ConvertOptions(
                column_types={**dict.fromkeys(columns, pa.float64()), "0": pa.string()},
                null_values=_NULLS,
            ),
        )
        words = table.column(0).to_pylist()
        if all(map(str.strip, words)):
            scores = [table.column(i).to_numpy() for i in range(1, len(header))]
            return header[1:], words, np.column_stack(scores)
    return None
