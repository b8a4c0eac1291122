"""Whether the chains agree, in words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr

from valuebias._core.notebooks import as_html
from valuebias._core.text import visible_lines
from valuebias.analysis.estimands.convergence import convergence

__all__ = ["Diagnostics", "agreement", "describe_draws", "diagnose"]

_RHAT_LIMIT = 1.01
_ESS_LIMIT = 400
_TIGHTER = "prior={'sd': {'word': 0.5}}; scales that are not named stay as fit.priors() has them"
# Beyond this the chains are not on the same posterior, whatever quantity shows it: contrasts are
# drawn again given the SDs, and that noise could hide it.
_RHAT_APART = 1.05
_DIVERGENT_SHARE = 1e-3
# More than this many times the draws are not the advice to give.
_HOPELESS = 10


@dataclass(frozen=True, repr=False)
class Diagnostics:
    """Convergence of a fit.

    Notes
    -----
    Limits: R-hat at most 1.01 and effective sample sizes of at least 400, after Vehtari et al.
    2021, for the contrasts. For other parameters these limits raise a caution; R-hat above 1.05
    raises a message. Any divergence may be a sign of bias, so their number is always shown; more
    than one in a thousand transitions raise a message. Stan's guide to its warnings calls few
    divergences beside good R-hat and effective sample sizes often good enough.
    """

    # True where no message was raised: what the answer rests on, the contrasts, can be trusted.
    converged: bool
    # What is wrong with that and what to do, one sentence or two each; empty where all is well.
    messages: list[str]
    # What is less well known of other parameters (SDs, correlations, means of categories), and
    # divergences too few to condemn the fit.
    cautions: list[str]
    divergences: int  # divergent transitions after tuning
    transitions: int  # all transitions after tuning
    max_rhat: float  # largest split R-hat over the contrasts
    # Min_ess_bulk, min_ess_tail: smallest effective sample sizes over the contrasts.
    min_ess_bulk: float
    min_ess_tail: float
    # R-hat and effective sample sizes by quantity; ``contrast`` is True for those that the answer
    # rests on.
    table: pd.DataFrame

    def __repr__(self) -> str:
        verdict = "converged" if self.converged else "NOT CONVERGED"
        lines = [
            f"<valuebias.Diagnostics: {verdict}>",
            f"contrasts: R-hat at most {self.max_rhat:.3f}, effective sample size at least "
            f"{self.min_ess_bulk:,.0f} (bulk) and {self.min_ess_tail:,.0f} (tail); "
            f"{self.divergences} of {self.transitions:,} transitions diverged",
            *(f"problem: {text}" for text in self.messages),
            *(f"caution: {text}" for text in self.cautions),
        ]
        return visible_lines("\n".join(lines))

    def _repr_html_(self) -> str:
        """Show the verdict, and what is wrong in a notebook."""
        return as_html(repr(self).removeprefix("<valuebias.").replace(">", "", 1))


def describe_draws(
    draws: xr.DataArray, prob: float, agreed: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Summarise draws (chain, draw, item): moments, equal-tailed interval, R-hat, ESS.

    ``agreed`` is their :func:`agreement`, where it is known: it takes far longer than the rest.
    """
    item = _item(draws)
    flat = draws.transpose("chain", "draw", item).to_numpy().reshape(-1, draws.sizes[item])
    # Objects, because pandas' own text refuses a lone surrogate in a model's name.
    labels = pd.Index(draws[item].to_numpy(), dtype=object) if item in draws.coords else None
    tail = (1 - prob) / 2
    lower, median, upper = np.quantile(flat, [tail, 0.5, 1 - tail], axis=0)
    moments = pd.DataFrame(
        {
            "mean": flat.mean(axis=0),
            "median": median,
            "sd": flat.std(axis=0, ddof=1),
            "lower": lower,
            "upper": upper,
        },
        index=labels,
    )
    agreed = agreement(draws) if agreed is None else agreed
    return moments.assign(**{name: agreed[name].to_numpy() for name in agreed.columns})


def agreement(draws: xr.DataArray) -> pd.DataFrame:
    """Give R-hat and effective sample sizes of draws (chain, draw, item)."""
    item = _item(draws)
    if draws.sizes["draw"] < 4:
        measures = np.full((3, draws.sizes[item]), np.nan)
    else:
        values = draws.transpose(item, "chain", "draw").to_numpy().astype(float)
        measures = np.array(convergence(values))
    return pd.DataFrame(dict(zip(("rhat", "ess_bulk", "ess_tail"), measures, strict=True)))


def _item(draws: xr.DataArray) -> str:
    return str(next(dim for dim in draws.dims if dim not in ("chain", "draw")))


def diagnose(contrasts: pd.DataFrame, others: pd.DataFrame, stats: xr.Dataset) -> Diagnostics:
    """Judge tables of :func:`describe_draws` rows and the sampler's statistics."""
    divergences, transitions = int(stats["diverging"].sum()), stats["diverging"].size
    draws = stats.sizes["draw"]
    messages: list[str] = []
    cautions: list[str] = []
    if divergences:
        strict = divergences > _DIVERGENT_SHARE * transitions
        (messages if strict else cautions).append(_divergent(divergences, transitions, strict))
    if contrasts["rhat"].isna().all() and others["rhat"].isna().all():
        messages.append(
            "whether the chains agree cannot be judged: R-hat needs two chains or more, of four "
            "draws or more each. Ask for chains=4."
        )
    else:
        messages += [*_undefined(contrasts), *_disagreement(contrasts, _RHAT_LIMIT)]
        apart = _disagreement(others, _RHAT_APART)
        messages += apart
        cautions += _undefined(others)
        cautions += [] if apart else _disagreement(others, _RHAT_LIMIT, rests=False)
    messages += _few_draws(contrasts, draws)
    cautions += _few_draws(others, draws, rests=False)
    columns = ["rhat", "ess_bulk", "ess_tail"]
    table = pd.concat([contrasts[columns].assign(contrast=True),
                       others[columns].assign(contrast=False)])  # fmt: skip
    return Diagnostics(
        converged=not messages,
        messages=messages,
        cautions=cautions,
        divergences=divergences,
        transitions=transitions,
        max_rhat=float(contrasts["rhat"].max()),
        min_ess_bulk=float(contrasts["ess_bulk"].min()),
        min_ess_tail=float(contrasts["ess_tail"].min()),
        table=table,
    )


def _divergent(count: int, transitions: int, strict: bool) -> str:
    head = f"{count} of {transitions:,} transitions diverged"
    if strict:
        return (
            f"{head}, more than one in a thousand: the posterior has regions that the sampler "
            "cannot follow, and every number may be biased. See whether another seed does without "
            "and gives the same answer; further prompts or models tell the SDs better, and so does "
            "a tighter prior for those that fit.summary() shows to reach from zero far up: "
            f"{_TIGHTER}."
        )
    return (
        f"{head}: too few to condemn the fit, yet a sign that the sampler misses something. See "
        "whether another seed or tune=2000 does without, and gives the same answer."
    )


def _undefined(table: pd.DataFrame) -> list[str]:
    unknown = table.index[table["rhat"].isna()]
    if unknown.empty:
        return []
    return [
        f"R-hat is undefined for {_named(unknown[0], len(unknown))}: its draws do not vary, so "
        "that they tell nothing of its uncertainty. Sample longer (tune=, draws=) and do not "
        "report its interval."
    ]


def _disagreement(table: pd.DataFrame, limit: float, *, rests: bool = True) -> list[str]:
    above = table.index[table["rhat"] > limit]
    if above.empty:
        return []
    advice = (
        "Sample longer (tune=, draws=) and do not report these numbers."
        if rests
        else "Sample longer (tune=, draws=) before reporting this parameter."
    )
    return [
        f"R-hat is {table['rhat'].max():.3f} for {_named(table['rhat'].idxmax(), len(above))} "
        f"(should be at most {limit}): the chains disagree. {advice}"
    ]


def _few_draws(table: pd.DataFrame, draws: int, *, rests: bool = True) -> list[str]:
    """Warn of few effective draws: in the bulk the mean is noisy, in the tails the ends."""
    warnings = []
    noisy = {"bulk": "its mean and median are", "tail": "the ends of its interval are"}
    for kind, figures in noisy.items():
        sizes = table[f"ess_{kind}"]
        below = sizes.index[sizes < _ESS_LIMIT]
        if below.empty:
            continue
        least = float(sizes.min())
        wanted = _round_up(1.25 * draws * _ESS_LIMIT / max(least, 1.0))
        before = "" if rests else " before reporting this parameter"
        advice = f"Ask for about draws={wanted}{before}."
        if wanted > _HOPELESS * draws:
            advice = (
                "The chains hardly move: ask for tune=2000, or give the SDs a tighter prior: "
                f"{_TIGHTER}."
            )
        warnings.append(
            f"the effective sample size in the {kind} is {least:.0f} for "
            f"{_named(sizes.idxmin(), len(below))} (should be at least {_ESS_LIMIT}): {figures} "
            f"noisy. {advice}"
        )
    return warnings


def _round_up(n: float) -> int:
    """Round up to two figures."""
    step = 10 ** max(int(np.floor(np.log10(n))) - 1, 0)
    return int(np.ceil(n / step) * step)


def _named(label: object, count: int) -> str:
    """Name the worst quantity, and how many are as bad."""
    name = repr(str(label).replace(" | ", ", "))
    return name if count == 1 else f"{name} and {count - 1} more"
