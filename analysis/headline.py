"""The answer of a result in words, and the number behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from valuebias._core.notebooks import as_html
from valuebias._core.text import visible_lines

__all__ = ["Headline"]


@dataclass(frozen=True, eq=False, repr=False)
class Headline:
    """The answer of a result; printed, it is its text."""

    # A few sentences. A fit that did not converge says so first; what qualifies the whole answer
    # comes before it, what qualifies it otherwise after it.
    text: str
    # The estimate in the text, a row of the result's table; empty if nothing was estimated.
    row: pd.Series[Any]
    # Whether the estimate may be used; of a model without chains, whether it was estimated.
    converged: bool
    # How well the direction is known: with a probability of at least .975, of at least .9, or of
    # less. None where there is no such probability.
    verdict: str | None = None

    def __str__(self) -> str:
        return visible_lines(self.text)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Show the text in a notebook."""
        return as_html(self.text)
