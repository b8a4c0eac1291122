"""The hierarchical model as an ordinary PyMC model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from valuebias.analysis.components import Components
from valuebias.analysis.crossing import Crossing
from valuebias.analysis.density import PackedStrata
from valuebias.analysis.priors import Prior

if TYPE_CHECKING:
    import pymc as pm

__all__ = ["build_model"]


def build_model(
    crossing: Crossing, components: Components, prior: Prior, packed: PackedStrata
) -> pm.Model:
    """Build the model: SDs and correlations as random variables, the rest integrated out.

    Random variables: ``sd`` (component, framing) and, where there are two framings,
    ``correlation`` (correlated component). Coefficients and random effects are drawn afterwards
    from their exact conditional distribution.
    """
    import pymc as pm
    import pytensor.tensor as pt

    from valuebias.analysis.op import CollapsedLogLikelihood

    coords = {
        "component": components.names,
        "correlated": components.correlated,
        "framing": list(crossing.framings),
    }
    scales = np.array([prior.sd_of(name) for name in components.names]) * crossing.scale
    with pm.Model(coords=coords) as model:
        sd = pm.HalfNormal("sd", scales[:, None], dims=("component", "framing"))
        variances = (sd**2).ravel()
        if components.correlated:
            # LKJ(η) for two framings: (correlation + 1) / 2 is Beta(η, η).
            eta = prior.correlation
            unit = pm.Beta("correlation_unit", eta, eta, dims="correlated")
            correlation = pm.Deterministic("correlation", 2 * unit - 1, dims="correlated")
            joint = sd[: len(components.correlated)]
            variances = pt.concatenate([variances, correlation * joint[:, 0] * joint[:, 1]])
        outputs = (
            CollapsedLogLikelihood()
            .make_node(variances, packed.layout, packed.patterns, packed.df, packed.scatter)
            .outputs
        )
        pm.Potential("collapsed", outputs[0])
    return model
