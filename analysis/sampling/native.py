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
# What stands at the head of the data: total length, where each array begins, and its end, and how
# many numbers the kernel works in.
_N_ARRAYS = 6
_HEAD = 3 + _N_ARRAYS


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
    nothing = np.zeros(0)
    moved = [nothing if array is None else array for array in (mode, axes)]
    flat = [np.ascontiguousarray(array).ravel() for array in (*posterior.arguments, *moved)]
    bits = [part if part.dtype == np.int64 else part.astype(float).view(np.int64) for part in flat]
    begins = _HEAD + np.cumsum([0, *(len(part) for part in bits)])
    head = [begins[-1], *begins, len(posterior.room())]
    return np.concatenate([np.array(head, dtype=np.int64), *bits])


@numba.njit(cache=True, error_model="numpy", nogil=True)
def _evaluate(x, ints, floats):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Log-density and gradient at the sampler's ``x``, by the data of :func:`_flattened`."""
    n, begins = len(x), ints[1 : 2 + _N_ARRAYS]
    mode, axes = floats[begins[4] : begins[5]], floats[begins[5] : begins[6]]
    point = x
    if len(mode):
        point = np.empty(n)
        for i in range(n):
            point[i] = mode[i]
            for j in range(n):
                point[i] += axes[i * n + j] * x[j]
    gradient = np.empty(n)
    value = log_posterior(
        point,
        gradient,
        ints[begins[0] : begins[1]],
        floats[begins[1] : begins[2]],
        ints[begins[2] : begins[3]],
        floats[begins[3] : begins[4]],
        np.empty(ints[2 + _N_ARRAYS]),
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
