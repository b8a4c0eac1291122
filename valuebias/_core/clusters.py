"""Keep what this process does out of a Dask cluster that it happens to be connected to."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from valuebias.errors import ValueBiasError

__all__ = ["by_ourselves", "read_orders"]


def read_orders(orders: bytes, where: str, advice: str) -> Any:
    """Read on a worker what the client has told it, which may need what only the client has."""
    try:
        return pickle.loads(orders)  # noqa: S301 -- from the client, as tasks are
    except Exception as error:
        raise ValueBiasError(
            f"The worker {where} cannot read what it is to do ({type(error).__name__}: {error}). "
            f"{advice}"
        ) from error


@contextmanager
def by_ourselves() -> Iterator[None]:
    """Write a netCDF file here: xarray would lock it by way of the cluster's scheduler.

    That refuses the lock of a file that is no name but an object in memory.
    """
    if "distributed" not in sys.modules:
        yield
        return
    import dask

    with dask.config.set(scheduler="synchronous"):
        yield
