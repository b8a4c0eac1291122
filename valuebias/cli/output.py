"""Printing: results on standard output, messages and progress on standard error."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import typer

from valuebias._core.text import escape, neutralise, visible

__all__ = [
    "AsCsv",
    "AsJson",
    "complain",
    "explained_stop",
    "is_terminal",
    "print_csv",
    "print_fields",
    "print_json",
    "print_table",
    "stage",
]

AsJson = Annotated[bool, typer.Option("--json", help="Write JSON, for scripts.")]
AsCsv = Annotated[bool, typer.Option("--csv", help="Write CSV, for scripts.")]
_PIPE_WIDTH = 120
_INTERRUPTED = 130


def complain(kind: str, message: str) -> None:
    """Write an error or a warning to standard error."""
    lines = [visible(line) for line in message.splitlines()]
    colour = typer.colors.RED if kind == "Error" else typer.colors.YELLOW
    typer.echo(f"{typer.style(f'{kind}:', fg=colour, bold=True)} " + "\n".join(lines), err=True)


@contextmanager
def explained_stop(otherwise: str) -> Iterator[None]:
    """Turn Ctrl-C into a message and exit status 130."""
    try:
        yield
    except KeyboardInterrupt as stopped:
        notes = getattr(stopped, "__notes__", [otherwise])
        complain("Stopped", " ".join(notes).replace("same call", "same command"))
        raise typer.Exit(_INTERRUPTED) from stopped


def print_json(value: Any) -> None:
    """Write a value as JSON to standard output; NaN and infinities become null."""
    typer.echo(json.dumps(_jsonable(value), indent=2))


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _jsonable(entry) for key, entry in value.items()}
    if isinstance(value, str):
        return value
    if hasattr(value, "tolist"):
        return _jsonable(value.tolist())
    if isinstance(value, Iterable):
        return [_jsonable(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int):
        return value
    return str(value)


def print_fields(fields: Mapping[str, object]) -> None:
    """Write names and values below each other to standard output."""
    for name, value in fields.items():
        texts = [value] if isinstance(value, str) or not isinstance(value, Iterable) else value
        lines = [visible(text) for text in texts if text not in (None, "")]
        if lines:
            typer.echo(f"{typer.style(visible(name), bold=True)}: " + "\n    ".join(lines))


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str | None = None,
    right: Container[str] = (),
) -> None:
    """Write a table to standard output."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    cells = [list(row) for row in rows]
    numeric = [
        all(isinstance(row[i], int | float) for row in cells) and bool(cells)
        for i in range(len(columns))
    ]
    heading = None if title is None else Text(visible(title))
    table = Table(title=heading, box=SIMPLE_HEAD, title_justify="left", pad_edge=False)
    for name, number in zip(columns, numeric, strict=True):
        side: Literal["left", "right"] = "right" if number or name in right else "left"
        table.add_column(Text(visible(name)), justify=side, overflow="fold")
    for row in cells:
        table.add_row(*(Text(_cell(value)) for value in row))
    # rich assumes 80 columns for a pipe, which folds what a script could have read.
    Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH).print(table)


def print_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table as CSV to standard output."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    # Texts come from files: a spreadsheet must not run them, and they must be UTF-8.
    writer.writerows([neutralise(escape(str(cell))) for cell in row] for row in rows)
    typer.echo(text.getvalue(), nl=False)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{value:.3g}"
    return visible(value)


def is_terminal() -> bool:
    """Whether standard error is a terminal, where progress is worth showing."""
    return sys.stderr.isatty()


@contextmanager
def stage(text: str) -> Iterator[None]:
    """Show a stage and its elapsed time on standard error."""
    if not is_terminal():
        yield
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        progress.add_task(visible(text), total=None)
        yield
