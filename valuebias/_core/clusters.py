"""Keep what this process does out of a Dask cluster that it happens to be connected to."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["by_ourselves"]


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
