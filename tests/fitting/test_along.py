"""Rewards along answers: what tokens and sentences change, and what beginnings foretell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import small_models
import statsmodels.api as sm
import xarray as xr
from along_worlds import TEXTS, read, token_ends
from hypothesis import given
from hypothesis import strategies as st

import valuebias
from valuebias import ValueBiasError
from valuebias.analysis.along.sentences import split_sentences


def test_tokens_change_the_reward_from_the_one_before() -> None:
    scores = read()
    table = valuebias.along(scores).contributions(item="q3", variant="chosen", model="org/m1")
    text = TEXTS["chosen"]
    ends = token_ends(text)
    rewards = scores["token_reward"].sel(item="q3", variant="chosen", model="org/m1").to_numpy()
    assert table["token"].tolist() == list(range(1, len(ends) + 1))
    assert "".join(table["text"]) == text
    assert table["end"].tolist() == ends
    assert (table["part"] == "end of conversation").tolist() == [False] * (len(ends) - 1) + [True]
    np.testing.assert_allclose(table["reward"], rewards[: len(ends)])
    assert np.isnan(table["change"][0])
    np.testing.assert_allclose(table["change"][1:], np.diff(rewards[: len(ends)]))
    whole = valuebias.along(scores).contributions()
    assert len(whole) == 2 * 20 * sum(len(token_ends(one)) for one in TEXTS.values())


def test_sentences_sum_up_to_the_final_reward_less_the_first() -> None:
    scores = read()
    table = valuebias.along(scores).sentences()
    sums = table.groupby(["model", "item", "variant"])["change"].sum()
    first = scores["token_reward"].isel(token=0)
    for (model, item, variant), found in sums.items():
        where = {"model": model, "item": item, "variant": variant}
        expected = float(scores["score"].sel(where) - first.sel(where))
        assert found == pytest.approx(expected, abs=1e-6)
    one = table[(table["item"] == "q0") & (table["model"] == "org/m0")]
    assert one[one["variant"] == "chosen"]["text"].tolist() == [
        "It is Lima.", "It has been so since 1821!", "More or less.", "Nine million live there.",
        "",
    ]  # fmt: skip
    assert one[one["variant"] == "rejected"]["text"].tolist() == [
        "It is Cusco, as everybody knows…", "“Is it?”", "Yes, it is the 2.5th capital", "",
    ]  # fmt: skip
    assert one["part"].tolist().count("end of conversation") == 2
    # Each stretch begins where the one before ends.
    chosen = one[one["variant"] == "chosen"]
    assert chosen["before"].tolist()[1:] == chosen["after"].tolist()[:-1]
    assert chosen["n_tokens"].sum() == len(token_ends(TEXTS["chosen"]))


@given(st.text(alphabet="ab .!?\n…”)。", max_size=40))
def test_sentences_are_the_whole_text_in_order(text: str) -> None:
    spans = split_sentences(text)
    assert "".join(text[a:b] for a, b in spans) == text
    assert all(b > a for a, b in spans)


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", []),
        ("one", ["one"]),
        ("Is 2.5 more? Yes.", ["Is 2.5 more? ", "Yes."]),
        ('"Go!" he said. (So.) Then', ['"Go!" ', "he said. ", "(So.) ", "Then"]),
        ("a\n\nb", ["a\n\n", "b"]),
        ("是。不是！", ["是。", "不是！"]),
    ],
)
def test_where_sentences_end(text: str, sentences: list[str]) -> None:
    assert [text[a:b] for a, b in split_sentences(text)] == sentences


def at_share(scores: xr.Dataset, variant: str, share: float) -> np.ndarray:
    """Give the rewards (model, item) at the token that is a share of an answer's words, in full."""
    n = len(token_ends(TEXTS[variant])) - 1
    place = int(np.ceil(share * n)) - 1
    return np.asarray(scores["token_reward"].sel(variant=variant).isel(token=place), dtype=float)


@pytest.mark.parametrize("share", [0.01, 0.25, 0.3, 0.5, 0.75, 1.0])
def test_accuracy_is_that_of_pairs_at_that_token(share: float) -> None:
    scores = read(1, n_items=300, gap=0.02)
    table = valuebias.along(scores).accuracy(shares=[share])
    ahead = at_share(scores, "chosen", share) > at_share(scores, "rejected", share)
    row = table[(table["name"] == "org/m1") & (table["share"] == share)].iloc[0]
    assert row["estimate"] == pytest.approx(ahead[1].mean())
    ols = sm.OLS(ahead[1].astype(float), np.ones(300)).fit(
        cov_type="cluster", cov_kwds={"groups": np.arange(300), "use_correction": False}
    )
    assert row["se"] == pytest.approx(float(ols.bse[0]) * np.sqrt(300 / 299))
    final = scores["score"].sel(variant="chosen") > scores["score"].sel(variant="rejected")
    end = table[(table["name"] == "org/m1") & table["share"].isna()].iloc[0]
    assert end["estimate"] == pytest.approx(float(final[1].mean()))
    assert end["at"] == "end of conversation"


def test_accuracy_by_a_coordinate_of_ones_own() -> None:
    scores = read(1)
    by_name = valuebias.along(scores).accuracy()
    right = [name == "rejected" for name in scores["variant"].to_numpy()]
    scores = scores.assign_coords(truth=("variant", right))
    turned = valuebias.along(scores).accuracy(correct="truth")
    np.testing.assert_allclose(
        *(one[one["level"] == "model"]["estimate"] for one in (by_name, turned.assign(
            estimate=1 - turned["estimate"])))
    )  # fmt: skip
    named = scores.assign_coords(correct=("variant", right)).drop_vars("truth")
    again = valuebias.along(named).accuracy()
    pd.testing.assert_frame_equal(again, turned)


def test_families_are_compared() -> None:
    table = valuebias.along(read(2, families=(3, 3))).accuracy(shares=[0.5])
    assert set(table["level"]) == {"model", "family", "family difference"}
    row = table[(table["level"] == "family difference") & (table["share"] == 0.5)].iloc[0]
    assert row["name"] == "F0 − F1"
    assert row["lower"] < row["estimate"] < row["upper"]


def test_calibration_is_least_squares_of_the_final_reward() -> None:
    scores = read(3, n_items=60)
    table = valuebias.along(scores).calibration(shares=[0.3])
    table = table[table["name"] == "org/m0"].set_index("statistic")
    names = list(TEXTS)
    x = np.stack([at_share(scores, name, 0.3)[0] for name in names], axis=1)
    y = scores["score"].sel(variant=names).to_numpy()[0].astype(float)
    fitted = sm.OLS(y.ravel(), sm.add_constant(x.ravel())).fit()
    assert table.loc["slope", "estimate"] == pytest.approx(fitted.params[1])
    assert table.loc["R²", "estimate"] == pytest.approx(fitted.rsquared)
    item = np.repeat(np.arange(60), 2)
    robust = sm.OLS(y.ravel(), sm.add_constant(x.ravel())).fit(
        cov_type="cluster", cov_kwds={"groups": item}
    )
    assert table.loc["slope", "se"] == pytest.approx(robust.bse[1], rel=0.15)
    within = [one - one.mean(axis=1, keepdims=True) for one in (x, y)]
    r = np.corrcoef(within[0].ravel(), within[1].ravel())[0, 1]
    assert table.loc["R² within items", "estimate"] == pytest.approx(r**2)
    error = np.abs(x - y).mean() / y.std(ddof=1)
    assert table.loc["mean absolute error", "estimate"] == pytest.approx(error)


def test_the_interval_of_the_slope_holds_the_truth() -> None:
    """A walk at random foretells its end with the slope 1."""
    held = 0
    for seed in range(60):
        scores = read(seed, n_items=40, families=(1,), gap=0.0)
        table = valuebias.along(scores).calibration(shares=[0.5], prob=0.8)
        row = table[(table["statistic"] == "slope") & (table["level"] == "model")].iloc[0]
        held += row["lower"] <= 1 <= row["upper"]
    # 80 % of 60, give or take three standard errors.
    assert 38 <= held <= 58


def test_what_has_been_read_whole_foretells_itself() -> None:
    scores = read(4)
    last = scores["token_reward"].copy()
    for v, name in enumerate(TEXTS):
        n = len(token_ends(TEXTS[name]))
        last[:, :, v, n - 1] = last[:, :, v, n - 2]
    n_tokens = [len(token_ends(text)) for text in TEXTS.values()]
    final = np.stack([last.to_numpy()[:, :, v, n - 1] for v, n in enumerate(n_tokens)], axis=-1)
    scores = scores.assign(token_reward=last, score=(scores["score"].dims, final))
    table = valuebias.along(scores).calibration(shares=[1.0])
    rows = table[table["level"] == "model"].set_index("statistic")["estimate"]
    np.testing.assert_allclose(rows[["slope", "R²", "R² within items"]], 1)
    np.testing.assert_allclose(rows["mean absolute error"], 0, atol=1e-9)


def test_the_first_token_in_common_tells_nothing_within_items() -> None:
    scores = read(5)
    first = scores["token_reward"].copy()
    first[:, :, 1, 0] = first[:, :, 0, 0]
    table = valuebias.along(scores.assign(token_reward=first)).calibration(shares=[0.01])
    rows = table[table["level"] == "model"].set_index("statistic")["estimate"]
    assert rows["R² within items"].isna().all()
    assert rows["R²"].notna().all()
    accuracy = valuebias.along(scores.assign(token_reward=first)).accuracy(shares=[0.01])
    assert (accuracy[(accuracy["share"] == 0.01)]["estimate"].isin([0.5, 0.0])).all()


def test_reliability_by_bins() -> None:
    scores = read(6, n_items=50)
    table = valuebias.along(scores).reliability(shares=[0.5, 1.0], bins=5)
    assert len(table) == 2 * 2 * 5
    assert (table["n_answers"] == 20).all()
    one = table[(table["name"] == "org/m0") & (table["share"] == 0.5)]
    assert one["foretold"].is_monotonic_increasing
    assert np.corrcoef(one["foretold"], one["final"])[0, 1] > 0.9
    y = scores["score"].to_numpy()[0].astype(float)
    weighed = (one["final"] * one["n_answers"]).sum()
    assert weighed == pytest.approx(0, abs=1e-6)
    x = np.concatenate([at_share(scores, name, 0.5)[0] for name in TEXTS])
    lowest = np.sort(x)[:20].mean()
    assert one["foretold"].iloc[0] == pytest.approx((lowest - y.mean()) / y.std(ddof=1))


def test_answers_that_are_not_there_are_passed_over() -> None:
    scores = read(7)
    whole = scores["token_reward"].copy()
    whole[0, 2, 1] = np.nan
    score = scores["score"].copy()
    score[0, 2, 1] = np.nan
    found = valuebias.along(scores.assign(token_reward=whole, score=score))
    assert found.contributions(item="q2", variant="rejected", model="org/m0").empty
    accuracy = found.accuracy(shares=[0.5])
    assert accuracy[accuracy["name"] == "org/m0"]["n_items"].tolist() == [19, 19]
    with pytest.raises(ValueBiasError, match=r"'q2'.* was not scored"):
        found.plot(item="q2", variant="rejected", model="org/m0")


def test_without_places_of_tokens_there_are_numbers_and_no_texts() -> None:
    scores = read(8)
    scores = scores.assign(token_end=xr.full_like(scores["token_end"], -1))
    found = valuebias.along(scores)
    table = found.contributions(item="q0", variant="chosen")
    assert set(table["text"]) == {""}
    assert table["change"].notna().sum() == 2 * (len(token_ends(TEXTS["chosen"])) - 1)
    assert found.accuracy()["estimate"].notna().all()
    for method in (found.sentences, found.plot, found.to_html):
        with pytest.raises(ValueBiasError, match=r"tokens of 'org/m0' end .* not known"):
            method()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda ds: ds.drop_vars("token_reward"), r"score_contrasts\(\.\.\., read='all'\)"),
        (lambda ds: ds["score"], "scores is of type DataArray"),
        (lambda ds: ds.assign(token_reward=ds["token_reward"].where(ds["token_reward"] > 0)),
         "'token_reward' has gaps"),
    ],
)  # fmt: skip
def test_other_scores_are_refused(change: Any, message: str) -> None:
    with pytest.raises(ValueBiasError, match=message):
        valuebias.along(change(read()))


@pytest.mark.parametrize(
    ("method", "given", "message"),
    [
        ("accuracy", {"shares": []}, "shares is empty"),
        ("accuracy", {"shares": [0]}, "shares is 0; expected a share of the answer, above 0"),
        ("calibration", {"shares": [1.5]}, "shares is 1.5"),
        ("calibration", {"prob": 1}, "prob must lie between 0 and 1"),
        ("reliability", {"bins": 1}, "bins is 1"),
        ("accuracy", {"correct": "corect"}, "correct='corect' is no coordinate"),
        ("contributions", {"item": "q99"}, "There is no item 'q99'"),
        ("sentences", {"variant": "chosn"}, "Did you mean 'chosen'"),
        ("plot", {"model": "m"}, "There is no model 'm'"),
    ],
)
def test_bad_questions(method: str, given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueBiasError, match=message):
        getattr(valuebias.along(read()), method)(**given)


def test_nothing_says_which_answers_are_right() -> None:
    scores = read(texts={"a": "One. Two.", "b": "Three. Four."})
    found = valuebias.along(scores)
    with pytest.raises(ValueBiasError, match="Nothing says which answers are right"):
        found.accuracy()
    assert "accuracy" not in str(found).splitlines()[0]
    assert "accuracy" in str(valuebias.along(read())).splitlines()[0]


@pytest.mark.slow
def test_a_real_model_is_followed_along_its_answers(tmp_path: Path) -> None:
    lacking = small_models.missing("smollm2")
    if lacking is not None:
        pytest.skip(lacking)
    answers = {
        "right": "Lima is the capital. It has been since 1821 — ¡sí! 🙂\nAsk me more.",
        "wrong": "Cusco is the capital. Everybody knows.",
    }
    lines = {
        f"q{i}": {"prompt": f"{i}: what is the capital of Peru?", "answers": answers,
                  "correct": [True, False]}
        for i in range(3)
    }  # fmt: skip
    model = {"location": str(small_models.reward_model("smollm2")), "base": "smollm2"}
    scores = valuebias.score_contrasts(
        model, valuebias.contrast_set(lines), read="all", store=tmp_path / "s.zarr", progress=False
    )
    found = valuebias.along(valuebias.read(tmp_path / "s.zarr"))
    for name, text in answers.items():
        table = found.contributions(item="q1", variant=name)
        assert "".join(table["text"]) == text
        own = table[table["part"] == "answer"]
        assert own["end"].iloc[-1] == len(text)
        assert len(own) < len(table)
        final = float(scores["score"].sel(item="q1", variant=name).squeeze())
        change = found.sentences(item="q1", variant=name)["change"].sum()
        assert change == pytest.approx(final - table["reward"].iloc[0], abs=1e-4)
        # The reward at the last own token is that of an answer without what ends it.
        assert table["reward"].iloc[-1] == pytest.approx(final, abs=1e-5)
    assert len(found.sentences(item="q1", variant="right")) == 5
    assert set(found.accuracy()["n_items"]) == {3}
    assert len(found.plot(item="q1", variant="right").axes) == 2
    assert "🙂" in found.to_html(item="q1", variant="right")
