"""Sample an incomplete crossing exactly, by completing it again and again.

Missing cells are parameters too. A chain alternates two exact steps:

1. missing cells given the variances: where gaps are scattered, by drawing every random effect given
   the completed cube (closed form, table by table), then the cells from their effects and noise,
   and a few words, prompts or pairs that are missing as a whole by a shift of all their cells;
   where many are, given the observed cells alone (conjugate gradients), which costs more but does
   not depend on the last completion;
2. variances given the completed cube: Hamiltonian and Metropolis steps on the same collapsed
   density as for complete crossings, in which all effects and coefficients are integrated out.

Only the missing cells are visited, and the cube's margins are kept up to date cell by cell, so an
iteration costs what the tables cost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from valuebias.analysis.design.components import Components
from valuebias.analysis.design.crossing import Crossing
from valuebias.analysis.design.strata import Stratum, make_strata, make_tables
from valuebias.analysis.estimands.effects import Margins, make_margins
from valuebias.analysis.estimands.smoother import Smoother
from valuebias.analysis.sampling.completion import Completion, Gaps, sparse_margins
from valuebias.analysis.sampling.conditionals import LEAST_RESIDUAL, Conditionals
from valuebias.analysis.sampling.density import Posterior
from valuebias.analysis.sampling.hamiltonian import Hamiltonian
from valuebias.analysis.sampling.nuts import VarianceDraws, start_point
from valuebias.analysis.sampling.shifts import make_shifts
from valuebias.analysis.sampling.threads import Counter

__all__ = [
    "CompletedDraws",
    "Sampler",
    "complete_cubes",
    "sample_incomplete",
    "solvable_smoother",
]

Array = NDArray[np.float64]

# Hamiltonian moves between two completions: many of them leave the variances all but independent of
# where they were. Where gaps are scattered they cost as much as a completion, and fewer do as well.
_MOVES, _FEWER_MOVES = 6, 4
# Means off the axes are kept of so many draws that they are so many numbers, but of this many at
# least: with thousands of words those of all draws would be many times the scores.
_MOST_NUMBERS = 20_000_000
_FEW_DRAWS = 1000
# While tuning, the first so many steps complete the cube, and then every so many.
_COMPLETED_AT_FIRST, _COMPLETED_EVERY = 100, 4
# Above this share of missing cells in margins that are mostly missing, the Gibbs step mixes poorly.
_MANY_SPARSE = 0.05


@dataclass(frozen=True)
class CompletedDraws:
    """Draws of the variances with what each draw's completed data imply.

    The completions themselves are not kept, as they are many times the data: they can be drawn
    again given the variances (:func:`complete_cubes`).
    """

    variances: VarianceDraws
    # With a first side of chain · draw; ``rest`` of every so many draws of each chain.
    margins: Margins
    rest_of: NDArray[np.intp]  # which draws (chain · draw) it is of
    scatter: Array  # mean over draws of the strata's scatter, for the PyMC model
    noise: Array  # (chain, draw, number): the residuals' own parameters, where they have any
    # (kept draw, column · framing, word): what is known of words' effects, where anything is.
    shift: NDArray[np.float32]


@dataclass
class _Chain:
    """What one chain brings home; the margins in its share of all chains' arrays.

    ``rest`` is of every ``thin``-th draw.
    """

    x: Array
    on_axes: Array
    rest: NDArray[np.float32]
    thin: int
    scatter: Array
    accept: Array
    diverging: NDArray[np.bool_]
    noise: Array
    shift: NDArray[np.float32]


def sample_incomplete(
    sampler: Sampler,
    *,
    draws: int,
    tune: int,
    chains: int,
    seed: int,
    cores: int,
    progress: Callable[[int, int], None] | None,
) -> CompletedDraws:
    """Run the chains in threads (numpy and the kernels release the interpreter's lock)."""
    seeds = np.random.SeedSequence(seed).spawn(chains)
    homes, margins = sampler.homes(chains, draws)
    cores = max(1, min(cores, chains))
    # Made here, since memory that threads take for themselves is not given back.
    states: SimpleQueue[Any] = SimpleQueue()
    for _ in range(cores):
        states.put(sampler.make_state())
    counter = Counter(progress, chains * (draws + tune))
    # The matrices are small: BLAS threads would only get in the way of the chains' own.
    with (
        threadpool_limits(1, user_api="blas"),
        ThreadPoolExecutor(cores) as pool,
    ):
        jobs = [
            pool.submit(sampler.run, home, states, tune, np.random.default_rng(seeds[c]), counter)
            for c, home in enumerate(homes)
        ]
        try:
            results = [job.result() for job in jobs]
        except BaseException:
            counter.stop = True
            raise
    x = np.stack([r.x for r in results])
    stats = xr.Dataset(
        {
            "diverging": (("chain", "draw"), np.stack([r.diverging for r in results])),
            "acceptance_rate": (("chain", "draw"), np.stack([r.accept for r in results])),
        }
    )
    return CompletedDraws(
        variances=VarianceDraws(*sampler.posterior.constrain(x), stats),
        margins=margins,
        rest_of=np.arange(chains * draws).reshape(chains, draws)[:, :: homes[0].thin].ravel(),
        scatter=np.mean([r.scatter for r in results], axis=0),
        noise=np.stack([r.noise for r in results]),
        shift=np.concatenate([r.shift for r in results]),
    )


def complete_cubes(
    crossing: Crossing,
    components: Components,
    coefficient_scales: Array,
    v: Array,
    rng: np.random.Generator,
) -> Iterator[Array]:
    """Draw the missing cells given the observed ones for each row of variances ``v`` in turn.

    The cube (model, prompt, word) is the same array each time, filled anew.
    """
    state, cube, missing = Completion(Gaps(crossing)), crossing.y.copy(), ~crossing.observed
    for row in v:
        state.redraw_exactly(solvable_smoother(crossing, components, coefficient_scales, row), rng)
        cube[missing] = state.missing
        yield cube


def solvable_smoother(
    crossing: Crossing, components: Components, coefficient_scales: Array, v: Array
) -> Smoother:
    """Make the smoother at ``v``, with a residual large enough for the effects to be solved for."""
    residual, v = list(components["residual"].index[0]), v.copy()
    v[residual] = np.maximum(v[residual], LEAST_RESIDUAL * crossing.scale**2)
    return Smoother(crossing, components, coefficient_scales, v)


class Sampler:
    """Everything the chains share; read-only once made."""

    fixed: tuple[int, ...] = ()
    """Parameters of the density that step 2 leaves where they are."""
    normal = True
    """Whether residuals and effects are normal."""
    n_noise = 0
    """How many parameters residuals have beside those of the density."""
    n_shift = 0
    """How many numbers of each word are known."""

    def __init__(
        self,
        crossing: Crossing,
        components: Components,
        posterior_of: Callable[[list[Stratum]], Posterior],
        coefficient_scales: Array,
    ) -> None:
        self.crossing, self.components = crossing, components
        self.coefficient_scales = coefficient_scales
        self.gaps = Gaps(crossing)
        self.strata = make_strata(
            crossing, components, make_tables(crossing, crossing.y), coefficient_scales
        )
        self.posterior = posterior_of(self.strata)
        self.conditionals = Conditionals(crossing, components, coefficient_scales)
        self._positions = self.conditionals.positions(self.strata)
        self.shifts = make_shifts(crossing)
        self.exact = self.shifts is None and sparse_margins(crossing) > _MANY_SPARSE

    def homes(self, chains: int, draws: int) -> tuple[list[_Chain], Margins]:
        """Give what each chain fills, and the margins of all, which are views of the same."""
        n_models, _, n_words = self.crossing.shape
        n_axes, n_framings = len(self.crossing.axes), len(self.crossing.framings)
        n_rotated = self.crossing.model_basis.shape[1] * n_framings
        on_axes = np.empty((chains, draws, n_axes, n_models, n_framings))
        most = max(_FEW_DRAWS, _MOST_NUMBERS // (n_rotated * n_words))
        thin = max(1, -(-chains * draws // most))
        rest = np.empty((chains, -(-draws // thin), n_rotated, n_words), dtype=np.float32)
        homes = [
            _Chain(
                x=np.empty((draws, self.posterior.n_dim)),
                on_axes=on_axes[c],
                rest=rest[c],
                thin=thin,
                scatter=np.zeros_like(self.posterior.packed.scatter),
                accept=np.empty(draws),
                diverging=np.zeros(draws, dtype=bool),
                noise=np.empty((draws, self.n_noise)),
                shift=np.empty(
                    (rest.shape[1] if self.n_shift else 0, self.n_shift, n_words), dtype=np.float32
                ),
            )
            for c in range(chains)
        ]
        flat = (table.reshape(-1, *table.shape[2:]) for table in (on_axes, rest))
        return homes, Margins(*flat)

    def make_state(self) -> Any:
        """Make what a chain works in."""
        return Completion(self.gaps, keep=False)

    def noise_of(self, state: Any, x: Array) -> Array:
        """Give the residuals' own parameters."""
        return np.empty(0)

    def shift_of(self, state: Any) -> Array:
        """Give what is known of words' effects, (number, word): of normal ones nothing."""
        return np.empty((self.n_shift, self.crossing.shape[2]))

    def run(
        self,
        out: _Chain,
        states: SimpleQueue[Any],
        tune: int,
        rng: np.random.Generator,
        counter: Counter,
    ) -> _Chain:
        """Run one chain in one of the ``states``."""
        state, draws = states.get(), len(out.x)
        state.empty()
        x = start_point(self.posterior) + rng.uniform(-0.5, 0.5, self.posterior.n_dim)
        target = self._target(state)
        if self.exact:
            # The mode of a cube that is mostly zeros has next to no variance anywhere.
            x, target = self.impute(state, x, rng)
        kernel = Hamiltonian.at_mode(target, x)
        x = kernel.mode
        # After so many tuning steps the mode is looked for again.
        looked_again = {tune - k for k in (0, tune // 4, tune // 2)}
        for i in range(-tune, draws):
            if counter.stop:
                break
            if i < 0 and not self.completes(tune + i):
                x, accept, _ = kernel.move(target, x, rng, 1)
                kernel.adapt(accept, tune + i)
                counter.step()
                continue
            x, target = self.impute(state, x, rng)
            if i < 0 and -i in looked_again:
                # The first completions are crude: look again for the mode and its curvature.
                kernel = Hamiltonian.at_mode(target, x, kernel.step, self.fixed)
            x, accept, diverged = self.move(kernel, target, x, rng)
            if i < 0:
                kernel.adapt(accept, tune + i)
            else:
                margins = make_margins(self.crossing, state.tables)
                out.x[i], out.accept[i], out.diverging[i] = x, accept, diverged
                out.noise[i] = self.noise_of(state, x)
                out.on_axes[i] = margins.on_axes
                if i % out.thin == 0:
                    out.rest[i // out.thin] = margins.rest
                    if self.n_shift:
                        out.shift[i // out.thin] = self.shift_of(state)
                out.scatter += target.packed.scatter
            counter.step()
        out.scatter /= draws
        states.put(state)
        return out

    @property
    def quick(self) -> bool:
        """Whether completions are quick, and depend little on the last one."""
        return self.normal and not self.exact

    def completes(self, tuned: int) -> bool:
        """Say whether the cube is completed anew after so many tuning steps.

        Where gaps are scattered some hundred completions forget where they began, and steps are
        tuned as well on the last one.
        """
        soon = tuned < _COMPLETED_AT_FIRST or tuned % _COMPLETED_EVERY == 0
        return soon or not self.quick

    def move(
        self, kernel: Hamiltonian, target: Posterior, x: Array, rng: np.random.Generator
    ) -> tuple[Array, float, bool]:
        """Step 2: the variances given the completed cube; acceptance, and whether any diverged."""
        return kernel.move(target, x, rng, _FEWER_MOVES if self.quick else _MOVES)

    def _target(self, state: Any) -> Posterior:
        scatter = self.conditionals.scatter(state.tables, self._positions)
        return self.posterior.with_scatter(scatter)

    def impute(self, state: Any, x: Array, rng: np.random.Generator) -> tuple[Array, Posterior]:
        """Step 1: the missing cells given the variances; returns the variances and their density.

        Where most cells are missing, those would hold the residual's variance where it was: it is
        redrawn given the effects and the observed cells, before the missing ones are. This leaves
        the posterior of all as it is. Effects given the variances, residual given the effects,
        levels given both, and missing cells given all: each is drawn given the observed cells and
        what was drawn before, with what comes later integrated out, so nothing that a later draw
        makes stale is used again. (Drawn after the missing cells without looking at them, the
        residual would be: van Dyk & Park 2008, *J. Am. Stat. Assoc.* 103, 790–796.)
        """
        v = self.posterior.variances(x)
        if not self.exact:
            state.redraw(self.conditionals.at(v), rng, self.shifts)
            return x, self._target(state)
        smoother = solvable_smoother(self.crossing, self.components, self.coefficient_scales, v)

        def redraw_sd(squares: Array) -> Array:
            nonlocal x
            x, sd = self._redraw_residual(x, np.sqrt(smoother.residual), squares, rng)
            return sd

        state.redraw_exactly(smoother, rng, redraw_sd)
        return x, self._target(state)

    def _redraw_residual(
        self, x: Array, sd: Array, squares: Array, rng: np.random.Generator
    ) -> tuple[Array, Array]:
        """Draw the residual's SDs given effects, which leave ``squares`` of the observed cells.

        With a flat prior on the SD its square is inverse gamma; the prior accepts or rejects that.
        """
        at = self.components.names.index("residual") * len(sd)
        x, sd = x.copy(), sd.copy()
        for f, df in enumerate(self.gaps.df):
            if df < 3 or not squares[f] > 0:
                continue
            proposal = 0.5 * squares[f] / rng.gamma(0.5 * (df - 1))
            ratio = 0.5 * (sd[f] ** 2 - proposal) / self.posterior.scales[at + f] ** 2
            if np.log(rng.uniform()) < ratio:
                sd[f] = np.sqrt(proposal)
                x[at + f] = np.log(sd[f])
        return x, sd
