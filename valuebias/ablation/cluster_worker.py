"""What a Dask worker does for a study: all heads of one base, or one fine-tuned model."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, replace

from distributed import Worker, WorkerPlugin, get_worker

from valuebias._core.clusters import read_orders
from valuebias.ablation.cluster import Cell
from valuebias.ablation.design import Design
from valuebias.ablation.head_runs import train_heads
from valuebias.ablation.trained_runs import train_one
from valuebias.backends import memory
from valuebias.errors import ValueBiasError, shown
from valuebias.models.spec import Model
from valuebias.training.features import Base, find_base

__all__ = ["Asked", "StudyPlugin", "do"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A base, as the process that asks for its runs knows it."""

    model: Model  # with absolute paths
    paths: tuple[str, ...]  # those of it that must be there
    sha256: str


class _Stopped(Exception):
    """Nobody waits for the study any more."""


class StudyPlugin(WorkerPlugin):  # type: ignore[misc]
    """Knows the study, and keeps the tokenizer of the last base."""

    def __init__(self, name: str, orders: bytes) -> None:
        self.name = name
        self._orders = orders

    def setup(self, worker: Worker) -> None:
        """Get ready on a worker."""
        self._lock = threading.Lock()
        self._closed = False
        self._told: tuple[Design, list[Asked]] | None = None
        self._base: tuple[int, Base] | None = None
        self._where = worker.address

    def teardown(self, worker: Worker) -> None:
        """Have a training come to an end after its step: no worker can be told to drop a task."""
        self._closed = True

    def _go_on(self) -> None:
        if self._closed:
            raise _Stopped("The study was stopped.")

    def do(self, cell: Cell) -> dict[str, str]:
        """Do one cell; say which runs failed, and why."""
        with self._lock, memory.keep_freed():
            self._go_on()
            design, asked = self._read()
            index, source, seed, n_pairs, name = cell
            if self._base is None or self._base[0] != index:
                self._base = None
                self._base = index, self._find(asked[index])
            design.failures.clear()
            try:
                if source is None or seed is None or n_pairs is None:
                    # What they give is read from the files that they write.
                    for _ in train_heads(design, self._base[1]):
                        pass
                else:
                    (objective,) = (one for one in design.study.objective if one.name == name)
                    train_one(design, self._base[1], objective, source, seed, n_pairs)
            finally:
                design.engine.release()
            return dict(design.failures)

    def _find(self, asked: Asked) -> Base:
        lacking = [path for path in asked.paths if not os.path.exists(path)]
        if lacking:
            raise ValueBiasError(
                f"The worker {self._where} finds no {lacking[0]!r}, where the base "
                f"{shown(asked.model.name)} is. Workers read bases under the same paths as the "
                "process that asks them: use a disk that all share, or give hub ids."
            )
        base = find_base(asked.model)
        if base.sha256 != asked.sha256:
            raise ValueBiasError(
                f"The worker {self._where} finds other files of the base "
                f"{shown(asked.model.name)} than the process that asks it: {shown(base.sha256)}, "
                f"not {shown(asked.sha256)}. Give all the same "
                "files, or pin the revision of a hub id, and run the same call again."
            )
        return base

    def _read(self) -> tuple[Design, list[Asked]]:
        if self._told is None:
            told: tuple[Design, list[Asked]] = read_orders(
                self._orders,
                self._where,
                "Functions and classes of your own must be in a module that workers can import: "
                "install it there, too, or send it by client.upload_file(...).",
            )
            design, asked = told
            self._told = replace(design, go_on=self._go_on), asked
        return self._told


def do(name: str, cell: Cell) -> dict[str, str]:
    """Do one cell on the worker that runs this."""
    plugin: StudyPlugin = get_worker().plugins[name]
    return plugin.do(cell)
