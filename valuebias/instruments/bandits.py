"""Bandit tasks with complete feedback, as prompts: what happened so far, and which of two next."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from valuebias._core.checks import check_known, check_number, check_whole
from valuebias._core.notebooks import as_html
from valuebias._core.text import has_surrogate
from valuebias.errors import ValueBiasError, few, shown
from valuebias.instruments.prompts import PromptSet
from valuebias.schema.choices import PHASES

__all__ = ["BanditTask", "bandit_task"]

Option = float | Mapping[float, float]

STYLES = ("standard", "comparisons")
ORDERS = ("interleaved", "blocked")
_CONTEXTS: Mapping[str, tuple[Option, Option]] = {
    "large": ({10: 0.75, 0: 0.25}, {10: 0.25, 0: 0.75}),
    "small": ({1: 0.75, 0: 0.25}, {1: 0.25, 0: 0.75}),
}
_LETTERS = "FJKMPQRTVWXZBCDGHLNSYAEIOU"
_MOST_ROUNDS, _MOST_TEXT = 1000, 200_000_000
_OPENING = (
    "You choose between boxes that hold {unit}. Each box is marked with a letter. In every round "
    "two of the boxes are offered and you open one of them; afterwards you learn what both of "
    "them held. Collect as many {unit} as you can."
)
_QUESTION = (
    "Round {round}. Box {first} and box {second} are offered. Which one do you open? Reply with "
    "its letter alone."
)


@dataclass(frozen=True, slots=True, eq=False)
class BanditTask:
    """Bandit tasks as prompts; :func:`valuebias.bandit_task` makes them.

    Attributes
    ----------
    name : str
        What the tasks are called; each is this and its number.
    prompts : PromptSet
        What is asked, each text once. It goes to ``valuebias.score(..., prompts=task.prompts)``.
    labels : tuple of str
        The letters that the options are marked with, the possible answers:
        ``valuebias.score(..., lexicon=task.labels)``.
    options : pandas.DataFrame
        One row per option, named by the index: ``context``, ``value`` (the expected outcome) and
        ``relative_value`` (that less the mean of its context).
    trials : pandas.DataFrame
        One row per trial: ``task``, ``trial``, ``phase``, ``context``, the options ``first`` and
        ``second`` with their labels, outcomes (none in the transfer) and expected values, and
        ``prompt``, the name of what is asked.
    style : {"standard", "comparisons"}
        How the history is told.

    Examples
    --------
    >>> task = bandit_task(trials=2, seed=1)
    >>> task
    <BanditTask 'bandit': 1 task, 2 contexts, 4 trials of training and 8 of transfer>
    """

    name: str
    prompts: PromptSet = field(repr=False)
    labels: tuple[str, ...]
    options: pd.DataFrame = field(repr=False)
    trials: pd.DataFrame = field(repr=False)
    style: str

    def __repr__(self) -> str:
        """Count what there is."""
        n = self.trials["task"].nunique()
        first = self.trials[self.trials["task"] == self.trials["task"].iloc[0]]
        training, transfer = (int((first["phase"] == phase).sum()) for phase in PHASES)
        k = self.options["context"].nunique()
        return (
            f"<BanditTask {self.name!r}: {n} task{'s' * (n != 1)}, "
            f"{k} context{'s' * (k != 1)}, {training} trials of training and "
            f"{transfer} of transfer>"
        )

    def _repr_html_(self) -> str:
        """Show the options and the longest prompt in a notebook."""
        texts = self.prompts.table["text"]
        longest = str(texts.iloc[int(texts.str.len().to_numpy().argmax())])
        table = self.options.rename_axis("option").reset_index()
        return as_html(repr(self).strip("<>"), table, *longest.split("\n"))


def bandit_task(
    contexts: Mapping[str, Sequence[Option]] | None = None,
    *,
    trials: int = 12,
    tasks: int = 1,
    order: str = "interleaved",
    transfer: bool | Sequence[tuple[str, str]] = True,
    style: str = "standard",
    labels: Sequence[str] | str | None = None,
    unit: str = "points",
    seed: int = 0,
    name: str = "bandit",
) -> BanditTask:
    """Make bandit tasks with complete feedback as a set of prompts.

    In each trial two options are offered, and the outcomes of both are told afterwards, so that a
    history does not depend on what was chosen: the prompts are the same for all models, and each
    begins as the one before it, which scoring computes once.

    Parameters
    ----------
    contexts : mapping of str to pair of options, optional
        Each context is two options that are offered together in training. An option is a number,
        its certain outcome, or a mapping of outcomes to probabilities: ``{10: 0.75, 0: 0.25}``. If
        not given, ``"large"`` has options of 10 or nothing and ``"small"`` of 1 or nothing, with
        probabilities of .75 and .25. Options are called by context and place, ``"large 1"``.
    trials : int, default 12
        How often each context is offered in training.
    tasks : int, default 1
        How many tasks: each has outcomes, letters, places and an order of its own. They are the
        units that standard errors rest on.
    order : {"interleaved", "blocked"}
        Whether contexts alternate, each once before any comes again, or follow one another.
    transfer : bool or sequence of pair of str
        What is offered after training, without outcomes: all pairs of options of different
        contexts, those named, or with False nothing. Each pair is asked for in both places.
    style : {"standard", "comparisons"}
        ``"standard"``: a past trial is told by the outcomes of both options. ``"comparisons"``: it
        also says which of the two did better.
    labels : sequence of str, optional
        What options are marked with, as many as there are options; letters if not given. A task
        deals them out at random.
    unit : str, default "points"
        What outcomes are counted in.
    seed : int, default 0
        Of outcomes, letters, places and orders.
    name : str, default "bandit"
        What the tasks are called.

    Returns
    -------
    BanditTask
        Prompts, labels and trials.

    Raises
    ------
    ValueBiasError
        If a context has not two options, an outcome is not finite, probabilities do not sum to one,
        the transfer names an option that there is not, or labels are alike or not enough.

    Notes
    -----
    The design follows Hayes, Yax and Palminteri (2024), Relative Value Biases in Large Language
    Models, arXiv:2401.14530; the wording is our own.

    Examples
    --------
    >>> task = bandit_task({"a": (10, 7), "b": (5, 2)}, trials=1, seed=1, style="comparisons")
    >>> for line in task.prompts.table["text"].iloc[-1].splitlines()[2:]:
    ...     print(line)
    Round 1. Box F held 7 points, box K held 10 points. Box K did better.
    Round 2. Box M held 2 points, box J held 5 points. Box J did better.
    Round 3. Box J and box F are offered. Which one do you open? Reply with its letter alone.
    """
    options, drawn = _options(_CONTEXTS if contexts is None else contexts)
    check_whole(trials, "trials", least=1)
    check_whole(tasks, "tasks", least=1)
    check_whole(seed, "seed", least=0)
    check_known(order, ORDERS, f"order is {shown(order)}.")
    check_known(style, STYLES, f"style is {shown(style)}.")
    for noun, text in (("name", name), ("unit", unit)):
        _check_text(text, noun)
    pairs = _pairs(transfer, options)
    marks = _labels(labels, len(options))
    n_contexts = options["context"].nunique()
    rounds = trials * n_contexts
    if rounds > _MOST_ROUNDS or tasks * (rounds + 2 * len(pairs)) * rounds * 40 > _MOST_TEXT:
        raise ValueBiasError(
            f"{tasks:,} tasks of {rounds:,} trials make prompts of too much text; expected at most "
            f"{_MOST_ROUNDS:,} trials a task and some {_MOST_TEXT // 1_000_000} MB in all. Ask for "
            "fewer trials or tasks."
        )
    rows: list[dict[str, Any]] = []
    told = _Told(style, unit)
    for number in range(1, tasks + 1):
        rng = np.random.default_rng([seed, number])
        called = f"{name} {number:0{len(str(tasks))}d}"
        dealt = dict(zip(options.index, rng.permutation(marks).tolist(), strict=True))
        made = _trials(options, drawn, pairs, trials, order, rng)
        rows += told.task(called, made, dealt, options["value"])
    table = pd.DataFrame(rows)
    prompts = PromptSet(name, told.prompts())
    return BanditTask(name, prompts, tuple(marks), options, table, style)


class _Told:
    """Tells histories, and gives every text a name once: tasks may begin alike."""

    def __init__(self, style: str, unit: str) -> None:
        self._style, self._unit = style, unit
        self._names: dict[str, str] = {}

    def task(
        self, called: str, made: list[dict[str, Any]], dealt: Mapping[str, str], value: Any
    ) -> list[dict[str, Any]]:
        """Add the prompts of a task, and give its rows."""
        said = [_OPENING.format(unit=self._unit), ""]
        rows = []
        rounds = sum(one["phase"] == PHASES[0] for one in made)
        for i, one in enumerate(made, start=1):
            letters = {side: dealt[one[side]] for side in ("first", "second")}
            asked = _QUESTION.format(round=min(i, rounds + 1), **letters)
            text = "\n".join([*said, asked])
            prompt = self._names.setdefault(text, f"{called}, trial {i}")
            row = {"task": called, "trial": i, **one}
            for side in ("first", "second"):
                row[f"{side}_label"] = letters[side]
                row[f"{side}_value"] = float(value[one[side]])
            rows.append({**row, "prompt": prompt})
            if one["phase"] == PHASES[0]:
                said.append(self._round(i, one, letters))
        return rows

    def _round(self, i: int, one: Mapping[str, Any], letters: Mapping[str, str]) -> str:
        held = [one["first_outcome"], one["second_outcome"]]
        parts = [
            f"box {letters[s]} held {v:g} {self._unit}" for s, v in zip(letters, held, strict=True)
        ]
        told = f"Round {i}. B{', '.join(parts)[1:]}."
        if self._style == STYLES[0]:
            return told
        if held[0] == held[1]:
            return f"{told} Both did the same."
        return f"{told} Box {letters['first' if held[0] > held[1] else 'second']} did better."

    def prompts(self) -> pd.DataFrame:
        """Give all texts by their names."""
        table = pd.DataFrame({"text": list(self._names)}, index=list(self._names.values()))
        return table.assign(framing="neutral").rename_axis("prompt")


def _trials(
    options: pd.DataFrame,
    drawn: Mapping[str, tuple[Any, Any]],
    pairs: Sequence[tuple[str, str]],
    trials: int,
    order: str,
    rng: np.random.Generator,
) -> list[dict[str, Any]]:
    """Draw one task: which context when, in which places, with which outcomes."""
    contexts = list(dict.fromkeys(options["context"]))
    if order == ORDERS[0]:
        cycle = [c for _ in range(trials) for c in rng.permutation(len(contexts))]
    else:
        cycle = np.repeat(rng.permutation(len(contexts)), trials).tolist()
    made: list[dict[str, Any]] = []
    for c in cycle:
        pair = options.index[options["context"] == contexts[c]].tolist()
        pair = [pair[i] for i in rng.permutation(2)]
        held = [float(rng.choice(drawn[o][0], p=drawn[o][1])) for o in pair]
        made.append(_trial(PHASES[0], contexts[c], pair, held))
    both = [list(way) for pair in pairs for way in (pair, pair[::-1])]
    nothing = [math.nan, math.nan]
    made += [_trial(PHASES[1], "", both[i], nothing) for i in rng.permutation(len(both))]
    return made


def _trial(phase: str, context: str, pair: list[str], held: list[float]) -> dict[str, Any]:
    return {
        "phase": phase, "context": context, "first": pair[0], "second": pair[1],
        "first_outcome": held[0], "second_outcome": held[1],
    }  # fmt: skip


def _options(contexts: Any) -> tuple[pd.DataFrame, dict[str, tuple[Any, Any]]]:
    """Check the contexts; give their options, and of each its outcomes and probabilities."""
    if not isinstance(contexts, Mapping) or not contexts:
        raise ValueBiasError(
            f"The contexts are {shown(contexts)}; expected a mapping of names to two options each, "
            "such as {'large': (10, 7), 'small': (5, 2)}."
        )
    rows: dict[str, dict[str, Any]] = {}
    drawn = {}
    for context, pair in contexts.items():
        _check_text(context, "name of a context")
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
            raise ValueBiasError(
                f"The context {context!r} has {shown(pair)}; expected two options, each an outcome "
                "or a mapping of outcomes to probabilities, such as ({10: 0.75, 0: 0.25}, 2)."
            )
        made = [_outcomes(option, f"{context} {i}") for i, option in enumerate(pair, start=1)]
        values = [float(np.dot(*one)) for one in made]
        for i, (one, value) in enumerate(zip(made, values, strict=True), start=1):
            rows[f"{context} {i}"] = {
                "context": context, "value": value, "relative_value": value - sum(values) / 2,
            }  # fmt: skip
            drawn[f"{context} {i}"] = one
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("option"), drawn


def _outcomes(option: Any, name: str) -> tuple[Any, Any]:
    given = option if isinstance(option, Mapping) else {option: 1.0}
    if not given:
        raise ValueBiasError(f"The option {name!r} has no outcomes; expected at least one.")
    for outcome, probability in given.items():
        said = f"of the option {name!r}"
        check_number(outcome, f"An outcome {said}", "a finite number", least=-1e12, most=1e12)
        check_number(probability, f"The probability of {outcome!r} {said}", "a number from 0 to 1",
                     least=0, most=1)  # fmt: skip
    total = math.fsum(given.values())
    if abs(total - 1) > 1e-6:
        raise ValueBiasError(
            f"The probabilities of the option {name!r} sum to {total:g}; expected 1."
        )
    outcomes, p = (np.array(list(part), dtype=float) for part in (given, given.values()))
    return outcomes, p / p.sum()


def _pairs(transfer: Any, options: pd.DataFrame) -> list[tuple[str, str]]:
    names, context = list(options.index), options["context"]
    if isinstance(transfer, bool):
        if not transfer:
            return []
        return [
            (a, b) for i, a in enumerate(names) for b in names[i + 1 :] if context[a] != context[b]
        ]
    if not isinstance(transfer, Sequence) or isinstance(transfer, str):
        raise ValueBiasError(
            f"transfer is {shown(transfer)}; expected True, False, or pairs of options, such as "
            f"[({names[0]!r}, {names[-1]!r})]."
        )
    pairs = []
    for pair in transfer:
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(set(pair)) != 2:
            raise ValueBiasError(
                f"A pair of the transfer is {shown(pair)}; expected two different options."
            )
        for option in pair:
            check_known(option, names, f"The transfer offers the option {shown(option)}.")
        pairs.append((str(pair[0]), str(pair[1])))
    if len({frozenset(pair) for pair in pairs}) < len(pairs):
        raise ValueBiasError(
            "A pair of the transfer occurs twice; expected each once, as both places are asked for."
        )
    return pairs


def _labels(labels: Any, n: int) -> list[str]:
    if labels is None:
        if n > len(_LETTERS):
            raise ValueBiasError(
                f"There are {n} options and {len(_LETTERS)} letters. Give labels=, one for each."
            )
        return list(_LETTERS[:n])
    marks = list(labels)
    for mark in marks:
        _check_text(mark, "label")
    if len(marks) != n or len(set(marks)) < n:
        raise ValueBiasError(
            f"The labels are {few(marks)}; expected {n} that differ, one for each option."
        )
    return marks


def _check_text(text: Any, noun: str) -> None:
    if not isinstance(text, str) or not text.strip() or has_surrogate(text) or "\n" in text:
        raise ValueBiasError(f"The {noun} is {shown(text)}; expected some text in one line.")
