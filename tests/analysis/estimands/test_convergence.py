"""R-hat and effective sample sizes: ArviZ's, to rounding."""

from __future__ import annotations

import arviz as az
import numpy as np
import pytest
import xarray as xr

from valuebias.analysis.estimands.convergence import convergence


def walks(rng: np.random.Generator, items: int, chains: int, draws: int) -> np.ndarray:
    """Make chains from opposed to hardly moving, and one that wanders off."""
    rho = np.linspace(-0.9, 0.99, items)[:, None]
    values = rng.standard_t(3, (items, chains, draws))
    for t in range(1, draws):
        values[..., t] += rho * values[..., t - 1]
    values[-1] = np.cumsum(values[-1], axis=-1)
    return values


def theirs(values: np.ndarray) -> np.ndarray:
    data = xr.Dataset({"x": (("chain", "draw", "item"), np.moveaxis(values, 0, -1))})
    tail = az.ess(data, method="tail", prob=(0.05, 0.95))
    rhat = az.rhat(data)["x"] if values.shape[1] > 1 else np.full(len(values), np.nan)
    return np.array([rhat, az.ess(data)["x"], tail["x"]])


@pytest.mark.parametrize(
    ("chains", "draws"),
    [(4, 1000), (2, 37), (3, 4), (4, 5), (2, 6), (2, 7), (5, 8), (2, 9), (1, 50)],
)
def test_arviz_finds_the_same(chains: int, draws: int) -> None:
    values = walks(np.random.default_rng(draws), 12, chains, draws)
    np.testing.assert_allclose(np.array(convergence(values)), theirs(values), rtol=1e-12)


def test_arviz_finds_the_same_of_draws_that_repeat() -> None:
    # As where proposals are refused, and of whole numbers.
    rng = np.random.default_rng(1)
    values = walks(rng, 10, 4, 200)
    kept = np.maximum.accumulate(
        np.where(rng.random(values.shape) < 0.3, np.arange(200), 0), axis=2
    )
    values = np.take_along_axis(values, kept, axis=2)
    values[5:] = np.round(values[5:])
    np.testing.assert_allclose(np.array(convergence(values)), theirs(values), rtol=1e-12)


def test_chains_apart_still_and_of_no_value() -> None:
    values = walks(np.random.default_rng(2), 4, 4, 100)
    values[0] += 50 * np.arange(4)[:, None]
    values[1] = 3.0
    rhat, bulk, tail = convergence(values)
    np.testing.assert_allclose([rhat[[0, 2]], bulk[[0, 2]]], theirs(values[[0, 2]])[:2])
    assert rhat[0] > 2
    assert np.isnan(rhat[1])
    assert bulk[1] == tail[1] == 400
    values[3, 2, 7] = np.nan
    assert np.isnan(np.array(convergence(values))[:, 3]).all()


def test_no_quantity_has_no_figures() -> None:
    assert [len(found) for found in convergence(np.empty((0, 4, 100)))] == [0, 0, 0]
