"""Attention over a prefix trie, without a matrix of all tokens by all tokens.

In a pack, a token attends to few others: the path above it. That path has two parts. The *trunk*
holds the tokens with large subtrees, such as a chat header and a prompt, which most of the pack
attends to. The rest is *near*: a token whose subtree spans at most `REACH` tokens is only seen from
less than `REACH` positions after it. Each block of `BLOCK` queries is compared with the trunk and
with the `REACH + BLOCK` tokens up to its own end, a mask keeps what the trie allows, and the cost
grows with the length of a pack, not with its square.

The same function serves PyTorch and, traced, ONNX Runtime. It does for every architecture whose
attention goes through the interface of transformers, with grouped heads, sliding windows and
soft-caps.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from valuebias.backends.packing import BLOCK, REACH

__all__ = ["NAME", "Tree", "attend", "observed", "register"]

NAME = "valuebias_tree"
"""What the attention is called in the registry of transformers."""
SLICE = 8
"""Blocks of queries computed at once on a CPU."""
_observed: set[int] | None = None


class Tree:
    """Who sees whom in a pack."""

    def __init__(self, position: Tensor, end: Tensor, trunk: Tensor) -> None:
        self.position, self.end, self.trunk = position, end, trunk
        blocks = position.shape[0] // BLOCK
        starts = torch.arange(blocks, device=end.device)[:, None] * BLOCK
        # Indices below zero stand for nothing; the mask hides what they are replaced with.
        self._raw = starts - REACH + torch.arange(REACH + BLOCK, device=end.device)
        self._query = starts + torch.arange(BLOCK, device=end.device)
        self.near = self._raw.clamp(min=0)
        """Indices of the tokens each block sees besides the trunk, shape (blocks, REACH + BLOCK)"""
        self._placed: dict[Any, Tree] = {}
        self._masks: dict[Any, Tensor] = {}

    def on(self, device: torch.device) -> Tree:
        """Return the same on another device."""
        if device == self.end.device:
            return self
        if device not in self._placed:
            self._placed[device] = Tree(
                self.position.to(device), self.end.to(device), self.trunk.to(device)
            )
        return self._placed[device]

    def mask(self, dtype: torch.dtype, window: int | None) -> Tensor:
        """Return what is added to scores, shape (blocks, 1, BLOCK, P + REACH + BLOCK).

        Added, not a bool: a bool mask is silently taken for 0 and 1 by some attention functions.
        """
        if (dtype, window) not in self._masks:
            blocks = self.near.shape[0]
            seen = torch.cat(
                [
                    self._seen(self.trunk.expand(blocks, -1), window, trunk=True),
                    self._seen(self.near, window, trunk=False) & (self._raw >= 0)[:, None, :],
                ],
                dim=-1,
            )
            visible = torch.zeros((), dtype=dtype, device=seen.device)
            hidden = torch.full_like(visible, torch.finfo(dtype).min)
            self._masks[dtype, window] = torch.where(seen, visible, hidden)[:, None]
        return self._masks[dtype, window]

    def _seen(self, keys: Tensor, window: int | None, *, trunk: bool) -> Tensor:
        """Mask of the keys, shape (blocks, n), that each query of a block sees."""
        end, positions = self.end[keys], self.position[keys]
        # A token of the trunk is also near to some queries, but must count once.
        mine = end - keys > REACH if trunk else end - keys <= REACH
        query = self._query[:, :, None]
        seen = (keys[:, None] <= query) & (query < end[:, None]) & mine[:, None]
        if window is not None:
            seen = seen & (self.position[self._query][:, :, None] - positions[:, None] < window)
        return seen


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    tree: Tree,
    *,
    scaling: float,
    softcap: float | None = None,
    window: int | None = None,
) -> Tensor:
    """Attend to what the trie lets each token see.

    ``query`` is (1, heads, T, d); ``key, value`` is (1, groups, T, d); the result is (1, T, heads,
    d).
    """
    if _observed is not None and window is not None:
        _observed.add(window)
    mask = tree.mask(query.dtype, window)
    trunk = key[0].index_select(1, tree.trunk), value[0].index_select(1, tree.trunk)

    def rows(at: slice) -> Tensor:
        queries = query[0, :, at.start * BLOCK : at.stop * BLOCK] * scaling
        return _attend(queries, key[0], value[0], *trunk, tree.near[at], mask[at], softcap)

    blocks = tree.near.shape[0]
    if query.device.type != "cpu" or torch.onnx.is_in_onnx_export() or blocks <= SLICE:
        return rows(slice(0, blocks))[None]
    # In slices that stay near the processor, and need a fraction of the memory.
    out = query.new_empty(query.shape[2], query.shape[1], query.shape[3])
    for i in range(0, blocks, SLICE):
        out[i * BLOCK : (i + SLICE) * BLOCK] = rows(slice(i, min(i + SLICE, blocks)))
    return out[None]


def _attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    k_trunk: Tensor,
    v_trunk: Tensor,
    near: Tensor,
    mask: Tensor,
    softcap: float | None,
) -> Tensor:
    """Attend with some blocks of queries, shape (heads, blocks × BLOCK, d), already scaled."""
    heads, _, size = query.shape
    groups = key.shape[0]
    share = heads // groups
    blocks, span = near.shape
    # Heads that share keys lie beside each other in a block: one layout for both products.
    q = query.reshape(groups, share, blocks, BLOCK, size).transpose(1, 2)
    q = q.reshape(groups, blocks, share * BLOCK, size)
    k_near = key.index_select(1, near.reshape(-1)).reshape(groups, blocks, span, size)
    v_near = value.index_select(1, near.reshape(-1)).reshape(groups, blocks, span, size)
    flat = (groups, blocks * share * BLOCK)
    far = q.reshape(*flat, size) @ k_trunk.transpose(1, 2)
    scores = torch.cat(
        [far.reshape(groups, blocks, share * BLOCK, -1), q @ k_near.transpose(2, 3)], dim=-1
    )
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    scores = scores.reshape(groups, blocks, share, BLOCK, -1) + mask
    weights = torch.softmax(scores, dim=-1, dtype=torch.float32).to(value.dtype)
    weights = weights.reshape(groups, blocks, share * BLOCK, -1)
    out = (weights[..., :-span].reshape(*flat, -1) @ v_trunk).reshape((*q.shape[:3], -1))
    out = out + weights[..., -span:] @ v_near
    out = out.reshape(groups, blocks, share, BLOCK, -1).permute(1, 3, 0, 2, 4)
    return out.reshape(blocks * BLOCK, heads, -1)


@contextmanager
def observed() -> Iterator[set[int]]:
    """Collect the windows that layers ask for."""
    global _observed
    windows: set[int] = set()
    _observed = windows
    try:
        yield windows
    finally:
        _observed = None


def register() -> None:
    """Make the attention known to transformers as `NAME`; models then take an argument `tree`."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, _interface)


def _interface(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    tree: Tree | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    # The signature and the further arguments are those of transformers' interface.
    if tree is None:
        raise RuntimeError(f"This model does not hand the argument 'tree' on to {NAME!r}.")
    out = attend(
        query,
        key,
        value,
        tree.on(query.device),
        scaling=query.shape[-1] ** -0.5 if scaling is None else scaling,
        softcap=softcap,
        window=sliding_window,
    )
    return out, None
