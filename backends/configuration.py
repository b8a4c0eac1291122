"""What a configuration of transformers says: sizes, and up to which length a tree is exact."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from valuebias._core.checks import check_whole
from valuebias._core.foreign import read_json
from valuebias.errors import ValueBiasError, shown

__all__ = [
    "MLP",
    "REWARD_HEAD",
    "Shape",
    "head_width",
    "of_layers",
    "reach",
    "shape",
    "stated_class",
]

REWARD_HEAD, MLP = "reward_head", "mlp"
"""What config.json calls a reward head that is not one linear layer, and its kind."""
_WIDEST = 2**16
"""A head is made as wide as its configuration says before its weights are seen."""

# What configurations call how far back a token sees, and the layers that it is about.
_WINDOWS = {
    "sliding_window": "sliding_attention",
    "sliding_window_size": "sliding_attention",
    "window_size": "sliding_attention",
    "local_attention": "sliding_attention",
    "attention_window_size": "sliding_attention",
    "attention_chunk_size": "chunked_attention",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes that decide about memory."""

    hidden: int
    intermediate: int
    vocab_size: int


def shape(config: Any) -> Shape:
    """Read the sizes from a configuration of transformers."""
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    hidden = int(text.hidden_size)
    widest = max((int(size) for size in of_layers(text, "intermediate_size") if size), default=0)
    return Shape(hidden, widest or 4 * hidden, int(text.vocab_size))


def of_layers(config: Any, key: str) -> list[Any]:
    """Return the values of a setting, of every layer where the configuration has it by layer.

    Such a setting, as Gemma 4's size of heads, raises an error where it is asked of the whole.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> layers = [SimpleNamespace(head_dim=256), SimpleNamespace(head_dim=512)]
    >>> config = SimpleNamespace(
    ...     layers=2, per_layer_attributes={"head_dim"}, per_layer_config=layers
    ... )
    >>> of_layers(config, "head_dim"), of_layers(config, "layers"), of_layers(config, "width")
    ([256, 512], [2], [None])
    """
    if key in (getattr(config, "per_layer_attributes", None) or ()):
        return [getattr(layer, key, None) for layer in config.per_layer_config]
    return [getattr(config, key, None)]


def stated_class(folder: Path) -> str:
    """Give the class that a folder's config.json names; nothing where it names none."""
    try:
        classes = json.loads((folder / "config.json").read_bytes()).get("architectures") or [""]
        return str(classes[0])
    except (OSError, ValueError, AttributeError, LookupError, TypeError):
        return ""


def head_width(folder: Path, name: str) -> int | None:
    """Read from config.json how wide the head is; None where it has one layer."""
    path = folder / "config.json"
    content = read_json(path, advice="Download or save the model again.")
    stated = content.get(REWARD_HEAD) if isinstance(content, dict) else None
    if stated is None:
        return None
    if not isinstance(stated, dict) or set(stated) != {"kind", "width"} or stated["kind"] != MLP:
        raise ValueBiasError(
            f"The config.json of {name!r} has {REWARD_HEAD}={shown(stated)}; expected "
            f"{{'kind': {MLP!r}, 'width': 1024}}, as training writes it. Save the model again."
        )
    width = stated["width"]
    check_whole(width, f"The width of the {REWARD_HEAD} of {name!r}", least=1)
    if width > _WIDEST:
        raise ValueBiasError(
            f"The config.json of {name!r} has a {REWARD_HEAD} of the width {width}; {_WIDEST} is "
            "the most that is read. Save the model again."
        )
    return int(width)


def reach(config: Any, windows: Collection[int]) -> int | None:
    """Return up to how many tokens a tree gives the results of whole conversations.

    Some models know sliding windows in their own masks only, and some turn positions differently
    once any of a batch is far enough.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> config = SimpleNamespace(sliding_window=512, attention_chunk_size=8192)
    >>> reach(config, {512}), reach(config, ())
    (8192, 512)
    """
    return min((*_masked(config, windows), *_turned(config)), default=None)


def _masked(config: Any, windows: Collection[int]) -> Iterator[int]:
    """Return the windows that only the model's own masks know."""
    layers = getattr(config, "layer_types", None)
    sizes = (
        (name, kind, size) for name, kind in _WINDOWS.items() for size in of_layers(config, name)
    )
    for name, kind, size in sizes:
        if not isinstance(size, int) or isinstance(size, bool) or size <= 0 or size in windows:
            continue
        if name == "sliding_window" and getattr(config, "use_sliding_window", None) is False:
            continue
        if layers is None or kind in layers:
            yield size


def _turned(config: Any) -> Iterator[int]:
    """Return the lengths beyond which rotary embeddings turn all positions differently."""
    ropes = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None)
    if not isinstance(ropes, Mapping):
        return
    for rope in (ropes, *(part for part in ropes.values() if isinstance(part, Mapping))):
        kind = str(rope.get("rope_type") or rope.get("type") or "")
        if kind not in ("longrope", "su", "dynamic"):
            continue
        longest = getattr(config, "max_position_embeddings", None)
        if kind != "dynamic":
            longest_trained = getattr(config, "original_max_position_embeddings", None)
            longest = rope.get("original_max_position_embeddings") or longest_trained or longest
        if isinstance(longest, int):
            yield longest
