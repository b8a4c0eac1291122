"""Reward heads of two layers, which config.json states: transformers' classifiers have one.

A model that was trained with such a head is saved as a classifier of its architecture, with the
head's weights in the place of its layer ``score`` and the entry ``reward_head`` in config.json.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from valuebias._core.checks import check_whole
from valuebias._core.foreign import read_json
from valuebias.errors import ValueBiasError, shown

__all__ = ["ENTRY", "classifier", "forget", "layers", "stated_width"]

ENTRY = "reward_head"
"""What config.json calls it."""
_KIND = "mlp"
_WIDEST = 2**16
"""A head is as wide as its configuration says before its weights are seen."""


def layers(hidden: int, width: int, labels: int) -> nn.Sequential:
    """Make a head: linear, ReLU, linear.

    The last has no bias, as transformers' own heads have none: it cancels in every pair, so that
    nothing but rounding would train it. Source: Yang et al. 2024 (arXiv 2406.10216): 1024 wide.
    """
    last = nn.Linear(width, labels, bias=False)
    return nn.Sequential(nn.Linear(hidden, width), nn.ReLU(), last)


def stated_width(folder: Path, name: str) -> int | None:
    """Read from config.json how wide the head is; None where it has one layer."""
    path = folder / "config.json"
    content = read_json(path, f"The config.json of {name!r}", advice="Download or save it again.")
    stated = content.get(ENTRY) if isinstance(content, dict) else None
    if stated is None:
        return None
    if not isinstance(stated, dict) or set(stated) != {"kind", "width"} or stated["kind"] != _KIND:
        raise ValueBiasError(
            f"The config.json of {name!r} has {ENTRY}={shown(stated)}; expected "
            f"{{'kind': {_KIND!r}, 'width': 1024}}, as training writes it. Save the model again."
        )
    width = stated["width"]
    check_whole(width, f"The width of the {ENTRY} of {name!r}", least=1)
    if width > _WIDEST:
        raise ValueBiasError(
            f"The config.json of {name!r} has a {ENTRY} of the width {width}; {_WIDEST} is the "
            "most that is read. Save the model again."
        )
    return int(width)


def classifier(config: Any, width: int, name: str) -> Any:
    """Give transformers' classifier of a configuration, with a head of two layers in it.

    It has the name and the module of the class that it stands for, by which transformers looks up
    what the class can do and what a saved model says it is.
    """
    import transformers

    mapping = transformers.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
    plain: Any = mapping.get(type(config), None)
    if not isinstance(plain, type):
        raise ValueBiasError(
            f"{name}: transformers {transformers.__version__} has no classifier for "
            f"{type(config).__name__}, so that it has no head of two layers either. Use a head of "
            "one layer, or another base."
        )

    def init(self: Any, config: Any) -> None:
        super(made, self).__init__(config)
        if not isinstance(getattr(self, "score", None), nn.Linear):
            raise ValueBiasError(
                f"{name}: {plain.__name__} has no layer 'score' for a head of two layers to stand "
                "in for. Use a head of one layer, or another base."
            )
        self.score = layers(self.score.in_features, width, self.score.out_features)
        setattr(config, ENTRY, {"kind": _KIND, "width": width})

    made: Any = type(plain.__name__, (plain,), {"__init__": init, "__module__": plain.__module__})
    return made


def forget(config: Any) -> None:
    """Take the entry out of a configuration whose model has a head of one layer."""
    if getattr(config, ENTRY, None) is not None:
        delattr(config, ENTRY)
