"""Heads in float32 on bodies in another arithmetic."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from types import MethodType
from typing import Any, cast

import torch
from torch import Tensor, nn

from valuebias.backends.base import Source
from valuebias.errors import ValueBiasError

__all__ = ["autocast_inside", "body_of", "widened", "widened_callable"]


def body_of(model: nn.Module) -> nn.Module:
    """Find the decoder inside a model; the model itself where it is nothing else."""
    body: nn.Module = getattr(model, "base_model", model)
    if body is not model:
        return body
    from transformers import PreTrainedModel

    # Other people's code need not say what it calls its body.
    bodies = [child for child in model.children() if isinstance(child, PreTrainedModel)]
    return cast(nn.Module, bodies[0]) if len(bodies) == 1 else model


def widened(model: nn.Module, body: nn.Module, source: Source) -> None:
    """Bring what lies around the body to float32, and what comes out of the body."""
    if body is model and not callable(source.head) and source.dtype != "float32":
        raise ValueBiasError(
            f"{source.name}: the body of {type(model).__name__} cannot be told from its head, "
            f"which is to compute in float32 and not in {source.dtype}, where many words would get "
            "one reward. Give the model dtype='float32'."
        )
    inside = {id(tensor) for tensor in (*body.parameters(), *body.buffers())}
    for tensor in (*model.parameters(), *model.buffers()):
        if id(tensor) not in inside and tensor.is_floating_point():
            tensor.data = tensor.data.float()
    body.register_forward_hook(_wide_output)


def _wide_output(module: nn.Module, inputs: Any, output: Any) -> Any:
    if isinstance(output, Mapping):
        for key, value in list(output.items()):
            output[key] = _wide(value)  # type: ignore[index]
        return output
    return _wide(output)


def _wide(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float() if value.is_floating_point() else value
    if type(value) in (tuple, list):
        return type(value)(_wide(entry) for entry in value)
    return value


def widened_callable(head: Callable[[Any], Any], name: str) -> Callable[[Any], Any]:
    """Copy a user's head to float32 and evaluation mode, where it is a module."""
    owner = getattr(head, "__self__", None)
    if isinstance(owner, nn.Module):
        copied = _copied(owner, name)
        return head if copied is owner else MethodType(cast(Any, head).__func__, copied)
    return _copied(head, name) if isinstance(head, nn.Module) else head


def _copied(module: nn.Module, name: str) -> nn.Module:
    tensors = [t for t in (*module.parameters(), *module.buffers()) if t.is_floating_point()]
    trains = any(part.training for part in module.modules())
    if not trains and all(tensor.dtype == torch.float32 for tensor in tensors):
        return module
    try:
        return copy.deepcopy(module).float().eval()
    except (RuntimeError, TypeError) as error:
        raise ValueBiasError(
            f"{name}: the head {type(module).__name__} is to compute in float32 and out of "
            f"training, and cannot be copied to be brought there ({error}). Call "
            "head.float().eval() before."
        ) from error


def autocast_inside(body: nn.Module, device: str) -> None:
    """Multiply in bfloat16 inside a body, and nowhere else."""
    forward = body.forward

    def inside(*args: Any, **options: Any) -> Any:
        with torch.autocast(device, dtype=torch.bfloat16):
            return forward(*args, **options)

    body.forward = inside
