"""Choices of learners whose parameters are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from valuebias._core.checks import check_known, check_number, check_whole
from valuebias.analysis.learning.rules import make_rule
from valuebias.analysis.learning.sequences import outcome_range, pack_sequences
from valuebias.errors import ValueBiasError, shown
from valuebias.instruments import BanditTask
from valuebias.schema.choices import build_choices

__all__ = ["simulate_choices"]

_DEFAULTS = {"learning_rate": 0.3, "inverse_temperature": 5.0, "relative_weight": 0.5}


def simulate_choices(
    task: BanditTask,
    *,
    value: str = "relative",
    learning_rates: int = 1,
    split: str = "confirmation",
    parameters: Mapping[str, float] | None = None,
    n_models: int | Mapping[str, int] = 1,
    expected: bool = False,
    seed: int = 0,
) -> xr.Dataset:
    """Simulate choices of Q-learners in bandit tasks.

    Parameters
    ----------
    task : BanditTask
        What is asked.
    value : {"absolute", "relative", "centred", "mixed"}
        How outcomes are valued, as :func:`valuebias.fit_choices` says.
    learning_rates : {1, 2}
        How many learning rates there are.
    split : {"confirmation", "sign"}
        When which of two learning rates holds.
    parameters : mapping of str to float, optional
        The parameters by the names that a fit's summary has. If not given, rates of .3, an inverse
        temperature of 5 and a relative weight of .5.
    n_models : int or mapping of str to int, default 1
        How many models, or how many of each family.
    expected : bool, default False
        Give the probabilities of choices in place of choices drawn from them.
    seed : int, default 0
        Of the draws.

    Returns
    -------
    xarray.Dataset
        Choices, as :func:`valuebias.choices` gives them.

    Raises
    ------
    ValueBiasError
        If a setting or parameter is not known or out of range.

    Examples
    --------
    >>> import valuebias
    >>> task = valuebias.bandit_task(trials=2, seed=1)
    >>> made = simulate_choices(task, n_models={"A": 2}, seed=1)
    >>> dict(made.sizes)
    {'model': 2, 'task': 1, 'trial': 12}
    """
    if not isinstance(task, BanditTask):
        raise ValueBiasError(
            f"The task is of type {type(task).__name__}; expected what valuebias.bandit_task(...) "
            "returned."
        )
    check_whole(seed, "seed", least=0)
    rule = make_rule(value, learning_rates, split, None)
    free = _free(rule.names, rule.bounds, parameters)
    counts = {"": n_models} if isinstance(n_models, int | np.integer) else n_models
    if not isinstance(counts, Mapping) or not counts:
        raise ValueBiasError(
            f"n_models is {shown(n_models)}; expected a number, or one for each family, such as "
            "{'A': 3, 'B': 3}."
        )
    parts = []
    for family, n in counts.items():
        check_whole(n, "n_models", least=1)
        for i in range(1, int(n) + 1):
            model = f"{family or 'model'}-{i}"
            parts.append(task.trials.assign(model=model, family=family or "simulated", p_first=0.5))
    table = pd.concat(parts, ignore_index=True).assign(style=task.style)
    ds = build_choices(table, how="expected" if expected else "sampled")
    sequences = pack_sequences(ds, rule, outcome_range(ds, None))
    every = np.tile(free, (len(sequences.models), 1))
    drawn = np.random.default_rng(seed).uniform(size=len(sequences.chose))
    # What was chosen may say how the next outcome is learned from.
    for place in range(int(sequences.place.max()) + 1):
        now = sequences.place == place
        chance = sequences.run(rule, every)[2][now]
        sequences.chose[now] = chance if expected else drawn[now] < chance
    owner = np.repeat(sequences.owner, np.diff(sequences.start))
    of_task = np.repeat(sequences.task, np.diff(sequences.start))
    chose = np.full(ds["chose_first"].shape, np.nan)
    chose[owner, of_task, sequences.place] = sequences.chose
    return ds.assign(chose_first=(("model", "task", "trial"), chose))


def _free(names: tuple[str, ...], bounds: Any, given: Mapping[str, float] | None) -> Any:
    chosen = {name: _DEFAULTS.get(name, _DEFAULTS["learning_rate"]) for name in names}
    for name, number in (given or {}).items():
        check_known(name, names, f"There is no parameter {shown(name)}.")
        low, high = bounds[names.index(name)]
        check_number(number, str(name), f"a number from {low:g} to {high:g}", least=low, most=high)
        chosen[name] = float(number)
    return np.array([chosen[name] for name in names])
