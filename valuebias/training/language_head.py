"""The language-model head of a base, kept as it was, on hidden states that are being trained."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from valuebias.backends import comparing
from valuebias.backends.heads import Head, OwnHead
from valuebias.backends.loading import from_files
from valuebias.errors import ValueBiasError
from valuebias.training.features import Base

__all__ = ["LanguageHead"]

_LOGITS = 2**24
"""How many logits are held at a time: 64 MB in float32."""


class LanguageHead:
    """Computes log-probs from hidden states by the code of the base's own class.

    Of the base's weights only those that its logits need stay in memory.
    """

    def __init__(self, base: Base) -> None:
        head = _language_model(base)
        self.vocabulary = int(head.config.vocab_size)
        self._own, self._body = cast(OwnHead, head.own_head), head.body
        kept = {id(weight) for weight in self._own.parameters()}
        for weight in self._body.parameters():
            if id(weight) not in kept:
                weight.data = weight.data.new_empty(0)

    def to(self, device: torch.device) -> LanguageHead:
        """Move its weights."""
        self._body.to(device)
        self._own.to(device)
        return self

    def log_probs(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Compute log-probs of tokens in float32, (R,), from what is before them, (R, hidden).

        Logits are computed again for the gradients: all of a batch would fill a card.
        """
        rows = max(1, _LOGITS // self.vocabulary)
        parts = [
            checkpoint(self._picked, h, t, use_reentrant=False, preserve_rng_state=False)
            for h, t in zip(hidden.split(rows), targets.split(rows), strict=True)
        ]
        return torch.cat(parts)

    def _picked(self, hidden: Tensor, targets: Tensor) -> Tensor:
        return -functional.cross_entropy(self._own(hidden).float(), targets, reduction="none")


def _language_model(base: Base) -> Head:
    """Load a base as a language model, and check that its head is there and read rightly."""
    architecture = base.resolved.model_config.architecture
    if architecture.endswith("ForSequenceClassification"):
        raise _headless(base, f"it is a reward model ({architecture})")
    source = replace(
        base.resolved.source, kind="logprob", head="logits", own_code=False, as_own=False, label=0,
        labels=None, dtype="float32",
    )  # fmt: skip
    model, missing, _ = from_files(source, spread=False, own_attention=True)
    if missing:
        raise _headless(base, f"its files lack {min(missing)!r}")
    model.eval().requires_grad_(False)
    if model.get_output_embeddings() is None:
        raise _headless(base, f"{type(model).__name__} names none")
    head = Head(model, source)
    comparing.check(model, source, head)
    return head


def _headless(base: Base, why: str) -> ValueBiasError:
    return ValueBiasError(
        f"{base.name!r} has no language-model head ({why}), and the objective 'grm' needs one: its "
        "term is of log-probs. Give the language model that it was trained from, or choose the "
        "objective 'bradley-terry'."
    )
