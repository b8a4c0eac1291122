"""For workers of a cluster: slow backends and such as break, and what is looked at there."""

from __future__ import annotations

import importlib
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from naive_backend import NaiveBackend

from valuebias import ValueBiasError
from valuebias._core import provenance
from valuebias.backends import LoadedModel, OutOfMemory, Pack, Source


def wrapped(model: LoadedModel, before: object) -> LoadedModel:
    """Do something before each pack."""
    forward = model.forward

    def first(pack: Pack) -> np.ndarray:
        before(pack)  # type: ignore[operator]
        return forward(pack)

    model.forward = first  # type: ignore[method-assign]
    return model


class Slow(NaiveBackend):
    """Takes a while for each pack, and writes down which process loads a model."""

    def __init__(self, seconds: float, loads: Path | None = None) -> None:
        self.seconds, self.loads = seconds, loads

    def load(self, source: Source) -> LoadedModel:
        if self.loads is not None:
            with self.loads.open("a", encoding="utf-8") as file:
                file.write(f"{source.name} {os.getpid()}\n")
        return wrapped(super().load(source), lambda pack: time.sleep(self.seconds))


class Failing(NaiveBackend):
    """Fails after so many packs of one process."""

    def __init__(self, error: Exception, after: int) -> None:
        self.error, self.after = error, after

    def load(self, source: Source) -> LoadedModel:
        left = iter(range(self.after))

        def fail(pack: Pack) -> None:
            if next(left, None) is None:
                raise self.error

        return wrapped(super().load(source), fail)


class Deadly(NaiveBackend):
    """Ends the process that runs one conversation, as the system does when memory runs out."""

    def __init__(self, token: int) -> None:
        self.token = token

    def load(self, source: Source) -> LoadedModel:
        def end(pack: Pack) -> None:
            if self.token in pack.ids:
                os._exit(1)

        return wrapped(super().load(source), end)


class Cramped(NaiveBackend):
    """Has memory for packs of so many tokens only."""

    def __init__(self, most: int) -> None:
        self.most = most

    def load(self, source: Source) -> LoadedModel:
        def refuse(pack: Pack) -> None:
            if len(pack) > self.most:
                raise OutOfMemory(f"{len(pack)} tokens are too many")

        return wrapped(super().load(source), refuse)


class ByWorker(NaiveBackend):
    """Chooses another size of packs in each process, as cards with other free memory do."""

    def load(self, source: Source) -> LoadedModel:
        time.sleep(0.3)  # so that both workers are at work before the first is finished
        model = super().load(source)
        model.batch_tokens = 60 + os.getpid() % 1000
        return model


class Unsendable(NaiveBackend):
    """Holds what cannot be pickled."""

    def __init__(self) -> None:
        self.lock = threading.Lock()


def not_of_this_model(name: str) -> ValueBiasError:
    """Make an error such as a model's own."""
    return ValueBiasError(f"{name} is broken in a way of its own.", in_shell="Say so in a shell.")


class Elsewhere(NaiveBackend):
    """Has the weights elsewhere."""

    weights_here: ClassVar[bool] = False


def plugins(dask_worker: Any) -> list[str]:
    """Name what is left of runs on a worker."""
    return [name for name in dask_worker.plugins if "valuebias" in name]


def at_work(dask_worker: Any) -> list[Any]:
    """List the tasks that a worker's threads do, cancelled ones as well."""
    return list(dask_worker.active_threads.values())


def not_told(dask_worker: Any) -> None:
    """Leave a worker as it is before it is told of a run."""
    for name in plugins(dask_worker):
        del dask_worker.plugins[name]


def find_first(folder: str, there: bool) -> None:
    """Let a worker look for packages in a folder before all others, or no longer."""
    if there:
        sys.path.insert(0, folder)
    else:
        sys.path.remove(folder)
    importlib.invalidate_caches()
    provenance._versions.cache_clear()
