"""Sample the variances again without some models, or without a word."""

from __future__ import annotations

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


@dataclass(frozen=True)
class LeftOutFit:
    """The variances' posterior without a unit.

    Attributes
    ----------
    problem : Problem
        The reduced data, with parameters that mean what they do in the whole.
    variances : VarianceDraws
    chosen : ndarray of int
        Draws (chain · draw) whose completed outcome is at hand; all of a complete crossing.
    cubes : list of ndarray, shape (model, prompt, word)
        These outcomes; one for all draws of a complete crossing.
    """

    problem: Problem
    variances: VarianceDraws
    chosen: NDArray[np.intp]
    cubes: list[Array]

    @property
    def v(self) -> Array:
        """Variance parameters of the chosen draws, (draw, variance)."""
        draws, components = self.variances, self.problem.components
        v = components.variances(draws.sd, draws.correlation, draws.spread)
        return np.asarray(v.reshape(-1, components.n_variances)[self.chosen])

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
    found = sample_variances(reduced, Settings(draws, _TUNE, _CHAINS, seed, "nutpie"), None)
    if not isinstance(found, CompletedDraws):
        return LeftOutFit(reduced, found, np.arange(_CHAINS * draws), [reduced.crossing.y])
    cubes = []
    for values in found.completions:
        cube = reduced.crossing.y.copy()
        cube[tuple(found.cells.T)] = values
        cubes.append(cube)
    return LeftOutFit(reduced, found.variances, found.kept, cubes)
