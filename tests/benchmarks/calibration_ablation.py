"""How often the 90 % intervals of an ablation hold what was planted, and whether a fit warns.

    python tests/benchmarks/calibration_ablation.py               # 10 simulations a line, minutes
    python tests/benchmarks/calibration_ablation.py --n 200 --jobs 2 \\
        --store tests/benchmarks/results --out tests/benchmarks/calibration_ablation.md   # hours
    python tests/benchmarks/calibration_ablation.py --worlds levels closes

What is simulated is said in tests/support/ablation_worlds.py. With --store results are kept, so
that a run that was stopped goes on (with --table nothing is run); a change of the package itself
goes unseen: use another folder then.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

# Before numpy is loaded: processes of one thread each.
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
import pandas as pd
from ablation_worlds import WORLDS, design, one, summarise
from conditions import conditions
from many import add_options, show, simulated
from shares import share

FILE = "calibration_ablation.jsonl"
PACKAGES = {"nutpie": "nutpie", "numpy": "NumPy"}


def main() -> None:
    """Simulate what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser, n=10, what="simulations a line")
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=list(WORLDS))
    args = parser.parse_args()
    wanted = [(name, seed) for seed in range(args.n) for name in args.worlds]
    found = simulated(one, wanted, args, file=FILE, design=design)
    if not found:
        sys.stdout.write("no results\n")
        return
    text = page(summarise(found))
    show(text, args.out)


def page(table: pd.DataFrame) -> str:
    """Lay out the table, a line a world, with what it was made by."""
    command = f"python tests/benchmarks/calibration_ablation.py --n {table['n'].max()}"
    lines = [
        f"{conditions(command, PACKAGES)}: shares of simulations ± their standard error, "
        f"{table['seconds'].mean():.1f} s a fit.",
        "",
        "| simulated | simulations | coverage of the slope | of the closing point "
        "| of the gap at the largest number of pairs | mean probability that it never closes "
        "| a note says so |",
        "|---" * 7 + "|",
    ]
    for name, row in table.iterrows():
        world, n = WORLDS[str(name)], int(row["n"])
        told = share(row["told"], n, percent=True) if world.note else "–"
        held = " | ".join(share(row[what], n) for what in ("slope", "closing", "last"))
        lines.append(f"| {world.title} | {n} | {held} | {row['never']:.2f} | {told} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
