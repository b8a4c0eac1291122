"""Which models are alike: distances by hand and by SciPy, chance by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import pdist, squareform

from valuebias.analysis.auditing.likeness import closest, find_alike, make_units, off_axes

W = 150
KINDS = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1])
ROWS = np.eye(2)[KINDS]


def profiles(seed: int, *, bases=None, own=1.0, kinds=KINDS) -> np.ndarray:
    """Word profiles (framing, model, word): of words, families, bases and models."""
    rng = np.random.default_rng(seed)
    out = (
        2 * rng.standard_normal((2, 1, W)) + rng.standard_normal((2, kinds.max() + 1, W))[:, kinds]
    )
    out = out + np.reshape(own, (-1, 1)) * rng.standard_normal((2, len(kinds), W))
    if bases is not None:
        out += 1.5 * rng.standard_normal((2, max(bases) + 1, W))[:, bases]
    return off_axes(out, np.repeat([[1.0], [0.0]], [60, W - 60], axis=0))


def found(table: np.ndarray, rows=ROWS, labels=None) -> list[tuple[int, ...]]:
    units = make_units(table, rows, KINDS, labels)
    return sorted(g.members for g in find_alike(units, np.random.default_rng(0)).groups)


def test_off_axes_leaves_nothing_of_level_and_categories() -> None:
    rng = np.random.default_rng(1)
    axes = rng.standard_normal((30, 2))
    table = rng.standard_normal((2, 3, 30))
    left = off_axes(table, axes)
    np.testing.assert_allclose(left.sum(axis=-1), 0, atol=1e-12)
    np.testing.assert_allclose(left @ axes, 0, atol=1e-12)
    table[0, 1, 4] = np.nan
    assert off_axes(table, axes).shape == (2, 3, 29)


def test_distances_are_scipys() -> None:
    table = profiles(2)
    units = make_units(table, ROWS, KINDS)
    flat = np.concatenate(list(table), axis=1)
    expected = squareform(pdist(flat, "sqeuclidean")) / W
    np.testing.assert_allclose(units.distances, expected, atol=1e-12)
    # Within a family nothing is left to take out; across families their means are.
    same = KINDS[:, None] == KINDS
    np.testing.assert_allclose(units.residual_distances[same], expected[same], atol=1e-12)
    assert (units.residual_distances[~same] < expected[~same]).all()


def test_distances_of_bases_are_means_over_their_models() -> None:
    table = profiles(3)
    labels = ["a", "a", "b", "c", "d", "d", "d", "e", "f", "f"]
    units = make_units(table, ROWS, KINDS, labels)
    single = make_units(table, ROWS, KINDS).distances
    assert units.members[3] == (4, 5, 6)
    by_hand = np.mean([single[i, j] for i in (4, 5, 6) for j in (8, 9)])
    assert units.distances[3, 5] == pytest.approx(by_hand)
    assert units.residual_distances[3, 5] == pytest.approx(by_hand)


def test_a_slope_of_the_formula_does_not_make_models_alike() -> None:
    size = np.array([1.0, 2, 3, 9, 1, 2, 3, 4, 5, 9])
    table = profiles(4)
    rng = np.random.default_rng(5)
    along = size[:, None] * rng.standard_normal((2, 1, W))
    sloped = table + off_axes(along, np.zeros((W, 0)))
    rows = np.column_stack([ROWS, size - size.mean()])
    assert found(sloped) != []
    assert found(sloped, rows) == []
    units = make_units(sloped, rows, KINDS)
    plain = make_units(table, rows, KINDS)
    # What is linear in the sizes is gone; a residual distance is that of independent models.
    np.testing.assert_allclose(units.residual_distances, plain.residual_distances, atol=1e-9)
    within = units.residual_distances[KINDS[:, None] == KINDS]
    assert within[within > 0].mean() == pytest.approx(4, rel=0.15)


def test_closest_is_one_less_the_smallest_distance_over_the_others() -> None:
    table = profiles(6)
    distance = make_units(table, ROWS, KINDS).distances
    by_hand = []
    for kind in (0, 1):
        here = np.flatnonzero(kind == KINDS)
        own = squareform(distance[np.ix_(here, here)], checks=False)
        by_hand.append(max(1 - d / ((own.sum() - d) / (len(own) - 1)) for d in own))
    assert closest(make_units(table, ROWS, KINDS)) == pytest.approx(max(by_hand))
    two = make_units(table[:, [0, 1, 4, 5]], ROWS[[0, 1, 4, 5]], KINDS[[0, 1, 4, 5]])
    assert np.isnan(closest(two))


def test_bases_are_found() -> None:
    bases = [0, 0, 0, 1, 2, 2, 2, 3, 3, 4]
    for seed in range(5):
        assert found(profiles(seed, bases=bases)) == [(0, 1, 2), (4, 5, 6), (7, 8)]


def test_a_residual_correlation_is_the_bases_share_of_variance() -> None:
    table = profiles(7, bases=[0, 0, 0, 1, 2, 2, 2, 3, 3, 4])
    groups = find_alike(make_units(table, ROWS, KINDS), np.random.default_rng(0)).groups
    share = 1.5**2 / (1.5**2 + 1)
    for group in groups:
        assert group.correlation == pytest.approx(share, abs=0.12)
        assert 0.1 < group.expected < 0.35
    assert [g.correlation for g in groups] == sorted((g.correlation for g in groups), reverse=True)


def test_one_base_a_family_cannot_be_seen() -> None:
    assert found(profiles(8, bases=[0] * 4 + [1] * 6)) == []


def test_known_bases_are_one_each() -> None:
    bases = [0, 0, 0, 1, 2, 2, 2, 3, 3, 4]
    assert found(profiles(9, bases=bases), labels=bases) == []


def test_a_noisy_model_does_not_make_the_others_alike() -> None:
    hits = sum(bool(found(profiles(s, own=[1, 1, 1, 3, *[1] * 6]))) for s in range(40))
    assert hits <= 3


def test_independent_models_are_rarely_called_alike() -> None:
    hits = sum(bool(found(profiles(seed))) for seed in range(150))
    assert hits <= 5


def test_chance_is_that_of_the_words() -> None:
    """Of few words more likeness is to be expected, and of words that few make up."""
    table = profiles(10)
    units = make_units(table, ROWS, KINDS)
    assert units.df == pytest.approx(2 * W, rel=0.15)
    heavy = table.copy()
    heavy[:, :, :3] *= 8
    assert make_units(heavy, ROWS, KINDS).df < 30


def test_widening_by_hand() -> None:
    """A pair that is one of four models, and a family of unlike ones."""
    table = profiles(11, bases=[0, 0, 1, 2, 3, 4, 5, 6, 7, 8])
    likeness = find_alike(make_units(table, ROWS, KINDS), np.random.default_rng(0))
    (group,) = likeness.groups
    assert group.members == (0, 1)
    weights = np.array([0.25] * 4 + [0.0] * 6)
    r = group.correlation
    # The pair's distance is 1 − r of the others', which makes the mean distance (6 − r) / 6.
    expected = np.sqrt((4 + 2 * r) / 4 / ((6 - r) / 6))
    assert likeness.widening(weights) == pytest.approx(expected, rel=1e-6)
    assert likeness.widening(np.array([0.0] * 4 + [1 / 6] * 6)) == pytest.approx(1)


def test_identical_models_are_left_to_their_own_check() -> None:
    table = profiles(12)
    table[:, 1] = table[:, 0]
    assert found(table) == []
