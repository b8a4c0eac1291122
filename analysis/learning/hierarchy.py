"""A learning model's parameters, partially pooled: models within families, families within all."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pymc as pm
import pytensor.tensor as pt
import xarray as xr
from numpy.typing import NDArray
from pytensor.gradient import DisconnectedType
from pytensor.graph.basic import Apply
from pytensor.graph.op import Op
from pytensor.link.numba.dispatch.basic import register_funcify_default_op_cache_key

from valuebias.analysis.learning.recursion import N_PARAMETERS, SPLITS, recursion
from valuebias.analysis.learning.rules import LearningRule
from valuebias.analysis.learning.sequences import Sequences

__all__ = ["Pooled", "build_pooled", "sample_pooled"]

Array = NDArray[np.float64]

# On the whole line, by parameter: a rate or weight may be anything, an inverse temperature of
# values from 0 to 1 is a few units.
_PRIOR = {"inverse_temperature": (1.0, 1.0)}
_OTHERS = (0.0, 1.5)
_SPREAD = 0.75


class _LogLikelihood(Op):
    """Log-likelihood for PyTensor: ``(theta, numbers of the sequences) -> (value, gradient)``."""

    __props__ = ("split", "initial")

    def __init__(self, split: int, initial: float) -> None:
        self.split, self.initial = split, initial

    def make_node(self, *inputs: Any) -> Apply[Any]:
        """Check the inputs and name the outputs."""
        tensors = [pt.as_tensor_variable(i) for i in inputs]
        return Apply(self, tensors, [pt.dscalar("value"), pt.dmatrix("gradient")])

    def perform(self, node: Any, inputs: Any, output_storage: Any) -> None:
        """Compute both outputs in Python."""
        theta, owner, *rest = inputs
        value, gradient = np.empty(len(owner)), np.empty((len(owner), N_PARAMETERS))
        recursion(
            theta, self.split, self.initial, owner, *rest, value, gradient, np.empty(len(rest[-1]))
        )
        summed = np.zeros(theta.shape)
        np.add.at(summed, owner, gradient)
        output_storage[0][0] = np.asarray(value.sum())
        output_storage[1][0] = summed

    def connection_pattern(self, node: Any) -> list[list[bool]]:
        """Say which outputs depend on which inputs."""
        return [[True, True]] + [[False, False]] * (len(node.inputs) - 1)

    def pullback(self, inputs: Any, outputs: Any, output_gradients: Any) -> list[Any]:
        """Propagate the gradient of the value back to theta."""
        return [output_gradients[0] * outputs[1]] + [DisconnectedType()() for _ in inputs[1:]]

    def L_op(self, inputs: Any, outputs: Any, output_gradients: Any) -> list[Any]:
        """Do as :meth:`pullback`, under its name before PyTensor 3."""
        return self.pullback(inputs, outputs, output_gradients)


@register_funcify_default_op_cache_key(_LogLikelihood)
def _funcify(op: _LogLikelihood, **_: Any) -> Any:
    from pytensor.link.numba.dispatch import basic

    split, initial = op.split, op.initial

    @basic.numba_njit
    def learned(theta, owner, start, option, told, outcome, chose):  # type: ignore[no-untyped-def]
        value, gradient = np.empty(len(owner)), np.empty((len(owner), N_PARAMETERS))
        chance = np.empty(len(chose))
        recursion(
            theta, split, initial, owner, start, option, told, outcome, chose, value, gradient,
            chance,
        )  # fmt: skip
        summed = np.zeros(theta.shape)
        for s in range(len(owner)):
            summed[owner[s]] += gradient[s]
        return np.asarray(value.sum()), summed

    return learned


@dataclass(frozen=True)
class Pooled:
    """Draws of a hierarchical fit."""

    posterior: xr.Dataset = field(repr=False)
    stats: xr.Dataset = field(repr=False)

    def free(self) -> Array:
        """Give the models' parameters, (chain, draw, model, parameter)."""
        return np.asarray(self.posterior["by_model"].to_numpy())


def build_pooled(
    sequences: Sequences, rule: LearningRule, family: NDArray[np.intp], families: tuple[str, ...]
) -> pm.Model:
    """Build the model.

    On the whole line (logits, and the log of an inverse temperature) a model's parameters are
    normal around its family's, and these around a common mean; a level with one member is left out.
    """
    names = rule.names
    coords = {"parameter": names, "model": sequences.models, "family": families}
    centre, width = np.array([_PRIOR.get(name, _OTHERS) for name in names]).T
    steep = np.array(names) == "inverse_temperature"

    def natural(line: Any) -> Any:
        return pt.where(steep, pt.exp(line), pt.sigmoid(line))

    with pm.Model(coords=coords) as model:
        line = pm.Normal("mean", centre, width, dims="parameter")
        by_family = pt.tile(line[None], (len(families), 1))
        if len(families) > 1:
            apart = pm.HalfNormal("sd_family", _SPREAD, dims="parameter")
            z = pm.Normal("z_family", 0.0, 1.0, dims=("family", "parameter"))
            by_family = by_family + apart * z
        pm.Deterministic("by_family", natural(by_family), dims=("family", "parameter"))
        by_model = by_family[family]
        if len(sequences.models) > len(families):
            apart = pm.HalfNormal("sd_model", _SPREAD, dims="parameter")
            z = pm.Normal("z_model", 0.0, 1.0, dims=("model", "parameter"))
            by_model = by_model + apart * z
        free = pm.Deterministic("by_model", natural(by_model), dims=("model", "parameter"))
        theta = pt.as_tensor_variable(rule.full(np.zeros((len(family), len(names)))))
        theta = pt.set_subtensor(theta[:, rule.columns], free)
        numbers = (sequences.owner, sequences.start, sequences.option, sequences.told,
                   sequences.outcome, sequences.chose)  # fmt: skip
        op = _LogLikelihood(SPLITS.index(rule.split), rule.initial)
        pm.Potential("choices", op.make_node(theta, *numbers).outputs[0])
    return model


def sample_pooled(
    model: pm.Model, *, draws: int, tune: int, chains: int, seed: int, cores: int | None
) -> Pooled:
    """Sample it with nutpie's NUTS."""
    import nutpie

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        compiled = nutpie.compile_pymc_model(model)
    trace = nutpie.sample(
        compiled, draws=draws, tune=tune, chains=chains, seed=seed, cores=cores,
        progress_bar=False, target_accept=0.9,
    )  # fmt: skip
    posterior, stats = (trace[name] for name in ("posterior", "sample_stats"))
    posterior, stats = (
        one if isinstance(one, xr.Dataset) else one.to_dataset() for one in (posterior, stats)
    )
    if posterior.sizes["draw"] < draws or posterior.sizes["chain"] < chains:
        raise KeyboardInterrupt
    return Pooled(posterior, stats[["diverging"]])
