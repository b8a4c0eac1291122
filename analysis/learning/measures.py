"""What choices show by themselves: accuracy, and whether relative value decides in the transfer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy.stats import t as student

from valuebias._core.checks import check_known, check_number
from valuebias.errors import ValueBiasError, did_you_mean, shown
from valuebias.schema.choices import PHASES, has_trial, validate_choices

__all__ = ["MEASURES", "choice_measures"]

Array = NDArray[np.float64]

MEASURES = ("training accuracy", "transfer accuracy", "relative choice", "first option")
"""The share of better options by expected outcome, in either phase; of relatively better ones in
the transfer, where the two disagree; and of the option that is named first."""
_ROUNDING = 1e-9
_SIDES = ("first", "second")


def choice_measures(
    choices: xr.Dataset,
    *,
    by: str | Sequence[str] = "model",
    measures: Sequence[str] | None = None,
    prob: float = 0.9,
) -> pd.DataFrame:
    """Measure choices without a learning model.

    Parameters
    ----------
    choices : xarray.Dataset
        What :func:`valuebias.choices` or :func:`valuebias.read_choices` gave.
    by : str or sequence of str, default "model"
        A coordinate of models or tasks, or several: ``"family"``, ``("model", "style")``.
    measures : sequence of str, optional
        Those wanted; if not given all, without those of the transfer where there is none.
    prob : float, default 0.9
        Probability of the intervals.

    Returns
    -------
    pandas.DataFrame
        One row per group and measure. ``"training accuracy"`` and ``"transfer accuracy"``: how
        often the option with the higher expected outcome is chosen. ``"relative choice"``: in the
        transfer, where the option that is better within its own context is the worse one of the
        two, how often it is chosen: 0 where absolute values decide, 1 where relative ones do.
        ``"first option"``: how often the option that is named first is chosen, 1/2 without a bias
        for places. ``mean``, ``se``, ``lower``, ``upper``, ``n`` trials and ``n_tasks``. Standard
        errors take tasks as independent clusters, and are of the models at hand. Where all tasks
        have one mean, the interval is Clopper and Pearson's, of so many tasks.

    Raises
    ------
    ValueBiasError
        If `by` names no coordinate of models or tasks, a measure is not known, or one of the
        transfer is asked for and there is no transfer phase.

    Examples
    --------
    >>> import valuebias
    >>> task = valuebias.bandit_task(trials=6, tasks=3, seed=1)
    >>> made = valuebias.simulate_choices(task, value="relative", seed=1)
    >>> table = valuebias.choice_measures(made)
    >>> table["measure"].tolist()
    ['training accuracy', 'transfer accuracy', 'relative choice', 'first option']
    """
    validate_choices(choices)
    check_number(prob, "prob", "a number between 0 and 1", least=0, most=1, above=True, below=True)
    names = [by] if isinstance(by, str) else list(by)
    groups = [_groups(choices, name) for name in names]
    chose = choices["chose_first"].transpose("model", "task", "trial").to_numpy()
    quantities = _wanted(choices, measures)
    shape = chose.shape
    labels = [np.broadcast_to(g, shape[:2]) for g in groups]
    keys = list(dict.fromkeys(zip(*(one.ravel().tolist() for one in labels), strict=True)))
    task = np.broadcast_to(np.arange(shape[1])[:, None], shape[1:])
    rows = []
    for key in keys:
        inside = np.logical_and.reduce([lab == k for lab, k in zip(labels, key, strict=True)])
        for measure, better in quantities.items():
            counted = inside[..., None] & np.isfinite(chose) & np.isfinite(better)
            values = np.where(better == 1, chose, 1 - chose)
            at = np.broadcast_to(task, shape)
            row = _mean(values[counted], at[counted], prob)
            rows.append({**dict(zip(names, key, strict=True)), "measure": measure, **row})
    return pd.DataFrame(rows)


def _wanted(choices: xr.Dataset, measures: Sequence[str] | None) -> dict[str, Array]:
    """Choose measures; refuse those of the transfer where there is none."""
    found = _measured(choices)
    if measures is None:
        return found
    for name in measures:
        check_known(name, MEASURES, f"There is no measure {shown(name)}.")
        if name not in found:
            raise ValueBiasError(
                f"{name!r} is of the transfer phase, and the choices have none, so that absolute "
                "and relative values never disagree. Ask for one: valuebias.bandit_task(..., "
                "transfer=True)."
            )
    return {name: found[name] for name in measures}


def _measured(choices: xr.Dataset) -> dict[str, Array]:
    """Say of each trial whether its first option is the one that a measure counts; NaN = neither.

    Without a transfer phase its measures are left out.
    """
    there = has_trial(choices)
    absolute, relative = _values(choices, there)
    phase = choices["phase"].transpose("task", "trial").to_numpy()
    sign = {name: np.where(there, np.sign(v[..., 0] - v[..., 1]), np.nan)
            for name, v in (("absolute", absolute), ("relative", relative))}  # fmt: skip
    better = np.where(sign["absolute"] == 0, np.nan, sign["absolute"] > 0)
    disagree = sign["absolute"] * sign["relative"] < 0
    in_transfer = phase == PHASES[1]
    out = {MEASURES[0]: np.where(phase == PHASES[0], better, np.nan)}
    if in_transfer.any():
        out[MEASURES[1]] = np.where(in_transfer, better, np.nan)
        out[MEASURES[2]] = np.where(in_transfer & disagree, sign["relative"] > 0, np.nan)
    out[MEASURES[3]] = np.where(there, 1.0, np.nan)
    return out


def _values(choices: xr.Dataset, there: NDArray[np.bool_]) -> tuple[Array, Array]:
    """Give the expected outcomes of offered options, and those less the mean of their contexts.

    Where expected outcomes are not known, they are means of the task's training.
    """
    of = {name: choices[name].transpose("task", "trial").to_numpy()
          for side in _SIDES for name in (side, f"{side}_value", f"{side}_outcome")}  # fmt: skip
    phase = choices["phase"].transpose("task", "trial").to_numpy()
    context = choices["context"].transpose("task", "trial").to_numpy()
    shape = (*there.shape, 2)
    absolute, relative = np.full(shape, np.nan), np.full(shape, np.nan)
    for t in range(len(there)):
        training = np.flatnonzero(there[t] & (phase[t] == PHASES[0]))
        held: dict[str, list[float]] = {}
        pairs: dict[str, set[str]] = {}
        for i in training:
            for side in _SIDES:
                option = str(of[side][t, i])
                stated = of[f"{side}_value"][t, i]
                told = stated if np.isfinite(stated) else of[f"{side}_outcome"][t, i]
                held.setdefault(option, []).append(float(told))
                pairs.setdefault(str(context[t, i]), set()).add(option)
        value = {option: float(np.mean(all_)) for option, all_ in held.items()}
        apart: dict[str, list[float]] = {}
        for pair in pairs.values():
            middle = float(np.mean([value[option] for option in pair]))
            for option in pair:
                apart.setdefault(option, []).append(value[option] - middle)
        for i in np.flatnonzero(there[t]):
            for k, side in enumerate(_SIDES):
                option = str(of[side][t, i])
                if option in value:
                    absolute[t, i, k] = value[option]
                    relative[t, i, k] = float(np.mean(apart[option]))
    # Sums of the same numbers in another order differ in the last bit.
    return np.asarray(absolute.round(9)), np.asarray(relative.round(9))


def _groups(choices: xr.Dataset, name: Any) -> NDArray[Any]:
    """Give a coordinate of models or tasks, in the shape (model, task)."""
    known = [str(c) for c, v in choices.coords.items() if v.dims in (("model",), ("task",))]
    if name not in known:
        raise ValueBiasError(f"by is {shown(name)}. {did_you_mean(name, known)}")
    values = choices[name].to_numpy()
    return np.asarray(values[:, None] if choices[name].dims == ("model",) else values[None])


def _mean(values: Array, cluster: NDArray[np.intp], prob: float) -> dict[str, Any]:
    """Give a mean with the standard error of clusters, CR1, and an interval of Student's t."""
    names, at = np.unique(cluster, return_inverse=True)
    n, g = len(values), len(names)
    mean = float(values.mean()) if n else np.nan
    se = np.nan
    if g > 1:
        sums = np.bincount(at, weights=values - mean, minlength=g)
        se = float(np.sqrt(g / (g - 1) * (sums**2).sum()) / n)
    if g > 1 and se < _ROUNDING:
        # All tasks agree, and still others may not: Clopper and Pearson's interval.
        share = 1 - (0.5 - prob / 2) ** (1 / g)
        lower, upper = mean * (1 - share), mean + (1 - mean) * share
        return {"mean": mean, "se": se, "lower": lower, "upper": upper, "n": n, "n_tasks": g}
    half = se * float(student.ppf(0.5 + prob / 2, max(g - 1, 1)))
    ends = np.clip([mean - half, mean + half], 0, 1)
    return {"mean": mean, "se": se, "lower": ends[0], "upper": ends[1], "n": n, "n_tasks": g}
