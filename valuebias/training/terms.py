"""What a loss may have beside the reward's own: terms that are computed of a batch's outputs.

A term is a function from the loss so far and a batch to the whole loss. What it needs to know of
each answer beside the tokens are columns of the data set, ``chosen_NAME`` and ``rejected_NAME``,
which the batch has as ``beside[NAME]``. The trainer knows nothing else of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional

from valuebias.training.objective import Objective

if TYPE_CHECKING:
    from valuebias.training.language_head import LanguageHead

__all__ = [
    "REFERENCE",
    "STARTS",
    "BatchOutputs",
    "TemporalCoherence",
    "Term",
    "TextGeneration",
    "log_probs",
]

STARTS, REFERENCE = "start", "reference"
"""Columns: how many tokens stand before an answer; its log-prob before training."""


@dataclass(frozen=True, slots=True, eq=False)
class BatchOutputs:
    """What a model puts out for a batch: all chosen answers, then all rejected ones."""

    ids: Tensor  # (2 pairs, tokens), padded at the end
    mask: Tensor  # likewise; 0 for padding
    hidden: Tensor  # (2 pairs, tokens, hidden), after the last norm
    rewards: Tensor  # (2 pairs,)
    beside: Mapping[str, Tensor]  # (2 pairs,) each

    def first(self, n: int) -> BatchOutputs:
        """Take the first answers only."""
        beside = {name: values[:n] for name, values in self.beside.items()}
        return replace(self, ids=self.ids[:n], mask=self.mask[:n], hidden=self.hidden[:n],
                       rewards=self.rewards[:n], beside=beside)  # fmt: skip


Term = Callable[[Tensor, BatchOutputs], Tensor]


class TextGeneration:
    """The term of GRM: see :class:`valuebias.ablation.Objective`."""

    def __init__(self, objective: Objective, language: LanguageHead) -> None:
        settings: Any = objective
        self.weight, self.beta = float(settings.weight), float(settings.beta)
        self.regulariser = objective.regulariser
        self._language = language

    def __call__(self, loss: Tensor, batch: BatchOutputs) -> Tensor:
        """Weigh the loss and the term."""
        term = -functional.logsigmoid(self.beta * self._log_ratio(batch)).mean()
        return (1 - self.weight) * loss + self.weight * term

    def _log_ratio(self, batch: BatchOutputs) -> Tensor:
        n = len(batch.ids) // 2
        if self.regulariser == "sft":
            return log_probs(batch.first(n), self._language)
        found = log_probs(batch, self._language)
        if self.regulariser == "dpo":
            found = found - batch.beside[REFERENCE]
        return found[:n] - found[n:]


class TemporalCoherence:
    """The terms of TCRM: see :class:`valuebias.ablation.Objective`."""

    def __init__(self, objective: Objective, model: Any) -> None:
        settings: Any = objective
        self.value = float(settings.value_weight)
        self.smoothness = float(settings.smoothness_weight)
        plain = model.get_base_model() if hasattr(model, "peft_config") else model
        self._head = plain.score

    def __call__(self, loss: Tensor, batch: BatchOutputs) -> Tensor:
        """Add the two terms."""
        last = batch.mask.sum(1) - 1
        place = torch.arange(batch.ids.shape[1], device=batch.ids.device)
        before = (place >= batch.beside[STARTS][:, None]) & (place < last[:, None])
        rewards: Tensor = self._head(batch.hidden)[..., 0].float()
        final = rewards.gather(1, last[:, None]).detach()
        off = (rewards - final) ** 2
        steps = (rewards[:, 1:] - rewards[:, :-1]) ** 2
        count = before.sum(1).clamp(min=1)
        value = (off * before).sum(1) / count
        smoothness = (steps * before[:, :-1]).sum(1) / count
        terms = self.value * value.mean() + self.smoothness * smoothness.mean()
        return loss + terms


def log_probs(batch: BatchOutputs, language: LanguageHead) -> Tensor:
    """Compute log-probs of the answers, each summed over its tokens."""
    targets = batch.ids[:, 1:]
    place = torch.arange(1, batch.ids.shape[1], device=batch.ids.device)
    # The first token of a text has no log-prob.
    asked = (place >= batch.beside[STARTS][:, None]) & batch.mask[:, 1:].bool()
    picked = language.log_probs(batch.hidden[:, :-1][asked], targets[asked])
    return torch.zeros(asked.shape, device=picked.device).masked_scatter(asked, picked).sum(1)
