"""The headline under every combination of choices: ``valuebias.multiverse``."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import secrets
import warnings
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from valuebias._core.atomic import atomic_path
from valuebias._core.progress import progress_bar
from valuebias._core.sums import SUM, read_json, sealed
from valuebias.analysis.design.priors import Prior
from valuebias.analysis.estimands.estimand import DIFFERENCE
from valuebias.analysis.estimands.weights import Contrast, read_contrast, store_contrast
from valuebias.errors import ValueBiasError, ValueBiasWarning, did_you_mean, few, shown
from valuebias.instruments import Lexicon
from valuebias.posterior.estimate import estimate
from valuebias.posterior.headline import LEAST_DOUBT
from valuebias.posterior.posterior import Posterior
from valuebias.posterior.wording import percent
from valuebias.schema import member_table, prompt_table, validate

__all__ = ["CHOICES", "Multiverse", "multiverse"]

CHOICES = ("outcome", "formula", "base", "words", "lexicon", "prompts", "prior")
_NUMBERS = ("mean", "sd", "lower", "upper", "p_direction", "p_rope")
_SAMPLER = {"draws": 500, "tune": None, "chains": 2, "sampler": "hmc"}
_PROB = 0.9
_RECORD = "multiverse.json"
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
    if workers is not None and not _is_whole(workers, 1):
        raise ValueBiasError(
            f"workers must be a whole number of 1 or more, found {shown(workers)}."
        )
    chosen = _seed(seed, folder)
    options: dict[str, Mapping[str, Any]] = {
        "outcome": _by_name("outcomes", outcomes),
        "formula": {"default": None} if formulas is None else _by_name("formulas", formulas),
        "base": _by_name("bases", bases),
        "words": _by_name("words", words),
        "lexicon": _lexicons(data, lexicons, chosen),
        "prompts": _prompts(data, prompts, chosen),
        "prior": _priors(priors),
    }
    for name, values in options.items():
        if not values:
            raise ValueBiasError(f"there is no choice of {name}; give one at least.")
    specs = [
        dict(zip(options, names, strict=True)) for names in itertools.product(*options.values())
    ]
    asked = None if pair is None else _pair(pair)
    task = _Task(data, options, store_contrast(contrast), chosen, asked)
    task = replace(task, estimand=_prepare(folder, task))
    if part is not None:
        _check_part(part, folder)
    done = {i: row for i, spec in enumerate(specs) if (row := _stored(folder, spec)) is not None}
    if task.estimand is None:
        task, done[0] = task.begin(specs[0])
        _keep(folder, specs[0], done[0])
        _prepare(folder, task)
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
            _subset(self.data, chosen["lexicon"], chosen["prompts"]),
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


def _keep(folder: Path | None, spec: Mapping[str, str], row: Mapping[str, Any]) -> None:
    if folder is not None:
        with atomic_path(_file(folder, spec)) as part:
            part.write_text(json.dumps(sealed(row)), encoding="utf-8")


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
                _keep(folder, specs[futures[future]], done[futures[future]])
                if advance is not None:
                    advance(count + 1, len(wanted))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _is_whole(value: object, least: int) -> bool:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return whole and value >= least  # type: ignore[operator]


def _by_name(argument: str, values: Any) -> dict[str, Any]:
    """Return the choices by their names, each once."""
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise ValueBiasError(f"{argument} must be a list, found {shown(values)}.")
    wrong = [value for value in values if not isinstance(value, str | None)]
    if wrong:
        raise ValueBiasError(f"{argument} must list texts, found {shown(wrong[0])}.")
    names = [str(value) for value in values]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        text = f"{argument} lists {few(twice)} more than once; it counts once."
        warnings.warn(text, ValueBiasWarning, stacklevel=3)
    return dict(zip(names, values, strict=True))


def _pair(pair: Any) -> list[str]:
    if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
        raise ValueBiasError(
            f"pair must be two levels such as ('Gemma', 'Llama'), found {shown(pair)}."
        )
    return [str(level) for level in pair]


def _check_part(part: Any, folder: Path | None) -> None:
    numbers = isinstance(part, Sequence) and len(part) == 2 and all(_is_whole(n, 1) for n in part)
    if folder is None or not numbers or part[0] > part[1]:
        raise ValueBiasError(f"part is (k, n) with 1 ≤ k ≤ n, and needs out=; found {shown(part)}.")


def _halves(groups: Sequence[np.ndarray[Any, Any]], seed: int) -> list[np.ndarray[Any, Any]]:
    """Split each group at random, and return the two halves over all."""
    rng = np.random.default_rng([seed, 14])
    mixed = [rng.permutation(group) for group in groups]
    return [np.unique(np.concatenate([group[k::2] for group in mixed])) for k in (0, 1)]


def _lexicons(data: xr.Dataset, asked: Any, seed: int) -> dict[str, Any]:
    """Return what each lexicon keeps of the words: positions, or a table of memberships."""
    every: dict[str, Any] = {"all words": None}
    member = member_table(data).to_numpy()
    if asked is None:
        return every
    if asked == "halves":
        used = np.zeros(len(member), dtype=bool)
        groups = []
        for column in member.T:
            groups.append(np.flatnonzero(column & ~used))
            used |= column
        first, second = _halves(groups, seed)
        return every | {"half 1": first, "half 2": second}
    words = [str(word) for word in data["response"].to_numpy()]
    if asked == "jackknife":
        inside = np.flatnonzero(member.any(axis=1))
        return every | {f"without {words[i]}": np.setdiff1d(inside, [i]) for i in inside}
    if not isinstance(asked, Mapping):
        raise ValueBiasError(
            f"lexicons is {shown(asked)}. {did_you_mean(asked, ('halves', 'jackknife'))} Or map "
            "names to lexicons or to lists of words."
        )
    for name, given in asked.items():
        if isinstance(given, Lexicon):
            every[str(name)] = given.table.reindex(words, fill_value=False).astype(bool)
        else:
            every[str(name)] = _positions("lexicons", str(name), given, words)
    return every


def _prompts(data: xr.Dataset, asked: Any, seed: int) -> dict[str, Any]:
    every: dict[str, Any] = {"all prompts": None}
    if asked is None:
        return every
    if asked == "halves":
        framing = prompt_table(data)["framing"].to_numpy().astype(str)
        groups = [np.flatnonzero(framing == name) for name in dict.fromkeys(framing.tolist())]
        first, second = _halves(groups, seed)
        return every | {"half 1": first, "half 2": second}
    if not isinstance(asked, Mapping):
        raise ValueBiasError(
            f"prompts is {shown(asked)}; give 'halves', None, or lists of prompts by name."
        )
    known = [str(name) for name in data["prompt"].to_numpy()]
    return every | {
        str(n): _positions("prompts", str(n), given, known) for n, given in asked.items()
    }


def _positions(argument: str, name: str, given: Any, known: list[str]) -> np.ndarray[Any, Any]:
    """Positions of the words or prompts to keep."""
    asked = [str(one) for one in given]
    unknown = [one for one in asked if one not in known]
    if unknown or not asked:
        raise ValueBiasError(
            f"{argument}[{name!r}] names {few(unknown) or 'nothing'}, which the scores lack. "
            f"{did_you_mean(unknown[0] if unknown else '', known)}"
        )
    return np.flatnonzero(np.isin(known, asked))


def _priors(asked: Mapping[str, Any] | None) -> dict[str, Any]:
    if asked is None:
        return {"default": None, "wider": {"mean": 2.0, "effect": 1.0}}
    if not isinstance(asked, Mapping):
        raise ValueBiasError(f"priors must map names to priors, found {shown(asked)}.")
    return dict(asked)


def _subset(data: xr.Dataset, lexicon: Any, prompts: Any) -> xr.Dataset:
    if isinstance(lexicon, pd.DataFrame):
        member = xr.DataArray(
            lexicon.to_numpy(), dims=("response", "category"),
            coords={"category": [str(name) for name in lexicon.columns]},
        )  # fmt: skip
        data = data.drop_vars(["membership", "category"]).assign(membership=member)
    elif lexicon is not None:
        data = data.isel(response=lexicon)
    return data if prompts is None else data.isel(prompt=prompts)


def _seed(seed: int | None, folder: Path | None) -> int:
    if seed is not None:
        if not _is_whole(seed, 0) or seed >= 2**32:
            raise ValueBiasError(
                f"seed must be a whole number from 0 to 2**32 − 1, found {shown(seed)}."
            )
        return int(seed)
    known = {} if folder is None else _record(folder)
    if isinstance(known.get("seed"), int):
        return int(known["seed"])
    return secrets.randbits(32)


def _prepare(folder: Path | None, task: _Task) -> Mapping[str, Any] | None:
    """Make the folder, or check that its results are of these scores; return what it estimates."""
    if folder is None:
        return task.estimand
    scores = np.ascontiguousarray(task.data["score"].to_numpy())
    record = {
        "scores": hashlib.sha256(scores.tobytes()).hexdigest(),
        "contrast": task.contrast,
        "pair": task.pair,
        "seed": task.seed,
    }
    known = _record(folder) or record
    other = [name for name in record if known.get(name) != record[name]]
    if other:
        raise ValueBiasError(
            f"{str(folder)!r} holds a multiverse with other {' and '.join(other)}; name "
            "another folder, or leave seed= out to go on with its own."
        )
    estimand: Mapping[str, Any] | None = known.get("estimand") or task.estimand
    if known is record or known.get("estimand") != estimand:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / _RECORD) as file:
            content = sealed(record | {"estimand": estimand})
            file.write_text(json.dumps(content), encoding="utf-8")
    return estimand


def _record(folder: Path) -> dict[str, Any]:
    """Read what a folder says its results are of; empty where it is new."""
    path = folder / _RECORD
    if not path.exists():
        return {}
    try:
        return read_json(path)
    except ValueBiasError as error:
        raise ValueBiasError(
            f"{str(path)!r}, which says what the results in its folder are of, is damaged. Delete "
            "the folder, or name another one: all is estimated anew then."
        ) from error


def _file(folder: Path, spec: Mapping[str, str]) -> Path:
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:20]
    return folder / f"{digest}.json"


def _stored(folder: Path | None, spec: Mapping[str, str]) -> dict[str, Any] | None:
    """Read a result that is there; a damaged one is made again."""
    if folder is None or not _file(folder, spec).exists():
        return None
    try:
        row = read_json(_file(folder, spec))
    except ValueBiasError:
        return None
    row.pop(SUM, None)
    same = all(row.get(name) == label for name, label in spec.items())
    return row if same else None
