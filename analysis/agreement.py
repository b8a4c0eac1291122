"""How far models rank words as somebody else does: rank correlations, by model, base and family."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

from valuebias._core.checks import check_known, check_number, check_whole
from valuebias._core.progress import progress_bar
from valuebias.analysis.classical.frames import from_rows
from valuebias.analysis.classical.permutation import assignments, bases_of, label_test
from valuebias.analysis.estimands.weights import TURNED
from valuebias.analysis.references import FEWEST, reference_values
from valuebias.errors import ValueBiasWarning
from valuebias.schema import FRAMINGS, validate
from valuebias.schema.contract import SIGNS

__all__ = ["rank_agreement"]

Array = NDArray[np.float64]

_COLUMNS = ["estimand", "name", "family", "framing", "prompt", "unit", "estimate", "se", "lower",
            "upper", "p", "p.min", "n_words", "n_models", "n_bases", "remark"]  # fmt: skip
_METHODS = ("spearman", "kendall")
_UNDEFINED = "no correlation: all its scores are equal, or too few"
_ALONE = "one base: nothing is seen of how bases differ"
_MOST_PERMUTATIONS = 9999


def rank_agreement(
    scores: xr.Dataset,
    reference: str | pd.Series | xr.DataArray,
    *,
    method: Literal["spearman", "kendall"] = "spearman",
    prob: float = 0.9,
    n_resamples: int = 1000,
    seed: int = 0,
    progress: bool = True,
) -> pd.DataFrame:
    r"""Correlate each model's ranking of the words with that of a reference, such as humans.

    Parameters
    ----------
    scores : xarray.Dataset
        Scores that follow the contract (:mod:`valuebias.schema`); categories are not needed.
    reference : str, pandas.Series or xarray.DataArray
        The reference rater's number for each word, a higher one for what is liked more: the name
        of a coordinate on response, or numbers whose index names the words. Of a list of places,
        where 1 is the best, give the negative. Words without one (absent, or NaN) are left out.
    method : {"spearman", "kendall"}, default "spearman"
        Spearman's ρ or Kendall's τ-b. Resampling takes minutes with τ for thousands of words.
    prob : float, default 0.9
        Probability that the intervals cover.
    n_resamples : int, default 1000
        Bootstrap samples of the words.
    seed : int, default 0
        Seed of these.
    progress : bool, default True
        Show a progress bar on standard error.

    Returns
    -------
    pandas.DataFrame
        One row per ``estimand`` ("model", "base", "family", "family difference"), ``name`` (with
        its ``family``), ``framing`` and ``prompt``, which is "" for the mean over the prompts of
        the framing. Where there are both, "signed" is the mean of positive prompts and, with the
        sign turned, negative ones. ``unit`` says what the interval is about: "word", the very same
        models asked about other words; "base", other bases of the families. Then ``estimate``,
        ``se``, ``lower`` and ``upper``; ``p`` of a difference, by giving the labels of the families
        to the bases in every other way, and ``p.min``, the smallest that there could be;
        ``n_words``, ``n_models``, ``n_bases``, and a ``remark`` on what is not known. The
        table's attrs say how it was made.

    Raises
    ------
    ValueBiasError
        If the dataset breaks the contract, the reference names no or fewer than three of its words,
        is not numeric or the same for all, or an option is out of range.

    Warns
    -----
    ValueBiasWarning
        If words of the scores are left out because the reference has no number for them.

    Notes
    -----
    A prompt's correlation is over the words that the model scored there; a model's is the mean of
    its prompts', a base's the mean of its models', a family's the mean of its bases', so that many
    models of one base count once. Models without a base are bases of their own.

    Intervals over words are percentiles of a bootstrap that draws words, the same for all models
    and prompts, so that what these share does not widen a difference. They say nothing of other
    models. Intervals over bases are Student's (of a difference, Welch's) t over the bases' values,
    as wide as few bases make them; of one base alone there is none.

    Errors in the reference lower all correlations alike, so they are no measure of what a model
    would reach against a perfect one.

    Examples
    --------
    >>> import valuebias
    >>> scores = valuebias.datasets.load("simulated")
    >>> liked = scores["score"].sel(prompt=scores["framing"] == "positive")
    >>> human = liked.mean(["model", "prompt"])
    >>> table = rank_agreement(scores, human, n_resamples=99, progress=False)
    >>> mean = table[(table["framing"] == "signed") & (table["unit"] == "word")]
    >>> mean.loc[mean["estimand"] == "family", ["name", "n_models", "n_bases"]].to_numpy().tolist()
    [['Alder', 4, 4], ['Birch', 4, 4]]
    """
    validate(scores)
    check_known(method, _METHODS, f"Unknown method {method!r}.")
    check_number(
        prob, "prob", "a probability between 0 and 1", least=0, most=1, above=True, below=True
    )
    check_whole(n_resamples, "n_resamples", least=2)
    check_whole(seed, "seed", least=0)
    values, name = reference_values(scores, reference)
    known = ~np.isnan(values)
    if not known.all():
        warnings.warn(
            f"The reference {name!r} has no number for {(~known).sum():,} of {known.size:,} words: "
            "they are left out.",
            ValueBiasWarning,
            stacklevel=2,
        )
    score = scores["score"].transpose("model", "prompt", "response").to_numpy()[..., known]
    made = _correlations(score.astype(float), values[known], method, n_resamples, seed, progress)
    table = from_rows(list(_rows(scores, score, made, prob, seed)), columns=_COLUMNS)
    table.attrs |= {"reference": name, "method": method, "prob": prob, "seed": seed}
    table.attrs |= {"resamples": n_resamples, "words": int(known.sum())}
    return table


def _correlations(
    score: Array, reference: Array, method: str, n: int, seed: int, progress: bool
) -> Array:
    """Correlate, shape (1 + n, model, prompt): the words as they are, then resamples of them."""
    n_models, n_prompts, n_words = score.shape
    kind = _Spearman if method == "spearman" else _Kendall
    pairs = [kind(row, reference) for row in score.reshape(-1, n_words)]
    made = np.full((1 + n, len(pairs)), np.nan)
    made[0] = [pair.whole() for pair in pairs]
    rng = np.random.default_rng(seed)
    with progress_bar("Resampling the words", shown=progress) as advance:
        for i in range(1, n + 1):
            times = np.bincount(rng.integers(n_words, size=n_words), minlength=n_words)
            made[i] = [pair.resampled(times) for pair in pairs]
            if advance is not None:
                advance(i, n)
    return made.reshape(1 + n, n_models, n_prompts)


class _Pair(ABC):
    """A model's scores under a prompt, and the reference, of the words that have both."""

    correlate: Callable[..., Any]

    def __init__(self, score: Array, reference: Array) -> None:
        self.scored = ~np.isnan(score)
        self.x, self.y = score[self.scored], reference[self.scored]
        many = len(self.x) >= FEWEST
        self.defined = bool(many and np.ptp(self.x) > 0 and np.ptp(self.y) > 0)

    def whole(self) -> float:
        return float(self.correlate(self.x, self.y).statistic) if self.defined else np.nan

    @abstractmethod
    def resampled(self, times: NDArray[np.intp]) -> float:
        """Correlate the words, each as many times as it was drawn."""


class _Kendall(_Pair):
    correlate = staticmethod(stats.kendalltau)

    def resampled(self, times: NDArray[np.intp]) -> float:
        if not self.defined:
            return np.nan
        at = np.repeat(np.arange(len(self.x)), times[self.scored])
        return float(self.correlate(self.x[at], self.y[at]).statistic)


class _Spearman(_Pair):
    """Ranked once: midranks of a resample follow from how often each value was drawn."""

    correlate = staticmethod(stats.spearmanr)

    def __init__(self, score: Array, reference: Array) -> None:
        super().__init__(score, reference)
        self._codes = [np.unique(side, return_inverse=True)[1] for side in (self.x, self.y)]

    def resampled(self, times: NDArray[np.intp]) -> float:
        if not self.defined:
            return np.nan
        weights = times[self.scored].astype(float)
        x, y = (self._deviations(codes, weights) for codes in self._codes)
        spread = float(weights @ (x * x)) * float(weights @ (y * y))
        return float(weights @ (x * y)) / np.sqrt(spread) if spread > 0 else np.nan

    @staticmethod
    def _deviations(codes: NDArray[np.intp], weights: Array) -> Array:
        counts = np.bincount(codes, weights=weights)
        # The mean of all ranks of n words is (n + 1) / 2, whatever the ties.
        ranks = np.cumsum(counts) - counts / 2
        return np.asarray((ranks - weights.sum() / 2)[codes])


class _Levels:
    """What models, bases and families are called, and the models of each."""

    def __init__(self, scores: xr.Dataset, score: Array) -> None:
        models, family, base = (
            np.array([str(name) for name in names])
            for names in (scores["model"].to_numpy(), scores["family"].to_numpy(), bases_of(scores))
        )
        self.models, self.family = models.tolist(), family.tolist()
        self.scored = np.asarray((~np.isnan(score)).any(axis=1))
        self.of_base = {str(name): np.flatnonzero(base == name) for name in dict.fromkeys(base)}
        # A base that several families share counts in each of them, with its models there.
        self.of_family = {
            str(name): [
                np.flatnonzero((family == name) & (base == one))
                for one in dict.fromkeys(base[family == name])
            ]
            for name in sorted(set(family.tolist()))
        }
        self.shared = sum(map(len, self.of_family.values())) > len(self.of_base)


def _cells(scores: xr.Dataset, made: Array) -> Iterator[tuple[str, str, Array]]:
    """Give a framing, a prompt or "" for all of it, and the values, shape (resample, model)."""
    prompts, framing = (
        [str(name) for name in scores[key].to_numpy()] for key in ("prompt", "framing")
    )
    by_framing = {
        level: _mean(made[..., np.array(framing) == level])
        for level in FRAMINGS
        if level in framing
    }
    signed = [SIGNS[level] * values for level, values in by_framing.items() if level in SIGNS]
    if len(signed) == len(SIGNS):
        yield "signed", "", np.mean(signed, axis=0)
    elif "negative" in by_framing:
        yield TURNED, "", signed[0]
    for level, values in by_framing.items():
        yield level, "", values
    for i, (prompt, level) in enumerate(zip(prompts, framing, strict=True)):
        yield level, prompt, made[..., i]


def _rows(
    scores: xr.Dataset, score: Array, made: Array, prob: float, seed: int
) -> Iterator[dict[str, Any]]:
    levels = _Levels(scores, score)
    for framing, prompt, values in _cells(scores, made):
        for row in _of_cell(levels, values, prob, seed):
            yield {"framing": framing, "prompt": prompt, **row}


def _of_cell(levels: _Levels, values: Array, prob: float, seed: int) -> Iterator[dict[str, Any]]:
    defined = set(np.flatnonzero(~np.isnan(values[0])).tolist())

    def row(
        estimand: str, name: str, units: Sequence[NDArray[np.intp]], **found: Any
    ) -> dict[str, Any]:
        kept = [np.array([i for i in at if i in defined], dtype=np.intp) for at in units]
        counts = {
            "n_words": int(levels.scored[np.concatenate(kept)].any(axis=0).sum()),
            "n_models": sum(map(len, kept)),
            "n_bases": sum(len(at) > 0 for at in kept),
        }
        of = ", ".join(dict.fromkeys(levels.family[i] for at in units for i in at))
        bare = {"family": of, "p": np.nan, "p.min": np.nan, "remark": ""}
        return {**bare, "estimand": estimand, "name": name, **counts, **found}

    for i, name in enumerate(levels.models):
        yield row("model", name, [np.array([i])], **_over_words(values[:, i], prob))
    for name, at in levels.of_base.items():
        yield row("base", name, [at], **_over_words(_mean(values[:, at]), prob))
    by_base = {
        name: np.stack([_mean(values[:, at]) for at in units], axis=1)
        for name, units in levels.of_family.items()
    }
    for name, bases in by_base.items():
        about = ("family", name, levels.of_family[name])
        yield row(*about, **_over_words(_mean(bases), prob))
        yield row(*about, **_over_bases(bases[0], None, prob))
    for first, second in combinations(by_base, 2):
        one, two = by_base[first], by_base[second]
        units = [*levels.of_family[first], *levels.of_family[second]]
        about = ("family difference", f"{first} − {second}", units)
        yield row(*about, **_over_words(_mean(one) - _mean(two), prob))
        found = _over_bases(one[0], two[0], prob)
        yield row(*about, **{**found, **_permuted(one[0], two[0], levels, seed)})


def _over_words(values: Array, prob: float) -> dict[str, Any]:
    """Summarise the estimate, which is the first value, and its resamples."""
    found = values[1:][~np.isnan(values[1:])]
    if np.isnan(values[0]) or len(found) < 2:
        nothing = {"se": np.nan, "lower": np.nan, "upper": np.nan}
        return {"unit": "word", "estimate": values[0], **nothing, "remark": _UNDEFINED}
    lower, upper = np.quantile(found, [(1 - prob) / 2, (1 + prob) / 2])
    ends = {"se": float(found.std(ddof=1)), "lower": float(lower), "upper": float(upper)}
    return {"unit": "word", "estimate": float(values[0]), **ends}


def _over_bases(first: Array, second: Array | None, prob: float) -> dict[str, Any]:
    """Give Student's interval for a mean of bases, or Welch's for a difference of such means."""
    groups = [group[~np.isnan(group)] for group in (first, second) if group is not None]
    if not all(map(len, groups)):
        nothing = dict.fromkeys(("estimate", "se", "lower", "upper"), np.nan)
        return {"unit": "base", **nothing, "remark": _UNDEFINED}
    means = [float(group.mean()) for group in groups]
    estimate = means[0] - (means[1] if len(means) > 1 else 0.0)
    if min(map(len, groups)) < 2:
        nothing = dict.fromkeys(("se", "lower", "upper"), np.nan)
        return {"unit": "base", "estimate": estimate, **nothing, "remark": _ALONE}
    parts = np.array([group.var(ddof=1) / len(group) for group in groups])
    se = float(np.sqrt(parts.sum()))
    # Welch and Satterthwaite's; of one group its own degrees of freedom. Bases may be copies.
    rest = sum(part**2 / (len(group) - 1) for part, group in zip(parts, groups, strict=True))
    half = float(stats.t.ppf((1 + prob) / 2, se**4 / rest)) * se if rest > 0 else 0.0
    return {"unit": "base", "estimate": estimate, "se": se,
            "lower": estimate - half, "upper": estimate + half}  # fmt: skip


def _permuted(first: Array, second: Array, levels: _Levels, seed: int) -> dict[str, Any]:
    """Test a difference by giving the families' labels to the bases in every other way."""
    if levels.shared:
        return {"remark": "families share bases, whose labels cannot be permuted"}
    groups = [group[~np.isnan(group)] for group in (first, second)]
    if not all(map(len, groups)):
        return {}
    ways = assignments(
        len(groups[0]), len(groups[1]), _MOST_PERMUTATIONS, np.random.default_rng(seed)
    )
    test = label_test(groups[0], groups[1], ways)
    remark = _ALONE if min(map(len, groups)) == 1 else ""
    told = "; ".join(part for part in (str(test["remark"]), remark) if part)
    return {"p": test["p"], "p.min": test["p.min"], "remark": told}


def _mean(values: Array) -> Array:
    """Take means along the last axis over what is defined; NaN where nothing is."""
    defined = ~np.isnan(values)
    total, count = np.where(defined, values, 0.0).sum(axis=-1), defined.sum(axis=-1)
    return np.asarray(np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0))
