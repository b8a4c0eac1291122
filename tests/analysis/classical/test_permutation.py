from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from valuebias import classical
from valuebias.analysis.classical.medians import MedianRanks, median_ranks
from valuebias.analysis.classical.permutation import bases_of, family_permutations
from valuebias.datasets.simulate import simulate

SIGNED = "framing == 'signed'"


def medians_of(
    lean: list[float], family: list[str], *, negative: list[float] | None = None
) -> MedianRanks:
    """Set up models with these leans in ranks, the same under either framing with its sign."""
    positive = np.array(lean)
    other = -positive if negative is None else np.array(negative)
    # Two prompts a framing, whose leans differ by 2 and average to what is asked for.
    by_prompt = np.stack([positive - 1, positive + 1, other + 1, other - 1], axis=1)
    names = sorted(set(family))
    return MedianRanks(
        values=np.stack([100 - by_prompt / 2, 100 + by_prompt / 2], axis=-1),
        pooled=np.full((len(lean), 2, 2), np.nan),
        models=tuple(f"m{i}" for i in range(len(lean))),
        prompts=("a", "b", "c", "d"),
        categories=("agency", "communion"),
        framings=("positive", "negative"),
        family=tuple(family),
        framing=("positive", "positive", "negative", "negative"),
        families=tuple(names),
        n_ranked=200,
    )


def permuted(medians: MedianRanks, bases: list[str], **changes: int) -> pd.DataFrame:
    return family_permutations(medians, bases, **{"n_permutations": 99, "seed": 1, **changes})[0]


def scipys(first: list[float], second: list[float]) -> float:
    """SciPy's exact p value of the absolute difference in means."""
    return stats.permutation_test(
        (first, second),
        lambda x, y: abs(np.mean(x) - np.mean(y)),
        n_resamples=np.inf,
        alternative="greater",
    ).pvalue


def test_models_are_permuted_as_scipy_does() -> None:
    rng = np.random.default_rng(4)
    positive, negative = rng.normal(size=(2, 9)).round(3)
    family = ["A"] * 3 + ["B"] * 6
    made = permuted(medians_of(positive, family, negative=negative), family)  # one base a family
    made = made[made["unit"] == "model"].set_index("framing")
    leans = {"signed": (positive - negative) / 2, "positive": positive, "negative": negative}
    assert made.index.tolist() == list(leans)
    for framing, lean in leans.items():
        row = made.loc[framing]
        assert row["difference"] == pytest.approx(lean[:3].mean() - lean[3:].mean())
        assert (row["method"], row["assignments"]) == ("exact", 84)
        assert row["p"] == pytest.approx(scipys(lean[:3], lean[3:]))
        assert row["p.min"] == pytest.approx(1 / 84)


def test_bases_are_permuted_whole_as_scipy_does() -> None:
    family = ["A", "A", "A", "B", "B", "B", "B"]
    bases = ["a1", "a1", "a2", "b1", "b2", "b2", "b3"]
    lean = [1.0, 2.0, 7.0, 0.0, 4.0, 2.0, 2.5]
    row = permuted(medians_of(lean, family), bases).query("unit == 'base'").query(SIGNED).iloc[0]
    of_bases = [1.5, 7.0], [0.0, 3.0, 2.5]
    assert (row["n1"], row["n2"], row["assignments"]) == (2, 3, 10)
    assert row["difference"] == pytest.approx(np.mean(of_bases[0]) - np.mean(of_bases[1]))
    assert row["p"] == pytest.approx(scipys(*of_bases))


@pytest.mark.parametrize(
    ("sizes", "least"),
    # Of equal numbers every assignment has a mirror image that is as far out.
    [((1, 1), 1.0), ((1, 3), 1 / 4), ((2, 2), 2 / 6), ((2, 3), 1 / 10), ((3, 3), 2 / 20),
     ((3, 4), 1 / 35), ((4, 4), 2 / 70)],
)  # fmt: skip
def test_a_row_that_cannot_be_significant_says_so(sizes: tuple[int, int], least: float) -> None:
    family = ["A"] * sizes[0] + ["B"] * sizes[1]
    # As far apart as can be: no two sums of powers of two are the same.
    lean = 2.0 ** -np.arange(len(family))
    made = permuted(medians_of(lean, family), [str(i) for i in range(len(family))])
    assert (made["p"] == made["p.min"]).all()
    assert made["p.min"].tolist() == pytest.approx([least] * 3)
    assert (made["remark"] == "no p below 0.05 is possible").tolist() == [least > 0.05] * 3


def test_leans_that_tie_raise_the_smallest_p() -> None:
    # Three models of four are alike: whichever is with the fourth is as far out.
    family = ["A", "A", "B", "B", "B"]
    made = permuted(medians_of([1.0, 0.0, 0.0, 0.0, 0.0], family), list("abcde")).query(SIGNED)
    assert made["p.min"].tolist() == pytest.approx([4 / 10])
    assert made["p"].tolist() == made["p.min"].tolist()


def test_no_difference_has_p_of_one() -> None:
    made = permuted(medians_of([0.1 + 0.2, 0.3, 0.3, 0.1 + 0.2], list("AABB")), list("abcd"))
    assert made["p"].tolist() == [1.0, 1.0, 1.0]


def test_the_test_keeps_its_level() -> None:
    # Over all ways to label the same leans, p at most a is had by no more than a of them.
    lean = np.random.default_rng(2).normal(size=7)
    p = []
    for first in combinations(range(7), 3):
        family = ["A" if i in first else "B" for i in range(7)]
        p.append(permuted(medians_of(lean, family), family).query(SIGNED)["p"].iloc[0])
    for level in np.unique(p):
        assert np.mean(np.array(p) <= level + 1e-12) == pytest.approx(level)


def test_many_assignments_are_sampled_with_the_data_among_them() -> None:
    rng = np.random.default_rng(3)
    lean = rng.normal(size=18)
    lean[:9] += 0.6
    made = medians_of(lean, ["A"] * 9 + ["B"] * 9)
    bases = [str(i) for i in range(18)]
    first, again, other = (
        permuted(made, bases, n_permutations=20_000, seed=seed).query(SIGNED).iloc[0]
        for seed in (1, 1, 2)
    )
    every = np.array([lean[list(c)].sum() for c in combinations(range(18), 9)])
    exact = np.mean(np.abs(2 * every - lean.sum()) >= abs(2 * lean[:9].sum() - lean.sum()) - 1e-9)
    assert (first["method"], first["assignments"]) == ("sampled", 20_000)
    assert first["p"] == again["p"] != other["p"]
    assert first["p"] == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 20_000))
    counted = first["p"] * 20_001 - 1
    assert counted == pytest.approx(round(counted), abs=1e-6)
    assert first["p.min"] == pytest.approx(1 / 20_001)
    # The farthest apart that there is: no drawn one is likely to be as far.
    lean = np.r_[2.0 ** -np.arange(9), -(3.0 ** -np.arange(9))]
    row = permuted(medians_of(lean, ["A"] * 9 + ["B"] * 9), bases, n_permutations=999).iloc[0]
    assert row["p"] == pytest.approx(1 / 1000)


def test_bases_have_rows_only_where_models_share_them() -> None:
    family = ["A", "A", "B", "B", "C", "C"]
    bases = ["a", "a", "b1", "b2", "c1", "c2"]
    made = permuted(medians_of([1, 2, 3, 5, 8, 13], family), bases).query(SIGNED)
    assert list(zip(made["family1"], made["family2"], made["unit"], strict=True)) == [
        ("A", "B", "model"), ("A", "B", "base"), ("A", "C", "model"), ("A", "C", "base"),
        ("B", "C", "model"),
    ]  # fmt: skip
    alike = made["remark"].str.contains("models share bases")
    assert alike.tolist() == [True, False, True, False, False]


def test_a_base_in_two_families_cannot_be_permuted() -> None:
    medians = medians_of([1, 2, 3, 5], ["A", "A", "B", "B"])
    table, messages = family_permutations(medians, ["x", "y", "x", "z"], n_permutations=9, seed=1)
    assert table["unit"].unique().tolist() == ["model"]
    assert len(messages) == 1
    assert "share the base 'x'" in messages[0]
    assert table["remark"].str.contains("models share bases").all()


def test_models_without_a_lean_are_left_out() -> None:
    medians = medians_of([1, 2, 3, 5, 4], ["A", "A", "B", "B", "B"])
    values = np.array(medians.values)
    values[0, :2, 1] = np.nan  # no lean under positive prompts
    values[2:, 2, 0] = np.nan  # one negative prompt less
    made = permuted(replace(medians, values=values), list("abcde")).set_index("framing")
    assert made["n1"].tolist() == [1, 1, 2]
    assert made["n2"].tolist() == [3, 3, 3]
    assert made.loc["positive", "difference"] == pytest.approx(2 - 4)
    assert made.loc["positive", "assignments"] == 4
    assert made.loc["negative", "difference"] == pytest.approx(-1.5 + 4 + 1)
    values[:2, :2, 1] = np.nan
    made = permuted(replace(medians, values=values), list("abcde")).set_index("framing")
    assert made.loc["signed", ["difference", "p", "p.min"]].isna().all()
    assert made.loc["negative", "p"] > 0


def test_classical_permutes_the_bases_of_the_dataset() -> None:
    ds = simulate(
        n_models={"Gemma": 4, "Llama": 6}, n_prompts=6, n_words=40, effects={"Gemma": 1.0}, seed=5
    )
    bases = ["Gemma-2-27B"] * 3 + ["Gemma-2-2B"] + ["Llama-3.1"] * 3 + ["Llama-3"] * 2 + ["3.2"]
    made = classical(ds.assign_coords(base=("model", bases)), n_permutations=9)
    table = made.family_permutation
    assert table["unit"].tolist() == ["model"] * 3 + ["base"] * 3
    assert table["assignments"].tolist() == [210] * 3 + [10] * 3
    # Balanced data: the mixed model's difference is that of the models' mean leans.
    expected = made.contrasts().drop_duplicates("framing").set_index("framing")["estimate"]
    for row in table[table["unit"] == "model"].to_dict("records"):
        assert row["difference"] == pytest.approx(expected[row["framing"]])
    signed = table.query(SIGNED)
    assert signed["p"].tolist() == pytest.approx([1 / 210, 1 / 10])
    assert "Family labels permuted" in str(made)
    assert "no p below 0.05 is possible" in str(made)
    assert made.to_dict()["family_permutation"][0]["unit"] == "model"


def test_models_without_a_known_base_have_one_to_themselves() -> None:
    ds = simulate(n_models={"A": 2, "B": 3}, n_prompts=4, n_words=20, seed=1)
    some = ds.assign_coords(base=("model", ["A 1", "A 1", "", "", "B 1"]))
    assert bases_of(some)[:2] == ["A 1", "A 1"]
    assert len(set(bases_of(some))) == 4
    for unknown in (ds.drop_vars("base"), ds.assign_coords(base=("model", [""] * 5))):
        assert len(set(bases_of(unknown))) == 5


def test_categories_and_families_are_taken_in_pairs() -> None:
    ds = simulate(n_models={"A": 2, "B": 2, "C": 1}, n_prompts=4,
                  n_words={"care": 8, "fairness": 8, "loyalty": 8}, seed=2)  # fmt: skip
    medians = median_ranks(ds)
    made = permuted(medians, [str(i) for i in range(5)])
    assert len(made) == 3 * 3 * 3
    assert made["category"].unique().tolist() == [
        "care − fairness", "care − loyalty", "fairness − loyalty",
    ]  # fmt: skip
    one = ds.sel(prompt=ds["framing"] == "negative")
    made = permuted(median_ranks(one), [str(i) for i in range(5)])
    assert made["framing"].unique().tolist() == ["signed", "negative"]


def test_one_family_has_nothing_to_permute() -> None:
    table, messages = family_permutations(
        medians_of([1, 2], ["A", "A"]), ["a", "a"], n_permutations=9, seed=1
    )
    assert table.empty
    assert messages == ()


@pytest.mark.released_data
def test_the_papers_ten_models_and_five_bases(big2, bases_r) -> None:
    bases = [bases_r["base"][str(name)] for name in big2["model"].to_numpy()]
    made = permuted(median_ranks(big2), bases).query(SIGNED).set_index("unit")
    assert made["p"].tolist() == pytest.approx([16 / 210, 2 / 10])
    assert made["p.min"].tolist() == pytest.approx([1 / 210, 1 / 10])
