"""Rules of a preregistration by which a result is judged, such as ``p_positive >= 0.975``."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from valuebias.analysis.design.expressions import compute
from valuebias.analysis.design.grammar import check_expression
from valuebias.errors import ValueBiasError, did_you_mean, shown
from valuebias.posterior.estimates import read_statement

__all__ = ["DECIDED", "check_decision", "judge_decision"]

_ESTIMATES = ("mean", "median", "lower", "upper")
_CHANCES = ("p_direction", "p_rope", "p_positive")
DECIDED = (*_ESTIMATES, *_CHANCES)
"""What a rule may name: of the headline's row, and the probability that it is positive."""
_RELATIONS = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}
_EXAMPLE = "such as 'p_positive >= 0.975'"


def check_decision(decision: object) -> None:
    """Refuse a rule that some result, or any, could not be judged by, before there is one."""
    if not isinstance(decision, str):
        raise ValueBiasError(
            f"decision of the preregistration is text {_EXAMPLE}, found {shown(decision)}."
        )
    results = _possible_results()
    for part in _parts(decision):
        left, relation, right = read_statement(part)
        if relation not in _RELATIONS:
            raise ValueBiasError(
                f"decision of the preregistration must compare, {_EXAMPLE}, found {shown(part)}."
            )
        named = check_expression(left) | check_expression(right)
        unknown = sorted(named - {*DECIDED})
        if unknown:
            raise ValueBiasError(
                f"decision of the preregistration names {shown(unknown[0])}. "
                f"{did_you_mean(unknown[0], DECIDED)}"
            )
        gap = _gap(left, right, results)
        if not np.isfinite(gap).all():
            raise ValueBiasError(
                f"decision {shown(part)} of the preregistration is not finite for some results: it "
                "may divide by what can be zero, or take the root or logarithm of what can be "
                "negative or zero. State it without, as a product instead of a quotient."
            )
        if np.ptp(gap) == 0:
            raise ValueBiasError(
                f"decision {shown(part)} of the preregistration is the same for all results; "
                f"compare what the result decides, {_EXAMPLE}. Known: {', '.join(DECIDED)}."
            )
        # Of estimates, which may be of any size, some result is always on either side.
        if named <= {*_CHANCES} and (gap.min() > 0 or gap.max() < 0):
            raise ValueBiasError(
                f"decision {shown(part)} of the preregistration is the same for all results, as "
                "probabilities lie between 0 and 1 (p_direction from 0.5); compare them with such "
                f"numbers, {_EXAMPLE}."
            )
    _check_decides(decision)


def _check_decides(decision: str) -> None:
    """Refuse a rule that every result meets, or none: such as that the upper end is the larger."""
    results = _made_up_results()
    met = np.ones(len(results), dtype=bool)
    for part in _parts(decision):
        left, relation, right = read_statement(part)
        holds = _RELATIONS[relation](_gap(left, right, results), 0.0)
        met &= holds
        if holds.all() or not holds.any():
            whose = "every result" if holds.all() else "no result"
            raise ValueBiasError(
                f"decision {shown(part)} of the preregistration is met by {whose} that there can "
                "be, and decides nothing; expected a rule that results may meet or not, "
                f"{_EXAMPLE}."
            )
    if not met.any():
        raise ValueBiasError(
            f"decision {shown(decision)} of the preregistration is met by no result, as its parts "
            f"exclude one another; expected a rule that results may meet or not, {_EXAMPLE}."
        )


def judge_decision(decision: str, values: Mapping[str, float]) -> str:
    """Say whether a result meets a rule."""
    result = pd.DataFrame([values])
    met = True
    for part in _parts(decision):
        left, relation, right = read_statement(part)
        gap = _gap(left, right, result)
        if not np.isfinite(gap).all():
            return f"cannot be judged, as {part} is not finite"
        met = met and bool(_RELATIONS[relation](gap, 0.0).all())
    return "is met" if met else "is not met"


def _parts(decision: str) -> list[str]:
    return decision.split(" and ")


def _gap(left: str, right: str, results: pd.DataFrame) -> NDArray[np.float64]:
    """Return the left side less the right one for each result."""
    computed = []
    for side in (left, right):
        values, learnt = compute(side, results)
        if learnt or values.shape[1] != 1:
            raise ValueBiasError(
                f"decision of the preregistration holds {shown(side)}, which calls a function that "
                "learns from several rows, where there is one result; use arithmetic, "
                f"{_EXAMPLE}."
            )
        computed.append(values[:, 0])
    with np.errstate(all="ignore"):
        return np.asarray(computed[0] - computed[1], dtype=np.float64)


def _made_up_results() -> pd.DataFrame:
    """Draw results of all sizes, with all probabilities."""
    rng, n = np.random.default_rng(1), 50_000
    half = 10 ** rng.uniform(-6, 6, n)
    place = half * rng.standard_t(1, n)
    # One in ten quite 0 or 1, as shares of draws may be.
    positive, rope = special.expit(
        rng.normal(0, 4, (2, n)) * np.where(rng.random((2, n)) < 0.1, 999, 1)
    )
    return pd.DataFrame(
        {"mean": place + half * rng.uniform(-0.5, 0.5, n), "median": place, "lower": place - half,
         "upper": place + half, "p_positive": positive, "p_rope": rope,
         "p_direction": np.maximum(positive, 1 - positive)}
    )  # fmt: skip


def _possible_results() -> pd.DataFrame:
    """List results such as there can be: intervals of several places, and all probabilities."""
    place, half, skew, positive, rope = (
        values.ravel()
        for values in np.meshgrid(
            [-2.0, -1.0, 0.0, 1.0, 2.0], [1.0, 2.0], [-0.5, 0.0, 0.5], [0.0, 0.25, 0.5, 0.75, 1.0],
            [0.0, 0.5, 1.0],
        )
    )  # fmt: skip
    estimates = pd.DataFrame(
        {"mean": place + skew * half, "median": place, "lower": place - half, "upper": place + half,
         "p_positive": positive, "p_rope": rope}
    )  # fmt: skip
    hundredths = np.linspace(0.0, 1.0, 101)
    chances = pd.DataFrame(
        {"mean": 0.5, "median": 0.5, "lower": -1.0, "upper": 2.0,
         "p_positive": np.repeat(hundredths, 101), "p_rope": np.tile(hundredths, 101)}
    )  # fmt: skip
    out = pd.concat([estimates, chances], ignore_index=True)
    return out.assign(p_direction=np.maximum(out["p_positive"], 1 - out["p_positive"]))
