"""Formulae over the models: coding, averaging, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from valuebias.analysis.design.formula import ModelDesign, learn_factor, parse_formula
from valuebias.errors import ValueBiasError

MODELS = pd.DataFrame(
    {
        "family": ["A", "A", "A", "A", "B", "B", "B", "B", "C", "C", "C", "C"],
        "stage": ["pretrained", "reward"] * 6,
        "n_params": [1e9, 2e9, 7e9, 70e9, 2e9, 3e9, 9e9, 8e9, 1e9, 5e9, 4e9, 27e9],
        "seed": [1, 2, 3] * 4,
        "flag": [True, False, False, True] * 3,
        "context size": np.arange(12.0) ** 2,
        "maker": ["a"] * 4 + ["b"] * 4 + ["c"] * 4,
        "partly": [np.nan, *range(11)],
        "constant": 2.0,
        "same": "x",
        "unnamed": ["", *"abcdefghijk"],
    },
    index=[f"m{i}" for i in range(12)],
)


def design(formula: str) -> ModelDesign:
    return parse_formula(formula, MODELS)


def test_categories_are_coded_by_orthonormal_contrasts_that_sum_to_zero() -> None:
    codes = design("~ family").matrix
    np.testing.assert_array_equal(codes[:, 0], 1)
    levels = codes[[0, 4, 8], 1:]
    np.testing.assert_allclose(levels.sum(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(levels.T @ levels, np.eye(2), atol=1e-12)
    # No level is a reference: all are equally far from the mean and from each other.
    np.testing.assert_allclose((levels**2).sum(axis=1), 2 / 3)


def test_numbers_are_centred_and_scaled_over_the_models_at_hand() -> None:
    made = design("~ log10(n_params)")
    expected = np.log10(MODELS["n_params"])
    expected = (expected - expected.mean()) / expected.std(ddof=0)
    np.testing.assert_allclose(made.matrix[:, 1], expected)
    assert made.column_names == ["mean", "log10(n_params)"]


def test_interactions_are_products() -> None:
    made = design("~ family * log10(n_params)")
    names = [term.name for term in made.terms]
    assert names == ["mean", "family", "log10(n_params)", "family:log10(n_params)"]
    np.testing.assert_allclose(made.matrix[:, 4:], made.matrix[:, 1:3] * made.matrix[:, 3:4])
    assert made.column_names[4:] == ["family[1]:log10(n_params)", "family[2]:log10(n_params)"]


def test_an_average_row_sets_one_factor_and_keeps_the_others_as_they_are() -> None:
    made = design("~ family * stage + log10(n_params)")
    family = made.factor("family")
    assert family is not None
    rows = {level: made.average_row(family, level) for level in family.levels}
    for level, row in rows.items():
        changed = MODELS.assign(family=level)
        np.testing.assert_allclose(row, made.rows(changed).mean(axis=0), atol=1e-12)
    # Balanced over stages, centred sizes: families' average rows hold nothing but their own code.
    assert rows["A"][-1] == pytest.approx(0, abs=1e-12)


def test_family_rows_recover_family_means_of_a_balanced_fit() -> None:
    made = design("~ family")
    y = np.random.default_rng(1).normal(size=12)
    beta = np.linalg.lstsq(made.matrix, y, rcond=None)[0]
    means = pd.Series(y, MODELS.index).groupby(MODELS["family"]).mean()
    for level in "ABC":
        assert made.average_row(made.factor("family"), level) @ beta == pytest.approx(means[level])


def test_a_slope_row_is_the_change_for_one_unit_of_the_term() -> None:
    made = design("~ family * log10(n_params)")
    factor = made.factor("log10(n_params)")
    y = 3 * np.log10(MODELS["n_params"]) + (MODELS["family"] == "B") * 2
    beta = np.linalg.lstsq(made.matrix, y, rcond=None)[0]
    assert made.slope_row(factor, 0) @ beta == pytest.approx(3)
    with pytest.raises(ValueBiasError, match="'family' is categorical"):
        made.slope_row(made.factor("family"), 0)


def test_new_models_are_coded_with_what_was_learnt() -> None:
    made = design("~ family + log10(n_params)")
    np.testing.assert_allclose(made.rows(MODELS.iloc[[3]]), made.matrix[[3]])
    with pytest.raises(ValueBiasError, match=r"levels not seen when fitting: \['D'\]"):
        made.rows(MODELS.iloc[[3]].assign(family="D"))


def test_c_makes_a_number_categorical_and_leaves_text_alone() -> None:
    made = design("~ C(seed)")
    assert made.matrix.shape == (12, 3)
    assert made.factor("C(seed)").levels == ("1", "2", "3")
    np.testing.assert_allclose(design("~ C(family)").matrix, design("~ family").matrix)
    assert design("~ C(family)").factor("family") is not None


def test_names_with_spaces_are_numbers() -> None:
    made = design("~ `context size` + I(seed**2) + {seed + 1}")
    assert made.column_names == ["mean", "context size", "I(seed ** 2)", "seed + 1"]


def test_truth_values_of_models_are_levels_and_of_words_numbers() -> None:
    flag = design("~ flag").factor("flag")
    assert flag is not None
    assert flag.levels == ("False", "True")
    np.testing.assert_array_equal(design("~ C(flag)").matrix, design("~ flag").matrix)
    of_words = parse_formula("~ flag", MODELS.rename_axis("response"))
    assert of_words.column_names == ["mean", "flag"]


def test_the_models_order_does_not_matter() -> None:
    order = np.random.default_rng(2).permutation(12)
    shuffled = parse_formula("~ family + log10(n_params)", MODELS.iloc[order])
    np.testing.assert_allclose(shuffled.matrix, design("~ family + log10(n_params)").matrix[order])


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        ("~ famly", "names 'famly', which is not a coordinate on 'model'. Did you mean 'family'"),
        ("~ family + maker", "term 'maker' is collinear with 'family' over the 12 models"),
        ("~ family * n_params + family * `context size` + family * seed + family * log10(n_params)",
         "collinear with"),
        ("~ seed + I(2*seed)", r"'I\(2 \* seed\)' is collinear with 'seed'"),
        ("~ family:stage", "without the main effect of 'family'; write family"),
        ("~ partly", "'partly' is not finite for 1 of 12 models: 'm0'. Give"),
        ("~ log10(seed - 1)", "not finite for 4 of 12 models: 'm0', 'm3', 'm6' and 'm9'"),
        ("~ constant", "the same for all models"),
        ("~ same", "all models at hand have same = 'x'"),
        ("~ unnamed", "'unnamed' is empty for 'm0'"),
        ("~ 0 + family", "removes the intercept"),
        ("~ family - 1", "removes the intercept"),
        ("score ~ family", "has a left-hand side"),
        ("~ family | stage", r"several parts \(separated by '\|'\)"),
        ("~ family +", "cannot be read"),
        ("~ (family", "cannot be read"),
        ("~ log10(family)", "cannot be computed"),
        ("~ family # + stage", "holds '#' outside of backticks"),
        ("~ {seed # * 2}", "holds '#' outside of backticks"),
        ("", "must be text"),
        (None, "must be text"),
        (3, "must be text"),
    ],
)  # fmt: skip
def test_what_cannot_be_fitted_is_refused_by_name(formula: object, said: str) -> None:
    with pytest.raises(ValueBiasError, match=said):
        parse_formula(formula, MODELS)  # type: ignore[arg-type]


PIECES = ["family", "stage", "n_params", "seed", "famly", "log10(", "(", ")", "+", "*", ":", "-",
          "~", "0", "1", "|", "^", "/", "C(", "I(", "`", ",", " ", "\n", "é", "%in%", "**",
          "2"]  # fmt: skip


@settings(max_examples=300)
@given(st.lists(st.sampled_from(PIECES), max_size=8).map(" ".join))
def test_any_text_is_either_a_design_or_refused(text: str) -> None:
    try:
        made = parse_formula(text, MODELS)
    except ValueBiasError:
        return
    assert np.isfinite(made.matrix).all()
    assert np.linalg.matrix_rank(made.matrix) == made.matrix.shape[1] <= len(MODELS)
    assert made.matrix.shape[1] == len(made.column_names)


def test_levels_stand_in_the_order_in_which_they_follow_one_another() -> None:
    models = pd.DataFrame(
        {
            "stage": ["reward", "instruct", "pretrained", "reward"],
            "kind": ["reward", "instruct", "pretrained", "reward"],
            "n_pairs": [1024, 256, 16, 16],
        },
        index=list("abcd"),
    )
    assert learn_factor("stage", models).levels == ("pretrained", "instruct", "reward")
    assert learn_factor("C(stage)", models).levels == ("pretrained", "instruct", "reward")
    # Only the coordinate that is known to be one of stages.
    assert learn_factor("kind", models).levels == ("instruct", "pretrained", "reward")
    assert learn_factor("C(n_pairs)", models).levels == ("16", "256", "1024")
    other = models.assign(stage=["distilled", "instruct", "pretrained", "reward"])
    expected = ("pretrained", "instruct", "reward", "distilled")
    assert learn_factor("stage", other).levels == expected
