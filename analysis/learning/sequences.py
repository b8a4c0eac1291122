"""Choices as the recursion reads them: sequences of trials, of one model and task each."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from valuebias.analysis.learning.recursion import N_PARAMETERS, SPLITS, recursion
from valuebias.analysis.learning.rules import LearningRule
from valuebias.errors import ValueBiasError, shown
from valuebias.schema.choices import has_trial

__all__ = ["Sequences", "outcome_range", "pack_sequences"]

Array = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Sequences:
    """Trials of all models and tasks, one sequence after the other."""

    models: tuple[str, ...]
    tasks: tuple[str, ...]
    owner: Integers  # (sequence,): whose
    task: Integers  # (sequence,): which task
    start: Integers  # (sequence + 1,): where its trials begin
    option: Integers  # (trial, 2)
    told: NDArray[np.bool_]  # (trial,)
    outcome: Array = field(repr=False)  # (trial, 2, 2): absolute and relative
    chose: Array = field(repr=False)  # (trial,)
    place: Integers = field(repr=False)  # (trial,): which trial of the task

    def __len__(self) -> int:
        """Count the sequences."""
        return len(self.owner)

    def n_choices(self) -> Integers:
        """Count the choices of each model."""
        known = np.isfinite(self.chose)
        owner = np.repeat(self.owner, np.diff(self.start))
        return np.bincount(owner[known], minlength=len(self.models)).astype(np.int64)

    def of_model(self, m: int) -> Sequences:
        """Keep those of one model."""
        return self.pick(np.flatnonzero(self.owner == m), (self.models[m],))

    def pick(self, which: NDArray[np.intp], models: tuple[str, ...]) -> Sequences:
        """Keep some sequences, all of one model."""
        trials = np.concatenate([np.arange(self.start[s], self.start[s + 1]) for s in which])
        lengths = np.diff(self.start)[which]
        return Sequences(
            models, self.tasks, np.zeros(len(which), dtype=np.int64), self.task[which],
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), self.option[trials],
            self.told[trials], self.outcome[trials], self.chose[trials], self.place[trials],
        )  # fmt: skip

    def run(self, rule: LearningRule, free: Array) -> tuple[Array, Array, Array]:
        """Give log-likelihoods by sequence, their gradient by free parameter, and probabilities."""
        value, gradient = np.empty(len(self)), np.empty((len(self), N_PARAMETERS))
        chance = np.empty(len(self.chose))
        recursion(
            rule.full(free), SPLITS.index(rule.split), rule.initial, self.owner, self.start,
            self.option, self.told, self.outcome, self.chose, value, gradient, chance,
        )  # fmt: skip
        return value, gradient[:, rule.columns], chance


def outcome_range(ds: xr.Dataset, given: tuple[float, float] | None) -> tuple[float, float]:
    """Give the outcomes that stand for absolute values of 0 and 1."""
    outcomes = np.stack([ds["first_outcome"].to_numpy(), ds["second_outcome"].to_numpy()])
    if given is not None:
        try:
            low, high = (float(end) for end in given)
        except (TypeError, ValueError) as error:
            raise ValueBiasError(
                f"outcome_range is {shown(given)}; expected two numbers, such as (0, 10)."
            ) from error
        if not (np.isfinite([low, high]).all() and low < high):
            raise ValueBiasError(
                f"outcome_range is {shown(given)}; expected two finite numbers, the lower first."
            )
        return low, high
    if not np.isfinite(outcomes).any():
        raise ValueBiasError(
            "No trial has outcomes, so that nothing can be learned; expected training trials with "
            "the outcomes of both options."
        )
    low, high = float(np.nanmin(outcomes)), float(np.nanmax(outcomes))
    if low == high:
        raise ValueBiasError(
            f"All outcomes are {low:g}, so that no option is better than another; expected some "
            "that differ."
        )
    return low, high


def pack_sequences(ds: xr.Dataset, rule: LearningRule, ends: tuple[float, float]) -> Sequences:
    """Lay out choices for a rule.

    Absolute values are outcomes from 0 to 1 over `ends`. The relative value of an outcome is 1
    where it is better than the other option's, 0 where it is worse and 1/2 where they are alike;
    of a centred rule it is the absolute value less the mean of both.
    """
    chose = ds["chose_first"].transpose("model", "task", "trial").to_numpy()
    there = has_trial(ds)
    names = np.stack([ds[s].transpose("task", "trial").to_numpy() for s in ("first", "second")], -1)
    outcome = np.stack(
        [ds[f"{s}_outcome"].transpose("task", "trial").to_numpy() for s in ("first", "second")], -1
    )
    told = np.isfinite(outcome).all(axis=-1) & there
    absolute = np.where(told[..., None], (outcome - ends[0]) / (ends[1] - ends[0]), 0.0)
    if rule.value == "centred":
        relative = absolute - absolute.mean(axis=-1, keepdims=True)
    else:
        relative = 0.5 + 0.5 * np.sign(absolute - absolute[..., ::-1])
    both = np.stack([absolute, relative], axis=-1)
    numbers = np.zeros(names.shape, dtype=np.int64)
    for t in range(len(names)):
        found: dict[str, int] = {}
        for i in np.flatnonzero(there[t]):
            numbers[t, i] = [found.setdefault(str(name), len(found)) for name in names[t, i]]
    asked = np.isfinite(chose) & there
    owner, task = np.nonzero(asked.any(axis=2))
    trials = [np.flatnonzero(there[t]) for t in task]
    lengths = [len(one) for one in trials]
    rows = np.repeat(task, lengths), np.concatenate(trials)
    return Sequences(
        models=tuple(str(name) for name in ds["model"].to_numpy()),
        tasks=tuple(str(name) for name in ds["task"].to_numpy()),
        owner=owner.astype(np.int64),
        task=task.astype(np.int64),
        start=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        option=numbers[rows],
        told=told[rows],
        outcome=both[rows],
        chose=chose[np.repeat(owner, lengths), rows[0], rows[1]].astype(float),
        place=rows[1].astype(np.int64),
    )
