"""Labels of a reward model are outcomes of one model, and not models."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr

import valuebias
from valuebias.datasets.simulate import simulate
from valuebias.errors import ValueBiasWarning

QUICK = {"draws": 300, "tune": 300, "chains": 2, "seed": 1, "progress": False}
LABELS = ("helpful", "honest", "brief", "kind")


def fit(ds: xr.Dataset, formula: str = "~ family + label", **options: object) -> valuebias.Fit:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ValueBiasWarning)
        return valuebias.fit(ds, formula, **{**QUICK, **options})  # type: ignore[call-overload]


def labelled(n_models: int, *, sd: float = 0.4, own: float = 0.1, seed: int = 3) -> xr.Dataset:
    """Give models that differ by `sd`, each with labels that differ from it by `own`."""
    # What models share as bases, labels share as a model.
    ds = simulate(
        n_models={"A": [len(LABELS)] * n_models, "B": [len(LABELS)] * n_models}, n_prompts=6,
        n_words=40, effects={}, sd={"base_category": sd, "model_category": own}, seed=seed,
    )  # fmt: skip
    return ds.rename(base="reward_model").assign_coords(
        label=("model", np.tile(LABELS, 2 * n_models)), base=("model", [""] * ds.sizes["model"])
    )


@pytest.fixture(scope="module")
def scores() -> xr.Dataset:
    return labelled(4)


def test_rows_of_a_reward_model_share_an_effect(scores: xr.Dataset) -> None:
    known = fit(scores)
    assert known.problem.crossing.space.sizes == {"reward_model": 8}
    blind = fit(scores.drop_vars("reward_model"))
    wide, narrow = (made.contrasts()["sd"].iloc[0] for made in (known, blind))
    assert wide > 1.3 * narrow


def test_effects_of_ones_own_choice_keep_them_together(scores: xr.Dataset) -> None:
    recipe = np.tile(["x", "y"], scores.sizes["model"] // 2)
    made = fit(scores.assign_coords(recipe=("model", recipe)), "~ family + (1 | recipe)")
    assert set(made.problem.crossing.space.sizes) == {"reward_model", "recipe"}


def test_a_base_beside_them(scores: xr.Dataset) -> None:
    """Two reward models a base: three levels; one a base: the base is the model."""
    names = scores["reward_model"].to_numpy()
    each = scores.assign_coords(base=("model", [f"base of {name}" for name in names]))
    assert fit(each).problem.crossing.space.sizes == {"reward_model": 8}
    pairs = scores.assign_coords(base=("model", [f"{n[0]}{int(n[-1]) % 2}" for n in names]))
    assert fit(pairs).problem.crossing.space.sizes == {"reward_model": 8, "base": 4}


def test_one_model_a_family_is_one_however_many_labels() -> None:
    made = fit(labelled(1))
    assert "the prior alone says" in str(made.headline())
    assert made.contrasts()["p_direction"].iloc[0] < 0.9


def test_one_reward_model_is_said() -> None:
    alone = labelled(1).isel(model=slice(4))
    assert "All of it are labels of one" in str(fit(alone, "~ label").headline())


def test_an_average_over_labels_is_said(scores: xr.Dataset) -> None:
    said = "It is an average over 4 labels of reward models."
    assert said in str(fit(scores, "~ family").headline())
    assert said not in str(fit(scores).headline())
    by_label = fit(scores, "~ family * label").comparisons("family", by="label")
    assert by_label.table()["at"].nunique() == len(LABELS)


def test_models_are_left_out_with_all_their_labels(scores: xr.Dataset) -> None:
    table = fit(scores).influence(progress=False)
    assert table["unit"].tolist() == ["fit"] + ["model"] * 8
    assert set(table["name"][1:]) == set(scores["reward_model"].to_numpy())
    left_out = fit(scores).loo(by="model", progress=False)
    assert set(left_out.table["unit"]) == set(table["name"][1:])


@pytest.mark.slow
def test_intervals_cover_with_labels_and_not_without() -> None:
    """Nothing differs between families: ninety per cent of the intervals hold zero."""
    covered = {"known": 0, "blind": 0}
    n = 150
    for seed in range(n):
        ds = labelled(4, seed=seed)
        for name, data in (("known", ds), ("blind", ds.drop_vars("reward_model"))):
            row = fit(data, draws=200, tune=200).contrasts().iloc[0]
            covered[name] += int(row["lower"] < 0 < row["upper"])
    error = 2 * np.sqrt(0.1 * 0.9 / n)
    assert covered["known"] / n > 0.9 - error
    assert covered["blind"] / n < 0.9 - 3 * error
