"""A causal language model's own way from hidden states to logits.

What comes after the body differs: factors, soft caps under several names, a dense layer and a norm
before the embeddings, factors that are the body's. So no list of them is kept here: the model's own
``forward`` runs, with the body replaced by hidden states that are there already.
"""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn

from valuebias.backends import prepacked
from valuebias.errors import ValueBiasError

__all__ = ["OwnHead", "path_of_body"]


class OwnHead:
    """Computes logits by a model's own code. Shares the model's weights; changes nothing in it.

    Parameters
    ----------
    model : torch.nn.Module
        A causal language model of transformers, ready for inference.
    path : str
        Where its body is, as :func:`path_of_body` says.
    """

    def __init__(self, model: nn.Module, path: str) -> None:
        self._forward = type(model).forward
        self._given = _Given(model.get_submodule(path))
        self._model = _replaced(model, path.split("."), self._given)
        self._embeddings = cast(Any, model).get_output_embeddings()

    def __call__(self, hidden: Tensor) -> Tensor:
        """Return the logits of hidden states, shape (R, hidden): shape (R, vocabulary)."""
        self._given.hidden = hidden[None]
        ids = torch.zeros((1, hidden.shape[0]), dtype=torch.int64, device=hidden.device)
        # By the class's function: a forward put into an instance is bound to the whole model.
        output = self._forward(self._model, input_ids=ids)
        self._given.hidden = None
        return cast(Tensor, output.logits[0])

    def prepack(self, dtype: torch.dtype) -> None:
        """Multiply with the embeddings as oneDNN does, where it can; :func:`prepacked.possible`."""
        layer = self._embeddings
        paths = [name for name, part in self._model.named_modules() if part is layer]
        if type(layer) is nn.Linear and layer.weight.dtype == dtype and len(paths) == 1:
            self._model = _replaced(self._model, paths[0].split("."), prepacked.Shared(layer))


def path_of_body(model: nn.Module) -> str:
    """Find the body of a model: the part that its own ``forward`` calls first."""
    device = cast(Any, model).get_input_embeddings().weight.device
    hooks = [
        part.register_forward_pre_hook(_stop(path), prepend=True)
        for path, part in model.named_modules()
        if path
    ]
    try:
        with torch.inference_mode():
            model(input_ids=torch.zeros((1, 2), dtype=torch.int64, device=device))
    except _Called as called:
        return called.path
    finally:
        for hook in hooks:
            hook.remove()
    raise ValueBiasError(
        f"{type(model).__name__} computes without any module of its own, so its hidden states "
        "cannot be read. Only decoders as transformers writes them are scored."
    )


class _Called(Exception):
    """Ends a run of the model at its first part; only this module catches it."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


def _stop(path: str) -> Any:
    def hook(*_: object) -> None:
        raise _Called(path)

    return hook


def _replaced(module: nn.Module, path: list[str], by: nn.Module) -> nn.Module:
    """Copy a module, but none of its weights, with the part at a path replaced."""
    shallow = copy.copy(module)
    name, *rest = path
    part = module.get_submodule(name)
    parts = {**module._modules, name: _replaced(part, rest, by) if rest else by}
    object.__setattr__(shallow, "_modules", parts)
    return shallow


class _Given(nn.Module):
    """Stands in for a body: returns given hidden states, and is otherwise like it."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        # Not a part of this one, or its weights would count twice.
        object.__setattr__(self, "_body", body)
        self.hidden: Tensor | None = None

    def forward(self, *_: object, **__: object) -> _Output:
        return _Output(last_hidden_state=self.hidden)

    def __getattr__(self, name: str) -> Any:
        # Some models keep what their head needs, such as a factor, in the body.
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["_body"], name)


class _Output(dict[str, Any]):
    """What bodies put out, with hidden states and nothing else."""

    def __getattr__(self, name: str) -> Any:
        return self.get(name)

    def __getitem__(self, key: Any) -> Any:
        return (self["last_hidden_state"],)[key] if isinstance(key, int | slice) else self.get(key)
