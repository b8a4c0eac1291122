"""Sample the variances of a complete crossing with NUTS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import current_process
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from valuebias.analysis.sampling.density import Posterior
from valuebias.analysis.sampling.hamiltonian import Hamiltonian
from valuebias.analysis.sampling.threads import interrupts_deferred

if TYPE_CHECKING:
    import pymc as pm

__all__ = ["VarianceDraws", "sample_nuts", "sample_pymc", "start_point"]

Array = NDArray[np.float64]

_CORRELATED = 25.0
"""Condition number of the correlations from which on they are worth removing."""


@dataclass(frozen=True)
class VarianceDraws:
    """Draws of the variance parameters."""

    sd: Array  # (chain, draw, component, framing)
    correlation: Array  # (chain, draw, correlated component)
    spread: Array  # (chain, draw, spread, kind): factors of the SDs by family
    stats: xr.Dataset  # sampler statistics over (chain, draw): at least ``diverging``


def start_point(posterior: Posterior) -> Array:
    """Give a moderate starting point: every SD a third of its prior scale, the rest 0."""
    others = np.zeros(posterior.n_correlated + posterior.n_spread)
    return np.concatenate([np.log(posterior.scales / 3), others])


def sample_nuts(
    posterior: Posterior,
    *,
    draws: int,
    tune: int,
    chains: int,
    seed: int,
    cores: int | None,
    progress: Callable[[int, int], None] | None,
) -> VarianceDraws:
    """Run nutpie's NUTS on the compiled density, along axes that suit it."""
    import nutpie

    # Compiled on import, so not before it is needed.
    from valuebias.analysis.sampling import native

    with interrupts_deferred():
        target = _along_axes(posterior)
        compiled = native.native_model(posterior, target.start, target.mode, target.axes)
    sampler = nutpie.sample(
        target.through_python() if compiled is None else compiled,
        draws=draws,
        tune=tune,
        chains=chains,
        # Through Python, chains would fight for its lock.
        cores=1 if compiled is None else cores,
        seed=seed,
        progress_bar=False,
        # A blocking sampler would swallow an interrupt and return unfinished chains.
        blocking=False,
    )
    trace = _follow(sampler, progress, chains * (draws + tune))
    constrained = posterior.constrain(np.asarray(trace["posterior"]["x"]))
    return VarianceDraws(*constrained, _numeric_stats(trace["sample_stats"]))


@dataclass(frozen=True)
class _Target:
    """A density as it is, or along the axes of its curvature at the mode."""

    posterior: Posterior
    mode: Array | None = None
    axes: Array | None = None

    def start(self, chain_seed: Any) -> Array:
        rng = np.random.default_rng(chain_seed)
        if self.axes is not None:
            return rng.uniform(-2, 2, self.posterior.n_dim)
        return start_point(self.posterior) + rng.uniform(-1, 1, self.posterior.n_dim)

    def at(self, z: Array) -> Array:
        if self.axes is None or self.mode is None:
            return z
        return self.mode + self.axes @ z

    def density(self, z: Array) -> tuple[float, Array]:
        value, gradient = self.posterior(self.at(z))
        return value, gradient if self.axes is None else self.axes.T @ gradient

    def through_python(self) -> Any:
        """Give nutpie the density as a Python function."""
        from nutpie.compiled_pyfunc import from_pyfunc

        n = self.posterior.n_dim

        def make_expand(*_: Any) -> Callable[[Array], dict[str, Array]]:
            return lambda z: {"x": self.at(z)}

        return from_pyfunc(
            n,
            lambda: self.density,
            make_expand,
            [np.dtype("float64")],
            [(n,)],
            ["x"],
            dims={"x": ("parameter",)},
            coords={"parameter": pd.Index([str(i) for i in range(n)])},
            make_initial_point_fn=self.start,
        )


def _along_axes(posterior: Posterior) -> _Target:
    """Whiten a density where that helps.

    Where a formula has many terms, their variances share what they explain and are correlated a
    posteriori, and trajectories along the parameters grow long. Elsewhere NUTS learns the scales
    better than the mode tells them, whose curvature says little of an SD that may be zero.
    """
    kernel = Hamiltonian.at_mode(posterior, start_point(posterior))
    covariance = kernel.root @ kernel.root.T
    sd = np.sqrt(np.diag(covariance))
    spread = np.linalg.eigvalsh(covariance / np.outer(sd, sd))
    if spread[-1] < _CORRELATED * spread[0]:
        return _Target(posterior)
    return _Target(posterior, kernel.mode, kernel.root)


def _follow(sampler: Any, progress: Callable[[int, int], None] | None, total: int) -> Any:
    """Wait for a background sampler; an interrupt stops it before it is passed on.

    A blocking sampler would answer an interrupt with the draws it has, as if they were all.
    """
    try:
        if progress is not None:
            progress(0, total)
        trace = sampler.wait()
        if progress is not None:
            progress(total, total)
    except BaseException:
        sampler.cancel()
        raise
    return trace


def sample_pymc(
    model: pm.Model,
    *,
    draws: int,
    tune: int,
    chains: int,
    seed: int,
    cores: int | None,
) -> VarianceDraws:
    """Run PyMC's own NUTS on the PyMC model; slower to start, the same posterior."""
    import pymc as pm

    trace = pm.sample(
        draws=draws,
        tune=tune,
        chains=chains,
        # Such as a worker of Dask may start no processes; chains are the same one after another.
        cores=1 if current_process().daemon else cores,
        random_seed=seed,
        model=model,
        progressbar=False,
        compute_convergence_checks=False,
    )
    if trace["posterior"].sizes["draw"] < draws or trace["posterior"].sizes["chain"] < chains:
        # PyMC answers an interrupt by returning the draws it has.
        raise KeyboardInterrupt
    sd = np.asarray(trace["posterior"]["sd"])
    empty = {"correlation": np.empty((*sd.shape[:2], 0)), "spread": np.ones((*sd.shape[:2], 2, 1))}
    correlation, spread = (
        np.asarray(trace["posterior"][name]) if name in trace["posterior"] else otherwise
        for name, otherwise in empty.items()
    )
    return VarianceDraws(sd, correlation, spread, _numeric_stats(trace["sample_stats"]))


def _numeric_stats(stats: Any) -> xr.Dataset:
    """Keep the per-draw numbers: other entries differ between samplers and cannot be stored."""
    dataset = stats if isinstance(stats, xr.Dataset) else stats.to_dataset()
    kept = {
        str(name): values.astype(float if values.dtype.kind in "iu" else values.dtype)
        for name, values in dataset.data_vars.items()
        if values.dims == ("chain", "draw") and values.dtype.kind in "biuf"
    }
    return xr.Dataset(kept).drop_attrs()
