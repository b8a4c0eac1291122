"""Scores of contrast sets averaged by what variants are like."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from contrast_worlds import world

from valuebias import contrast_set
from valuebias.errors import ValueBiasError
from valuebias.schema import build_contrasts
from valuebias.schema.contrast_categories import average_by, groups_of_variants, score_sd


def alternating(n: int) -> list[bool]:
    """Make the first answer right in every other item."""
    return [(v == 0) == (i % 2 == 0) for i in range(n) for v in range(2)]


def test_variants_are_averaged_by_what_they_are_in_each_item() -> None:
    scores = world(1, n_items=6, correct=alternating(6)).scores
    data = average_by(scores, "correct").data
    assert data["response"].to_numpy().tolist() == ["right", "wrong"]
    score = scores["score"].to_numpy()
    expected = np.stack([score[:, i, i % 2] for i in range(6)], axis=1)
    np.testing.assert_array_equal(data["score"].sel(response="right").to_numpy(), expected)


def test_several_variants_of_a_group_count_as_their_mean() -> None:
    correct = [True, False, False] * 5
    scores = world(2, n_items=5, variants=("a", "b", "c"), correct=correct).scores
    data = average_by(scores, "correct").data
    wrong = scores["score"].sel(variant=["b", "c"]).astype(float).mean("variant")
    np.testing.assert_allclose(data["score"].sel(response="wrong"), wrong, rtol=1e-6)


def test_numbers_are_in_order_and_variants_without_one_left_out() -> None:
    hedging = [2.0, 0.5, np.nan, 1.0] * 4
    scores = world(3, n_items=4, variants=tuple("abcd"), hedging=hedging).scores
    names, group = groups_of_variants(scores, "hedging")
    assert names == ["0.5", "1", "2"]
    assert group[0].tolist() == [2, 0, -1, 1]
    assert average_by(scores, "hedging").data.sizes["response"] == 3


def test_an_item_that_lacks_a_variant_has_the_mean_of_the_others() -> None:
    correct = [True, False, False] * 5
    scores = world(4, n_items=5, variants=("a", "b", "c"), correct=correct).scores
    scores["score"][:, 2, 1] = np.nan
    averaged = average_by(scores, "correct")
    assert averaged.left_out == ()
    np.testing.assert_array_equal(
        averaged.data["score"].isel(prompt=2).sel(response="wrong"), scores["score"][:, 2, 2]
    )


def test_items_of_which_a_model_lacks_a_score_are_left_out_by_name() -> None:
    scores = world(5, n_items=5).scores
    scores["score"][1, 3, 0] = np.nan
    averaged = average_by(scores, None)
    assert averaged.left_out == ("q3",)
    assert averaged.data.sizes["prompt"] == 4


def test_a_model_without_scores_is_named_and_can_be_left_out() -> None:
    scores = world(6, n_items=5).scores
    scores["score"][2, :4] = np.nan
    with pytest.raises(ValueBiasError, match=r"drop_sel\(model=\['org/m2'\]\)"):
        average_by(scores, None)
    assert average_by(scores.drop_sel(model=["org/m2"]), None).left_out == ()


def test_variants_that_items_lack_are_named_and_can_be_left_out() -> None:
    scores = world(7, n_items=5, variants=("a", "b", "c")).scores
    scores["score"][:, 1:, 2] = np.nan
    with pytest.raises(ValueBiasError, match=r"'c'.*scores\.sel\(variant=\[\.\.\.\]\)"):
        average_by(scores, None)
    assert average_by(scores.sel(variant=["a", "b"]), None).left_out == ()


def test_a_model_without_any_score_has_no_unit() -> None:
    scores = world(8).scores
    scores["score"][0] = np.nan
    with pytest.raises(ValueBiasError, match=r"no unit.*drop_sel\(model=\['org/m0'\]\)"):
        score_sd(scores)
    assert (score_sd(scores.drop_sel(model=["org/m0"])) > 0).all()


@pytest.mark.parametrize(
    ("by", "said"),
    [("topic", "of items"), ("corect", "Did you mean 'correct'"), ("family", "of models")],
)
def test_what_variants_do_not_differ_in_is_refused(by: str, said: str) -> None:
    topic = [t for t in "xxyy" for _ in range(2)]
    scores = world(9, n_items=4, correct=[True, False] * 4, topic=topic).scores
    with pytest.raises(ValueBiasError, match=said):
        average_by(scores, by)


def test_one_group_is_in_contrast_to_nothing() -> None:
    scores = world(10, n_items=4, style=["x"] * 7 + ["y"]).scores
    scores["score"][:, 3, 1] = np.nan
    with pytest.raises(ValueBiasError, match="one group"):
        average_by(scores, "style")
    assert isinstance(average_by(scores, "variant").data, xr.Dataset)


def test_names_of_numbers_tell_them_apart() -> None:
    lines = {
        f"q{i}": {"prompt": f"{i}?", "answers": list("abcd"), "size": [3, 1_000_000, 1_000_001, 3],
                  "share": [0.3, 0.1 + 0.2, 0.5, 0.5]}
        for i in range(2)
    }  # fmt: skip
    models = pd.DataFrame({"family": "A", "stage": "reward"}, index=["org/a"])
    scores = build_contrasts(
        np.arange(8.0).reshape(1, 2, 4), models=models, contrasts=contrast_set(lines)
    )
    names, group = groups_of_variants(scores, "size")
    assert names == ["3", "1000000", "1000001"]
    assert group[0].tolist() == [0, 1, 2, 0]
    # What only rounding tells apart is one.
    names, group = groups_of_variants(scores, "share")
    assert names == ["0.3", "0.5"]
    assert group[0].tolist() == [0, 0, 1, 1]
