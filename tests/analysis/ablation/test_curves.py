"""Where curves enter a band, and what is left of a gap."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from valuebias.analysis.ablation.closing import closing_row
from valuebias.analysis.ablation.curves import first_inside
from valuebias.analysis.ablation.layout import choose_formula, progress_of


@pytest.mark.parametrize(
    ("curve", "rope", "expected"),
    [
        ([0.4, 0.2, 0.0], 0.1, 1.5),
        ([-0.4, -0.2, 0.0], 0.1, 1.5),
        ([0.4, -0.4, -0.8], 0.1, 0.375),  # crosses the whole band in a step
        ([0.4, -0.4, -0.8], 0.0, 0.5),
        ([0.05, 0.4, 0.8], 0.1, 0.0),
        ([0.4, 0.5, 0.6], 0.1, np.inf),
        ([0.4, 0.1, 0.5], 0.1, 1.0),
    ],
)
def test_where_a_curve_enters_the_band(curve: list[float], rope: float, expected: float) -> None:
    found = first_inside(np.array([curve]), np.arange(3.0), rope)
    assert found[0] == pytest.approx(expected)


def test_a_gap_that_closes_in_few_draws_has_no_finite_median() -> None:
    row = closing_row(np.array([5.0, 20, *[np.inf] * 8]), smallest=1, largest=10, prob=0.9)
    assert row["median"] == np.inf
    assert row["extrapolated"] is True
    assert (row["p_within"], row["p_beyond"], row["p_not"]) == (0.1, 0.1, 0.8)


def layout(rows: list[tuple[str, str, float, int]]) -> pd.DataFrame:
    models = pd.DataFrame(rows, columns=["family", "source", "n_pairs", "step"])
    models = models.assign(base=models["family"], seed=1)
    return models.assign(progress=progress_of(models))


def test_progress_is_the_share_of_the_own_run() -> None:
    models = layout([("A", "s", 10, 5), ("A", "s", 10, 20), ("B", "s", 10, 0), ("A", "t", 10, 7)])
    assert models["progress"].tolist() == [0.25, 1.0, 1.0, 1.0]


@pytest.mark.parametrize(
    ("sources", "quantities", "steps", "expected"),
    [
        ("s", (10, 20), (4,), "~ family * log2(n_pairs)"),
        ("st", (10, 20), (4,), "~ family * source * log2(n_pairs)"),
        ("st", (10,), (4,), "~ family * source"),
        ("s", (10,), (4,), "~ family"),
        ("s", (10, 20), (2, 4), "~ family * log2(n_pairs) * np.sqrt(progress)"),
        ("st", (10,), (2, 4), "~ family * source * np.sqrt(progress)"),
    ],
)
def test_the_formula_is_as_rich_as_the_layout(
    sources: str, quantities: tuple[int, ...], steps: tuple[int, ...], expected: str
) -> None:
    rows = [(f, s, n, k) for f in "AB" for s in sources for n in quantities for k in steps]
    assert choose_formula(layout(rows)) == expected
