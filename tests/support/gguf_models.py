"""Write small models of transformers as llama.cpp's converters write them, with gguf's own writer.

What the converters do to weights (two orders of rows, one added to norms, experts apart) is in
their sources; the entries of a file are given by each test.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["ORDERS", "sizes", "write"]

Arrays = dict[str, np.ndarray]


def sizes(config: Any, **more: Any) -> dict[str, Any]:
    """Give the entries that most architectures have; None leaves one out."""
    heads = config.num_attention_heads
    entries = {
        "context_length": getattr(config, "max_position_embeddings", 2048),
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": getattr(config, "intermediate_size", None),
        "attention.head_count": heads,
        "attention.head_count_kv": getattr(config, "num_key_value_heads", heads),
        "attention.layer_norm_rms_epsilon": getattr(config, "rms_norm_eps", None),
        "attention.key_length": getattr(config, "head_dim", None),
        "attention.value_length": getattr(config, "head_dim", None),
    }
    return entries | {key.replace("__", "."): value for key, value in more.items()}


def write(
    model: Any,
    path: Path,
    arch: str,
    entries: Mapping[str, Any],
    *,
    further: Mapping[str, Any] | None = None,
    extra: Mapping[str, np.ndarray] | None = None,
    drop: Sequence[str] = (),
    tokenizer: Any = None,
    max_tensors: int = 0,
) -> Path:
    """Write a model, and split it where `max_tensors` is given."""
    import gguf

    writer = gguf.GGUFWriter(path, arch, split_max_tensors=max_tensors)
    for key, value in {**{f"{arch}.{k}": v for k, v in entries.items()}, **(further or {})}.items():
        _add(writer, key, value)
    if tokenizer is not None:
        _add_tokenizer(writer, tokenizer)
    for name, values in {**tensors(model, arch), **(extra or {})}.items():
        if name not in drop:
            writer.add_tensor(name, np.ascontiguousarray(values, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def tensors(model: Any, arch: str) -> Arrays:
    """Name and order a model's weights as a converter does."""
    import gguf

    config = model.config
    which = {name: key for key, name in gguf.MODEL_ARCH_NAMES.items()}[arch]
    names = gguf.get_tensor_name_map(which, config.num_hidden_layers)
    made: Arrays = {}
    for key, tensor in model.state_dict().items():
        values = tensor.detach().float().numpy()
        if key == "lm_head.weight" and config.tie_word_embeddings:
            continue
        if key.startswith("score."):
            made[key.replace("score", "cls.output")] = values
            continue
        for part, piece in _pieces(key, values):
            part = part.removeprefix("transformer.") if arch == "bloom" else part
            name = names.get_name(part, try_suffixes=(".weight", ".bias"))
            if part.endswith("linear_attn.dt_bias"):
                name = f"blk.{part.split('.')[2]}.ssm_dt.bias"
            assert name is not None, part
            if name.endswith("ffn_gate_inp_shexp.weight"):
                piece = piece[0]  # as llama-quantize leaves it
            made[name] = ORDERS[arch](part, piece, config) if arch in ORDERS else piece
    return made


def _pieces(key: str, values: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Take fused experts apart."""
    if key.endswith("experts.gate_up_proj"):
        gate, up = np.split(values, 2, axis=1)
        start = key.removesuffix("gate_up_proj")
        return [(f"{start}gate_proj.weight", gate), (f"{start}up_proj.weight", up)]
    return [(f"{key}.weight" if key.endswith("experts.down_proj") else key, values)]


def _llama(key: str, values: np.ndarray, config: Any) -> np.ndarray:
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for part, n in heads.items():
        if f".{part}." in key:
            halves = values.reshape(n, 2, values.shape[0] // n // 2, *values.shape[1:])
            return halves.swapaxes(1, 2).reshape(values.shape)
    return values


def _one_more(key: str, values: np.ndarray, config: Any) -> np.ndarray:
    return values + 1 if key.endswith("norm.weight") else values


def _gpt2(key: str, values: np.ndarray, config: Any) -> np.ndarray:
    turned = (".c_attn.weight", ".c_proj.weight", ".c_fc.weight")
    return values.T if key.endswith(turned) else values


def _mamba(key: str, values: np.ndarray, config: Any) -> np.ndarray:
    if key.endswith("A_log"):
        return -np.exp(values)
    return values[:, 0] if key.endswith("conv1d.weight") else values


def _lfm2(key: str, values: np.ndarray, config: Any) -> np.ndarray:
    return values[:, 0] if key.endswith("conv.conv.weight") else values


def _qwen35(key: str, values: np.ndarray, config: Any) -> np.ndarray:
    """Lay the heads of values out by their place in a group of keys, not group by group."""
    keys, size = config.linear_num_key_heads, config.linear_value_head_dim
    each = config.linear_num_value_heads // keys

    def tiled(rows: np.ndarray, width: int) -> np.ndarray:
        return rows.reshape(keys, each, width, *rows.shape[1:]).swapaxes(0, 1).reshape(rows.shape)

    if key.endswith("norm.weight") and "linear_attn" not in key:
        return values + 1
    if key.endswith("A_log"):
        return tiled(-np.exp(values), 1)
    if key.endswith(("dt_bias", "in_proj_a.weight", "in_proj_b.weight")):
        return tiled(values, 1)
    if key.endswith("in_proj_z.weight"):
        return tiled(values, size)
    if key.endswith("out_proj.weight") and "linear_attn" in key:
        return tiled(values.T, size).T
    if key.endswith(("in_proj_qkv.weight", "conv1d.weight")):
        values = values[:, 0] if key.endswith("conv1d.weight") else values
        start = 2 * config.linear_key_head_dim * keys
        return np.concatenate([values[:start], tiled(values[start:], size)])
    return values


def _bloom(key: str, values: np.ndarray, config: Any) -> np.ndarray:
    if "query_key_value" not in key:
        return values
    parts = values.reshape(config.n_head, 3, -1, *values.shape[1:])
    return np.concatenate([parts[:, i].reshape(-1, *values.shape[1:]) for i in range(3)])


ORDERS: dict[str, Callable[[str, np.ndarray, Any], np.ndarray]] = {
    "llama": _llama,
    "gemma2": _one_more,
    "gemma3": _one_more,
    "nemotron": _one_more,
    "gpt2": _gpt2,
    "bloom": _bloom,
    "mamba": _mamba,
    "lfm2": _lfm2,
    "qwen35": _qwen35,
}
"""What converters do to the values of an architecture's weights."""


def _add(writer: Any, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    elif value is not None:
        writer.add_array(key, value)


def _add_tokenizer(writer: Any, tokenizer: Any) -> None:
    """Write a byte-level vocabulary whose texts split as Llama 3's do."""
    import json

    known = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    words = {i: word for word, i in tokenizer.get_vocab().items()}
    special = set(tokenizer.all_special_ids)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list([words[i] for i in range(len(words))])
    writer.add_token_types([3 if i in special else 1 for i in range(len(words))])
    writer.add_token_merges([" ".join(pair) for pair in known["merges"]])
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.pad_token_id)
    writer.add_add_bos_token(True)
