"""Compare what is computed here with what a model of transformers computes itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from valuebias._core.foreign import reading
from valuebias.backends import attention
from valuebias.backends.base import Pack, Source, conversations, reading_place
from valuebias.backends.configuration import reach, shape
from valuebias.backends.heads import Head
from valuebias.backends.packing import inputs
from valuebias.errors import ValueBiasError

__all__ = [
    "TOLERANCE",
    "check",
    "check_own",
    "eager",
    "expected",
    "made_up",
    "near",
    "running",
    "takes_trees",
    "tree",
]

TOLERANCE = {"float32": 1e-4, "bfloat16": 0.1, "float16": 0.02}
"""How far hidden states may differ, relative to their size; a wrong mask changes them by half."""
_LEAK = {"float32": 1e-5, "bfloat16": 5e-3, "float16": 1e-3}
"""How much another branch may change them: nothing, but that experts round by their tokens."""
_SHARED = 6
"""How many tokens made-up conversations share."""
_LOGITS_APART = {"float32": 1e-4, "bfloat16": 0.02, "float16": 5e-3}
"""How far logits may differ, relative to the largest. Both are computed in the same arithmetic."""
_MADE_UP = (3, 9)
"""Number of made-up conversations, and of tokens in each."""


def running(source: Source, model: Any) -> AbstractContextManager[None]:
    """Name the model in errors of running it: its configuration may be contradictory."""
    return reading(
        f"{source.name}: {type(model).__name__} as its configuration has it",
        verb="run",
        because="the configuration is damaged, or transformers has a fault there",
        advice="Download or save the model again; if it is whole, please report this architecture.",
    )


def takes_trees(model: Any, source: Source, head: Head) -> bool:
    """Check that conversations computed as a tree have the hidden states they have alone.

    A few made-up conversations are compared, which takes a moment and catches masks that a model
    ignores, positions it counts itself, and attention of its own making. Then the tokens of all
    branches but the last are changed: what passes from branch to branch beside the attention, as in
    convolutions and state spaces, may be small and must still not be there. Up to which length all
    that holds is noted in ``head.reach``.
    """
    pack = made_up(shape(model.config).vocab_size, kind=source.kind)
    device = model.get_input_embeddings().weight.device
    ids, index = _wholes(pack)
    index = index.to(device)
    # All that stands between the beginning and the last branch.
    between = slice(_SHARED, int(index[-1, _SHARED]))
    other = pack.ids.copy()
    other[between] = np.roll(other[between], 1)
    with torch.inference_mode():
        try:
            with attention.observed() as windows:
                ours = tree(head, pack, device)[index]
            head.reach = reach(head.config, windows)
            beside = tree(head, replace(pack, ids=other), device)[index]
        except Exception:  # noqa: BLE001 - what another architecture makes of a tree may be anything
            return False
        if not near(beside[-1], ours[-1], _LEAK[source.dtype]):
            return False
        with eager(model):
            return near(ours, head.hidden(ids.to(device)), TOLERANCE[source.dtype])


def tree(head: Head, pack: Pack, device: torch.device) -> Tensor:
    """Return the hidden states of a pack, computed as a tree."""
    arrays = {k: torch.from_numpy(v).to(device) for k, v in inputs(pack).items()}
    return head.hidden_of_tree(*(arrays[name] for name in ("ids", "position", "end", "trunk")))


def expected(model: Any, head: Head, pack: Pack) -> Tensor:
    """Return the results of a made-up pack from whole conversations, each by itself."""
    ids, _ = _wholes(pack)
    with torch.inference_mode(), eager(model):
        if pack.row is None or pack.target is None:
            return head.rewards(head.hidden(ids)[:, -1]).float()
        rows, targets = torch.from_numpy(pack.row), torch.from_numpy(pack.target)
        logprobs = model(ids).logits[:, -1].double().log_softmax(-1)
        return cast(Tensor, logprobs[rows, targets].float())


@contextmanager
def eager(model: Any) -> Iterator[None]:
    """Use transformers' own attention for a while."""
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(attention.NAME)


def near(ours: Tensor, expected: Tensor, tolerance: float) -> bool:
    """Compare vectors relative to their size; NaN passes here, because scoring reports it."""
    ours, expected = ours.float(), expected.float()
    gap = torch.linalg.vector_norm(ours - expected, dim=-1)
    size = torch.linalg.vector_norm(expected, dim=-1)
    return bool(((gap <= tolerance * size) | ~size.isfinite()).all())


def made_up(vocabulary: int, *, kind: str) -> Pack:
    """Make twelve conversations of ten tokens that share the first six."""
    rng = np.random.default_rng(0)
    shared, own_tokens, branches = _SHARED, 4, 12
    length = shared + branches * own_tokens
    start = shared + own_tokens * np.arange(branches)
    position = np.concatenate(
        [np.arange(shared), np.tile(shared + np.arange(own_tokens), branches)]
    )
    end = np.concatenate([np.full(shared, length), np.repeat(start + own_tokens, own_tokens)])
    targets = (
        {}
        if kind == "reward"
        else {
            "row": np.arange(branches),
            "target": rng.integers(0, vocabulary, branches),
        }
    )
    ids = rng.integers(0, vocabulary, length)
    return Pack(ids, position, end, start + own_tokens - 1, **targets)


def _wholes(pack: Pack) -> tuple[Tensor, Tensor]:
    """Return the conversations of a made-up pack one below the other, and their positions in it."""
    index = np.stack(conversations(pack)[0])
    return torch.from_numpy(pack.ids[index]), torch.from_numpy(index)


def check(model: Any, source: Source, head: Head) -> None:
    """Refuse a language model whose own logits are not those that are read here.

    Made-up conversations are computed by its own ``forward``, and as the scorer reads them, so that
    nothing that a model does to its logits is lost silently. Then the last token is changed, which
    changes nothing before it in a decoder.
    """
    if source.kind == "reward":  # compared with the model's own class by :func:`load`
        return
    apart = _LOGITS_APART[source.dtype]
    own_attention = model.config._attn_implementation != attention.NAME
    with (
        torch.inference_mode(),
        running(source, model),
        nullcontext() if own_attention else eager(model),
    ):
        ids = _conversations(model)
        plain = model(input_ids=ids).logits.float()
        changed = ids.clone()
        changed[:, -1] = ids[:, -2]
        after = model(input_ids=changed).logits.float()
        if _gap(after[:, :-1], plain[:, :-1]) > apart:
            raise ValueBiasError(
                f"{source.name}: {type(model).__name__} is an encoder as it is configured: its "
                "tokens see those that come after them, so it has no log-probs of a next token. "
                "Expected a decoder alone, such as Llama, Gemma, Qwen or Mistral."
            )
        gap = _gap(head.logits(head.hidden(ids).flatten(0, 1)).reshape(plain.shape), plain)
    if not gap <= apart:
        raise ValueBiasError(
            f"{source.name}: {type(model).__name__} itself gives other logits than are read from "
            f"its hidden states (off by {gap:.2g} of their size), so it is not scored. Please "
            "report this architecture."
        )


def check_own(model: Any, head: Head, source: Source) -> None:
    """Compare rewards with those of the model's own class, on conversations that end in padding."""
    padding, size = model.config.get_text_config().pad_token_id, shape(model.config).vocab_size
    device = model.get_input_embeddings().weight.device
    ours, theirs = [], []
    with torch.inference_mode():
        for ids in _padded(size, padding):
            row = torch.from_numpy(ids)[None].to(device)
            # Cut as the core cuts conversations: where later tokens matter, that shows as well.
            cut = row[:, : reading_place(ids, padding) + 1]
            ours.append(head.rewards(head.hidden(cut)[:, -1])[0].cpu())
            logits = model(row).logits.float().cpu()
            theirs.append(logits[0, head.at] if logits.ndim == 2 else logits.flatten()[0])
    scores, expected = torch.stack(ours), torch.stack(theirs)
    if near(scores, expected, TOLERANCE[source.dtype]):
        return
    scores, expected = scores.flatten(), expected.flatten()
    worst = int((scores - expected).abs().argmax())
    raise ValueBiasError(
        f"{source.name}: {type(model).__name__} gives a conversation the reward "
        f"{expected[worst]:.4g}, and its layer 'score' gives {scores[worst]:.4g} at the last token "
        "that is not padding. So the class reads elsewhere, or does more than that layer. Give "
        "reward_at='last' to take the layer at the end of the conversation, or head= a function of "
        "the hidden states."
    )


def _padded(vocabulary: int, padding: int | None) -> list[np.ndarray[Any, np.dtype[np.int64]]]:
    """Make conversations with the padding token nowhere, in the middle, and at the end."""
    rng = np.random.default_rng(1)
    conversations = [rng.integers(0, vocabulary, 10) for _ in range(4)]
    if padding is not None and 0 <= padding < vocabulary:
        for ids, padded in zip(conversations[1:], ([4], [9], [3, 8, 9]), strict=True):
            ids[padded] = padding
    return conversations


def _conversations(model: Any) -> Tensor:
    """Make up conversations without the model's padding token."""
    size = shape(model.config).vocab_size
    device = model.get_input_embeddings().weight.device
    ids = torch.randint(size, _MADE_UP, generator=torch.Generator().manual_seed(0))
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
