"""What each token and each sentence of an answer changes in its reward."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from valuebias.analysis.along.readings import Answer

__all__ = ["TOKEN_COLUMNS", "by_sentence", "by_token", "sentence_of", "split_sentences"]

_END = re.compile(r"(?:[.!?…]+[\"'”’»)\]]*(?=\s|$)|[。！？]+[」』”]*|\n)\s*")
"""Of a sentence, with the white space that follows it."""
ANSWER, AFTER = "answer", "end of conversation"
TOKEN_COLUMNS = ["model", "item", "variant", "token", "part", "text", "start", "end", "reward",
                 "change"]  # fmt: skip
_SENTENCE_COLUMNS = ["model", "item", "variant", "sentence", "part", "text", "start", "end",
                     "n_tokens", "before", "after", "change"]  # fmt: skip


def split_sentences(text: str) -> list[tuple[int, int]]:
    """Say where the sentences of a text begin and end.

    A sentence ends after ``.``, ``!``, ``?`` or ``…``, with closing quotation marks and brackets,
    where white space follows or nothing; after the full-width marks of Chinese and Japanese; and at
    the end of a line. White space belongs to the sentence before it.

    Examples
    --------
    >>> text = "Yes, 3.5 is right. (Is it?) It is"
    >>> [text[a:b] for a, b in split_sentences(text)]
    ['Yes, 3.5 is right. ', '(Is it?) ', 'It is']
    """
    ends = [match.end() for match in _END.finditer(text)]
    if text and (not ends or ends[-1] < len(text)):
        ends.append(len(text))
    return list(pairwise([0, *ends]))


def by_token(answers: Iterable[Answer]) -> pd.DataFrame:
    """Tabulate answers token by token."""
    columns: dict[str, list[Any]] = {name: [] for name in TOKEN_COLUMNS}
    for one in answers:
        for name, values in _tokens(one).items():
            columns[name].append(values)
    if not columns["token"]:
        return pd.DataFrame(columns=TOKEN_COLUMNS)
    return pd.DataFrame({name: np.concatenate(parts) for name, parts in columns.items()})


def _tokens(answer: Answer) -> dict[str, NDArray[Any]]:
    n = len(answer.rewards)
    unknown = np.full(n, -1, dtype=np.int64)
    ends = unknown if answer.ends is None else answer.ends
    starts = unknown if answer.ends is None else answer.starts
    texts = np.empty(n, dtype=object)
    texts[:] = [answer.response[a:b] if a >= 0 else "" for a, b in zip(starts, ends, strict=True)]
    named = {name: np.full(n, value, dtype=object) for name, value in _named(answer).items()}
    is_own = np.arange(n) < answer.n_own
    return named | {
        "token": np.arange(1, n + 1), "text": texts, "start": starts, "end": ends,
        "part": np.where(is_own, ANSWER, AFTER).astype(object),
        "reward": answer.rewards, "change": answer.changes,
    }  # fmt: skip


def by_sentence(answers: Iterable[Answer]) -> pd.DataFrame:
    """Tabulate answers sentence by sentence, and what follows the answer."""
    rows = [row for one in answers for row in _sentences(one)]
    return pd.DataFrame(rows, columns=_SENTENCE_COLUMNS)


def _sentences(answer: Answer) -> Iterator[dict[str, Any]]:
    spans = split_sentences(answer.response)
    sentence = sentence_of(answer, spans)
    for place in np.unique(sentence):
        tokens = np.flatnonzero(sentence == place)
        first, last = int(tokens[0]), int(tokens[-1])
        # Nothing is read before the first token, so that its sentence is counted from there on.
        before = answer.rewards[max(first - 1, 0)]
        is_own = place < len(spans)
        start, end = spans[place] if is_own else (len(answer.response),) * 2
        yield _named(answer) | {
            "sentence": int(place) + 1, "part": ANSWER if is_own else AFTER,
            "text": answer.response[start:end].strip(), "start": start, "end": end,
            "n_tokens": len(tokens), "before": before, "after": answer.rewards[last],
            "change": answer.rewards[last] - before,
        }  # fmt: skip


def sentence_of(answer: Answer, spans: list[tuple[int, int]]) -> NDArray[np.intp]:
    """Say in which sentence each token is: that of the last character which it reads.

    One that reads none, such as half of an emoji, is where the token before it is; what ends the
    conversation has a number of its own.
    """
    starts, ends = answer.starts, np.asarray(answer.ends)
    last = np.maximum(np.where(ends > starts, ends, starts) - 1, 0)
    place = np.searchsorted([end for _, end in spans], last, side="right")
    place = np.minimum(place, max(len(spans) - 1, 0))
    return np.where(np.arange(len(place)) < answer.n_own, place, len(spans))


def _named(answer: Answer) -> dict[str, Any]:
    return {"model": answer.model, "item": answer.item, "variant": answer.variant}
