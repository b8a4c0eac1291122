"""Random splits of the words, to see whether any two groups of words would do as well."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from valuebias._core.notebooks import as_html
from valuebias._core.text import visible_lines
from valuebias.analysis.design.crossing import as_design
from valuebias.analysis.estimands.estimand import DIFFERENCE, SLOPE
from valuebias.analysis.estimands.rows import headline_combination
from valuebias.errors import ValueBiasError, did_you_mean, few, shown

if TYPE_CHECKING:
    from valuebias.posterior.posterior import Posterior

__all__ = ["Placebo", "placebo"]

Array = NDArray[np.float64]

_AT_A_TIME = 500
_FEW_SPLITS = 1_000
"""Fewer splits than these are said: p can be no less than one in so many."""
_TOLERANCE, _RANK = 1e-9, 1e-10


@dataclass(frozen=True, eq=False, repr=False)
class Placebo:
    """The headline's difference beside those of random splits of the words; printed, its text.

    Parameters
    ----------
    difference : float
        The difference of the families in the headline's categories, in units of the outcome: of
        these very models, prompts and words.
    random : ndarray, shape (split,)
        The same for random splits of the words into groups of the same sizes.
    p : float
        Share of the splits, this one among them, with a difference at least as large either way.
    matched : tuple of str
        Covariates of words that the splits keep balanced.
    name : str
        What is compared.
    form : str
        Whether that is a ``"difference"``, a ``"slope"`` or a ``"lean"``.
    category : str
        The categories compared.
    at : str
        What other variables are set to: where the headline is of several cells, its first.
    n_splits : float
        How many different splits there are, the categories' own among them; infinite beyond what a
        float can count.

    Examples
    --------
    >>> import valuebias
    >>> fit = valuebias.fit(valuebias.datasets.load("simulated"), seed=1, progress=False)
    >>> made = fit.placebo(n=199)
    >>> len(made.random), made.name
    (199, 'Alder − Birch')
    """

    difference: float
    random: Array = field(repr=False)
    p: float
    matched: tuple[str, ...]
    name: str
    form: str = DIFFERENCE
    category: str = ""
    at: str = ""
    n_splits: float = math.inf

    def __str__(self) -> str:
        how = f", matched in {' and '.join(self.matched)}," if self.matched else ""
        verb = "is" if self.p <= 0.05 else "is not"
        at_least = _as_far(self.random, self.difference)
        result, where = self._what()
        few_splits = ""
        if self.n_splits < _FEW_SPLITS:
            few_splits = (
                f" There are {self.n_splits:,.0f} different splits in all, so that p can hardly be "
                f"less than {1 / self.n_splits:.2g}."
            )
        return visible_lines(
            f"Of {len(self.random):,} random splits of the words into groups of these sizes{how} "
            f"{at_least:,} {result}{where} (p = {self.p:.2g}): "
            f"the {self.form} {verb} larger than that of two arbitrary groups of words.{few_splits}"
        )

    def _what(self) -> tuple[str, str]:
        """Say what a split does, and with what set."""
        where = f", with {self.at}" if self.at else ""
        if self.form == DIFFERENCE:
            return f"tell {self.name} apart as far as the categories do", where
        if self.form == SLOPE:
            return f"change as much with {self.name} as the categories do", where
        return f"differ as much for {self.name} as the categories do", where

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Show the answer in a notebook."""
        return as_html(str(self), self.table())

    def table(self) -> pd.DataFrame:
        """Give the difference with quantiles of the random ones.

        Returns
        -------
        DataFrame
            One row: ``name``, ``category``, ``at``, ``difference``, ``p``, ``sd`` and the 2.5, 50
            and 97.5% quantiles of the random differences, ``matched``, ``n`` and ``n_splits``.
        """
        low, middle, high = np.quantile(self.random, [0.025, 0.5, 0.975])
        return pd.DataFrame(
            [
                {
                    "name": self.name,
                    "category": self.category,
                    "at": self.at,
                    "difference": self.difference,
                    "p": self.p,
                    "sd": self.random.std(ddof=1),
                    "2.5%": low,
                    "50%": middle,
                    "97.5%": high,
                    "matched": ", ".join(self.matched),
                    "n": len(self.random),
                    "n_splits": self.n_splits,
                }
            ]
        )


def placebo(fit: Posterior, match: str | Sequence[str], bins: int, n: int, seed: int) -> Placebo:
    """Shuffle the words' categories; see :meth:`Fit.placebo`."""
    if isinstance(match, str) or not isinstance(match, Sequence):
        match = (match,)
    match = tuple(match)
    if not isinstance(n, int | np.integer) or n < 19:
        raise ValueBiasError(f"n must be a whole number of 19 splits or more, found {shown(n)}.")
    if not isinstance(bins, int | np.integer) or bins < 2:
        raise ValueBiasError(f"bins must be a whole number of 2 or more, found {shown(bins)}.")
    whole = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
    if not whole or seed < 0:
        raise ValueBiasError(f"seed must be a whole number of 0 or more, found {shown(seed)}.")
    crossing = fit.problem.crossing
    combination = headline_combination(crossing, fit.contrast, fit.focus)
    row = fit.contrasts().iloc[0]
    weights = next(iter(fit.categories.values()))
    on_words = _on_words(crossing.loadings, weights)
    gaps = _word_gaps(fit, combination.row, combination.framing)
    difference = float(on_words @ gaps)
    strata = _strata(fit, match, bins)
    n_splits = _n_splits(on_words, strata)
    if n_splits == 1:
        raise ValueBiasError(
            f"all words that are alike in {' and '.join(match) or 'nothing'} are of one category, "
            "so that none can change places and there is no other split; match fewer coordinates, "
            "or numbers in fewer bins."
        )
    rng = np.random.default_rng([seed, 13])
    random = np.empty(n)
    for start in range(0, n, _AT_A_TIME):
        size_here = min(_AT_A_TIME, n - start)
        shuffled = np.broadcast_to(on_words, (size_here, len(on_words))).copy()
        for stratum in strata:
            shuffled[:, stratum] = rng.permuted(shuffled[:, stratum], axis=1)
        random[start : start + size_here] = shuffled @ gaps
    p = (1 + _as_far(random, difference)) / (n + 1)
    named = (str(row[part]) for part in ("name", "form", "category", "at"))
    name, form, category, at = named
    return Placebo(difference, random, p, match, name, form, category, at, n_splits)


def _on_words(loadings: Array, weights: Array) -> Array:
    """Give what each word counts in a contrast of categories, as the fit's least squares have it.

    ``loadings`` is (word, category), ``weights`` (category,). Of words in one category each these
    are means; a word in two lies midway between them, and tells nothing of their difference.
    """
    design = as_design(loadings)
    found = np.linalg.pinv(design - design.mean(axis=0), rcond=_RANK).T @ weights
    # So that words alike count alike, to the last bit.
    return np.asarray(np.round(found / np.abs(found).max(), 12) * np.abs(found).max())


def _as_far(random: Array, difference: float) -> int:
    """Count the splits that are as far from zero: sums of the same words differ by rounding."""
    sizes = np.abs(random)
    return int((sizes >= abs(difference) - _TOLERANCE * sizes.max()).sum())


def _n_splits(on_words: Array, strata: list[NDArray[np.intp]]) -> float:
    """Count the different splits: ways to give the words of each stratum its categories."""
    log = 0.0
    for stratum in strata:
        counts = np.unique(on_words[stratum], return_counts=True)[1]
        log += math.lgamma(len(stratum) + 1) - sum(math.lgamma(k + 1) for k in counts)
    return float(round(math.exp(log))) if log < 30 else math.exp(min(log, 700.0))


def _word_gaps(fit: Posterior, row: Array, framing: Array) -> Array:
    """Estimate the headline's difference for every word alone: least squares, no shrinkage."""
    crossing = fit.problem.crossing
    seen = crossing.observed
    means = np.zeros((len(crossing.framings), crossing.shape[0], crossing.shape[2]))
    for f in range(len(crossing.framings)):
        prompts = crossing.prompts_of(f)
        count = seen[:, prompts].sum(axis=1)
        if not count.all():
            lacking = np.array(crossing.words, dtype=object)[(count == 0).any(axis=0)]
            raise ValueBiasError(
                f"the words {few(map(str, lacking))} were scored by some model after no "
                f"{crossing.framings[f]} prompt; a placebo needs one score of each word by each "
                "model. Leave these words out with dataset.drop_sel(response=[...])."
            )
        means[f] = crossing.y[:, prompts].sum(axis=1) / count
    coefficients = np.linalg.pinv(crossing.design.matrix) @ np.tensordot(framing, means, 1)
    return np.asarray(row @ coefficients)


def _strata(fit: Posterior, match: tuple[str, ...], bins: int) -> list[NDArray[np.intp]]:
    """Words that may change places: all, or those alike in the covariates."""
    from valuebias.schema import word_table

    n_words = fit.problem.crossing.shape[2]
    if not match:
        return [np.arange(n_words)]
    table = word_table(fit.data)
    codes = []
    for name in match:
        if not isinstance(name, str) or name not in table.columns:
            raise ValueBiasError(
                f"match names {shown(name)}, which is not a coordinate of the words. "
                f"{did_you_mean(name, map(str, table.columns))}"
            )
        if not pd.api.types.is_numeric_dtype(table[name]):
            codes.append(pd.factorize(table[name])[0])
            continue
        ranks = table[name].rank(method="average", pct=True).to_numpy(dtype=np.float64)
        codes.append(np.ceil(np.nan_to_num(ranks) * bins).astype(int))
    keys = pd.MultiIndex.from_arrays(codes)
    of_each = pd.factorize(keys)[0]
    return [np.flatnonzero(of_each == k) for k in range(of_each.max() + 1)]
