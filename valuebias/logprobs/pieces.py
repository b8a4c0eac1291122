"""Tokens of SentencePiece vocabularies whose text lost the space that is their own."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["with_own_spaces"]

_SPACE = "\u2581"
"""What SentencePiece writes for a space in the names of its tokens."""
_BYTE = "<0x20>"
"""The name of a space as a single byte."""


def with_own_spaces(tokens: Sequence[str], texts: Sequence[str]) -> tuple[list[str], int]:
    """Restore the space that tokens begin with, where decoding them alone has dropped it.

    Examples
    --------
    >>> with_own_spaces(["▁love", "love", "▁", "Ġlove"], ["love", "love", "", " love"])
    ([' love', 'love', ' ', ' love'], 2)
    """
    spaced = list(texts)
    changed = 0
    for i, (token, text) in enumerate(zip(tokens, texts, strict=True)):
        if not token.startswith((_SPACE, _BYTE)):
            continue
        piece = " " if token == _BYTE else token.replace(_SPACE, " ")
        if len(text) < len(piece) and piece.lstrip(" ") == text.lstrip(" "):
            spaced[i] = piece
            changed += 1
    return spaced, changed
