"""Rotary embeddings of a GGUF file: what its entries and factors say, in transformers' words."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from valuebias.backends.gguf.files import Contents
from valuebias.errors import ValueBiasError

__all__ = ["DEFAULT_BASE", "ENTRIES", "positive", "rope_parameters"]

DEFAULT_BASE = 10000.0
"""llama.cpp's defaults for entries that a file lacks."""
ENTRIES = tuple(
    f"rope.{entry}"
    for entry in (
        "freq_base", "scale_linear", "scaling.type", "scaling.factor", "scaling.finetuned",
        "scaling.original_context_length", "scaling.attn_factor", "scaling.yarn_ext_factor",
        "scaling.yarn_attn_factor", "scaling.yarn_beta_fast", "scaling.yarn_beta_slow",
    )
)  # fmt: skip
"""The entries that are read here."""

_TOLERANCE = 1e-5
_TYPES = ("none", "linear", "yarn", "longrope")


def rope_parameters(contents: Contents, name: str) -> dict[str, Any]:
    """Return the rotary embedding of a model as transformers' configurations do.

    Notes
    -----
    Factors of frequencies (``rope_freqs.weight``), which files of Llama 3.1 have instead of
    entries, are taken for what Llama 3 does where that gives the very factors. ``yarn_beta_fast``
    and ``yarn_beta_slow`` do nothing outside YaRN, nor does a factor with the type "none".
    """
    base = {"rope_theta": positive(contents, "rope.freq_base", name) or DEFAULT_BASE}
    # Without a type, llama.cpp takes a factor for a linear one; with "none" it takes no factor.
    kind = contents.get("rope.scaling.type", "linear")
    if kind not in _TYPES:
        raise _refused(name, f"rope.scaling.type = {kind!r:.80}")
    factor = 1.0 if kind == "none" else _factor(contents, name)
    freqs = contents.small.get("rope_freqs.weight")
    if contents.small.get("rope_factors_long.weight") is not None or kind == "longrope":
        if kind == "yarn" or factor != 1:
            raise _refused(name, f"LongRoPE and rope.scaling.type = {kind!r} by {factor:g}")
        _check_unscaled(contents, name, {"yarn_ext_factor": 0, "yarn_attn_factor": 1})
        return base | _longrope(contents, name)
    if kind == "yarn":
        _check_unscaled(contents, name, {"yarn_ext_factor": 1, "attn_factor": 1})
    else:
        _check_unscaled(
            contents, name, {"yarn_ext_factor": 0, "attn_factor": 1, "yarn_attn_factor": 1}
        )
    if freqs is not None and not np.all(freqs == 1):
        if kind == "yarn" or factor != 1:
            raise _refused(name, f"both rope_freqs.weight and rope.scaling.type = {kind!r}")
        return base | _from_factors(freqs, base["rope_theta"], name)
    if kind == "yarn":
        return base | _yarn(contents, factor, name)
    if factor == 1:
        return base | {"rope_type": "default"}
    return base | {"rope_type": "linear", "factor": factor}


def positive(contents: Contents, entry: str, name: str) -> float | None:
    """Return a number that turns or stretches something; None where the file does not say."""
    value = contents.get(entry)
    if value is None:
        return None
    if not isinstance(value, int | float) or not 0 < value < np.inf:
        raise _refused(name, f"{entry} = {value!r:.80}")
    return float(value)


def _factor(contents: Contents, name: str) -> float:
    entry = "rope.scaling.factor"
    if contents.get(entry) is None:
        entry = "rope.scale_linear"
    # llama.cpp takes 0 for a factor that is not set.
    return 1.0 if contents.get(entry) == 0 else positive(contents, entry, name) or 1.0


def _check_unscaled(contents: Contents, name: str, idle: dict[str, float]) -> None:
    """Refuse entries that this type does not use, unless their value changes nothing."""
    for entry, value in idle.items():
        stated = contents.get(f"rope.scaling.{entry}", value)
        if stated != value:
            kind = contents.get("rope.scaling.type")
            beside = f"rope.scaling.type = {kind!r}" if kind else "no rope.scaling.type"
            text = f"{stated:g}" if isinstance(stated, float) else f"{stated!r:.80}"
            raise _refused(name, f"rope.scaling.{entry} = {text} and {beside}")


def _yarn(contents: Contents, factor: float, name: str) -> dict[str, Any]:
    length = positive(contents, "rope.scaling.original_context_length", name)
    if length is None:
        raise _refused(name, "rope.scaling.type = 'yarn' without the original context length")
    if factor < 1:
        # llama.cpp scales the attention for these, too, and transformers does not.
        raise _refused(name, f"rope.scaling.type = 'yarn' by rope.scaling.factor = {factor:g}")
    parameters: dict[str, Any] = {
        "rope_type": "yarn",
        "factor": factor,
        "original_max_position_embeddings": int(length),
    }
    for entry, word in (
        ("yarn_attn_factor", "attention_factor"),
        ("yarn_beta_fast", "beta_fast"),
        ("yarn_beta_slow", "beta_slow"),
    ):
        value = positive(contents, f"rope.scaling.{entry}", name)
        if value is not None:
            parameters[word] = value
    if parameters.get("beta_fast", 32.0) <= parameters.get("beta_slow", 1.0):
        raise _refused(name, "rope.scaling.yarn_beta_fast not above rope.scaling.yarn_beta_slow")
    return parameters


def _longrope(contents: Contents, name: str) -> dict[str, Any]:
    long = contents.small.get("rope_factors_long.weight")
    short = contents.small.get("rope_factors_short.weight")
    length = positive(contents, "rope.scaling.original_context_length", name)
    if long is None or short is None or not length or "rope_freqs.weight" in contents.small:
        raise _refused(
            name,
            "LongRoPE without all of rope_factors_long.weight, rope_factors_short.weight and "
            "rope.scaling.original_context_length",
        )
    parameters: dict[str, Any] = {
        "rope_type": "longrope",
        "long_factor": [float(x) for x in long],
        "short_factor": [float(x) for x in short],
        "original_max_position_embeddings": int(length),
        "factor": contents.get("context_length") / int(length),
    }
    attention = positive(contents, "rope.scaling.attn_factor", name)
    if attention is not None:
        parameters["attention_factor"] = attention
    return parameters


def _from_factors(freqs: npt.NDArray[np.float32], theta: float, name: str) -> dict[str, Any]:
    """Find how Llama 3 comes to these factors: 1 for short waves, one number for long ones."""
    factors = freqs.astype(np.float64)
    largest = float(factors[-1])
    if np.all(factors == largest):
        return {"rope_type": "linear", "factor": largest}
    waves = 2 * np.pi * theta ** (np.arange(len(factors)) / len(factors))
    candidates = [(1.0, 4.0, 8192.0)]
    between = (factors > 1 + _TOLERANCE) & (factors < largest - _TOLERANCE)
    if between.sum() >= 2:
        # The share of the unscaled frequency is linear in the frequency; only the ratios matter.
        share = (1 / factors[between] - 1 / largest) / (1 - 1 / largest)
        slope, start = np.polyfit(1 / waves[between], share, 1)
        candidates.append((float(-start), float(1 - start), float(slope)))
    for low, high, length in candidates:
        share = np.clip((length / waves - low) / (high - low), 0, 1)
        expected = 1 / ((1 - share) / largest + share)
        if np.allclose(expected, factors, rtol=_TOLERANCE, atol=0):
            scale = 1.0 if length == 8192 else 8192 / length
            return {
                "rope_type": "llama3",
                "factor": largest,
                "low_freq_factor": low * scale,
                "high_freq_factor": high * scale,
                "original_max_position_embeddings": 8192,
            }
    raise _refused(name, "rope_freqs.weight that are not the factors of Llama 3")


def _refused(name: str, fact: str) -> ValueBiasError:
    return ValueBiasError(
        f"The GGUF file of {name!r} has {fact}: how its positions are turned is not known for "
        "certain in transformers, and its numbers would be wrong. Score the model's own "
        "safetensors instead."
    )
