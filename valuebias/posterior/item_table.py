"""Which items of a contrast set an answer rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from valuebias.analysis.design.items import ItemLayout
from valuebias.analysis.estimands.estimand import LEAN, OVERALL
from valuebias.analysis.estimands.rows import Row
from valuebias.errors import ValueBiasError

if TYPE_CHECKING:
    from valuebias.posterior.posterior import Posterior

__all__ = ["item_table"]

_AT_ONCE = 256  # draws
# Draws are thinned until all items' are at most so many numbers, but to no fewer draws than these.
_MOST_NUMBERS, _FEWEST = 25_000_000, 400


def item_table(fit: Posterior, prob: float, certain: float) -> pd.DataFrame:
    """Summarise the headline's quantity on every item; see :meth:`Fit.items`."""
    crossing = fit.problem.crossing
    if not crossing.items:
        raise ValueBiasError(
            "items() is about the items of a contrast set, and this fit is of words. See words()."
        )
    if not fit.replicated:
        raise ValueBiasError(
            "The formula has as many columns as there are models, so that what an item does in "
            "models of a kind cannot be told from what it does in these. Score more models."
        )
    design, layout = crossing.design, ItemLayout(len(crossing.items), len(crossing.categories))
    rows = fit.compared_rows() or [Row(LEAN, OVERALL, "all models", "", design.matrix.mean(axis=0))]
    pair, weights = next(iter(fit.categories.items()))
    row = rows[0]
    most = max(_FEWEST, _MOST_NUMBERS // crossing.shape[2])
    words = fit.words_of(row.row, crossing.framings[0], most=most)
    draws = np.concatenate([
        layout.to_items(words[first : first + _AT_ONCE]) @ weights
        for first in range(0, len(words), _AT_ONCE)
    ])  # fmt: skip
    lower, upper = np.quantile(draws, [(1 - prob) / 2, (1 + prob) / 2], axis=0)
    positive = (draws > 0).mean(axis=0)
    table = pd.DataFrame(
        {
            "item": pd.Series(list(crossing.items), dtype=object),
            "name": f"{row.first} − {row.second}" if row.second else row.first,
            "category": pair.label,
            "mean": draws.mean(axis=0),
            "sd": draws.std(axis=0, ddof=1),
            "lower": lower,
            "upper": upper,
            "p_direction": np.maximum(positive, 1 - positive),
        }
    )
    order = table["mean"].abs().sort_values(ascending=False, kind="stable").index
    table = table.loc[order].reset_index(drop=True)
    table["certain"] = table["p_direction"] >= certain
    table["expected_false_signs"] = (1 - table["p_direction"]).cumsum()
    table.attrs |= {"draws": len(draws), "prob": prob}
    return table
