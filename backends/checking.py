"""Check that a loaded language model has the log-probs that its own code gives."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from valuebias.backends.attention import NAME
from valuebias.backends.base import Source
from valuebias.backends.heads import Head
from valuebias.backends.loading import eager, running, shape
from valuebias.errors import ValueBiasError

__all__ = ["check"]

_TOLERANCE = {"float32": 1e-4, "bfloat16": 0.02, "float16": 5e-3}
"""How far logits may differ, relative to the largest. Both are computed in the same arithmetic."""
_SHAPE = (3, 9)
"""Number of made-up conversations, and of tokens in each."""


def check(model: Any, source: Source, head: Head) -> None:
    """Refuse a model whose own results are not those that are read here.

    Some made-up conversations are computed by the model's own ``forward``, from token ids to
    logits, and as the scorer reads them: from hidden states. So nothing that a model does to its
    logits is lost silently, whatever it is called. Then the last token is changed, which changes
    nothing before it in a decoder.
    """
    if source.kind == "reward":  # compared with the model's own class by `loading.load`
        return
    # Where the attention is that of trees, whole conversations take the model's own.
    whole: AbstractContextManager[None] = (
        eager(model) if model.config._attn_implementation == NAME else nullcontext()
    )
    with torch.inference_mode(), running(source, model), whole:
        _check_logits(model, source, head, _conversations(model))


def _check_logits(model: Any, source: Source, head: Head, ids: Tensor) -> None:
    plain = model(input_ids=ids).logits.float()
    changed = ids.clone()
    changed[:, -1] = ids[:, -2]
    after = model(input_ids=changed).logits.float()
    if _gap(after[:, :-1], plain[:, :-1]) > _TOLERANCE[source.dtype]:
        raise ValueBiasError(
            f"{source.name}: {type(model).__name__} is an encoder as it is configured: its tokens "
            "see those that come after them, so it has no log-probs of a next token. Expected a "
            "decoder alone, such as Llama, Gemma, Qwen or Mistral."
        )
    read = head.logits(head.hidden(ids).flatten(0, 1)).reshape(plain.shape)
    gap = _gap(read, plain)
    if not gap <= _TOLERANCE[source.dtype]:
        raise ValueBiasError(
            f"{source.name}: {type(model).__name__} itself gives other logits than are read from "
            f"its hidden states (off by {gap:.2g} of their size), so it is not scored. Please "
            "report this architecture."
        )


def _conversations(model: Any) -> Tensor:
    """Make up conversations without the model's padding token."""
    size = shape(model.config).vocab_size
    device = model.get_input_embeddings().weight.device
    ids = torch.randint(size, _SHAPE, generator=torch.Generator().manual_seed(0))
    padding = getattr(model.config.get_text_config(), "pad_token_id", None)
    ids = torch.where(ids == (-1 if padding is None else padding), (ids + 1) % size, ids)
    return ids.to(device)


def _gap(ours: Tensor, expected: Tensor) -> float:
    """Compare logits up to a constant at each position, which log-probs do not have."""
    finite = expected.isfinite()  # tokens may be ruled out; scoring reports NaN
    ours, expected = (torch.where(finite, values, 0.0) for values in (ours, expected))
    centred = expected - expected.mean(-1, keepdim=True)
    gap = (ours - ours.mean(-1, keepdim=True)) - centred
    return float(gap.abs().max() / centred.abs().max().clamp(min=1e-6))
