"""Sample the variances again without some models, or without a word."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from valuebias.analysis.design.units import Unit
    from valuebias.analysis.hierarchical import Problem
    from valuebias.analysis.sampling.nuts import VarianceDraws

__all__ = ["LeftOutFit", "refit_without"]

Array = NDArray[np.float64]

# Enough for the integral of a posterior to a tenth of a nat, unless it has many parameters.
_CHAINS, _TUNE, _DRAWS, _DRAWS_A_PARAMETER = 2, 300, 400, 10
# Draws whose outcome is completed, which takes longer than everything computed from it.
_MOST_COMPLETED = 100


@dataclass(frozen=True)
class LeftOutFit:
    """The variances' posterior without a unit."""

    problem: Problem  # the reduced data, with parameters of the same meaning as in all data
    variances: VarianceDraws
    # Draws (chain · draw) that results are computed from: spaced ones of an incomplete crossing,
    # whose outcome is completed for each.
    chosen: NDArray[np.intp]
    seed: int  # of the fit

    @property
    def v(self) -> Array:
        """Variance parameters of the chosen draws, (draw, variance)."""
        draws, components = self.variances, self.problem.components
        v = components.variances(draws.sd, draws.correlation, draws.spread)
        return np.asarray(v.reshape(-1, components.n_variances)[self.chosen])

    @property
    def cubes(self) -> Iterator[tuple[Array, Array]]:
        """The outcome (model, prompt, word) with its variances (draw, variance)."""
        v, crossing = self.v, self.problem.crossing
        if crossing.complete:
            yield crossing.y, v
            return
        cubes = self.problem.completed_cubes(v, np.random.default_rng([self.seed, 10]))
        for i, cube in enumerate(cubes):
            yield cube, v[i : i + 1]

    @property
    def unconstrained(self) -> Array:
        """All draws on the scale of the density, (chain, draw, parameter)."""
        draws, posterior = self.variances, self.problem.posterior(self.problem.strata)
        return posterior.unconstrain(draws.sd, draws.correlation, draws.spread)


def refit_without(problem: Problem, unit: Unit, seed: int) -> LeftOutFit:
    """Sample the variances without some models or a word."""
    from valuebias.analysis.design.reduced import without_models, without_word
    from valuebias.analysis.hierarchical import Settings, sample_variances
    from valuebias.analysis.sampling.incomplete import CompletedDraws

    if unit.word >= 0:
        reduced = without_word(problem, unit.word)
    else:
        reduced = without_models(problem, np.array(unit.models, dtype=np.intp))
    draws = max(_DRAWS, _DRAWS_A_PARAMETER * reduced.posterior(reduced.strata).n_dim)
    sampled = sample_variances(reduced, Settings(draws, _TUNE, _CHAINS, seed, "hmc"), None)
    every = np.arange(_CHAINS * draws)
    if not isinstance(sampled, CompletedDraws):
        return LeftOutFit(reduced, sampled, every, seed)
    spaced = np.linspace(0, len(every) - 1, min(_MOST_COMPLETED, len(every))).astype(np.intp)
    return LeftOutFit(reduced, sampled.variances, spaced, seed)
