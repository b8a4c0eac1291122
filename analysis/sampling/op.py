"""PyTensor's view of the collapsed log-likelihood."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytensor.tensor as pt
from pytensor.gradient import DisconnectedType
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.link.numba.dispatch.basic import register_funcify_default_op_cache_key

from valuebias.analysis.sampling.density import log_likelihood

__all__ = ["CollapsedLogLikelihood"]


class CollapsedLogLikelihood(Op):
    """``(v, *arrays of the packed strata) -> (value, gradient by v)``.

    See :func:`valuebias.analysis.sampling.density.log_likelihood`.
    """

    __props__ = ()

    def make_node(self, *inputs: Any) -> Apply[Any]:
        """Check the inputs and name the outputs."""
        tensors = [pt.as_tensor_variable(i) for i in inputs]
        return Apply(self, tensors, [pt.dscalar("value"), pt.dvector("gradient")])

    def perform(self, node: Any, inputs: Any, output_storage: Any) -> None:
        """Compute both outputs in Python."""
        value, gradient = log_likelihood(*inputs)
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


@register_funcify_default_op_cache_key(CollapsedLogLikelihood)
def _funcify(op: CollapsedLogLikelihood, **_: Any) -> Any:
    from pytensor.link.numba.dispatch import basic

    @basic.numba_njit
    def collapsed(v, layout, counts, places, entries, constant, df, scatter):  # type: ignore[no-untyped-def]
        value, gradient = log_likelihood(v, layout, counts, places, entries, constant, df, scatter)
        return np.asarray(value), gradient

    return collapsed
