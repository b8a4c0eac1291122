"""The pairs of preferences as token ids, as a base's own tokenizer and template give them."""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt

from valuebias.preference_data.preferences import Preferences
from valuebias.training.features import Base
from valuebias.training.reward import TokenPairs

__all__ = ["PairTokens"]

Integers = npt.NDArray[np.int64]


class PairTokens:
    """Tokenises pairs, each once.

    Parameters
    ----------
    base : Base
        Whose tokenizer and template: ids are those that scoring the conversations would use.
    max_length : int
        Longer conversations are left out with their pair.

    Attributes
    ----------
    longest : int
        The most tokens that a conversation may have: `max_length`, or what the base takes if that
        is less.
    """

    def __init__(self, base: Base, max_length: int) -> None:
        self._base = base
        self.longest = min(max_length, base.resolved.model_config.max_length or max_length)
        self._known: dict[str, tuple[Integers, Integers]] = {}

    def of(self, pairs: Preferences) -> TokenPairs:
        """Tokenise pairs."""
        columns = (pairs.pairs[key].tolist() for key in ("id", "prompt", "chosen", "rejected"))
        tokens = TokenPairs([], [])
        for name, prompt, chosen, rejected in zip(*columns, strict=True):
            if name not in self._known:
                better, worse = self._base.tokenizer.rewards(
                    json.loads(prompt), (chosen, rejected), any_length=True
                )
                self._known[name] = better, worse
            better, worse = self._known[name]
            if max(len(better), len(worse)) <= self.longest:
                tokens.chosen.append(better)
                tokens.rejected.append(worse)
        return tokens
