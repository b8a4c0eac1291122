"""How much the models of one family vary against those of another."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from valuebias.analysis.auditing.likeness import Likeness, find_alike, make_units, off_axes, singly
from valuebias.analysis.auditing.spreads import odd_units, spread_ratios, unequal_kinds

W = 120


def likeness(seed: int, own: list[float], kinds: list[int]) -> Likeness:
    rng = np.random.default_rng(seed)
    kind = np.array(kinds)
    table = rng.standard_normal((2, 1, W)) + rng.standard_normal((2, kind.max() + 1, W))[:, kind]
    table = table + np.reshape(own, (-1, 1)) * rng.standard_normal((2, len(kind), W))
    rows = np.eye(kind.max() + 1)[kind]
    units = make_units(off_axes(table, np.zeros((W, 0))), rows, kind)
    return find_alike(units, np.random.default_rng(0))


SIZES = [0] * 2 + [1] * 8
EVEN = np.array([0.5] * 2 + [-0.125] * 8)
ALIKE = np.tile([1.0, -1.0], 5)


def test_a_family_three_times_as_variable() -> None:
    found = unequal_kinds(likeness(1, [3.0] * 2 + [1.0] * 8, SIZES), ALIKE, EVEN)
    assert found is not None
    assert (found.more, found.less, found.of) == (0, 1, "words")
    assert found.ratio == pytest.approx(3, rel=0.15)
    # By Welch, (9/2 + 1/8) against the pooled variance (9 + 7) / 8 times (1/2 + 1/8).
    assert found.widening == pytest.approx(
        np.sqrt((9 / 2 + 1 / 8) / (2 * (1 / 2 + 1 / 8))), rel=0.1
    )


def test_a_small_family_that_varies_less_makes_the_interval_too_wide() -> None:
    found = unequal_kinds(likeness(2, [1.0] * 2 + [3.0] * 8, SIZES), ALIKE, EVEN)
    assert found is not None
    assert (found.more, found.less) == (1, 0)
    assert found.widening < 0.8


def test_leans_alone_are_compared_by_f() -> None:
    leans = np.concatenate([np.linspace(-1, 1, 2) * 30, np.linspace(-1, 1, 8)])
    found = unequal_kinds(likeness(3, [1.0] * 10, SIZES), leans, EVEN)
    assert found is not None
    assert found.of == "leans"
    ratio = np.std(leans[:2], ddof=1) / np.std(leans[2:], ddof=1)
    assert found.ratio == pytest.approx(ratio)
    assert found.expected == pytest.approx(np.sqrt(stats.f.isf(0.0025, 1, 7)))


def test_equal_families_are_rarely_called_unequal() -> None:
    rng = np.random.default_rng(4)
    made = [
        unequal_kinds(likeness(seed, [1.0] * 10, SIZES), rng.standard_normal(10), EVEN)
        for seed in range(100)
    ]
    assert sum(found is not None for found in made) <= 4


def test_one_odd_model_does_not_make_its_family_more_variable() -> None:
    found = likeness(5, [1.0] * 4 + [1.0] * 5 + [4.0], [0] * 4 + [1] * 6)
    assert unequal_kinds(found, np.tile([1.0, -1.0], 5), np.full(10, 0.1)) is None
    ((unit, ratio),) = odd_units(found)
    assert unit == 9
    assert 1.75 < ratio < 5


def test_beside_a_group_a_model_is_not_odd() -> None:
    rng = np.random.default_rng(6)
    kind = np.array([0] * 4 + [1] * 4)
    table = rng.standard_normal((2, 2, W))[:, kind] + 0.3 * rng.standard_normal((2, 8, W))
    table += rng.standard_normal((2, 6, W))[:, [0, 0, 0, 1, 2, 3, 4, 5]]
    units = make_units(off_axes(table, np.zeros((W, 0))), np.eye(2)[kind], kind)
    found = find_alike(units, rng)
    assert [group.members for group in found.groups] == [(0, 1, 2)]
    assert odd_units(found) == []


def test_ratios_need_two_families_of_several_models() -> None:
    alone = singly(likeness(7, [1.0] * 5, [0, 0, 0, 0, 1]).units)
    assert all(np.isnan(ratio) for ratio in spread_ratios(alone, np.arange(5.0)).values())
    both = spread_ratios(singly(likeness(8, [2.0] * 2 + [1.0] * 8, SIZES).units), ALIKE)
    assert both["words"] == pytest.approx(2, rel=0.15)
