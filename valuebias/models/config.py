"""What a model's configuration says of it, and what running it will cost."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from valuebias._core.checks import check_installed
from valuebias._core.foreign import read_json, reading
from valuebias.backends.configuration import of_layers
from valuebias.errors import ValueBiasError
from valuebias.models.reading import common_start

__all__ = [
    "ModelConfig",
    "check_decoder",
    "family_of",
    "is_encoder",
    "read_config",
    "read_model_config",
    "read_raw",
]

_FAMILIES = {
    "llama": "Llama",
    "gemma": "Gemma",
    "qwen": "Qwen",
    "mistral": "Mistral",
    "mixtral": "Mistral",
    "phi": "Phi",
}
_LARGEST = 2**40
_LONG = 6
"""Shortest entry that resembles another one by misspelling, not by chance."""
_ROTARY = (
    "rope_theta", "rope_type", "partial_rotary_factor", "factor", "attention_factor",
    "original_max_position_embeddings", "beta_fast", "beta_slow", "short_factor", "long_factor",
    "low_freq_factor", "high_freq_factor", "mscale", "mscale_all_dim", "truncate", "mrope_section",
)  # fmt: skip
_MAY_BE_ZERO = ("sliding_window", "num_key_value_heads", "intermediate_size", "head_dim")
# What a configuration has where the model takes more than text.
_SENSES = ("vision_config", "audio_config", "image_token_id", "image_token_index")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """What is known of a model without loading it.

    Examples
    --------
    >>> config = ModelConfig(architecture="LlamaForCausalLM", model_type="llama", layers=2,
    ...     hidden=8, intermediate=16, heads=2, kv_heads=1, head_dim=4, vocab_size=10, window=None,
    ...     max_length=64, pad_token_id=None, labels=(), n_params=1500.0)
    >>> config.flop_per_token, config.attention_flop(10)
    (2304, 640)
    """

    # The class in transformers, such as "LlamaForCausalLM"; where the configuration does not say,
    # its model type.
    architecture: str
    model_type: str  # such as "llama"
    layers: int  # layers, hidden, intermediate, heads, kv_heads, head_dim: its shape
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab_size: int  # how many token ids the model has; the tokenizer may have fewer
    # How far back its sliding-window layers see; None where every layer sees all.
    window: int | None
    max_length: int | None  # the longest conversation
    # The padding token of the configuration, of its text part where it has several.
    pad_token_id: int | None
    labels: tuple[str, ...]  # the labels of the classification head, by number
    n_params: float  # number of parameters

    @property
    def flop_per_token(self) -> int:
        """Count the floating-point operations of the layers' matrices for one token."""
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        feed_forward = 3 * self.hidden * self.intermediate
        return 2 * self.layers * (attention + feed_forward)

    def attention_flop(self, pairs: int) -> int:
        """Count the operations of attention for so many pairs of a token and one that it sees."""
        return 4 * self.layers * self.heads * self.head_dim * pairs

    def vocabulary_flop(self, rows: int) -> int:
        """Count the operations of reading out the whole vocabulary so many times."""
        return 2 * self.hidden * self.vocab_size * rows


def read_config(folder: Path, file: str | None, *, trust: bool, name: str) -> Any:
    """Read a model's configuration with transformers."""
    check_installed("transformers", extra="torch", other="onnx", after=", and scoring needs it")
    from transformers import AutoConfig

    if file is not None and file.lower().endswith(".gguf"):
        from valuebias.backends.gguf.config import gguf_config

        return gguf_config(folder / file, name)
    if not (folder / "config.json").is_file():
        raise ValueBiasError(
            f"The model {name!r} has no config.json in {os.fspath(folder)!r}; expected a folder "
            "as transformers writes it. Save the model with save_pretrained."
        )
    # Before transformers, which takes the second of two entries and does not look for depth.
    raw = read_raw(folder, name)
    with reading(
        f"The configuration of {name!r}",
        because="it is damaged, or the model needs another version of transformers",
        advice="Download or save config.json again.",
    ):
        config = AutoConfig.from_pretrained(
            os.fspath(folder), trust_remote_code=trust, local_files_only=True
        )
    # Older classes do not list their entries.
    listed = getattr(type(config), "__dataclass_fields__", {})
    _check_spelling(raw, {*listed, *config.attribute_map}, name)
    for entry in ("rope_parameters", "rope_scaling"):
        if isinstance(raw.get(entry), dict):
            _check_spelling(raw[entry], _ROTARY, name)
    return config


def _check_spelling(entries: Mapping[str, Any], known: Collection[str], name: str) -> None:
    """Refuse an entry one letter from a missing one, which would silently get its default."""
    lacking = [entry for entry in known if len(entry) >= _LONG and entry not in entries]
    for key in entries:
        meant = [] if key in known else [entry for entry in lacking if _is_near(key, entry)]
        if meant:
            raise ValueBiasError(
                f"The config.json of {name!r} has {key[:60]!r}, which transformers does not know, "
                f"and lacks {meant[0]!r}, so that the model would be another one. Correct it, or "
                "download it again."
            )


def _is_near(one: str, other: str) -> bool:
    """Whether one letter was changed, removed or inserted."""
    if abs(len(one) - len(other)) > 1 or one == other:
        return False
    start = len(common_start(one, other))
    end = len(common_start(one[start:][::-1], other[start:][::-1]))
    return max(len(one), len(other)) - start - end <= 1


def read_raw(folder: Path, name: str) -> Mapping[str, Any]:
    """Read config.json as it is; empty where there is none."""
    path = folder / "config.json"
    if not path.is_file():
        return {}
    subject, advice = f"The config.json of {name!r}", "Download or save it again."
    content = read_json(path, subject, advice=advice)
    if not isinstance(content, dict):
        raise ValueBiasError(f"{subject} does not hold a mapping. Save it again.")
    classes = content.get("architectures") or []
    if not isinstance(classes, list) or not all(isinstance(entry, str) for entry in classes):
        raise ValueBiasError(f"{subject} has architectures that are not a list of names. {advice}")
    return content


def read_model_config(
    config: Any, *, name: str, labels: int | None, n_params: float | None
) -> ModelConfig:
    """Read the needed facts from a configuration."""
    heads = _number(config, name, "num_attention_heads", "n_head")
    hidden = _number(config, name, "hidden_size", "n_embd")
    window = _optional(config, name, "sliding_window")
    longest = _optional(config, name, "max_position_embeddings")
    # The part that transformers' own classifiers ask for the padding token.
    text_part = config.get_text_config() if hasattr(config, "get_text_config") else config
    model_config = ModelConfig(
        architecture=(getattr(config, "architectures", None) or [config.model_type])[0],
        model_type=config.model_type,
        layers=_number(config, name, "num_hidden_layers", "n_layer"),
        hidden=hidden,
        # GPT-2 and its like leave it at four times the width.
        intermediate=_optional(config, name, "intermediate_size") or 4 * hidden,
        heads=heads,
        kv_heads=_optional(config, name, "num_key_value_heads") or heads,
        head_dim=_optional(config, name, "head_dim") or hidden // heads,
        vocab_size=_number(config, name, "vocab_size"),
        # Qwen states a window and then does not use it.
        window=window if window and getattr(config, "use_sliding_window", True) else None,
        max_length=longest or None,
        pad_token_id=getattr(text_part, "pad_token_id", None),
        labels=_labels(config, labels),
        n_params=float(n_params or 0),
    )
    if n_params is None:
        tied = 1 if getattr(config, "tie_word_embeddings", False) else 2
        total = model_config.flop_per_token / 2 + tied * model_config.vocab_size * hidden
        object.__setattr__(model_config, "n_params", float(total))
    return model_config


def check_decoder(config: Any, *, name: str, kind: str) -> None:
    """Refuse models other than text models with a decoder alone."""
    _check_text(config, name)
    if kind == "reward":
        return
    try:
        from transformers.models.auto.modeling_auto import (
            MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as DECODERS,
        )
        from transformers.models.auto.modeling_auto import (
            MODEL_FOR_MASKED_LM_MAPPING_NAMES as ENCODERS,
        )
    except ImportError:  # a version that keeps them elsewhere; models are tried out when loaded
        return
    architecture = str((getattr(config, "architectures", None) or [""])[0])
    fills_masks = config.model_type in ENCODERS
    own_code = "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    decodes = config.model_type in DECODERS or own_code
    # Those that can be both say which; XLM does not, and is tried out when it is loaded.
    says = fills_masks and decodes and not own_code and not getattr(config, "is_decoder", True)
    by_name = architecture.endswith(("ForMaskedLM", "EncoderModel"))
    if says or by_name or (fills_masks and not decodes):
        raise ValueBiasError(
            f"The model {name!r} ({architecture or config.model_type}) is an encoder: each of its "
            "tokens sees those that come after it, so it has no log-probs of a next token. "
            "Expected a decoder alone, such as Llama, Gemma, Qwen or Mistral."
        )


def is_encoder(model_type: str) -> bool:
    """Whether rewards of such a model are its class's own: its tokens see those after them."""
    try:
        from transformers.models.auto.modeling_auto import (
            MODEL_FOR_MASKED_LM_MAPPING_NAMES as ENCODERS,
        )
    except ImportError:  # a version that keeps them elsewhere
        return False
    return model_type in ENCODERS


def family_of(model_config: ModelConfig) -> str:
    """Guess the family from the model type."""
    for start, family in _FAMILIES.items():
        if model_config.model_type.startswith(start):
            return family
    return model_config.model_type.partition("_")[0].capitalize()


def _check_text(config: Any, name: str) -> None:
    if getattr(config, "is_encoder_decoder", False):
        raise ValueBiasError(
            f"The model {name!r} ({config.model_type}) has an encoder and a decoder; expected a "
            "decoder alone, such as Llama, Gemma, Qwen or Mistral."
        )
    senses = [key for key in _SENSES if getattr(config, key, None) is not None]
    if senses or not hasattr(config, "vocab_size"):
        problem = f"its configuration has {senses[0]!r}" if senses else "it has no vocabulary"
        raise ValueBiasError(
            f"The model {name!r} ({config.model_type}) is not for text alone: {problem}. Expected "
            "a text model; of one that takes images too, save the language model by itself."
        )


def _number(config: Any, name: str, *keys: str) -> int:
    for key in keys:
        value = _optional(config, name, key)
        if value is not None:
            return value
    raise ValueBiasError(
        f"The configuration of {name!r} ({config.model_type}) does not state {keys[0]!r}; expected "
        "a decoder-only text model, such as Llama, Gemma, Qwen or Mistral."
    )


def _optional(config: Any, name: str, key: str) -> int | None:
    """Return a stated size; refuse impossible ones, which would take all memory."""
    value = next((size for size in of_layers(config, key) if size is not None), None)
    # In some architectures sizes differ from layer to layer: the first stated one is shown.
    whole = value[0] if isinstance(value, list | tuple) and value else value
    if whole is None or whole is False:
        return None
    if isinstance(whole, float) and whole.is_integer():
        whole = int(whole)
    least = 0 if key in _MAY_BE_ZERO else 1
    if not isinstance(whole, int) or isinstance(whole, bool) or not least <= whole <= _LARGEST:
        raise ValueBiasError(
            f"The configuration of {name!r} has {key} = {str(value)[:60]!r}; expected a whole "
            "number, larger than 0. Download or save config.json again."
        )
    return whole


def _labels(config: Any, count: int | None) -> tuple[str, ...]:
    stated = getattr(config, "id2label", None) or {}
    names = tuple(str(stated[i]) for i in sorted(stated))
    if count is None or count == len(names):
        return names
    return tuple(f"LABEL_{i}" for i in range(count))
