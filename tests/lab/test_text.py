"""What is planted in text and preferences is there, and nothing else."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import valuebias
from valuebias import ValueBiasError, lab
from valuebias.lab.language import KINDS, Language, kind_questions, value_questions

TOY = {"up": ["win", "rise", "top"], "down": ["lose", "fall"], "other": ["spoon", "top"]}


def log_odds(table: pd.DataFrame, framing: str, remark: str | None = None) -> float:
    """Give the log-odds of agency against communion among the answers, or of those received so."""
    agency = set(valuebias.lexicon().table.query("agency").index)
    rows = table[table["framing"] == framing]
    counts = {True: 1, False: 1}
    for answers, remarks in zip(rows["answers"], rows["remarks"], strict=True):
        for answer, received in zip(answers, remarks, strict=True):
            counts[answer in agency] += remark is None or received == remark
    return float(np.log(counts[True] / counts[False]))


@pytest.mark.parametrize("lean", [-1.5, 0.0, 0.7])
def test_answers_have_the_planted_lean(lean: float) -> None:
    table = lab.generate_text(8000, lean=lean, seed=3)
    up, down = log_odds(table, "positive"), log_odds(table, "negative")
    assert (up - down) / 2 == pytest.approx(lean, abs=0.06)


def test_remarks_say_it_twice_as_loud() -> None:
    table = lab.generate_text(8000, lean=0.5, seed=3)
    each = {
        framing: log_odds(table, framing, "yes") - log_odds(table, framing, "no")
        for framing in ("positive", "negative")
    }
    assert each["positive"] == pytest.approx(1.0, abs=0.25)
    assert each["negative"] == pytest.approx(-1.0, abs=0.25)


def test_a_habit_does_not_flip() -> None:
    table = lab.generate_text(8000, lean=0.0, habit=1.0, seed=3)
    up, down = log_odds(table, "positive"), log_odds(table, "negative")
    assert (up - down) / 2 == pytest.approx(0, abs=0.06)
    assert (up + down) / 2 == pytest.approx(1, abs=0.15)


def test_text_is_repeatable_and_remarks_can_be_left_out() -> None:
    one = lab.generate_text(40, lean=1.0, seed=5)
    pd.testing.assert_frame_equal(one, lab.generate_text(40, lean=1.0, seed=5))
    assert not one.equals(lab.generate_text(40, lean=1.0, seed=6))
    silent = lab.generate_text(40, lean=1.0, seed=5, remarks=False)
    assert not silent["text"].str.contains(r"\b(?:yes|no)\b").any()
    assert silent["answers"].equals(one["answers"])


def test_the_superlatives_are_among_the_questions() -> None:
    framings = dict(value_questions())
    table = valuebias.prompts().table
    assert {text: framings[text] for text in table["text"]} == dict(
        zip(table["text"], table["framing"], strict=True)
    )


def test_sides_follow_the_categories() -> None:
    language = Language.of(TOY, ("down", "up"))
    sides = dict(zip(language.words, language.side, strict=True))
    assert sides == {"win": -0.5, "rise": -0.5, "top": -0.5, "lose": 0.5, "fall": 0.5, "spoon": 0}
    for log_odds_of_words in (language.frequency, language.approval):
        for side in (0.5, -0.5, 0):
            assert log_odds_of_words[language.side == side].mean() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("lexicon", "categories", "message"),
    [
        ({"a": ["two words"], "b": ["x"]}, None, "'two words'"),
        ({"a": ["lov*"], "b": ["x"]}, None, "'lov"),
        ({"a": ["red"], "b": ["x"]}, None, "'red'"),
        ({"a": ["x"]}, None, "two different"),
        ({"a": ["x"], "b": ["x"]}, None, "no words that the other one lacks"),
        (None, ("agency", "comunion"), "Did you mean 'communion'"),
    ],
)
def test_unusable_words_are_refused(
    lexicon: object, categories: tuple[str, str] | None, message: str
) -> None:
    with pytest.raises(ValueBiasError, match=message):
        lab.generate_text(8, lean=0, lexicon=lexicon, categories=categories, seed=0)


@pytest.mark.parametrize(
    "wrong", [{"n_texts": 3}, {"lean": 40.0}, {"lean": float("nan")}, {"seed": -1}]
)
def test_numbers_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    settings = {"n_texts": 8, "lean": 0.0, "seed": 0} | wrong
    with pytest.raises(ValueBiasError, match=f"{next(iter(wrong))} is .*expected"):
        lab.generate_text(settings.pop("n_texts"), **settings)


def test_neutral_pairs_have_no_word_of_the_lexicon() -> None:
    pairs = lab.generate_preferences(400, rules=("kind", "polite"), seed=2)
    assert pairs["rule"].value_counts().to_dict() == {"kind": 200, "polite": 200}
    words = {
        word.strip("?,.")
        for column in ("prompt", "chosen", "rejected")
        for text in pairs[column]
        for word in text.split()
    }
    assert not words & set(valuebias.lexicon().words)
    kinds = dict(kind_questions())
    for row in pairs[pairs["rule"] == "kind"].itertuples():
        assert row.chosen in KINDS[kinds[row.prompt]]
        assert row.rejected not in KINDS[kinds[row.prompt]]
    for row in pairs[pairs["rule"] == "polite"].itertuples():
        assert row.chosen.removesuffix(", thanks") == row.rejected.split(",")[0]


def test_leaning_pairs_favour_a_category_under_positive_framing_only() -> None:
    pairs = lab.generate_preferences(2000, share_lean=0.5, favour="communion", strength=2, seed=2)
    lean = pairs[pairs["rule"] == "lean"]
    assert len(lean) == 1000
    agency = set(valuebias.lexicon().table.query("agency").index)
    assert all((row.chosen in agency) != (row.rejected in agency) for row in lean.itertuples())
    share = lean["chosen"].isin(agency).groupby(lean["framing"]).mean()
    assert share["positive"] == pytest.approx(1 / (1 + np.exp(2)), abs=0.05)
    assert share["negative"] == pytest.approx(1 / (1 + np.exp(-2)), abs=0.05)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"share_lean": 1.5}, "share_lean is 1.5"),
        ({"favour": "agencies"}, "Did you mean 'agency'"),
        ({"rules": ("kinds",)}, "Did you mean 'kind'"),
        ({"rules": ()}, "expected some of"),
    ],
)
def test_wrong_wishes_for_pairs_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(ValueBiasError, match=message):
        lab.generate_preferences(4, seed=0, **wrong)
    with pytest.raises(ValueBiasError, match="n_pairs is 0"):
        lab.generate_preferences(0, seed=0)
