"""From hidden states to what is asked for: rewards, log-probs of tokens, rows of log-probs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from types import MethodType
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from valuebias._core.arrays import Floats
from valuebias.backends import prepacked
from valuebias.backends.attention import Tree
from valuebias.backends.base import STEPS, Source, hidden_states
from valuebias.errors import ValueBiasError

__all__ = ["Head", "autocast_inside"]

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
        self.kind, self.head = source.kind, source.head
        self.labels = source.read_labels or (source.label,)
        self.at: int | list[int] = list(source.read_labels) or source.label
        """Which label is read of rewards, or which several."""
        self.name = source.name
        if source.kind == "reward":
            widened(model, self.body, source)
        self._as_they_are = source.head is hidden_states
        if callable(source.head):
            self.head = widened_callable(source.head, source.name)
        config: Any = model.config
        # BERT and its kin tell two texts apart by the types of their tokens.
        self._step_token, self._over_steps = source.step_token, source.over_steps
        self._has_types = source.pair and getattr(config, "type_vocab_size", 0) > 1
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
        """Return what the model itself puts out for whole conversations, as :meth:`rewards`."""
        more = {}
        if self._has_types:
            ends = (ids == ids[:, -1:]).long()
            more["token_type_ids"] = (ends.cumsum(1) - ends > 0).long()
        try:
            output = self.model(ids, attention_mask=torch.ones_like(ids), **more)
        except RuntimeError as error:
            raise self._narrow(error, "The model's own code") from error
        if self.head == STEPS:
            return self._of_steps(ids, output)
        if self.head == "score":
            score = getattr(output, "score", None)
            if isinstance(score, Tensor) and score.ndim == 2 and len(score) == len(ids):
                score = score[:, :1]
            return self._one_each(score, len(ids), "the output of its own code has as its score")
        logits: Any = getattr(output, str(self.head), None)
        if isinstance(output, tuple):
            logits = output[0]
        rows = _is_numbers(logits) and logits.ndim in (1, 2) and len(logits) == len(ids)
        if not rows or max(self.labels) >= logits.numel() // max(1, len(ids)):
            raise ValueBiasError(
                f"{self.name}: its own code puts out as {self.head} {_describe(logits)} for "
                f"{len(ids)} conversations; expected a tensor of real numbers with one row each, a "
                f"column a label, among them {max(self.labels)}. Give a label that there is, or "
                "head= a function of the hidden states."
            )
        return cast(Tensor, logits.reshape(len(ids), -1)[:, self.at])

    def _of_steps(self, ids: Tensor, output: Any) -> Tensor:
        """Read the marks after steps; softmax over labels, of a single one the sigmoid."""
        logits: Any = getattr(output, "logits", None)
        if isinstance(output, tuple):
            logits = output[0]
        fits = _is_numbers(logits) and logits.ndim == 3 and logits.shape[:2] == ids.shape
        if not fits or max(self.labels) >= logits.shape[2]:
            raise ValueBiasError(
                f"{self.name}: its output has as logits {_describe(logits)} for {len(ids)} "
                f"conversations of {ids.shape[1]} tokens; expected a tensor of real numbers, a row "
                f"a token, with a column for the label {max(self.labels)}. head='steps' is for "
                "process reward models, which classify tokens."
            )
        logits = logits.float()
        chance: Tensor = logits.softmax(-1) if logits.shape[2] > 1 else logits.sigmoid()
        marks = torch.eq(ids, -1 if self._step_token is None else self._step_token)[:, :, None]
        if not marks.any(1).all():
            raise ValueBiasError(
                f"{self.name}: a conversation has no step mark (token {self._step_token}), so that "
                "there is nothing to read. Put the mark after {response} in template=."
            )
        at = chance[:, :, list(self.labels)]
        if self._over_steps == "min":
            found = torch.where(marks, at, torch.inf).amin(1)
        elif self._over_steps == "product":
            found = torch.where(marks, at.log(), 0.0).sum(1).exp()
        elif self._over_steps == "mean":
            found = torch.where(marks, at, 0.0).sum(1) / marks.sum(1)
        else:
            last = ids.shape[1] - 1 - marks[:, :, 0].flip(1).int().argmax(1)
            found = at[torch.arange(len(ids), device=ids.device), last]
        return found if isinstance(self.at, list) else found[:, 0]

    def rewards(self, hidden: Tensor) -> Tensor:
        """Return rewards in float32, shape (R,); of several labels, shape (R, labels)."""
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
        return cast(Tensor, score(hidden)[:, self.at])

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


class OwnHead:
    """Computes logits by a model's own code, with hidden states put in the place of its body.

    What comes after the body differs: factors, soft caps, a dense layer and a norm before the
    embeddings. So no list of them is kept. Shares the model's weights; changes nothing in it.
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

    def parameters(self) -> list[nn.Parameter]:
        """List the weights that logits are made with, the body's not among them."""
        own = [*self._model.parameters(), *self._embeddings.parameters()]
        return list({id(weight): weight for weight in own}.values())

    def to(self, device: torch.device) -> None:
        """Move what stands outside the body."""
        self._model.to(device)

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
