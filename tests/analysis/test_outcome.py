from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from valuebias.analysis.hierarchical import Model, make_problem
from valuebias.analysis.outcome import KINDS, describe, midranks, outcome
from valuebias.datasets.simulate import simulate
from valuebias.errors import ValueBiasError

# Few distinct values, so that most examples have ties; small enough that exp() keeps them apart.
SCORES = hnp.arrays(
    np.float64,
    hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=9),
    elements=st.one_of(st.integers(-6, 6).map(float), st.just(float("nan"))),
)


def array(values: object) -> xr.DataArray:
    values = np.asarray(values, dtype=float)
    return xr.DataArray(values, dims=("model", "prompt", "response")[-values.ndim :])


@given(SCORES)
def test_ranks_are_scipys_row_by_row(values):
    ranks = midranks(values)
    for row, got in zip(
        values.reshape(-1, values.shape[-1]), ranks.reshape(-1, values.shape[-1]), strict=True
    ):
        kept = ~np.isnan(row)
        np.testing.assert_array_equal(got[kept], stats.rankdata(row[kept]))
        assert np.isnan(got[~kept]).all()


@given(SCORES, st.sampled_from(["rank", "normal"]))
def test_rank_outcomes_ignore_increasing_transforms(values, kind):
    plain = outcome(array(values), kind=kind)
    for transformed in (3 * values - 7, np.exp(values), values**3):
        xr.testing.assert_equal(outcome(array(transformed), kind=kind), plain)


@given(SCORES)
def test_reversing_the_scores_reverses_the_outcome(values):
    count = (~np.isnan(values)).sum(axis=-1, keepdims=True)
    rank, back = (outcome(array(v), kind="rank").values for v in (values, -values))
    np.testing.assert_array_equal(rank + back, np.where(np.isnan(values), np.nan, count + 1))
    normal, back = (outcome(array(v), kind="normal").values for v in (values, -values))
    np.testing.assert_allclose(normal, -back, atol=1e-12)


@given(SCORES)
def test_equal_scores_get_equal_outcomes_and_missing_stay_missing(values):
    for kind in ("rank", "normal", "raw"):
        made = outcome(array(values), kind=kind).values
        np.testing.assert_array_equal(np.isnan(made), np.isnan(values))
        for row, got in zip(
            values.reshape(-1, values.shape[-1]), made.reshape(-1, values.shape[-1]), strict=True
        ):
            for value in set(row[~np.isnan(row)]):
                assert len(set(got[row == value])) == 1


@given(SCORES, st.randoms(use_true_random=False))
def test_the_order_of_the_words_does_not_matter(values, random):
    order = list(range(values.shape[-1]))
    random.shuffle(order)
    for kind in ("rank", "normal"):
        made = outcome(array(values), kind=kind)
        again = outcome(array(values[..., order]), kind=kind)
        xr.testing.assert_equal(made.isel(response=order), again)


def test_a_higher_score_has_a_lower_rank_and_a_higher_normal_score():
    scores = array([0.1, 5.0, 2.0])
    assert outcome(scores, kind="rank").values.tolist() == [3, 1, 2]
    for kind in ("normal", "z", "raw"):
        assert (np.argsort(outcome(scores, kind=kind).values) == [0, 2, 1]).all()
    for kind in KINDS:
        made = outcome(scores, kind=kind)
        assert np.sign(made[1] - made[0]) == made.attrs["sign"] == describe(kind).sign


def test_normal_scores_are_those_of_r(classical_r):
    made = outcome(array(np.arange(12.0)), kind="normal")
    np.testing.assert_allclose(made.values, classical_r["normal_scores"], atol=1e-11)


def test_missing_words_take_no_rank():
    made = outcome(array([[3.0, np.nan, 1.0, 2.0]]), kind="rank")
    np.testing.assert_array_equal(made.values, [[1, np.nan, 3, 2]])


def test_z_scores_have_mean_zero_and_the_sample_sd_one():
    values = np.random.default_rng(1).normal(3, 4, (2, 3, 50))
    values[0, 0, :5] = np.nan
    made = outcome(array(values), kind="z").values
    np.testing.assert_allclose(np.nanmean(made, axis=-1), 0, atol=1e-12)
    np.testing.assert_allclose(np.nanstd(made, axis=-1, ddof=1), 1)


def test_a_row_without_scores_stays_empty():
    for kind in KINDS:
        made = outcome(array([[np.nan, np.nan], [1.0, 2.0]]), kind=kind)
        assert np.isnan(made[0]).all()
        assert not np.isnan(made[1]).any()


def test_only_words_of_the_lexicon_are_ranked():
    ds = simulate(n_models={"A": 1, "B": 1}, n_prompts=2, n_words=20, seed=3)
    ds["membership"][4:7] = False
    made = outcome(ds, kind="rank")
    assert made.sizes["response"] == 17
    assert made.max() == 17
    xr.testing.assert_equal(made, outcome(ds["score"].drop_isel(response=[4, 5, 6]), kind="rank"))


def test_dimensions_coordinates_and_units_are_kept():
    ds = simulate(n_models={"A": 2, "B": 1}, n_prompts=2, n_words=20, seed=3)
    turned = ds["score"].transpose("response", "model", "prompt")
    made = outcome(turned)
    assert made.dims == turned.dims
    assert set(made.coords) == set(turned.coords)
    assert made.dtype == np.float64
    assert made.attrs == {
        "kind": "normal",
        "long_name": "normal score",
        "units": describe("normal").units,
        "sign": 1,
    }
    xr.testing.assert_equal(made.transpose("model", "prompt", "response"), outcome(ds))


def test_integer_scores_are_taken():
    assert outcome(xr.DataArray([3, 1, 2], dims="response"), kind="rank").values.tolist() == [
        1,
        3,
        2,
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_infinite_scores_are_refused(kind):
    scores = array([[1.0, np.inf, 2.0]]).assign_coords(response=["a", "b", "c"])
    with pytest.raises(
        ValueBiasError, match=r"1 scores are infinite, the first at prompt 0, response 'b'"
    ):
        outcome(scores, kind=kind)


def test_z_scores_of_one_value_are_refused_by_name():
    ds = simulate(n_models={"A": 1, "B": 1}, n_prompts=2, n_words=20, seed=3)
    ds["score"][1, 0] = 2.5
    with pytest.raises(ValueBiasError, match=r"model 'simulated/b-1', prompt 'best_ever_one'"):
        outcome(ds, kind="z")
    assert (outcome(ds, kind="rank")[1, 0] == 10.5).all()
    assert (outcome(ds, kind="normal")[1, 0] == 0).all()


def test_bad_input_is_refused():
    ds = simulate(n_models={"A": 1, "B": 1}, n_prompts=2, n_words=20, seed=3)
    with pytest.raises(ValueBiasError, match=r"Unknown outcome 'norml'. Did you mean 'normal'"):
        outcome(ds, kind="norml")
    with pytest.raises(ValueBiasError, match="no 'score' and no 'membership'"):
        outcome(xr.Dataset())
    with pytest.raises(ValueBiasError, match="None of the 20 words is in a category"):
        outcome(ds.assign(membership=ds["membership"] & False))
    with pytest.raises(ValueBiasError, match="no 'response'"):
        outcome(xr.DataArray([1.0], dims="word"))
    with pytest.raises(ValueBiasError, match="found ndarray"):
        outcome(np.ones(3))


@pytest.mark.parametrize("kind", ["normal", "rank", "z", "raw"])
def test_the_order_in_memory_changes_no_bit(kind):
    ds = simulate(n_models={"A": 2, "B": 3}, n_prompts=4, n_words=40, seed=3)
    ds["score"][0, 1, 3] = np.nan
    turned = ds.assign({
        name: (ds[name].dims, np.asfortranarray(ds[name].to_numpy()))
        for name in ("score", "membership")
    })  # fmt: skip
    assert not turned["score"].to_numpy().flags.c_contiguous
    assert np.array_equal(outcome(ds, kind=kind), outcome(turned, kind=kind), equal_nan=True)
    ours, theirs = (
        make_problem(data, Model("~ family", kind), None).crossing for data in (ds, turned)
    )
    for name in ("y", "observed", "loadings", "membership", "word_basis", "scale"):
        assert np.array_equal(getattr(ours, name), getattr(theirs, name)), name


@pytest.mark.released_data
def test_example_cells_of_the_paper(big2, big2_r):
    rank = outcome(big2, kind="rank").sel(prompt="best_ever_one")
    rank = rank.sel(model="Ray2333/GRM-gemma2-2B-rewardmodel-ft")
    for cell in big2_r["example_cells"]:
        inside = big2["membership"].sel(
            category=cell["Category"].lower(), response=rank["response"]
        )
        assert float(np.median(rank[inside.values])) == cell["sum_value"]
