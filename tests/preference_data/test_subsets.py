"""Splits and nested subsets of preferences: the same every time, and never overlapping."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from valuebias import Preferences, ValueBiasError, preferences
from valuebias.ablation import check_disjoint
from valuebias.preference_data.preferences import prompt_keys


def read(source: pd.DataFrame) -> Preferences:
    return preferences(source, progress=False)


def many(n: int = 400, n_prompts: int = 150) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    asked = rng.integers(n_prompts, size=n)
    return pd.DataFrame(
        {
            # The same prompt but for blanks and case.
            "prompt": [f"Ask {p}?" if i % 2 else f" aSK  {p}? " for i, p in enumerate(asked)],
            "chosen": [f"yes {i}" for i in range(n)],
            "rejected": [f"no {i}" for i in range(n)],
        }
    )


def keys(one: Preferences) -> set[str]:
    return set(prompt_keys(one.pairs["prompt"]))


@pytest.mark.parametrize("held_out", [1, 60, 0.2])
def test_a_split_shares_no_prompt(held_out: float) -> None:
    whole = read(many())
    train, test = whole.split(held_out=held_out, seed=3)
    check_disjoint(train, test)
    assert not keys(train) & keys(test)
    assert len(train) + len(test) == len(whole)
    assert set(train.pairs["id"]) | set(test.pairs["id"]) == set(whole.pairs["id"])
    if held_out < 1:
        assert 0.1 < len(keys(test)) / len(keys(whole)) < 0.3
    else:
        assert held_out <= len(test) < held_out + 12
    other = whole.split(held_out=held_out, seed=4)[1]
    assert other.sha256 != test.sha256
    assert train.report.iloc[-1]["dropped"] == len(test)


def test_a_share_puts_a_prompt_on_one_side_whatever_else_is_there() -> None:
    whole = many()
    train, test = read(whole).split(held_out=0.3)
    part_train, part_test = read(whole.sample(frac=0.4, random_state=1)).split(held_out=0.3)
    assert set(part_train.pairs["id"]) <= set(train.pairs["id"])
    assert set(part_test.pairs["id"]) <= set(test.pairs["id"])


@given(sizes=st.tuples(st.integers(1, 400), st.integers(1, 400)), seed=st.integers(0, 2**40))
def test_subsets_are_nested(sizes: tuple[int, int], seed: int) -> None:
    small, large = (WHOLE.subset(size, seed=seed) for size in sorted(sizes))
    pd.testing.assert_frame_equal(small.pairs, large.pairs.iloc[: len(small)])
    assert len(large) == max(sizes)


WHOLE = read(many())


def test_subsets_do_not_depend_on_the_order_of_the_source() -> None:
    shuffled = read(many().sample(frac=1, random_state=2))
    assert shuffled.sha256 == WHOLE.sha256
    pd.testing.assert_frame_equal(shuffled.subset(50).pairs, WHOLE.subset(50).pairs)
    assert WHOLE.subset(50, seed=1).sha256 != WHOLE.subset(50, seed=2).sha256
    # Written down: the same pairs must be drawn by later versions.
    assert WHOLE.subset(3).pairs["chosen"].tolist() == ["yes 398", "yes 368", "yes 283"]
    held_out = WHOLE.split(held_out=3)[1]
    assert held_out.pairs["chosen"].tolist() == ["yes 40", "yes 100", "yes 121", "yes 289"]


def test_check_disjoint() -> None:
    train, test = WHOLE.split(held_out=0.5)
    check_disjoint(train, test.subset(10))
    with pytest.raises(ValueBiasError, match="share 7 pairs and"):
        check_disjoint(WHOLE.subset(7), WHOLE)
    first = read(pd.DataFrame([{"prompt": "A?", "chosen": "1", "rejected": "2"}]))
    second = read(pd.DataFrame([{"prompt": " a? ", "chosen": "3", "rejected": "4"}]))
    with pytest.raises(ValueBiasError, match="share 1 prompt, so"):
        check_disjoint(first, second)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"held_out": 400}, "none to train on"),
        ({"held_out": 0}, "expected a whole number of pairs, or a share"),
        ({"held_out": 2.5}, "expected a whole number of pairs, or a share"),
        ({"held_out": float("nan")}, "expected a whole number of pairs, or a share"),
        ({"held_out": float("inf")}, "expected a whole number of pairs, or a share"),
        ({"held_out": True}, "expected a number of pairs"),
        ({"held_out": 1e-9}, "none to hold out"),
        ({"held_out": 5, "seed": -1}, "seed is -1"),
    ],
)
def test_what_cannot_be_split(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueBiasError, match=message):
        WHOLE.split(**options)


@pytest.mark.parametrize("n_pairs", [0, 1.0, True, "3"])
def test_a_subset_is_a_whole_number_of_pairs(n_pairs: Any) -> None:
    with pytest.raises(ValueBiasError, match=r"n_pairs is .*; expected a whole number"):
        WHOLE.subset(n_pairs)


def test_a_subset_larger_than_the_source() -> None:
    with pytest.raises(ValueBiasError, match="n_pairs is 401, and 'preferences' has 400 pairs"):
        WHOLE.subset(401)
