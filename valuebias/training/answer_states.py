"""A frozen base's hidden states at every token of answers: ``valuebias.ablation.answer_states``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from valuebias._core.arrays import Floats, Integers
from valuebias.backends.base import Backend
from valuebias.backends.registry import get_backend
from valuebias.errors import ValueBiasError, shown
from valuebias.models.spec import read_models
from valuebias.preference_data.preferences import Preferences
from valuebias.preference_data.preferences import preferences as as_preferences
from valuebias.scoring.compute import Batch, Runner, loaded
from valuebias.scoring.request import Block
from valuebias.training.features import Base, Conversation, find_base

__all__ = ["answer_states"]

_AT_ONCE = 32
"""Pairs whose hidden states are in memory at a time."""


def answer_states(
    model: Any, pairs: Any, *, backend: str | type[Backend] | Backend = "torch"
) -> Iterator[Floats]:
    """Compute hidden states at every token of the answers of preferences, a few at a time.

    Parameters
    ----------
    model : Model, str, path or mapping
        One base model, as :func:`valuebias.read_models` takes it.
    pairs : Preferences, str, path, DataFrame or mapping
        What :func:`valuebias.preferences` takes.
    backend : str, type of Backend or Backend
        As in :func:`valuebias.score`.

    Returns
    -------
    iterator of ndarray, shape (tokens, d)
        After the last norm, from the answer's first token to the end of the conversation; of the
        first pair's chosen answer, then of its rejected one, and so on.

    Raises
    ------
    ValueBiasError
        If there is more than one model, or one that is not to be had, or a conversation is longer
        than it takes.

    Examples
    --------
    >>> states = answer_states("org/base", "helpful.jsonl")  # doctest: +SKIP
    >>> coherence = temporal_coherence(states)  # doctest: +SKIP
    """
    models = read_models(model)
    if len(models) != 1:
        raise ValueBiasError(
            f"There are {len(models)} models in {shown(model)}; expected one base, whose hidden "
            "states are asked for."
        )
    chosen = pairs if isinstance(pairs, Preferences) else as_preferences(pairs, progress=False)
    return _states(find_base(models[0]), chosen, get_backend(backend))


def _states(base: Base, pairs: Preferences, engine: Backend) -> Iterator[Floats]:
    asked = Conversation.of_pairs(pairs.pairs)
    width = base.resolved.model_config.hidden
    with loaded(engine, base.resolved.source, width=width) as runner:
        for start in range(0, len(asked), _AT_ONCE):
            yield from _block(base, runner, asked[start : start + _AT_ONCE])


def _block(base: Base, runner: Runner, asked: list[Conversation]) -> Iterator[Floats]:
    sequences: list[Integers] = []
    first: list[int] = []
    for one in asked:
        ids = base.tokenizer.rewards(one.messages(), one.answers)
        starts = base.tokenizer.answer_starts(one.messages(), ids)
        sequences += ids
        # A conversation may be cut before its answer begins: then its end is all there is.
        first += [min(start, len(row) - 1) for start, row in zip(starts, ids, strict=True)]
    begins = np.array(first, dtype=np.int64)
    where = Block((0, 0), slice(0, len(asked)), slice(0, 2))
    # That there are ends says that every token is read; where they are does not matter here.
    batch = Batch(where, sequences, begins, ends=[])
    values = runner.run(batch, lambda done: None)
    for row, whole, begin in zip(values, sequences, first, strict=True):
        states = row[: len(whole) - begin]
        if not np.isfinite(states).all():
            raise ValueBiasError(
                f"The hidden states of {base.name!r} are not finite. Give a dtype of a wider "
                "range, such as float32."
            )
        yield states
