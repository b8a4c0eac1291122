"""Where an answer stands: in the text of a conversation, and in its tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["AnswerPosition", "Prefix", "common_start", "without_blanks"]

_BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"


@dataclass(frozen=True, slots=True)
class AnswerPosition:
    """Where the answer stands in the text of a conversation.

    Attributes
    ----------
    before : str
        All the text before the answer.
    how : str
        Whose text that is, for people.
    generation : str, optional
        What the model would be given to go on from, where that is another text.
    """

    before: str
    how: str
    generation: str | None = None


class Prefix(NamedTuple):
    """Where an answer begins in the tokens of a conversation.

    Attributes
    ----------
    token_id : int
        The last token before the answer.
    token : str
        Its text.
    how : str
        What makes it the last one, for people.
    blanks : str
        White space that the template has after it, which counts as the answer's.
    remarkable : bool
        Whether the generation prompt would give another one, or there are such blanks.
    """

    token_id: int
    token: str
    how: str
    blanks: str
    remarkable: bool


def common_start(one: str, other: str) -> str:
    """Cut two texts down to the beginning that they share."""
    pairs = enumerate(zip(one, other, strict=False))
    return one[: next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))]


def without_blanks(text: str) -> str:
    """Cut white space off the end of a text, line breaks apart.

    Examples
    --------
    >>> without_blanks("Q: Why? A: ")
    'Q: Why? A:'
    """
    stop = len(text)
    while stop and text[stop - 1].isspace() and text[stop - 1] not in _BREAKS:
        stop -= 1
    return text[:stop]
