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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from valuebias._core.atomic import atomic_path
from valuebias._core.progress import progress_bar
from valuebias.analysis.design.priors import Prior
from valuebias.analysis.estimands.weights import Contrast, read_contrast, store_contrast
from valuebias.errors import ValueBiasError, ValueBiasWarning, did_you_mean, few, shown
from valuebias.instruments import Lexicon
from valuebias.posterior.estimate import estimate
from valuebias.posterior.headline import LEAST_DOUBT
from valuebias.posterior.wording import percent
from valuebias.schema import member_table, prompt_table, validate

__all__ = ["CHOICES", "Multiverse", "multiverse"]

CHOICES = ("outcome", "formula", "base", "words", "lexicon", "prompts", "prior")
_NUMBERS = ("mean", "sd", "lower", "upper", "p_direction", "p_rope")
_SAMPLER = {"draws": 500, "tune": None, "chains": 2, "sampler": "hmc"}
_PROB = 0.9


@dataclass(frozen=True, eq=False, repr=False)
class Multiverse:
    """The headline of every specification; printed, its text.

    Parameters
    ----------
    table : DataFrame
        One row per specification, in the order of the estimates: its choices, ``name`` and
        ``category`` (what is compared), ``mean``, ``sd``, ``lower``, ``upper``, ``p_direction``,
        ``p_rope`` in SDs of the outcome, ``positive`` (the probability that it is), ``converged``,
        ``first`` (whether it is the specification that all others are compared with), and
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
        estimated = self.table[self.table["error"] == ""]
        first = estimated[estimated["first"]]
        if first.empty:
            return f"None of {len(self.table)} specifications could be estimated as first asked."
        head = first.iloc[0]
        share, sure = self.agreement()
        side = "positive" if head["positive"] > 0.5 else "negative"
        missing = len(self.table) - len(estimated)
        left = f" {missing} could not be estimated; see the column error." if missing else ""
        mean = f"{head['mean']:+.2f}".replace("-", "−")
        odds = estimated["positive"].mean()
        odds = odds if side == "positive" else 1 - odds
        return (
            f"{head['name']} in {head['category']}: {mean} SD as first specified. Of "
            f"{len(estimated)} specifications {share:.0%} agree that it is {side}, and {sure:.0%} "
            f"leave little doubt about that. With each as likely beforehand, the probability that "
            f"it is {side} is {percent(odds)}, odds of {_odds(odds)}.{left}"
        )

    __repr__ = __str__

    def agreement(self) -> tuple[float, float]:
        """Give the share of specifications with the first's direction, and those sure of it.

        Returns
        -------
        tuple of float
            Shares of those that were estimated.
        """
        estimated = self.table[self.table["error"] == ""]
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
    contrast: Contrast | None = None,
    out: str | os.PathLike[str] | None = None,
    part: tuple[int, int] | None = None,
    workers: int | None = None,
    seed: int | None = None,
    progress: bool = True,
) -> Multiverse:
    """Fit every combination of choices, and see how far the headline depends on them.

    The first of each choice make the specification that the others are compared with.

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
        If a choice is unknown, or `out` has results of other scores.

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
    chosen = _seed(seed, folder)
    options: dict[str, Mapping[str, Any]] = {
        "outcome": {name: name for name in _several("outcomes", outcomes)},
        "formula": {str(f): f for f in formulas} if formulas else {"default": None},
        "base": {str(name): name for name in bases},
        "words": {str(formula): formula for formula in words},
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
    task = _Task(data, options, store_contrast(contrast), chosen)
    _prepare(folder, task)
    done = {i: row for i, spec in enumerate(specs) if (row := _stored(folder, spec)) is not None}
    wanted = [i for i in range(len(specs)) if i not in done]
    if part is not None:
        k, n = part
        if folder is None or not 1 <= k <= n:
            raise ValueBiasError(f"part is (k, n) with 1 ≤ k ≤ n, and needs out=; found {part!r}.")
        wanted = [i for i in wanted if i % n == k - 1]
    _run(task, specs, wanted, done, folder, workers or os.cpu_count() or 1, progress)
    rows = [done[i] | {"first": i == 0} for i in sorted(done)]
    table = pd.DataFrame(rows).sort_values("mean", kind="stable").reset_index(drop=True)
    table.attrs["seed"] = chosen
    return Multiverse(table)


@dataclass(frozen=True)
class _Task:
    """What all specifications share."""

    data: xr.Dataset
    options: Mapping[str, Mapping[str, Any]]
    contrast: Any
    seed: int

    def estimate(self, spec: Mapping[str, str]) -> dict[str, Any]:
        """Estimate the headline of a specification."""
        chosen = {name: self.options[name][label] for name, label in spec.items()}
        row: dict[str, Any] = {**spec, "name": "", "category": "", "error": ""}
        row |= dict.fromkeys((*_NUMBERS, "positive"), np.nan) | {"converged": False}
        try:
            fit = estimate(
                _subset(self.data, chosen["lexicon"], chosen["prompts"]),
                {key: chosen[key] for key in ("formula", "outcome", "words", "base")}
                | {"spread": None},
                chosen["prior"],
                read_contrast(self.contrast),
                {**_SAMPLER, "seed": self.seed},
                progress=False,
            )
        except ValueBiasError as error:
            return row | {"error": str(error)}
        scale = float(fit.problem.crossing.scale)
        head = fit.contrasts(prob=_PROB, rope=0.05 * scale).iloc[0]
        numbers = {name: float(head[name]) for name in _NUMBERS}
        numbers |= {name: numbers[name] / scale for name in ("mean", "sd", "lower", "upper")}
        draws = fit.contrast_draws.isel(estimand=0)
        return row | {
            "name": str(head["name"]),
            "category": str(head["category"]),
            **numbers,
            "positive": float((draws > 0).mean()),
            "converged": bool(fit.diagnostics().converged),
        }


def _run(
    task: _Task, specs: list[dict[str, str]], wanted: list[int], done: dict[int, dict[str, Any]],
    folder: Path | None, workers: int, progress: bool,
) -> None:  # fmt: skip
    """Estimate the specifications that are not done yet, and store each as it is."""

    def keep(i: int, row: dict[str, Any]) -> None:
        done[i] = row
        if folder is not None:
            with atomic_path(_file(folder, specs[i])) as part:
                part.write_text(json.dumps(row), encoding="utf-8")

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
                keep(futures[future], future.result())
                if advance is not None:
                    advance(count + 1, len(wanted))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _several(name: str, values: Any) -> list[Any]:
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise ValueBiasError(f"{name} must be a list, found {shown(values)}.")
    return list(values)


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
        return int(seed)
    if folder is not None and (folder / "multiverse.json").exists():
        return int(json.loads((folder / "multiverse.json").read_text(encoding="utf-8"))["seed"])
    return secrets.randbits(32)


def _prepare(folder: Path | None, task: _Task) -> None:
    """Make the folder, or check that its results are of these scores."""
    if folder is None:
        return
    scores = np.ascontiguousarray(task.data["score"].to_numpy())
    record = {
        "scores": hashlib.sha256(scores.tobytes()).hexdigest(),
        "contrast": task.contrast,
        "seed": task.seed,
    }
    path = folder / "multiverse.json"
    if path.exists():
        known = json.loads(path.read_text(encoding="utf-8"))
        other = [name for name in record if known.get(name) != record[name]]
        if other:
            raise ValueBiasError(
                f"{str(folder)!r} holds a multiverse with other {' and '.join(other)}; name "
                "another folder, or leave seed= out to go on with its own."
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as file:
        file.write_text(json.dumps(record), encoding="utf-8")


def _file(folder: Path, spec: Mapping[str, str]) -> Path:
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:20]
    return folder / f"{digest}.json"


def _stored(folder: Path | None, spec: Mapping[str, str]) -> dict[str, Any] | None:
    """Read a result that is there; a damaged one is made again."""
    if folder is None or not _file(folder, spec).exists():
        return None
    try:
        row = json.loads(_file(folder, spec).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    same = isinstance(row, dict) and all(row.get(name) == label for name, label in spec.items())
    return row if same else None
