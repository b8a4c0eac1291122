"""Two families compared within one category and framing: Welch's t, permutations, Cohen's d.

Every median rank of a family counts as one independent observation, as in the paper. They are not:
the medians of one model under many prompts resemble each other, so these p values are too small.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from valuebias._core.progress import progress_bar
from valuebias.analysis.classical.frames import from_rows
from valuebias.analysis.classical.medians import MedianRanks

__all__ = ["permutation_tests", "welch_tests"]

Array = NDArray[np.float64]

_LABELS = ["category", "framing", "family1", "family2"]
_WELCH = [*_LABELS, "n1", "n2", "mean1", "mean2", "difference", "t", "df", "p.value", "cohen.d"]
_PERMUTATION = [*_LABELS, "t", "p.perm", "p.plus1", "p.bonferroni"]
_CHUNK = 2_000_000  # labels drawn at a time: 16 MB of random keys


def welch_tests(medians: MedianRanks) -> pd.DataFrame:
    """Compare every two families in every category × framing by Welch's t.

    Notes
    -----
    Source: Christian et al. 2026, Figure 2 (Welch's t, false discovery rate).

    Examples
    --------
    >>> from valuebias import simulate
    >>> ds = simulate(n_models={"Gemma": 2, "Llama": 2}, n_prompts=4, n_words=30, seed=1)
    >>> from valuebias.analysis.classical.medians import median_ranks
    >>> welch_tests(median_ranks(ds))["n1"].tolist()
    [4, 4, 4, 4]
    """
    rows = [labels | _welch(first, second) for labels, first, second in _comparisons(medians)]
    table = from_rows(rows, columns=_WELCH)
    p = table["p.value"].to_numpy(dtype=float)
    adjusted = np.full(p.shape, np.nan)
    known = ~np.isnan(p)
    if known.any():
        adjusted[known] = stats.false_discovery_control(p[known], method="bh")
    table.insert(list(table.columns).index("p.value") + 1, "p.fdr", adjusted)
    return table


def permutation_tests(
    medians: MedianRanks, *, n_permutations: int, seed: int, progress: bool = False
) -> pd.DataFrame:
    """Compare every two families in every category × framing by permuting Welch's t.

    Notes
    -----
    Of n shuffles none may reach the observed t; that shows p to be small, not zero, and zero times
    the number of tests stays zero. ``p.plus1`` is never zero and keeps its level (Phipson & Smyth
    2010, Stat. Appl. Genet. Mol. Biol. 9, 39), so it is what is shown and corrected; ``p.perm``
    stays as it is for comparison with the paper.

    Source: Christian et al. 2026, Figure 1, by ``MKinfer::perm.t.test`` with 9,999 shuffles of
    Welch's t (Janssen 1997, Statist. Probab. Lett. 36, 9–21). The paper's script reads that
    function's ``p.value``, which its manual says is the ordinary Welch p value, not
    ``perm.p.value``; see `welch_tests` for it.

    Examples
    --------
    >>> from valuebias import simulate
    >>> ds = simulate(n_models={"Gemma": 2, "Llama": 2}, n_prompts=4, n_words=30, seed=1)
    >>> from valuebias.analysis.classical.medians import median_ranks
    >>> made = permutation_tests(median_ranks(ds), n_permutations=99, seed=1)
    >>> bool(made["p.perm"].between(0, 1).all())
    True
    """
    rows = []
    streams = np.random.SeedSequence(seed)
    todo = list(_comparisons(medians))
    with progress_bar("permutation tests", shown=progress) as advance:
        for (labels, first, second), stream in zip(todo, streams.spawn(len(todo)), strict=True):
            t = _welch(first, second)["t"]
            p = plus1 = bonferroni = np.nan
            if np.isfinite(t):
                generator = np.random.default_rng(stream)
                as_large = _as_large(first, second, t, n_permutations, generator)
                p, plus1 = as_large / n_permutations, (as_large + 1) / (n_permutations + 1)
                bonferroni = min(1.0, plus1 * len(todo))
            rows.append(
                labels | {"t": t, "p.perm": p, "p.plus1": plus1, "p.bonferroni": bonferroni}
            )
            if advance is not None:
                advance(len(rows), len(todo))
    return from_rows(rows, columns=_PERMUTATION)


def _comparisons(medians: MedianRanks) -> Iterator[tuple[dict[str, Any], Array, Array]]:
    """Give the labels and the median ranks of every two families in every cell."""
    family = np.asarray(medians.family)
    framing = np.asarray(medians.framing)
    for level in medians.framings:
        block = medians.values[:, framing == level]
        for c, category in enumerate(medians.categories):
            for pair in combinations(medians.families, 2):
                first, second = (block[family == name][..., c].reshape(-1) for name in pair)
                labels: dict[str, Any] = dict(zip(_LABELS, (category, level, *pair), strict=True))
                yield labels, first[~np.isnan(first)], second[~np.isnan(second)]


def _welch(first: Array, second: Array) -> dict[str, Any]:
    """Return Welch's t with its df and p; NaN where it does not exist."""
    n1, n2 = first.size, second.size
    mean1 = float(first.mean()) if n1 else np.nan
    mean2 = float(second.mean()) if n2 else np.nan
    t = df = p = d = np.nan
    if min(n1, n2) > 1:
        variance1, variance2 = float(first.var(ddof=1)), float(second.var(ddof=1))
        squared1, squared2 = variance1 / n1, variance2 / n2
        if squared1 + squared2 > 0:
            t = (mean1 - mean2) / np.sqrt(squared1 + squared2)
            df = (squared1 + squared2) ** 2 / (squared1**2 / (n1 - 1) + squared2**2 / (n2 - 1))
            p = float(2 * stats.t.sf(abs(t), df))
            pooled = ((n1 - 1) * variance1 + (n2 - 1) * variance2) / (n1 + n2 - 2)
            d = (mean1 - mean2) / np.sqrt(pooled)
    values = (n1, n2, mean1, mean2, mean1 - mean2, float(t), df, p, d)
    return dict(zip(_WELCH[len(_LABELS) :], values, strict=True))


def _as_large(
    first: Array, second: Array, t: float, n_permutations: int, generator: np.random.Generator
) -> int:
    """Count the shuffles whose |t| is at least the observed one."""
    values = np.concatenate([first, second])
    values = values - values.mean()
    n1, n2 = first.size, second.size
    moments = np.stack([values, values**2], axis=-1)
    total = moments.sum(axis=0)
    # Shuffles that only swap equal values reproduce t up to rounding, and count.
    limit = abs(t) * (1 - 1e-10)
    count, left = 0, n_permutations
    while left:
        size = min(left, max(1, _CHUNK // values.size))
        left -= size
        keys = generator.random((size, values.size), dtype=np.float32)
        chosen = np.argpartition(keys, n1 - 1, axis=1)[:, :n1]
        inside = moments[chosen].sum(axis=1)
        outside = total - inside
        spread = (inside[:, 1] - inside[:, 0] ** 2 / n1) / (n1 * (n1 - 1))
        spread += (outside[:, 1] - outside[:, 0] ** 2 / n2) / (n2 * (n2 - 1))
        shift = inside[:, 0] / n1 - outside[:, 0] / n2
        count += int((np.abs(shift) >= limit * np.sqrt(np.maximum(spread, 0.0))).sum())
    return count
