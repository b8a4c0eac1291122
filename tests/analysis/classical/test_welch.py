from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from valuebias.analysis.classical.medians import median_ranks
from valuebias.analysis.classical.welch import permutation_tests, welch_tests


def test_welch_is_rs(three_families, classical_r):
    r = classical_r["welch"]
    table = welch_tests(three_families).set_index(["category", "framing", "family1", "family2"])
    row = table.loc[(r["category"], r["framing"], *r["families"])]
    for name, value in {"t": r["t"], "df": r["df"], "p.value": r["p"], "cohen.d": r["d"]}.items():
        assert row[name] == pytest.approx(value, rel=1e-9)


def test_welch_is_scipys_with_gaps(incomplete):
    table = welch_tests(incomplete)
    assert len(table) == 3 * 2 * 3
    family, framing = np.asarray(incomplete.family), np.asarray(incomplete.framing)
    for row in table.to_dict("records"):
        block = incomplete.values[:, framing == row["framing"]]
        block = block[..., incomplete.categories.index(row["category"])]
        groups = [block[family == row[name]].ravel() for name in ("family1", "family2")]
        groups = [group[~np.isnan(group)] for group in groups]
        expected = stats.ttest_ind(*groups, equal_var=False)
        assert row["t"] == pytest.approx(expected.statistic)
        assert row["df"] == pytest.approx(expected.df)
        assert row["p.value"] == pytest.approx(expected.pvalue)
        assert (row["n1"], row["n2"]) == tuple(len(group) for group in groups)
        assert row["difference"] == pytest.approx(row["mean1"] - row["mean2"])
    np.testing.assert_allclose(table["p.fdr"], stats.false_discovery_control(table["p.value"]))


def test_the_false_discovery_rate_is_rs(classical_r):
    r = classical_r["fdr"]
    np.testing.assert_allclose(stats.false_discovery_control(r["p"]), r["adjusted"])


def test_families_that_cannot_be_compared_get_nan(three_families):
    values = np.array(three_families.values)
    values[np.asarray(three_families.family) == "Qwen", :4, 0] = np.nan
    values[:, :4, 1] = 30.0
    ranks = replace(three_families, values=values)
    table = welch_tests(ranks)
    none = (table["category"] == "care") & (table["family2"] == "Qwen")
    none |= table["category"] == "fairness"
    none &= table["framing"] == "positive"
    assert none.sum() == 5
    for column in ("t", "p.value", "p.fdr", "cohen.d"):
        assert table.loc[none, column].isna().all()
        assert table.loc[~none, column].notna().all()
    permuted = permutation_tests(ranks, n_permutations=19, seed=1)
    for column in ("t", "p.perm", "p.bonferroni", "p.plus1"):
        assert permuted.loc[none, column].isna().all()
        assert permuted.loc[~none, column].notna().all()


@pytest.fixture
def big_difference(three_families):
    values = np.array(three_families.values)
    values[np.asarray(three_families.family) == "Gemma", :, 0] += 500
    return replace(three_families, values=values)


def test_permutation_p_is_that_of_all_permutations(three_families):
    # Four medians against three: 35 ways to split them, all equally likely.
    ranks = replace(
        three_families,
        values=three_families.values[:2, :, :1][:, [0, 1, 2, 3]],
        models=("a", "b"),
        family=("Gemma", "Llama"),
        families=("Gemma", "Llama"),
        prompts=three_families.prompts[:4],
        framing=("positive",) * 4,
        framings=("positive",),
        categories=("care",),
    )
    ranks.values[1, 3, 0] = np.nan
    values = ranks.values[~np.isnan(ranks.values)]

    def t(chosen):
        inside = np.isin(np.arange(7), chosen)
        return stats.ttest_ind(values[inside], values[~inside], equal_var=False).statistic

    observed = abs(t((0, 1, 2, 3)))
    exact = np.mean([abs(t(c)) >= observed - 1e-9 for c in combinations(range(7), 4)])
    made = permutation_tests(ranks, n_permutations=40_000, seed=3).iloc[0]
    assert made["t"] == pytest.approx(t((0, 1, 2, 3)))
    assert made["p.perm"] == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 40_000))
    count = made["p.perm"] * 40_000
    assert made["p.plus1"] == pytest.approx((count + 1) / 40_001)


def test_permutations_depend_on_the_seed_only(three_families):
    first, again, other = (
        permutation_tests(three_families, n_permutations=199, seed=seed) for seed in (1, 1, 2)
    )
    assert first.equals(again)
    assert not first.equals(other)


def test_bonferroni_corrects_the_p_that_is_shown(big_difference):
    made = permutation_tests(big_difference, n_permutations=199, seed=1)
    np.testing.assert_allclose(made["p.bonferroni"], np.minimum(1, 18 * made["p.plus1"]))
    # None of 199 shuffles reaches t: at most one in 200 does, and of 18 such tests one in 11.
    never = made["p.perm"] == 0
    assert never.any()
    assert made.loc[never, "p.plus1"].tolist() == [1 / 200] * never.sum()
    assert made.loc[never, "p.bonferroni"].tolist() == pytest.approx([18 / 200] * never.sum())
    assert (made["p.bonferroni"] == 1).any()


def test_progress_is_shown_on_terminals_on_request(three_families, capsys, monkeypatch):
    permutation_tests(three_families, n_permutations=9, seed=1, progress=True)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setenv("FORCE_COLOR", "1")  # as if it were a terminal
    permutation_tests(three_families, n_permutations=9, seed=1)
    assert capsys.readouterr() == ("", "")
    permutation_tests(three_families, n_permutations=9, seed=1, progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""  # standard output is for results
    assert "permutation tests" in shown.err


@pytest.mark.released_data
def test_the_papers_tests(big2, big2_r):
    medians = median_ranks(big2)
    welch = welch_tests(medians).set_index(["category", "framing"])
    permuted = permutation_tests(medians, n_permutations=9999, seed=0)
    permuted = permuted.set_index(["category", "framing"])
    for row in big2_r["welch_permutation"]:
        key = (row["Category"].lower(), row["prompt_framing"])
        assert welch.loc[key, "t"] == pytest.approx(row["t"], rel=1e-9)
        # Theirs is Llama less Gemma, though their t is of Gemma less Llama.
        assert welch.loc[key, "difference"] == pytest.approx(-row["diff"], rel=1e-9)
        p = permuted.loc[key, "p.perm"]
        spread = np.sqrt(max((p + row["p"]) / 2, 1 / 9999) * 2 / 9999)
        assert abs(p - row["p"]) < 4 * spread
        assert p * 9999 == pytest.approx(round(p * 9999), abs=1e-9)
