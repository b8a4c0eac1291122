"""What lies elsewhere in earlier builds, which benchmarks measure beside the build at hand."""

from __future__ import annotations

try:
    from valuebias.datasets.simulate import simulate
except ModuleNotFoundError:
    from valuebias.simulate import simulate

__all__ = ["simulate"]
