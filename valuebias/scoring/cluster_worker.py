"""What a Dask worker does when it scores: it keeps one model loaded, and computes block by block.

A block is laid out as one process lays it out, whatever the worker did before; so that scores do
not depend on which worker computed them, nor on how many there are.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from distributed import Worker, WorkerPlugin, get_worker

from valuebias._core.arrays import Floats
from valuebias._core.clusters import read_orders
from valuebias.backends import memory
from valuebias.backends.base import Backend
from valuebias.errors import ValueBiasError, shown
from valuebias.models.resolve import resolve
from valuebias.models.spec import Model
from valuebias.models.tokenizer import Tokenizer
from valuebias.scoring.compute import NO_TOKENS, Batch, Conversations, Runner, loaded
from valuebias.scoring.records import run_record
from valuebias.scoring.request import Block, ScoringRequest

__all__ = ["Answer", "Asked", "Orders", "ScoringPlugin", "compute"]


_OTHER = {
    "weights": "other weights",
    "adapter": "another adapter",
    "tokenizer": "another tokenizer",
    "template": "another template",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One model, as the process that asks for its scores knows it."""

    model: Model  # as it was specified; with absolute paths
    paths: tuple[str, ...]  # those of it that must be there
    shared: bool  # see Source.shared
    read_labels: tuple[int, ...]  # see Source.read_labels
    settings: Mapping[str, Any]  # what its scores depend on


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What all workers are told once."""

    engine: Backend
    request: ScoringRequest  # without its models
    models: tuple[Asked, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """What a worker found for a block."""

    batch: Batch  # of its conversations as much as is needed to keep the scores
    values: Floats
    batch_tokens: int  # how many tokens the packs could have at first ...
    smaller: int | None  # ... and in the end, where memory ran out
    worker: str
    run: dict[str, Any]  # with what it was computed


class _Stopped(Exception):
    """Nobody waits for the scores any more."""


@dataclass(slots=True, eq=False)
class _Held:
    """A model that is loaded."""

    index: int
    tokenizer: Tokenizer
    conversations: Conversations
    runner: Runner
    batch_tokens: int  # the engine's choice
    finishing: ExitStack
    last: tuple[int, int] = (-1, -1)  # the last block that was tokenised
    ahead: tuple[Block, Future[Batch]] | None = None  # being tokenised


class ScoringPlugin(WorkerPlugin):  # type: ignore[misc]
    """Keeps a model loaded from one block to the next, until another one is asked for."""

    def __init__(self, name: str, orders: bytes) -> None:
        self.name = name
        self._orders = orders

    def setup(self, worker: Worker) -> None:
        """Get ready on a worker."""
        # A worker of several threads still computes one block at a time.
        self._lock = threading.Lock()
        self._closed = False
        self._held: _Held | None = None
        self._told: Orders | None = None
        self._where = f"{worker.address} on {socket.gethostname()}"

    def teardown(self, worker: Worker) -> None:
        """Let go of the model; a block that is being computed comes to an end first."""
        self._closed = True
        if self._lock.acquire(blocking=False):
            try:
                self._let_go()
            finally:
                self._lock.release()

    def compute(
        self, index: int, block: Block, ahead: Block | None, batch_tokens: int | None
    ) -> Answer:
        """Compute a block of one model; meanwhile tokenise the one that is asked for next."""
        with self._lock, memory.keep_freed():
            try:
                return self._compute(index, block, ahead, batch_tokens)
            finally:
                if self._closed:
                    self._let_go()

    def _compute(
        self, index: int, block: Block, ahead: Block | None, batch_tokens: int | None
    ) -> Answer:
        self._go_on()
        orders = self._read_orders()
        if self._held is None or self._held.index != index:
            self._let_go()
            self._held = self._load(orders, index)
        held = self._held
        # Not what an earlier block left: a block's packs depend on the block alone.
        before = held.runner.batch_tokens = batch_tokens or held.batch_tokens
        batch = _batch(orders.request, held, block)
        with ThreadPoolExecutor(max_workers=1) as executor:
            if ahead is not None:
                held.ahead = ahead, executor.submit(_tokenised, orders.request, held, ahead)
            values = held.runner.run(batch, self._go_on)
        memory.trim()
        after = held.runner.batch_tokens
        held.runner.batch_tokens = before
        return Answer(
            batch=_slim(batch),
            values=values,
            batch_tokens=before,
            smaller=after if after != before else None,
            worker=self._where,
            run=run_record(held.runner),
        )

    def _go_on(self, done: int = 0) -> None:
        """Stop between two packs where the run is over."""
        if self._closed:
            raise _Stopped("The run was stopped.")

    def _read_orders(self) -> Orders:
        if self._told is None:
            told: Orders = read_orders(
                self._orders,
                self._where,
                "Backends and heads of your own must be in a module that workers can import: "
                "install it there, too, or send it by client.upload_file(...).",
            )
            self._told = told
        return self._told

    def _load(self, orders: Orders, index: int) -> _Held:
        asked, engine, request = orders.models[index], orders.engine, orders.request
        lacking = [path for path in asked.paths if not os.path.exists(path)]
        if lacking:
            raise ValueBiasError(
                f"The worker {self._where} finds no {lacking[0]!r}, which the model "
                f"{shown(asked.model.name)} needs. Workers read models under the same paths as "
                "the process that asks them: use a disk that all share, or give hub ids, which "
                "each fetches for itself. Machines that share nothing take shards: "
                "score(..., shard=(i, n)), then valuebias.merge."
            )
        resolved = resolve(
            asked.model,
            kind=request.measured,
            with_weights=engine.weights_here,
            adapted=engine.adapters,
        )
        source = replace(resolved.source, shared=asked.shared, read_labels=asked.read_labels)
        tokenizer = Tokenizer(resolved)
        prompt, _ = request.first()
        mark = resolved.model.step_mark if request.kind == "reward" else None
        source = tokenizer.with_step_token(source, mark, prompt)
        found = {
            "weights": resolved.base_sha256 or source.weights_sha256,
            "adapter": resolved.adapter_sha256 or None,
            "tokenizer": tokenizer.sha256,
            "template": tokenizer.template_sha256,
        }
        other = [key for key, value in found.items() if value != asked.settings.get(key)]
        if other:
            raise ValueBiasError(
                f"The worker {self._where} finds {_OTHER[other[0]]} of the model "
                f"{shown(asked.model.name)} than the process that asks it: "
                f"{shown(found[other[0]])}, not {shown(asked.settings.get(other[0]))}. Give all "
                "the same files, or pin the revision of a hub id, and run the same call again."
            )
        vocabulary = tokenizer.vocabulary() if request.words is None else NO_TOKENS
        finishing = ExitStack()
        finishing.enter_context(memory.set_aside())
        finishing.callback(memory.release)
        width = len(asked.read_labels) or None
        runner = finishing.enter_context(loaded(engine, source, width=width))
        memory.release()
        conversations = Conversations(request, tokenizer, vocabulary)
        return _Held(index, tokenizer, conversations, runner, runner.batch_tokens, finishing)

    def _let_go(self) -> None:
        if self._closed and self._told is not None:
            self._told.engine.release()
        if self._held is not None:
            finishing, self._held = self._held.finishing, None
            finishing.close()


def compute(
    name: str, index: int, block: Block, ahead: Block | None, batch_tokens: int | None
) -> Answer:
    """Compute a block on the worker that runs this."""
    plugin: ScoringPlugin = get_worker().plugins[name]
    return plugin.compute(index, block, ahead, batch_tokens)


def _batch(request: ScoringRequest, held: _Held, block: Block) -> Batch:
    waiting, held.ahead = held.ahead, None
    if waiting is not None and waiting[0] == block:
        return waiting[1].result()
    return _tokenised(request, held, block)


def _tokenised(request: ScoringRequest, held: _Held, block: Block) -> Batch:
    # What they have seen is in order; blocks that are computed again are not.
    if block.index <= held.last:
        vocabulary = held.tokenizer.vocabulary() if request.words is None else NO_TOKENS
        held.conversations = Conversations(request, held.tokenizer, vocabulary)
    held.last = block.index
    return held.conversations.batch(block)


def _slim(batch: Batch) -> Batch:
    """Leave out what only computing needs: of log-probs the lengths of words are needed."""
    if batch.first is None or batch.ends is not None:
        return replace(batch, sequences=[])
    words = [ids[start:] for ids, start in zip(batch.sequences, batch.first, strict=True)]
    return replace(batch, sequences=words, first=np.zeros_like(batch.first))
