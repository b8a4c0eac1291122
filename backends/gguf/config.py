"""The configuration of a GGUF file's model, complete or refused.

transformers' own reader takes some entries of a file and fills the rest in with the defaults of one
published model: how positions are scaled, what caps logits, how large the windows are. Here every
entry is either put where it belongs, known to say nothing about the numbers, or named in an error;
and so is every tensor, because those without a place in the model are skipped without a word.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from valuebias._core.foreign import reading
from valuebias.backends.gguf import archs as gguf_archs
from valuebias.backends.gguf import rope as gguf_rope
from valuebias.backends.gguf.files import Contents, read_gguf
from valuebias.backends.gguf.layers import refused
from valuebias.errors import ValueBiasError

__all__ = ["VERSION", "gguf_config"]

VERSION = 1
"""Version of the way in which files are read, for caches of scores."""

_LAYER = re.compile(r"blk\.\d+\.")
_NUMBERED = re.compile(r"blk\.(\d+)\.")
_HEAD = ("cls.output.weight", "cls.output.bias")
# Entries that say nothing about the numbers, or are checked by shape.
_SILENT = (
    "vocab_size", "pooling_type", "classifier.output_labels", "tensor_data_layout",
    "attention.key_length", "attention.value_length", "rope.dimension_count",
)  # fmt: skip
# Entries that are allowed where their value changes nothing.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "attention.causal": (True,),
    "attention.clamp_kqv": (0,),
    "attention.max_alibi_bias": (0,),
    "attention.sliding_window": (0,),
    "attn_logit_softcapping": (0,),
    "embedding_scale": (0, 1),
    "expert_count": (0,),
    "expert_used_count": (0,),
    "final_logit_softcapping": (0,),
    "logit_scale": (0, 1),
    "nextn_predict_layers": (0,),
    "residual_scale": (0, 1),
    "ssm.dt_b_c_rms": (False,),
}
_TOKENS = {"bos": "bos", "eos": "eos", "padding": "pad"}


def gguf_config(path: Path, name: str) -> Any:
    """Make the configuration of the model in a GGUF file."""
    contents = read_gguf(path)
    arch = gguf_archs.ARCHS.get(contents.architecture)
    if arch is None:
        raise ValueBiasError(
            f"The GGUF file of {name!r} has a model of the architecture "
            f"{contents.architecture!r}. Supported are {', '.join(gguf_archs.ARCHS)}: of "
            "others, transformers' reader leaves out something that scores depend on, or cannot "
            "read them. Score the model's own safetensors instead."
        )
    subject = f"The GGUF file of {name!r}"
    with reading(subject, advice="Download it again, or score the model's own safetensors."):
        _check_entries(contents, arch, name)
        _check_tensors(contents, arch, name)
        fields = arch.fields(contents, name) | _tokens(contents) | _labels(contents)
    from transformers import AutoConfig

    because = f"it says what transformers' configuration of {arch.model_type!r} does not take"
    with reading(subject, because=because, advice="Score the model's own safetensors instead."):
        return AutoConfig.for_model(arch.model_type, **fields)


def _check_entries(contents: Contents, arch: gguf_archs.Arch, name: str) -> None:
    """Refuse entries without a field in the configuration, unless their value changes nothing."""
    known = {*arch.sizes, *arch.eps, *arch.entries.split(), *_SILENT}
    if arch.rotary:
        known |= {*gguf_rope.ENTRIES}
    start = f"{contents.architecture}."
    for key, value in contents.fields.items():
        entry = key.removeprefix(start)
        if not key.startswith(start) or entry in known or value in _NEUTRAL.get(entry, ()):
            continue
        text = f"{value:g}" if isinstance(value, float) else repr(value)
        raise refused(name, f"the entry {key} = {text[:80]}")


def _check_tensors(contents: Contents, arch: gguf_archs.Arch, name: str) -> None:
    """Refuse a tensor that has no place in the model."""
    known = {"token_embd.weight", "output.weight", "output_norm.weight", *arch.top.split(), *_HEAD}
    if arch.rotary:
        known.add("rope_freqs.weight")
    in_layers = set(arch.layer.split())
    ahead = contents.get("nextn_predict_layers", 0)
    beyond = tuple(f"blk.{contents.get('block_count') - i}." for i in range(1, ahead + 1))
    for tensor in contents.shapes:
        kind = _LAYER.sub("", tensor)
        if beyond and tensor.startswith(beyond):
            continue
        if kind not in (known if kind == tensor else in_layers):
            raise refused(name, f"the tensor {tensor}")
    if "token_embd.weight" not in contents.shapes:
        raise refused(name, "no tensor token_embd.weight")
    count = int(contents.get("block_count"))
    layers = {int(m[1]) for m in map(_NUMBERED.match, contents.shapes) if m}
    if layers != set(range(count)):
        raise refused(name, f"{len(layers)} layers of tensors, and block_count = {count}")


def _tokens(contents: Contents) -> dict[str, Any]:
    """Copy the special tokens; a file without an entry has no such token."""
    stated = {word: contents.fields.get(f"tokenizer.ggml.{entry}_token_id")
              for entry, word in _TOKENS.items()}  # fmt: skip
    return {f"{word}_token_id": value for word, value in stated.items()}


def _labels(contents: Contents) -> dict[str, Any]:
    head = contents.shapes.get("cls.output.weight")
    if head is None:
        return {}
    names = contents.get("classifier.output_labels") or []
    if len(names) != head[0]:
        names = [f"LABEL_{i}" for i in range(head[0])]
    return {"id2label": dict(enumerate(names)), "label2id": {n: i for i, n in enumerate(names)}}
