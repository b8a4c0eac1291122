"""The forms in which preferences are published, recognised by their columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from valuebias._core.text import visible
from valuebias.errors import ValueBiasError, did_you_mean

__all__ = ["Pair", "RowFormat", "form_of"]

Message = dict[str, str]


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one prompt."""

    prompt: tuple[Message, ...]  # the messages before the answers, each with a role and a content
    chosen: str  # chosen, rejected: the better answer and the worse
    rejected: str


@dataclass(frozen=True, slots=True)
class RowFormat:
    """How a row is read."""

    columns: tuple[str, ...]  # the columns that are read
    has_ratings: bool  # whether the better answer is known by two ratings
    # Takes where a row is and the row; gives the better and the worse of the two cells, or the name
    # of the step that drops the row.
    preferred: Callable[[str, Mapping[str, Any]], tuple[Any, Any] | str]

    def pair(self, where: str, row: Mapping[str, Any], cells: tuple[Any, Any]) -> Pair | str:
        """Read the messages of a row."""
        if "prompt" in self.columns:
            prompt = _prompt(row["prompt"], where)
        elif isinstance(cells[0], str):
            raise ValueBiasError(
                f"The better answer of {where} is plain text, and there is no column 'prompt' that "
                f"says what it answers. {did_you_mean('prompt', row)}"
            )
        else:
            prompt = []
        better, worse = (_conversation(cell, prompt, where) for cell in cells)
        if any(not turns or turns[-1]["role"] != "assistant" for turns in (better, worse)):
            return "answered"
        if better[:-1] != worse[:-1]:
            return "shared"
        if not any(message["content"].strip() for message in better[:-1]):
            return "prompted"
        return Pair(tuple(better[:-1]), better[-1]["content"], worse[-1]["content"])


_RATED = ("conv_A", "conv_B", "conv_A_rating", "conv_B_rating")


def form_of(columns: Sequence[str], name: str) -> RowFormat:
    """Recognise a format by the names of the columns.

    Examples
    --------
    >>> form_of(["chosen", "rejected", "score"], "mine").columns
    ('chosen', 'rejected')
    """
    rated = [column for column in _RATED if column in columns]
    chosen = [column for column in ("chosen", "rejected") if column in columns]
    if len(chosen) == 2:
        prompt = ("prompt",) if "prompt" in columns else ()
        return RowFormat(
            (*prompt, "chosen", "rejected"), False, lambda _, row: (row["chosen"], row["rejected"])
        )
    if len(rated) == len(_RATED):
        return RowFormat(_RATED, True, _by_rating)
    expected = _RATED if len(rated) > len(chosen) else ("chosen", "rejected")
    missing = [column for column in expected if column not in columns]
    listed = [visible(column) for column in columns]
    raise ValueBiasError(
        f"{name!r} has no column {' and no column '.join(map(repr, missing))}. Expected chosen and "
        "rejected (and prompt, where they are plain text), or conv_A, conv_B, conv_A_rating and "
        f"conv_B_rating; rename the columns. {did_you_mean(missing[0], listed)}"
    )


def _by_rating(where: str, row: Mapping[str, Any]) -> tuple[Any, Any] | str:
    first, second = (_rating(row[column], where, column) for column in _RATED[2:])
    if np.isnan(first) or np.isnan(second):
        return "rated"
    if first == second:
        return "ties"
    cells = row["conv_A"], row["conv_B"]
    return cells if first > second else cells[::-1]


def _rating(value: Any, where: str, column: str) -> float:
    if value is None or value is pd.NA:
        return float("nan")
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise ValueBiasError(
            f"{column!r} of {where} is {visible(value)[:40]!r}; expected a number."
        )
    return float(value)


def _prompt(cell: Any, where: str) -> list[Message]:
    if isinstance(cell, str):
        return [{"role": "user", "content": cell}] if cell.strip() else []
    return _messages(cell, where)


def _conversation(cell: Any, prompt: list[Message], where: str) -> list[Message]:
    """Return the whole conversation, whether or not its cell repeats the prompt."""
    if isinstance(cell, str):
        return [*prompt, {"role": "assistant", "content": cell}]
    turns = _messages(cell, where)
    length = len(prompt)
    repeats = any(turns[i : i + length] == prompt for i in range(len(turns) - length))
    return turns if repeats else [*prompt, *turns]


def _messages(cell: Any, where: str) -> list[Message]:
    if not isinstance(cell, list | tuple | np.ndarray):
        raise ValueBiasError(
            f"A conversation of {where} is {_short(cell)}; expected text, or a list of messages "
            'such as {"role": "user", "content": "Hello"}.'
        )
    return [_message(message, where) for message in cell]


def _message(message: Any, where: str) -> Message:
    if not isinstance(message, Mapping) or not {"role", "content"} <= message.keys():
        raise ValueBiasError(
            f"A message of {where} is {_short(message)}; expected a role and a content."
        )
    role, content = message["role"], message["content"]
    if not isinstance(role, str) or not isinstance(content, str) or not role:
        raise ValueBiasError(
            f"A message of {where} has the role {_short(role)} and the content {_short(content)}; "
            "expected text for both."
        )
    return {"role": role, "content": content}


def _short(value: Any) -> str:
    """Show the beginning of a value, with its type."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = str(value)
    text = visible(text)
    return f"{text[:60]}{'…' if len(text) > 60 else ''} ({type(value).__name__})"
