"""What a formula may hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from valuebias import ValueBiasError
from valuebias.analysis.design.formula import parse_formula
from valuebias.analysis.design.random_terms import groups_of, split_random

MODELS = pd.DataFrame(
    {
        "family": list("ababab"),
        "base": list("xxyyzz"),
        "size": np.arange(1.0, 7),
        "context size": np.arange(2.0, 8) ** 2,
        "log": np.arange(6.0) ** 3,
    },
    index=pd.Index(list("uvwxyz"), name="model"),
)


def design(formula: str) -> np.ndarray:
    fixed, random = split_random(formula)
    groups_of(random, MODELS, "base")
    return parse_formula(fixed, MODELS).matrix


def standardised(values: pd.Series) -> np.ndarray:
    return ((values - values.mean()) / values.std(ddof=0)).to_numpy()


@pytest.mark.parametrize(
    ("term", "values"),
    [
        ("sqrt(size)", np.sqrt(MODELS["size"])),
        ("log1p(size)", np.log1p(MODELS["size"])),
        ("abs(size - 3.2)", (MODELS["size"] - 3.2).abs()),
        ("log2(`context size`)", np.log2(MODELS["context size"])),
        ("`log`", MODELS["log"]),
        ("log", MODELS["log"]),
        ("log(size)", np.log(MODELS["size"])),
        ("I(size ** 2 / 3 + 1)", MODELS["size"] ** 2),
        ("{size % 2.5}", MODELS["size"] % 2.5),
        ("exp(-size)", np.exp(-MODELS["size"])),
        ("np.sqrt(size)", np.sqrt(MODELS["size"])),
        ("I(np.log(size) + 2)", np.log(MODELS["size"])),
    ],
)
def test_functions_and_arithmetic_are_as_numpy_has_them(term: str, values: pd.Series) -> None:
    np.testing.assert_allclose(design(f"~ {term}")[:, 1], standardised(values), atol=1e-12)


def test_a_polynomial_has_its_degree() -> None:
    made = design("~ poly(size, 2)")
    squares = np.column_stack([np.ones(6), MODELS["size"], MODELS["size"] ** 2])
    assert made.shape == (6, 3)
    fitted = squares @ np.linalg.lstsq(squares, made, rcond=None)[0]
    np.testing.assert_allclose(fitted, made, atol=1e-9)


@pytest.mark.parametrize(
    "term",
    [
        "{__import__('pathlib').Path(HERE).touch()}",
        "I(__import__('pathlib').Path(HERE).touch())",
        "log((lambda: open(HERE, 'w'))())",
        "np.save(HERE, size)",
        "log(np.savetxt(HERE, size))",
        "size.to_csv(HERE)",
        "C(size, contr.treatment)",
        "[open(HERE, 'w') for x in size]",
        "log(size if open(HERE, 'w') else 1)",
        "log(x := open(HERE, 'w'))",
        "hashed(size, levels=3)",
        "log(size, out=size)",
        "size[0]",
        "I('size')",
        "I(size > 2)",
        "f'{size}'",
        "log(*size)",
        "log()",
        "{size # * 2}",
    ],
)
@pytest.mark.parametrize("formula", ["~ {}", "~ family + {}", "~ family * {}", "~ ({} | base)"])
def test_nothing_else_is_evaluated(term: str, formula: str, tmp_path: Path) -> None:
    here = tmp_path / "made"
    with pytest.raises(ValueBiasError):
        design(formula.format(term.replace("HERE", repr(str(here)))))
    assert not here.exists()


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        ("~ np.cos(size)", r"holds 'np.cos\(size\)'; a formula may hold names, .* abs, exp, log,"),
        ("~ lgo(size)", "calls 'lgo', .* Did you mean 'log'"),
        ("~ poly(size, 900)", "degree of at most 10"),
        ("~ I(9 ** 9 ** 9 ** 9)", "takes a coordinate to the power of a number of at most 10"),
        ("~ I(size ** 1e9)", "at most 10"),
        ("~ family ** 100000000", "more than 1,000 terms"),
        ("~ (family + size + base) ** 900", "more than 1,000 terms"),
        ("~ " + " * ".join(f"x{i}" for i in range(30)), "more than 1,000 terms"),
        ("~ " + "size + " * 900 + "size", "has 6,306 characters, of 2,000 at most"),
        ("~ I(size + " + "9" * 400 + ")", "holds '9+…'"),
        ("~ (sizes | base)", "the term 'sizes' names 'sizes'.* Did you mean 'size'"),
    ],
)
def test_what_is_refused_is_named_shortly(formula: str, said: str) -> None:
    with pytest.raises(ValueBiasError, match=said) as error:
        design(formula)
    assert len(str(error.value)) < 500
