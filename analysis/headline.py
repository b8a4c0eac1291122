"""The answer of a result in words, and the number behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

__all__ = ["Headline"]


@dataclass(frozen=True, eq=False, repr=False)
class Headline:
    """The answer of a result; printed, it is its text.

    Attributes
    ----------
    text : str
        A few sentences. A fit that did not converge says so first; what qualifies the whole answer
        comes before it, what qualifies it otherwise after it.
    row : Series
        The estimate in the text, a row of the result's table; empty if nothing was estimated.
    converged : bool
        Whether the estimate may be used; of a model without chains, whether it was estimated.
    verdict : {"little doubt", "suggested", "open"} or None
        How well the direction is known: with a probability of at least .975, of at least .9, or of
        less. None where there is no such probability.
    """

    text: str
    row: pd.Series[Any]
    converged: bool
    verdict: str | None = None

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return self.text
