"""Ablations: known gaps are recovered, and what the data cannot tell is said."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from ablations import N_PAIRS, ablation

import valuebias
from valuebias import AblationFit, ValueBiasError, ValueBiasWarning
from valuebias.analysis.ablation.layout import choose_formula, progress_of
from valuebias.analysis.design.random_terms import groups_of, split_random
from valuebias.posterior.ablation.headline import estimate_text
from valuebias.schema import model_table

QUICK: dict[str, Any] = {"draws": 400, "tune": 400, "chains": 2, "seed": 1, "progress": False}


def fitted(ds: xr.Dataset, **options: Any) -> AblationFit:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ValueBiasWarning)
        return valuebias.fit_ablation(ds, **{**QUICK, "outcome": "raw", **options})


@pytest.fixture(scope="module")
def shrinking() -> AblationFit:
    """Give the fit of a gap of 0.6 that loses 0.15 a doubling, so closes after four."""
    return fitted(ablation(1, start=0.6, slope=-0.15, moved=0.3))


@pytest.fixture(scope="module")
def checkpoints() -> AblationFit:
    """Give the fit of single-seed runs of three families with three checkpoints each."""
    families = ("Gemma", "Llama", "Qwen")
    return fitted(ablation(2, families=families, seeds=1, shares=(0.25, 0.5, 1.0)))


def test_slope_and_gaps_hold_the_truth(shrinking: AblationFit) -> None:
    slope = shrinking.slope().iloc[0]
    assert slope["lower"] < -0.15 < slope["upper"]
    assert slope["p_shrinks"] > 0.95
    gaps = shrinking.gaps(prob=0.99)
    truth = 0.6 - 0.15 * np.log2(gaps["n_pairs"] / N_PAIRS[0])
    assert ((gaps["lower"] < truth) & (truth < gaps["upper"])).all()
    assert gaps["n_models"].tolist() == [3] * 4


def test_the_quantity_at_which_the_gap_closes(shrinking: AblationFit) -> None:
    closing = shrinking.closing_point(rope=0.1).iloc[0]
    # 0.6 − 0.15 d = 0.1 after 3.33 doublings, just beyond the three that were tried.
    assert closing["lower"] < N_PAIRS[0] * 2 ** (0.5 / 0.15) < closing["upper"]
    chances = closing[["p_inside", "p_within", "p_beyond", "p_not"]].astype(float)
    assert chances.sum() == pytest.approx(1)
    assert closing["extrapolated"] == (closing["median"] > N_PAIRS[-1])
    wide = shrinking.closing_point(rope=5.0).iloc[0]
    assert wide["p_inside"] == 1
    assert wide["median"] == pytest.approx(N_PAIRS[0])
    near = shrinking.closing_point(rope=0.0, horizon=1.0).iloc[0]
    assert near["p_not"] > 0.5
    assert np.isinf(near["median"])


def test_shares_left(shrinking: AblationFit) -> None:
    own = shrinking.share_remaining().iloc[0]
    assert own["lower"] < 0.25 < own["upper"]
    given = shrinking.share_remaining(base_gap=np.array([0.79, 0.8, 0.81])).iloc[0]
    assert given["lower"] < 0.15 / 0.8 < given["upper"]
    unsure = shrinking.share_remaining(base_gap=[-0.5, 0.0, 0.5]).iloc[0]
    assert np.isnan(unsure["median"])
    assert "holds zero" in unsure["why_not"]
    with pytest.raises(ValueBiasError, match="no entry 'Gemma − Llama'"):
        shrinking.share_remaining(base_gap={"Llama − Gemma": 0.3})


def test_a_gap_shrinks_where_less_than_all_of_it_is_left() -> None:
    # One that turns round: many draws are as large on the other side.
    fit = fitted(ablation(7, start=0.5, slope=-0.32, seeds=2))
    slope, share = fit.slope().iloc[0], fit.share_remaining().iloc[0]
    assert share["why_not"] == ""
    assert 0.01 < slope["p_shrinks"] < 0.99
    assert slope["p_shrinks"] == pytest.approx(share["p_less"], abs=1e-12)


def test_the_headline_names_the_source_of_every_gap() -> None:
    fit = fitted(ablation(8, sources=("safe", "warm"), n_pairs=(8_000, 16_000), seeds=2))
    headline = fit.headline()
    first, second = fit.curves.sources
    lead = str(headline).index(f"after 16,000 preference pairs of {first}")
    other = str(headline).index(f"On other sources: after 16,000 pairs of {second} the gap is ")
    assert lead < other
    gaps = fit.gaps()
    row = gaps[(gaps["source"] == second) & (gaps["n_pairs"] == 16_000)].iloc[0]
    assert estimate_text(row, fit.unit) in str(headline)[other:]
    one = fitted(ablation(8, n_pairs=(8_000, 16_000), seeds=2))
    assert "other sources" not in str(one.headline())


def test_no_gap_is_found_to_be_none() -> None:
    fit = fitted(ablation(3, start=0.0, slope=0.0))
    gaps, slope = fit.gaps(), fit.slope().iloc[0]
    assert ((gaps["lower"] < 0) & (gaps["upper"] > 0)).all()
    assert slope["lower"] < 0 < slope["upper"]
    assert fit.share_remaining()["why_not"].iloc[0]


def test_the_word_that_was_moved_moves_most(shrinking: AblationFit) -> None:
    changes = shrinking.word_changes(n=3)
    assert changes.groupby("family")["word"].first().tolist() == ["w0", "w0"]
    first = changes.iloc[0]
    # 0.9 over three doublings, shrunken since the other 39 words did not move.
    assert 0 < first["lower"] < first["mean"] < 0.9
    assert first["after"] - first["before"] == pytest.approx(first["mean"], abs=0.05)


def test_a_fit_is_looked_at_under_each_framing(shrinking: AblationFit) -> None:
    looks = {name: shrinking.at_framing(name) for name in ("signed", "positive", "negative")}
    assert {name: fit.framing for name, fit in looks.items()} == {name: name for name in looks}
    # Leans at hand are what they are; every framing's gap levels off at a place of its own.
    for question, off in (("trajectories", 1e-12), ("gaps", 0.03), ("slope", 0.01)):
        mean = {name: getattr(fit, question)()["mean"] for name, fit in looks.items()}
        halved = (mean["positive"] - mean["negative"]) / 2
        np.testing.assert_allclose(mean["signed"], halved, atol=off)
    assert looks["negative"].slope()["mean"].iloc[0] > 0 > shrinking.slope()["mean"].iloc[0]
    assert str(looks["negative"].at_framing("signed").headline()) == str(shrinking.headline())
    assert "agency − communion, positive prompts" in str(looks["positive"].headline())
    # The first word was moved under both, in opposite directions.
    first = {name: fit.word_changes(n=1)["mean"].iloc[0] for name, fit in looks.items()}
    assert first["positive"] > 0 > first["negative"]
    with pytest.raises(ValueBiasError, match=r"'negatve', which the fit lacks\. Did you mean"):
        shrinking.at_framing("negatve")


def test_a_habit_is_no_value() -> None:
    ds = ablation(9, start=0.0, slope=0.0)
    axis = np.where(ds["membership"].sel(category="agency"), 0.5, -0.5)
    gemma = (ds["family"] == "Gemma").to_numpy()
    habit = 0.8 * gemma[:, None, None] * axis
    fit = fitted(ds.assign(score=(ds["score"] + habit).astype("float32")))
    table = fit.by_framing()
    assert set(table["n_pairs"]) == {N_PAIRS[-1]}
    gap = table[table["estimand"] == "gap"].set_index("framing")
    assert gap.loc["signed", "lower"] < 0 < gap.loc["signed", "upper"]
    for framing in ("positive", "negative"):
        assert gap.loc[framing, "lower"] > 0.4
        leans = table[(table["framing"] == framing) & (table["estimand"] == "family lean")]
        apart = leans.set_index("name")["mean"]
        assert apart["Gemma"] - apart["Llama"] == pytest.approx(gap.loc[framing, "mean"])


def test_checkpoints_of_a_run_do_not_count_as_independent() -> None:
    ds = ablation(4, seeds=2, shares=(0.25, 0.5, 0.75, 1.0), sd={"run": 0.3, "checkpoint": 0.02})
    formula = "~ family * log2(n_pairs)"
    known = fitted(ds, formula=formula).gaps()["sd"].mean()
    # As if every checkpoint were a run of its own.
    blind = ds.assign_coords(seed=("model", np.arange(ds.sizes["model"])))
    assert known > 1.4 * fitted(blind, formula=formula).gaps()["sd"].mean()


def test_trajectories_and_steps(checkpoints: AblationFit) -> None:
    assert checkpoints.formula.endswith(" * np.sqrt(progress)")
    table = checkpoints.trajectories()
    assert len(table) == 4 * 3 * (3 + 3)
    assert len(checkpoints.gaps()) == 4 * 3 * 3
    gap = table[(table["name"] == "Gemma − Llama") & (table["n_pairs"] == N_PAIRS[0])]
    truth = 0.6 + 0.3 * (1 - np.sqrt([0.25, 0.5, 1.0]))
    np.testing.assert_allclose(gap["mean"], truth, atol=0.25)
    moved = checkpoints.word_changes(n=2, by="step")
    assert (moved["start"].iloc[0], moved["end"].iloc[0]) == (0.25, 1.0)


def test_common_beginnings_are_no_evidence_that_pairs_do_little() -> None:
    ds = ablation(3, slope=-0.15, seeds=2, shares=(0.0, 0.1, 0.3, 1.0), common_start=0.9)
    last = ds["step"].to_numpy() == ds["n_pairs"].to_numpy() // 16
    added = "~ family * log2(n_pairs) + family * np.sqrt(progress)"
    slopes = [
        fitted(part, formula=formula).slope()["mean"].iloc[0]
        for part, formula in ((ds, None), (ds.isel(model=last), None), (ds, added))
    ]
    # What the ends alone say; with beginnings that merely add, half of it.
    assert slopes[0] == pytest.approx(slopes[1], abs=0.02)
    assert slopes[2] > slopes[1] + 0.05


def test_single_seeds_and_single_bases_are_said(checkpoints: AblationFit) -> None:
    notes = {note.code: note for note in checkpoints.notes}
    assert "every cell was trained with a single seed" in notes["single seed"].text
    assert "Gemma 2B (Gemma) and Llama 2B (Llama) and" in notes["one base a family"].text
    headline = str(checkpoints.headline())
    assert notes["single seed"].headline in headline
    # Before any number, that it is not about families.
    assert headline.index(notes["one base a family"].headline) < headline.index("After ")
    with pytest.warns(ValueBiasWarning) as caught:
        valuebias.fit_ablation(ablation(5, seeds=1), **{**QUICK, "draws": 20, "tune": 50})
    assert any("single seed" in str(warning.message) for warning in caught)
    assert not any("plain fit" in str(warning.message) for warning in caught)


def test_several_bases_and_seeds_leave_nothing_to_say() -> None:
    ds = ablation(6)
    base = [f"{f} {s % 2}" for f, s in zip(ds["family"].values, ds["seed"].values, strict=True)]
    seeds = [s // 2 for s in ds["seed"].values.tolist()]
    ds = ds.assign_coords(base=("model", base), seed=("model", seeds))
    fit = fitted(ds, draws=100)
    assert fit.fit is not None
    assert "base_category" in fit.fit.problem.components.names
    assert fit.formula.endswith(" + (log2(n_pairs) | base)")
    # Of three seeds one is left with one base, and two with the other.
    assert [note.code for note in fit.notes] == ["single seed"]


def test_confounded_sources_and_quantities_get_the_formula_that_can_be_told() -> None:
    ds = ablation(7, sources=("a", "b"), n_pairs=N_PAIRS[:2])
    kept = (ds["source"].values == "a") == (ds["n_pairs"].values == N_PAIRS[0])
    fit = fitted(ds.isel(model=np.flatnonzero(kept)), draws=100)
    assert fit.formula == "~ family * source"
    assert "pairs left out" in [note.code for note in fit.notes]
    with pytest.raises(ValueBiasError, match="no change can be estimated"):
        fit.slope()


@pytest.fixture(scope="module")
def points() -> AblationFit:
    """Give the fit of a gap that has a value of its own at every number of pairs."""
    return fitted(ablation(1, slope=-0.15, moved=0.6), formula="~ family * C(n_pairs)")


def test_every_number_of_pairs_may_have_a_gap_of_its_own(points: AblationFit) -> None:
    gaps = points.gaps()
    truth = 0.6 - 0.15 * np.log2(gaps["n_pairs"] / N_PAIRS[0])
    assert ((gaps["mean"] - truth).abs() < 3 * gaps["sd"]).all()
    assert gaps["sd"].max() < 0.2
    slope = points.slope().iloc[0]
    ends = gaps["mean"].iloc[-1] - gaps["mean"].iloc[0]
    assert slope["mean"] == pytest.approx(ends / 3)
    assert points.share_remaining().iloc[0]["lower"] < 0.25
    assert points.word_changes(n=1)["word"].tolist() == ["w0", "w0"]
    assert points.levelling().empty
    assert points.notes[0].code == "one base a family"
    assert "beyond it, the formula predicts nothing" in str(points.headline())


def test_where_single_points_close_is_told_within_the_range_alone(points: AblationFit) -> None:
    closing = points.closing_point(rope=0.2).iloc[0]
    # 0.6 − 0.15 d = 0.2 after 2.67 doublings, on a straight line between the last two numbers.
    assert closing["lower"] <= N_PAIRS[0] * 2 ** (0.4 / 0.15) <= closing["upper"]
    assert closing["p_beyond"] == 0
    assert points.closing_point(rope=0.001).iloc[0]["p_not"] > 0.5
    with pytest.raises(ValueBiasError, match=r"C\(n_pairs\)'.*nothing can be said beyond"):
        points.closing_point(horizon=2)
    with pytest.raises(ValueBiasError, match="has levels not seen"):
        points.word_changes(between=(8_000, 9_000))


def test_a_gap_that_one_family_was_not_trained_for_is_extrapolated() -> None:
    ds = ablation(1)
    more = (ds["family"] == "Gemma") & (ds["n_pairs"] > N_PAIRS[1])
    fit = fitted(ds.isel(model=np.flatnonzero(~more.to_numpy())))
    gaps = fit.gaps()
    assert gaps["support"].tolist() == ["measured"] * 2 + ["extrapolated"] * 2
    assert gaps["extrapolated_for"].tolist() == [""] * 2 + ["Gemma"] * 2
    for table in (fit.slope(), fit.closing_point(), fit.share_remaining()):
        assert table["largest"].tolist() == [N_PAIRS[1]]
        assert table["support"].tolist() == ["measured"]
    # What the widest interval is of, whichever way the change goes on.
    assert gaps["sd"].iloc[3] > 2 * gaps["sd"].iloc[1]
    headline = str(fit.headline())
    assert "After 16,000 pairs of a, the most that both families were trained on" in headline
    assert "64,000; there the gap is extrapolated for Gemma, not measured" in headline
    assert f"{gaps['mean'].iloc[3]:+.2f}" not in headline
    note = next(note for note in fit.notes if note.code == "extrapolated gaps")
    assert "Gemma up to 16,000, Llama up to 64,000" in note.text
    changes = fit.word_changes(n=1)
    assert changes["end"].tolist() == [N_PAIRS[1]] * 2
    assert changes["support"].tolist() == ["measured"] * 2
    further = fit.word_changes(n=1, between=(N_PAIRS[0], N_PAIRS[2]))
    assert further["support"].tolist() == ["extrapolated", "measured"]
    framings = fit.by_framing()
    assert framings.loc[framings["estimand"] == "gap", "n_pairs"].tolist() == [N_PAIRS[1]] * 3
    leans = framings[framings["estimand"] == "family lean"].groupby("name")["n_pairs"].max()
    assert leans.to_dict() == {"Gemma": N_PAIRS[1], "Llama": N_PAIRS[-1]}


def test_families_without_a_number_of_pairs_in_common_have_no_measured_gap() -> None:
    ds = ablation(1)
    few = (ds["n_pairs"] <= N_PAIRS[1]).to_numpy()
    fit = fitted(ds.isel(model=np.flatnonzero(few == (ds["family"] == "Gemma").to_numpy())))
    assert (fit.gaps()["support"] == "extrapolated").all()
    slope = fit.slope().iloc[0]
    assert slope["extrapolated_for"] == "Gemma, Llama"
    assert "have no number of pairs of a in common: after 64,000 pairs" in str(fit.headline())
    assert "is extrapolated for Gemma" in str(fit.headline())


def bent(seed: int, gap: dict[int, float], **options: Any) -> xr.Dataset:
    """Simulate gaps that follow no line."""
    quiet = {"run": 0.02, "run_word": 0.05, "checkpoint_word": 0.05}
    ds = ablation(seed, start=0.0, slope=0.0, sd=quiet, **options)
    axis = np.where(ds["membership"].sel(category="agency"), 0.5, -0.5)
    turn = np.where(ds["family"] == "Gemma", 0.5, -0.5)
    sign = np.where(ds["framing"] == "positive", 1.0, -1.0)
    size = turn * np.array([gap[n] for n in ds["n_pairs"].to_numpy().tolist()])
    moved = size[:, None, None] * sign[:, None] * axis
    return ds.assign(score=(ds["score"] + moved).astype("float32"))


def test_a_gap_that_levels_off_need_not_close() -> None:
    ds = bent(1, dict(zip(N_PAIRS, (0.8, 0.3, 0.3, 0.3), strict=True)), seeds=4)
    fit, straight = fitted(ds), fitted(ds, levelling=False)
    closing = fit.closing_point(rope=0.05).iloc[0]
    assert closing["p_not"] > 0.5
    assert closing["upper"] == np.inf
    assert straight.closing_point(rope=0.05).iloc[0]["p_not"] < 0.05
    levelling = fit.levelling().iloc[0]
    assert levelling["p_within"] > 0.8 > 0.5 > levelling["prior_within"]
    last = fit.gaps().iloc[-1]
    assert last["lower"] < 0.3 < last["upper"]
    assert "has levelled off within the range studied has probability > 0.99" in str(fit.headline())
    assert "straight line contradicted" in [note.code for note in fit.notes]
    codes = [note.code for note in straight.notes]
    assert {"levelling left out", "curve contradicted"} <= set(codes)


def test_a_gap_that_turns_round_contradicts_the_curve() -> None:
    fit = fitted(bent(2, dict(zip(N_PAIRS, (0.6, 0.2, 0.2, 0.6), strict=True)), seeds=4))
    note = next(note for note in fit.notes if note.code == "curve contradicted")
    assert "nor does a line that levels off agree" in note.text
    assert note.headline in str(fit.headline())
    departures = fit.departures()
    assert departures["p_levelling"].max() < 0.01
    np.testing.assert_allclose(departures["mean"], [0.2, -0.2, -0.2, 0.2], atol=0.1)
    np.testing.assert_allclose(departures["gap"], [0.6, 0.2, 0.2, 0.6], atol=0.15)


def test_one_run_of_a_kind_does_not_tell_chance_from_curvature() -> None:
    gap = dict(zip(N_PAIRS, (0.6, 0.2, 0.2, 0.6), strict=True))
    fit = fitted(bent(2, gap, seeds=1), draws=100)
    assert fit.departures().empty
    assert [note.code for note in fit.notes] == ["one base a family", "single seed"]


def test_three_families_level_off_two_by_two(checkpoints: AblationFit) -> None:
    levelling = checkpoints.levelling()
    assert levelling["name"].tolist() == ["Gemma − Llama", "Gemma − Qwen", "Llama − Qwen"]
    assert levelling["p_within"].between(0, 1).all()


def two_bases(**options: Any) -> xr.Dataset:
    """Simulate two bases a family, whose runs are told apart by their seeds' halves."""
    ds = ablation(6, seeds=4, **options)
    base = [f"{f} {s % 2}" for f, s in zip(ds["family"].values, ds["seed"].values, strict=True)]
    return ds.assign_coords(base=("model", base), seed=("model", ds["seed"].values // 2))


def test_bases_have_slopes_of_their_own() -> None:
    ds = two_bases()
    fit = fitted(ds, draws=200)
    assert fit.fit is not None
    assert fit.notes == []
    assert "base:log2(n_pairs)_category" in fit.fit.problem.components.names
    plain = fitted(ds, formula="~ family * log2(n_pairs)", draws=200)
    note = next(note for note in plain.notes if note.code == "slopes of bases left out")
    assert note.headline in str(plain.headline())


def test_bases_move_with_the_progress_of_their_runs() -> None:
    models = model_table(two_bases(shares=(0.25, 1.0), n_words=8))
    models = models.assign(progress=progress_of(models))
    formula = choose_formula(models)
    assert formula == (
        "~ family * log2(n_pairs) * np.sqrt(progress) + (np.sqrt(progress) + "
        "center(log2(n_pairs)) * np.sqrt(progress) | base)"
    )
    names = [group.name for group in groups_of(split_random(formula)[1], models, "base")]
    assert names == ["run", "base", "base:np.sqrt(progress)",
                     "base:center(log2(n_pairs)) * np.sqrt(progress)"]  # fmt: skip


def with_coord(ds: xr.Dataset, name: str, first: float) -> xr.Dataset:
    values = ds[name].to_numpy().astype(float)
    values[0] = first
    return ds.assign_coords({name: ("model", values)})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda ds: ds.drop_vars("n_pairs"), "no coordinate 'n_pairs'"),
        (lambda ds: ds.isel(model=slice(0, 6)), "all models are of the family 'Gemma'"),
        (lambda ds: with_coord(ds, "n_pairs", np.nan), "n_pairs = nan; expected a positive"),
        (lambda ds: with_coord(ds, "n_pairs", 0), "base_gap"),
        (lambda ds: with_coord(ds, "step", -1), "step = -1; expected zero or more"),
        (lambda ds: ds.assign_coords(seed=("model", [0] * 24)), "are the same checkpoint"),
        (
            lambda ds: ds.assign_coords(base=("model", [""] * 24)),
            "no base .24 of 24.*assign_coords",
        ),
    ],
)
def test_what_is_no_ablation_is_refused(change: Any, said: str) -> None:
    with pytest.raises(ValueBiasError, match=said):
        fitted(change(ablation(8)))


def test_bad_questions_are_refused(shrinking: AblationFit) -> None:
    for ask, said in (
        (lambda: shrinking.gaps(prob=2), "prob must lie"),
        (lambda: shrinking.closing_point(rope=-1), "rope must be"),
        (lambda: shrinking.closing_point(horizon=0.5), "horizon must be"),
        (lambda: shrinking.word_changes(by="pairs"), "by is 'pairs'"),
        (lambda: shrinking.word_changes(by="step"), "has no progress"),
        (lambda: shrinking.word_changes(source="b"), "no source 'b'"),
        (lambda: shrinking.word_changes(between=(0, 1)), "between must be two numbers"),
    ):
        with pytest.raises(ValueBiasError, match=said):
            ask()


def medians(gap: dict[int, float], seed: int = 1, checkpoints: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = []
    for family, sign in (("A", 0.5), ("B", -0.5)):
        for n, size in gap.items():
            for step in range(1, checkpoints + 1):
                lean = sign * size + 2 * rng.normal()
                rows += [(family, n, step, "agency", 700 - lean / 2)]
                rows += [(family, n, step, "communion", 700 + lean / 2)]
    names = ["family", "n_pairs", "checkpoint", "category", "median_rank"]
    return pd.DataFrame(rows, columns=names).assign(base=lambda t: t["family"], source="s")


def test_medians_give_the_same_answers() -> None:
    gap = {1000: 200.0, 2000: 160.0, 4000: 120.0, 8000: 80.0}
    with pytest.warns(ValueBiasWarning) as caught:
        fit = valuebias.fit_ablation_medians(medians(gap), seed=1)
    assert any("single seed" in str(warning.message) for warning in caught)
    slope = fit.slope().iloc[0]
    assert slope["lower"] < -40 < slope["upper"]
    table = fit.trajectories()
    last = table[(table["estimand"] == "family difference") & (table["progress"] == 1)]
    np.testing.assert_allclose(last["mean"], list(gap.values()), atol=10)
    with pytest.raises(ValueBiasError, match="has no words"):
        fit.word_changes()
    assert set(fit.by_framing()["framing"]) == {"signed"}
    with pytest.raises(ValueBiasError, match="does not distinguish framings"):
        fit.at_framing("positive")
    with pytest.raises(ValueBiasError, match="two medians"):
        valuebias.fit_ablation_medians(pd.concat([medians(gap)] * 2))
    with pytest.raises(ValueBiasError, match="no column 'category'"):
        valuebias.fit_ablation_medians(medians(gap).drop(columns="category"))


def test_runs_off_the_line_widen_the_intervals_of_medians() -> None:
    straight = {1000: 200.0, 2000: 160.0, 4000: 120.0, 8000: 80.0}
    bent = {1000: 200.0, 2000: 80.0, 4000: 200.0, 8000: 80.0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ValueBiasWarning)
        sd = [
            valuebias.fit_ablation_medians(medians(gap), seed=1).slope()["sd"].iloc[0]
            for gap in (straight, bent)
        ]
    assert sd[1] > 2 * sd[0]


# Median ranks of agency and communion at the last checkpoint, as the paper's Figure 4 shows them.
FINAL = {
    ("unified-feedback", 27_000): {
        "Gemma": (742.5, 696), "Llama": (657.5, 805), "Qwen": (858, 559),
    },
    ("unified-feedback", 53_000): {
        "Gemma": (741.5, 708), "Llama": (630.5, 829.5), "Qwen": (795, 647.5),
    },
    ("unified-feedback", 106_000): {
        "Gemma": (667, 779.5), "Llama": (700.5, 757), "Qwen": (806.5, 628.5),
    },
    ("skywork", 77_000): {"Gemma": (681.5, 763), "Llama": (616.5, 831.5), "Qwen": (832, 639)},
}  # fmt: skip


@pytest.mark.released_data
def test_the_released_medians_at_the_last_checkpoint(released_data: object) -> None:
    with pytest.warns(ValueBiasWarning) as faults:
        table = valuebias.datasets.load("christian2026-training")
    key = ["source", "n_pairs", "family"]
    trained = table[table["n_pairs"].notna()]
    last = trained[trained["checkpoint"] == trained.groupby(key)["checkpoint"].transform("max")]
    wide = last.set_index([*key, "category"])["median_rank"].unstack("category")
    found = {
        (source, int(n)): {
            family: tuple(wide.loc[(source, n, family), ["agency", "communion"]])
            for family in ("Gemma", "Llama", "Qwen")
        }
        for source, n in {(row[0], row[1]) for row in wide.index}
    }
    assert found == FINAL
    assert any("byte-identical" in str(warning.message) for warning in faults)
    with pytest.warns(ValueBiasWarning) as caught:
        fit = valuebias.fit_ablation_medians(table, seed=1)
    assert any("unknown for grm" in str(warning.message) for warning in caught)
    assert set(fit.slope()["source"]) == {"unified-feedback"}
    gaps = fit.gaps()
    qwen = gaps[(gaps["name"] == "Llama − Qwen") & (gaps["progress"] == 1)]
    # Llama values agency more than Qwen by 447, 347, 235 and 408 ranks.
    assert (qwen["lower"] > 0).all()


def test_the_gap_differs_between_objectives() -> None:
    """The same runs for two objectives, under one of which the gap is 0.4 smaller throughout."""
    parts = []
    for name, start in (("bradley-terry", 0.6), ("grm", 0.2)):
        one = ablation(1, start=start, n_pairs=N_PAIRS[:2], seeds=2)
        names = [f"{model} {name}" for model in one["model"].to_numpy()]
        parts.append(one.assign_coords(objective=("model", [name] * len(names)), model=names))
    fit = fitted(valuebias.schema.concat(parts))
    assert fit.formula == "~ family * log2(n_pairs) + family * objective"
    assert fit.fit is not None
    table = fit.fit.comparisons("family", by="objective", at={"n_pairs": N_PAIRS[0]}).table()
    gaps = table[table["framing"] == "signed"].set_index("objective")["mean"]
    assert gaps["bradley-terry"] == pytest.approx(0.6, abs=0.15)
    assert gaps["grm"] == pytest.approx(0.2, abs=0.15)
    apart = fit.fit.comparisons(("family", "objective")).table()
    signed = apart[apart["framing"] == "signed"].iloc[0]
    assert signed["lower"] < 0.4 < signed["upper"]
    # Gaps of the ablation are means over both.
    assert fit.gaps()["mean"].iloc[0] == pytest.approx(gaps.mean(), abs=0.05)
