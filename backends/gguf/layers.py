"""What entries and tensors of a GGUF file imply, architecture by architecture."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from valuebias.backends.gguf.files import Contents
from valuebias.backends.gguf.rope import DEFAULT_BASE, positive, rope_parameters
from valuebias.errors import ValueBiasError

__all__ = ["MORE", "head_dim", "one", "refused"]

_LAYER = re.compile(r"blk\.(\d+)\.(.*)")
_QKV_BIAS = "attn_q.bias attn_k.bias attn_v.bias"
_BIASES = f"{_QKV_BIAS} attn_output.bias"


def refused(name: str, fact: str) -> ValueBiasError:
    """Make the error that names what a file has or lacks."""
    return ValueBiasError(
        f"The GGUF file of {name!r} has {fact}. transformers' reader of such files passes over "
        "that without a word, and the numbers would be wrong. Score the model's own safetensors "
        "instead."
    )


def one(contents: Contents, entry: str, name: str) -> Any:
    """Return an entry that may be stated layer by layer, but is the same for all."""
    value = contents.get(entry)
    if isinstance(value, list):
        if len(set(value)) != 1:
            raise refused(name, f"{entry} that differs between layers")
        return value[0]
    return value


def head_dim(contents: Contents, fields: Mapping[str, Any], name: str) -> int:
    """Return the size of heads: as stated, as the first queries' shape tells, or from the width."""
    stated = {contents.get("attention.key_length"), contents.get("attention.value_length")} - {None}
    if len(stated) > 1:
        raise refused(name, f"keys and values of different sizes ({sorted(stated)})")
    dim = int(next(iter(stated), fields["hidden_size"] // fields["num_attention_heads"]))
    queries = contents.shapes.get("blk.0.attn_q.weight")
    if queries is not None and queries[0] != dim * fields["num_attention_heads"]:
        # Not stated, as in older files: the shape tells.
        return queries[0] // int(fields["num_attention_heads"])
    return dim


def _has(contents: Contents, tensors: str, name: str) -> bool:
    """Whether every layer has these tensors; where only some have them, the file is refused."""
    wanted = tensors.split()
    present = [m[2] for m in map(_LAYER.fullmatch, contents.shapes) if m and m[2] in wanted]
    if not present:
        return False
    if len(present) != len(wanted) * int(contents.get("block_count")):
        listed = ", ".join(sorted(set(present)))
        raise refused(name, f"{listed} in some layers only; expected all of {', '.join(wanted)}")
    return True


def _flags(**tensors: str) -> Callable[[Contents, str], dict[str, Any]]:
    """Make fields that say whether layers have some tensors, such as biases."""
    return lambda contents, name: {f: _has(contents, t, name) for f, t in tensors.items()}


def _moe(contents: Contents, name: str) -> dict[str, Any]:
    """Read the sizes of experts off their tensors; layers without experts are dense."""
    experts = {int(m[1]): m[2] for m in map(_LAYER.fullmatch, contents.shapes)
             if m and m[2] == "ffn_up_exps.weight"}  # fmt: skip
    if not experts:
        raise refused(name, "no layer with experts")
    layers = range(int(contents.get("block_count")))
    sizes = {contents.shapes[f"blk.{i}.ffn_up_exps.weight"][:2] for i in experts}
    if len(sizes) != 1:
        raise refused(name, "experts that differ between layers")
    count, width = sizes.pop()
    used = contents.get("expert_used_count")
    if contents.get("expert_count", count) != count or not used:
        raise refused(name, f"{count} experts, and entries that say otherwise")
    return {
        "num_experts": int(count),
        "num_experts_per_tok": int(used),
        "moe_intermediate_size": int(width),
        "mlp_only_layers": [i for i in layers if i not in experts],
        "decoder_sparse_step": 1,
    }


def _qwen2moe(contents: Contents, name: str) -> dict[str, Any]:
    fields = _moe(contents, name)
    shared = contents.shapes.get("blk.0.ffn_up_shexp.weight")
    if shared is None:
        raise refused(name, "no shared expert")
    if len(contents.shapes.get("blk.0.ffn_gate_inp_shexp.weight", ())) != 1:
        raise refused(name, "a gate of the shared expert that llama-quantize has not gone over")
    # llama.cpp does not scale the shares of the chosen experts to one here, and does in qwen3moe.
    return fields | {"shared_expert_intermediate_size": shared[0], "norm_topk_prob": False}


def _qwen3moe(contents: Contents, name: str) -> dict[str, Any]:
    return _moe(contents, name) | MORE["qwen3"](contents, name) | {"norm_topk_prob": True}


def _attention_scale(contents: Contents, layers_of_27b: int, name: str) -> int:
    """Return what attention scores are divided by the root of, which no file states.

    It is the size of heads, except for the 27B models, whose heads do not make up the width;
    llama.cpp knows them by their number of layers. All published heads but theirs have 256 numbers,
    so of others it is not known which of the two was meant.
    """
    stated = contents.get("attention.scale")
    if stated:
        scalar = 1 / float(stated) ** 2
        if abs(scalar - round(scalar)) > 1e-3:
            raise refused(name, f"attention.scale = {stated:g}")
        return round(scalar)
    layers, heads = contents.get("block_count"), one(contents, "attention.head_count", name)
    if layers == layers_of_27b:
        return int(contents.get("embedding_length")) // int(heads)
    dim = contents.get("attention.key_length")
    if dim == 256:
        return 256
    raise refused(
        name,
        "no entry for the number that attention scores are divided by (query_pre_attn_scalar), "
        f"which for {layers} layers and heads of {dim} numbers does not follow from the size",
    )


def _windows(contents: Contents, period: int, name: str) -> dict[str, Any]:
    """Return which layers see a window only: all but the last of each period."""
    layers = range(int(contents.get("block_count")))
    pattern = contents.get("attention.sliding_window_pattern", period)
    if isinstance(pattern, list):
        if len(pattern) != len(layers):
            raise refused(name, f"a sliding_window_pattern of {len(pattern)} layers")
        sliding = [bool(entry) for entry in pattern]
    else:
        sliding = [pattern == 0 or i % pattern < pattern - 1 for i in layers]
    return {"layer_types": ["sliding_attention" if s else "full_attention" for s in sliding]}


def _gemma2(contents: Contents, name: str) -> dict[str, Any]:
    return _windows(contents, 2, name) | {
        "query_pre_attn_scalar": _attention_scale(contents, 46, name),
        "sliding_window": int(contents.get("attention.sliding_window", 4096)),
        # Files from before these were written have the published values.
        "attn_logit_softcapping": contents.get("attn_logit_softcapping", 50.0) or None,
        "final_logit_softcapping": contents.get("final_logit_softcapping", 30.0) or None,
    }


def _gemma3(contents: Contents, name: str) -> dict[str, Any]:
    window = int(contents.get("attention.sliding_window") or 0)
    if contents.get("rope.freq_base") is None:
        raise refused(name, f"no entry {contents.architecture}.rope.freq_base")
    local = positive(contents, "rope.freq_base_swa", name) or DEFAULT_BASE
    return _windows(contents, 6 if window else 1, name) | {
        "query_pre_attn_scalar": _attention_scale(contents, 62, name),
        # Without a window no layer has one, but transformers wants a number.
        "sliding_window": window or int(contents.get("context_length")),
        "rope_parameters": {
            "full_attention": rope_parameters(contents, name),
            "sliding_attention": {"rope_type": "default", "rope_theta": local},
        },
        "attn_logit_softcapping": contents.get("attn_logit_softcapping") or None,
        "final_logit_softcapping": contents.get("final_logit_softcapping") or None,
    }


def _phi3(contents: Contents, name: str) -> dict[str, Any]:
    length = contents.get("rope.scaling.original_context_length")
    return {
        "original_max_position_embeddings": int(length or contents.get("context_length")),
        "sliding_window": contents.get("attention.sliding_window") or None,
    }


def _falcon(contents: Contents, name: str) -> dict[str, Any]:
    groups = contents.get("attention.head_count_kv", 1)
    if groups != 1:
        # The converter then permutes rows of queries, keys and values; the reader does not undo it.
        raise refused(name, f"attn_qkv.weight with {groups} groups of heads in llama.cpp's order")
    return {"multi_query": True, "new_decoder_architecture": False, "parallel_attn": True,
            "bias": False, "alibi": False}  # fmt: skip


def _stablelm(contents: Contents, name: str) -> dict[str, Any]:
    parallel = not _has(contents, "ffn_norm.weight ffn_norm.bias", name)
    if bool(contents.get("use_parallel_residual", parallel)) is not parallel:
        raise refused(name, "use_parallel_residual against its own tensors")
    return {"use_qkv_bias": _has(contents, _QKV_BIAS, name), "use_parallel_residual": parallel}


def _lfm2(contents: Contents, name: str) -> dict[str, Any]:
    groups = contents.get("attention.head_count_kv")
    if not isinstance(groups, list) or len(set(groups) - {0}) != 1:
        raise refused(name, f"attention.head_count_kv = {groups}, which does not tell layers apart")
    return {
        "num_key_value_heads": max(groups),
        "layer_types": ["full_attention" if n else "conv" for n in groups],
        "block_auto_adjust_ff_dim": False,
        "conv_bias": any(name.endswith("shortconv.in_proj.bias") for name in contents.shapes),
    }


def _mamba(contents: Contents, name: str) -> dict[str, Any]:
    inner, width = contents.get("ssm.inner_size"), contents.get("embedding_length")
    if not inner or inner % width:
        raise refused(name, f"ssm.inner_size = {inner} for a width of {width}")
    return {
        "expand": inner // width,
        "use_conv_bias": _has(contents, "ssm_conv1d.bias", name),
        "use_bias": False,
    }


def _qwen35(contents: Contents, name: str) -> dict[str, Any]:
    heads, inner = contents.get("ssm.time_step_rank"), contents.get("ssm.inner_size")
    needed = ("ssm.conv_kernel", "ssm.state_size", "ssm.group_count", "full_attention_interval")
    lacking = [entry for entry in needed if not contents.get(entry)]
    if lacking or not heads or not inner:
        raise refused(name, f"no entry {contents.architecture}.{(*lacking, 'ssm.inner_size')[0]}")
    sections = [int(n) for n in contents.get("rope.dimension_sections") or [] if n]
    rope = rope_parameters(contents, name)
    if sections:
        rope |= {"mrope_section": sections, "mrope_interleaved": True}
    dim = int(contents.get("attention.key_length"))
    rope["partial_rotary_factor"] = int(contents.get("rope.dimension_count") or dim) / dim
    return {
        # A block that predicts a token further on is counted, and not part of the model.
        "num_hidden_layers": contents.get("block_count") - contents.get("nextn_predict_layers", 0),
        "full_attention_interval": contents.get("full_attention_interval"),
        "linear_conv_kernel_dim": contents.get("ssm.conv_kernel"),
        "linear_key_head_dim": contents.get("ssm.state_size"),
        "linear_num_key_heads": contents.get("ssm.group_count"),
        "linear_num_value_heads": heads,
        "linear_value_head_dim": inner // heads,
        "rope_parameters": rope,
    }


MORE: dict[str, Callable[[Contents, str], dict[str, Any]]] = {
    "llama": _flags(attention_bias=_BIASES, mlp_bias="ffn_gate.bias ffn_up.bias ffn_down.bias"),
    "qwen2moe": _qwen2moe,
    "qwen3": _flags(attention_bias=_BIASES),
    "qwen3moe": _qwen3moe,
    "gemma2": _gemma2,
    "gemma3": _gemma3,
    "phi3": _phi3,
    "stablelm": _stablelm,
    "starcoder2": _flags(use_bias=f"{_BIASES} ffn_up.bias ffn_down.bias"),
    "nemotron": _flags(attention_bias=_BIASES, mlp_bias="ffn_up.bias ffn_down.bias"),
    "falcon": _falcon,
    "lfm2": _lfm2,
    "mamba": _mamba,
    "qwen35": _qwen35,
}
"""Functions that make further fields of the configuration from contents and model's name."""
