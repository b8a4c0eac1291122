"""Before and after: intervals as scipy has them, and accuracies that are never certain."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from valuebias.analysis.changes import accuracy_change, lean_change


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_leans_of_items_have_students_intervals() -> None:
    before = rng().normal(2, 1, 30)
    after = before - 1.5 + rng(2).normal(0, 0.2, 30)
    found = lean_change((before,), (after,), 0.9)
    for values, one in (
        (before, found.before),
        (after, found.after),
        (after - before, found.change),
    ):
        ends = stats.ttest_1samp(values, 0).confidence_interval(0.9)
        assert one.mean == pytest.approx(values.mean())
        assert (one.lower, one.upper) == pytest.approx((ends.low, ends.high))
    # As the items are the same, their change is known better than either lean.
    assert found.change.upper - found.change.lower < 0.5 * (found.before.upper - found.before.lower)


def test_leans_of_words_have_welchs_intervals() -> None:
    one, other = rng().normal(2, 1, 30), rng(2).normal(0, 3, 12)
    found = lean_change((one, other), (one / 2, other), 0.9)
    ends = stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.9)
    assert (found.before.lower, found.before.upper) == pytest.approx((ends.low, ends.high))
    assert found.change.mean == pytest.approx(-one.mean() / 2)


@pytest.mark.parametrize(("before", "after", "growth"), [(2, 1, -1), (-2, 1, -1), (-1, -3, 2),
                                                         (1, -3, 2)])  # fmt: skip
def test_growth_is_away_from_zero(before: float, after: float, growth: float) -> None:
    noise = rng().normal(0, 0.01, 50)
    noise -= noise.mean()
    found = lean_change((before + noise,), (after + noise,), 0.9).growth
    assert found is not None
    assert found.mean == pytest.approx(growth)
    assert found.lower - 1e-9 <= growth <= found.upper + 1e-9
    assert found.upper - found.lower < 0.02


def test_items_that_are_all_right_leave_doubt() -> None:
    found = accuracy_change(np.ones(20), np.ones(20), 0.9)
    assert found.before.mean == found.after.mean == 1
    assert found.before.lower < 0.95
    assert found.change.mean == 0
    assert found.change.lower < -0.05
    assert found.growth is None


@pytest.mark.parametrize(("n", "both", "lost"), [(40, 0.9, 0.05), (150, 0.8, 0.1), (60, 0.5, 0.02)])
def test_a_change_of_accuracy_is_covered_as_often_as_said(n: int, both: float, lost: float) -> None:
    """Of items right before and after, lost, won (half as many) and never right."""
    hits, runs = 0, 600
    for seed in range(runs):
        kind = rng(seed).choice(4, n, p=[both, lost, lost / 2, 1 - both - 1.5 * lost])
        found = accuracy_change(
            np.isin(kind, [0, 1]).astype(float), np.isin(kind, [0, 2]).astype(float), 0.9
        ).change
        hits += found.lower <= -lost / 2 <= found.upper
    assert hits / runs > 0.87
