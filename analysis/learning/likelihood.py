"""Maximum likelihood of a learning model, for each model by itself."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize
from scipy.special import logit
from scipy.stats import chi2

from valuebias.analysis.learning.rules import LearningRule
from valuebias.analysis.learning.sequences import Sequences
from valuebias.errors import ValueBiasError

__all__ = ["Maximum", "check_enough", "fit_table", "maximise"]

Array = NDArray[np.float64]

_EACH = 5
"""So many choices a parameter are the least that it is estimated from."""
_NEAR = 1e-4
"""So near to a bound, as a share of the range, an estimate is said to be at it."""


@dataclass(frozen=True)
class Maximum:
    """Estimates of one model."""

    model: str
    free: Array
    covariance: Array  # by the expected Hessian, of parameters off their bounds; NaN elsewhere
    clustered: Array  # by the scores of the tasks around it
    at_bound: NDArray[np.bool_]
    log_lik: float
    n: int  # choices
    n_tasks: int
    own: Sequences = field(repr=False)

    def rows(self, rule: LearningRule, prob: float) -> list[dict[str, object]]:
        """Give a row per parameter; intervals are those of the profile likelihood."""
        se, cluster = (np.sqrt(np.diag(v)) for v in (self.covariance, self.clustered))
        both = [self._profile(rule, i, prob) for i in range(len(rule.names))]
        ends = np.array(both).T
        return [
            {
                "model": self.model, "parameter": name, "estimate": self.free[i], "se": se[i],
                "se_cluster": cluster[i], "lower": ends[0][i], "upper": ends[1][i],
                "at_bound": bool(self.at_bound[i]),
            }
            for i, name in enumerate(rule.names)
        ]  # fmt: skip

    def _profile(self, rule: LearningRule, i: int, prob: float) -> tuple[float, float]:
        """Find where the likelihood, maximised over all other parameters, has fallen too far.

        It ends at a bound where it has not fallen there, so that an estimate at one has an interval
        on its other side; a standard error, and Wald's interval, would have neither.
        """
        allowed = float(chi2.ppf(prob, 1)) / 2
        others = np.delete(np.arange(len(self.free)), i)
        bounds = rule.bounds

        def fallen(x: float) -> float:
            fixed = self.free.copy()
            fixed[i] = x

            def loss(rest: Array) -> tuple[float, Array]:
                free = fixed.copy()
                free[others] = rest
                value, gradient, _ = self.own.run(rule, free[None])
                return -float(value.sum()), -gradient.sum(axis=0)[others]

            found = minimize(loss, self.free[others], jac=True, method="L-BFGS-B",
                             bounds=bounds[others])  # fmt: skip
            return self.log_lik + float(found.fun) - allowed

        ends = []
        for bound in bounds[i]:
            if abs(bound - self.free[i]) < 1e-9 or fallen(bound) <= 0:
                ends.append(float(bound))
            else:
                ends.append(float(brentq(fallen, self.free[i], bound, xtol=1e-4)))
        return ends[0], ends[1]


def check_enough(sequences: Sequences, rule: LearningRule) -> None:
    """Refuse models with too few choices for the parameters."""
    least = _EACH * len(rule.names)
    for name, n in zip(sequences.models, sequences.n_choices(), strict=True):
        if n < least:
            raise ValueBiasError(
                f"The model {name!r} has {n} choices, and {rule.describe()} has {len(rule.names)} "
                f"parameters; expected at least {least}. Give more trials or tasks, or leave the "
                "model out."
            )


def maximise(sequences: Sequences, rule: LearningRule, *, starts: int, seed: int) -> list[Maximum]:
    """Fit each model from several starts."""
    return [
        _one(sequences.of_model(m), rule, starts, np.random.default_rng([seed, m]))
        for m in range(len(sequences.models))
    ]


def _one(own: Sequences, rule: LearningRule, starts: int, rng: np.random.Generator) -> Maximum:
    bounds = rule.bounds

    def loss(free: Array) -> tuple[float, Array]:
        value, gradient, _ = own.run(rule, free[None])
        return -float(value.sum()), -gradient.sum(axis=0)

    steep = np.array(rule.names) == "inverse_temperature"
    # A first start in the middle, others anywhere: the likelihood may have several maxima.
    first = np.where(steep, 3.0, 0.4)
    others = rng.uniform(size=(starts - 1, len(first)))
    others = np.where(steep, 30.0**others, others)
    found = [
        minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds)
        for start in (first, *others)
    ]
    best = min(found, key=lambda one: float(one.fun))
    free = np.clip(best.x, bounds[:, 0], bounds[:, 1])
    span = bounds[:, 1] - bounds[:, 0]
    at_bound = (free - bounds[:, 0] < _NEAR * span) | (bounds[:, 1] - free < _NEAR * span)
    covariance, clustered = _covariances(own, rule, free, ~at_bound)
    return Maximum(
        own.models[0], free, covariance, clustered, at_bound, -float(best.fun),
        int(own.n_choices()[0]), len(own), own,
    )  # fmt: skip


def _covariances(
    own: Sequences, rule: LearningRule, free: Array, inside: NDArray[np.bool_]
) -> tuple[Array, Array]:
    k = len(free)
    plain, robust = np.full((k, k), np.nan), np.full((k, k), np.nan)
    at = np.flatnonzero(inside)
    if not len(at):
        return plain, robust
    # The expected Hessian, Σ p (1 − p) ∇z ∇zᵀ. The observed one has jumps where a prediction error
    # changes its sign and another learning rate holds, and at a maximum on one it is indefinite.
    known = np.isfinite(own.chose)
    slopes = np.empty((int(known.sum()), len(at)))
    for j, i in enumerate(at):
        low, high = rule.bounds[i]
        step = min(1e-5 * max(abs(free[i]), 0.1), (free[i] - low) / 2, (high - free[i]) / 2)
        ends = []
        for side in (-1, 1):
            moved = free.copy()
            moved[i] += side * step
            ends.append(logit(own.run(rule, moved[None])[2][known]))
        slopes[:, j] = (ends[1] - ends[0]) / (2 * step)
    p = own.run(rule, free[None])[2][known]
    information = slopes.T @ (slopes * (p * (1 - p))[:, None])
    values = np.linalg.eigvalsh(information) if np.isfinite(information).all() else np.zeros(1)
    if values[0] <= 1e-10 * max(values[-1], 1e-300):
        return plain, robust
    inverse = np.linalg.inv(information)
    plain[np.ix_(at, at)] = inverse
    if len(own) > 1:
        scores = own.run(rule, free[None])[1][:, at]
        meat = scores.T @ scores * len(own) / (len(own) - 1)
        robust[np.ix_(at, at)] = inverse @ meat @ inverse
    return plain, robust


def fit_table(found: list[Maximum], rule: LearningRule) -> pd.DataFrame:
    """Give a row per model: choices, log-likelihood, AIC and BIC, and the sum of all."""
    k = len(rule.names)
    rows = [
        {"model": one.model, "n": one.n, "n_tasks": one.n_tasks, "parameters": k,
         "log_lik": one.log_lik, "aic": 2 * k - 2 * one.log_lik,
         "bic": k * np.log(one.n) - 2 * one.log_lik}
        for one in found
    ]  # fmt: skip
    return pd.DataFrame(rows)
