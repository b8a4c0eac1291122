"""Effects given a completed cube in compiled passes, beside the smoother; shifts of margins."""

from __future__ import annotations

import numpy as np
import pytest
from dense import GROUPED, PAIRS, RUNS, assert_drawn_from, make_problem, some_theta
from scipy import special, stats

from valuebias.analysis.design.strata import make_strata, make_tables
from valuebias.analysis.estimands.smoother import Fields, Smoother
from valuebias.analysis.hierarchical import Problem
from valuebias.analysis.sampling.completing import smooth_means
from valuebias.analysis.sampling.completion import Completion, Gaps
from valuebias.analysis.sampling.conditionals import Conditionals, Moments
from valuebias.analysis.sampling.normals import draw_normals
from valuebias.analysis.sampling.shifts import Shifts, make_shifts

CASES = {
    "two framings, three categories": {},
    "two categories": {"words": ("x",) * 5 + ("y",) * 3},
    "one negative prompt": {"framing": (*("positive",) * 4, "negative")},
    "one model": {"formula": "~ 1", "families": ("A",)},
    "pairs": {"formula": "~ 1", "families": ("A",) * 6, "pairs": PAIRS},
    "runs": {"formula": "~ 1", "families": ("A",) * 6, "runs": RUNS},
    "a span in blocks": {
        "formula": "~ family * step",
        "families": "AAABBBCCC",
        "runs": [(f, "1", step) for f in "abc" for step in (1, 2, 3)],
    },
    **GROUPED,
}
# A word that a model lacks, rows that are empty or nearly so, a prompt and word without a score.
MARGINS = [(0, slice(None), 0), (1, slice(None), 0), (slice(None), 1, 2), (2, 0, slice(1, None))]
MARGINS += [(2, 2, slice(None)), (1, 2, 1)]


@pytest.fixture(scope="module", params=CASES, ids=str)
def problem(request: pytest.FixtureRequest) -> Problem:
    return make_problem(**CASES[request.param])


def at(problem: Problem, seed: int = 3) -> tuple[Conditionals, Smoother]:
    v = some_theta(problem.components, np.random.default_rng(seed)).v
    parts = problem.crossing, problem.components, problem.coefficient_scales
    return Conditionals(*parts), Smoother(*parts, v)


def fields_of(problem: Problem, cube: np.ndarray) -> Fields:
    tables = make_tables(problem.crossing, cube)
    return Fields(tables.mean, tables.prompt_word, tables.axis, cube.sum(axis=2))


def shared_of(moments: Moments, n_models: int) -> np.ndarray:
    """Covariance of framing means that the cells' common noise brings with it."""
    by_framing = np.diag(moments.within[:, 0, 1] * moments.residual)
    return np.kron(by_framing, np.full((n_models, n_models), 1 / n_models))


def test_framing_means_are_smoothed_as_the_smoother_does(problem: Problem) -> None:
    conditionals, smoother = at(problem)
    moments = conditionals.at(smoother.v)
    margins = fields_of(problem, problem.crossing.y)
    table = margins.mean.reshape(-1, problem.crossing.shape[2])
    out, still = np.empty_like(table), np.zeros(table.shape, dtype=np.float32)
    room = np.empty((2, len(table), len(conditionals.basis)))
    smooth_means(table, still, moments.gains, moments.roots, conditionals.basis, *room, out)
    expected = smoother.mean(margins).mean.reshape(table.shape)
    np.testing.assert_allclose(out, expected, atol=1e-11 * np.abs(table).max())


def test_their_covariance_is_that_of_the_posterior_with_the_common_noise(problem: Problem) -> None:
    conditionals, smoother = at(problem)
    moments, n_models = conditionals.at(smoother.v), problem.crossing.shape[0]
    residual = np.repeat(moments.residual, n_models)
    for gain, root in zip(moments.gains, moments.roots, strict=True):
        made = root @ root.T + shared_of(moments, n_models)
        np.testing.assert_allclose(made, gain * residual, atol=1e-10 * residual.max())


def test_the_scatter_is_that_of_the_strata_in_their_order(problem: Problem) -> None:
    conditionals, _ = at(problem)
    cube = problem.crossing.y + np.random.default_rng(4).normal(size=problem.crossing.shape)
    tables = make_tables(problem.crossing, cube)
    parts = problem.crossing, problem.components, tables, problem.coefficient_scales
    expected = np.concatenate([stratum.scatter.ravel() for stratum in make_strata(*parts)])
    made = conditionals.scatter(tables, conditionals.positions(problem.strata))
    np.testing.assert_allclose(made, expected, atol=1e-10 * np.abs(expected).max())


def test_variances_at_a_point_are_those_of_the_components(problem: Problem) -> None:
    posterior = problem.posterior(problem.strata)
    for x in np.random.default_rng(5).normal(size=(5, posterior.n_dim)):
        expected = problem.components.variances(*posterior.constrain(x))
        np.testing.assert_allclose(posterior.variances(x), expected, rtol=1e-12)


@pytest.mark.parametrize("case", ["two framings, three categories", "pairs"])
def test_a_step_draws_the_missing_cells_given_the_completed_cube(case: str) -> None:
    """Every step from the same cube; several cells of a prompt and word are missing together."""
    gaps = [(0, 0, 1), (1, 0, 1), (3, 0, 1), (2, 4, 1), (0, 0, 2), (4, 5, 2), (4, 2, 2), (4, 2, 3)]
    problem = make_problem(**CASES[case], missing=gaps)
    crossing, missing = problem.crossing, ~problem.crossing.observed
    conditionals, smoother = at(problem)
    moments, rng = conditionals.at(smoother.v), np.random.default_rng(6)
    cube = crossing.y.copy()
    cube[missing] = rng.normal(size=crossing.n_missing)
    state, draws = Completion(Gaps(crossing)), []
    for _ in range(4000):
        for name, table in vars(fields_of(problem, cube)).items():
            np.copyto(getattr(state.margins, name), table)
        state.redraw(moments, rng)
        draws.append(state.missing.copy())
    # The smoother times the residual's variance is the effects' covariance, and that of new cells
    # has the residual's beside it.
    smooth = smoother.spread(smoother.mean(fields_of(problem, cube)))
    variance = np.broadcast_to(smoother.residual[crossing.framing][:, None], crossing.shape)
    columns = []
    for place in np.argwhere(missing):
        one = np.zeros(crossing.shape)
        one[tuple(place)] = variance[tuple(place)]
        columns.append(smoother.spread(smoother.mean(fields_of(problem, one)))[missing])
    covariance = np.array(columns) + np.diag(variance[missing])
    assert_drawn_from(np.array(draws), smooth[missing], covariance)


@pytest.mark.parametrize("case", [name for name in CASES if name != "one model"])
def test_shifts_have_the_precision_of_the_cells_they_move(case: str) -> None:
    problem = make_problem(**CASES[case], missing=MARGINS)
    crossing = problem.crossing
    conditionals, smoother = at(problem)
    moments, shifts = conditionals.at(smoother.v), make_shifts(crossing)
    assert isinstance(shifts, Shifts)
    ours = [np.einsum("m,p,w->mpw", s.models, s.prompts, s.words) for s in shifts.margins]
    directions = np.array(ours)
    assert not directions[:, crossing.observed].any()

    def weighed(cube: np.ndarray) -> np.ndarray:
        rest = cube - smoother.spread(smoother.mean(fields_of(problem, cube)))
        return rest / smoother.residual[crossing.framing][:, None]

    cube, rng = crossing.y.copy(), np.random.default_rng(7)
    cube[~crossing.observed] = rng.normal(size=crossing.n_missing)
    precision = np.array([[np.vdot(a, weighed(b)) for b in ours] for a in ours])
    gradient = np.array([np.vdot(a, weighed(cube)) for a in ours])
    known, tables = fields_of(problem, crossing.y), fields_of(problem, cube)
    np.testing.assert_allclose(shifts.precision(moments), precision, atol=1e-9)
    np.testing.assert_allclose(shifts.gradient(tables, known, moments), gradient, atol=1e-9)

    before, drawn = fields_of(problem, cube), []
    for _ in range(3000):
        for name, table in vars(before).items():
            np.copyto(getattr(tables, name), table)
        shifts.apply(tables, known, moments, rng)
        moved = [shift.scale * getattr(tables, shift.table)[shift.at] for shift in shifts.margins]
        drawn.append(moved)
    # What is added to each of them moves the sums of all that overlap.
    start = [s.scale * getattr(before, s.table)[s.at] for s in shifts.margins]
    overlap = _sums(shifts, directions)
    inverse = np.linalg.inv(precision)
    mean = start - overlap @ inverse @ gradient
    assert_drawn_from(np.array(drawn), mean, overlap @ inverse @ overlap.T)
    by = np.linalg.lstsq(overlap, np.array(drawn[-1]) - start, rcond=None)[0]
    expected = fields_of(problem, cube + np.tensordot(by, directions, 1))
    for name, table in vars(expected).items():
        np.testing.assert_allclose(getattr(tables, name), table, atol=1e-8, err_msg=name)


def _sums(shifts: Shifts, directions: np.ndarray) -> np.ndarray:
    """How much one of each shift adds to the sum over each entry of a margin."""
    over = {"prompt_word": (0,), "level": (2,)}
    out = []
    for s in shifts.margins:
        if s.table == "mean":
            f, m, w = s.at
            inside = s.prompts > 0
            framing = shifts.crossing.framing == shifts.crossing.framing[inside][0]
            assert shifts.crossing.framing[inside][0] == f
            out.append(directions[:, m, framing, w].sum(axis=1))
        elif s.table == "axis":
            m, p, j = s.at
            out.append(directions[:, m, p] @ shifts.crossing.word_basis[:, j])
        else:
            summed = directions.sum(axis=tuple(a + 1 for a in over[s.table]))
            out.append(summed[(slice(None), *s.at)])
    return np.array(out)


def test_of_a_row_without_scores_what_lies_on_the_axes_is_shifted() -> None:
    crossing = make_problem(missing=[(2, 2, slice(None))]).crossing
    shifts = make_shifts(crossing)
    assert shifts is not None
    assert [one.at for one in shifts.margins] == [(2, 2, j) for j in range(len(crossing.axes))]


def test_shifts_are_for_few_margins() -> None:
    assert make_shifts(make_problem().crossing) is None
    assert make_shifts(make_problem(missing=[(0, 0, 1)]).crossing) is None
    most = [(m, p, w) for m in range(5) for p in range(6) for w in range(9) if (m + p + w) % 4]
    assert make_shifts(make_problem(missing=most).crossing) is None


@pytest.mark.once
def test_normals_are_the_quantiles_of_random_bits() -> None:
    rng = np.random.default_rng(8)
    out = np.empty(1_000_001, dtype=np.float32)
    draw_normals(rng, out)
    bits = np.random.default_rng(8).integers(1 << 32, size=len(out), dtype=np.uint32)
    size = -special.ndtri(((bits & 0x7FFFFFFF) + 0.5) / 2**32)
    np.testing.assert_allclose(out, np.where(bits >> 31, -size, size), atol=6e-7)
    assert stats.kstest(out.astype(float), "norm").pvalue > 1e-4
    assert 4.5 < np.abs(out).max() < 6.4
