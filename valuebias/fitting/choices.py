"""Fit reinforcement-learning models to choices: ``valuebias.fit_choices(choices)``."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from valuebias._core.checks import check_known, check_whole
from valuebias.analysis.learning.likelihood import check_enough, maximise
from valuebias.analysis.learning.rules import make_rule
from valuebias.analysis.learning.sequences import outcome_range as range_of
from valuebias.analysis.learning.sequences import pack_sequences
from valuebias.errors import ValueBiasError, few, shown
from valuebias.fitting.choice_fit import ChoiceFit
from valuebias.schema.choices import validate_choices

__all__ = ["fit_choices"]


def fit_choices(
    choices: xr.Dataset,
    *,
    value: str = "relative",
    learning_rates: int = 1,
    split: str = "confirmation",
    method: str = "likelihood",
    initial: float | None = None,
    outcome_range: tuple[float, float] | None = None,
    starts: int = 8,
    draws: int = 1000,
    tune: int = 1000,
    chains: int = 4,
    cores: int | None = None,
    seed: int = 0,
) -> ChoiceFit:
    """Fit Q-learning with complete feedback to choices between two options.

    Every task begins anew. After a training trial both options' values move towards their outcomes:
    Q ← Q + α (r − Q). The first option is chosen with probability 1 / (1 + exp(−β (Q₁ − Q₂))).

    Parameters
    ----------
    choices : xarray.Dataset
        What :func:`valuebias.choices`, :func:`valuebias.read_choices` or
        :func:`valuebias.simulate_choices` gave; sampled, observed or expected.
    value : {"absolute", "relative", "centred", "mixed"}
        What r is. ``"absolute"``: the outcome, from 0 for the lowest to 1 for the highest there is.
        ``"relative"``: the outcome over the range of both in the trial: 1 for the better one, 0 for
        the worse, 1/2 where they are alike. ``"centred"``: the absolute value less the mean of
        both. ``"mixed"``: ω relative + (1 − ω) absolute; ω is the ``relative_weight``.
    learning_rates : {1, 2}
        One α, or two.
    split : {"confirmation", "sign"}
        When the first of two holds. ``"confirmation"``: where the outcome speaks for the choice,
        which is a positive prediction error of the chosen option or a negative one of the other;
        of expected choices the rate is the expectation. ``"sign"``: where a prediction error is
        positive.
    method : {"likelihood", "hierarchical"}
        Maximum likelihood, each model by itself; or a posterior in which models are partially
        pooled by family (coordinate ``family``), and families around a common mean.
    initial : float, optional
        What options are worth at first; 1/2, or 0 of centred values, if not given.
    outcome_range : pair of float, optional
        The outcomes that stand for 0 and 1; the lowest and highest in the choices, if not given.
    starts : int, default 8
        From how many starting points the likelihood is maximised.
    draws, tune, chains : int
        Of a hierarchical fit: draws kept and for tuning, of each chain, and how many chains.
    cores : int, optional
        How many chains run at once.
    seed : int, default 0
        Of starts and draws.

    Returns
    -------
    ChoiceFit
        Estimates, predictions and fit.

    Raises
    ------
    ValueBiasError
        If the choices break their contract, a setting is unknown, there are fewer than five choices
        a parameter in a model, or no outcome differs from another.

    Notes
    -----
    Of *expected* choices, probabilities in place of draws, the likelihood is Σ p log q: estimates
    are what drawn choices would give on average, and standard errors those of one draw per trial.
    Which of two learning rates is confirmatory hangs on what was chosen; where a prompt does not
    tell a model its own choices, as those of :func:`valuebias.bandit_task` do not, the split
    supposes that it would choose the same again, and ``split="sign"`` needs no such thing.

    After Hayes, Yax and Palminteri (2024), arXiv:2401.14530 and arXiv:2405.11422.

    Examples
    --------
    >>> import valuebias
    >>> task = valuebias.bandit_task(trials=12, tasks=10, seed=1)
    >>> choices = valuebias.simulate_choices(task, value="relative", seed=1)
    >>> fits = [valuebias.fit_choices(choices, value=value) for value in ("absolute", "relative")]
    >>> fits[0].compare(fits[1]).index.tolist()
    ['relative, one rate', 'absolute, one rate']
    """
    validate_choices(choices)
    rule = make_rule(value, learning_rates, split, initial)
    check_known(method, ("likelihood", "hierarchical"), f"method is {shown(method)}.")
    for name, number, least in (
        ("starts", starts, 1), ("draws", draws, 4), ("tune", tune, 1), ("chains", chains, 1),
        ("seed", seed, 0),
    ):  # fmt: skip
        check_whole(number, name, least=least)
    if cores is not None:
        # The sampler would wait without end for none.
        check_whole(cores, "cores", least=1)
    sequences = pack_sequences(choices, rule, range_of(choices, outcome_range))
    check_enough(sequences, rule)
    families = _families(choices)
    common: dict[str, Any] = {
        "choices": choices, "rule": rule, "method": method, "sequences": sequences,
        "families": families,
    }  # fmt: skip
    if method == "likelihood":
        return ChoiceFit(
            **common, maxima=tuple(maximise(sequences, rule, starts=starts, seed=seed))
        )
    from valuebias.analysis.learning.hierarchy import build_pooled, sample_pooled

    known = tuple(dict.fromkeys(families))
    member = np.array([known.index(name) for name in families], dtype=np.intp)
    model = build_pooled(sequences, rule, member, known)
    pooled = sample_pooled(model, draws=draws, tune=tune, chains=chains, seed=seed, cores=cores)
    return ChoiceFit(**common, pooled=pooled)


def _families(choices: xr.Dataset) -> tuple[str, ...]:
    if "family" not in choices.coords:
        return ("all",) * choices.sizes["model"]
    names = [str(name) for name in choices["family"].to_numpy()]
    if "" in names:
        without = choices["model"].to_numpy()[[not name for name in names]]
        raise ValueBiasError(f"The models {few(map(str, without))} have no family; name one.")
    return tuple(names)
