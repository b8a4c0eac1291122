"""Settings of a reproduction."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from valuebias.errors import ValueBiasError

__all__ = ["Settings"]


@dataclass(frozen=True, slots=True)
class Settings:
    """Numbers that the items depend on, each item on some of them.

    Examples
    --------
    >>> Settings(draws=1000, chains=4, seed=1, n_permutations=9999).subset("seed", "draws")
    {'seed': 1, 'draws': 1000}
    """

    draws: int  # draws, chains: posterior draws per chain, and chains
    chains: int
    seed: int  # of the draws and of the permutation tests
    n_permutations: int  # shuffles of each permutation test

    def __post_init__(self) -> None:
        """Check that all are whole numbers in range."""
        for name, least in {"draws": 4, "chains": 1, "seed": 0, "n_permutations": 1}.items():
            value = getattr(self, name)
            whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
            if not whole or value < least or value >= 2**32:
                raise ValueBiasError(
                    f"{name} is {value!r}; expected a whole number of {least} or more."
                )

    def subset(self, *names: str) -> dict[str, int]:
        """Select settings by name."""
        return {name: int(getattr(self, name)) for name in names}
