"""The text that a token stands for in the middle of a text."""

from __future__ import annotations

import string
from collections.abc import Sequence
from typing import Any

from valuebias.scoring.decoding import decode_each

__all__ = ["token_texts"]

_LOOKED_AT = 4096


def token_texts(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """Say what each token adds to a text.

    Decoders of SentencePiece vocabularies (Llama 2, Mistral 7B) drop the space that a text begins
    with, so that a token such as "▁love", decoded alone, loses the space that is its own. So tokens
    are decoded after another one, whose text is then taken off.

    Parameters
    ----------
    tokenizer : transformers.PreTrainedTokenizerBase
        The tokenizer.
    ids : sequence of int
        The tokens.

    Returns
    -------
    list of str
        One a token; U+FFFD for bytes that are no UTF-8. Where a decoder puts a space between any
        two tokens, as for vocabularies of whole words, it is no token's own and left out.
    """
    first = _anchor(tokenizer)
    if first is None:
        return decode_each(tokenizer, [[token] for token in ids])
    token, text = first
    made = decode_each(tokenizer, [[token, i] for i in ids])
    # Should a decoder change what stands before a token, nothing is known but what it is alone.
    odd = [place for place, found in enumerate(made) if found[: len(text)] != text]
    if not odd:
        size = len(text)
        return [found[size:] for found in made]
    alone = dict(zip(odd, decode_each(tokenizer, [[ids[place]] for place in odd]), strict=True))
    return [alone.get(place, found[len(text) :]) for place, found in enumerate(made)]


def _anchor(tokenizer: Any) -> tuple[int, str] | None:
    """Find a token whose text stays the same with another one before or after it."""
    names = tokenizer.get_vocab()
    letters = sorted(names[letter] for letter in string.ascii_letters if letter in names)
    return _steady(tokenizer, letters) or _steady(tokenizer, sorted(names.values())[:_LOOKED_AT])


def _steady(tokenizer: Any, candidates: Sequence[int]) -> tuple[int, str] | None:
    once = decode_each(tokenizer, [[i] for i in candidates])
    twice = decode_each(tokenizer, [[i, i] for i in candidates])
    for token, text, both in zip(candidates, once, twice, strict=True):
        if text.isprintable() and text.strip() and "\ufffd" not in text and both == 2 * text:
            return token, text
    return None
