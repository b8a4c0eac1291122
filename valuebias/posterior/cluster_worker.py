"""What a Dask worker does for a multiverse: one fit at a time of those that it is asked for."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Mapping
from typing import Any

from distributed import Worker, WorkerPlugin, get_worker

from valuebias._core.clusters import read_orders
from valuebias.errors import ValueBiasWarning
from valuebias.posterior.multiverse_fits import Task

__all__ = ["FitPlugin", "estimate"]


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

    def estimate(self, spec: Mapping[str, str]) -> dict[str, Any]:
        """Estimate one specification."""
        # What is ignored is shared by all threads of a process.
        with self._lock, warnings.catch_warnings():
            warnings.simplefilter("ignore", ValueBiasWarning)
            if self._told is None:
                told: Task = read_orders(
                    self._task, self._where, "Install the same packages there."
                )
                self._told = told
            return self._told.estimate(spec)


def estimate(name: str, spec: Mapping[str, str]) -> dict[str, Any]:
    """Estimate one specification on the worker that runs this."""
    plugin: FitPlugin = get_worker().plugins[name]
    return plugin.estimate(spec)
