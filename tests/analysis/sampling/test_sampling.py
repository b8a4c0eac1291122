"""Samplers: the same posterior from both, repeatable, and stopped by an interrupt."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import psutil
import pytest
from dense import GROUPED, make_problem, packed_of, posterior_of

from valuebias.analysis.hierarchical import Problem, Settings, sample
from valuebias.analysis.sampling import native as of_nutpie
from valuebias.analysis.sampling.hmc import _Place, _Space, _StepSize, sample_hmc
from valuebias.analysis.sampling.nuts import VarianceDraws, sample_nuts, sample_pymc, start_point
from valuebias.analysis.sampling.pymc_model import build_model

GAPS = {"complete": [], "incomplete": [(0, 0, 1), (2, 3, 4)]}
WAYS = [("complete", "hmc"), ("complete", "nutpie"), ("incomplete", "hmc")]
OURS = {"hmc": sample_hmc, "nutpie": sample_nuts}


def forever(sampler: str) -> Settings:
    return Settings(draws=500_000, tune=100, chains=2, seed=1, sampler=sampler)


def drawn(problem: Problem, sampler: str = "hmc", **numbers: int) -> VarianceDraws:
    settings = {"draws": 1000, "tune": 400, "chains": 2, "seed": 3, "cores": 2, **numbers}
    return OURS[sampler](posterior_of(problem), progress=None, **settings)  # type: ignore[operator]


@pytest.mark.parametrize("sampler", OURS)
def test_pymc_samples_the_same_posterior(sampler: str) -> None:
    problem = make_problem()
    model = build_model(problem.crossing, problem.components, problem.prior, packed_of(problem))
    logging.getLogger("pymc").setLevel(logging.ERROR)
    theirs = sample_pymc(model, draws=1000, tune=400, chains=2, seed=3, cores=2)
    ours = drawn(problem, sampler)
    for name in ("sd", "correlation"):
        a, b = (np.asarray(getattr(d, name)).reshape(2000, -1) for d in (ours, theirs))
        error = np.sqrt((a.var(axis=0) + b.var(axis=0)) / 300)
        assert (np.abs(a.mean(axis=0) - b.mean(axis=0)) < 4.5 * error).all(), name
        assert np.abs(np.log(a.std(axis=0) / b.std(axis=0))).max() < 0.35, name


def evaluated(space: _Space, u: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
    """Give the posterior's coordinates, the log-density and its gradient, as a chain begins."""
    place, n = _Place(u.copy(), space.posterior), len(u)
    random, kept = np.empty((0, n + 2)), np.empty((0, 3 * n + 7))
    value = space.run(place, np.ones(n), _StepSize(0.8), adapting=False, random=random, kept=kept)
    return place.arrays[1], value, place.arrays[2]


@pytest.mark.parametrize("case", [{}, *GROUPED.values()], ids=str)
def test_the_sampler_moves_in_the_density_that_is_meant(case: dict[str, object]) -> None:
    # Log-density and gradient at points of any sign against the posterior's own and differences.
    posterior = posterior_of(make_problem(**case))  # type: ignore[arg-type]
    space = _Space.around_mode(posterior)
    n_sd = len(posterior.scales)
    rng = np.random.default_rng(1)

    def density(u: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
        return evaluated(space, u)

    for _ in range(5):
        u = space.centre + 2 * space.scale * rng.standard_normal(posterior.n_dim)
        x, value, gradient = density(u)
        sd = np.exp(space.log_unit) * np.abs(np.sinh(u[:n_sd]))
        np.testing.assert_allclose(np.exp(x[:n_sd]), sd, rtol=1e-12)
        stretched = np.log(np.abs(1 / np.tanh(u[:n_sd]))).sum()
        assert value == pytest.approx(posterior(x)[0] + stretched, rel=1e-12)
        steps = 1e-6 * np.eye(len(u))
        slopes = [(density(u + h)[1] - density(u - h)[1]) / 2e-6 for h in steps]
        np.testing.assert_allclose(gradient, slopes, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("case", [{}, GROUPED["bases of families with spreads"]], ids=str)
def test_two_standard_deviations_on_a_ring(case: dict[str, object]) -> None:
    # The first two components of the second framing, one of which has a sign that matters.
    posterior = posterior_of(make_problem(**case))  # type: ignore[arg-type]
    a, b, n_sd = 1, 5, len(posterior.scales)
    space = _Space.around_mode(posterior, [(a, b)])
    plain = np.setdiff1d(np.arange(n_sd), [a, b])
    rng = np.random.default_rng(2)
    for _ in range(5):
        u = space.centre + 2 * space.scale * rng.standard_normal(posterior.n_dim)
        x, value, gradient = evaluated(space, u)
        radius = np.exp(space.log_unit[a] + u[a])
        np.testing.assert_allclose(np.exp(x[[a, b]]), radius * np.abs([np.cos(u[b]), np.sin(u[b])]))
        stretched = np.log(np.abs(1 / np.tanh(u[plain]))).sum()
        stretched -= np.log(np.abs(np.sin(u[b]) * np.cos(u[b])))
        assert value == pytest.approx(posterior(x)[0] + stretched, rel=1e-12)
        steps = 1e-6 * np.eye(len(u))
        slopes = [(evaluated(space, u + h)[1] - evaluated(space, u - h)[1]) / 2e-6 for h in steps]
        np.testing.assert_allclose(gradient, slopes, rtol=1e-5, atol=1e-4)


def test_on_a_ring_the_posterior_is_the_same() -> None:
    problem = make_problem()
    plain = drawn(problem, draws=2000)
    ring = sample_hmc(
        posterior_of(problem), draws=2000, tune=400, chains=2, seed=4, cores=2, progress=None,
        rings=[(1, 5)],
    )  # fmt: skip
    for name in ("sd", "correlation"):
        p, r = (np.asarray(getattr(d, name)).reshape(4000, -1) for d in (plain, ring))
        error = np.sqrt((p.var(axis=0) + r.var(axis=0)) / 600)
        assert (np.abs(p.mean(axis=0) - r.mean(axis=0)) < 4.5 * error).all(), name
        assert np.abs(np.log(p.std(axis=0) / r.std(axis=0))).max() < 0.3, name


def test_the_density_is_smooth_where_a_standard_deviation_passes_zero() -> None:
    posterior = posterior_of(make_problem())
    space = _Space.around_mode(posterior)
    assert posterior.n_framings == 2
    assert posterior.n_correlated  # turns its sign there

    def at(first: float) -> tuple[float, np.ndarray]:
        u = space.centre.copy()
        u[0] = first
        _, value, gradient = evaluated(space, u)
        return value, gradient

    values = np.array([at(first)[0] for first in (-2e-4, -1e-4, 0.0, 1e-4, 2e-4)])
    assert np.isfinite(values).all()
    np.testing.assert_allclose(np.diff(values, n=3), 0, atol=1e-6)
    np.testing.assert_allclose(at(-1e-7)[1], at(1e-7)[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sampler", OURS)
def test_a_seed_repeats_the_draws_however_many_cores_there_are(sampler: str) -> None:
    problem = make_problem()
    one, two = (drawn(problem, sampler, draws=20, tune=30, cores=c) for c in (1, 2))
    np.testing.assert_array_equal(one.sd, two.sd)
    assert not np.array_equal(one.sd, drawn(problem, sampler, draws=20, tune=30, seed=4).sd)


@pytest.mark.parametrize("tune", [1, 2, 7, 150])
def test_any_number_of_tuning_steps_will_do(tune: int) -> None:
    problem = make_problem()
    found = drawn(problem, draws=250, tune=tune)
    assert found.sd.shape[:2] == (2, 250)
    assert np.isfinite(found.sd).all()
    assert len(np.unique(found.sd[0, :, 0, 0])) > 50


@pytest.mark.parametrize("case", [{}, GROUPED["bases of families with spreads"]], ids=str)
def test_the_native_density_gives_the_draws_of_the_one_in_python(
    case: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Also with axes of the sampler's own, which a formula of many terms calls for.
    from valuebias.analysis.sampling import nuts as sampling

    problem = make_problem(**case)  # type: ignore[arg-type]
    for limit in (np.inf, 0.0):
        monkeypatch.setattr(sampling, "_CORRELATED", limit)
        native = drawn(problem, "nutpie", draws=10, tune=10)
        with monkeypatch.context() as patch:
            patch.setattr(of_nutpie, "native_model", lambda *_: None)
            python = drawn(problem, "nutpie", draws=10, tune=10)
        for name in ("sd", "correlation", "spread"):
            np.testing.assert_allclose(
                getattr(native, name), getattr(python, name), rtol=1e-4, err_msg=name
            )


def test_this_nutpie_takes_the_native_density() -> None:
    posterior = posterior_of(make_problem())
    assert of_nutpie.native_model(posterior, lambda _: start_point(posterior)) is not None


@pytest.mark.parametrize("sampler", OURS)
def test_statistics_are_numbers_by_chain_and_draw(sampler: str) -> None:
    stats = drawn(make_problem(), sampler, draws=20, tune=30).stats
    assert stats["diverging"].dtype == bool
    assert {"energy", "n_steps", "step_size"} <= set(stats)
    assert {v.dims for v in stats.data_vars.values()} == {("chain", "draw")}
    assert {v.dtype.kind for v in stats.data_vars.values()} <= set("bf")


def interrupt_after(seconds: float) -> threading.Timer:
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    return timer


def assert_idle() -> None:
    """Wait for the process to come to rest: nobody samples on in the background."""
    process = psutil.Process()
    for _ in range(20):
        if process.cpu_percent(interval=0.2) < 20:
            return
    raise AssertionError("something still runs")


@pytest.mark.parametrize(("gaps", "sampler"), WAYS)
@pytest.mark.parametrize("progress", [None, lambda done, total: None], ids=["silent", "shown"])
def test_control_c_stops_the_chains(
    gaps: str, sampler: str, progress: Callable[[int, int], None]
) -> None:
    problem = make_problem(missing=GAPS[gaps])
    # Kernels are compiled before: a compiler cannot be stopped.
    sample(problem, replace(forever(sampler), draws=4, tune=2), None)
    timer = interrupt_after(0.7)
    start = time.perf_counter()
    # Held, as a notebook does: what it refers to must not keep a sampler going.
    with pytest.raises(KeyboardInterrupt) as held:
        sample(problem, forever(sampler), progress)
    assert time.perf_counter() - start < 10
    timer.join()
    assert_idle()
    assert held.traceback


@pytest.mark.parametrize(("gaps", "sampler"), WAYS)
def test_an_interrupt_in_the_progress_callback_stops_the_chains(gaps: str, sampler: str) -> None:
    def progress(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as held:
        sample(make_problem(missing=GAPS[gaps]), forever(sampler), progress)
    assert_idle()
    assert held.traceback


def test_progress_is_told_from_nothing_to_everything() -> None:
    for gaps, sampler in WAYS:
        told: list[tuple[int, int]] = []
        settings = Settings(draws=30, tune=20, chains=2, seed=1, sampler=sampler)
        sample(make_problem(missing=GAPS[gaps]), settings, lambda *at, told=told: told.append(at))
        assert told[-1] == (100, 100)
        assert {total for _, total in told} == {100}
