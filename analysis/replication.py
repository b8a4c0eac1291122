"""What a fit of scores yet to be made would say: simulate them, and find the headline's posterior.

A simulated crossing is drawn from the hierarchy itself. Its posterior is that of a fit, sampled by
a short chain on the collapsed density: given each draw of the variances the headline has an exact
normal distribution, so that a hundred draws give its probabilities to a few thousandths.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from valuebias.analysis.design.crossing import centre
from valuebias.analysis.design.strata import make_strata, make_tables
from valuebias.analysis.estimands.held_out import axis_means, combination_given_all
from valuebias.analysis.estimands.mixtures import Mixture
from valuebias.analysis.estimands.rows import Combination
from valuebias.analysis.estimands.smoother import Smoother
from valuebias.analysis.hierarchical import Problem
from valuebias.analysis.sampling.hamiltonian import Hamiltonian
from valuebias.analysis.sampling.nuts import start_point

__all__ = ["Plan", "expected_sd", "posterior_of"]

Array = NDArray[np.float64]

_TUNE, _DRAWS = 60, 160


@dataclass(frozen=True)
class Plan:
    """Scores to be made, and the combination of coefficients that they are made for."""

    problem: Problem  # of any scores of that shape
    combination: Combination

    def coefficient(self, effect: float) -> Array:
        """Coefficients (column, framing, axis) with this effect, spread as evenly as can be."""
        parts = (self.combination.row, self.combination.framing, self.combination.axis)
        unit = np.einsum("q,f,j->qfj", *(part / (part @ part) for part in parts))
        return np.asarray(effect * unit)

    def simulate(self, v: Array, effect: float, rng: np.random.Generator) -> Array:
        """Draw scores (model, prompt, word) given variances ``v`` (variance,)."""
        crossing, components = self.problem.crossing, self.problem.components
        fixed = np.einsum(
            "mq,qfj,wj->mfw", crossing.design.matrix, self.coefficient(effect), crossing.word_basis
        )
        # The coefficients are given, so that they have no variance.
        smoother = Smoother(crossing, components, np.zeros(len(crossing.design.column_names)), v)
        return centre(smoother.simulate_cube(rng) + fixed[:, crossing.framing], crossing.observed)

    def posterior(self, cube: Array, rng: np.random.Generator) -> Mixture:
        """Return the headline's posterior given scores."""
        return posterior_of(self.problem, self.combination, cube, rng)


def posterior_of(
    problem: Problem, combination: Combination, cube: Array, rng: np.random.Generator,
    *, draws: int = _DRAWS,
) -> Mixture:  # fmt: skip
    """Find the posterior of a combination given complete scores (model, prompt, word)."""
    crossing, components = problem.crossing, problem.components
    scales = problem.coefficient_scales
    tables = make_tables(crossing, cube)
    target = problem.posterior(make_strata(crossing, components, tables, scales))
    kernel = Hamiltonian.at_mode(target, start_point(target))
    chain = kernel.chain(target, rng, tune=_TUNE, draws=draws)
    drawn = components.variances(*target.constrain(chain))
    mean, variance = combination_given_all(
        crossing, components, drawn, axis_means(crossing, tables), scales, combination
    )
    return Mixture(mean, np.sqrt(variance))


def expected_sd(plan: Plan, v: Array) -> Array:
    """Posterior SD of the headline where the variances ``v`` (draw, variance) are known."""
    problem = plan.problem
    crossing, scales = problem.crossing, problem.coefficient_scales
    nothing = np.zeros((len(crossing.axes), crossing.shape[0] * len(crossing.framings)))
    _, variance = combination_given_all(
        crossing, problem.components, v, nothing, scales, plan.combination
    )
    return np.sqrt(variance)
