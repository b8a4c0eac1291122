"""Whether differences of rewards are log-odds: a reward model as a judge of which answer is right.

Rewards trained by Bradley and Terry's likelihood promise that σ(r_a − r_b) is the probability that
a is preferred to b. Of a right and a wrong answer in random order that is the probability of being
right, and by symmetry it is enough to look at the answer that scores higher: how sure the model is
of it, σ(|difference|), beside how often it is the right one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from valuebias.analysis.contrasting.values import SHARE, Values, jackknifed

__all__ = ["Pairs", "calibration_error", "make_pairs", "reliability"]

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Pairs = tuple[Array, Array, NDArray[np.intp]]
"""Confidence and outcome (model, pair), the outcome of a tie one half; and each pair's item."""


def make_pairs(score: Array, right: Mask, wrong: Mask) -> Pairs:
    """List all pairs of a right and a wrong answer; NaN where one has no score."""
    item, first, second = np.nonzero(right[:, :, None] & wrong[:, None, :])
    difference = score[:, item, first] - score[:, item, second]
    outcome = np.where(np.isnan(difference), np.nan, 0.5 + 0.5 * np.sign(difference))
    return np.asarray(special.expit(np.abs(difference))), outcome, item


def _binned(pairs: Pairs, bins: int) -> NDArray[np.intp]:
    """Say which of equal bins from one half to one each pair is in."""
    place = np.nan_to_num((pairs[0] - 0.5) * 2 * bins)
    return np.minimum(place.astype(np.intp), bins - 1)


def calibration_error(pairs: Pairs, bins: int, n_items: int) -> Values:
    """Give the expected calibration error of each model: mean |confidence − accuracy| over bins."""
    confidence, outcome, item = pairs
    known = np.isfinite(outcome)
    surplus = np.where(known, outcome - confidence, 0.0)
    place = _binned(pairs, bins)
    n_models = len(confidence)
    by_item = np.zeros((n_models, n_items, bins))
    counts = np.zeros((n_models, n_items))
    models = np.arange(n_models)[:, None]
    np.add.at(by_item, (models, item[None], place), surplus)
    np.add.at(counts, (models, item[None]), known)

    def of(items: NDArray[np.intp]) -> Array:
        total = counts[:, items].sum(axis=1)
        off = np.abs(by_item[:, items].sum(axis=1)).sum(axis=1)
        return np.asarray(np.divide(off, total, out=np.full(n_models, np.nan), where=total > 0))

    return replace(jackknifed(of, counts > 0), ends=SHARE)


def reliability(
    pairs: Pairs, bins: int, of: Iterator[tuple[str, str, str, NDArray[np.intp]]]
) -> pd.DataFrame:
    """Tabulate confidence and accuracy by bin, of models and of families.

    ``of`` gives level, name, family and the positions of models.
    """
    place = _binned(pairs, bins)
    rows = []
    for level, name, family, models in of:
        known = np.isfinite(pairs[1][models])
        for b in range(bins):
            mask = known & (place[models] == b)
            n = int(mask.sum())
            if n:
                rows.append({
                    "level": level, "name": name, "family": family, "bin": b + 1,
                    "from": 0.5 + b / (2 * bins), "to": 0.5 + (b + 1) / (2 * bins),
                    "confidence": float(pairs[0][models][mask].mean()),
                    "accuracy": float(pairs[1][models][mask].mean()),
                    "n_pairs": n,
                })  # fmt: skip
    return pd.DataFrame(rows)
