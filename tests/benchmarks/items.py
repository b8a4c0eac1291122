"""How long fits and statistics of contrast sets take, and whether the fits converge.

    python tests/benchmarks/items.py                                  # a minute
    python tests/benchmarks/items.py --out tests/benchmarks/items.md  # for docs

Simulated scores in which models, items, items by family and single scores differ. A first small fit
loads what is compiled and is not counted. Seconds are of a fit with default settings, by the clock:
asked are at most 20 for 50 models × 2,000 items × 4 variants, with no R-hat above 1.01.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from conditions import conditions
from contrast_worlds import world

import valuebias

SIZES = [(10, 100, 2), (10, 2000, 4), (50, 200, 4), (50, 2000, 4)]
MOST_SECONDS, MOST_RHAT = 20.0, 1.01
PACKAGES = {"numpy": "numpy", "numba": "numba", "xarray": "xarray"}


def measured(n_models: int, n_items: int, n_variants: int) -> tuple[float, float, float]:
    """Give the seconds of a fit, its largest R-hat, and the seconds of the statistics."""
    families = [n_models // 5] * 5
    made = world(1, n_items=n_items, variants="abcdefgh"[:n_variants], families=families, gap=0.5)
    start = time.perf_counter()
    fit = valuebias.fit(made.scores, seed=1, progress=False)
    fit.headline()
    seconds = time.perf_counter() - start
    rhat = max(float(fit.summary()["rhat"].max()), float(fit.contrasts()["rhat"].max()))
    start = time.perf_counter()
    valuebias.contrast_statistics(made.scores)
    return seconds, rhat, time.perf_counter() - start


def main() -> int:
    """Print the table, or write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    out = parser.parse_args().out
    warnings.simplefilter("ignore")
    measured(5, 20, 2)
    lines = [
        "| models × items × variants | fit, s | largest R-hat | statistics, s |",
        "|---|---:|---:|---:|",
    ]
    held = True
    for size in SIZES:
        seconds, rhat, plain = measured(*size)
        held &= seconds <= MOST_SECONDS and rhat <= MOST_RHAT
        name = " × ".join(f"{n:,}" for n in size)
        lines.append(f"| {name} | {seconds:.1f} | {rhat:.3f} | {plain:.1f} |")
    lines += ["", conditions("python tests/benchmarks/items.py", PACKAGES)]
    text = "\n".join(lines) + "\n"
    if out is None:
        sys.stdout.write(text)
    else:
        out.write_text(text, encoding="utf-8")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
