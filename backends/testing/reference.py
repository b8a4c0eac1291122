"""What backends are compared with: transformers, one whole conversation at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from valuebias.backends.base import Kind

__all__ = ["WholeConversations"]

Scores = npt.NDArray[np.float64]


class WholeConversations:
    """A model of transformers that computes whole conversations, without packing or padding.

    Parameters
    ----------
    folder : pathlib.Path
        A model in transformers' format.
    kind : {"reward", "logprob"}
        A model with a classification head, or a language model.
    """

    def __init__(self, folder: Path, kind: Kind) -> None:
        import torch
        import transformers

        loaders: dict[Kind, Any] = {
            "reward": transformers.AutoModelForSequenceClassification,
            "logprob": transformers.AutoModelForCausalLM,
        }
        model = loaders[kind].from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        )
        self._model: Any = model.eval().requires_grad_(False)

    def rewards(
        self,
        conversations: Sequence[Sequence[int]],
        *,
        label: int = 0,
        head: Callable[[Any], Any] | None = None,
    ) -> Scores:
        """Read the head at the last token of each conversation."""
        scores = []
        for ids in conversations:
            hidden = self._model.base_model(_tensor(ids)).last_hidden_state[0, -1:]
            scores.append(self._model.score(hidden)[0, label] if head is None else head(hidden)[0])
        return np.array([float(score) for score in scores])

    def own_rewards(self, conversations: Sequence[Sequence[int]], *, label: int = 0) -> Scores:
        """Return what the model's own class puts out, which reads where it does."""
        rewards = [self._model(_tensor(ids)).logits[0, label] for ids in conversations]
        return np.array([float(score) for score in rewards])

    def logprobs(self, conversations: Sequence[Sequence[int]], first: Sequence[int]) -> Scores:
        """Return the log-probs of the tokens from ``first[i]`` on, conversation by conversation."""
        picked: list[float] = []
        for ids, start in zip(conversations, first, strict=True):
            table = self._table(ids)
            picked += [table[position - 1, ids[position]] for position in range(start, len(ids))]
        return np.array(picked)

    def rows(self, conversations: Sequence[Sequence[int]]) -> Scores:
        """Return the log-probs of all tokens after the last one of each conversation."""
        return np.stack([self._table(ids)[-1] for ids in conversations])

    def _table(self, ids: Sequence[int]) -> Scores:
        logits = self._model(_tensor(ids)).logits[0]
        table: Scores = logits.double().log_softmax(-1).numpy()
        return table


def _tensor(ids: Sequence[int]) -> Any:
    import torch

    return torch.tensor([list(ids)])
