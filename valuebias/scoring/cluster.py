"""Score by the workers of a Dask cluster: ``valuebias.score(models, client=client)``.

Workers compute blocks (:mod:`valuebias.scoring.cluster_worker`); who computes which is decided in
:mod:`valuebias.scoring.scheduling`; this process alone writes.
"""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import numpy as np

from valuebias.backends.base import Backend
from valuebias.errors import ValueBiasError, ValueBiasWarning
from valuebias.models.spec import Model
from valuebias.scoring.cluster_client import (
    AGAIN,
    PATIENCE,
    absolute,
    cancel,
    check_versions,
    dumped,
    told,
    workers_of,
)
from valuebias.scoring.keeping import InMemory, OnDisk
from valuebias.scoring.labels import LabelWriters, Places, Together
from valuebias.scoring.progress import JointProgress, joint_progress
from valuebias.scoring.references import Against
from valuebias.scoring.request import Block, ScoringRequest
from valuebias.scoring.scheduling import LOST, Dealer

if TYPE_CHECKING:
    from distributed import Client, Future

    from valuebias.scoring.cluster_worker import Answer

__all__ = ["fill"]


def fill(
    client: Client,
    keeper: InMemory | OnDisk,
    request: ScoringRequest,
    engine: Backend,
    groups: Sequence[Together],
    against: Mapping[str, Against],
    *,
    batch_tokens: int | None,
    progress: bool,
) -> list[Block]:
    """Score what is missing by the workers of a cluster; give all blocks that are there then."""
    everything: list[Block] = []
    total = sum(group.first.weight * group.first.pairs(request) for group in groups)
    with joint_progress(shown=progress, n_models=len(groups), work=total) as bar:
        jobs = [
            _ModelJob(index, group, keeper, request, against, everything, bar)
            for index, group in enumerate(groups)
        ]
        for job in jobs:
            job.batch_tokens = batch_tokens
        with _crew(client, engine, request, groups, bar) as crew:
            Dealer(jobs, crew, patience=PATIENCE).run()
    return everything


class _ModelJob:
    """The blocks of one model, or of labels of one, and how they are kept."""

    def __init__(
        self,
        index: int,
        group: Together,
        keeper: InMemory | OnDisk,
        request: ScoringRequest,
        against: Mapping[str, Against],
        everything: list[Block],
        bar: JointProgress,
    ) -> None:
        self.index, self.name, self.weight = index, group.name, group.first.weight
        self.group: Hashable = group.first.resolved.source.loaded_alike()
        # Rewards of a vocabulary look up conversations of earlier blocks.
        self.in_order = request.words is None and not request.rows
        self.batch_tokens: int | None = None
        self._together, self._keeper, self._request = group, keeper, request
        self._against, self._everything, self._bar = against, everything, bar
        self._places: Places | None = None
        self._writers: dict[int, LabelWriters] = {}
        self._noted: list[Any] = []
        self._warned = False

    def begin(self) -> list[Block]:
        """Open the model's place; give the blocks that are missing."""
        self._places = places = Places(self._together, self._keeper, self._request)
        self._everything += places.blocks
        before = places.pairs - sum(block.pairs for block in places.todo)
        self._bar.begin(before * self.weight)
        return places.todo

    def keep(self, block: Block, answer: Answer) -> bool:
        """Write a block; False where its packs were laid out unlike those before."""
        if self.batch_tokens is None:
            # Cards choose by their free memory: the first to answer chooses for all.
            self.batch_tokens = answer.batch_tokens
        if answer.batch_tokens != self.batch_tokens:
            return False
        if answer.run not in self._noted:
            self._begun().note_run(answer.run)
            self._noted.append(answer.run)
        if answer.smaller is not None and not self._warned:
            self._warned = True
            warnings.warn(
                f"{self.name!r} ran out of memory with packs of {answer.batch_tokens} tokens on "
                f"the worker {answer.worker}, which did with packs of {answer.smaller}. Give "
                f"batch_tokens={answer.smaller} to start with them everywhere.",
                ValueBiasWarning,
                stacklevel=2,
            )
        # What comes out of a message may not be written to.
        values = answer.values if answer.values.flags.writeable else np.array(answer.values)
        self._writer(block)(answer.batch, values)
        self._bar.finish(block.pairs, self.weight)
        return True

    def end(self) -> None:
        """Let go of the model's place."""
        self._places = None
        self._writers.clear()
        self._bar.end()

    def _begun(self) -> Places:
        if self._places is None:
            raise RuntimeError(f"{self.name} was not begun")
        return self._places

    def _writer(self, block: Block) -> LabelWriters:
        """Give what finishes a block: it remembers the row of blocks that it is in."""
        places = self._begun()
        row = block.index[0] if self.in_order else 0
        writer = self._writers.get(row)
        if writer is None:
            writer = self._writers[row] = places.writers(self._against)
        if self.in_order and block.responses.stop == places.n_responses:
            del self._writers[row]
        return writer


@contextmanager
def _crew(
    client: Client,
    engine: Backend,
    request: ScoringRequest,
    groups: Sequence[Together],
    bar: JointProgress,
) -> Iterator[_Crew]:
    """Tell all workers what they are to do, those to come included; in the end that it is over."""
    from valuebias.scoring.cluster_worker import Orders, ScoringPlugin

    specified = {model.name: model for model in request.models}
    orders = Orders(
        engine=engine,
        request=replace(request, models=()),
        models=tuple(_asked(group, specified[group.first.name]) for group in groups),
    )
    name = f"valuebias-{uuid.uuid4().hex}"
    what = "A head of one of the models"
    with told(client, ScoringPlugin(name, dumped(orders, what))):
        yield _Crew(client, engine, name, bar)


def _asked(group: Together, model: Model) -> Any:
    """Say what a worker needs to find a model by itself, and to know that it is the same."""
    from valuebias.scoring.cluster_worker import Asked

    one = group.first
    if one.resolved.commit and model.adapter is None:
        model = replace(model, revision=one.resolved.commit)
    model, paths = absolute(model)
    return Asked(
        model=model,
        paths=paths,
        shared=one.resolved.source.shared,
        read_labels=group.source.read_labels,
        settings=one.entry.settings,
    )


class _Crew:
    """The workers of a cluster, as :class:`valuebias.scoring.scheduling.Pool` has them."""

    def __init__(self, client: Client, engine: Backend, name: str, bar: JointProgress) -> None:
        self._client, self._engine, self._name, self._bar = client, engine, name, bar
        self._known: set[str] = set()
        self._futures: dict[int, tuple[Future, str]] = {}
        self._done: SimpleQueue[int] = SimpleQueue()
        self._number = 0

    def workers(self) -> set[str]:
        """Name those that are there now; refuse new ones that would compute other numbers."""
        present = set(workers_of(self._client))
        new = sorted(present - self._known)
        check_versions(self._client, self._engine, new)
        self._known = present
        self._bar.workers(len(present))
        return present

    def submit(self, worker: str, job: _ModelJob, block: Block, ahead: Block | None) -> int:
        """Ask one worker for a block; no other does it, so that models stay where they are."""
        from valuebias.scoring.cluster_worker import compute

        self._number = number = self._number + 1
        future = self._client.submit(
            compute,
            *(self._name, job.index, block, ahead, job.batch_tokens),
            key=f"{self._name}-{number}",
            workers=[worker],
            allow_other_workers=False,
            pure=False,
        )
        self._futures[number] = future, worker
        future.add_done_callback(lambda _: self._done.put(number))
        return number

    def answers(self, seconds: float) -> Iterator[tuple[int, Any]]:
        """Wait for answers."""
        try:
            numbers = [self._done.get(timeout=seconds)]
        except Empty:
            return
        numbers += [self._done.get() for _ in range(self._done.qsize())]
        for number in numbers:
            if number in self._futures:
                future, worker = self._futures.pop(number)
                yield number, self._answer(future, worker)

    def _answer(self, future: Future, worker: str) -> Any:
        from distributed import KilledWorker

        while True:
            if future.status in ("cancelled", "lost", "pending"):
                # Raises where the scheduler is gone.
                workers_of(self._client)
                return LOST
            if future.status == "error":
                error = future.exception()
                if isinstance(error, KilledWorker):
                    return LOST
                if not isinstance(error, ValueBiasError):
                    error.add_note(f"This happened on the worker {worker}. {AGAIN}")
                raise error
            # The worker may be lost with what it has: then the scheduler waits for it.
            with suppress(TimeoutError):
                return future.result(timeout=5)
            if worker not in workers_of(self._client):
                return LOST

    def forget(self, numbers: Iterable[int]) -> None:
        """Cancel what is no longer wanted."""
        cancel(
            self._client,
            [self._futures.pop(n)[0] for n in list(numbers) if n in self._futures],
        )
