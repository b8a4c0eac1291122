"""The headline under every combination of choices: ``valuebias.multiverse``."""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import xarray as xr

from valuebias._core.notebooks import as_html
from valuebias._core.numbers import signed
from valuebias._core.progress import progress_bar
from valuebias._core.text import visible_lines
from valuebias.analysis.design.priors import Prior
from valuebias.analysis.estimands.weights import Contrast, category_contrasts, store_contrast
from valuebias.errors import ValueBiasError, ValueBiasWarning, few, shown
from valuebias.posterior.headline import LEAST_DOUBT
from valuebias.posterior.multiverse_choices import (
    by_name,
    is_whole,
    read_lexicons,
    read_priors,
    read_prompts,
)
from valuebias.posterior.multiverse_fits import NUMBERS, OTHER, Task, data_sums
from valuebias.posterior.multiverse_folder import (
    check_alike,
    check_writable,
    create,
    keep,
    read_folder,
    read_record,
    read_seed,
    stored,
)
from valuebias.posterior.wording import percent
from valuebias.schema import validate

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["CHOICES", "Multiverse", "multiverse"]

CHOICES = ("outcome", "formula", "base", "words", "lexicon", "prompts", "prior")


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
            return visible_lines(
                f"There is no estimate of the specification that all {len(self.table)} are "
                f"compared with: {why}"
            )
        head = firsts.iloc[0]
        estimated = self._counted()
        share, sure = self.agreement()
        side = "positive" if head["positive"] > 0.5 else "negative"
        mean = signed(head["mean"])
        odds = estimated["positive"].mean()
        odds = odds if side == "positive" else 1 - odds
        return visible_lines(
            f"{head['name']} in {head['category']}: {mean} SD as first specified. Of "
            f"{len(estimated)} specifications {share:.0%} agree that it is {side}, and {sure:.0%} "
            f"leave little doubt about that. With each as likely beforehand, the probability that "
            f"it is {side} is {percent(odds)}, odds of {_odds(odds)}.{self._left_out()}"
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Show the answer and the first specifications in a notebook."""
        made = self._counted()
        choices = self.table.columns[: self.table.columns.get_loc("name")]
        varied = [name for name in choices if made[name].astype(str).nunique() > 1]
        numbers = ["mean", "lower", "upper", "p_direction"]
        return as_html(str(self), made[[*varied, *numbers]], most=8)

    def _counted(self) -> pd.DataFrame:
        return self.table[(self.table["error"] == "") & ~self.table["duplicate"].astype(bool)]

    def _left_out(self) -> str:
        """Say what does not count, and why."""
        errors, duplicate = self.table["error"], self.table["duplicate"].astype(bool)
        other = errors.str.startswith(OTHER)
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
    client: Client | None = None,
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
        A folder for the results, one file each. What is there already is not computed again, unless
        a choice of the same name was something else then.
    part : pair of int, optional
        ``(k, n)``: compute the k-th of n parts only, k from 1; for a cluster whose jobs share
        `out`. A call without it collects them and computes what is missing.
    workers : int, optional
        Fits at a time, whose chains run in threads of their own; as many as there are cores if
        not given.
    client : distributed.Client, optional
        A client of a Dask cluster, whose workers fit instead, with the same results; this process
        alone writes into `out`. Needs ``pip install "valuebias[cluster]"``.
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
        If a choice is unknown, the first specification cannot be estimated, or `out` cannot be
        written to or has results of other scores, models, prompts or words.

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
    data = validate(dataset).compute()
    folder = read_folder(out)
    if workers is not None and not is_whole(workers, 1):
        raise ValueBiasError(
            f"workers must be a whole number of 1 or more, found {shown(workers)}."
        )
    if client is not None:
        from valuebias.posterior.cluster import check

        check(client)
    if part is not None:
        _check_part(part, folder)
    if contrast is not None:
        category_contrasts(tuple(map(str, data["category"].to_numpy())), contrast)
    asked = None if pair is None else _pair(pair)
    known = read_record(folder)
    chosen = read_seed(seed, known)
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
    sums = {} if folder is None else data_sums(data)
    task = Task(data, options, store_contrast(contrast), chosen, asked, sums=sums)
    first = None
    if known is None:
        check_writable(folder)
        task, first = task.begin(specs[0])
        known = create(folder, task.about, task.estimand)
        if seed is None and known["seed"] != chosen:
            # Another process was first with a seed of its own, of which halves are different.
            chosen = int(known["seed"])
            halves = {
                "lexicon": read_lexicons(data, lexicons, chosen),
                "prompts": read_prompts(data, prompts, chosen),
            }
            task, first = replace(task, options=options | halves, seed=chosen), None
        elif known["estimand"] != task.estimand:
            first = None
    check_alike(folder, known, task.about)
    task = replace(task, estimand=known["estimand"])
    done = {
        i: row
        for i, spec in enumerate(specs)
        if (row := stored(folder, spec, task.marks(spec))) is not None
    }
    if first is not None:
        done[0] = first
        keep(folder, specs[0], first, task.marks(specs[0]))
    wanted = [i for i in range(len(specs)) if i not in done]
    if part is not None:
        wanted = [i for i in wanted if i % part[1] == part[0] - 1]
    if wanted:
        check_writable(folder)
    if client is None:
        results = _by_threads(workers or os.cpu_count() or 1, task, specs, wanted)
    else:
        from valuebias.posterior.cluster import estimated

        said = {i: f"the specification {few(list(specs[i].values()))}" for i in wanted}
        results = estimated(client, task, {i: specs[i] for i in wanted}, said)
    _run(task, specs, results, len(wanted), done, folder, progress)
    table = pd.DataFrame([done[i] | {"first": i == 0} for i in sorted(done)])
    # With the same seed the same model of the same scores has the very same draws.
    same = table.duplicated([*NUMBERS]) & (table["error"] == "")
    table.insert(len(table.columns) - 1, "duplicate", same)
    table = table.sort_values("mean", kind="stable").reset_index(drop=True)
    table.attrs["seed"] = chosen
    return Multiverse(table)


def _run(
    task: Task, specs: list[dict[str, str]], results: Generator[tuple[int, dict[str, Any]]],
    n: int, done: dict[int, dict[str, Any]], folder: Path | None, progress: bool,
) -> None:  # fmt: skip
    """Store the results of specifications that were not done yet, each as it comes."""
    with progress_bar("specifications", shown=progress) as advance, closing(results):
        for count, (i, row) in enumerate(results, start=1):
            done[i] = row
            keep(folder, specs[i], row, task.marks(specs[i]))
            if advance is not None:
                advance(count, n)


def _by_threads(
    workers: int, task: Task, specs: Sequence[dict[str, str]], wanted: Sequence[int]
) -> Generator[tuple[int, dict[str, Any]]]:
    """Estimate in threads of this process."""
    with warnings.catch_warnings(), ThreadPoolExecutor(workers) as pool:
        # Outside of the threads, which share what is ignored.
        warnings.simplefilter("ignore", ValueBiasWarning)
        futures = {pool.submit(task.estimate, specs[i]): i for i in wanted}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
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
