"""Which method recovers a known change: ``valuebias.validate_implicit``."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from valuebias._core.arrays import Doubles
from valuebias._core.checks import check_number
from valuebias._core.notebooks import as_html
from valuebias._core.progress import progress_bar
from valuebias.errors import ValueBiasError
from valuebias.logprobs.injection.report import find_again, interval, recovery
from valuebias.logprobs.methods import Formula, Method, get_method, implicit_methods
from valuebias.logprobs.vocabularies import check_logprobs

__all__ = ["Validation", "validate_implicit"]

_GROUP = ["source", "vocabulary", "noise"]


@dataclass(frozen=True, slots=True, eq=False)
class Validation:
    """How well methods recovered words whose probability was raised.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per experiment and method: ``source`` ("arithmetic" or "fine-tuning": how words were
        raised), ``method``, ``vocabulary`` (texts), ``noise`` (NaN for fine-tuning), ``seed``,
        ``prompt`` ("" for arithmetic), ``auc`` (the probability that a raised word is ranked above
        another one), ``recall`` (the share of the raised words among as many top-ranked ones) and,
        where asked for, ``recall@k`` (among the top k).

    Examples
    --------
    >>> made = validate_implicit(vocabulary=300, n_words=5, noise=1, n_seeds=3, progress=False)
    >>> len(made.table)
    18
    """

    table: pd.DataFrame = field(repr=False)

    def _repr_html_(self) -> str:
        """Show the methods, best first in a notebook."""
        return as_html(self.summary(), most=40)

    def summary(self) -> pd.DataFrame:
        """Rank the methods.

        Returns
        -------
        pandas.DataFrame
            One row per source, vocabulary size, noise and method, best first: the mean over seeds
            (of the means over held-out prompts) of ``auc`` and each ``recall``, each with the ends
            of a 90 % bootstrap interval of that mean, and ``best``, the share of experiments in
            which no other method had a higher AUC.

        Notes
        -----
        The bootstrap draws seeds, and prompts within each. Fewer than about five seeds make such an
        interval too narrow.
        """
        highest = self.table.groupby([*_GROUP, "seed", "prompt"], dropna=False)["auc"]
        table = self.table.assign(best=self.table["auc"] >= highest.transform("max"))
        measures = [name for name in table.columns if name == "auc" or name.startswith("recall")]
        rows = []
        for key, group in table.groupby([*_GROUP, "method"], dropna=False):
            seeds = [one for _, one in group.groupby("seed")]
            row: dict[str, Any] = dict(zip([*_GROUP, "method"], key, strict=True))
            row["n_seeds"] = len(seeds)
            for measure in measures:
                mean, lower, upper = interval([one[measure].to_numpy() for one in seeds])
                row |= {measure: mean, f"{measure}_lower": lower, f"{measure}_upper": upper}
            rows.append(row | {"best": float(np.mean([one["best"].mean() for one in seeds]))})
        order, ascending = [*_GROUP, "auc"], [True, True, True, False]
        return pd.DataFrame(rows).sort_values(
            order, ascending=ascending, kind="stable", ignore_index=True
        )


def validate_implicit(
    logprobs: xr.Dataset | None = None,
    *,
    methods: Sequence[str | Formula | Method] | None = None,
    boost: float = 1.0,
    n_words: int = 50,
    likeliest: float = 0.1,
    noise: float | Sequence[float] = (0.0, 0.5, 1.0, 2.0),
    vocabulary: int | Sequence[int] = (1_000, 10_000),
    n_seeds: int = 20,
    seed: int = 0,
    k: int | Sequence[int] = (),
    progress: bool = True,
) -> Validation:
    """Raise the log-probs of chosen words, and test which method finds them.

    One model says what a real one says (or what Zipf's law says). The other is the same with
    `boost` nats more for some words, normalised again, and with noise in every log-prob. Each
    method then ranks the words. Or words were raised by fine-tuning, by
    :func:`valuebias.inject_words`: then the fine-tuned model is the other one, and the noise is
    whatever else training has changed.

    Parameters
    ----------
    logprobs : xarray.Dataset, optional
        Log-probs of whole vocabularies; each experiment takes one of its models, after one of its
        prompts, and a random part of its words. By default probabilities follow Zipf's law. With a
        coord ``raised``, as :func:`valuebias.inject_words` gives: an experiment is a seed and a
        held-out prompt, all words take part, and of what follows only `methods` and `k` count.
    methods : sequence of str or callable, optional
        As in :func:`valuebias.implicit`; all that :func:`valuebias.implicit_methods` lists if not
        given.
    boost : float, default 1.0
        By how much the words are raised, in nats.
    n_words : int, default 50
        How many are.
    likeliest : float, default 0.1
        They are drawn from this share of the likeliest words, as words that are ever said are.
    noise : float or sequence of float
        Standard deviation of the noise, in nats, of a word with a log-prob of −10. It grows in
        proportion to minus the log-prob: models differ most about what neither would say.
    vocabulary : int or sequence of int
        How many words there are.
    n_seeds : int, default 20
        Experiments for each noise and size.
    seed : int, default 0
        Of the first one.
    k : int or sequence of int, optional
        Also look among so many top-ranked words for the raised ones.
    progress : bool, default True
        Show progress on standard error.

    Returns
    -------
    Validation
        With a table and a ``summary()``; :func:`valuebias.plots.plot_validation` draws it.

    Raises
    ------
    ValueBiasError
        If a number is out of its range, there are too few words, or scores are not log-probs; or a
        setting of the arithmetic is given where words were raised by fine-tuning.

    Notes
    -----
    After Figure A3 of Christian et al. (2026), with noise and vocabulary size varied.

    Examples
    --------
    >>> made = validate_implicit(vocabulary=500, n_words=10, noise=1, n_seeds=5, progress=False)
    >>> made.summary()["method"].nunique()
    6
    """
    chosen = [get_method(m) for m in (implicit_methods().index if methods is None else methods)]
    if not chosen:
        raise ValueBiasError("There is no method to validate; give at least one.")
    tops = [int(top) for top in np.atleast_1d(np.asarray(k, dtype=np.int64))]
    if tops and min(tops) < 1:
        raise ValueBiasError(f"k is {k!r}; expected numbers of words, at least 1.")
    if logprobs is not None and "raised" in logprobs.coords:
        settings = {"boost": boost, "n_words": n_words, "likeliest": likeliest, "noise": noise,
                 "vocabulary": vocabulary, "n_seeds": n_seeds, "seed": seed}  # fmt: skip
        _check_arithmetic(settings)
        return Validation(find_again(logprobs, chosen, tops))
    sizes = [int(v) for v in np.atleast_1d(vocabulary)]
    noises = [float(v) for v in np.atleast_1d(noise)]
    if not sizes or not noises:
        raise ValueBiasError("vocabulary= and noise= need at least one value each.")
    most, expected = min(sizes), f"at least 1 and below {min(sizes)}"
    check_number(min(noises), "noise", "0 or more", least=0)
    check_number(boost, "boost", "a number of nats above 0", least=0, above=True)
    check_number(n_words, "n_words", expected, least=1, most=most, below=True)
    check_number(likeliest, "likeliest", "a share above 0, at most 1", least=0, most=1, above=True)
    check_number(n_seeds, "n_seeds", "at least 1", least=1)
    lines = None if logprobs is None else _scored(logprobs, max(sizes))
    experiments = list(product(sizes, noises, range(seed, seed + n_seeds)))
    rows: list[dict[str, Any]] = []
    with progress_bar("Experiments", shown=progress) as advance:
        for done, (size, level, number) in enumerate(experiments, start=1):
            # The same words for every noise, so that noises are compared on the same experiments.
            rng = np.random.default_rng([number, size])
            q = _drawn(lines, rng, size)
            likely = np.argsort(-q)[: max(n_words, round(likeliest * size))]
            raised = np.zeros(size, dtype=bool)
            raised[rng.choice(likely, size=n_words, replace=False)] = True
            p = _normalised(q + boost * raised + level / 10 * -q * rng.standard_normal(size))
            for method in chosen:
                about = {"source": "arithmetic", "method": method.name, "vocabulary": size}
                about |= {"noise": level, "seed": number, "prompt": ""}
                rows.append(about | recovery(method(p, q), raised, tops))
            if advance is not None:
                advance(done, len(experiments))
    return Validation(pd.DataFrame(rows))


def _scored(logprobs: xr.Dataset, largest: int) -> Doubles:
    """Give the log-probs of real models, (model and prompt, word), of enough words each."""
    logprobs = logprobs.transpose("model", "prompt", "response", ..., missing_dims="ignore")
    check_logprobs(logprobs, "The dataset")
    lines: Doubles = logprobs["score"].to_numpy().reshape(-1, logprobs.sizes["response"])
    fewest = int((~np.isnan(lines)).sum(axis=1).min())
    if fewest < largest:
        raise ValueBiasError(
            f"The dataset has {fewest} scored words after some prompt, but vocabulary= asks "
            f"for {largest}. Ask for fewer, or give whole vocabularies."
        )
    return lines


def _drawn(lines: Doubles | None, rng: np.random.Generator, size: int) -> Doubles:
    """Draw the log-probs of a vocabulary of that size."""
    if lines is None:
        return _normalised(-1.1 * np.log(1 + rng.permutation(size)))
    line = lines[rng.integers(len(lines))].astype(np.float64)
    return _normalised(rng.choice(line[~np.isnan(line)], size=size, replace=False))


def _normalised(logits: Doubles) -> Doubles:
    return np.asarray(logits - np.logaddexp.reduce(logits))


def _check_arithmetic(settings: dict[str, Any]) -> None:
    defaults = inspect.signature(validate_implicit).parameters
    for name, value in settings.items():
        if value != defaults[name].default:
            raise ValueBiasError(
                f"{name}= is a setting of the arithmetic, but words in this dataset were raised by "
                "fine-tuning. Leave it out; or, to raise words by arithmetic, drop the coord: "
                "ds.drop_vars('raised')."
            )
