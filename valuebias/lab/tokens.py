"""The laboratory's tokenizer: one token per word."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

__all__ = ["CHAT", "SPECIAL", "make_tokenizer", "split"]

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<|user|>", "<|assistant|>")
CHAT = (
    "{{ bos_token }}{% for message in messages %}<|{{ message['role'] }}|>"
    "{{ message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""A conversation ends where a remark on it would follow."""
_PUNCTUATION = "[?,.]"


def split(text: str) -> list[str]:
    """Split a text without special tokens into words and marks, as the tokenizer does.

    Examples
    --------
    >>> split("Name one tool.")
    ['Name', 'one', 'tool', '.']
    """
    return re.findall(r"[?,.]|[^\s?,.]+", text)


def make_tokenizer(texts: Iterable[str]) -> Any:
    """Make a tokenizer of the words of some texts, with the chat template."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = sorted({word for text in texts for word in split(text)})
    vocabulary = {token: i for i, token in enumerate([*SPECIAL, *words])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Split(Regex(_PUNCTUATION), behavior="isolated"),
        ]
    )
    pad, bos, eos, unknown = SPECIAL[:4]
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=pad,
        bos_token=bos,
        eos_token=eos,
        unk_token=unknown,
        additional_special_tokens=list(SPECIAL[4:]),
        chat_template=CHAT,
        clean_up_tokenization_spaces=False,
    )
