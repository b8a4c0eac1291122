"""Shares of simulations, written with their standard errors."""

from __future__ import annotations

import numpy as np

__all__ = ["share"]


def share(p: float, n: int, *, percent: bool = False) -> str:
    """Write a share of n simulations with its standard error."""
    # A share of 0 or 1 has an error too: that of one simulation more that went the other way.
    near = np.clip(p, 1 / (n + 1), n / (n + 1))
    error = float(np.sqrt(near * (1 - near) / n))
    return f"{100 * p:.0f} ± {100 * error:.0f} %" if percent else f"{p:.2f} ± {error:.2f}"
