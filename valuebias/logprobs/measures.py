"""How well a ranking finds raised words, and the interval of a mean."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["interval", "recovery"]

Doubles = npt.NDArray[np.float64]

_INTERVAL = 0.9
_RESAMPLES = 2000


def recovery(
    rewards: Doubles, raised: npt.NDArray[np.bool_], k: Sequence[int] = ()
) -> dict[str, float]:
    """Measure how well rewards find raised words.

    ``rewards`` is (word,); ``raised`` is (word,).
    """
    from scipy.stats import mannwhitneyu

    n = int(raised.sum())
    wins = mannwhitneyu(rewards[raised], rewards[~raised], method="asymptotic").statistic
    auc = wins / (n * (len(raised) - n))
    order = np.argsort(-rewards, kind="stable")
    measures = {"auc": float(auc), "recall": float(raised[order[:n]].mean())}
    return measures | {f"recall@{top}": float(raised[order[:top]].sum() / n) for top in k}


def interval(groups: Sequence[Doubles]) -> tuple[float, float, float]:
    """Return the mean of group means, and a 90 % percentile bootstrap interval of it."""
    rng = np.random.default_rng(0)
    means = np.array([group.mean() for group in groups])
    drawn = rng.choice(len(groups), size=(_RESAMPLES, len(groups)))
    resampled = means[drawn]
    for number, group in enumerate(groups):
        if len(group) > 1:
            mask = drawn == number
            resampled[mask] = rng.choice(group, size=(int(mask.sum()), len(group))).mean(axis=1)
    lower, upper = np.quantile(resampled.mean(axis=1), [(1 - _INTERVAL) / 2, (1 + _INTERVAL) / 2])
    return float(means.mean()), float(lower), float(upper)
