"""Hamiltonian Monte Carlo on the collapsed density, compiled: no Python in the sampler's loop.

An SD may be zero, and on its logarithm that is a tail without end, where the sampler lingers. So it
moves in ``u`` with SD = unit · abs(sinh u), which is a logarithm where the SD is far from zero and
the SD itself, of either sign, near it. With the signs of two framings' SDs their correlation takes
the sign of the product: their covariance is smooth everywhere, and so is the density. Each point
has twins of other signs that mean the same, so chains need not visit them all.

Two SDs of which the data tell little but the sum of squares lie on a ring, such as those of single
scores and of a model's words where each framing has one prompt: they move in its radius, on a
logarithm, and in an angle, which may turn on and on.

Where more than a few transitions diverge, all chains are run again with shorter steps.

Trajectories are rather longer than a quarter turn, so that draws are if anything opposed to those
before. Compared with NUTS none of a trajectory's steps are thrown away.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numba
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from valuebias.analysis.sampling.density import Posterior, log_posterior
from valuebias.analysis.sampling.hamiltonian import Hamiltonian
from valuebias.analysis.sampling.nuts import VarianceDraws, start_point
from valuebias.analysis.sampling.threads import Counter, interrupts_deferred

__all__ = ["sample_hmc"]

Array = NDArray[np.float64]

_STATISTICS = (
    "diverging",
    "acceptance_rate",
    "n_steps",
    "energy",
    "energy_error",
    "step_size",
    "lp",
)
# The acceptance that steps are made for, and once more than so many transitions have diverged.
_TARGET_ACCEPTANCES = (0.8, 0.95, 0.99)
_MOST_DIVERGENT = 0.001
_FIRST_STEP = 0.5
# Length of trajectories, where pi / 2 is a quarter turn, and how far it varies on either side.
_PATH, _VARIED = 2.0, 0.3
# The scales are learnt from what lies between these shares of the tuning steps; after the last
# only the length of a step is.
_WINDOWS = (0.15, 0.4, 0.8)
# That many draws of a window count as much as the scales known before it.
_BEFORE = 10
# So many iterations run without Python, which alone sees an interrupt.
_CHUNK = 100
_TINY = 1e-9  # where an SD passes zero its logarithm must not be infinite


def sample_hmc(
    posterior: Posterior,
    *,
    draws: int,
    tune: int,
    chains: int,
    seed: int,
    cores: int,
    progress: Callable[[int, int], None] | None,
    rings: Sequence[tuple[int, int]] = (),
) -> VarianceDraws:
    """Run the chains in threads, which the kernel lets run side by side.

    ``rings`` are pairs of SDs, by their place in the density's parameters.
    """
    with interrupts_deferred():
        space = _Space.around_mode(posterior, rings)
    for acceptance in _TARGET_ACCEPTANCES:
        counter = Counter(progress, chains * (draws + tune))
        seeds = np.random.SeedSequence(seed).spawn(chains)
        with ThreadPoolExecutor(max(1, min(cores, chains))) as pool:
            jobs = [
                pool.submit(
                    _run_chain, space, draws, tune, np.random.default_rng(s), counter, acceptance
                )
                for s in seeds
            ]
            try:
                results = [job.result() for job in jobs]
            except BaseException:
                counter.stop = True
                raise
        x, statistics = (np.stack(parts) for parts in zip(*results, strict=True))
        if statistics[..., 0].mean() <= _MOST_DIVERGENT:
            break
    stats = {name: (("chain", "draw"), statistics[..., i]) for i, name in enumerate(_STATISTICS)}
    stats["diverging"] = (("chain", "draw"), statistics[..., 0] > 0)
    return VarianceDraws(*posterior.constrain(x), xr.Dataset(stats))


@dataclass(frozen=True)
class _Space:
    """The density in the sampler's coordinates."""

    posterior: Posterior
    log_unit: Array  # of each SD
    centre: Array
    scale: Array  # about the SD of each coordinate
    mate: NDArray[np.int64]  # the other of a ring, of whose two the first has the radius

    @classmethod
    def around_mode(cls, posterior: Posterior, rings: Sequence[tuple[int, int]] = ()) -> _Space:
        """Measure each SD by how well the data tell it: then it is on a scale of about one."""
        kernel = Hamiltonian.at_mode(posterior, start_point(posterior))
        # No wider than one on the log scale, as an SD that may be zero is.
        cov = kernel.root @ kernel.root.T
        scale = np.minimum(np.sqrt(np.diag(cov)), 1.0)
        n_sd = len(posterior.scales)
        of_sd = scale[:n_sd]
        centre = kernel.mode.copy()
        log_unit = centre[:n_sd] + np.log(of_sd)
        centre[:n_sd] = np.arcsinh(1 / of_sd)
        scale[:n_sd] = of_sd / np.sqrt(1 + of_sd**2)
        mate = np.arange(len(centre))
        for a, b in rings:
            log_a, log_b = kernel.mode[[a, b]]
            angle = np.arctan2(np.exp(log_b - log_a), 1.0)
            along = np.array([np.cos(angle) ** 2, np.sin(angle) ** 2])
            across = np.array([-0.5, 0.5]) * np.sin(2 * angle)
            spread = cov[np.ix_([a, b], [a, b])]
            log_unit[[a, b]] = 0.5 * np.logaddexp(2 * log_a, 2 * log_b)
            centre[[a, b]] = 0.0, angle
            scale[a] = min(np.sqrt(along @ spread @ along), 1.0)
            scale[b] = np.clip(np.sqrt(across @ spread @ across), 0.05, 0.5)
            mate[[a, b]] = b, a
        return cls(posterior, log_unit, centre, scale, mate)

    def run(
        self,
        place: _Place,
        scale: Array,
        step: _StepSize,
        *,
        adapting: bool,
        random: Array,
        kept: Array,
    ) -> float:
        """Make a trajectory for each row of numbers, as :func:`_run` says; the last log-density."""
        paired = self.posterior.n_correlated if self.posterior.n_framings == 2 else 0
        value = _run(
            *place.arrays, scale, step.state, adapting, random, self.log_unit,
            self.mate, paired, *self.posterior.arguments, place.room, kept,
        )  # fmt: skip
        return float(value)


class _StepSize:
    """Dual averaging (Hoffman & Gelman 2014); the kernel keeps it up to date in ``state``."""

    def __init__(self, acceptance: float) -> None:
        # Log step, its mean, mean shortfall, iterations, anchor; what acceptance to aim at.
        self.state = np.empty(6)
        self.state[5] = acceptance
        self.restart(np.log(_FIRST_STEP))

    def restart(self, log_step: float) -> None:
        """Begin again from a step, as after a change of scales."""
        self.state[:5] = log_step, log_step, 0.0, 0.0, log_step + np.log(2)


class _Place:
    """Where a chain is, and the memory that it works in."""

    def __init__(self, u: Array, posterior: Posterior) -> None:
        # The point, in the posterior's coordinates, gradient; the same of a proposal; momentum;
        # what has the sign of each SD.
        self.arrays = (u, *(np.zeros(len(u)) for _ in range(7)))
        self.room = posterior.room()


def _run_chain(
    space: _Space,
    draws: int,
    tune: int,
    rng: np.random.Generator,
    counter: Counter,
    acceptance: float,
) -> tuple[Array, Array]:
    """Run one chain; returns its draws (draw, n_dim), as the posterior has them, and statistics."""
    n, n_dim = tune + draws, space.posterior.n_dim
    place = _Place(space.centre + space.scale * rng.uniform(-1, 1, n_dim), space.posterior)
    scale, step = space.scale.copy(), _StepSize(acceptance)
    kept = np.empty((n, 3 * n_dim + len(_STATISTICS)))
    x, moved, slopes, stats = np.split(kept, n_dim * np.arange(1, 4), axis=1)
    windows = [int(share * tune) for share in _WINDOWS]
    ends = sorted({*windows, tune, n, *range(0, n, _CHUNK)} - {0})
    for start, end in zip([0, *ends], ends, strict=False):
        if counter.stop:
            break
        momenta = rng.standard_normal((end - start, n_dim))
        random = np.hstack([momenta, rng.uniform(size=(end - start, 2))])
        here = kept[start:end]
        space.run(place, scale, step, adapting=start < tune, random=random, kept=here)
        if end in windows[1:]:
            since = slice(windows[windows.index(end) - 1], end)
            scale = _learnt(scale, moved[since], slopes[since])
            step.restart(step.state[1])
        counter.step(end - start)
    return x[tune:], stats[tune:]


def _learnt(scale: Array, moved: Array, slopes: Array) -> Array:
    """Rescale by the spread of points and of gradients, which err on different sides."""
    with np.errstate(divide="ignore", invalid="ignore"):
        learnt = 0.25 * np.log(moved.var(axis=0) / np.mean(slopes**2, axis=0))
    learnt = np.where(np.isfinite(learnt), learnt, np.log(scale))
    weight = _BEFORE / (len(moved) + _BEFORE)
    return np.asarray(np.exp((1 - weight) * learnt + weight * np.log(scale)))


# Loops over one array each, one call of the density, and nothing allocated: what there is of these
# takes numba longer to compile than all the arithmetic.
@numba.njit(cache=True, nogil=True, error_model="numpy", no_cfunc_wrapper=True)
def _run(  # type: ignore[no-untyped-def]
    u, x, gradient, at, new_x, new_gradient, momentum, sign, scale, step_size, adapting, random,
    log_unit, mate, paired, recipe, weights, ints, floats, work, kept,
):  # fmt: skip  # pragma: no cover - compiled
    """Make a trajectory for each row of ``random``, from ``u`` on, which is changed.

    A row holds momenta and two uniform numbers, for the length and for what is accepted; what is
    ``kept`` of it are the posterior's coordinates ``x``, ``u``, the ``gradient`` by it, and
    statistics. The first of all steps goes nowhere, to evaluate the density there.
    """
    n_dim, n_sd = len(u), len(log_unit)
    value = 0.0
    for it in range(-1, len(random)):
        step, n_steps = 0.0, 1
        if it >= 0:
            step = math.exp(step_size[0] if adapting else step_size[1])
            varied = 1.0 - _VARIED + 2.0 * _VARIED * random[it, n_dim]
            # A first step that is far too long makes the next ones far too short.
            n_steps = min(max(int(_PATH / step * varied + 0.5), 1), 64)
        energy = -value
        for i in range(n_dim):
            at[i] = u[i]
            momentum[i] = random[it, i] if it >= 0 else 0.0
            energy += 0.5 * momentum[i] ** 2
            momentum[i] += 0.5 * step * scale[i] * gradient[i]
        error, new_value = 0.0, 0.0
        for leap in range(n_steps):
            for i in range(n_dim):
                at[i] += step * scale[i] * momentum[i]
            # An SD is unit · abs(sinh u), whose logarithm's slope by u is 1 / tanh u.
            new_value = 0.0
            for i in range(n_dim):
                new_x[i], sign[i] = at[i], at[i]
                if mate[i] > i:
                    sign[i], sign[mate[i]] = math.cos(at[mate[i]]), math.sin(at[mate[i]])
                    new_value -= math.log(max(abs(sign[i] * sign[mate[i]]), _TINY))
                    new_x[i] = log_unit[i] + at[i] + math.log(max(abs(sign[i]), _TINY))
                elif mate[i] < i:
                    sign[i] = math.sin(at[i])
                    new_x[i] = log_unit[i] + at[mate[i]] + math.log(max(abs(sign[i]), _TINY))
                elif i < n_sd:
                    size = max(abs(at[i]), _TINY)
                    less = math.exp(-2.0 * size)
                    new_x[i] = log_unit[i] + size + math.log(0.5 - 0.5 * less)
                    new_value -= math.log((1.0 - less) / (1.0 + less))
            for c in range(paired):
                if sign[2 * c] * sign[2 * c + 1] < 0.0:
                    new_x[n_sd + c] = -new_x[n_sd + c]
            new_value += log_posterior(new_x, new_gradient, recipe, weights, ints, floats, work)
            for i in range(n_sd):
                if mate[i] > i:
                    turn = sign[mate[i]] / sign[i] if abs(sign[i]) > _TINY else 1.0 / _TINY
                    if abs(turn) < _TINY:
                        turn = _TINY
                    by_a, by_b = new_gradient[i], new_gradient[mate[i]]
                    new_gradient[i] = by_a + by_b
                    new_gradient[mate[i]] = (by_b - 1.0) / turn - (by_a - 1.0) * turn
                if mate[i] != i:
                    continue
                turn = math.tanh(max(abs(at[i]), _TINY))
                # d log|coth u| / du = tanh u − coth u.
                new_gradient[i] = (new_gradient[i] - 1.0) / turn + turn
                if at[i] < 0.0:
                    new_gradient[i] = -new_gradient[i]
            for c in range(paired):
                if sign[2 * c] * sign[2 * c + 1] < 0.0:
                    new_gradient[n_sd + c] = -new_gradient[n_sd + c]
            share = 0.5 if leap == n_steps - 1 else 1.0
            error = -new_value - energy
            for i in range(n_dim):
                momentum[i] += share * step * scale[i] * new_gradient[i]
                error += 0.5 * momentum[i] ** 2
            if not np.isfinite(error):
                break
        diverging = not error < 1000.0
        accept = 0.0 if diverging else math.exp(min(0.0, -error))
        if it < 0 or random[it, n_dim + 1] < accept:
            value = new_value
            for i in range(n_dim):
                u[i], x[i], gradient[i] = at[i], new_x[i], new_gradient[i]
        if it < 0:
            continue
        for i in range(n_dim):
            kept[it, i], kept[it, n_dim + i], kept[it, 2 * n_dim + i] = x[i], u[i], gradient[i]
        i = 3 * n_dim
        kept[it, i], kept[it, i + 1], kept[it, i + 2] = diverging, accept, n_steps
        kept[it, i + 3], kept[it, i + 4], kept[it, i + 5] = energy, error, step
        kept[it, i + 6] = value
        if adapting:
            step_size[3] += 1.0
            eta = 1.0 / (step_size[3] + 10.0)
            step_size[2] += eta * (step_size[5] - accept - step_size[2])
            log_step = step_size[4] - math.sqrt(step_size[3]) / 0.05 * step_size[2]
            # Steps as long as the posterior is wide are none that a few successes make good.
            step_size[0] = min(log_step, 0.0)
            step_size[1] += step_size[3] ** -0.75 * (step_size[0] - step_size[1])
    return value
