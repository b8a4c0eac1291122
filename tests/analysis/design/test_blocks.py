"""Blocks that no covariance connects."""

from __future__ import annotations

import numpy as np
from scipy.stats import ortho_group

from valuebias.analysis.design.blocks import invariant_blocks


def in_blocks(rng: np.random.Generator) -> np.ndarray:
    """Give a matrix with blocks of 2, and twice the same of 3."""
    out = np.zeros((8, 8))
    own, twin = (rng.normal(size=(n, n)) for n in (2, 3))
    out[:2, :2] = own + own.T
    out[2:5, 2:5] = out[5:, 5:] = twin + twin.T
    return out


def test_blocks_are_found_whatever_the_rotation() -> None:
    rng = np.random.default_rng(1)
    turn = ortho_group.rvs(8, random_state=2)
    matrices = [turn @ in_blocks(rng) @ turn.T for _ in range(3)]
    rotation, blocks = invariant_blocks(matrices)
    assert sorted(b.stop - b.start for b in blocks) == [2, 3, 3]
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(8), atol=1e-12)
    outside = np.ones((8, 8), dtype=bool)
    for block in blocks:
        outside[block, block] = False
    assert max(np.abs((rotation.T @ m @ rotation)[outside]).max() for m in matrices) < 1e-10


def test_what_is_connected_stays_whole_and_what_commutes_falls_apart() -> None:
    rng = np.random.default_rng(3)
    dense = [m + m.T for m in rng.normal(size=(2, 4, 4))]
    assert invariant_blocks(dense)[1] == (slice(0, 4),)
    turn = ortho_group.rvs(4, random_state=4)
    diagonal = [turn @ np.diag(d) @ turn.T for d in rng.normal(size=(3, 4))]
    assert len(invariant_blocks(diagonal)[1]) == 4
    assert len(invariant_blocks([np.eye(4)])[1]) == 4
