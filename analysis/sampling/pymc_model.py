"""The hierarchical model as an ordinary PyMC model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
from pytensor.gradient import DisconnectedType
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.link.numba.dispatch.basic import register_funcify_default_op_cache_key

from valuebias.analysis.design.components import SPREADS, Components
from valuebias.analysis.design.crossing import Crossing
from valuebias.analysis.design.priors import Prior
from valuebias.analysis.sampling.density import PackedStrata, log_likelihood

__all__ = ["build_model"]


class _CollapsedLogLikelihood(Op):
    """The density for PyTensor: ``(v, *numbers of the packed strata) -> (value, gradient)``."""

    __props__ = ("n_work",)

    def __init__(self, n_work: int) -> None:
        self.n_work = n_work

    def make_node(self, *inputs: Any) -> Apply[Any]:
        """Check the inputs and name the outputs."""
        tensors = [pt.as_tensor_variable(i) for i in inputs]
        return Apply(self, tensors, [pt.dscalar("value"), pt.dvector("gradient")])

    def perform(self, node: Any, inputs: Any, output_storage: Any) -> None:
        """Compute both outputs in Python."""
        v, ints, floats = inputs
        gradient = np.empty_like(v)
        value = log_likelihood(v, gradient, ints, floats, np.empty(self.n_work))
        output_storage[0][0] = np.asarray(value)
        output_storage[1][0] = gradient

    def connection_pattern(self, node: Any) -> list[list[bool]]:
        """Say which outputs depend on which inputs."""
        # Only v is differentiated, and only through the value.
        return [[True, True]] + [[False, False]] * (len(node.inputs) - 1)

    def pullback(self, inputs: Any, outputs: Any, output_gradients: Any) -> list[Any]:
        """Propagate the gradient of the value back to v."""
        return [output_gradients[0] * outputs[1]] + [DisconnectedType()() for _ in inputs[1:]]

    def L_op(self, inputs: Any, outputs: Any, output_gradients: Any) -> list[Any]:
        """Do as :meth:`pullback`, under its name before PyTensor 3."""
        return self.pullback(inputs, outputs, output_gradients)


@register_funcify_default_op_cache_key(_CollapsedLogLikelihood)
def _funcify(op: _CollapsedLogLikelihood, **_: Any) -> Any:
    from pytensor.link.numba.dispatch import basic

    n_work = op.n_work

    @basic.numba_njit
    def collapsed(v, ints, floats):  # type: ignore[no-untyped-def]
        gradient = np.empty(len(v))
        value = log_likelihood(v, gradient, ints, floats, np.empty(n_work))
        return np.asarray(value), gradient

    return collapsed


def build_model(
    crossing: Crossing, components: Components, prior: Prior, packed: PackedStrata
) -> pm.Model:
    """Build the model: SDs and correlations as random variables, the rest integrated out.

    Random variables: ``sd`` (component, framing), where there are two framings ``correlation``
    (correlated component), and where families differ in spread ``spread`` (level, kind), factors
    of the SDs. Coefficients and random effects are drawn afterwards from their exact conditional
    distribution.
    """
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
        outputs = (
            _CollapsedLogLikelihood(packed.n_work).make_node(v, packed.ints, packed.floats).outputs
        )
        pm.Potential("collapsed", outputs[0])
    return model
