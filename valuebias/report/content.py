"""The content of a report without its layout: sections of text, tables and figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from valuebias._core.numbers import signed as with_sign
from valuebias._core.provenance import versions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Column", "Content", "Picture", "Reference", "Section", "Table", "number", "sentence"]


@dataclass(frozen=True)
class Column:
    """One column of a displayed table."""

    key: str  # the column of the frame
    label: str  # its heading
    # Turns a number into text; None for a column of texts.
    form: Callable[[float], str] | None = None
    right: bool = False  # set texts to the right, as numbers always are

    @property
    def numeric(self) -> bool:
        """Whether the cells are set to the right."""
        return self.right or self.form is not None

    def text(self, value: object) -> str:
        """Write one cell."""
        if self.form is None:
            return str(value)
        x = float(value)  # type: ignore[arg-type]
        return self.form(x) if np.isfinite(x) else "–"


@dataclass(frozen=True)
class Table:
    """A table: all of it as numbers, and the part that is displayed."""

    name: str  # name of its CSV file
    caption: str
    frame: pd.DataFrame = field(repr=False)  # every column and row; goes to the CSV file
    columns: tuple[Column, ...]  # what is shown
    # The rows that are shown; all where it is None.
    rows: pd.DataFrame | None = field(default=None, repr=False)

    def cells(self) -> list[list[str]]:
        """Write the rows that are shown."""
        rows = self.frame if self.rows is None else self.rows
        values = [rows[column.key].tolist() for column in self.columns]
        return [
            [column.text(value) for column, value in zip(self.columns, row, strict=True)]
            for row in zip(*values, strict=True)
        ]


@dataclass(frozen=True)
class Picture:
    """A figure with its texts."""

    name: str  # its kind; makes its parts' names on the page unique
    figure: Figure = field(repr=False)
    alt: str  # description for readers who cannot see it
    caption: str


@dataclass(frozen=True)
class Section:
    """A section of the report."""

    key: str  # its anchor
    title: str
    paragraphs: tuple[str, ...] = ()  # plain text
    items: tuple[str, ...] = ()  # a list after the paragraphs
    tables: tuple[Table, ...] = ()
    picture: Picture | None = None
    code: str = ""  # code to run, or empty
    missing: str = ""  # why the section has no content; empty where it has


@dataclass(frozen=True)
class Reference:
    """A work cited."""

    text: str  # the citation
    url: str = ""  # where it is, or empty


@dataclass(frozen=True)
class Content:
    """A report."""

    title: str
    subtitle: str
    alarms: tuple[str, ...]  # why the fit did not converge; empty where it did
    answer: str  # the headline
    reading: tuple[str, ...]  # how to read it
    sections: tuple[Section, ...]
    references: tuple[Reference, ...]
    # Date, version: when the report was made, and by which version.
    date: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"))
    version: str = field(default_factory=lambda: versions().get("valuebias", "unknown version"))


def sentence(text: object) -> str:
    """Begin a text with a capital."""
    return f"{str(text)[:1].upper()}{str(text)[1:]}"


def number(digits: int, *, signed: bool = False) -> Callable[[float], str]:
    """Make a function that writes numbers with fixed decimals and a true minus; zero has no sign.

    Examples
    --------
    >>> number(2, signed=True)(0.126), number(2, signed=True)(-0.001), number(2)(-0.001)
    ('+0.13', '0.00', '0.00')
    """
    if signed:
        return lambda value: with_sign(value, digits, grouped=True)
    return lambda value: format(value, f"z,.{digits}f").replace("-", "−")
