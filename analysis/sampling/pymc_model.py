"""The hierarchical model as an ordinary PyMC model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from valuebias.analysis.design.components import SPREADS, Components
from valuebias.analysis.design.crossing import Crossing
from valuebias.analysis.design.priors import Prior
from valuebias.analysis.sampling.density import PackedStrata

if TYPE_CHECKING:
    import pymc as pm

__all__ = ["build_model"]


def build_model(
    crossing: Crossing, components: Components, prior: Prior, packed: PackedStrata
) -> pm.Model:
    """Build the model: SDs and correlations as random variables, the rest integrated out.

    Random variables: ``sd`` (component, framing), where there are two framings ``correlation``
    (correlated component), and where families differ in spread ``spread`` (level, kind), factors
    of the SDs. Coefficients and random effects are drawn afterwards from their exact conditional
    distribution.
    """
    import pymc as pm
    import pytensor.tensor as pt

    from valuebias.analysis.sampling.op import CollapsedLogLikelihood

    contrasts = components.spread_contrasts
    coords = {
        "component": components.names,
        "correlated": components.correlated,
        "framing": list(crossing.framings),
        "level": list(SPREADS),
        "kind": list(crossing.space.kinds),
        "contrast": np.arange(contrasts.shape[1]),
    }
    scales = np.array([prior.sd_of(name) for name in components.names]) * crossing.scale
    component, framing, entry = components.codes.T
    n = components.n_framings
    crossed = np.flatnonzero(framing < 0)
    scaled = np.flatnonzero(entry >= 0)
    with pm.Model(coords=coords) as model:
        sd = pm.HalfNormal("sd", scales[:, None], dims=("component", "framing"))
        flat = sd.ravel()
        second = np.minimum(np.where(framing < 0, 1, framing), n - 1)
        v = flat[component * n + np.maximum(framing, 0)] * flat[component * n + second]
        if components.correlated:
            # LKJ(η) for two framings: (correlation + 1) / 2 is Beta(η, η).
            eta = prior.correlation
            unit = pm.Beta("correlation_unit", eta, eta, dims="correlated")
            correlation = pm.Deterministic("correlation", 2 * unit - 1, dims="correlated")
            v = pt.set_subtensor(v[crossed], v[crossed] * correlation[component[crossed]])
        if contrasts.size:
            shift = pm.Normal("spread_contrast", 0.0, prior.spread, dims=("level", "contrast"))
            # No matrix product: PyTensor would look for a BLAS to do it.
            logs = (shift[:, None, :] * contrasts).sum(axis=-1)
            spread = pm.Deterministic("spread", pt.exp(logs), dims=("level", "kind"))
            v = pt.set_subtensor(v[scaled], v[scaled] * spread.ravel()[entry[scaled]] ** 2)
        outputs = CollapsedLogLikelihood().make_node(v, *packed.arrays).outputs
        pm.Potential("collapsed", outputs[0])
    return model
