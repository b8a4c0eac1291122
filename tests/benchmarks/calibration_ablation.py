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
import tempfile
from pathlib import Path

# Before numpy is loaded: processes of one thread each.
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
import pandas as pd
from ablation_worlds import WORLDS, design, one, summarise
from conditions import conditions
from many import results, run_all
from shares import share

from valuebias.atomic import atomic_path

FILE = "calibration_ablation.jsonl"
PACKAGES = {"nutpie": "nutpie", "numpy": "NumPy"}


def main() -> None:
    """Simulate what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=10, help="simulations a line")
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=list(WORLDS))
    parser.add_argument("--jobs", type=int, default=1, help="how many processes")
    parser.add_argument("--store", type=Path, help="folder in which results are kept")
    parser.add_argument("--table", action="store_true", help="run nothing")
    parser.add_argument("--out", type=Path, help="write the table here, too")
    args = parser.parse_args()
    wanted = [(name, seed) for seed in range(args.n) for name in args.worlds]
    with tempfile.TemporaryDirectory() as scratch:
        store = (args.store or Path(scratch)) / FILE
        if not args.table:
            run_all(one, wanted, store=store, design=design, jobs=args.jobs)
        chosen = set(wanted)
        found = [r for r in results(store, design) if (r["name"], r["seed"]) in chosen]
    if not found:
        sys.stdout.write("no results\n")
        return
    text = page(summarise(found))
    sys.stdout.write(text)
    if args.out:
        with atomic_path(args.out) as part:
            part.write_text(text, encoding="utf-8")


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
