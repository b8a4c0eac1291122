"""What backends are tested on: tiny random models, and packs of random conversations.

The models have the parts that real ones differ in (grouped heads, rotations by other angles,
sliding windows, soft-capped attention, tied embeddings) at a size that takes milliseconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from valuebias._core.atomic import atomic_path
from valuebias._core.checks import check_known
from valuebias.backends.base import Kind, Pack

__all__ = [
    "ARCHITECTURES",
    "ENCODER",
    "OWN_HEADS",
    "WINDOW",
    "lay_out",
    "random_conversations",
    "write_model",
]

WINDOW = 8
"""How far back the layers with a sliding window see."""

_LAYERS = ["sliding_attention", "full_attention"]
_SETTINGS: dict[str, dict[str, Any]] = {
    "llama": {"rope_theta": 5000.0},
    "llama3": {
        "model_type": "llama",
        "rope_theta": 5000.0,
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 4.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    },
    "gemma": {"rope_theta": 500.0, "hidden_activation": "gelu_pytorch_tanh"},
    "gemma2": {
        "sliding_window": WINDOW,
        "layer_types": _LAYERS,
        "query_pre_attn_scalar": 16,
        "attn_logit_softcapping": 2.0,
        "final_logit_softcapping": 5.0,
    },
    "gemma3_text": {
        "sliding_window": WINDOW,
        "layer_types": _LAYERS,
        "query_pre_attn_scalar": 16,
        "rope_theta": 5000.0,
        "rope_local_base_freq": 100.0,
    },
    "qwen2": {"rope_theta": 5000.0, "tie_word_embeddings": True},
    "qwen3": {"rope_theta": 5000.0},
    "mistral": {"rope_theta": 5000.0, "sliding_window": WINDOW},
}
_HEADS: dict[str, dict[str, Any]] = {
    "granite": {
        "rope_theta": 5000.0,
        "embedding_multiplier": 3.0,
        "attention_multiplier": 0.2,
        "residual_multiplier": 0.6,
        "logits_scaling": 0.4,
    },
    "cohere": {"rope_theta": 5000.0, "logit_scale": 0.4},
    "modernbert-decoder": {
        "local_attention": 2 * WINDOW,
        "head_dim": 8,
        "cls_token_id": 1,
        "sep_token_id": 2,
    },
    "recurrent_gemma": {
        "num_hidden_layers": 3,
        "logits_soft_cap": 1.5,
        "attention_window_size": WINDOW,
        "lru_width": 32,
    },
    "bert": {"is_decoder": False},
}

_SIZE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 1024,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}

ARCHITECTURES = tuple(_SETTINGS)
"""Named as transformers names them; ``"llama3"`` is Llama with the angles of version 3.1."""
OWN_HEADS = ("granite", "cohere", "modernbert-decoder", "recurrent_gemma")
"""Language models that do more with hidden states than to multiply them with the embeddings."""
ENCODER = "bert"
"""An encoder, which transformers loads as a language model all the same."""


def write_model(
    folder: Path,
    architecture: str,
    *,
    kind: Kind,
    labels: int = 1,
    vocabulary: int = 160,
    seed: int = 0,
    special: dict[str, int | None] | None = None,
    spread: float = 1.3,
    broken: bool = False,
) -> None:
    """Write a tiny random model as transformers does: a configuration and float32 safetensors.

    Examples
    --------
    >>> ARCHITECTURES[:3]
    ('llama', 'llama3', 'gemma')
    """
    known = _SETTINGS if kind == "reward" else _SETTINGS | _HEADS
    check_known(architecture, known, f"There is no tiny model of {architecture!r}.")
    import torch
    import transformers

    settings: dict[str, Any] = {
        "model_type": architecture,
        **_SIZE,
        **known[architecture],
        "vocab_size": vocabulary,
        **(special or {}),
    }
    config = transformers.AutoConfig.for_model(**settings)
    if kind == "reward":
        config.num_labels = labels
        model = transformers.AutoModelForSequenceClassification.from_config(config)
    else:
        model = transformers.AutoModelForCausalLM.from_config(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in sorted(model.named_parameters()):
            _fill(name, weight, torch.randn(weight.shape, generator=generator), spread)
        if broken:
            model.base_model.norm.weight.fill_(float("nan"))
    with atomic_path(folder) as part:
        model.save_pretrained(part)


def _fill(name: str, weight: Any, noise: Any, spread: float) -> None:
    """Scale the noise so that signals keep their size through the layers and attention peaks."""
    if weight.ndim == 1:
        # Norms start at what leaves their input alone (1, or 0 where 1 is added), biases at 0.
        weight.add_(0.2 * noise)
    elif "embed" in name:
        weight.copy_(noise)
    elif "lm_head" in name or name.startswith("decoder."):
        weight.copy_(spread * noise / weight.shape[1] ** 0.5)
    else:
        weight.copy_(1.3 * noise / weight.shape[1] ** 0.5)


def random_conversations(
    *,
    seed: int,
    vocabulary: int,
    shared: Sequence[int] = (6, 4, 2),
    branches: int = 3,
    tail: tuple[int, int] = (1, 4),
) -> list[list[int]]:
    """Make conversations that share beginnings: a tree, as prompts, words and word pieces make it.

    Examples
    --------
    >>> random_conversations(seed=1, vocabulary=9, shared=(3,), branches=2, tail=(1, 2))
    [[4, 4, 6, 0, 1], [4, 4, 6, 8, 2], [4, 4, 6, 0]]
    """
    rng = np.random.default_rng(seed)

    def tokens(count: int) -> list[int]:
        return [int(id_) for id_ in rng.integers(vocabulary, size=count)]

    beginnings: list[list[int]] = [[]]
    for count in shared:
        beginnings = [
            [*beginning, *tokens(count)]
            for beginning in beginnings
            for _ in range(branches if beginning else 1)
        ]
    conversations = [
        [*beginning, *tokens(int(rng.integers(tail[0], tail[1] + 1)))]
        for beginning in beginnings
        for _ in range(branches)
    ]
    conversations += [conversation[:-1] for conversation in conversations[:: 2 * branches]]
    return [list(kept) for kept in dict.fromkeys(map(tuple, conversations))]


def lay_out(
    conversations: Sequence[Sequence[int]], *, first: Sequence[int] | None = None
) -> tuple[Pack, npt.NDArray[np.int64]]:
    """Lay conversations out as a pack: a prefix trie, its branches in the order given.

    Examples
    --------
    >>> pack, output = lay_out([[5, 8], [5, 6, 7], [5, 8]])
    >>> pack.ids.tolist(), pack.end.tolist(), pack.gather.tolist(), output.tolist()
    ([5, 8, 6, 7], [4, 2, 4, 4], [1, 3], [0, 1, 0])
    """
    trie: dict[int, Any] = {}
    for ids in conversations:
        node = trie
        for token in ids:
            node = node.setdefault(token, {})
    rows: list[tuple[int, int, int]] = []
    index: dict[tuple[int, ...], int] = {}
    _walk(trie, (), rows, index)
    ids_, position, end = np.array(rows, dtype=np.int64).T
    if first is None:
        read = [index[tuple(ids)] for ids in conversations]
        gather, output = np.unique(read, return_inverse=True)
        return Pack(ids=ids_, position=position, end=end, gather=gather), output
    wanted = [
        (index[tuple(ids[:at])], ids[at])
        for ids, start in zip(conversations, first, strict=True)
        for at in range(start, len(ids))
    ]
    pairs = sorted(set(wanted))
    gather, row = np.unique([at for at, _ in pairs], return_inverse=True)
    target = np.array([token for _, token in pairs], dtype=np.int64)
    pack = Pack(ids=ids_, position=position, end=end, gather=gather, row=row, target=target)
    return pack, np.array([pairs.index(pair) for pair in wanted], dtype=np.int64)


def _walk(
    trie: dict[int, Any],
    above: tuple[int, ...],
    rows: list[tuple[int, int, int]],
    index: dict[tuple[int, ...], int],
) -> None:
    """Append each token of the trie, depth first, as (id, position, end)."""
    for token, below in trie.items():
        at = len(rows)
        path = (*above, token)
        index[path] = at
        rows.append((token, len(above), 0))
        _walk(below, path, rows, index)
        rows[at] = (token, len(above), len(rows))
