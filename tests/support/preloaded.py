"""A backend whose model is loaded already, so that benchmarks do not time loading."""

from __future__ import annotations

from typing import Any

from valuebias.backends import Backend

__all__ = ["Preloaded"]


class Preloaded(Backend):
    """Keeps the model that another backend loads, for one source.

    Parameters
    ----------
    engine : Backend
        Loads it, once.
    """

    name = "preloaded"
    description = "for benchmarks"

    def __init__(self, engine: Backend) -> None:
        self.engine = engine
        self.model: Any = None

    def available(self) -> str | None:
        """Say that it can run."""
        return None

    def load(self, source: Any) -> Any:
        """Give the model, which stays loaded."""
        if self.model is None:
            self.model = self.engine.load(source)
            self.model.close = lambda: None
        return self.model
