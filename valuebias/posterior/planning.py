"""How many models, prompts and words it takes: ``valuebias.design``."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import cpu_count
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from valuebias._core.progress import progress_bar
from valuebias.analysis.design.components import Components
from valuebias.analysis.design.priors import Prior
from valuebias.analysis.estimands.estimand import DIFFERENCE
from valuebias.analysis.estimands.mixtures import Mixture
from valuebias.analysis.estimands.rows import headline_combination
from valuebias.analysis.hierarchical import Model, make_problem
from valuebias.analysis.replication import Plan, expected_sd
from valuebias.datasets.simulate import DEFAULT_SD, simulate
from valuebias.errors import ValueBiasError, shown
from valuebias.posterior.estimates import check_prob
from valuebias.posterior.headline import LEAST_DOUBT, POWER, detectable
from valuebias.posterior.posterior import Posterior
from valuebias.schema.contract import NEUTRAL

__all__ = ["bases_needed", "design", "told_apart"]

Array = NDArray[np.float64]
Sizes = int | Sequence[int]

_LEAN = ("model_category", "base_category", "prompt_category", "model_prompt")
"""SDs that ``simulate`` states of a lean: of single categories they are less by √2."""
_MOST_BASES = 200
# An SD of what the scores of a design do not have.
_NOTHING = 1e-6
# More than a minute each, where they fit into memory at all.
_MOST_MODELS, _MOST_SCORES = 2_000, 10**8
_LARGEST = 1e6
"""Beyond which an effect, in units of the outcome, is a mistake."""


@dataclass(frozen=True)
class _Design:
    n_families: int
    n_bases: int
    n_models: int
    n_prompts: int
    n_words: int


def design(
    *,
    n_families: Sizes = 2,
    n_bases: Sizes = 5,
    n_models: Sizes = 1,
    n_prompts: Sizes = 54,
    n_words: Sizes | None = None,
    effect: float | Sequence[float] | None = None,
    like: Posterior | None = None,
    n_simulations: int = 200,
    prob: float = 0.9,
    seed: int | None = None,
    progress: bool = True,
) -> pd.DataFrame:
    """Predict what a fit of scores yet to be made would find: power, errors, width.

    Every combination of the sizes is a design. Scores are simulated from the hierarchy, and each
    crossing's posterior is found as :func:`fit` would.

    Parameters
    ----------
    n_families : int or sequence of int, default 2
        Families; the first two are compared.
    n_bases : int or sequence of int, default 5
        Bases of each family.
    n_models : int or sequence of int, default 1
        Models trained from each base.
    n_prompts : int or sequence of int, default 54
        Prompts, half of them positive.
    n_words : int or sequence of int, optional
        Words, split over two categories as in `like`; as many as there if not given, else 263.
    effect : float or sequence of float, optional
        The true difference in signed lean between the two families, in units of the outcome: that
        of the families of `like` if not given, else 0.1.
    like : Fit, optional
        A fit whose variances the scores are to have. Otherwise they are those of
        :func:`simulate`, near the paper's.
    n_simulations : int, default 200
        Simulated crossings per design and effect.
    prob : float, default 0.9
        Probability of the interval whose width is predicted.
    seed : int, optional
        Makes the simulations repeatable.
    progress : bool, default True
        Show a progress bar on standard error.

    Returns
    -------
    DataFrame
        One row per design and effect: the sizes, ``effect``, and ``power``, the probability that a
        fit leaves little doubt (``p_direction`` of .975 or more) about the right direction (of an
        effect of 0: about any), with its Monte Carlo error ``power_se``; ``type_s``, the share of
        the fits that leave little doubt whose direction is wrong; ``type_m``, by how much these
        exaggerate the effect on average; ``width`` of the interval on average, and ``coverage``,
        how often it holds the effect; ``mde``, the effect found with a power of 80%. With `like`
        these are at the posterior means of its SDs, and ``assurance`` is the power averaged over
        its posterior of them. NaN where no fit left little doubt.

    Raises
    ------
    ValueBiasError
        If a size is too small or another setting is wrong, or `like` has groups of models other
        than bases, does not say how much models differ, or compares no two families and `effect` is
        not given.

    Notes
    -----
    Source: Gelman and Carlin 2014, *Perspectives on Psychological Science* 9, 641–651 (errors of
    type S and M); O'Hagan, Stevens and Campbell 2005, *Pharmaceutical Statistics* 4, 187–201
    (assurance). The minimum detectable effect shifts the simulated estimates, as the variances do
    not depend on the effect.

    Examples
    --------
    >>> import valuebias
    >>> table = valuebias.design(
    ...     n_bases=[2, 6], n_prompts=6, n_words=20, effect=0.3, n_simulations=20, seed=1,
    ...     progress=False,
    ... )
    >>> bool(table["width"][0] > table["width"][1])
    True
    """
    _check_like(like)
    sizes = {
        "n_families": _whole("n_families", n_families, 2),
        "n_bases": _whole("n_bases", n_bases, 1),
        "n_models": _whole("n_models", n_models, 1),
        "n_prompts": _whole("n_prompts", n_prompts, 1),
        "n_words": _whole("n_words", _default_words(like) if n_words is None else n_words, 2),
    }
    effects = _effects(_default_effect(like) if effect is None else effect)
    (n_simulations,) = _whole("n_simulations", n_simulations, 2)
    check_prob(prob)
    whole = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
    if seed is not None and (not whole or seed < 0):
        raise ValueBiasError(f"seed must be a whole number of 0 or more, found {shown(seed)}.")
    entropy = secrets.randbits(32) if seed is None else int(seed)
    designs = [_Design(*combination) for combination in itertools.product(*sizes.values())]
    for one in designs:
        _check_extent(one)
    kinds = 1 if like is None else 2
    total = len(designs) * len(effects) * kinds * n_simulations
    rows = []
    done = 0
    with (
        ThreadPoolExecutor(cpu_count()) as pool,
        progress_bar("simulating", shown=progress) as advance,
    ):
        for i, one in enumerate(designs):
            plan = make_plan(one, like)
            typical, uncertain = _variances(plan.problem.components, like)
            for true in effects:
                posteriors: list[list[Mixture]] = []
                for k in range(kinds):
                    tasks = [
                        pool.submit(
                            _replicate,
                            plan,
                            typical if k == 0 else uncertain[s * len(uncertain) // n_simulations],
                            float(true),
                            # The same random numbers for every effect, so that these compare.
                            [entropy, i, k, s],
                        )
                        for s in range(n_simulations)
                    ]
                    posteriors.append([])
                    for task in tasks:
                        posteriors[-1].append(task.result())
                        done += 1
                        if advance is not None:
                            advance(done, total)
                row = {
                    **vars(one),
                    "effect": float(true),
                    **_summary(posteriors[0], float(true), prob),
                }
                if like is not None:
                    row["assurance"] = _power(posteriors[1], float(true))
                rows.append(row | {"n_simulations": n_simulations})
    table = pd.DataFrame(rows)
    table.attrs |= {"prob": prob, "seed": entropy}
    return table


def _replicate(plan: Plan, v: Array, effect: float, seed: list[int]) -> Mixture:
    rng = np.random.default_rng(seed)
    return plan.posterior(plan.simulate(v, effect, rng), rng)


def bases_needed(fit: Posterior, effect: float) -> int | None:
    """Bases of each family, with one model each, to find an effect with a power of 80%.

    None where even the largest number tried would not do, since words and prompts stay these.
    """
    n_prompts, n_words = fit.data.sizes["prompt"], fit.data.sizes["response"]

    def short(n_bases: int) -> bool:
        plan = make_plan(_Design(2, n_bases, 1, n_prompts, n_words), fit)
        typical, _ = _variances(plan.problem.components, fit)
        return detectable(float(expected_sd(plan, typical[None])[0])) > abs(effect)

    low, high = 1, 2
    while high <= _MOST_BASES and short(high):
        low, high = high, 2 * high
    if high > _MOST_BASES:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if short(middle) else (low, middle)
    return high


def told_apart(fit: Posterior) -> bool:
    """Whether the data say how much models of a kind differ."""
    return "model_word" in fit.problem.components


def make_plan(design: _Design, like: Posterior | None) -> Plan:
    """Lay out the crossing of a design, with a fit's framings and priors of effects."""
    names = [f"family {i + 1}" for i in range(design.n_families)]
    # Only the shape of these scores counts, and the unit of their priors.
    framings = ("positive", "negative") if like is None else like.problem.crossing.framings
    scores = simulate(
        n_models={name: [design.n_models] * design.n_bases for name in names},
        n_prompts=design.n_prompts * (3 - len(framings)),
        n_words=_split_words(design.n_words, like),
        effects=dict.fromkeys(names, 0.0),
        seed=0,
    )
    if framings == (NEUTRAL,):
        scores = scores.assign_coords(framing=("prompt", [NEUTRAL] * scores.sizes["prompt"]))
    # Prompts of one framing are all of it, as in the fit.
    scores = scores.isel(prompt=np.isin(scores["framing"].to_numpy().astype(str), framings))
    prior = None if like is None else like.prior
    scale = None if like is None else like.problem.crossing.scale
    kept = None if prior is None else Prior(
        {}, prior.mean, prior.effect, prior.correlation, prior.spread
    )  # fmt: skip
    problem = make_problem(scores, Model("~ family", "raw"), kept, scale=scale)
    return Plan(problem, headline_combination(problem.crossing, None))


def _variances(components: Components, like: Posterior | None) -> tuple[Array, Array]:
    """Typical variances (variance,) of a design, and draws of them (draw, variance)."""
    if like is None:
        known = {"word_family": "word:family"}
        values = {
            known.get(name, name): value / np.sqrt(2) if name in _LEAN else value
            for name, value in DEFAULT_SD.items()
        }
        sds = {name: np.full((1, 2), value) for name, value in values.items()}
        correlations: dict[str, Array] = {}
    else:
        of = like.problem.components
        sds = {name: like.sd[:, i] for i, name in enumerate(of.names)}
        flat = like.tree["posterior"]["correlation"].to_numpy().reshape(len(like.sd), -1)
        correlations = {name: flat[:, i] for i, name in enumerate(of.correlated)}
        for name in list(sds):
            if name.startswith("word:"):
                sds["word:family"] = sds[name]
                correlations["word:family"] = correlations.get(name, np.zeros(len(like.sd)))
    # Where no two models share a base, its effect is a part of theirs.
    for level in ("category", "word"):
        if f"base_{level}" in sds and f"base_{level}" not in components:
            model_sd, base = sds[f"model_{level}"], sds.pop(f"base_{level}")
            sds[f"model_{level}"] = np.sqrt(model_sd**2 + base**2)
    n_draws = len(next(iter(sds.values())))
    nothing = np.full((n_draws, components.n_framings), _NOTHING)
    sd = np.stack(
        [sds.get(name, nothing)[:, : components.n_framings] for name in components.names], 1
    )
    correlation = np.stack(
        [correlations.get(name, np.zeros(n_draws)) for name in components.correlated], 1
    ) if components.correlated else np.zeros((n_draws, 0))  # fmt: skip
    n_kinds = max(len(components.space.kinds), 1)
    drawn = components.variances(sd, correlation, np.ones((n_draws, 2, n_kinds)))
    typical = components.variances(sd.mean(axis=0), correlation.mean(axis=0), np.ones((2, n_kinds)))
    return typical, drawn


def _summary(posteriors: list[Mixture], effect: float, prob: float) -> dict[str, float]:
    """Summarise the posteriors of one design."""
    means = np.array([mixture.mean for mixture in posteriors])
    sure = np.array([_sure(mixture, effect) for mixture in posteriors])
    tail = (1 - prob) / 2
    ends = np.array([[m.quantile(tail), m.quantile(1 - tail)] for m in posteriors])
    power = float((sure > 0).mean())
    said = np.abs(sure) > 0
    return {
        "power": power,
        "power_se": float(np.sqrt(max(power * (1 - power), 1 / len(posteriors)) / len(posteriors))),
        "type_s": float((sure[said] < 0).mean()) if said.any() and effect else np.nan,
        "type_m": float(np.abs(means[said] / effect).mean()) if said.any() and effect else np.nan,
        "width": float((ends[:, 1] - ends[:, 0]).mean()),
        "coverage": float(((ends[:, 0] <= effect) & (effect <= ends[:, 1])).mean()),
        "mde": _mde(posteriors, effect),
    }


def _sure(mixture: Mixture, effect: float) -> int:
    """Return 1 where there is little doubt about the right direction, −1 about the wrong one."""
    positive = 1 - mixture.below(0.0)
    if max(positive, 1 - positive) < LEAST_DOUBT:
        return 0
    return 1 if not effect or (positive > 0.5) == (effect > 0) else -1


def _power(posteriors: list[Mixture], effect: float) -> float:
    return float(np.mean([_sure(mixture, effect) > 0 for mixture in posteriors]))


def _mde(posteriors: list[Mixture], effect: float) -> float:
    """Effect that is found with a power of 80%: the estimates shifted until it is."""
    # A shift at which each posterior would just leave little doubt.
    needed = [effect - mixture.quantile(1 - LEAST_DOUBT) for mixture in posteriors]
    return float(np.quantile(needed, POWER))


def _default_words(like: Posterior | None) -> int:
    return 263 if like is None else int(like.data.sizes["response"])


def _default_effect(like: Posterior | None) -> float:
    """Return the difference of a fit's families, whatever stands in front of it."""
    if like is None:
        return 0.1
    table = like.focused(by=[], at={}).contrasts()
    families = (table["form"] == DIFFERENCE) & (table["variable"] == "family")
    framing, category = table["framing"].iloc[0], table["category"].iloc[0]
    same = (table["framing"] == framing) & (table["category"] == category)
    rows = table[families & same & (table["variant"] == "")]
    # Of several pairs the one in front is chosen, by the user or as the largest.
    if len(rows) == 1 or (len(rows) and families.iloc[0]):
        return float(rows["mean"].iloc[0])
    problem = "compares no two families" if rows.empty else "has several pairs of families"
    front = f"{table['estimand'].iloc[0]} of {table['name'].iloc[0]}"
    raise ValueBiasError(
        f"the fit {problem}, and in front of it is the {front}, so that it does not say which "
        "difference to plan for; give effect=, such as 0.1, in units of its outcome."
    )


def _effects(effect: Any) -> Array:
    """Check an effect, or several."""
    values = list(effect) if isinstance(effect, Sequence | np.ndarray) else [effect]
    right = [
        isinstance(x, int | float | np.number)
        and not isinstance(x, bool)
        and abs(float(x)) < _LARGEST
        for x in values
    ]
    if not values or isinstance(effect, str) or not all(right):
        raise ValueBiasError(
            f"effect must be a number below {_LARGEST:,.0f}, or several, found {shown(effect)}."
        )
    return np.array(values, dtype=float)


def _split_words(n_words: int, like: Posterior | None) -> Mapping[str, int]:
    """Split the words over the two categories that the headline compares."""
    share = 104 / 263
    if like is not None:
        crossing = like.problem.crossing
        pair = next(iter(like.categories))
        at = [crossing.categories.index(name) for name in pair if name in crossing.categories]
        if len(at) == 2:
            parts = crossing.belongs / crossing.belongs.sum(axis=1, keepdims=True)
            first, second = parts.sum(axis=0)[at]
            share = float(first / (first + second))
    first = int(np.clip(round(share * n_words), 1, n_words - 1))
    return {"first": first, "second": n_words - first}


def _check_like(like: object) -> None:
    if like is None:
        return
    if not isinstance(like, Posterior):
        raise ValueBiasError(f"like must be a fit, found {shown(like)}; see valuebias.fit.")
    like.require_words("design(like=…) plans studies of words")
    like.require_gaussian("design(like=…)")
    if not told_apart(like):
        raise ValueBiasError(
            "the fit's formula has as many columns as there are models, so that it does not say "
            "how much models differ; give a fit of more models, or leave like= out."
        )
    others = [g.name for g in like.problem.crossing.space.groups if g.name != "base"]
    if others:
        raise ValueBiasError(
            f"the fit's models share {others[0]!r}, which a design cannot lay out; give a fit with "
            "bases alone, or leave like= out."
        )


def _check_extent(one: _Design) -> None:
    """Refuse what no memory holds, before anything is laid out."""
    models = one.n_families * one.n_bases * one.n_models
    scores = models * one.n_prompts * one.n_words
    if models > _MOST_MODELS or scores > _MOST_SCORES:
        raise ValueBiasError(
            f"a design of {models:,} models, {one.n_prompts:,} prompts and {one.n_words:,} words "
            f"has {scores:,} scores; at most {_MOST_MODELS:,} models and {_MOST_SCORES:,} scores "
            "are simulated."
        )


def _whole(name: str, value: Any, least: int) -> list[int]:
    """Check a size, or several."""
    values = list(value) if isinstance(value, Sequence | np.ndarray) else [value]
    right = [
        isinstance(n, int | np.integer) and not isinstance(n, bool) and n >= least for n in values
    ]
    if not values or not all(right):
        raise ValueBiasError(
            f"{name} must be a whole number of {least} or more, or several, found {shown(value)}."
        )
    return [int(n) for n in values]
