"""Samplers: the same posterior from both, repeatable, and stopped by an interrupt."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable

import numpy as np
import psutil
import pytest
from dense import GROUPED, make_problem, packed_of, posterior_of

from valuebias.analysis.hierarchical import Problem, Settings, sample
from valuebias.analysis.sampling.native import native_model
from valuebias.analysis.sampling.nuts import sample_nuts, sample_pymc, start_point
from valuebias.analysis.sampling.pymc_model import build_model

FOREVER = Settings(draws=500_000, tune=100, chains=2, seed=1, sampler="nutpie")
GAPS = {"complete": [], "incomplete": [(0, 0, 1), (2, 3, 4)]}


def nuts(problem: Problem, **numbers: int):
    settings = {"draws": 1000, "tune": 400, "chains": 2, "seed": 3, "cores": 2, **numbers}
    return sample_nuts(posterior_of(problem), progress=None, **settings)  # type: ignore[arg-type]


def test_pymc_and_nutpie_sample_the_same_posterior() -> None:
    problem = make_problem()
    model = build_model(problem.crossing, problem.components, problem.prior, packed_of(problem))
    logging.getLogger("pymc").setLevel(logging.ERROR)
    theirs = sample_pymc(model, draws=1000, tune=400, chains=2, seed=3, cores=2)
    ours = nuts(problem)
    for name in ("sd", "correlation"):
        a, b = (np.asarray(getattr(d, name)).reshape(2000, -1) for d in (ours, theirs))
        error = np.sqrt((a.var(axis=0) + b.var(axis=0)) / 300)
        assert (np.abs(a.mean(axis=0) - b.mean(axis=0)) < 4.5 * error).all(), name
        assert np.abs(np.log(a.std(axis=0) / b.std(axis=0))).max() < 0.35, name


def test_a_seed_repeats_the_draws_however_many_cores_there_are() -> None:
    problem = make_problem()
    one, two = (nuts(problem, draws=20, tune=30, cores=c) for c in (1, 2))
    np.testing.assert_array_equal(one.sd, two.sd)
    assert not np.array_equal(one.sd, nuts(problem, draws=20, tune=30, seed=4).sd)


@pytest.mark.parametrize("case", [{}, GROUPED["bases of families with spreads"]], ids=str)
def test_the_native_density_gives_the_draws_of_the_one_in_python(
    case: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Also with axes of the sampler's own, which a formula of many terms calls for.
    from valuebias.analysis.sampling import nuts as sampling

    problem = make_problem(**case)  # type: ignore[arg-type]
    for limit in (np.inf, 0.0):
        monkeypatch.setattr(sampling, "_CORRELATED", limit)
        native = nuts(problem, draws=10, tune=10)
        with monkeypatch.context() as patch:
            patch.setattr(sampling, "native_model", lambda *_: None)
            python = nuts(problem, draws=10, tune=10)
        for name in ("sd", "correlation", "spread"):
            np.testing.assert_allclose(
                getattr(native, name), getattr(python, name), rtol=1e-4, err_msg=name
            )


def test_this_nutpie_takes_the_native_density() -> None:
    posterior = posterior_of(make_problem())
    assert native_model(posterior, lambda _: start_point(posterior)) is not None


def test_statistics_are_numbers_by_chain_and_draw() -> None:
    stats = nuts(make_problem(), draws=20, tune=30).stats
    assert "diverging" in stats
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


@pytest.mark.parametrize("gaps", GAPS)
@pytest.mark.parametrize("progress", [None, lambda done, total: None], ids=["silent", "shown"])
def test_control_c_stops_the_chains(gaps: str, progress: Callable[[int, int], None]) -> None:
    problem = make_problem(missing=GAPS[gaps])
    timer = interrupt_after(0.7)
    start = time.perf_counter()
    # Held, as a notebook does: what it refers to must not keep a sampler going.
    with pytest.raises(KeyboardInterrupt) as held:
        sample(problem, FOREVER, progress)
    assert time.perf_counter() - start < 10
    timer.join()
    assert_idle()
    assert held.traceback


@pytest.mark.parametrize("gaps", GAPS)
def test_an_interrupt_in_the_progress_callback_stops_the_chains(gaps: str) -> None:
    def progress(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as held:
        sample(make_problem(missing=GAPS[gaps]), FOREVER, progress)
    assert_idle()
    assert held.traceback


def test_progress_is_told_from_nothing_to_everything() -> None:
    settings = Settings(draws=30, tune=20, chains=2, seed=1, sampler="nutpie")
    for gaps in GAPS.values():
        told: list[tuple[int, int]] = []
        sample(make_problem(missing=gaps), settings, lambda *at, told=told: told.append(at))
        assert told[-1] == (100, 100)
        assert {total for _, total in told} == {100}
