"""Progress bars on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from valuebias._core.text import visible

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["progress_bar", "seen_console"]


def seen_console() -> Console | None:
    """Return standard error where someone sees it change: in a terminal or a notebook."""
    from rich.console import Console

    console = Console(stderr=True)
    return console if console.is_terminal or console.is_jupyter else None


@contextmanager
def progress_bar(noun: str, *, shown: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Show a bar while the block runs; yields ``advance(done, total)``, or None where not shown.

    Nothing is written where standard error is neither a terminal nor a notebook.
    """
    console = seen_console() if shown else None
    if console is None:
        yield None
        return
    from rich.progress import (
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(visible(noun), total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield advance
