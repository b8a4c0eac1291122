"""Terms are worked out as formulaic works them out, and other rows alike."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from formulaic import model_matrix

from valuebias import ValueBiasError
from valuebias.analysis.design.expressions import compute
from valuebias.analysis.design.formula import learn_factor

TABLE = pd.DataFrame(
    {
        "size": [1.0, 2.5, 4.0, 9.0, 11.0],
        "n": [1, 2, 2, 5, 8],
        "yes": [True, False, True, True, False],
        "context size": [3.0, 1.0, 4.0, 1.0, 5.0],
        "family": list("aabbc"),
    }
)
OTHERS = TABLE.assign(size=TABLE["size"] * 2 + 1, n=[3, 1, 9, 4, 4])


@pytest.mark.parametrize(
    "term",
    [
        "size", "n", "yes", "log(size)", "np.log10(size)", "I(size ** 2 - 3 * n / 4 + 1)",
        "n // 2", "size % 2.5", "-size + +n", "exp(-size)", "abs(n - 3)", "sqrt(`context size`)",
        "center(size)", "scale(size)", "scale(log(n + 1))", "center(size) * scale(n)",
        "poly(size)", "poly(size, 3)", "poly(log(n), degree=2)", "I(poly(size, 2))", "log1p(n)",
    ],
)  # fmt: skip
def test_terms_are_as_formulaic_has_them(term: str) -> None:
    oracle = model_matrix(f"0 + {{{term}}}", TABLE, context={"abs": np.abs, "log1p": np.log1p,
                                                             "sqrt": np.sqrt})  # fmt: skip
    values, state = compute(term, TABLE)
    np.testing.assert_allclose(values, oracle.to_numpy(dtype=float), rtol=1e-12)
    # Other rows are coded by what the first have taught.
    expected = oracle.model_spec.get_model_matrix(
        OTHERS, context={"abs": np.abs, "log1p": np.log1p, "sqrt": np.sqrt}
    )
    again, _ = compute(term, OTHERS, state)
    np.testing.assert_allclose(again, expected.to_numpy(dtype=float), rtol=1e-12)


def test_columns_of_a_polynomial_are_counted() -> None:
    assert learn_factor("poly(size, 2)", TABLE).labels == ("poly(size, 2)[1]", "poly(size, 2)[2]")
    assert learn_factor("log(size)", TABLE).labels == ("log(size)",)


@pytest.mark.parametrize(
    ("term", "said"),
    [
        ("log(family)", "'family' holds no numbers"),
        ("log(poly(size, 2))", "cannot be a part of something else"),
        ("size * poly(size, 2)", "cannot be a part of something else"),
        ("C(size + 1)", "'C' takes the name of a coordinate"),
        ("poly(size, 0)", "a whole number from 1 to 10"),
        ("poly(size, 1.5)", "a whole number from 1 to 10"),
    ],
)
def test_what_cannot_be_computed_is_named(term: str, said: str) -> None:
    with pytest.raises(ValueBiasError, match=said):
        compute(term, TABLE)


def test_what_was_learnt_must_be_known() -> None:
    with pytest.raises(ValueBiasError, match=r"what 'scale\(size\)' learnt .* is not known"):
        compute("scale(size)", TABLE, {})
