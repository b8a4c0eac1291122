"""What notebooks show: a line of progress, and results as HTML in which no text of others runs."""

from __future__ import annotations

import html
import math
import sys
import time
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from valuebias._core.text import visible, visible_lines

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["NotebookBar", "as_html", "hush_tqdm", "in_notebook"]

_AFTER = 0.5  # seconds; what is done before shows nothing
_EVERY = 0.2
_WIDTH = 30


def in_notebook() -> bool:
    """Whether a notebook's kernel runs this, as rich finds it out."""
    # Nearly every program is spared rich.
    if "IPython" not in sys.modules:
        return False
    from rich.console import Console

    return Console(stderr=True).is_jupyter


def hush_tqdm() -> None:
    """Load the bars of other packages, which in a notebook ask for ipywidgets and do without.

    They do so once, in a warning, when they are first imported.
    """
    if "ipykernel" in sys.modules and "tqdm.auto" not in sys.modules:
        with suppress(ImportError), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="IProgress not found")
            import tqdm.auto  # noqa: F401


class NotebookBar:
    """A line of text that one output of a cell is updated to; of the methods of rich's Progress.

    rich itself needs ipywidgets in a notebook, and says so in a warning at every step.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._told = 0.0
        self._handle: Any = None
        self._task: dict[str, Any] = {"description": "", "completed": 0, "total": None}

    def add_task(self, description: str, **fields: Any) -> int:
        """Begin; there is one task."""
        self._task |= {"description": description, **fields}
        return 0

    def update(self, task: int, **fields: Any) -> None:
        """Take what has changed, and show it now and then."""
        self._task |= fields
        since = time.monotonic() - self._began
        if since >= _AFTER and since - self._told >= _EVERY:
            self._told = since
            self._show(str(self))

    def close(self) -> None:
        """Leave the last state, where anything was shown."""
        if self._handle is not None:
            self._show(str(self))

    def __str__(self) -> str:
        task = dict(self._task)
        name, done, total = (task.pop(key) for key in ("description", "completed", "total"))
        since = time.monotonic() - self._began
        parts = [visible(name)]
        if total:
            share = min(done / total, 1.0)
            full = int(share * _WIDTH)
            parts.append(f"[{'#' * full}{'-' * (_WIDTH - full)}] {share:4.0%}")
            parts += [visible(value) for value in task.values() if value]
            left = since * (1 - share) / share if 0 < share < 1 else 0.0
            parts.append(f"{_clock(since)}{f', {_clock(left)} left' if left else ''}")
        return "  ".join(parts)

    def _show(self, text: str) -> None:
        from IPython.display import display

        plain = {"text/plain": text}
        if self._handle is None:
            self._handle = display(plain, raw=True, display_id=True)
        else:
            self._handle.update(plain, raw=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def as_html(*parts: str | pd.DataFrame, most: int = 12) -> str:
    """Lay texts and tables out for a notebook; whatever is in them is shown and never run.

    Of a long table its first rows are shown, and how many there are.

    Examples
    --------
    >>> as_html("1 < 2")
    '<div style="max-width: 62em"><p>1 &lt; 2</p></div>'
    """
    made = [_paragraphs(part) if isinstance(part, str) else _table(part, most) for part in parts]
    return f'<div style="max-width: 62em">{"".join(made)}</div>'


def _paragraphs(text: str) -> str:
    lines = [line for line in visible_lines(text).splitlines() if line.strip()]
    return "".join(f"<p>{html.escape(line)}</p>" for line in lines)


def _table(frame: pd.DataFrame, most: int) -> str:
    if frame.empty:
        return ""
    texts = [kind.kind not in "iuf" for kind in frame.dtypes]
    head = "".join(
        f'<th style="text-align: {"left" if text else "right"}">{_cell(name)}</th>'
        for name, text in zip(frame.columns, texts, strict=True)
    )
    rows = "".join(
        "<tr>"
        + "".join(
            f'<td style="text-align: {"left" if text else "right"}">{_cell(value)}</td>'
            for value, text in zip(row, texts, strict=True)
        )
        + "</tr>"
        for row in frame.iloc[:most].itertuples(index=False, name=None)
    )
    more = f"<p>… and {len(frame) - most:,} rows more</p>" if len(frame) > most else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{more}"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.3g}".replace("-", "−")
    return f"<bdi>{html.escape(visible(value))}</bdi>"
