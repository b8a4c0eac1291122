"""Do the runs of a study by the workers of a Dask cluster: ``Study.run(out, client=client)``.

A worker writes what it finishes into the study's folder, as one process does: each file whole,
under a name that says what is in it. So a run that is done twice, because its worker was lost, is
the same; and the process that asks finds everything finished when it puts the scores together.
"""

from __future__ import annotations

import os
import socket
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from valuebias._core.disk import explain_os_errors
from valuebias._core.progress import progress_bar
from valuebias.ablation.design import Design
from valuebias.errors import ValueBiasError, few, shown
from valuebias.models.spec import Model
from valuebias.scoring.cluster_client import (
    absolute,
    by_workers,
    check_client,
    dumped,
    workers_of,
)

if TYPE_CHECKING:
    from distributed import Client

    from valuebias.training.features import Base

__all__ = ["Cell", "run_cells"]

Cell = tuple[int, str | None, int | None, int | None, str | None]
"""What one worker does in one go: a base's number; of trained models source, seed, pairs, aim."""


def check(client: Client, design: Design) -> None:
    """Refuse clusters that would give other results, or none."""
    check_client(client, design.engine)
    threads = {worker: n for worker, n in workers_of(client).items() if n > 1}
    if threads:
        worker, n = next(iter(threads.items()))
        raise ValueBiasError(
            f"The worker {worker} has {n} threads, and would train as many models at a time, with "
            "random numbers that they share. Start workers with one thread each: "
            "LocalCluster(n_workers=..., threads_per_worker=1), dask worker --nthreads 1."
        )
    homes = client.run(_home)
    twice = [home for home, n in Counter(homes.values()).items() if n > 1]
    if twice:
        raise ValueBiasError(
            f"Several workers are one process (number {twice[0][1]} on {twice[0][0]}), and would "
            "train models with random numbers that they share. Start each as a process of its "
            "own: LocalCluster(..., processes=True)."
        )
    with _token(design.out) as token:
        blind = [worker for worker, sees in client.run(os.path.exists, token).items() if not sees]
    if blind:
        raise ValueBiasError(
            f"The folder {str(design.out)!r} of the study is not the same for the worker "
            f"{blind[0]}{' and others' if len(blind) > 1 else ''}. Workers write what they finish "
            "there: give a folder on a disk that all of them share."
        )


def _home() -> tuple[str, int]:
    return socket.gethostname(), os.getpid()


@contextmanager
def _token(folder: Path) -> Iterator[str]:
    """Make a file that workers look for."""
    path = (folder / f".seen-{uuid.uuid4().hex}").resolve()
    with explain_os_errors(path):
        path.touch()
    try:
        yield str(path)
    finally:
        path.unlink(missing_ok=True)


def run_cells(client: Client, design: Design, bases: Sequence[tuple[Model, Base]]) -> None:
    """Do all cells of a study; note which runs failed, and why."""
    from valuebias.ablation.cluster_worker import Asked, StudyPlugin, do

    check(client, design)
    cells = _cells(design, len(bases))
    name = f"valuebias-{uuid.uuid4().hex}"
    orders = replace(design, out=design.out.resolve(), progress=False, failures={}, details={})
    asked = [Asked(*absolute(model), base.sha256) for model, base in bases]
    plugin = StudyPlugin(name, dumped((orders, asked), "The study"))
    # The long runs first, so that none is left to one worker in the end.
    by_length = {cell: cell for cell in sorted(cells, key=lambda cell: -(cell[3] or 0))}
    results = by_workers(
        client,
        plugin,
        do,
        by_length,
        lambda cell: _said(bases, cell),
        lambda: check(client, design),
    )
    failed: dict[Cell, dict[str, str]] = {}
    with (
        _naming_folder(design.out),
        progress_bar(f"{len(cells)} parts by workers", shown=design.progress) as advance,
        closing(results),
    ):
        for cell, failures in results:
            failed[cell] = failures
            if advance is not None:
                advance(len(failed), len(cells))
    for cell in cells:
        design.failures.update(failed[cell])


@contextmanager
def _naming_folder(out: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt as stopped:
        stopped.add_note(
            f"What was finished is kept in {str(out)!r}; run the same call again to go on. Workers "
            "stop after the step, or the batch, that they are computing."
        )
        raise


def _cells(design: Design, n_bases: int) -> list[Cell]:
    """Cut a study into what workers do: heads by their base, whose features they share."""
    study = design.study
    if study.tuning == "head":
        return [(index, None, None, None, None) for index in range(n_bases)]
    return [
        (index, str(source), seed, n_pairs, objective.name)
        for index in range(n_bases)
        for source in design.sources
        for seed in study.seeds
        for n_pairs in sorted(study.n_pairs)
        for objective in study.objective
    ]


def _said(bases: Sequence[tuple[Model, Base]], cell: Cell) -> str:
    index, *rest = cell
    parts = [shown(bases[index][0].name), *(str(part) for part in rest if part is not None)]
    return few(parts, quote=False)
