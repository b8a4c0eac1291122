"""Naive scoring: whole conversations, one at a time, by transformers and nothing of this package.

What every backend and the whole scorer are compared with.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ids = Sequence[int]


@lru_cache(maxsize=2)
def _load(kind: str, folder: Path, trust_remote_code: bool) -> Any:
    import torch
    import transformers

    name = {"reward": "SequenceClassification", "logprob": "CausalLM"}[kind]
    return (
        getattr(transformers, f"AutoModelFor{name}")
        .from_pretrained(
            folder,
            dtype=torch.float32,
            attn_implementation="eager",
            trust_remote_code=trust_remote_code,
        )
        .eval()
    )


def rewards(folder: Path, conversations: Sequence[Ids], *, label: int = 0) -> NDArray[np.float64]:
    """Read the head at each conversation's last token, whatever that is."""
    import torch

    model = _load("reward", folder, False)
    # transformers then reads the last token; else it would read the last that is not padding.
    model.config.pad_token_id = None
    with torch.no_grad():
        scores = [model(torch.tensor([list(ids)])).logits[0, label] for ids in conversations]
    return np.array([float(score) for score in scores])


def rows(folder: Path, conversations: Sequence[Ids]) -> NDArray[np.float64]:
    """Give the log-probs of the whole vocabulary after each conversation's last token."""
    return np.concatenate([_after(folder, ids, len(ids) - 1) for ids in conversations])


def logprobs(
    folder: Path, conversations: Sequence[Ids], first: Sequence[int]
) -> list[NDArray[np.float64]]:
    """Give the log-probs of each conversation's tokens from ``first[i]`` on."""
    found = []
    for ids, start in zip(conversations, first, strict=True):
        rows_before = _after(folder, ids[:-1], start - 1)
        found.append(rows_before[np.arange(len(rows_before)), list(ids[start:])])
    return found


def _after(folder: Path, ids: Ids, first: int) -> NDArray[np.float64]:
    """Give the log-probs of the vocabulary after each token from the ``first``-th on."""
    import torch

    with torch.no_grad():
        logits = _load("logprob", folder, False)(torch.tensor([list(ids)])).logits[0, first:]
    return logits.double().log_softmax(-1).numpy()  # type: ignore[no-any-return]


# --- from text ----------------------------------------------------------------------------------


@lru_cache(maxsize=4)
def tokenizer(folder: Path) -> Any:
    """Load the tokenizer of a folder."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


def conversation(folder: Path, prompt: str, word: str) -> list[int]:
    """Render the prompt and its answer by the chat template, and tokenise that as one string."""
    turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": word}]
    text = tokenizer(folder).apply_chat_template(turns, tokenize=False)
    return list(tokenizer(folder)(text, add_special_tokens=False)["input_ids"])


def prefix_text(folder: Path, prompt: str, *, chat: bool = True) -> str:
    """Give what stands before the answer: the assistant's opened turn, or prompt and newline."""
    if not chat:
        return f"{prompt}\n"
    text = tokenizer(folder).apply_chat_template(
        [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True
    )
    return str(text)


def word_rewards(
    folder: Path, prompt: str, words: Sequence[str], *, label: int = 0
) -> NDArray[np.float64]:
    """Score each word as the answer to the prompt."""
    return rewards(folder, [conversation(folder, prompt, word) for word in words], label=label)


def word_logprobs(
    folder: Path, prompt: str, words: Sequence[str], *, chat: bool = True
) -> list[NDArray[np.float64]]:
    """Give each word's log-probs, token by token, right after the prefix."""
    # A plain prompt starts as the tokenizer starts by itself; a template writes its own start.
    text, special = prefix_text(folder, prompt, chat=chat), not chat
    encode = tokenizer(folder)
    prefix = encode(text, add_special_tokens=special)["input_ids"]
    whole = [encode(text + word, add_special_tokens=special)["input_ids"] for word in words]
    first = [
        next((i for i, (a, b) in enumerate(zip(prefix, ids, strict=False)) if a != b), len(prefix))
        for ids in whole
    ]
    return logprobs(folder, whole, first)
