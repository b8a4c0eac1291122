"""A mixed model's coefficients restated as leans of families, and in a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from valuebias.analysis.classical.frames import from_rows
from valuebias.analysis.classical.medians import MedianRanks
from valuebias.analysis.classical.mixed import INTERCEPT, SLOPES, MixedFit
from valuebias.schema.contract import SIGNS

__all__ = ["LEANS", "leans", "sentence"]

Array = NDArray[np.float64]

LEANS = ["spec", "estimand", "name", "framing", "category", "estimate", "se", "df", "t", "p",
          "lower", "upper"]  # fmt: skip


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
                **dict(zip(LEANS[1:5], labels, strict=True)),
                "estimate": estimate,
                "se": se,
                "df": df,
                "t": estimate / se,
                "p": float(2 * stats.t.sf(abs(estimate / se), df)),
                "lower": estimate - quantile * se,
                "upper": estimate + quantile * se,
            }
        )
    return from_rows(rows, columns=LEANS)


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
    signed = [SIGNS[name] * weights for name, weights in by_framing.items() if name in SIGNS]
    # Neutral prompts say nothing of liking, and stand under their own name.
    return {**({"signed": np.mean(signed, axis=0)} if signed else {}), **by_framing}


def sentence(row: pd.Series[Any], ranks: MedianRanks) -> str:
    """Say which family leans further, or where the only one leans, from a row of :func:`leans`."""
    first, second = ranks.categories[:2]
    article = "a " if row["spec"] == INTERCEPT else ""
    test = f"(t = {abs(row['t']):.2f} on {row['df']} degrees of freedom, p = {row['p']:.2g})."
    if len(ranks.families) == 1:
        liked, other = (first, second) if row["estimate"] > 0 else (second, first)
        return (
            f"With {article}{row['spec']} by model, {ranks.families[0]} models lean "
            f"{abs(row['estimate']):.1f} median ranks towards {liked} against {other} {test}"
        )
    more, less = ranks.families[:2] if row["estimate"] > 0 else ranks.families[1::-1]
    return (
        f"With {article}{row['spec']} by model, {more} models lean {abs(row['estimate']):.1f} "
        f"median ranks more towards {first} against {second} than {less} models {test}"
    )
