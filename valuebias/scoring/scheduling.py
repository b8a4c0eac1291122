"""Deal blocks to workers that come and go, a model to as few of them as keeps all at work.

Who computes what is decided here, and by whom it is written: the process that deals. A worker has
two blocks at a time, so that one waits while the other is computed, and little is lost with it.
What a lost worker had is dealt again. How blocks reach a worker is a :class:`Pool`'s affair.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Protocol

from valuebias.errors import ValueBiasError, shown
from valuebias.scoring.request import Block

__all__ = ["LOST", "Dealer", "Job", "Pool"]

LOST = object()
"""Instead of an answer: the worker is gone, or its answer with it."""


class Job(Protocol):
    """What is to be done for one model."""

    name: str
    group: Hashable  # models that a worker best computes after one another are of one
    weight: float  # the work per pair, roughly
    in_order: bool  # whether a row of blocks is best computed by one worker, in order

    def begin(self) -> Sequence[Block]:
        """Get ready; give the blocks to be computed, in order."""

    def keep(self, block: Block, answer: Any) -> bool:
        """Keep an answer; False where the block must be computed again."""

    def end(self) -> None:
        """All blocks are kept."""


class Pool(Protocol):
    """Workers."""

    def workers(self) -> Collection[str]:
        """Name those that are there now."""

    def submit(self, worker: str, job: Any, block: Block, ahead: Block | None) -> int:
        """Ask one for a block, and say which it is asked next; return a number to know it by."""

    def answers(self, seconds: float) -> Iterable[tuple[int, Any]]:
        """Wait so long at most for answers; raise what a worker raised."""

    def forget(self, numbers: Iterable[int]) -> None:
        """Drop what is no longer wanted."""


@dataclass(slots=True, eq=False)
class _Row:
    """Blocks that are kept in order."""

    of: _Begun
    order: deque[Block]  # not kept yet
    todo: deque[Block]  # neither kept nor dealt
    done: dict[tuple[int, int], Any] = field(default_factory=dict)  # came before their turn


@dataclass(slots=True, eq=False)
class _Begun:
    """A job that was begun."""

    job: Job
    blocks: Sequence[Block]
    at: int = 0  # the first that is in no row
    rows: int = 0  # how many rows are not finished
    returned: deque[_Row] = field(default_factory=deque)  # dealt once, and to be dealt again

    @property
    def left(self) -> int:
        """How many blocks nobody has, at least."""
        return len(self.blocks) - self.at + len(self.returned)

    def row(self) -> _Row | None:
        """Take a row of blocks."""
        if self.returned:
            return self.returned.popleft()
        if self.at == len(self.blocks):
            return None
        stop = self.at + 1
        if self.job.in_order:
            rest = (self.blocks[i] for i in range(self.at, len(self.blocks)))
            _, same = next(groupby(rest, key=lambda block: block.index[0]))
            stop = self.at + sum(1 for _ in same)
        blocks = self.blocks[self.at : stop]
        self.at, self.rows = stop, self.rows + 1
        return _Row(self, deque(blocks), deque(blocks))


@dataclass(slots=True, eq=False)
class _Hand:
    """What one worker has."""

    worker: str
    group: Hashable = None
    row: _Row | None = None
    next: tuple[_Row, Block] | None = None  # what it is asked next
    asked: dict[int, tuple[_Row, Block]] = field(default_factory=dict)


class Dealer:
    """Deals all blocks of some jobs."""

    def __init__(
        self,
        jobs: Iterable[Job],
        pool: Pool,
        *,
        at_once: int = 2,
        losses: int = 6,
        patience: float = 60.0,
        beat: float = 1.0,
    ) -> None:
        self._pool = pool
        self._at_once, self._losses = at_once, losses
        self._patience, self._beat = patience, beat
        self._fresh: dict[Hashable, deque[Job]] = {}
        for job in jobs:
            self._fresh.setdefault(job.group, deque()).append(job)
        self._begun: list[_Begun] = []
        self._hands: dict[str, _Hand] = {}
        self._hungry: dict[str, _Hand] = {}  # have less than they could
        self._asked: dict[int, _Hand] = {}
        self._lost: dict[tuple[str, tuple[int, int]], int] = {}
        self._seen = time.monotonic()  # when there was a worker

    def run(self) -> None:
        """Deal until everything is kept."""
        due = 0.0
        try:
            while True:
                if time.monotonic() >= due:
                    self._muster()
                    due = time.monotonic() + self._beat
                self._deal()
                if not self._fresh and not self._begun:
                    return
                for number, answer in self._pool.answers(self._beat):
                    self._take(number, answer)
        finally:
            self._pool.forget(list(self._asked))

    def _muster(self) -> None:
        """See who is there."""
        present = self._pool.workers()
        now = time.monotonic()
        if present:
            self._seen = now
        elif now - self._seen > self._patience:
            raise ValueBiasError(
                f"All workers are gone, and none came back in {self._patience:.0f} s. Start "
                "workers (of a cluster made here: cluster.scale(2)), and run the same call again."
            )
        for worker in [worker for worker in self._hands if worker not in present]:
            self._leave(self._hands.pop(worker))
        for worker in present:
            if worker not in self._hands:
                self._hands[worker] = self._hungry[worker] = _Hand(worker)

    def _leave(self, hand: _Hand) -> None:
        """Take back what a lost worker had."""
        self._hungry.pop(hand.worker, None)
        self._pool.forget(hand.asked)
        # Blocks are computed one at a time: the others only waited.
        for _, (row, block) in list(hand.asked.items())[:1]:
            self._count(row, block)
        for number in hand.asked:
            del self._asked[number]
        self._give_back([*hand.asked.values(), *([] if hand.next is None else [hand.next])])
        if hand.row is not None and hand.row.todo:
            self._return(hand.row)

    def _count(self, row: _Row, block: Block) -> None:
        key = (row.of.job.name, block.index)
        self._lost[key] = times = self._lost.get(key, 0) + 1
        if times >= self._losses:
            raise ValueBiasError(
                f"{times} workers were lost while they computed block {block.index} of the model "
                f"{shown(row.of.job.name)} (prompts {block.prompts.start + 1} to "
                f"{block.prompts.stop}), so that it is not tried again. The logs of the workers "
                "say why they ended; a worker with too little memory is killed by the system or "
                "by Dask. Give workers more memory, or fewer of them a machine, or a smaller "
                "batch_tokens, and run the same call again."
            )

    def _give_back(self, blocks: Iterable[tuple[_Row, Block]]) -> None:
        rows: dict[int, tuple[_Row, list[Block]]] = {}
        for row, block in blocks:
            rows.setdefault(id(row), (row, []))[1].append(block)
        for row, some in rows.values():
            row.todo = deque(sorted([*some, *row.todo], key=lambda block: block.index))
            self._return(row)

    def _return(self, row: _Row) -> None:
        """Let the next worker take a row, unless the one that has it will come to it."""
        held = any(hand.row is row for hand in self._hands.values())
        if not held and row not in row.of.returned:
            row.of.returned.append(row)
        # Those that found nothing to do find something now.
        self._hungry |= {hand.worker: hand for hand in self._hands.values() if hand.next is None}

    def _deal(self) -> None:
        """Give every worker one block before any has two."""
        for level in range(1, self._at_once + 1):
            for hand in list(self._hungry.values()):
                if len(hand.asked) < level and not self._ask(hand):
                    self._hungry.pop(hand.worker)
        for worker in [w for w, hand in self._hungry.items() if len(hand.asked) >= self._at_once]:
            del self._hungry[worker]

    def _ask(self, hand: _Hand) -> bool:
        found = hand.next or self._find(hand)
        if found is None:
            return False
        hand.next = self._find(hand)
        row, block = found
        of_one = hand.next is not None and hand.next[0].of is row.of
        ahead = hand.next[1] if of_one and hand.next is not None else None
        number = self._pool.submit(hand.worker, row.of.job, block, ahead)
        hand.asked[number] = found
        self._asked[number] = hand
        return True

    def _find(self, hand: _Hand) -> tuple[_Row, Block] | None:
        """Find the block that a worker does next: of its own model, a new one, another's."""
        if hand.row is not None and hand.row.todo:
            return hand.row, hand.row.todo.popleft()
        begun = None if hand.row is None else hand.row.of
        row = None if begun is None else begun.row()
        while row is None and (job := self._next_job(hand)) is not None:
            begun = _Begun(job, job.begin())
            row = begun.row()
            if row is None:
                job.end()
            else:
                self._begun.append(begun)
        if row is None:
            most = max((b for b in self._begun if b.left), key=_work_left, default=None)
            row = None if most is None else most.row()
        if row is None:
            return self._unbegun(hand)
        hand.row, hand.group = row, row.of.job.group
        return row, row.todo.popleft()

    def _next_job(self, hand: _Hand) -> Job | None:
        """Choose a model: of what the worker has loaded, else of what no other has."""
        if not self._fresh:
            return None
        taken = {other.group for other in self._hands.values()}
        group = hand.group
        if group not in self._fresh:
            group = next((each for each in self._fresh if each not in taken), None)
        if group is None:
            group = next(iter(self._fresh))
        jobs = self._fresh[group]
        job = jobs.popleft()
        if not jobs:
            del self._fresh[group]
        return job

    def _unbegun(self, hand: _Hand) -> tuple[_Row, Block] | None:
        """Take what another worker is only to be asked for next, rather than do nothing."""
        for other in self._hands.values():
            found = other.next
            if other is not hand and found is not None and not found[0].of.job.in_order:
                other.next = None
                return found
        return None

    def _take(self, number: int, answer: Any) -> None:
        hand = self._asked.pop(number, None)
        if hand is None:
            return
        row, block = hand.asked.pop(number)
        self._hungry[hand.worker] = hand
        if answer is LOST:
            self._count(row, block)
            self._give_back([(row, block)])
            return
        row.done[block.index] = answer
        job = row.of.job
        while row.order and row.order[0].index in row.done:
            first = row.order[0]
            if not job.keep(first, row.done.pop(first.index)):
                self._give_back([(row, first)])
                return
            row.order.popleft()
        if row.order:
            return
        row.of.rows -= 1
        if not row.of.left and not row.of.rows:
            self._begun.remove(row.of)
            job.end()


def _work_left(begun: _Begun) -> float:
    return begun.left * begun.job.weight
