"""Architectures of GGUF files that transformers' reader can load: what their entries mean.

The meaning is that of llama.cpp, whose converters write these files. Every architecture here has
been compared with the model that its file was made of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from valuebias.backends.gguf.files import Contents
from valuebias.backends.gguf.layers import MORE, head_dim, one, refused
from valuebias.backends.gguf.rope import rope_parameters

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Arch:
    """What is known of an architecture."""

    model_type: str  # what transformers calls it
    layer: str  # the tensors that a layer may have, separated by blanks
    # Those outside the layers, beside the embeddings, the output and the norm before it.
    top: str = ""
    # Entry to field of the configuration.
    sizes: Mapping[str, str] = field(default_factory=lambda: _SIZES)
    # The entries that may hold what is added to variances, of which the first counts, ...
    eps: tuple[str, ...] = _RMS
    eps_field: str = "rms_norm_eps"  # ... and its field.
    # Further ones, of which :data:`valuebias.backends.gguf.layers.MORE` makes something.
    entries: str = ""
    head_dim: bool = True  # whether the configuration has a field for the size of heads
    # Whether positions turn whole heads, or may turn a part of them; empty without rotation.
    rotary: str = "whole"

    def fields(self, contents: Contents, name: str) -> dict[str, Any]:
        """Make the fields of a configuration, except those of tokens and labels."""
        config: dict[str, Any] = {
            "vocab_size": contents.shapes["token_embd.weight"][0],
            "tie_word_embeddings": "output.weight" not in contents.shapes,
        }
        for entry, word in self.sizes.items():
            value = one(contents, entry, name)
            if value is None and entry == "attention.head_count_kv":
                value = config[self.sizes["attention.head_count"]]
            if value is None:
                raise refused(name, f"no entry {contents.architecture}.{entry}")
            config[word] = int(value)
        eps = next((v for v in map(contents.get, self.eps) if v is not None), None)
        if eps is None:
            raise refused(name, f"no entry {contents.architecture}.{self.eps[0]}")
        config[self.eps_field] = float(eps)
        if self.rotary:
            dim = head_dim(contents, config, name)
            if self.head_dim:
                config["head_dim"] = dim
            elif dim * config["num_attention_heads"] != config["hidden_size"]:
                raise refused(name, f"heads of {dim} numbers, which do not make up the width")
            config["rope_parameters"] = self._rope(contents, dim, name)
        more = MORE.get(contents.architecture)
        return config if more is None else config | more(contents, name)

    def _rope(self, contents: Contents, head_dim: int, name: str) -> dict[str, Any]:
        turned = int(contents.get("rope.dimension_count") or head_dim)
        parameters = rope_parameters(contents, name)
        if turned != head_dim:
            if self.rotary == "whole":
                raise refused(name, f"rope.dimension_count = {turned} for heads of {head_dim}")
            parameters["partial_rotary_factor"] = turned / head_dim
        elif self.rotary == "part":
            parameters["partial_rotary_factor"] = 1.0
        return parameters


_BIASES = f"{_QKV_BIAS} attn_output.bias"
_MLP = "ffn_up.weight ffn_down.weight"

ARCHS: dict[str, Arch] = {
    "llama": Arch(
        model_type="llama",
        layer=f"{_NORMS} {_QKVO} {_GATED} {_BIASES} ffn_gate.bias ffn_up.bias ffn_down.bias",
    ),
    "qwen2": Arch(
        model_type="qwen2", layer=f"{_NORMS} {_QKVO} {_QKV_BIAS} {_GATED}", head_dim=False
    ),
    "qwen2moe": Arch(
        model_type="qwen2_moe",
        layer=f"{_NORMS} {_QKVO} {_QKV_BIAS} {_GATED} {_EXPERTS} {_SHARED}",
        entries="expert_count expert_used_count expert_feed_forward_length "
        "expert_shared_feed_forward_length",
        head_dim=False,
    ),
    "qwen3": Arch(
        model_type="qwen3",
        layer=f"{_NORMS} {_QKVO} {_QK_NORMS} {_GATED} {_BIASES}",
    ),
    "qwen3moe": Arch(
        model_type="qwen3_moe",
        layer=f"{_NORMS} {_QKVO} {_QK_NORMS} {_GATED} {_BIASES} {_EXPERTS}",
        entries="expert_count expert_used_count expert_feed_forward_length",
    ),
    "gemma2": Arch(
        model_type="gemma2",
        layer=f"{_NORMS} {_POST_NORMS} {_QKVO} {_GATED}",
        entries="attention.scale attention.sliding_window attention.sliding_window_pattern "
        "attn_logit_softcapping final_logit_softcapping",
    ),
    "gemma3": Arch(
        model_type="gemma3_text",
        layer=f"{_NORMS} {_POST_NORMS} {_QKVO} {_QK_NORMS} {_GATED}",
        entries="attention.scale attention.sliding_window attention.sliding_window_pattern "
        "attn_logit_softcapping final_logit_softcapping rope.freq_base_swa",
    ),
    "phi3": Arch(
        model_type="phi3",
        layer=f"{_NORMS} attn_qkv.weight attn_output.weight {_MLP}",
        top="rope_factors_long.weight rope_factors_short.weight",
        entries="attention.sliding_window",
        head_dim=False,
        rotary="part",
    ),
    "stablelm": Arch(
        model_type="stablelm",
        layer=f"{_NORMS} attn_norm.bias ffn_norm.bias {_QKVO} {_QKV_BIAS} {_GATED}",
        top="output_norm.bias",
        eps=_LAYER_NORM,
        eps_field="layer_norm_eps",
        entries="use_parallel_residual",
        head_dim=False,
        rotary="part",
    ),
    "starcoder2": Arch(
        model_type="starcoder2",
        layer=f"{_NORMS} attn_norm.bias ffn_norm.bias {_QKVO} {_BIASES} {_MLP} ffn_up.bias "
        "ffn_down.bias",
        top="output_norm.bias",
        eps=_LAYER_NORM,
        eps_field="norm_epsilon",
        head_dim=False,
    ),
    "nemotron": Arch(
        model_type="nemotron",
        layer=f"{_NORMS} attn_norm.bias ffn_norm.bias {_QKVO} {_BIASES} {_MLP} ffn_up.bias "
        "ffn_down.bias",
        top="output_norm.bias",
        eps=(*_LAYER_NORM, *_RMS),
        eps_field="norm_eps",
        rotary="part",
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
        entries="attention.head_count_kv",
        head_dim=False,
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
        entries="attention.head_count_kv",
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
        entries="attention.head_count_kv context_length feed_forward_length",
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
        entries="attention.head_count_kv",
        head_dim=False,
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
        entries="attention.head_count attention.head_count_kv context_length feed_forward_length "
        "ssm.inner_size",
        rotary="",
    ),
    "qwen35": Arch(
        model_type="qwen3_5_text",
        layer=f"attn_norm.weight post_attention_norm.weight {_QKVO} {_QK_NORMS} {_GATED} "
        "attn_qkv.weight attn_gate.weight ssm_alpha.weight ssm_beta.weight ssm_conv1d.weight "
        "ssm_norm.weight ssm_out.weight ssm_a ssm_dt.bias",
        entries="full_attention_interval nextn_predict_layers rope.dimension_sections "
        "ssm.conv_kernel ssm.group_count ssm.inner_size ssm.state_size "
        "ssm.time_step_rank",
        rotary="part",
    ),
}
"""By the name that llama.cpp has for each."""
