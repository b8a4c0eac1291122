"""The head of a reward model in its files: which tensor it is, and how it alone is rewritten."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from valuebias._core.foreign import parse_json, reading
from valuebias.backends.base import hidden_states
from valuebias.errors import ValueBiasError, few
from valuebias.models.config import is_encoder
from valuebias.models.resolve import Resolved, resolve
from valuebias.models.spec import Model
from valuebias.models.tokenizer import Tokenizer
from valuebias.models.weights import tensors, weight_files
from valuebias.training.features import Base

__all__ = ["RewardHead", "find_head", "hidden_base", "rewritten"]

Floats = npt.NDArray[np.float64]

_FIRST = re.compile(r"(?:^|\.)score(?:\.0)?\.weight$")
_SCORE = re.compile(r"(?:^|\.)score\.")
_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_LONGEST = 100_000_000
"""Bytes of a header that the format allows."""
_SMALL = 1 << 24
_WEIGHTS = (
    ".safetensors",
    ".bin",
    ".pt",
    ".pth",
    ".gguf",
    ".onnx",
    ".onnx_data",
    ".h5",
    ".msgpack",
    ".bin.index.json",
)
_DAMAGED = "Download or save the model again."


@dataclass(frozen=True, slots=True)
class RewardHead:
    """The first layer of a head: what reads hidden states."""

    resolved: Resolved
    file: Path
    weight: str  # the tensor's name
    bias: str | None

    @property
    def sha256(self) -> str:
        """Names the weights of the whole model."""
        return self.resolved.source.weights_sha256


def find_head(model: Model) -> RewardHead:
    """Find the linear layer that a reward model's head begins with; refuse all other models."""
    name = model.name
    if model.reference is not None:
        raise ValueBiasError(
            f"The model {name!r} has a reference, so that it is a policy, whose reward is implicit "
            "in two models' log-probs and has no head to shape. Give a reward model."
        )
    if model.head != "logits":
        raise ValueBiasError(
            f"The model {name!r} has head={getattr(model.head, '__name__', model.head)!r}; only a "
            "head that lies in the model's files as its layer 'score' can be shaped. Give a "
            "sequence classifier of transformers without head=."
        )
    resolved = resolve(model, kind="reward")
    if is_encoder(resolved.model_config.model_type):
        raise ValueBiasError(
            f"The model {name!r} is an encoder ({resolved.model_config.architecture}), whose head "
            "does not read the last token's hidden state. Give a reward model on a decoder."
        )
    if resolved.source.own_code:
        raise ValueBiasError(
            f"The model {name!r} has code of its own, and what its head reads is not known. Give a "
            "sequence classifier of transformers."
        )
    if resolved.source.file is not None:
        raise ValueBiasError(
            f"The model {name!r} is the file {resolved.source.file!r}, which is not rewritten. "
            "Give the folder of the same model as safetensors."
        )
    found: dict[str, Path] = {}
    for path in weight_files(resolved.source.folder, name):
        shapes = tensors(path)
        found |= {key: path for key in shapes if _SCORE.search(key)}
        wide = {key: shapes[key] for key in shapes if _FIRST.search(key)}
        for key, shape in wide.items():
            if len(shape) != 2 or shape[1] != resolved.model_config.hidden:
                raise ValueBiasError(
                    f"The head of {name!r}, {key}, has the shape {shape}; expected (labels, "
                    f"{resolved.model_config.hidden}), a row a label. Only linear heads and heads "
                    "of two layers can be shaped."
                )
    first = [key for key in found if _FIRST.search(key)]
    layers = [key for key in found if key.endswith(".weight")]
    two = len(layers) == 2 and any(key.endswith("score.2.weight") for key in layers)
    if len(first) != 1 or not (len(layers) == 1 or two):
        raise ValueBiasError(
            f"The head of {name!r} has the weights {few(sorted(found))}; expected score.weight, or "
            "score.0.weight and score.2.weight. Only linear heads and heads of two layers can be "
            "shaped."
        )
    bias = first[0].removesuffix("weight") + "bias"
    return RewardHead(resolved, found[first[0]], first[0], bias if bias in found else None)


def hidden_base(model: Model) -> Base:
    """Give what the head of a reward model reads, where it reads it."""
    resolved = resolve(replace(model, head=hidden_states, label=None), kind="reward")
    return Base(resolved, Tokenizer(resolved))


def rewritten(
    head: RewardHead,
    part: Path,
    change: Callable[[Mapping[str, Floats]], Mapping[str, Floats]] | None,
) -> None:
    """Copy a model's folder, with the tensors of its head as `change` gives them.

    All other bytes stay, but weights that are not loaded, whose head would be the old one, are left
    out. Of large files that do not change a second name is made, where the system
    can, so that a shaped model takes the room of one file.
    """
    folder = head.resolved.source.folder
    loaded = weight_files(folder, head.resolved.model.name)
    part.mkdir()
    seen: set[str] = set()
    for root, folders, files in os.walk(folder, followlinks=True):
        # Links may lead round in a circle.
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if name not in (".git", ".cache", "__pycache__")]
        target = part / Path(root).relative_to(folder)
        target.mkdir(exist_ok=True)
        for name in files:
            path = Path(root, name)
            if name.lower().endswith(_WEIGHTS) and path not in loaded:
                continue
            if path == head.file and change is not None:
                shutil.copyfile(path, target / name)
            else:
                _linked(path.resolve(), target / name)
    if change is not None:
        _patch(part / head.file.relative_to(folder), head, change)


def _linked(path: Path, target: Path) -> None:
    if path.stat().st_size >= _SMALL:
        try:
            os.link(path, target)
        except OSError:
            pass
        else:
            return
    shutil.copyfile(path, target)


def _patch(
    file: Path, head: RewardHead, change: Callable[[Mapping[str, Floats]], Mapping[str, Floats]]
) -> None:
    """Write tensors over those of the same names, types and shapes."""
    names = [name for name in (head.weight, head.bias) if name is not None]
    with reading(file, because="it is no safetensors file", advice=_DAMAGED):
        places, start = _header(file)
        spans = {name: _span(places[name], start) for name in names if name in places}
    if len(spans) < len(names):
        raise ValueBiasError(
            f"{str(head.file)!r} has {head.weight} and not its bias, which lies in another file. "
            "Save the model again with save_pretrained(folder), which keeps them together."
        )
    before: dict[str, Floats] = {}
    with file.open("r+b") as handle:
        for name, (begin, length, _) in spans.items():
            handle.seek(begin)
            before[name] = _numbers(handle.read(length), places[name], name)
        after = change(before)
        for name, (begin, length, dtype) in spans.items():
            if name not in after:
                continue
            content = _content(after[name], dtype)
            if len(content) != length:
                raise TypeError("A tensor keeps its shape.")
            handle.seek(begin)
            handle.write(content)


def _header(file: Path) -> tuple[dict[str, Any], int]:
    with file.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        if not 0 < length <= min(_LONGEST, file.stat().st_size - 8):
            raise ValueError("its header is longer than it is")
        text = handle.read(length)
    return dict(parse_json(text, file, advice=_DAMAGED)), 8 + length


def _span(entry: Any, start: int) -> tuple[int, int, str]:
    begin, end = entry["data_offsets"]
    return start + int(begin), int(end) - int(begin), str(entry["dtype"])


def _numbers(content: bytes, entry: Mapping[str, Any], name: str) -> Floats:
    import torch

    dtype = _DTYPES.get(str(entry["dtype"]))
    if dtype is None:
        raise ValueBiasError(
            f"The head's {name} is of the type {entry['dtype']}; expected one of {list(_DTYPES)}. "
            "Save the model with plain weights."
        )
    flat = torch.frombuffer(bytearray(content), dtype=getattr(torch, dtype))
    return np.asarray(flat.to(torch.float64).reshape(tuple(entry["shape"])).numpy())


def _content(values: Floats, dtype: str) -> bytes:
    import torch

    made = torch.from_numpy(np.ascontiguousarray(values)).to(getattr(torch, _DTYPES[dtype]))
    return made.reshape(-1).view(torch.uint8).numpy().tobytes()
