"""What is shown is no surer than the draws, and as it was given."""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import valuebias
from valuebias.posterior.wording import (
    chance,
    chance_bound,
    effective_draws,
    false_signs,
    percent,
    rope_in_words,
    sampled_units,
)


@given(st.floats(2, 1e7))
def test_a_bound_leaves_room_for_one_draw_more(draws: float) -> None:
    bound = chance_bound(draws)
    assert bound <= 1 - 1 / draws + 1e-12
    # The next of 1, 2, 5, 10, … would not have left it.
    assert 1 - bound <= 2.5 / draws + 1e-12
    first = f"{1 - bound:.6e}"[0]
    assert first in "125"


@pytest.mark.parametrize(
    ("draws", "bound"),
    [(4000, 0.9995), (3572.3, 0.9995), (2000, 0.9995), (1999, 0.999), (1000, 0.999), (400, 0.995),
     (20000, 0.99995), (10, 0.9), (8, 0.8), (1, 0.5)],
)  # fmt: skip
def test_bounds(draws: float, bound: float) -> None:
    assert chance_bound(draws) == bound


@given(st.floats(0, 1), st.floats(2, 1e6))
def test_no_probability_is_shown_as_zero_or_one(p: float, draws: float) -> None:
    for text, scale, digits in ((percent(p, draws), 100, 1), (chance(p, draws), 1, 3)):
        number = float(re.sub("[<>% ]", "", text))
        assert 0 < number < scale
        if text.startswith(">"):
            assert p * scale > number - 1e-9
            assert number / scale <= 1 - 1 / draws + 1e-12
        elif text.startswith("<"):
            assert p * scale < number + 1e-9
        else:
            assert number == pytest.approx(p * scale, abs=0.5000001 * 10.0**-digits)


def test_all_draws_on_one_side_are_a_bound() -> None:
    assert chance(1.0, 4000) == "> 0.9995"
    assert percent(1.0, 4000) == "> 99.95%"
    assert percent(0.0, 4000) == "< 0.05%"
    assert percent(0.9996, 4000) == "> 99.95%"
    assert percent(0.9993, 4000) == "99.9%"
    assert percent(0.99949, 4000) == "99.9%"
    assert percent(math.nan, 4000) == "–"


def test_the_number_of_draws_is_the_effective_one() -> None:
    table = pd.DataFrame({"ess_bulk": [350.0, 9000.0, np.nan]})
    assert effective_draws(table, 4000) == [350.0, 4000, 4000]
    assert effective_draws(pd.DataFrame({"mean": [1.0, 2.0]}), 4000) == [4000, 4000]


@pytest.mark.parametrize(
    ("rope", "said"),
    [(0.05, "±0.05 SD"), (0.123456, "±0.123456 SD"), (0.0, "±0 SD"), (1 / 3, "±0.333333333333 SD"),
     (12, "±12 SD"), (0.05 * 0.98765, "±0.05 SD")],
)  # fmt: skip
def test_a_region_is_written_as_given(rope: float, said: str) -> None:
    assert rope_in_words(rope, "SD", 0.98765) == said


def test_false_signs_are_the_sum_of_what_is_left() -> None:
    words = pd.DataFrame({"p_direction": [0.99, 0.7, 0.55]})
    assert "of these 3 signs 0.8 are" in false_signs(words, 4000)
    # Draws that all agree do not exclude a wrong sign.
    sure = pd.DataFrame({"p_direction": np.ones(200)})
    assert "of these 200 signs 0.5 are" in false_signs(sure, 400)
    assert "fewer than 0.1" in false_signs(sure.head(20), 4000)


def test_units_are_those_that_have_effects_on_words() -> None:
    plain = ["model_category", "word", "word:family", "model_word", "prompt_word", "residual"]
    assert sampled_units(plain) == "models"
    assert sampled_units([*plain, "base_word", "base_category"]) == "models and bases"
    assert sampled_units([*plain, "base_word", "run_word"]) == "models, bases and runs"


def test_a_table_is_shown_and_stays_as_it_is() -> None:
    table = pd.DataFrame({
        "name": ["<b>a</b>", "b"], "n_pairs": [1000.0, np.nan], "mean": [-0.126, np.inf],
        "p_direction": [1.0, 0.5125], "ess_bulk": [4100.0, 350.0], "rhat": [1.0004, np.nan],
    })  # fmt: skip
    table.attrs["draws"] = 4000
    before = table.copy()
    text = valuebias.shown(table)
    pd.testing.assert_frame_equal(table, before)
    assert text.loc[0].tolist() == ["<b>a</b>", "1,000", "-0.13", "> 0.9995", "4,100", "1.000"]
    assert text.loc[1].tolist() == ["b", "–", "+inf", "0.512", "350", "–"]
    assert valuebias.shown(table.drop(columns="ess_bulk"), digits=1)["mean"][0] == "-0.1"
