"""The text that a token stands for in the middle of a text."""

from __future__ import annotations

import string
from collections.abc import Sequence
from functools import cached_property
from typing import Any

__all__ = ["TokenTexts"]

_LOOKED_AT = 4096


class TokenTexts:
    """What each token of a tokenizer adds to a text.

    Decoders of SentencePiece vocabularies (Llama 2, Mistral 7B) drop the space that a text begins
    with, so that a token such as "▁love", decoded alone, loses the space that is its own. So tokens
    are decoded after another one, whose text is then taken off.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    @cached_property
    def names(self) -> dict[int, str]:
        """The raw name of each token, in the order of their numbers."""
        return dict(sorted((i, name) for name, i in self._tokenizer.get_vocab().items()))

    @cached_property
    def every(self) -> list[str]:
        """The text of each of them, in the same order."""
        return self.of(list(self.names))

    def of(self, ids: Sequence[int]) -> list[str]:
        """Return the text that each token adds to a text."""
        if self._anchor is None:
            return decode_each(self._tokenizer, [[token] for token in ids])
        token, text = self._anchor
        decoded = decode_each(self._tokenizer, [[token, i] for i in ids])
        # Where a decoder changes the text before a token, only its text alone is known.
        odd = [at for at, whole in enumerate(decoded) if whole[: len(text)] != text]
        size = len(text)
        if not odd:
            return [whole[size:] for whole in decoded]
        single = decode_each(self._tokenizer, [[ids[at]] for at in odd])
        alone = dict(zip(odd, single, strict=True))
        return [alone.get(at, whole[size:]) for at, whole in enumerate(decoded)]

    @cached_property
    def _anchor(self) -> tuple[int, str] | None:
        """A token whose text stays the same with another one before or after it."""
        letters = set(string.ascii_letters)
        candidates = [i for i, name in self.names.items() if name in letters]
        return self._steady(candidates) or self._steady(list(self.names)[:_LOOKED_AT])

    def _steady(self, candidates: Sequence[int]) -> tuple[int, str] | None:
        once = decode_each(self._tokenizer, [[i] for i in candidates])
        twice = decode_each(self._tokenizer, [[i, i] for i in candidates])
        for token, text, both in zip(candidates, once, twice, strict=True):
            if text.isprintable() and text.strip() and "\ufffd" not in text and both == 2 * text:
                return token, text
        return None


def decode_each(tokenizer: Any, sequences: Sequence[Sequence[int]]) -> list[str]:
    """Decode sequences as the tokenizer does, special tokens included and white space kept."""
    from transformers import PreTrainedTokenizerFast as Fast

    kind = type(tokenizer)
    if issubclass(kind, Fast) and kind.decode is Fast.decode and kind._decode is Fast._decode:
        # As its decode does, without the check of every number of every sequence.
        return list(
            tokenizer.backend_tokenizer.decode_batch(
                [list(sequence) for sequence in sequences], skip_special_tokens=False
            )
        )
    return [
        tokenizer.decode(
            list(sequence), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        for sequence in sequences
    ]
