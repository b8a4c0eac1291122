"""How often 90 % intervals hold the true lean of pairs that share models.

Grids of 4 × 4 pairs are simulated from eight models; each is fitted as what it is and as if its
sixteen pairs were independent. Prints one table.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import xarray as xr

import valuebias

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from pair_grid import TRUE_LEAN, grid

GRIDS = 50


def overall(pairs: xr.Dataset) -> tuple[bool, float, float]:
    """Whether the interval of the signed lean holds the truth; its posterior mean and SD."""
    made = valuebias.fit(
        pairs, outcome="raw", draws=250, tune=250, chains=2, seed=1, progress=False
    ).contrasts(prob=0.9)
    row = made[(made["estimand"] == "overall lean") & (made["framing"] == "signed")].iloc[0]
    return bool(row["lower"] <= TRUE_LEAN <= row["upper"]), row["mean"], row["sd"]


def main() -> None:
    """Simulate, fit, print."""
    found: dict[str, list[tuple[bool, float, float]]] = {"models shared": [], "independent": []}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", valuebias.ValueBiasWarning)
        for seed in range(100, 100 + GRIDS):
            pairs = grid(seed)
            found["models shared"].append(overall(pairs))
            found["independent"].append(overall(pairs.drop_vars(["numerator", "denominator"])))
    sys.stdout.write(
        "| pairs taken as | intervals that hold the truth | posterior SD | SD of means |\n"
    )
    sys.stdout.write("|---|---|---|---|\n")
    for name, rows in found.items():
        inside, means, sds = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
        sys.stdout.write(
            f"| {name} | {inside.sum():.0f} of {GRIDS} | {sds.mean():.2f} | {means.std():.2f} |\n"
        )


if __name__ == "__main__":
    main()
