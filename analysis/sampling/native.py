"""The collapsed density as native code that nutpie calls without Python.

Called through Python, the density takes longer to reach than to compute, and chains wait for one
another. nutpie offers this path for compiled PyMC models only, so this module makes up the object
that it compiles them to; where a release of nutpie has another, :func:`native_model` returns None
and the sampler takes the way through Python.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numba
import numpy as np
import pandas as pd
from numba import types
from numpy.typing import NDArray

from valuebias.analysis.sampling.density import Posterior, log_posterior

__all__ = ["native_model"]

Array = NDArray[np.float64]

_DOUBLES = types.CPointer(types.double)
_LOGP = types.int64(types.uint64, _DOUBLES, _DOUBLES, _DOUBLES, types.voidptr)
_EXPAND = types.int64(types.uint64, types.uint64, _DOUBLES, _DOUBLES, types.voidptr)
# What stands at the head of the data: total length, then where each array begins, then numbers.
_N_ARRAYS = 12
_HEAD = 2 + _N_ARRAYS + 5


def native_model(
    posterior: Posterior,
    start: Callable[[Any], Array],
    mode: Array | None = None,
    axes: Array | None = None,
) -> Any:
    """Give nutpie a density, along axes of its own if wanted, or None where it takes none.

    Parameters
    ----------
    posterior : Posterior
        The density.
    start : callable
        From a seed to a starting point, (n_dim,).
    mode, axes : ndarray, optional
        The sampler's coordinates z stand for ``mode + axes @ z``.
    """
    from nutpie.compile_pymc import CompiledPyMCModel

    n = posterior.n_dim
    data = _flattened(posterior, mode, axes)
    names = pd.Index([str(i) for i in range(n)])
    given: dict[str, Any] = {
        "_n_dim": n,
        "dims": {"x": ("parameter",)},
        "_coords": {"parameter": names, "unconstrained_parameter": names},
        "_shapes": {"x": (n,)},
        "compiled_logp_func": _logp,
        "compiled_expand_func": _expand,
        "initial_point_func": start,
        "shared_data": {},
        "shared_var_keys": {},
        "user_data": data,
        "n_expanded": n,
        "shape_info": (["x"], [slice(0, n)], [(n,)]),
        "logp_func": None,
        "expand_func": None,
    }
    known = {field.name for field in fields(CompiledPyMCModel)}
    try:
        return CompiledPyMCModel(**{name: given[name] for name in given if name in known})
    except TypeError:  # a field that this package does not know of
        return None


def _flattened(posterior: Posterior, mode: Array | None, axes: Array | None) -> NDArray[np.int64]:
    """Put all data into one block: whole numbers as they are, other numbers by their bits."""
    p, n = posterior.packed, posterior.n_dim
    arrays = [
        posterior.scales, posterior.codes, posterior.contrasts, p.layout, p.counts, p.indices,
        p.entries, p.constant, p.df, p.scatter,
        np.zeros(0) if mode is None else mode, np.zeros(0) if axes is None else axes,
    ]  # fmt: skip
    flat = [np.ascontiguousarray(array).ravel() for array in arrays]
    bits = [part if part.dtype == np.int64 else part.astype(float).view(np.int64) for part in flat]
    begins = _HEAD + np.cumsum([0, *(len(part) for part in bits)])
    numbers = np.array([posterior.eta, posterior.spread_scale]).view(np.int64)
    head = [begins[-1], *begins, posterior.n_framings, posterior.contrasts.shape[1], n]
    return np.concatenate([np.array(head, dtype=np.int64), numbers, *bits])


@numba.njit(cache=True, error_model="numpy", nogil=True)
def _evaluate(x, ints, floats):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Log-density and gradient at the sampler's ``x``, by the data of :func:`_flattened`."""
    begins = ints[1 : 2 + _N_ARRAYS]
    n_framings, n_contrasts, n = ints[2 + _N_ARRAYS], ints[3 + _N_ARRAYS], ints[4 + _N_ARRAYS]
    eta, spread_scale = floats[5 + _N_ARRAYS], floats[6 + _N_ARRAYS]
    mode, axes = floats[begins[10] : begins[11]], floats[begins[11] : begins[12]]
    point = x
    if len(mode):
        point = np.empty(n)
        for i in range(n):
            point[i] = mode[i]
            for j in range(n):
                point[i] += axes[i * n + j] * x[j]
    contrasts = floats[begins[2] : begins[3]]
    n_kinds = len(contrasts) // n_contrasts if n_contrasts else 1
    value, gradient = log_posterior(
        point,
        floats[begins[0] : begins[1]],
        eta,
        spread_scale,
        ints[begins[1] : begins[2]].reshape(-1, 3),
        contrasts.reshape(n_kinds, n_contrasts),
        n_framings,
        ints[begins[3] : begins[4]],
        ints[begins[4] : begins[5]],
        ints[begins[5] : begins[6]],
        floats[begins[6] : begins[7]],
        floats[begins[7] : begins[8]],
        floats[begins[8] : begins[9]],
        floats[begins[9] : begins[10]],
    )
    if len(mode):
        along = np.zeros(n)
        for i in range(n):
            for j in range(n):
                along[j] += axes[i * n + j] * gradient[i]
        return point, value, along
    return point, value, gradient


@numba.cfunc(_LOGP, cache=True, error_model="numpy", nopython=True)
def _logp(dim, x_, gradient_, value_, data_):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    n_data = numba.carray(data_, (1,), types.int64)[0]
    ints = numba.carray(data_, (n_data,), types.int64)
    floats = numba.carray(data_, (n_data,), types.double)
    x = numba.carray(x_, (dim,)).copy()
    _, value, gradient = _evaluate(x, ints, floats)
    numba.carray(value_, (1,))[0] = value
    numba.carray(gradient_, (dim,))[:] = gradient
    # As nutpie's own functions say: 3 and 4 are steps that diverge.
    if not np.all(np.isfinite(gradient)):
        return 3
    return 0 if np.isfinite(value) else 4


@numba.cfunc(_EXPAND, cache=True, error_model="numpy", nopython=True)
def _expand(dim, expanded, x_, out_, data_):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    n_data = numba.carray(data_, (1,), types.int64)[0]
    ints = numba.carray(data_, (n_data,), types.int64)
    floats = numba.carray(data_, (n_data,), types.double)
    point, _, _ = _evaluate(numba.carray(x_, (dim,)).copy(), ints, floats)
    numba.carray(out_, (expanded,))[:] = point
    return 0
