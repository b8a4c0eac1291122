"""Progress of scoring, in one bar."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from valuebias._core.progress import live_bar
from valuebias._core.text import visible

__all__ = ["JointProgress", "ScoringProgress", "joint_progress", "scoring_progress"]

_COLUMNS = (
    "{task.description}",
    "bar",
    "{task.fields[prompts]}",
    "{task.fields[speed]}",
    "remaining",
)


class ScoringProgress:
    """Counts finished work; shows it where there is a bar."""

    def __init__(self, bar: Any, *, n_models: int, work: float) -> None:
        self._bar = bar
        self._n_models = n_models
        self._model = 0
        self._done = 0.0
        self._task = None
        if bar is not None:
            self._task = bar.add_task("", total=max(work, 1.0), prompts="", speed="")

    def model(self, name: str, *, pairs: int, todo: int, n_prompts: int, weight: float) -> None:
        """Start a model."""
        self._model += 1
        self._pairs, self._before, self._weight = pairs, pairs - todo, weight
        self._each = max(1, pairs // n_prompts)
        self._n_prompts = n_prompts
        self._finished = 0
        self._start = time.monotonic()
        self._update(description=f"{visible(name)} ({self._model}/{self._n_models})")

    def advance(self, pairs: int) -> None:
        """Set how many pairs of the current block are done."""
        done = self._finished + pairs
        seconds = time.monotonic() - self._start
        prompts = min((self._before + done) // self._each, self._n_prompts)
        self._update(
            completed=self._done + done * self._weight,
            prompts=f"{prompts}/{self._n_prompts} prompts",
            speed=f"{done / seconds:,.0f} pairs/s" if seconds > 0.5 else "",
        )

    def finish(self, pairs: int) -> None:
        """Count a finished block."""
        self._finished += pairs
        self.advance(0)

    def end(self) -> None:
        """End a model."""
        self._done += self._finished * self._weight

    def _update(self, **fields: Any) -> None:
        if self._bar is not None:
            self._bar.update(self._task, **fields)


@contextmanager
def scoring_progress(*, shown: bool, n_models: int, work: float) -> Iterator[ScoringProgress]:
    """Show progress while models are scored."""
    with live_bar(*_COLUMNS, shown=shown) as bar:
        yield ScoringProgress(bar, n_models=n_models, work=work)


class JointProgress:
    """Counts what workers have finished, of several models at a time."""

    def __init__(self, bar: Any, *, n_models: int, work: float) -> None:
        self._bar = bar
        self._n_models, self._ended, self._workers = n_models, 0, 0
        self._done, self._pairs = 0.0, 0
        self._start = time.monotonic()
        self._task = None
        if bar is not None:
            self._task = bar.add_task("", total=max(work, 1.0), prompts="", speed="")

    def workers(self, n: int) -> None:
        """Set how many workers there are."""
        self._workers = n
        self._update()

    def begin(self, done: float) -> None:
        """Begin a model, of which so much work was done before."""
        self._done += done
        self._update()

    def finish(self, pairs: int, weight: float) -> None:
        """Count a finished block."""
        self._done += pairs * weight
        self._pairs += pairs
        self._update()

    def end(self) -> None:
        """End a model."""
        self._ended += 1
        self._update()

    def _update(self) -> None:
        if self._bar is None:
            return
        seconds = time.monotonic() - self._start
        self._bar.update(
            self._task,
            completed=self._done,
            description=f"{self._workers} worker{'' if self._workers == 1 else 's'}",
            prompts=f"{self._ended}/{self._n_models} models",
            speed=f"{self._pairs / seconds:,.0f} pairs/s" if seconds > 0.5 else "",
        )


@contextmanager
def joint_progress(*, shown: bool, n_models: int, work: float) -> Iterator[JointProgress]:
    """Show progress while workers score."""
    with live_bar(*_COLUMNS, shown=shown) as bar:
        yield JointProgress(bar, n_models=n_models, work=work)
