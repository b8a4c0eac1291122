"""From hidden states to what is asked for: rewards, log-probs of tokens, rows of log-probs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from valuebias.backends.attention import Tree
from valuebias.backends.base import Source, hidden_states
from valuebias.backends.own_head import OwnHead, path_of_body
from valuebias.backends.wide_heads import body_of, widened, widened_callable
from valuebias.errors import ValueBiasError

__all__ = ["Head"]

Floats = npt.NDArray[np.float32]
_LOGITS = 2**24
"""How many logits are held at a time: 64 MB in float32."""
_PIECE = 4096
"""How many exponentials are added up one after the other."""


class Head(nn.Module):
    """The body of a model and what is read from it.

    Rewards are computed in float32 from what the body gives, whatever the body computes in: their
    last product, rounded to the eight bits of bfloat16, would give many words one reward.

    Parameters
    ----------
    model : torch.nn.Module
        A sequence classifier, a causal language model, or a bare body, of transformers.
    source : Source
        What to read.
    """

    def __init__(self, model: nn.Module, source: Source) -> None:
        super().__init__()
        self.model = model
        self.own_head: OwnHead | None = None
        if source.head == "logits" and not source.own_code:
            path = path_of_body(model)
            self.body: nn.Module = model.get_submodule(path)
            if source.kind == "logprob":
                self.own_head = OwnHead(model, path)
        else:
            self.body = body_of(model)
        self.reach: int | None = None
        """How many tokens a conversation may have to be computed in a tree; None = any number."""
        self.kind, self.head, self.label = source.kind, source.head, source.label
        self.name = source.name
        if source.kind == "reward":
            widened(model, self.body, source)
        self._as_they_are = source.head is hidden_states
        if callable(source.head):
            self.head = widened_callable(source.head, source.name)
        config: Any = model.config
        self.config = config.get_text_config() if hasattr(config, "get_text_config") else config

    def hidden_of_tree(self, ids: Tensor, position: Tensor, end: Tensor, trunk: Tensor) -> Tensor:
        """Return the hidden states of a pack after the last norm, shape (T, hidden)."""
        tree = Tree(position, end, trunk)
        output = self.body(ids[None], position_ids=position[None], use_cache=False, tree=tree)
        return cast(Tensor, output[0][0])

    def hidden(self, ids: Tensor) -> Tensor:
        """Return those of whole conversations of one length, shape (batch, length, hidden)."""
        return cast(Tensor, self.body(ids, use_cache=False)[0])

    def own_rewards(self, ids: Tensor) -> Tensor:
        """Return what the model itself puts out for whole conversations, shape (batch,)."""
        try:
            output = self.model(ids, attention_mask=torch.ones_like(ids))
        except RuntimeError as error:
            raise self._narrow(error, "The model's own code") from error
        if self.head == "score":
            score = getattr(output, "score", None)
            if isinstance(score, Tensor) and score.ndim == 2 and len(score) == len(ids):
                score = score[:, :1]
            return self._one_each(score, len(ids), "the output of its own code has as its score")
        logits: Any = output[0] if isinstance(output, tuple) else getattr(output, "logits", None)
        rows = _is_numbers(logits) and logits.ndim in (1, 2) and len(logits) == len(ids)
        if not rows or self.label >= logits.numel() // max(1, len(ids)):
            raise ValueBiasError(
                f"{self.name}: its own code puts out as logits {_describe(logits)} for {len(ids)} "
                "conversations; expected a tensor of real numbers with one row each, a column a "
                f"label, among them {self.label}. Give head= a function of the hidden states."
            )
        return cast(Tensor, logits.reshape(len(ids), -1)[:, self.label])

    def rewards(self, hidden: Tensor) -> Tensor:
        """Return rewards in float32, shape (R,)."""
        hidden = hidden.float()
        if self._as_they_are:
            return hidden
        if callable(self.head):
            try:
                output = cast(Callable[[Tensor], object], self.head)(hidden)
            except RuntimeError as error:
                raise self._narrow(error, "The function given as head=") from error
            return self._one_each(output, len(hidden), "the function given as head= returns")
        score = cast(nn.Module, self.model.score)
        return cast(Tensor, score(hidden)[:, self.label])

    def _one_each(self, scores: object, n: int, who: str) -> Tensor:
        """Require one real number for each of `n` conversations, maybe as a column."""
        if isinstance(scores, Tensor) and _is_numbers(scores):
            if scores.shape == (n,):
                return scores
            # As linear layers return it.
            if scores.shape == (n, 1):
                return scores[:, 0]
        raise ValueBiasError(
            f"{self.name}: {who} {_describe(scores)} for {n} conversations; expected a "
            f"torch.Tensor of real numbers, one each: of shape ({n},) or ({n}, 1). Change the head."
        )

    def _narrow(self, error: RuntimeError, who: str) -> Exception:
        """Explain what to do where a head is not in float32."""
        if not any(word in str(error) for word in ("dtype", "scalar type")):
            return error
        return ValueBiasError(
            f"{self.name}: {who} cannot be run in float32 ({error}). Heads get hidden states in "
            "float32 whatever the body computes in: bring the head's own weights to float32, as "
            "by .float(), or give the model dtype='float32'."
        )

    def logits(self, hidden: Tensor) -> Tensor:
        """Return logits over the vocabulary in float32, shape (R, vocabulary)."""
        if self.own_head is None:
            raise TypeError("Only language models have logits over the vocabulary.")
        return self.own_head(hidden).float()

    def logprobs(self, hidden: Tensor) -> Tensor:
        """Return log-probs over the vocabulary in float32, shape (R, vocabulary)."""
        return _log_softmax(self.logits(hidden))

    def read(self, hidden: Tensor, row: Tensor | None, target: Tensor | None) -> Floats:
        """Compute the requested results from the hidden states at the reading positions.

        ``hidden`` is (R, hidden); ``row, target`` is (M,).
        """
        if self.kind == "reward":
            return _numpy(self.rewards(hidden))
        step = max(1, _LOGITS // int(self.config.vocab_size))
        starts = range(0, len(hidden), step)
        if row is None or target is None:
            return np.concatenate([_numpy(self.logprobs(hidden[i : i + step])) for i in starts])
        out = torch.empty(len(row), dtype=torch.float32, device=hidden.device)
        for i in starts:
            mine = torch.nonzero((row >= i) & (row < i + step))[:, 0]
            logits = self.logits(hidden[i : i + step])
            local = row[mine] - i
            out[mine] = logits[local, target[mine]] - _log_sum_exp(logits)[local]
        return _numpy(out)


def _log_softmax(logits: Tensor) -> Tensor:
    return logits - _log_sum_exp(logits)[:, None]


def _log_sum_exp(logits: Tensor) -> Tensor:
    """Return the logarithm of each row's sum of exponentials, in pieces on CPUs.

    torch.logsumexp takes its exponentials one by one there, ten times as long as log_softmax, which
    adds them up one after the other: with 262 144 tokens the small ones are lost, and a log-prob
    comes out 3e-5 too high. Of a piece, log_softmax is both fast and right.
    """
    if logits.device.type != "cpu":
        return logits.logsumexp(-1)
    parts = []
    for piece in logits.split(_PIECE, dim=-1):
        largest = piece.amax(-1)
        sums = largest - piece.log_softmax(-1).amax(-1)
        # Some models rule tokens out, maybe all of a piece.
        parts.append(torch.where(largest == -torch.inf, largest, sums))
    return torch.stack(parts, dim=-1).logsumexp(-1)


def _is_numbers(value: object) -> bool:
    """Whether a head returned a tensor of real numbers."""
    if not isinstance(value, Tensor) or value.layout != torch.strided or value.is_quantized:
        return False
    return not value.is_complex() and not value.is_meta and value.dtype != torch.bool


def _describe(value: object) -> str:
    """Describe what a head has returned."""
    if isinstance(value, Tensor):
        sort = "" if value.layout == torch.strided else f" ({value.layout})"
        return f"a tensor of {value.dtype} of shape {tuple(value.shape)}{sort}"
    if value is None:
        return "None"
    shape = f" of shape {value.shape}" if isinstance(value, np.ndarray) else ""
    return f"a {type(value).__module__}.{type(value).__qualname__}{shape}".replace("builtins.", "")


def _numpy(values: Tensor) -> Floats:
    return cast(Floats, values.float().cpu().numpy())
