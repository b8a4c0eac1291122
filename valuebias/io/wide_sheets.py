"""One model's scores of words and prompts, out of a table."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from valuebias._core.opening.formats import check_format
from valuebias._core.text import as_number
from valuebias.errors import ValueBiasError, few, shown
from valuebias.io.numbers import NOT_SCORED, found_decimal, with_point
from valuebias.io.own import is_long
from valuebias.io.quick import read_numbers
from valuebias.io.sheets import Sheet, check_has_sheets, read_sheet

__all__ = ["WideSheet", "called_prompt", "prompts_by_text"]

_WORDS = ("response", "word", "token")
_NO_NAME = ("", "index")


def prompts_by_text(table: pd.DataFrame) -> dict[str, list[str]]:
    """Give the prompts of each name and of each text, spaces apart."""
    names: dict[str, list[str]] = {}
    for name, text in zip(table.index, table["text"], strict=True):
        names.setdefault(" ".join(str(text).split()), []).append(str(name))
    return names | {str(name): [str(name)] for name in table.index}


def called_prompt(column: str, by_text: Mapping[str, list[str]], file: str) -> str:
    """Give the name of the prompt that a column is called by the name or the text of."""
    meant = by_text.get(column) or by_text.get(" ".join(column.split()), [column])
    if len(meant) > 1:
        raise ValueBiasError(
            f"{file!r} has {shown(column)}, which is the text of several prompts: {few(meant)}. "
            "Give the prompt's name instead."
        )
    return meant[0]


class WideSheet:
    """One table of words and prompts."""

    def __init__(self, path: Path, decimal: str | None, sheet: str | None = None) -> None:
        check_format(path)
        self.name, self.decimal = path.name, decimal
        self.rows: list[list[str]] = []
        self.values: npt.NDArray[np.float64] | None = None
        check_has_sheets(path, sheet)
        plain = None if decimal == "," else read_numbers(path, _WORDS[0])
        if plain is not None:
            self.columns, self.words, self.values = plain
        else:
            self._read_cells(read_sheet(path, sheet))
        self.place = {word: i for i, word in enumerate(self.words)}
        if len(self.place) < len(self.words):
            twice = next(w for i, w in enumerate(self.words) if self.place[w] != i)
            raise ValueBiasError(f"{str(path)!r} has the word {twice!r} more than once.")

    def _read_cells(self, sheet: Sheet) -> None:
        at = _place_of_words(sheet)
        # Row numbers stand before the words, and behind all else an empty column may.
        kept = [
            j
            for j, column in enumerate(sheet.header)
            if j != at
            and (column or any(row[j].strip() for row in sheet.rows))
            and (column or j > at or not _are_row_numbers(sheet, j))
        ]
        self.columns = [sheet.header[j] for j in kept]
        self.rows = sheet.rows
        if kept != list(range(1, len(sheet.header))):
            self.rows = [[row[at], *(row[j] for j in kept)] for row in sheet.rows]
        if not self.columns:
            raise ValueBiasError(f"{sheet.name!r} has no column of scores.")
        self.words = [row[0] for row in self.rows]

    def name_prompts(self, table: pd.DataFrame) -> None:
        """Take a column that is called by a prompt's text as that prompt's."""
        if set(map(str, table.index)).issuperset(self.columns):
            return
        by_text = prompts_by_text(table)
        called: dict[str, str] = {}
        for i, column in enumerate(self.columns):
            name = called_prompt(column, by_text, self.name)
            if name in called:
                raise ValueBiasError(
                    f"{self.name!r} has two columns of the prompt {name!r}: "
                    f"{shown(called[name])} and {shown(column)}. Leave one out."
                )
            called[name] = column
            self.columns[i] = name

    def check_alike(self, first: WideSheet) -> None:
        """Demand the words and prompts of the first file."""
        for noun, mine, theirs in (
            ("word", self.words, first.words),
            ("prompt", self.columns, first.columns),
        ):
            differing = sorted(set(mine) ^ set(theirs))
            if differing:
                has, lacks = self.name, first.name
                if differing[0] in set(theirs):
                    has, lacks = lacks, has
                said = (
                    f"{has!r} has the {noun} {differing[0]!r}, which {lacks!r} lacks "
                    f"({len(differing)} such)."
                )
                raise ValueBiasError(
                    f"{said} Read the files one by one and join them with "
                    "valuebias.schema.concat(..., join='outer').",
                    in_shell=f"{said} Give all files the same {noun}s; leave cells without a score "
                    "empty.",
                )

    def scores(self, words: Sequence[str], prompts: Sequence[str]) -> npt.NDArray[np.float64]:
        """Give the scores as (prompt, response)."""
        values = self._all_numbers() if self.values is None else self.values
        rows = [self.place[word] for word in words]
        place = {prompt: j for j, prompt in enumerate(self.columns)}
        columns = [place[prompt] for prompt in prompts]
        return values[np.ix_(rows, columns)].T

    def _all_numbers(self) -> npt.NDArray[np.float64]:
        values = np.empty((len(self.rows), len(self.columns)), dtype=np.float64)
        for i, row in enumerate(self.rows):
            values[i] = self._numbers(i, row[1:])
        return values

    def _numbers(self, row: int, cells: list[str]) -> npt.NDArray[np.float64] | list[float]:
        """Leave numbers to NumPy, which is fast, where all cells seem to be numbers."""
        given, joined = cells, "".join(cells)
        if self.decimal is None and "," in joined:
            self.decimal = found_decimal((c for r in self.rows for c in r[1:]), self.name)
        if self.decimal == ",":
            cells = [with_point(cell) for cell in cells]
        with suppress(ValueError):
            # It takes what Python does, too, such as 1_000 and other scripts' digits.
            if "_" not in joined and joined.isascii():
                return np.array(cells, dtype=np.float64)
        return [self._number(cell, given[j], row, j) for j, cell in enumerate(cells)]

    def _number(self, cell: str, given: str, row: int, column: int) -> float:
        if given.strip().lower() in NOT_SCORED:
            return np.nan
        number = as_number(cell)
        if number is None:
            mark = " with a decimal comma" if self.decimal == "," else ""
            raise ValueBiasError(
                f"{self.name!r} has {given!r} for the word {self.words[row]!r} and the prompt "
                f"{self.columns[column]!r}; expected a number{mark}, or nothing where there is "
                "none."
            )
        return number


def _place_of_words(sheet: Sheet) -> int:
    """Find the column of the words: by its name, or the first where that has none."""
    lowered = [column.lower() for column in sheet.header]
    if is_long(lowered):
        raise ValueBiasError(
            f"{sheet.name!r} is a long table, a row a score, not one model's words and prompts. "
            f"Read it with valuebias.read({sheet.name!r}, kind='reward').",
            in_shell=f"{sheet.name!r} is a long table, a row a score, not one model's words and "
            f"prompts. Fit it as it is: valuebias fit {shlex.quote(sheet.name)} --kind reward",
        )
    named = [j for j, column in enumerate(lowered) if column in _WORDS]
    if "response" in sheet.header or len(named) == 1:
        return sheet.header.index("response") if "response" in sheet.header else named[0]
    if named:
        raise ValueBiasError(
            f"{sheet.name!r} has the columns {few(sheet.header[j] for j in named)}, each of which "
            "may be the words. Call the right one 'response', and leave the others out."
        )
    if lowered[0] not in _NO_NAME:
        raise ValueBiasError(
            f"The first column of {sheet.name!r} is {sheet.header[0]!r}; expected 'response', "
            "'word' or 'token', or no name, over the words."
        )
    if len(sheet.rows) > 1 and _are_row_numbers(sheet, 0):
        raise ValueBiasError(
            f"The first column of {sheet.name!r} has the numbers of the rows, and none has the "
            "words. Write the table with its words, under 'response'."
        )
    return 0


def _are_row_numbers(sheet: Sheet, column: int) -> bool:
    cells = [row[column].strip() for row in sheet.rows]
    return cells in ([str(i + start) for i in range(len(cells))] for start in (0, 1))
