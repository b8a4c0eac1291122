"""Architectures of GGUF files that transformers' reader can load: what their entries mean.

The meaning is that of llama.cpp, whose converters write these files. Every architecture here has
been compared with the model that its file was made of.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from valuebias.backends.gguf_files import Contents
from valuebias.backends.gguf_rope import DEFAULT_BASE, rope_parameters
from valuebias.errors import ValueBiasError

__all__ = ["ARCHS", "Arch"]

_SIZES = {
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "block_count": "num_hidden_layers",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
}
_RMS = ("attention.layer_norm_rms_epsilon",)
_LAYER_NORM = ("attention.layer_norm_epsilon",)
_QKVO = "attn_q.weight attn_k.weight attn_v.weight attn_output.weight"
_QKV_BIAS = "attn_q.bias attn_k.bias attn_v.bias"
_GATED = "ffn_gate.weight ffn_up.weight ffn_down.weight"
_NORMS = "attn_norm.weight ffn_norm.weight"
_QK_NORMS = "attn_q_norm.weight attn_k_norm.weight"
_POST_NORMS = "post_attention_norm.weight post_ffw_norm.weight"
_EXPERTS = "ffn_gate_inp.weight ffn_gate_exps.weight ffn_up_exps.weight ffn_down_exps.weight"
_SHARED = (
    "ffn_gate_inp_shexp.weight ffn_gate_shexp.weight ffn_up_shexp.weight ffn_down_shexp.weight"
)
_LAYER = re.compile(r"blk\.(\d+)\.(.*)")

More = Callable[[Contents, str], dict[str, Any]]


def _nothing(contents: Contents, name: str) -> dict[str, Any]:
    return {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Arch:
    """What is known of an architecture.

    Attributes
    ----------
    model_type : str
        What transformers calls it.
    layer : str
        The tensors that a layer may have, apart by blanks.
    top : str
        Those outside the layers, beside the embeddings, the output and the norm before it.
    sizes : mapping of str to str
        Entry to field of the configuration.
    eps : tuple of str
        The entries that may hold what is added to variances, the first that is there counts, ...
    eps_field : str
        ... and its field.
    entries : tuple of str
        Further entries, which `more` reads.
    head_dim : bool
        Whether the configuration has a field for the size of heads.
    rotary : {"whole", "part", ""}
        Whether positions turn whole heads, or may turn a part of them; empty without rotation.
    more : callable
        Makes further fields from the contents and the model's name.
    """

    model_type: str
    layer: str
    top: str = ""
    sizes: Mapping[str, str] = field(default_factory=lambda: _SIZES)
    eps: tuple[str, ...] = _RMS
    eps_field: str = "rms_norm_eps"
    entries: tuple[str, ...] = ()
    head_dim: bool = True
    rotary: str = "whole"
    more: More = _nothing

    def fields(self, contents: Contents, name: str) -> dict[str, Any]:
        """Make the fields of a configuration, but for tokens and labels.

        Parameters
        ----------
        contents : Contents
            Of the file.
        name : str
            What to call the model in errors.

        Returns
        -------
        dict
            What transformers' configuration takes.

        Raises
        ------
        ValueBiasError
            If something is not stated, or transformers has no place for it.
        """
        made: dict[str, Any] = {
            "vocab_size": contents.shapes["token_embd.weight"][0],
            "tie_word_embeddings": "output.weight" not in contents.shapes,
        }
        for entry, word in self.sizes.items():
            value = _one(contents, entry, name)
            if value is None and entry == "attention.head_count_kv":
                value = made[self.sizes["attention.head_count"]]
            if value is None:
                raise refused(name, f"no entry {contents.architecture}.{entry}")
            made[word] = int(value)
        eps = next((v for v in map(contents.get, self.eps) if v is not None), None)
        if eps is None:
            raise refused(name, f"no entry {contents.architecture}.{self.eps[0]}")
        made[self.eps_field] = float(eps)
        if self.rotary:
            dim = _head_dim(contents, made, name)
            if self.head_dim:
                made["head_dim"] = dim
            elif dim * made["num_attention_heads"] != made["hidden_size"]:
                raise refused(name, f"heads of {dim} numbers, which do not make up the width")
            made["rope_parameters"] = self._rope(contents, dim, name)
        return made | self.more(contents, name)

    def _rope(self, contents: Contents, head_dim: int, name: str) -> dict[str, Any]:
        turned = int(contents.get("rope.dimension_count") or head_dim)
        made = rope_parameters(contents, name)
        if turned != head_dim:
            if self.rotary == "whole":
                raise refused(name, f"rope.dimension_count = {turned} for heads of {head_dim}")
            made["partial_rotary_factor"] = turned / head_dim
        elif self.rotary == "part":
            made["partial_rotary_factor"] = 1.0
        return made


def refused(name: str, fact: str) -> ValueBiasError:
    """Make the error that names what a file has or lacks."""
    return ValueBiasError(
        f"The GGUF file of {name!r} has {fact}. transformers' reader of such files passes over "
        "that without a word, and the numbers would be wrong. Score the model's own safetensors "
        "instead."
    )


def _one(contents: Contents, entry: str, name: str) -> Any:
    """Give an entry that may be stated layer by layer, but is the same for all."""
    value = contents.get(entry)
    if isinstance(value, list):
        if len(set(value)) != 1:
            raise refused(name, f"{entry} that differs between layers")
        return value[0]
    return value


def _head_dim(contents: Contents, made: Mapping[str, Any], name: str) -> int:
    stated = {contents.get("attention.key_length"), contents.get("attention.value_length")} - {None}
    if len(stated) > 1:
        raise refused(name, f"keys and values of different sizes ({sorted(stated)})")
    dim = int(next(iter(stated), made["hidden_size"] // made["num_attention_heads"]))
    queries = contents.shapes.get("blk.0.attn_q.weight")
    if queries is not None and queries[0] != dim * made["num_attention_heads"]:
        # Not stated, as in older files: the shape tells.
        return queries[0] // int(made["num_attention_heads"])
    return dim


def _has(contents: Contents, tensors: str, name: str) -> bool:
    """Tell whether every layer has these tensors; some of them are worse than none."""
    wanted = tensors.split()
    found = [m[2] for m in map(_LAYER.fullmatch, contents.shapes) if m and m[2] in wanted]
    if not found:
        return False
    if len(found) != len(wanted) * int(contents.get("block_count")):
        there = ", ".join(sorted(set(found)))
        raise refused(name, f"{there} in some places only; expected all of {', '.join(wanted)}")
    return True


def _llama(contents: Contents, name: str) -> dict[str, Any]:
    return {
        "attention_bias": _has(contents, f"{_QKV_BIAS} attn_output.bias", name),
        "mlp_bias": _has(contents, "ffn_gate.bias ffn_up.bias ffn_down.bias", name),
    }


def _qwen3(contents: Contents, name: str) -> dict[str, Any]:
    return {"attention_bias": _has(contents, f"{_QKV_BIAS} attn_output.bias", name)}


def _moe(contents: Contents, name: str) -> dict[str, Any]:
    """Read the sizes of experts off their tensors; layers without experts are dense."""
    there = {int(m[1]): m[2] for m in map(_LAYER.fullmatch, contents.shapes)
             if m and m[2] == "ffn_up_exps.weight"}  # fmt: skip
    if not there:
        raise refused(name, "no layer with experts")
    layers = range(int(contents.get("block_count")))
    sizes = {contents.shapes[f"blk.{i}.ffn_up_exps.weight"][:2] for i in there}
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
        "mlp_only_layers": [i for i in layers if i not in there],
        "decoder_sparse_step": 1,
    }


def _qwen2moe(contents: Contents, name: str) -> dict[str, Any]:
    made = _moe(contents, name)
    shared = contents.shapes.get("blk.0.ffn_up_shexp.weight")
    if shared is None:
        raise refused(name, "no shared expert")
    if len(contents.shapes.get("blk.0.ffn_gate_inp_shexp.weight", ())) != 1:
        raise refused(name, "a gate of the shared expert that llama-quantize has not gone over")
    # llama.cpp does not scale the shares of the chosen experts to one here, and does in qwen3moe.
    return made | {"shared_expert_intermediate_size": shared[0], "norm_topk_prob": False}


def _qwen3moe(contents: Contents, name: str) -> dict[str, Any]:
    return _moe(contents, name) | _qwen3(contents, name) | {"norm_topk_prob": True}


def _attention_scale(contents: Contents, layers_of_27b: int, name: str) -> int:
    """Give what attention scores are divided by the root of, which no file states.

    It is the size of heads, but for the 27B models, whose heads do not make up the width;
    llama.cpp knows them by their number of layers. All published heads but theirs have 256 numbers,
    so of others it is not known which of the two was meant.
    """
    stated = contents.get("attention.scale")
    if stated:
        scalar = 1 / float(stated) ** 2
        if abs(scalar - round(scalar)) > 1e-3:
            raise refused(name, f"attention.scale = {stated:g}")
        return round(scalar)
    layers, heads = contents.get("block_count"), _one(contents, "attention.head_count", name)
    if layers == layers_of_27b:
        return int(contents.get("embedding_length")) // int(heads)
    dim = contents.get("attention.key_length")
    if dim == 256:
        return 256
    raise refused(
        name,
        f"no word on what attention scores are divided by (query_pre_attn_scalar), which for "
        f"{layers} layers and heads of {dim} numbers does not follow from the model's size",
    )


def _windows(contents: Contents, period: int, name: str) -> dict[str, Any]:
    """Say which layers see a window only: all but the last of each period."""
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
    local = float(contents.get("rope.freq_base_swa", DEFAULT_BASE))
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
        # Rows of queries, keys and values change places then, and are not put back.
        raise refused(name, f"attn_qkv.weight with {groups} groups of heads in llama.cpp's order")
    return {"multi_query": True, "new_decoder_architecture": False, "parallel_attn": True,
            "bias": False, "alibi": False}  # fmt: skip


def _stablelm(contents: Contents, name: str) -> dict[str, Any]:
    parallel = not _has(contents, "ffn_norm.weight ffn_norm.bias", name)
    if bool(contents.get("use_parallel_residual", parallel)) is not parallel:
        raise refused(name, "use_parallel_residual against its own tensors")
    return {"use_qkv_bias": _has(contents, _QKV_BIAS, name), "use_parallel_residual": parallel}


def _nemotron(contents: Contents, name: str) -> dict[str, Any]:
    return {
        "attention_bias": _has(contents, f"{_QKV_BIAS} attn_output.bias", name),
        "mlp_bias": _has(contents, "ffn_up.bias ffn_down.bias", name),
    }


def _starcoder2(contents: Contents, name: str) -> dict[str, Any]:
    biases = f"{_QKV_BIAS} attn_output.bias ffn_up.bias ffn_down.bias"
    return {"use_bias": _has(contents, biases, name)}


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


_BIASES = f"{_QKV_BIAS} attn_output.bias"
_MLP = "ffn_up.weight ffn_down.weight"

ARCHS: dict[str, Arch] = {
    "llama": Arch(
        model_type="llama",
        layer=f"{_NORMS} {_QKVO} {_GATED} {_BIASES} ffn_gate.bias ffn_up.bias ffn_down.bias",
        more=_llama,
    ),
    "qwen2": Arch(
        model_type="qwen2", layer=f"{_NORMS} {_QKVO} {_QKV_BIAS} {_GATED}", head_dim=False
    ),
    "qwen2moe": Arch(
        model_type="qwen2_moe",
        layer=f"{_NORMS} {_QKVO} {_QKV_BIAS} {_GATED} {_EXPERTS} {_SHARED}",
        entries=(
            "expert_count",
            "expert_used_count",
            "expert_feed_forward_length",
            "expert_shared_feed_forward_length",
        ),
        head_dim=False,
        more=_qwen2moe,
    ),
    "qwen3": Arch(
        model_type="qwen3",
        layer=f"{_NORMS} {_QKVO} {_QK_NORMS} {_GATED} {_BIASES}",
        more=_qwen3,
    ),
    "qwen3moe": Arch(
        model_type="qwen3_moe",
        layer=f"{_NORMS} {_QKVO} {_QK_NORMS} {_GATED} {_BIASES} {_EXPERTS}",
        entries=("expert_count", "expert_used_count", "expert_feed_forward_length"),
        more=_qwen3moe,
    ),
    "gemma2": Arch(
        model_type="gemma2",
        layer=f"{_NORMS} {_POST_NORMS} {_QKVO} {_GATED}",
        entries=(
            "attention.scale",
            "attention.sliding_window",
            "attention.sliding_window_pattern",
            "attn_logit_softcapping",
            "final_logit_softcapping",
        ),
        more=_gemma2,
    ),
    "gemma3": Arch(
        model_type="gemma3_text",
        layer=f"{_NORMS} {_POST_NORMS} {_QKVO} {_QK_NORMS} {_GATED}",
        entries=(
            "attention.scale",
            "attention.sliding_window",
            "attention.sliding_window_pattern",
            "attn_logit_softcapping",
            "final_logit_softcapping",
            "rope.freq_base_swa",
        ),
        more=_gemma3,
    ),
    "phi3": Arch(
        model_type="phi3",
        layer=f"{_NORMS} attn_qkv.weight attn_output.weight {_MLP}",
        top="rope_factors_long.weight rope_factors_short.weight",
        entries=("attention.sliding_window",),
        head_dim=False,
        rotary="part",
        more=_phi3,
    ),
    "stablelm": Arch(
        model_type="stablelm",
        layer=f"{_NORMS} attn_norm.bias ffn_norm.bias {_QKVO} {_QKV_BIAS} {_GATED}",
        top="output_norm.bias",
        eps=_LAYER_NORM,
        eps_field="layer_norm_eps",
        entries=("use_parallel_residual",),
        head_dim=False,
        rotary="part",
        more=_stablelm,
    ),
    "starcoder2": Arch(
        model_type="starcoder2",
        layer=f"{_NORMS} attn_norm.bias ffn_norm.bias {_QKVO} {_BIASES} {_MLP} ffn_up.bias "
        "ffn_down.bias",
        top="output_norm.bias",
        eps=_LAYER_NORM,
        eps_field="norm_epsilon",
        head_dim=False,
        more=_starcoder2,
    ),
    "nemotron": Arch(
        model_type="nemotron",
        layer=f"{_NORMS} attn_norm.bias ffn_norm.bias {_QKVO} {_BIASES} {_MLP} ffn_up.bias "
        "ffn_down.bias",
        top="output_norm.bias",
        eps=(*_LAYER_NORM, *_RMS),
        eps_field="norm_eps",
        rotary="part",
        more=_nemotron,
    ),
    "falcon": Arch(
        model_type="falcon",
        layer=f"attn_norm.weight attn_norm.bias attn_qkv.weight attn_output.weight {_MLP}",
        top="output_norm.bias",
        sizes={
            **{k: v for k, v in _SIZES.items() if k != "attention.head_count_kv"},
            "feed_forward_length": "ffn_hidden_size",
        },
        eps=_LAYER_NORM,
        eps_field="layer_norm_epsilon",
        entries=("attention.head_count_kv",),
        head_dim=False,
        more=_falcon,
    ),
    "gpt2": Arch(
        model_type="gpt2",
        layer=f"{_NORMS} attn_norm.bias ffn_norm.bias attn_qkv.weight attn_qkv.bias "
        f"attn_output.weight attn_output.bias {_MLP} ffn_up.bias ffn_down.bias",
        top="position_embd.weight output_norm.bias",
        sizes={
            "context_length": "n_positions",
            "embedding_length": "n_embd",
            "block_count": "n_layer",
            "feed_forward_length": "n_inner",
            "attention.head_count": "n_head",
        },
        eps=_LAYER_NORM,
        eps_field="layer_norm_epsilon",
        entries=("attention.head_count_kv",),
        rotary="",
    ),
    "bloom": Arch(
        model_type="bloom",
        layer=f"{_NORMS} attn_norm.bias ffn_norm.bias attn_qkv.weight attn_qkv.bias "
        f"attn_output.weight attn_output.bias {_MLP} ffn_up.bias ffn_down.bias",
        top="token_embd_norm.weight token_embd_norm.bias output_norm.bias",
        sizes={
            "embedding_length": "hidden_size",
            "block_count": "n_layer",
            "attention.head_count": "n_head",
        },
        eps=_LAYER_NORM,
        eps_field="layer_norm_epsilon",
        entries=("attention.head_count_kv", "context_length", "feed_forward_length"),
        rotary="",
    ),
    "lfm2": Arch(
        model_type="lfm2",
        layer=f"{_NORMS} {_QKVO} {_QK_NORMS} {_GATED} shortconv.conv.weight "
        "shortconv.in_proj.weight shortconv.in_proj.bias shortconv.out_proj.weight "
        "shortconv.out_proj.bias shortconv.conv.bias",
        top="token_embd_norm.weight",
        sizes={
            **{k: v for k, v in _SIZES.items() if k != "attention.head_count_kv"},
            "shortconv.l_cache": "conv_L_cache",
        },
        eps_field="norm_eps",
        entries=("attention.head_count_kv",),
        head_dim=False,
        more=_lfm2,
    ),
    "mamba": Arch(
        model_type="mamba",
        layer="attn_norm.weight ssm_in.weight ssm_conv1d.weight ssm_conv1d.bias ssm_x.weight "
        "ssm_dt.weight ssm_dt.bias ssm_a ssm_d ssm_out.weight",
        sizes={
            "embedding_length": "hidden_size",
            "block_count": "num_hidden_layers",
            "ssm.conv_kernel": "conv_kernel",
            "ssm.state_size": "state_size",
            "ssm.time_step_rank": "time_step_rank",
        },
        eps_field="layer_norm_epsilon",
        entries=(
            "attention.head_count",
            "attention.head_count_kv",
            "context_length",
            "feed_forward_length",
            "ssm.inner_size",
        ),
        rotary="",
        more=_mamba,
    ),
    "qwen35": Arch(
        model_type="qwen3_5_text",
        layer=f"attn_norm.weight post_attention_norm.weight {_QKVO} {_QK_NORMS} {_GATED} "
        "attn_qkv.weight attn_gate.weight ssm_alpha.weight ssm_beta.weight ssm_conv1d.weight "
        "ssm_norm.weight ssm_out.weight ssm_a ssm_dt.bias",
        entries=(
            "full_attention_interval",
            "nextn_predict_layers",
            "rope.dimension_sections",
            "ssm.conv_kernel",
            "ssm.group_count",
            "ssm.inner_size",
            "ssm.state_size",
            "ssm.time_step_rank",
        ),
        rotary="part",
        more=_qwen35,
    ),
}
"""By the name that llama.cpp has for each."""
