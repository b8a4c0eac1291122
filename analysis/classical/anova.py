"""Type-II analysis of variance of the median ranks, by ordinary least squares."""

from __future__ import annotations

import numpy as np
import pandas as pd
from statsmodels.formula.api import ols
from statsmodels.stats.anova import anova_lm

from valuebias.analysis.classical.frames import from_rows

__all__ = ["type_two"]


def type_two(frame: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Test each term after all that do not contain it; levels as numbers, for names may be odd."""
    factors = [name for name in ("family", "category", "framing") if frame[name].nunique() > 1]
    coded = pd.DataFrame({name: pd.factorize(frame[name])[0] for name in factors})
    coded["rank"] = frame["rank"].to_numpy()
    columns = ["Sum Sq", "Df", "F value", "Pr(>F)"]
    spread = coded.groupby(factors)["rank"].agg(["size", "min", "max"])
    full = len(spread) == np.prod([coded[name].nunique() for name in factors])
    if not full or not (spread["max"] > spread["min"]).any():
        return from_rows([], columns=columns), (
            "Type-II ANOVA: not estimated. Some family has no median rank for a category and "
            "framing, or the ranks do not vary within any of them.",
        )
    fitted = ols("rank ~ " + " * ".join(f"C({name})" for name in factors), data=coded).fit()
    table = anova_lm(fitted, typ=2)
    table.columns = pd.Index(columns, dtype=object)
    terms = [str(term).replace("C(", "").replace(")", "") for term in table.index]
    table.index = pd.Index([t.replace("Residual", "Residuals") for t in terms], name="term")
    return table, ()
