"""The contract suite: tests that every backend passes, for use with pytest."""

from __future__ import annotations

from valuebias.backends.testing.suite import BackendTests

__all__ = ["BackendTests"]
