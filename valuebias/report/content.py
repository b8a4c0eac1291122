"""The content of a report without its layout: sections of text, tables and figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Column", "Content", "Picture", "Reference", "Section", "Table", "number"]


@dataclass(frozen=True)
class Column:
    """One column of a displayed table.

    Attributes
    ----------
    key : str
        The column of the frame.
    label : str
        Its heading.
    form : callable, optional
        Turns a number into text; None for a column of texts.
    right : bool
        Set texts to the right, as numbers always are.
    """

    key: str
    label: str
    form: Callable[[float], str] | None = None
    right: bool = False

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
    """A table: all of it as numbers, and the part that is displayed.

    Attributes
    ----------
    name : str
        Name of its CSV file.
    caption : str
    frame : DataFrame
        Every column and row; goes to the CSV file.
    columns : tuple of Column
        What is shown.
    rows : DataFrame, optional
        The rows that are shown; all where it is None.
    """

    name: str
    caption: str
    frame: pd.DataFrame = field(repr=False)
    columns: tuple[Column, ...]
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
    """A figure with its texts.

    Attributes
    ----------
    name : str
        Its kind; makes its parts' names on the page unique.
    figure : Figure
    alt : str
        Description for readers who cannot see it.
    caption : str
    """

    name: str
    figure: Figure = field(repr=False)
    alt: str
    caption: str


@dataclass(frozen=True)
class Section:
    """A section of the report.

    Attributes
    ----------
    key : str
        Its anchor.
    title : str
    paragraphs : tuple of str
        Plain text.
    items : tuple of str
        A list after the paragraphs.
    tables : tuple of Table
    picture : Picture, optional
    code : str
        Code to run, or empty.
    missing : str
        Why the section has no content; empty where it has.
    """

    key: str
    title: str
    paragraphs: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    picture: Picture | None = None
    code: str = ""
    missing: str = ""


@dataclass(frozen=True)
class Reference:
    """A work cited.

    Attributes
    ----------
    text : str
        The citation.
    url : str
        Where it is, or empty.
    """

    text: str
    url: str = ""


@dataclass(frozen=True)
class Content:
    """A report.

    Attributes
    ----------
    title, subtitle : str
    alarms : tuple of str
        Why the fit did not converge; empty where it did.
    answer : str
        The headline.
    reading : tuple of str
        How to read it.
    sections : tuple of Section
    references : tuple of Reference
    date, version : str
        When the report was made, and by which version.
    """

    title: str
    subtitle: str
    alarms: tuple[str, ...]
    answer: str
    reading: tuple[str, ...]
    sections: tuple[Section, ...]
    references: tuple[Reference, ...]
    date: str
    version: str


def number(digits: int, *, signed: bool = False) -> Callable[[float], str]:
    """Make a function that writes numbers with fixed decimals and a true minus sign.

    Examples
    --------
    >>> number(2, signed=True)(0.126)
    '+0.13'
    """
    sign = "+" if signed else ""
    return lambda value: format(value, f"{sign},.{digits}f").replace("-", "−")
