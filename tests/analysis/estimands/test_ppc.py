"""Posterior predictive checks: quiet where the model is right, loud where it is wrong."""

from __future__ import annotations

import numpy as np
import pytest

import valuebias
from valuebias.analysis.estimands.ppc import CHECKS
from valuebias.datasets.simulate import simulate

SIZE = {"n_models": {"A": 4, "B": 4}, "n_prompts": 8, "n_words": 40}
QUICK = {"draws": 100, "tune": 200, "chains": 2, "seed": 1, "progress": False, "outcome": "raw"}


def check(ds, **options):
    return valuebias.fit(ds, **QUICK, **options).ppc(draws=100)


def test_data_from_the_model_look_like_its_replicates() -> None:
    result = check(simulate(**SIZE, seed=1))
    # The length of the simulated words is that of their category's name.
    names = [name for name in CHECKS if name != "word covariate"]
    assert result["statistic"].values.tolist() == names
    assert result["replicated"].shape == (100, len(names))
    assert np.isfinite(result["replicated"]).all()
    assert float(result["p"].min()) > 0.01
    inside = (result["replicated"].min("sample") <= result["observed"]) & (
        result["observed"] <= result["replicated"].max("sample")
    )
    assert inside.all()


def test_heavy_tails_and_an_odd_model_are_seen() -> None:
    ds = simulate(**SIZE, seed=2)
    rng = np.random.default_rng(3)
    ds["score"] = ds["score"] + (0.5 * rng.standard_t(1.5, ds["score"].shape)).astype("float32")
    heavy = check(ds)["p"]
    assert float(heavy.sel(statistic="excess kurtosis")) < 0.05
    assert float(heavy.sel(statistic="largest")) < 0.05

    ds = simulate(**SIZE, seed=2)
    ds["score"][0] = ds["score"][0] * 5
    with pytest.warns(valuebias.ValueBiasWarning, match="as much as those of B in their leans"):
        result = check(ds, spread=False)
    assert float(result["p"].sel(statistic="unequal words")) < 0.05


def test_missing_cells_are_missing_from_replicates_too() -> None:
    result = check(simulate(**SIZE, missing=0.1, seed=4))
    assert np.isfinite(result["replicated"]).all()
    assert float(result["p"].min()) > 0.01


@pytest.mark.parametrize("n", [0, -1, 2.5, "x"])
def test_a_number_of_replicates_is_asked_for(n: object) -> None:
    ds = simulate(n_prompts=4, n_words=10, seed=1)
    fit = valuebias.fit(ds, **{**QUICK, "draws": 5, "tune": 5})
    for ask in (fit.ppc, fit.loo):
        with pytest.raises(valuebias.ValueBiasError, match="whole number of 1 or more"):
            ask(draws=n)  # type: ignore[arg-type]
