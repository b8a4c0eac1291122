"""What a Dask worker does for a multiverse: one fit at a time of those that it is asked for."""

from __future__ import annotations

import pickle
import threading
import warnings
from collections.abc import Mapping
from typing import Any

from distributed import Worker, WorkerPlugin, get_worker

from valuebias.errors import ValueBiasError, ValueBiasWarning
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
                try:
                    self._told = pickle.loads(self._task)  # noqa: S301 -- from the client
                except Exception as error:
                    raise ValueBiasError(
                        f"The worker {self._where} cannot read what it is to do "
                        f"({type(error).__name__}: {error}). Install the same packages there."
                    ) from error
            return self._told.estimate(spec)


def estimate(name: str, spec: Mapping[str, str]) -> dict[str, Any]:
    """Estimate one specification on the worker that runs this."""
    plugin: FitPlugin = get_worker().plugins[name]
    return plugin.estimate(spec)
