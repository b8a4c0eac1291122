"""Decode many short sequences of tokens, such as every token of a vocabulary by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["decode_each"]


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
