"""Linear layers whose weights lie in the order in which oneDNN multiplies them.

On x86 this takes about a tenth off PyTorch's own matrix products, and the activation and the
product of a gated feed-forward layer come with them for nothing. The weights move: a layer keeps
the reordered ones only. Used by PyTorch's own compiler, through the operators below.
"""

from __future__ import annotations

import platform
from typing import cast

import torch
from torch import Tensor, nn

from valuebias.backends import memory

__all__ = ["Linear", "Shared", "possible", "prepack"]

_ROWS = 1024
"""The number of rows the order is chosen for; others are right too."""
_SLICE = 512
"""Rows of a gated feed-forward layer computed at once: enough for the products' full speed."""
_GATES = {
    "SiLU": ("swish", ""),
    "SiLUActivation": ("swish", ""),
    "GELU": ("gelu", "none"),
    "GELUActivation": ("gelu", "none"),
    "GELUTanh": ("gelu", "tanh"),
    "PytorchGELUTanh": ("gelu", "tanh"),
}
"""Activation modules, and what oneDNN calls them."""
_PARTS = ("gate_proj", "up_proj", "down_proj")
"""What gated feed-forward layers call their products."""


def possible(dtype: torch.dtype) -> bool:
    """Whether this machine and this PyTorch can reorder weights."""
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        return False
    if not torch.backends.mkldnn.is_available():
        return False
    operators = torch.ops.mkldnn
    if not all(hasattr(operators, op) for op in ("_linear_pointwise", "_reorder_linear_weight")):
        return False
    if dtype == torch.bfloat16:
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return dtype == torch.float32


def prepack(model: nn.Module, dtype: torch.dtype) -> int:
    """Replace the linear layers of a model, each freeing its weights, and count them."""
    count = 0
    trial = _tried(model)
    for name, child in list(model.named_children()):
        if type(child) is nn.Linear:
            setattr(model, name, Linear(child, dtype))
            count += 1
        else:
            count += prepack(child, dtype)
    if trial is not None:
        gate, up, down = (getattr(model, part) for part in _PARTS)
        gated = _Gated(gate, up, down, *_GATES[_gate(model)])
        if _alike(gated(trial[0]), trial[1], dtype):
            model.forward = gated
    return count


def _gate(layer: nn.Module) -> str:
    return type(getattr(layer, "act_fn", None)).__name__


def _tried(layer: nn.Module) -> tuple[Tensor, Tensor] | None:
    """Try a layer that looks like a gated feed-forward one on random numbers.

    Where these names are, its forward is "down(act(gate(x)) * up(x))" in nearly all architectures;
    some put scales or a norm in between.
    """
    parts = [getattr(layer, part, None) for part in _PARTS]
    if _gate(layer) not in _GATES or not all(type(part) is nn.Linear for part in parts):
        return None
    weight = cast(nn.Linear, parts[0]).weight
    x = torch.randn(2, weight.shape[1], generator=torch.Generator().manual_seed(0))
    x = x.to(weight.dtype)
    with torch.inference_mode():
        return x, layer(x)


def _alike(ours: Tensor, expected: Tensor, dtype: torch.dtype) -> bool:
    gap = torch.linalg.vector_norm(ours.float() - expected.float())
    size = torch.linalg.vector_norm(expected.float())
    return bool(gap <= (1e-4 if dtype == torch.float32 else 0.05) * size)


class Linear(nn.Module):
    """A linear layer that takes the weights of another one away, reordered."""

    def __init__(self, layer: nn.Linear, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        weight = layer.weight.detach().to(dtype)
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight, _ROWS)
        self.bias = None if layer.bias is None else layer.bias.detach().to(dtype)
        self.out_features, self.in_features = layer.out_features, layer.in_features
        # Some models ask for a layer's dtype before they call it; the weight has no numbers.
        self.weight = nn.Parameter(torch.empty(0, dtype=layer.weight.dtype), requires_grad=False)
        memory.forget(layer.weight)
        # A reference to the old layer must not keep its weights in memory.
        layer.weight = nn.Parameter(torch.empty(0), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer, in its own dtype."""
        return self.apply_to(x.to(self.dtype)).to(x.dtype)

    def apply_to(self, x: Tensor, activation: str = "none", algorithm: str = "") -> Tensor:
        """Apply the layer to what has its dtype, and an activation to the result."""
        output = torch.ops.mkldnn._linear_pointwise(
            x, self.packed, self.bias, activation, [], algorithm
        )
        return cast(Tensor, output)

    def times(self, x: Tensor, other: Tensor) -> Tensor:
        """Apply the layer and multiply the result with something else."""
        output = torch.ops.mkldnn._linear_pointwise.binary(x, other, self.packed, self.bias, "mul")
        return cast(Tensor, output)


class Shared(nn.Module):
    """A linear layer that shares another one's weights, which stay where and as they are.

    For output embeddings, which are the input's too in many models: for few rows oneDNN multiplies
    by them in half the time, reordering included.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        self.out_features, self.in_features = layer.out_features, layer.in_features

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer."""
        output = torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")
        return cast(Tensor, output)


class _Gated:
    """A gated feed-forward layer, with the activation and the gate inside the products."""

    def __init__(
        self, gate: Linear, up: Linear, down: Linear, activation: str, algorithm: str
    ) -> None:
        self.gate, self.up, self.down = gate, up, down
        self.activation, self.algorithm = activation, algorithm

    def __call__(self, x: Tensor) -> Tensor:
        rows = x.flatten(0, -2)
        out = torch.empty_like(rows)
        # The wide layer between is held for a slice at a time, which stays near the processor.
        for start in range(0, len(rows), _SLICE):
            low = rows[start : start + _SLICE].to(self.gate.dtype)
            gated = self.up.times(low, self.gate.apply_to(low, self.activation, self.algorithm))
            out[start : start + _SLICE] = self.down.apply_to(gated).to(x.dtype)
        return out.reshape(x.shape)
