"""Read a sheet of an Excel file."""

from __future__ import annotations

import itertools
import shlex
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from valuebias._core.checks import check_installed, check_known
from valuebias._core.foreign import reading
from valuebias._core.opening.limits import MOST_TEXT, check_size
from valuebias.errors import ValueBiasError, few

__all__ = ["read_workbook"]

_OLE = b"\xd0\xcf\x11\xe0"
_NOT_SCORED = "#N/A"


def read_workbook(
    path: Path, sheet: str | None = None, *, choice: bool = True
) -> tuple[list[str], list[list[str]]]:
    """Give the header and the rows of a sheet of an Excel file, as text.

    Without a name it is the only one; `choice` says whether whoever asks could give one.
    """
    check_installed(
        "openpyxl", extra="excel", after=f", and {str(path)!r}, an Excel file, needs it"
    )
    with reading(
        path,
        because="it is damaged, truncated or no .xlsx file",
        advice="Save it again as .xlsx, or save the sheet as .csv.",
    ):
        _check_members(path)
        title, table = _cells(path, sheet, values=True, choice=choice)
        if any(None in row for row in table):
            _check_computed(path, title, table)
    if not table:
        where = "" if sheet is None else f" in its sheet {sheet!r}"
        raise ValueBiasError(f"{str(path)!r} has no cells with content{where}.")
    rows = [[_text(value, path, i, j) for j, value in enumerate(row)]
            for i, row in enumerate(table)]  # fmt: skip
    # Cells that were once used and emptied are no columns, nor rows.
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    width = max(
        (j + 1 for row in rows for j in range(len(row) - 1, -1, -1) if row[j].strip()), default=0
    )
    rows = [(row + [""] * width)[:width] for row in rows]
    return [cell.strip() for cell in rows[0]], rows[1:]


def _check_members(path: Path) -> None:
    """Refuse what is no .xlsx, or would unpack to more than memory holds."""
    with path.open("rb") as file:
        if file.read(4) == _OLE:
            raise ValueBiasError(
                f"{str(path)!r} is an Excel file of before 2007, or has a password. Save it as "
                ".xlsx without one, or as .csv."
            )
    with zipfile.ZipFile(path) as packed:
        declared = sum(member.file_size for member in packed.infolist())
    check_size(declared, path.stat().st_size, repr(str(path)), most=MOST_TEXT)


def _cells(
    path: Path, wanted: str | None, *, values: bool, choice: bool = True
) -> tuple[str | None, list[list[Any]]]:
    """Give the wanted sheet's name and cells, or those of the only one that has any.

    Cells are formulas, or the values that these had last.
    """
    import openpyxl

    book = openpyxl.load_workbook(path, read_only=True, data_only=values, keep_links=False)
    try:
        filled = {}
        titles = [sheet.title for sheet in book.worksheets]
        if wanted is not None:
            check_known(wanted, titles, f"{str(path)!r} has no sheet {wanted!r}.")
        for sheet in book.worksheets:
            if wanted not in (None, sheet.title):
                continue
            # What a file says of its size may be anything.
            sheet.reset_dimensions()
            rows = list(_rows(sheet, path))
            if any(value is not None for row in rows for value in row):
                filled[sheet.title] = rows
    finally:
        book.close()
    if len(filled) > 1:
        said = (
            f"{str(path)!r} has {len(filled)} sheets: {few(filled, limit=20)}. Which one is meant "
            "does not show: "
        )
        first = next(iter(filled))
        apart = "save each as a file of its own."
        raise ValueBiasError(
            f"{said}give its name, such as sheet={first!r}, or {apart}" if choice else said + apart,
            in_shell=f"{said}give its name, such as --sheet {shlex.quote(first)}, or {apart}"
            if choice
            else said + apart,
        )
    return next(iter(filled.items()), (None, []))


def _rows(sheet: Any, path: Path) -> Iterator[list[Any]]:
    stored, declared = path.stat().st_size, 0
    for row in sheet.iter_rows(values_only=True):
        # A row is as wide as its last cell is far, whether or not there is anything before.
        declared += 8 * len(row)
        check_size(declared, stored, repr(str(path)), most=MOST_TEXT)
        yield list(row)


def _check_computed(path: Path, title: str | None, values: list[list[Any]]) -> None:
    """Refuse formulas whose values are not in the file: they would be missing scores."""
    _, formulas = _cells(path, title, values=False)
    for i, (row, given) in enumerate(zip(formulas, values, strict=True), start=1):
        for j, (cell, value) in enumerate(itertools.zip_longest(row, given), start=1):
            if cell is not None and value is None:
                raise ValueBiasError(
                    f"{str(path)!r} has a formula in row {i}, column {j}, whose value was never "
                    "computed. Open it in a spreadsheet and save it, or save it as .csv."
                )


def _text(value: Any, path: Path, row: int, column: int) -> str:
    if value is None or value == _NOT_SCORED:
        return ""
    where = f"{str(path)!r} has in row {row + 1}, column {column + 1}"
    if isinstance(value, str):
        if value in _ERRORS:
            raise ValueBiasError(
                f"{where} the error {value}, as of a word that begins with '=' or '-' and was "
                "taken for a formula. Type it anew, after an apostrophe."
            )
        return value
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, int | float):
        return repr(value)
    raise ValueBiasError(
        f"{where} a date or time ({value}), which spreadsheets make of texts such as 'May 1'. "
        "Format the column as text, and type it anew."
    )


_ERRORS = ("#NAME?", "#DIV/0!", "#VALUE!", "#REF!", "#NUM!", "#NULL!")
