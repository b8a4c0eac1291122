"""Reward heads of two layers, which config.json states: transformers' classifiers have one.

A model that was trained with such a head is saved as a classifier of its architecture, with the
head's weights in the place of its layer ``score`` and the entry ``reward_head`` in config.json.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from valuebias.backends.configuration import MLP, REWARD_HEAD
from valuebias.errors import ValueBiasError

__all__ = ["classifier", "forget", "layers"]


def layers(hidden: int, width: int, labels: int) -> nn.Sequential:
    """Make a head: linear, ReLU, linear.

    The last has no bias, as transformers' own heads have none: it cancels in every pair, so that
    nothing but rounding would train it. Source: Yang et al. 2024 (arXiv 2406.10216): 1024 wide.
    """
    last = nn.Linear(width, labels, bias=False)
    return nn.Sequential(nn.Linear(hidden, width), nn.ReLU(), last)


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
        setattr(config, REWARD_HEAD, {"kind": MLP, "width": width})

    made: Any = type(plain.__name__, (plain,), {"__init__": init, "__module__": plain.__module__})
    return made


def forget(config: Any) -> None:
    """Take the entry out of a configuration whose model has a head of one layer."""
    if getattr(config, REWARD_HEAD, None) is not None:
        delattr(config, REWARD_HEAD)
