"""Probabilities, regions and framings in words, the same everywhere and bounded by the draws.

Tables of numbers stay numbers; this module is for display.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from valuebias._core.numbers import signed
from valuebias.analysis.estimands.weights import TURNED
from valuebias.schema.contract import NEUTRAL

__all__ = [
    "chance",
    "chance_bound",
    "effective_draws",
    "false_signs",
    "percent",
    "rope_in_words",
    "sampled_units",
    "shown",
    "under",
]

_UNDER = {
    "signed": "signed by framing",
    "positive": "under positive prompts",
    "negative": "under negative prompts",
    NEUTRAL: "under neutral prompts",
    TURNED: "under negative prompts, sign turned",
}


def chance_bound(draws: float) -> float:
    """Give the largest probability that so many draws can show.

    Examples
    --------
    >>> chance_bound(4000), chance_bound(400)
    (0.9995, 0.995)
    """
    least = 1 / max(draws, 2.0)
    power = math.floor(math.log10(least) + 1e-9)
    step = next(s for s in (1, 2, 5, 10) if s * 10.0**power >= least * (1 - 1e-9))
    return round(1 - step * 10.0**power, 1 - power)


def chance(value: float, draws: float = 1000.0) -> str:
    """Write a probability as a decimal; never as 0 or 1, which no sample can show.

    Examples
    --------
    >>> chance(0.9914, 4000), chance(1.0, 4000), chance(0.0, 400)
    ('0.991', '> 0.9995', '< 0.005')
    """
    return _format(value, draws, scale=1, decimals=3, mark="")


def percent(value: float, draws: float = 1000.0) -> str:
    """Write a probability in percent; never as 0% or 100%, which no sample can show.

    Examples
    --------
    >>> percent(0.9914, 4000), percent(0.9995, 9000), percent(1.0, 4000), percent(0.0, 400)
    ('99.1%', '99.95%', '> 99.95%', '< 0.5%')
    """
    return _format(value, draws, scale=100, decimals=1, mark="%")


def _format(value: float, draws: float, *, scale: int, decimals: int, mark: str) -> str:
    if not np.isfinite(value):
        return "–"
    bound = chance_bound(draws)
    if value > bound:
        return f"> {scale * bound:.12g}{mark}"
    if value < round(1 - bound, 12):
        return f"< {scale * round(1 - bound, 12):.12g}{mark}"
    while float(f"{scale * value:.{decimals}f}") in (0, scale):
        decimals += 1
    return f"{scale * value:.{decimals}f}{mark}"


def effective_draws(table: pd.DataFrame, draws: float) -> list[float]:
    """Give the number of effective draws of each row of a summary."""
    if "ess_bulk" not in table.columns:
        return [draws] * len(table)
    return [float(min(n, draws)) if np.isfinite(n) else draws for n in table["ess_bulk"]]


def rope_in_words(rope: float, unit: str, scale: float | None = None) -> str:
    """Write a region of practical equivalence: exactly as given, or in words where it is ours.

    Examples
    --------
    >>> rope_in_words(0.123456, "SD", 0.9973), rope_in_words(0.05 * 0.9973, "SD", 0.9973)
    ('±0.123456 SD', '±0.05 SD')
    """
    if scale is None or rope != 0.05 * scale:
        return f"±{rope:.12g} {unit}"
    if unit == "SD":
        return "±0.05 SD"
    return f"±{rope:.2g} {unit} (0.05 of the outcome's SD)"


def shown(table: pd.DataFrame, *, digits: int = 2) -> pd.DataFrame:
    """Write a table of results for reading, with no probability of 0 or 1.

    Parameters
    ----------
    table : DataFrame
        Such as :meth:`valuebias.Fit.contrasts` or :meth:`valuebias.Fit.words` returns; it is not
        changed.
    digits : int, default 2
        Decimals of estimates.

    Returns
    -------
    DataFrame
        Texts. Probabilities, in columns whose name starts with ``p_``, have three decimals, and a
        bound where the draws cannot show more: with *n* effective draws that all agree none is
        written as more than ``1 - 1 / n``. R-hat has three decimals, effective sample sizes have
        none. Choose rows and columns of the result rather than of `table`, whose column
        ``ess_bulk`` holds the number of effective draws.

    Examples
    --------
    >>> import valuebias
    >>> fit = valuebias.fit(valuebias.datasets.load("simulated"), seed=1, progress=False)
    >>> row = valuebias.shown(fit.contrasts()).loc[0]
    >>> row["name"], row["mean"][:4]
    ('Alder − Birch', '+0.2')
    >>> valuebias.shown(fit.words())["p_direction"].max()
    '> 0.9995'
    """
    sizes = effective_draws(table, float(table.attrs.get("draws", 1000)))
    forms: dict[str, Callable[[float], str]] = dict.fromkeys(
        ("mean", "median", "lower", "upper"), lambda x: signed(x, digits).replace("−", "-")
    )
    forms |= {"rhat": "{:.3f}".format, **dict.fromkeys(("ess_bulk", "ess_tail"), "{:,.0f}".format)}
    texts = {}
    for name in table.columns:
        values = table[name]
        if str(name).startswith("p_"):
            texts[name] = [chance(p, n) for p, n in zip(values, sizes, strict=True)]
        elif pd.api.types.is_float_dtype(values):
            whole = bool((values.dropna() % 1 == 0).all())
            plain = ("{:,.0f}" if whole else f"{{:.{digits}f}}").format
            form = forms.get(str(name), plain)
            texts[name] = ["–" if np.isnan(x) else form(x) for x in values]
        else:
            texts[name] = [str(x) for x in values]
    return pd.DataFrame(texts, index=table.index, dtype=object)


def false_signs(words: pd.DataFrame, draws: float) -> str:
    """State how many of the listed words are expected to differ the other way.

    Examples
    --------
    >>> false_signs(pd.DataFrame({"p_direction": [0.99, 0.8, 0.6]}), 4000)
    'of these 3 signs 0.6 are expected to be wrong'
    """
    wrong = max(float((1 - words["p_direction"]).sum()), len(words) / draws)
    number = "fewer than 0.1" if wrong < 0.05 else f"{wrong:.1f}"
    return f"of these {len(words)} signs {number} are expected to be wrong"


def sampled_units(components: Iterable[str]) -> str:
    """Name the units over which a difference between groups of models generalises.

    Examples
    --------
    >>> sampled_units(["model_category", "model_word", "base_category", "base_word", "word"])
    'models and bases'
    """
    named = [name.removesuffix("_word") for name in components if name.endswith("_word")]
    if "model" not in named:
        return "no models but these"
    units = [f"{name}s" for name in named if name not in ("model", "prompt")]
    return " and ".join([", ".join(["models", *units[:-1]]), *units[-1:]])


def under(framing: str) -> str:
    """Name the prompts of a framing.

    Examples
    --------
    >>> under("signed"), under("positive")
    ('signed by framing', 'under positive prompts')
    """
    return _UNDER[framing]
