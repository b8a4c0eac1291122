"""Directions: shrinkage by its definition, the least change, and what is left after removal."""

from __future__ import annotations

import numpy as np
import pytest

from valuebias import ValueBiasError
from valuebias.analysis.directions import Sample, ledoit_wolf, reader, removal, split_half


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


def correlated(n: int, d: int, seed: int = 1) -> np.ndarray:
    mix = rng(seed).normal(size=(d, d))
    return rng(seed + 1).normal(size=(n, d)) @ mix + rng(seed + 2).normal(size=d)


@pytest.mark.parametrize(("n", "d"), [(12, 5), (7, 20)])
def test_the_penalty_is_ledoit_and_wolfs_by_their_definition(n: int, d: int) -> None:
    rows = correlated(n, d) - correlated(n, d).mean(0)
    cov = rows.T @ rows / n
    mean = np.trace(cov) / d
    target = mean * np.eye(d)
    spread = ((cov - target) ** 2).sum()
    noise = sum(((np.outer(row, row) - cov) ** 2).sum() for row in rows) / n**2
    rho = min(noise, spread) / spread
    assert ledoit_wolf(rows) == pytest.approx(rho / (1 - rho), rel=1e-9)


def test_nothing_that_varies_leaves_the_difference_as_it_is() -> None:
    same = Sample(np.ones((4, 6)))
    assert ledoit_wolf(same.deviations()[0]) == np.inf
    np.testing.assert_array_equal(reader(same, 1.0), np.ones(6))
    assert same.share() == 1
    assert split_half(same) == pytest.approx(1)


@pytest.mark.parametrize("groups", [False, True])
@pytest.mark.parametrize(("n", "d"), [(30, 6), (9, 40)])
def test_the_reader_solves_its_equation(n: int, d: int, *, groups: bool) -> None:
    first = correlated(n, d)
    second = correlated(n - 2, d, seed=7) if groups else None
    sample = Sample(first, second)
    parts = [first] if second is None else [first, second]
    scatter = sum((part - part.mean(0)).T @ (part - part.mean(0)) for part in parts)
    within = scatter / (sample.n - len(parts))
    ridge = 0.3 * np.trace(within) / d
    expected = np.linalg.solve(within + ridge * np.eye(d), sample.difference)
    np.testing.assert_allclose(reader(sample, 0.3), expected, rtol=1e-6)
    difference = first.mean(0) - (0 if second is None else second.mean(0))
    np.testing.assert_allclose(sample.difference, difference)
    far = reader(sample, 1e12)
    np.testing.assert_allclose(far / np.linalg.norm(far), difference / np.linalg.norm(difference))


def test_of_all_heads_that_ignore_the_difference_it_changes_rewards_least() -> None:
    sample = Sample(correlated(200, 8))
    deviations, dof = sample.deviations()
    within = deviations.T @ deviations / dof
    head = rng(3).normal(size=(1, 8))
    read, difference = reader(sample, 1e-9), sample.difference
    best = removal([read], [difference], [1.0], ["x"]).of_weights(head) - head
    assert abs((head + best) @ difference)[0] < 1e-8
    plain = removal([difference], [difference], [1.0], ["x"]).of_weights(head) - head
    cost = {name: (one @ within @ one.T).item() for name, one in (("b", best), ("p", plain))}
    assert cost["b"] < 0.9 * cost["p"]
    for seed in range(20):
        level = rng(seed).normal(size=(1, 8))
        level -= (level @ difference) / (difference @ difference) * difference
        other = best + 0.1 * level
        assert (other @ within @ other.T).item() > cost["b"]


def test_several_directions_without_a_penalty_are_the_qr_projection() -> None:
    rows = rng(5).normal(size=(3, 10))
    q, _ = np.linalg.qr(rows.T)
    taken = removal(list(rows), list(rows), [1.0] * 3, list("abc"))
    hidden = rng(6).normal(size=(4, 10))
    np.testing.assert_allclose(taken.of_hidden(hidden), hidden - hidden @ q @ q.T, atol=1e-12)
    part = removal(list(rows), list(rows), [0.5, 0.0, 1.0], list("abc"))
    half = hidden - (hidden @ q) * [0.5, 0.0, 1.0] @ q.T
    np.testing.assert_allclose(part.of_hidden(hidden), half, atol=1e-12)


def test_oblique_directions_leave_none_of_the_differences() -> None:
    differences = rng(5).normal(size=(3, 10))
    readers = differences + 0.4 * rng(8).normal(size=(3, 10))
    taken = removal(list(readers), list(differences), [1.0] * 3, list("abc"))
    head = rng(9).normal(size=(2, 10))
    np.testing.assert_allclose(taken.of_weights(head) @ differences.T, 0, atol=1e-12)
    hidden = rng(6).normal(size=(4, 10))
    np.testing.assert_allclose(
        taken.of_hidden(hidden) @ head.T, hidden @ taken.of_weights(head).T, atol=1e-12
    )
    projector = taken.left @ taken.right
    np.testing.assert_allclose(projector @ projector, projector, atol=1e-12)
    np.testing.assert_allclose(
        np.linalg.matrix_rank(np.vstack([taken.right, readers]), tol=1e-9), 3
    )


def test_a_combination_of_others_is_refused() -> None:
    rows = rng(5).normal(size=(2, 10))
    three = [*rows, rows[0] - 2 * rows[1]]
    with pytest.raises(ValueBiasError, match="'c' is a combination of those before it"):
        removal(three, three, [1.0] * 3, list("abc"))


def test_noise_has_no_consistency_and_a_shift_has() -> None:
    noise = rng(2).normal(size=(40, 30))
    assert abs(split_half(Sample(noise))) < 0.35
    assert split_half(Sample(noise + 3)) > 0.95
    assert split_half(Sample(noise + 3, noise - 3)) > 0.95
    assert np.isnan(split_half(Sample(noise[:1])))
    assert Sample(noise + 3).share() == pytest.approx(0.9, abs=0.03)
