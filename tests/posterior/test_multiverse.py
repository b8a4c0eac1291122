"""The headline under many choices, and under other splits of the words."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

import valuebias
from valuebias import ValueBiasError, ValueBiasWarning, simulate

pytestmark = pytest.mark.once
SIZES = {"n_models": {"Alder": 4, "Birch": 4}, "n_prompts": 6, "n_words": 24}
SETTINGS = {"draws": 200, "tune": 200, "chains": 2, "seed": 1, "progress": False, "outcome": "raw"}


@pytest.fixture(scope="module")
def scores() -> xr.Dataset:
    effects = {"Alder": 0.5, "Birch": -0.5}
    return simulate(**SIZES, effects=effects, sd={"word_family": 0.1}, seed=1)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def made(scores: xr.Dataset) -> valuebias.Multiverse:
    return valuebias.multiverse(
        scores, outcomes=["normal", "rank"], bases=["base"], priors={"default": None}, seed=1,
        prompts={"few": [str(name) for name in scores["prompt"].values[[0, 1, -1]]]},
        progress=False,
    )  # fmt: skip


def test_every_combination_is_a_row(made: valuebias.Multiverse) -> None:
    table = made.table
    assert len(table) == 2 * 1 * 3 * 2 * 1
    assert not table.duplicated(["outcome", "base", "lexicon", "prompts", "prior"]).any()
    assert table["first"].sum() == 1
    first = table[table["first"]].iloc[0]
    chosen = ["normal", "all words", "all prompts", "default"]
    assert first[["outcome", "lexicon", "prompts", "prior"]].tolist() == chosen
    assert (table["error"] == "").all()
    assert table["mean"].is_monotonic_increasing
    assert (table["name"] == "Alder − Birch").all()
    share, sure = made.agreement()
    assert share == 1.0
    assert sure > 0.9
    assert "100% agree that it is positive" in str(made)


def test_the_first_is_the_fit_itself(scores: xr.Dataset, made: valuebias.Multiverse) -> None:
    fit = valuebias.fit(scores, draws=500, chains=2, seed=1, progress=False)
    row = fit.contrasts().iloc[0]
    first = made.table[made.table["first"]].iloc[0]
    scale = fit.problem.crossing.scale
    np.testing.assert_allclose(first["mean"], row["mean"] / scale)
    np.testing.assert_allclose(first["p_direction"], row["p_direction"])


def test_it_goes_on_where_it_stopped(scores: xr.Dataset, tmp_path) -> None:
    choices = {"outcomes": ["normal"], "bases": ["base"], "prompts": None, "progress": False}
    whole = valuebias.multiverse(scores, **choices, seed=3)  # type: ignore[arg-type]
    for k in (1, 2):
        valuebias.multiverse(scores, **choices, seed=3, out=tmp_path / "m", part=(k, 3))  # type: ignore[arg-type]
    results = sorted((tmp_path / "m").glob("*.json"))
    results.remove(tmp_path / "m" / "multiverse.json")
    assert 0 < len(results) < len(whole.table)
    times = {path: path.stat().st_mtime_ns for path in results}
    results[0].write_text("{", encoding="utf-8")
    again = valuebias.multiverse(scores, **choices, out=tmp_path / "m")  # type: ignore[arg-type]
    pd.testing.assert_frame_equal(again.table, whole.table)
    assert all(path.stat().st_mtime_ns == times[path] for path in results[1:])
    assert json.loads(results[0].read_text(encoding="utf-8"))["outcome"] == "normal"
    with pytest.raises(ValueBiasError, match="other scores"):
        valuebias.multiverse(simulate(**SIZES, seed=9), **choices, out=tmp_path / "m")  # type: ignore[arg-type]
    with pytest.raises(ValueBiasError, match="other seed"):
        valuebias.multiverse(scores, **choices, seed=4, out=tmp_path / "m")  # type: ignore[arg-type]


def test_what_cannot_be_estimated_is_said(scores: xr.Dataset) -> None:
    made = valuebias.multiverse(
        scores, outcomes=["normal"], bases=["base"], prompts=None, priors={"default": None},
        formulas=["~ family", "~ nothing"], lexicons={"one": ["agency_0001"]}, seed=1,
        progress=False,
    )  # fmt: skip
    errors = made.table.set_index(["formula", "lexicon"])["error"]
    assert errors["~ family", "all words"] == ""
    assert "nothing" in errors["~ nothing", "all words"]
    assert errors["~ family", "one"] != ""
    assert "3 could not be estimated" in str(made)
    assert len(valuebias.plots.plot_multiverse(made).axes) == 2


def test_lexicons_and_prompts_of_ones_own(scores: xr.Dataset) -> None:
    table = pd.DataFrame(
        {"agency": [True] * 5 + [False] * 5, "communion": [False] * 5 + [True] * 5},
        index=[f"agency_{i:04d}" for i in range(1, 6)]
        + [f"communion_{i:04d}" for i in range(1, 6)],
    )
    own = valuebias.Lexicon("own", table)
    few = [str(name) for name in scores["prompt"].values[[0, -1]]]
    made = valuebias.multiverse(
        scores, outcomes=["normal"], bases=["base"], priors={"default": None},
        lexicons={"own": own, "words": table.index.tolist()}, prompts={"few": few}, seed=1,
        progress=False,
    )  # fmt: skip
    rows = made.table.set_index(["lexicon", "prompts"])["mean"]
    assert len(rows) == 6
    assert rows["own", "few"] == pytest.approx(rows["words", "few"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"outcomes": "rank"}, "must be a list"),
        ({"outcomes": []}, "no choice of outcome"),
        ({"lexicons": "halfs"}, "Did you mean 'halves'"),
        ({"lexicons": {"x": ["zebra"]}}, "'zebra', which the scores lack"),
        ({"prompts": "thirds"}, "give 'halves'"),
        ({"priors": [1]}, "must map names"),
        ({"part": (1, 2)}, "needs out="),
    ],
)
def test_bad_choices_are_errors(scores: xr.Dataset, wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueBiasError, match=message):
        valuebias.multiverse(scores, seed=1, progress=False, **wrong)  # type: ignore[arg-type]


def fitted(seed: int, effect: float) -> valuebias.Fit:
    effects = {"Alder": effect, "Birch": -effect}
    ds = simulate(**SIZES, effects=effects, seed=seed)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        # Of hundreds of studies some have two models that look like one base, by chance.
        warnings.simplefilter("ignore", ValueBiasWarning)
        return valuebias.fit(ds, **SETTINGS | {"draws": 20, "tune": 30})  # type: ignore[call-overload]


@pytest.mark.slow
def test_p_values_of_placebos_are_uniform_without_an_effect() -> None:
    p = [fitted(seed, 0.0).placebo(n=999).p for seed in range(300)]
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_placebos_find_an_effect_and_seldom_none() -> None:
    found = [fitted(seed, 0.4).placebo(n=499).p for seed in range(5)]
    assert max(found) < 0.05
    nothing = [fitted(seed, 0.0).placebo(n=499).p for seed in range(15)]
    assert min(nothing) > 0.002
    assert stats.kstest(nothing, "uniform").pvalue > 0.001


def test_matched_splits_keep_their_bins(scores: xr.Dataset) -> None:
    """A covariate that is the categories in disguise leaves nothing to shuffle."""
    agency = scores["membership"].sel(category="agency").to_numpy()
    twin = scores.assign_coords(
        frequency=("response", agency.astype(float)), tail=("response", np.arange(24) % 3)
    )
    fit = valuebias.fit(twin, **SETTINGS)  # type: ignore[call-overload]
    free = fit.placebo(n=199)
    assert free.p < 0.05
    assert "is larger" in str(free)
    bound = fit.placebo(match="frequency", bins=2, n=199)
    np.testing.assert_allclose(bound.random, bound.difference)
    assert bound.p == 1.0
    assert bound.table().loc[0, "matched"] == "frequency"
    assert fit.placebo(match=("tail",), n=199).p < 0.1
    for wrong, message in (
        ({"match": "frequenzy"}, "Did you mean 'frequency'"),
        ({"n": 3}, "n must be"),
        ({"bins": 1}, "bins must be"),
    ):
        with pytest.raises(ValueBiasError, match=message):
            fit.placebo(**wrong)  # type: ignore[arg-type]
