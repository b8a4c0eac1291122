"""What a learning model is: how outcomes are valued, how many rates, and its free parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from valuebias._core.checks import check_known, check_number
from valuebias.analysis.learning.recursion import N_PARAMETERS
from valuebias.errors import ValueBiasError, shown

__all__ = ["VALUES", "LearningRule", "make_rule"]

Array = NDArray[np.float64]

VALUES = ("absolute", "relative", "centred", "mixed")
SPLIT_NAMES = {
    "none": ("learning_rate",),
    "confirmation": ("confirmatory_rate", "disconfirmatory_rate"),
    "sign": ("positive_rate", "negative_rate"),
}
_STEEPEST = 100.0


@dataclass(frozen=True)
class LearningRule:
    """A learning model."""

    value: str  # how outcomes are valued
    split: str  # when which learning rate holds
    initial: float  # what options are worth before the first trial

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The free parameters."""
        weight = ("relative_weight",) if self.value == "mixed" else ()
        return (*SPLIT_NAMES[self.split], "inverse_temperature", *weight)

    @cached_property
    def columns(self) -> NDArray[np.intp]:
        """Where among the recursion's parameters the free ones are."""
        places = [0, 2] if self.split == "none" else [0, 1, 2]
        return np.array([*places, *([3] if self.value == "mixed" else [])], dtype=np.intp)

    @cached_property
    def bounds(self) -> Array:
        """Least and largest value of each free parameter, (parameter, 2)."""
        most = [_STEEPEST if name == "inverse_temperature" else 1.0 for name in self.names]
        return np.array([[0.0, top] for top in most])

    def full(self, free: Array) -> Array:
        """Put free parameters, (model, parameter), among the fixed ones, (model, 4)."""
        theta = np.zeros((len(free), N_PARAMETERS))
        theta[:, 3] = float(self.value in ("relative", "centred"))
        theta[:, self.columns] = free
        return theta

    def describe(self) -> str:
        """Say what it is in a few words."""
        values = {
            "absolute": "absolute values",
            "relative": "relative values",
            "centred": "values less the mean of both outcomes",
            "mixed": "a mixture of absolute and relative values",
        }[self.value]
        rates = {
            "none": "one learning rate",
            "confirmation": "a confirmatory and a disconfirmatory learning rate",
            "sign": "a positive and a negative learning rate",
        }[self.split]
        return f"Q-learning of {values} with {rates}"


def make_rule(value: str, learning_rates: int, split: str, initial: float | None) -> LearningRule:
    """Check what the user asked for."""
    check_known(value, VALUES, f"value is {shown(value)}.")
    if learning_rates not in (1, 2) or isinstance(learning_rates, bool):
        raise ValueBiasError(f"learning_rates is {shown(learning_rates)}; expected 1 or 2.")
    check_known(split, ("confirmation", "sign"), f"split is {shown(split)}.")
    if initial is None:
        # The middle of what there can be.
        initial = 0.0 if value == "centred" else 0.5
    check_number(initial, "initial", "a finite number", least=-1e6, most=1e6)
    if not math.isfinite(initial):
        raise ValueBiasError(f"initial is {initial}; expected a finite number.")
    return LearningRule(value, "none" if learning_rates == 1 else split, float(initial))
