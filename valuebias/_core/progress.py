"""Progress bars: on standard error in a terminal, a line of the output in a notebook."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from valuebias._core.notebooks import NotebookBar, in_notebook
from valuebias._core.text import visible

__all__ = ["live_bar", "progress_bar"]

_OWN = {"bar": "BarColumn", "elapsed": "TimeElapsedColumn", "remaining": "TimeRemainingColumn"}


@contextmanager
def live_bar(*columns: str, shown: bool) -> Iterator[Any]:
    """Open a bar, rich's or one with its ``add_task`` and ``update``; None where nobody sees it.

    Columns are texts with fields in braces, and of rich's own those that :data:`_OWN` names.
    """
    if not shown:
        yield None
        return
    if in_notebook():
        bar = NotebookBar()
        try:
            yield bar
        finally:
            bar.close()
        return
    import rich.progress
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    made = [
        getattr(rich.progress, _OWN[one])()
        if one in _OWN
        else rich.progress.TextColumn(one, markup=False)
        for one in columns
    ]
    with rich.progress.Progress(*made, console=console, transient=True) as progress:
        yield progress


@contextmanager
def progress_bar(noun: str, *, shown: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Show a bar while the block runs; yields ``advance(done, total)``, or None where not shown.

    Nothing is written where standard error is neither a terminal nor a notebook.
    """
    columns = ("{task.description}", "bar", "{task.percentage:>3.0f} %", "elapsed", "remaining")
    with live_bar(*columns, shown=shown) as bar:
        if bar is None:
            yield None
            return
        task = bar.add_task(visible(noun), total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        yield advance
