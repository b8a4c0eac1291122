"""What a reward head sees: the hidden states of a frozen base at the end of each conversation.

Computed once for a base, they serve every source, quantity and seed: training a head is then a
convex problem of a few hundred numbers, and scoring with it a matrix product.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from valuebias._core.arrays import Floats, Integers
from valuebias._core.atomic import atomic_path
from valuebias._core.sums import DamagedError, array_bytes, read_array
from valuebias.backends.base import Backend, hidden_states
from valuebias.errors import ValueBiasError, ValueBiasWarning
from valuebias.models.resolve import Resolved, resolve
from valuebias.models.spec import Model
from valuebias.models.tokenizer import Tokenizer
from valuebias.scoring.compute import Batch, Runner, loaded
from valuebias.scoring.request import Block

__all__ = ["Base", "Conversation", "feature_blocks", "features", "find_base"]

_BLOCK = 512
"""How many prompts are computed and written at a time."""


@dataclass(frozen=True, slots=True)
class Conversation:
    """A prompt and the answers to it."""

    prompt: str  # the messages before the answer, as JSON
    answers: tuple[str, ...]  # what the assistant may say

    @classmethod
    def after(cls, text: str, answers: Sequence[str]) -> Conversation:
        """Make one of a single turn, in which the user says ``text``."""
        return cls(json.dumps([{"role": "user", "content": text}]), tuple(answers))

    @classmethod
    def of_pairs(cls, pairs: pd.DataFrame) -> list[Conversation]:
        """Make one of each pair of preferences: the chosen answer, then the rejected one."""
        columns = (pairs[key].tolist() for key in ("prompt", "chosen", "rejected"))
        return [cls(p, (c, r)) for p, c, r in zip(*columns, strict=True)]

    def messages(self) -> list[dict[str, str]]:
        """Give the messages before the answer."""
        return [dict(message) for message in json.loads(self.prompt)]


@dataclass(frozen=True, slots=True)
class Base:
    """A frozen base model, ready to give features."""

    resolved: Resolved  # its files and what they say
    tokenizer: Tokenizer  # its own, with its template

    @property
    def name(self) -> str:
        """Its label."""
        return self.resolved.model.name

    def token_ids(self, conversations: Iterable[Conversation]) -> list[Integers]:
        """Tokenise each conversation with each of its answers."""
        return [i for c in conversations for i in self.tokenizer.rewards(c.messages(), c.answers)]

    @property
    def sha256(self) -> str:
        """Hash what the features depend on but for the conversations."""
        about = [
            self.resolved.source.weights_sha256, self.resolved.source.dtype,
            self.tokenizer.sha256, self.tokenizer.template_sha256,
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(about).encode()).hexdigest()


def find_base(model: Model) -> Base:
    """Find a base model and its tokenizer."""
    # What is trained on it stands on this very model, whatever it was itself trained from.
    # A new head reads at the end, wherever one that the model may have had did.
    reward_at = "last" if model.reward_at == "own" else model.reward_at
    variant = replace(model, head=hidden_states, base=model.base or model.name, reward_at=reward_at)
    resolved = resolve(variant, kind="reward")
    return Base(resolved, Tokenizer(resolved))


def features(
    base: Base,
    conversations: Sequence[Conversation],
    *,
    folder: Path,
    backend: Backend,
    advance: Callable[[int, int], None] | None = None,
) -> Floats:
    """Compute hidden states after the last norm, at the last token of every conversation.

    The result is (prompt, answer, hidden).
    """
    found = feature_blocks(base, conversations, folder=folder, backend=backend, advance=advance)
    return np.concatenate(list(found))


def feature_blocks(
    base: Base,
    conversations: Sequence[Conversation],
    *,
    folder: Path | None,
    backend: Backend,
    advance: Callable[[int, int], None] | None = None,
) -> Iterator[Floats]:
    """Compute them block by block, so that a caller need not hold them all; kept in a folder."""
    blocks = [conversations[i : i + _BLOCK] for i in range(0, len(conversations), _BLOCK)]
    done, runner = 0, None
    with ExitStack() as running:
        for block in blocks:
            if advance is not None:
                advance(done, len(conversations))
            file = None if folder is None else folder / f"{_digest(base, backend, block)}.npy"
            values = None if file is None else _kept(file)
            if values is None:
                if runner is None:
                    width = base.resolved.model_config.hidden
                    source = base.resolved.source
                    runner = running.enter_context(loaded(backend, source, width=width))
                values = _block(base, runner, block)
                if file is not None:
                    with atomic_path(file) as part, part.open("wb") as out:
                        out.writelines(array_bytes(values, file))
            yield values
            done += len(block)
    if advance is not None:
        advance(len(conversations), len(conversations))


def _kept(file: Path) -> Floats | None:
    """Read a block; None where there is none, or it is damaged and so to be computed again."""
    if not file.exists():
        return None
    try:
        return read_array(file)[0]
    except DamagedError as error:
        warnings.warn(
            f"{error} These hidden states are computed again.", ValueBiasWarning, stacklevel=3
        )
        return None


def _block(base: Base, runner: Runner, block: Sequence[Conversation]) -> Floats:
    block_position = Block((0, 0), slice(0, len(block)), slice(0, len(block[0].answers)))
    values = runner.run(Batch(block_position, base.token_ids(block)), lambda done: None)
    if not np.isfinite(values).all():
        bad = int(np.argmin(np.isfinite(values).all(axis=1)))
        answer = block[bad // len(block[0].answers)].answers[bad % len(block[0].answers)]
        raise ValueBiasError(
            f"The hidden states of {base.name!r} are not finite for the answer {answer[:60]!r}. "
            "Give a dtype of a wider range, such as float32."
        )
    return values.reshape(len(block), -1, values.shape[1])


def _digest(base: Base, backend: Backend, block: Sequence[Conversation]) -> str:
    """Name a block by all that its features depend on."""
    about: list[Any] = [base.sha256, backend.name, [[c.prompt, *c.answers] for c in block]]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:32]
