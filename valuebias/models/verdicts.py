"""Verdicts of a judge as tokens: each is one, and all stand at the same place."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from valuebias._core.arrays import Integers
from valuebias._core.text import has_surrogate
from valuebias.errors import ValueBiasError, shown
from valuebias.instruments import Judge
from valuebias.models.tokenizer import Tokenizer

__all__ = ["check_no_markup", "response_tokens", "verdict_targets"]

_CHOOSE = "choose others, such as digits or letters, that are one token to every model"
_ANSWERS = ("a", "7", "Z", "u")
_AT_ONCE = 64


def verdict_targets(
    tokenizer: Tokenizer, judge: Judge, messages: Iterable[str]
) -> Iterator[tuple[list[Integers], int]]:
    """Tokenise messages with each verdict after it, and say at which token these differ.

    Blanks between a message and the verdicts, tokens of their own to some tokenizers, belong to no
    verdict.
    """
    waiting, labels = iter(messages), judge.labels
    # Several at once, because a tokenizer divides them among threads.
    while some := list(itertools.islice(waiting, _AT_ONCE)):
        for _, of_prefix, _, sequences in tokenizer.answered(some, labels, opening=judge.opening):
            yield sequences, _place(tokenizer, of_prefix, sequences, labels)


def _place(
    tokenizer: Tokenizer,
    of_prefix: Integers,
    sequences: Sequence[Integers],
    labels: Sequence[str],
) -> int:
    """Find where the verdicts stand; refuse those that are not one token each."""
    name = tokenizer.name
    for label, ids in zip(labels, sequences, strict=True):
        if not np.array_equal(ids[: len(of_prefix)], of_prefix):
            raise ValueBiasError(
                f"The verdict {label!r} shares a token with the text before it to {name!r}, so "
                "that its log-prob would include that text. Give a template of the model "
                "(template=) with a line's end before its answer; or for the verdicts "
                f"{_CHOOSE}."
            )
    first = min(_shared(sequences[0], ids) for ids in sequences[1:])
    if tokenizer.text(sequences[0][len(of_prefix) : first].tolist()).strip():
        # They begin with the same text, which makes each of them several tokens.
        first = len(of_prefix)
    for label, ids in zip(labels, sequences, strict=True):
        if len(ids) != first + 1:
            tokens = ids[len(of_prefix) :].tolist()
            said = " ".join(tokenizer.names(tokens)) or "none"
            raise ValueBiasError(
                f"The verdict {label!r} is {len(tokens)} tokens to {name!r}: {said}. Expected one, "
                f"as verdicts are read at one place. For the verdicts {_CHOOSE}."
            )
    if len({int(ids[-1]) for ids in sequences}) < len(sequences):
        raise ValueBiasError(
            f"Some of the verdicts {', '.join(map(repr, labels))} are the same token to {name!r}. "
            f"For the verdicts {_CHOOSE}."
        )
    return first


def check_no_markup(tokenizer: Tokenizer, texts: Iterable[tuple[str, str]]) -> None:
    """Refuse texts, each with what to call it, that would act on the conversation.

    A word that ends the user's turn could put a verdict into the judge's mouth.
    """
    # Half a surrogate pair is refused where conversations are tokenised.
    checked = [(noun, text) for noun, text in texts if text and not has_surrogate(text)]
    found = tokenizer.markup([text for _, text in checked])
    for (noun, text), ids in zip(checked, found, strict=True):
        if ids:
            raise ValueBiasError(
                f"{noun[0].upper()}{noun[1:]} is {shown(text)}, in which {tokenizer.name!r} reads "
                f"{tokenizer.names(ids[:1])[0]}, a mark-up of conversations, and not what it says: "
                "it could speak for the judge. Leave it out, or write it otherwise."
            )


def response_tokens(
    tokenizer: Tokenizer, judge: Judge, prompt: str, words: Sequence[str]
) -> tuple[int, ...]:
    """Count the tokens of each word where it is judged, without those around every word."""
    messages = [judge.messages(prompt, word)[0] for word in (*_ANSWERS, *words)]
    ids = [of_prefix for _, of_prefix, _, _ in tokenizer.answered(messages, ())]
    frames, rest = ids[: len(_ANSWERS)], ids[len(_ANSWERS) :]
    before = min(_shared(frames[0], other) for other in frames[1:])
    ends = [frame[before:][::-1] for frame in frames]
    after = min(_shared(ends[0], other) for other in ends[1:])
    return tuple(max(0, len(one) - before - after) for one in rest)


def _shared(a: Integers, b: Integers) -> int:
    """Count the tokens that two sequences share from the left."""
    size = min(len(a), len(b))
    differ = np.flatnonzero(a[:size] != b[:size])
    return int(differ[0]) if len(differ) else size
