"""What a Dask worker does when fits are shared out: one at a time of those it is asked for."""

from __future__ import annotations

import threading
import warnings
from typing import Any, Protocol

from distributed import Worker, WorkerPlugin, get_worker

from valuebias._core.clusters import read_orders
from valuebias.backends import memory
from valuebias.errors import ValueBiasWarning

__all__ = ["FitPlugin", "Task", "estimate"]


class Task(Protocol):
    """What all fits share."""

    def estimate(self, asked: Any, /) -> dict[str, Any]:
        """Fit once, and give what is read out of it."""


class FitPlugin(WorkerPlugin):  # type: ignore[misc]
    """Knows what all fits share."""

    def __init__(self, name: str, task: bytes) -> None:
        self.name = name
        self._task = task

    def setup(self, worker: Worker) -> None:
        """Get ready on a worker."""
        self._lock = threading.Lock()
        self._told: Task | None = None
        self._where = worker.address

    def estimate(self, asked: Any) -> dict[str, Any]:
        """Estimate what is asked."""
        # What is ignored is shared by all threads of a process.
        with self._lock, memory.keep_freed(), warnings.catch_warnings():
            warnings.simplefilter("ignore", ValueBiasWarning)
            if self._told is None:
                told: Task = read_orders(
                    self._task, self._where, "Install the same packages there."
                )
                self._told = told
            return self._told.estimate(asked)


def estimate(name: str, asked: Any) -> dict[str, Any]:
    """Estimate what is asked on the worker that runs this."""
    plugin: FitPlugin = get_worker().plugins[name]
    return plugin.estimate(asked)
