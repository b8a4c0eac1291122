"""From a block to numbers: its conversations, their packs, and the scores they give."""

from __future__ import annotations

import hashlib
import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from valuebias._core.arrays import Floats, Integers
from valuebias.backends.base import Backend, LoadedModel, OutOfMemory, Source
from valuebias.backends.packing import (
    Packed,
    distinct,
    pack_along,
    pack_rewards,
    pack_targets,
)
from valuebias.errors import ValueBiasError, ValueBiasWarning
from valuebias.instruments import Judge
from valuebias.models.tokenizer import Tokenizer
from valuebias.models.verdicts import verdict_targets
from valuebias.schema.contrast_scores import present
from valuebias.scoring.request import Block, ScoringRequest

__all__ = ["NO_TOKENS", "Batch", "Conversations", "Runner", "loaded", "pack"]

NO_TOKENS = pd.DataFrame({"token_id": np.empty(0, dtype=np.int64), "token": [], "text": []})
"""Instead of a vocabulary, where the words of a lexicon are scored."""


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """The conversations of a block."""

    block: Block  # which
    sequences: list[Integers]  # token ids, prompt by prompt; without those of earlier blocks
    first: Integers | None = None  # for log-probs of words: where the word's tokens begin in each
    # (response,): where conversations repeat: which response each one's score is that of.
    source: Integers | None = None
    # (prompt, response), bool: of contrast sets, which are there; None = all.
    present: Any = None
    # Of rewards along answers: of each token from ``first`` on, where in the answer it ends.
    ends: list[Integers] | None = None

    def spread(self, values: Floats) -> Floats:
        """Give each pair of the block its values, NaN where it is not there."""
        if self.present is None:
            return values
        there = self.present.ravel()
        own = values.reshape(int(there.sum()), -1)
        spread = np.full((len(there), own.shape[1]), np.nan, dtype=values.dtype)
        spread[there] = own
        return spread.reshape(-1, *values.shape[1:])


class Conversations:
    """The conversations of one model, tokenised block by block."""

    def __init__(
        self, request: ScoringRequest, tokenizer: Tokenizer, vocabulary: pd.DataFrame
    ) -> None:
        self._request = request
        self._tokenizer = tokenizer
        self._vocabulary = vocabulary
        self._texts = [str(text) for text in request.prompts.table["text"]]
        self._present = None if request.contrasts is None else present(request.contrasts)
        self._prompt = -1
        self._seen = _Seen()

    def batch(self, block: Block) -> Batch:
        """Tokenise a block."""
        texts = self._texts[block.prompts]
        words = self._request.words
        if words is None:
            if self._request.measured == "logprob":
                return Batch(block, self._tokenizer.prefixes(texts))
            return self._tokens(block)
        asked = itertools.chain.from_iterable(self._request.conversations(block.prompts))
        present = None if self._present is None else self._present[block.prompts]
        if present is not None and present.all():
            present = None
        if self._request.along:
            found = [self._tokenizer.along(text, answers) for text, answers in asked]
            sequences = [ids for some, _, _ in found for ids in some]
            starts = np.concatenate([start for _, start, _ in found])
            ends = [end for _, _, some in found for end in some]
            return Batch(block, sequences, starts, present=present, ends=ends)
        if self._request.kind == "reward":
            ids = [ids for text, answers in asked for ids in self._tokenizer.rewards(text, answers)]
            return Batch(block, ids, present=present)
        if self._request.judge is not None:
            sequences, first = self._judged(asked, self._request.judge)
            return Batch(block, sequences, first, present=present)
        targets = [self._tokenizer.targets(text, answers) for text, answers in asked]
        sequences = [ids for some, _ in targets for ids in some]
        first = np.concatenate([start for _, start in targets])
        return Batch(block, sequences, first, present=present)

    def _judged(
        self, asked: Iterable[tuple[str, Sequence[str]]], judge: Judge
    ) -> tuple[list[Integers], Integers]:
        """Tokenise what a judge is asked, with each verdict: they share all but one token."""
        sequences: list[Integers] = []
        first = []
        messages = (
            said for text, answers in asked for one in answers for said in judge.messages(text, one)
        )
        for ids, start in verdict_targets(self._tokenizer, judge, messages):
            sequences += ids
            first += [start] * len(ids)
        return sequences, np.array(first, dtype=np.int64)

    def _tokens(self, block: Block) -> Batch:
        """Leave out conversations that equal an earlier token's after the same prompt."""
        if block.prompts.start != self._prompt:
            self._prompt, self._seen = block.prompts.start, _Seen()
        # After a resume, earlier blocks are tokenised again to know their conversations.
        for start in range(len(self._seen), block.responses.start, block.n_responses):
            stop = min(start + block.n_responses, block.responses.start)
            self._seen.add(self._conversations(start, stop))
        conversations = self._conversations(block.responses.start, block.responses.stop)
        source = self._seen.add(conversations)
        first = np.arange(block.responses.start, block.responses.stop) == source
        return Batch(block, [conversations[i] for i in np.flatnonzero(first)], source=source)

    def _conversations(self, start: int, stop: int) -> list[Integers]:
        rows = self._vocabulary.iloc[start:stop]
        text = self._texts[self._prompt]
        if self._request.tokens_as == "ids":
            return self._tokenizer.rewards_by_id(text, rows["token_id"].tolist())
        # Some tokens' texts are mark-up to the template.
        return self._tokenizer.rewards(text, rows["text"].tolist(), as_written=False)


class _Seen:
    """Hashes of conversations that have occurred; those of a vocabulary would fill the memory."""

    def __init__(self) -> None:
        self._count = 0
        # Distinct hashes in order, and the index at which each occurred first.
        self._hashes = np.empty(0, dtype="V16")
        self._first = np.empty(0, dtype=np.int64)

    def __len__(self) -> int:
        return self._count

    def add(self, conversations: Sequence[Integers]) -> Integers:
        """Add conversations; return for each the index at which it occurred first, from 0."""
        digests = [hashlib.blake2b(ids.tobytes(), digest_size=16).digest() for ids in conversations]
        new = np.frombuffer(b"".join(digests), dtype="V16")
        positions = self._count + np.arange(len(new))
        self._count += len(new)
        hashes = np.concatenate([self._hashes, new])
        first = np.concatenate([self._first, positions])
        kept, inverse = distinct(hashes)
        source = first[kept][inverse]
        self._hashes, self._first = hashes[kept], first[kept]
        return source[len(source) - len(new) :]


def pack(batch: Batch, batch_tokens: int) -> list[Packed]:
    """Lay out the conversations of a batch."""
    if batch.first is not None and batch.ends is not None:
        return pack_along(batch.sequences, batch.first, batch_tokens=batch_tokens)
    if batch.first is not None:
        return pack_targets(batch.sequences, batch.first, batch_tokens=batch_tokens)
    return pack_rewards(batch.sequences, batch_tokens=batch_tokens)


class Runner:
    """Runs a loaded model, in smaller packs where its device has too little memory."""

    def __init__(
        self, model: LoadedModel, source: Source, batch_tokens: int | None, width: int | None
    ) -> None:
        self.model = model
        self._name, self._kind = source.name, source.kind
        self._wide = () if width is None else (width,)
        self.batch_tokens = model.batch_tokens if batch_tokens is None else batch_tokens
        self._warned = False

    def run(self, batch: Batch, advance: Callable[[int], None]) -> Floats:
        """Compute a batch."""
        while True:
            try:
                return self._run(batch, advance)
            except _TooLarge as failed:
                self._back_off(failed)

    def _run(self, batch: Batch, advance: Callable[[int], None]) -> Floats:
        shape = self._shape(batch)
        values = np.full(shape, np.nan, dtype=np.float32)
        done = 0
        advance(0)
        for packed in pack(batch, self.batch_tokens):
            try:
                out = self.model.forward(packed.pack)
            except OutOfMemory as error:
                raise _TooLarge(packed, error) from error
            self._check(packed, out)
            if batch.first is not None:
                values[packed.item, packed.slot] = out[packed.out]
            else:
                values[packed.item] = out[packed.out]
            done += len(np.unique(packed.item)) if batch.first is not None else len(packed.item)
            advance(done)
        return values

    def _shape(self, batch: Batch) -> tuple[int, ...]:
        n = len(batch.sequences)
        if batch.first is not None:
            lengths = np.array([len(ids) for ids in batch.sequences], dtype=np.int64)
            return n, int((lengths - batch.first).max()), *self._wide
        return (n, self.model.vocabulary) if self._kind == "logprob" else (n, *self._wide)

    def _check(self, packed: Packed, out: Any) -> None:
        """Refuse results that break the backends' contract: a plug-in may be wrong."""
        layout = packed.pack
        expected: tuple[int, ...] = (len(layout.gather), *self._wide)
        if self._kind == "logprob":
            wide = (len(layout.gather), self.model.vocabulary)
            expected = wide if layout.target is None else (len(layout.target),)
        if not isinstance(out, np.ndarray) or out.shape != expected:
            returned = getattr(out, "shape", type(out).__name__)
            raise ValueBiasError(
                f"The backend returned {returned} for a pack of {self._name!r}; expected an array "
                f"of shape {expected}. Run its tests: valuebias.backends.testing."
            )

    def _back_off(self, failed: _TooLarge) -> None:
        if len(np.unique(failed.packed.item)) == 1 or len(failed.packed.pack) < 2:
            raise OutOfMemory(
                f"{self._name!r} has too little memory for a single conversation of "
                f"{len(failed.packed.pack)} tokens ({failed.error}). Use a device with more "
                "memory, a smaller dtype, or a smaller model."
            ) from failed.error
        before = self.batch_tokens
        self.batch_tokens = max(1, min(self.batch_tokens, len(failed.packed.pack)) // 2)
        if not self._warned:
            self._warned = True
            warnings.warn(
                f"{self._name!r} ran out of memory with packs of {before} tokens; continuing with "
                f"packs of {self.batch_tokens}. Give batch_tokens={self.batch_tokens} to start "
                "with them.",
                ValueBiasWarning,
                stacklevel=2,
            )


@contextmanager
def loaded(
    engine: Backend, source: Source, *, batch_tokens: int | None = None, width: int | None = None
) -> Iterator[Runner]:
    """Load a model for as long as the block runs; of hidden states `width` says how many."""
    model = engine.load(source)
    try:
        yield Runner(model, source, batch_tokens, width)
    finally:
        model.close()


class _TooLarge(Exception):
    """Carries the pack that was too large; only this module catches it."""

    def __init__(self, packed: Packed, error: OutOfMemory) -> None:
        super().__init__(str(error))
        self.packed = packed
        self.error = error
