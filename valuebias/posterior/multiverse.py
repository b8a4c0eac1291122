"""The headline under every combination of choices: ``valuebias.multiverse``."""

from __future__ import annotations

import hashlib
import itertools
import os
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from valuebias._core.progress import progress_bar
from valuebias.analysis.design.priors import Prior
from valuebias.analysis.estimands.estimand import DIFFERENCE
from valuebias.analysis.estimands.weights import Contrast, read_contrast, store_contrast
from valuebias.errors import ValueBiasError, ValueBiasWarning, few, shown
from valuebias.posterior.estimate import estimate
from valuebias.posterior.headline import LEAST_DOUBT
from valuebias.posterior.multiverse_choices import (
    by_name,
    is_whole,
    read_lexicons,
    read_priors,
    read_prompts,
    subset,
)
from valuebias.posterior.multiverse_folder import keep, prepare, read_seed, stored
from valuebias.posterior.posterior import Posterior
from valuebias.posterior.wording import percent
from valuebias.schema import validate

__all__ = ["CHOICES", "Multiverse", "multiverse"]

CHOICES = ("outcome", "formula", "base", "words", "lexicon", "prompts", "prior")
_NUMBERS = ("mean", "sd", "lower", "upper", "p_direction", "p_rope")
_SAMPLER = {"draws": 500, "tune": None, "chains": 2, "sampler": "hmc"}
_PROB = 0.9
_OTHER = "does not compare these: "
_PARTS = ("form", "variable", "first", "second", "framing")


@dataclass(frozen=True, eq=False, repr=False)
class Multiverse:
    """The headline of every specification; printed, its text.

    Parameters
    ----------
    table : DataFrame
        One row per specification, in the order of the estimates: its choices, ``name`` and
        ``category`` (what is compared), ``mean``, ``sd``, ``lower``, ``upper``, ``p_direction``,
        ``p_rope`` in SDs of the outcome, ``positive`` (the probability that it is), ``converged``,
        ``first`` (whether it is the specification that all others are compared with),
        ``duplicate`` (whether it is the same fit as an earlier one, so that it does not count) and
        ``error``, why there is no estimate.

    Examples
    --------
    >>> import valuebias
    >>> data = valuebias.datasets.load("simulated")
    >>> made = valuebias.multiverse(
    ...     data, outcomes=["normal", "z"], bases=["base"], lexicons=None, prompts=None,
    ...     priors={"default": None}, seed=1, progress=False,
    ... )
    >>> made.table["outcome"].sort_values().tolist()
    ['normal', 'z']
    """

    table: pd.DataFrame = field(repr=False)

    def __str__(self) -> str:
        firsts = self.table[self.table["first"]]
        if firsts.empty or firsts.iloc[0]["error"]:
            why = "it is not among them" if firsts.empty else firsts.iloc[0]["error"]
            return (
                f"There is no estimate of the specification that all {len(self.table)} are "
                f"compared with: {why}"
            )
        head = firsts.iloc[0]
        estimated = self._counted()
        share, sure = self.agreement()
        side = "positive" if head["positive"] > 0.5 else "negative"
        mean = f"{head['mean']:+.2f}".replace("-", "−")
        odds = estimated["positive"].mean()
        odds = odds if side == "positive" else 1 - odds
        return (
            f"{head['name']} in {head['category']}: {mean} SD as first specified. Of "
            f"{len(estimated)} specifications {share:.0%} agree that it is {side}, and {sure:.0%} "
            f"leave little doubt about that. With each as likely beforehand, the probability that "
            f"it is {side} is {percent(odds)}, odds of {_odds(odds)}.{self._left_out()}"
        )

    __repr__ = __str__

    def _counted(self) -> pd.DataFrame:
        return self.table[(self.table["error"] == "") & ~self.table["duplicate"].astype(bool)]

    def _left_out(self) -> str:
        """Say what does not count, and why."""
        errors, duplicate = self.table["error"], self.table["duplicate"].astype(bool)
        other = errors.str.startswith(_OTHER)
        counts = {
            "the same fit as another and counted once": int(duplicate.sum()),
            "not counted, as they do not compare these": int(other.sum()),
        }
        parts = [
            f" {n} more {'is' if n == 1 else 'are'} {what}." for what, n in counts.items() if n
        ]
        failed = int(((errors != "") & ~other).sum())
        if failed:
            parts.append(f" {failed} could not be estimated.")
        return "".join(parts) + (" See the column error." if failed or other.any() else "")

    def agreement(self) -> tuple[float, float]:
        """Give the share of specifications with the first's direction, and those sure of it.

        Returns
        -------
        tuple of float
            Shares of those that were estimated; the same fit counts once.
        """
        estimated = self._counted()
        positive = bool(estimated.loc[estimated["first"], "positive"].iloc[0] > 0.5)
        same = (estimated["positive"] > 0.5) == positive
        sure = same & (estimated["p_direction"] >= LEAST_DOUBT)
        return float(same.mean()), float(sure.mean())


def _odds(probability: float) -> str:
    if probability > 0.999:
        return "more than 999 to 1"
    odds = probability / (1 - probability)
    return f"{odds:.0f} to 1" if odds >= 10 else f"{odds:.1f} to 1"


def multiverse(
    dataset: xr.Dataset,
    *,
    outcomes: Sequence[str] = ("normal", "rank", "z"),
    formulas: Sequence[str] | None = None,
    bases: Sequence[str | None] = ("base", None),
    words: Sequence[str | None] = (None,),
    lexicons: str | Mapping[str, Any] | None = "halves",
    prompts: str | Mapping[str, Sequence[str]] | None = "halves",
    priors: Mapping[str, Prior | Mapping[str, Any]] | None = None,
    pair: tuple[str, str] | None = None,
    contrast: Contrast | None = None,
    out: str | os.PathLike[str] | None = None,
    part: tuple[int, int] | None = None,
    workers: int | None = None,
    seed: int | None = None,
    progress: bool = True,
) -> Multiverse:
    """Fit every combination of choices, and see how far the headline depends on them.

    The first of each choice make the specification that the others are compared with: they estimate
    what is in its headline, and those that do not have it are not counted.

    Parameters
    ----------
    dataset : xarray.Dataset
        Scores.
    outcomes : sequence of str, default ("normal", "rank", "z")
        As of :func:`fit`.
    formulas : sequence of str, optional
        Formulas of models; the default of :func:`fit` alone if not given.
    bases : sequence of str or None, default ("base", None)
        With effects of bases, and without.
    words : sequence of str or None, default (None,)
        Formulas of the words.
    lexicons : {"halves", "jackknife"}, mapping or None, default "halves"
        All words, and besides two random halves of each category, or all but each word in turn; or
        by name other lexicons, or the words to keep. None: all words alone.
    prompts : {"halves"}, mapping or None, default "halves"
        All prompts, and besides two halves of each framing; or the prompts to keep by name.
    priors : mapping, optional
        Priors by name, as of :func:`fit`; if not given the default and one with
        the scales of means and effects doubled.
    pair : pair of str, optional
        The two levels to compare; those of the first specification's headline if not given.
    contrast : pair of str or mapping, optional
        As of :func:`fit`.
    out : path, optional
        A folder for the results, one file each. What is there already is not computed again.
    part : pair of int, optional
        ``(k, n)``: compute the k-th of n parts only, k from 1; for a cluster whose jobs share
        `out`. A call without it collects them and computes what is missing.
    workers : int, optional
        Fits at a time, whose chains run in threads of their own; as many as there are cores if
        not given.
    seed : int, optional
        Of the halves and of all fits; drawn at random if not given, or read from `out`.
    progress : bool, default True
        Show a progress bar on standard error.

    Returns
    -------
    Multiverse
        Its text and table; :func:`valuebias.plots.plot_multiverse` draws the curve.

    Raises
    ------
    ValueBiasError
        If a choice is unknown, the first specification cannot be estimated, or `out` has results of
        other scores.

    Warns
    -----
    ValueBiasWarning
        If a choice is listed twice.

    Notes
    -----
    Estimates are in SDs of their outcome, so that ranks and normal scores can be compared. Source:
    Steegen et al. 2016, *Perspectives on Psychological Science* 11, 702–712; Simonsohn, Simmons and
    Nelson 2020, *Nature Human Behaviour* 4, 1208–1214.

    Examples
    --------
    >>> import valuebias
    >>> data = valuebias.datasets.load("simulated")
    >>> made = valuebias.multiverse(
    ...     data, outcomes=["normal", "rank"], lexicons=None, prompts=None, workers=1, seed=1,
    ...     progress=False,
    ... )
    >>> len(made.table)
    8
    """
    data = validate(dataset)
    folder = None if out is None else Path(out)
    if workers is not None and not is_whole(workers, 1):
        raise ValueBiasError(
            f"workers must be a whole number of 1 or more, found {shown(workers)}."
        )
    chosen = read_seed(seed, folder)
    options: dict[str, Mapping[str, Any]] = {
        "outcome": by_name("outcomes", outcomes),
        "formula": {"default": None} if formulas is None else by_name("formulas", formulas),
        "base": by_name("bases", bases),
        "words": by_name("words", words),
        "lexicon": read_lexicons(data, lexicons, chosen),
        "prompts": read_prompts(data, prompts, chosen),
        "prior": read_priors(priors),
    }
    for name, values in options.items():
        if not values:
            raise ValueBiasError(f"there is no choice of {name}; give one at least.")
    specs = [
        dict(zip(options, names, strict=True)) for names in itertools.product(*options.values())
    ]
    asked = None if pair is None else _pair(pair)
    task = _Task(data, options, store_contrast(contrast), chosen, asked)
    task = replace(task, estimand=prepare(folder, task.about, task.estimand))
    if part is not None:
        _check_part(part, folder)
    done = {i: row for i, spec in enumerate(specs) if (row := stored(folder, spec)) is not None}
    if task.estimand is None:
        task, done[0] = task.begin(specs[0])
        keep(folder, specs[0], done[0])
        prepare(folder, task.about, task.estimand)
    wanted = [i for i in range(len(specs)) if i not in done]
    if part is not None:
        wanted = [i for i in wanted if i % part[1] == part[0] - 1]
    _run(task, specs, wanted, done, folder, workers or os.cpu_count() or 1, progress)
    table = pd.DataFrame([done[i] | {"first": i == 0} for i in sorted(done)])
    # With the same seed the same model of the same scores has the very same draws.
    same = table.duplicated([*_NUMBERS, "positive"]) & (table["error"] == "")
    table.insert(len(table.columns) - 1, "duplicate", same)
    table = table.sort_values("mean", kind="stable").reset_index(drop=True)
    table.attrs["seed"] = chosen
    return Multiverse(table)


@dataclass(frozen=True)
class _Task:
    """What all specifications share."""

    data: xr.Dataset
    options: Mapping[str, Mapping[str, Any]]
    contrast: Any
    seed: int
    pair: list[str] | None
    # What all estimate: the parts of its name, and the weights of its categories.
    estimand: Mapping[str, Any] | None = None

    @property
    def about(self) -> dict[str, Any]:
        """What the results in a folder are of."""
        scores = np.ascontiguousarray(self.data["score"].to_numpy())
        return {
            "scores": hashlib.sha256(scores.tobytes()).hexdigest(),
            "contrast": self.contrast,
            "pair": self.pair,
            "seed": self.seed,
        }

    def begin(self, spec: Mapping[str, str]) -> tuple[_Task, dict[str, Any]]:
        """Estimate the first specification, whose headline says what the others estimate."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ValueBiasWarning)
                fit = self._fit(spec)
            if self.pair is not None:
                fit = fit.focused(pair=(self.pair[0], self.pair[1]))
        except ValueBiasError as error:
            raise ValueBiasError(
                "the first specification, whose headline the others estimate as well, cannot be "
                f"estimated: {error}"
            ) from error
        front = fit.contrast_draws.isel(estimand=0)
        estimand = {name: str(front[name].item()) for name in _PARTS}
        task = replace(self, estimand=estimand | {"weights": _weights(fit)[0]})
        return task, task._row(spec, fit)

    def estimate(self, spec: Mapping[str, str]) -> dict[str, Any]:
        """Estimate what is asked under a specification."""
        try:
            return self._row(spec, self._fit(spec))
        except ValueBiasError as error:
            return self._empty(spec) | {"error": str(error)}

    def _empty(self, spec: Mapping[str, str]) -> dict[str, Any]:
        row: dict[str, Any] = {**spec, "name": "", "category": "", "error": ""}
        return row | dict.fromkeys((*_NUMBERS, "positive"), np.nan) | {"converged": False}

    def _fit(self, spec: Mapping[str, str]) -> Posterior:
        chosen = {name: self.options[name][label] for name, label in spec.items()}
        return estimate(
            subset(self.data, chosen["lexicon"], chosen["prompts"]),
            {key: chosen[key] for key in ("formula", "outcome", "words", "base")}
            | {"spread": None},
            chosen["prior"],
            read_contrast(self.contrast),
            {**_SAMPLER, "seed": self.seed},
            progress=False,
        )

    def _row(self, spec: Mapping[str, str], fit: Posterior) -> dict[str, Any]:
        found = _find(fit, self.estimand or {})
        if isinstance(found, str):
            return self._empty(spec) | {"error": _OTHER + found}
        fit, at = found
        scale = float(fit.problem.crossing.scale)
        head = fit.contrasts(prob=_PROB, rope=0.05 * scale).iloc[at]
        numbers = {name: float(head[name]) for name in _NUMBERS}
        numbers |= {name: numbers[name] / scale for name in ("mean", "sd", "lower", "upper")}
        draws = fit.contrast_draws.isel(estimand=at)
        return self._empty(spec) | {
            "name": str(head["name"]),
            "category": str(head["category"]),
            **numbers,
            "positive": float((draws > 0).mean()),
            "converged": bool(fit.diagnostics().converged),
        }


def _weights(fit: Posterior) -> list[dict[str, float]]:
    """Return the weights of the categories that take part, of each contrast of a fit."""
    categories = fit.problem.crossing.categories
    return [
        {name: float(w) for name, w in zip(categories, weights, strict=True) if w}
        for weights in fit.categories.values()
    ]


def _find(fit: Posterior, estimand: Mapping[str, Any]) -> tuple[Posterior, int] | str:
    """Find an estimand among those of a fit, or say why it is not there."""
    if estimand["weights"] not in (known := _weights(fit)):
        return f"its categories are compared as {few(map(str, known), quote=False)}."
    category = [*fit.categories][known.index(estimand["weights"])]
    form, variable, first, second, framing = (estimand[name] for name in _PARTS)
    if form == DIFFERENCE:
        factor = fit.problem.crossing.design.factor(variable)
        if factor is None or not factor.categorical:
            return f"its formula {fit.settings['formula']!r} has no levels of {variable!r}."
        lacking = [level for level in (first, second) if level not in factor.levels]
        if lacking:
            return f"its models have no {variable} {few(lacking)}."
        fit = fit.focused(pair=(first, second))
    draws = fit.contrast_draws
    wanted = {**estimand, "over": category.first, "against": category.second, "variant": ""}
    del wanted["weights"]
    same = np.ones(draws.sizes["estimand"], dtype=bool)
    for name, value in wanted.items():
        same &= draws[name].to_numpy().astype(str) == value
    if same.any():
        return fit, int(np.flatnonzero(same)[0])
    if framing not in draws["framing"].to_numpy():
        return f"its prompts have no lean that is {framing!r}; they are of one framing."
    return f"its formula {fit.settings['formula']!r} has no {form} of {variable!r}."


def _run(
    task: _Task, specs: list[dict[str, str]], wanted: list[int], done: dict[int, dict[str, Any]],
    folder: Path | None, workers: int, progress: bool,
) -> None:  # fmt: skip
    """Estimate the specifications that are not done yet, and store each as it is."""
    with (
        progress_bar("specifications", shown=progress) as advance,
        warnings.catch_warnings(),
        ThreadPoolExecutor(workers) as pool,
    ):
        # Outside of the threads, which share what is ignored.
        warnings.simplefilter("ignore", ValueBiasWarning)
        futures = {pool.submit(task.estimate, specs[i]): i for i in wanted}
        try:
            for count, future in enumerate(as_completed(futures)):
                done[futures[future]] = future.result()
                keep(folder, specs[futures[future]], done[futures[future]])
                if advance is not None:
                    advance(count + 1, len(wanted))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _pair(pair: Any) -> list[str]:
    if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
        raise ValueBiasError(
            f"pair must be two levels such as ('Gemma', 'Llama'), found {shown(pair)}."
        )
    return [str(level) for level in pair]


def _check_part(part: Any, folder: Path | None) -> None:
    numbers = isinstance(part, Sequence) and len(part) == 2 and all(is_whole(n, 1) for n in part)
    if folder is None or not numbers or part[0] > part[1]:
        raise ValueBiasError(f"part is (k, n) with 1 ≤ k ≤ n, and needs out=; found {shown(part)}.")
