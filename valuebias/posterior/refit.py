"""Fit again with something changed, or left out."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from valuebias.errors import ValueBiasWarning
from valuebias.fitting.fit import fit as fit_again

if TYPE_CHECKING:
    from valuebias.analysis.design.priors import Prior
    from valuebias.analysis.design.units import Unit
    from valuebias.analysis.hierarchical import Problem
    from valuebias.analysis.sampling.nuts import VarianceDraws
    from valuebias.fitting.result import Fit

__all__ = ["LeftOutFit", "refit", "refit_without"]

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


def refit(fit: Fit, *, prior: Prior, outcome: str, progress: bool = False) -> Fit:
    """Fit the same data with another prior or outcome, all else (seed included) the same."""
    names = ("formula", "words", "base", "spread", "draws", "tune", "chains", "seed", "sampler")
    settings = {name: fit.spec[name] for name in names}
    contrast = tuple(fit.spec["contrast"]) if fit.spec["contrast"] else None
    with warnings.catch_warnings():
        # The first fit has warned already.
        warnings.simplefilter("ignore", ValueBiasWarning)
        other: Fit = fit_again(
            fit.data,
            outcome=outcome,
            prior=prior,
            contrast=contrast,
            progress=progress,
            **settings,
        )
        return other


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
