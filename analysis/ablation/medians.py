"""A mixed model of leans that are known as medians only, by training run and checkpoint.

A table of medians has no words and prompts, so the model is about runs alone: the lean of
a checkpoint is what the formula gives its kind of run, a deviation of the run, and one of the
checkpoint. The two standard deviations are put on a grid; given them, all else is Gaussian.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from valuebias.analysis.ablation.lean_model import LeanModel, LeanPart
from valuebias.analysis.design.formula import ModelDesign
from valuebias.analysis.design.grouping import run_labels

__all__ = ["MedianDraws", "draw_medians"]

Array = NDArray[np.float64]

_POINTS = 48
_SCALE = 0.5
"""Prior scale of SDs and effects, in units of the outcome's SD."""


@dataclass(frozen=True)
class MedianDraws:
    """Independent draws of the posterior."""

    coefficient: Array  # (draw, column)
    lean: Array  # (draw, row): the lean of every row without its checkpoint's own deviation
    # Columns ``run`` and ``checkpoint``; one row per draw. Only ``run`` where every run has one
    # checkpoint.
    sd: pd.DataFrame
    measured: Array  # (row,): the leans as given
    unit: float  # the standard deviation of a single outcome

    def lean_model(self, design: ModelDesign) -> LeanModel:
        """Reduce the posterior to the leans given the variances."""
        runs = _runs(design.models)
        alike = {
            "run": (runs[:, None] == runs).astype(float),
            "checkpoint": np.eye(len(self.measured)),
        }
        parts = [
            LeanPart(
                alike[name],
                sd**2,
                relative_sd=sd[:, None] / (_SCALE * self.unit) if name == "run" else None,
            )
            for name, sd in ((name, self.sd[name].to_numpy()) for name in self.sd.columns)
        ]
        return LeanModel(self.measured[None, :], tuple(parts), _scales(design, self.unit))


def draw_medians(
    lean: Array, design: ModelDesign, *, unit: float, draws: int, rng: np.random.Generator
) -> MedianDraws:
    """Draw from the posterior of leans (row,)."""
    runs, which = np.unique(_runs(design.models), return_inverse=True)
    several = len(runs) < len(lean)
    of_run = (which[:, None] == np.arange(len(runs))).astype(float)
    # With one checkpoint per run, the run's deviation and the checkpoint's appear as a sum only.
    effects = np.concatenate([design.matrix, of_run], axis=1) if several else design.matrix
    scales = _scales(design, unit)
    grid = unit * np.geomspace(1e-3, 3.0, _POINTS)
    pairs = [(a, b) for a in (grid if several else grid[:1]) for b in grid]
    cases = [_Case(lean, effects, _variances(scales, a, effects.shape[1]), b) for a, b in pairs]
    # Evenly spaced on the logarithm, hence the densities of the logarithms.
    log_prior = np.array(
        [np.log(b) - 2 * (b / unit) ** 2 + several * (np.log(a) - 2 * (a / unit) ** 2)
         for a, b in pairs]
    )  # fmt: skip
    log_weight = log_prior + [case.log_likelihood for case in cases]
    weight = np.exp(log_weight - log_weight.max())
    chosen = rng.choice(len(pairs), size=draws, p=weight / weight.sum())
    out = np.empty((draws, effects.shape[1]))
    for number in np.unique(chosen):
        in_case = chosen == number
        out[in_case] = cases[number].draw(int(in_case.sum()), rng)
    sd = pd.DataFrame([pairs[i] for i in chosen], columns=["run", "checkpoint"])
    if not several:
        sd = sd.drop(columns="run").rename(columns={"checkpoint": "run"})
    coefficient = out[:, : design.matrix.shape[1]]
    return MedianDraws(coefficient, out @ effects.T, sd, measured=lean, unit=unit)


def _scales(design: ModelDesign, unit: float) -> Array:
    """Prior SDs of the effects of the columns."""
    scales = np.full(design.matrix.shape[1], _SCALE * unit)
    scales[0] = unit
    return scales


def _runs(models: pd.DataFrame) -> NDArray[np.str_]:
    labels = run_labels(models)
    return models.index.to_numpy().astype(str) if labels is None else labels


def _variances(scales: Array, run: float, size: int) -> Array:
    return np.concatenate([scales**2, np.full(size - len(scales), run**2)])


class _Case:
    """The Gaussian posterior of all effects at one value of the standard deviations."""

    def __init__(self, y: Array, effects: Array, prior: Array, sd: float) -> None:
        precision = effects.T @ effects / sd**2 + np.diag(1 / prior)
        self.root = np.linalg.cholesky(precision)
        half = np.linalg.solve(self.root, effects.T @ y / sd**2)
        self.mean = np.linalg.solve(self.root.T, half)
        log_det = 2 * np.log(np.diag(self.root)).sum() + np.log(prior).sum()
        self.log_likelihood = float(
            -len(y) * np.log(sd) - 0.5 * (log_det + y @ y / sd**2 - half @ half)
        )

    def draw(self, n: int, rng: np.random.Generator) -> Array:
        """Draw all effects, (draw, effect)."""
        noise = rng.standard_normal((len(self.mean), n))
        return np.asarray((self.mean[:, None] + np.linalg.solve(self.root.T, noise)).T)
