"""Prompts that have the same scores are no replicates."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr

import valuebias
from valuebias.analysis.auditing.alike_prompts import solvable
from valuebias.datasets.simulate import simulate
from valuebias.errors import ValueBiasError, ValueBiasWarning

QUICK = {"draws": 40, "tune": 40, "chains": 2, "seed": 1, "progress": False}


def fit(ds: xr.Dataset, **options: object) -> valuebias.Fit:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ValueBiasWarning)
        return valuebias.fit(ds, **{**QUICK, **options})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def clean() -> xr.Dataset:
    return simulate(n_models={"A": 3, "B": 3}, n_prompts=6, n_words=30, seed=4)


def scored(ds: xr.Dataset, score: np.ndarray) -> xr.Dataset:
    return ds.assign(score=(ds["score"].dims, score.astype("f4")))


def sign(ds: xr.Dataset) -> np.ndarray:
    return np.where(ds["framing"] == "positive", 1, -1)[None, :, None]


def kept(error: ValueBiasError, dataset: xr.Dataset) -> xr.Dataset:
    """Do as the message says."""
    scope = {"dataset": dataset}
    exec(str(error).rpartition("Keep one: ")[2].removesuffix("."), scope)  # noqa: S102
    return scope["dataset"]


@pytest.mark.parametrize("outcome", ["normal", "raw"])
def test_scores_that_do_not_depend_on_the_prompt_are_refused(clean, outcome) -> None:
    column = clean["score"].to_numpy()[:, :1]
    for score in (column + 0 * sign(clean), column * sign(clean)):
        ds = scored(clean, score)
        with pytest.raises(ValueBiasError, match="have the same scores") as caught:
            fit(ds, outcome=outcome)
        assert all(f"'{name}'" in str(caught.value) for name in ds["prompt"].to_numpy())
        fit(kept(caught.value, ds), outcome=outcome).influence(progress=False)


def test_a_column_under_two_prompts_is_refused_by_name(clean) -> None:
    score = clean["score"].to_numpy().copy()
    score[2, 1, 4] = np.nan
    score[:, 3] = score[:, 1]
    names = clean["prompt"].to_numpy()
    with pytest.raises(
        ValueBiasError, match=f"'{names[1]}' and '{names[3]}' have the same scores "
    ):
        fit(scored(clean, score))
    found = valuebias.audit(scored(clean, score)).findings["detail"]
    assert found.str.startswith("2 prompts have the same scores from every model").any()


def test_prompts_that_differ_in_level_only_are_refused(clean) -> None:
    score = clean["score"].to_numpy()[:, :1] * sign(clean) + np.arange(6)[None, :, None]
    with pytest.raises(ValueBiasError, match="have the same outcome from every") as caught:
        fit(scored(clean, score))
    assert kept(caught.value, clean).sizes["prompt"] == 4


def test_some_models_may_ignore_the_prompt(clean) -> None:
    score = clean["score"].to_numpy().copy()
    score[:2] = (score[:2, :1] * sign(clean)).astype("f4")
    made = fit(scored(clean, score))
    made.loo(progress=False)
    assert made.influence(progress=False)["mean"].notna().all()


def test_nearly_alike_prompts_end_in_no_singular_matrix(clean) -> None:
    noise = np.random.default_rng(0).normal(size=clean["score"].shape)
    score = clean["score"].to_numpy()[:, :1] * sign(clean)
    # So little moves no rank.
    with pytest.raises(ValueBiasError, match="have the same outcome from every model"):
        fit(scored(clean, score + 1e-5 * noise))
    made = fit(scored(clean, score + 1e-2 * noise))
    table = made.influence(progress=False)
    told = table["mean"].notna()
    assert table.loc[~told, "remark"].str.contains("hardly depend on the prompt").all()
    made.loo(progress=False)


def test_singular_matrices_are_explained() -> None:
    with pytest.raises(ValueBiasError, match=r"Singular matrix.*valuebias\.audit"), solvable():
        np.linalg.inv(np.zeros((2, 2)))
