"""The paper's mixed model restated as leans: how much more a family values one category.

The model's three-way term answers "do the families differ?" in an unwieldy unit; the leans are the
same linear combinations of its effects, read in ranks towards the first category.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from valuebias.analysis.classical.frames import from_rows
from valuebias.analysis.classical.medians import MedianRanks
from valuebias.analysis.classical.mixed import SLOPES, MixedFit

__all__ = ["COLUMNS", "leans"]

COLUMNS = ("spec", "estimand", "name", "framing", "category", "estimate", "se", "df", "t", "p",
           "lower", "upper")  # fmt: skip
"""The columns of a table of leans."""

Array = NDArray[np.float64]


def leans(fit: MixedFit, medians: MedianRanks, *, prob: float) -> pd.DataFrame:
    """Return every family's lean, and the differences between families, from a mixed model.

    Notes
    -----
    In one framing a lean is the median rank of the second category less that of the first, so that
    positive means that the first category has the *higher reward*. "Signed" averages the lean under
    positive prompts and minus the lean under negative ones.
    """
    rows = []
    df = fit.df_models if fit.spec == SLOPES else fit.df_rows
    quantile = stats.t.ppf(0.5 + prob / 2, df)
    for labels, weights in _rows(fit, medians):
        estimate = float(weights @ fit.beta)
        se = float(np.sqrt(weights @ fit.cov @ weights))
        rows.append(
            {
                "spec": fit.spec,
                **dict(zip(COLUMNS[1:5], labels, strict=True)),
                "estimate": estimate,
                "se": se,
                "df": df,
                "t": estimate / se,
                "p": float(2 * stats.t.sf(abs(estimate / se), df)),
                "lower": estimate - quantile * se,
                "upper": estimate + quantile * se,
            }
        )
    return from_rows(rows, columns=COLUMNS)


def _rows(fit: MixedFit, medians: MedianRanks) -> Iterator[tuple[tuple[str, ...], Array]]:
    """Give the estimand, name, framing and categories of each row, and its weights on effects."""
    families, categories = medians.families, medians.categories
    for a, b in combinations(range(len(categories)), 2):
        category = f"{categories[a]} − {categories[b]}"
        by_framing = _by_framing(fit, medians, a, b)
        for g, h in combinations(range(len(families)), 2):
            for framing, weights in by_framing.items():
                name = f"{families[g]} − {families[h]}"
                labels = ("family difference", name, framing, category)
                yield labels, weights[g] - weights[h]
        for g, family in enumerate(families):
            for framing, weights in by_framing.items():
                yield ("family lean", family, framing, category), weights[g]


def _by_framing(fit: MixedFit, medians: MedianRanks, a: int, b: int) -> dict[str, Array]:
    """Return the weights, shape (family, effect), of the lean in each framing and over both."""
    size = len(medians.categories)
    by_framing = {
        framing: fit.effects.design[:, f * size + b] - fit.effects.design[:, f * size + a]
        for f, framing in enumerate(medians.framings)
    }
    signs = {"positive": 1.0, "negative": -1.0}
    signed = np.mean([signs[framing] * weights for framing, weights in by_framing.items()], axis=0)
    return {"signed": signed, **by_framing}
