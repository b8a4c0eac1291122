"""The strata: their degrees of freedom and sums of squares add up to the cube's."""

from __future__ import annotations

import numpy as np
import pytest
from dense import PAIRS, make_problem

from valuebias.analysis.design.strata import make_strata, make_tables

CASES = [
    {},
    {"framing": ("positive",) * 4},
    {"formula": "~ family * size"},
    {"families": "AB"},
    {"formula": "~ 1", "families": "A"},
    {"formula": "~ 1", "families": "A" * 6, "pairs": PAIRS},
    {"families": "ABABAB", "pairs": PAIRS},
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_degrees_of_freedom_and_squares_add_up(case: dict) -> None:
    problem = make_problem(**case)
    m, p, w = problem.crossing.shape
    cells = sum(s.df * len(s.scatter) for s in problem.strata)
    assert cells == m * p * (w - 1)
    total = sum(np.trace(s.scatter) for s in problem.strata)
    assert total == pytest.approx((problem.crossing.y**2).sum())
    assert len({s.name for s in problem.strata}) == len(problem.strata)


def test_tables_need_no_centring_but_the_square_sum_is_about_the_levels() -> None:
    problem = make_problem()
    crossing = problem.crossing
    level = np.random.default_rng(1).normal(size=crossing.shape[:2])[..., None]
    scales = problem.coefficient_scales
    plain, lifted = (
        make_strata(crossing, problem.components, make_tables(crossing, y), scales)
        for y in (crossing.y, crossing.y + level)
    )
    for a, b in zip(plain, lifted, strict=True):
        np.testing.assert_allclose(a.scatter, b.scatter, atol=1e-9)


def test_patterns_are_derivatives_of_positive_definite_covariances() -> None:
    problem = make_problem()
    components = problem.components
    v = np.zeros(components.n_variances)
    for component in components.members:
        v[list(component.index[0][:2])] = 1.0
    for stratum in problem.strata:
        covariance = stratum.constant + sum(v[k] * p for k, p in stratum.patterns.items())
        np.testing.assert_allclose(covariance, covariance.T)
        assert np.linalg.eigvalsh(covariance).min() > 0


def test_every_component_is_seen_by_some_stratum() -> None:
    problem = make_problem()
    seen = {k for s in problem.strata for k in s.patterns}
    assert seen == set(range(problem.components.n_variances))
