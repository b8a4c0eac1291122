"""Read and write datasets: long tables and wide ones, netCDF and Zarr."""

from __future__ import annotations

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
