"""How often intervals hold the truth where no effect was planted, and what the notes say.

    python tests/benchmarks/calibration.py                       # 20 simulations a line, minutes
    python tests/benchmarks/calibration.py --n 200 --jobs 2 --store tests/benchmarks/results \\
        --out tests/benchmarks/calibration.md                    # half an hour and more
    python tests/benchmarks/calibration.py --rows clustered copies --halves known
    python tests/benchmarks/calibration.py --n 200 --store tests/benchmarks/results --table

What is simulated is said in tests/support/violations.py. With --store results are kept, so that a
run that was stopped goes on (with --table nothing is run); what was simulated or fitted in another
way is done again, but a change of the package itself goes unseen: use another folder then. The
thousand draws of a fit give probabilities of the direction near .975 a standard error of .005, up
as often as down.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

# Before numpy is loaded: processes of one thread each.
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
import numpy as np
import pandas as pd
from conditions import conditions
from many import add_options, show, simulated
from shares import share
from violations import HALVES, KINDS, design, one, summarise, tasks

FILE = "calibration.jsonl"
PACKAGES = {"nutpie": "nutpie", "numpy": "NumPy"}


def main() -> None:
    """Simulate what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser, n=20, what="simulations a line")
    parser.add_argument("--rows", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--halves", nargs="+", choices=HALVES, default=list(HALVES))
    args = parser.parse_args()
    wanted = tasks(args.n, args.rows, args.halves)
    found = simulated(one, wanted, args, file=FILE, design=design)
    if not found:
        sys.stdout.write("no results\n")
        return
    text = page(summarise(found))
    show(text, args.out)


def page(table: pd.DataFrame) -> str:
    """Lay the tables out, with what they were made by."""
    n = f"{table['n'].min()}" if table["n"].nunique() == 1 else f"{table['n'].min()} or more"
    command = f"python tests/benchmarks/calibration.py --n {table['n'].max()}"
    head = (
        f"{conditions(command, PACKAGES)}: {n} simulations a line, ± their standard error, "
        f"{table['seconds'].mean():.1f} s a fit."
    )
    return "\n\n".join([head, of_difference(table), *of_words(table)]) + "\n"


def of_difference(table: pd.DataFrame) -> str:
    """Lay out the difference between families: a line a kind, both halves side by side."""
    lines = [
        "| simulated | known: coverage | little doubt | note all the same "
        "| not known: coverage | little doubt | a note says so |",
        "|---" * 7 + "|",
    ]
    for key, kind in KINDS.items():
        cells = [
            cell(table, f"{key}, {half}", what)
            for half, notes in zip(HALVES, ("any_note", "told"), strict=True)
            for what in ("covered", "doubt", notes)
        ]
        if not kind.note and cells[-1] != "–":
            cells[-1] = "cannot be seen"
        if any(cell != "–" for cell in cells):
            lines.append(f"| {kind.title} | {' | '.join(cells)} |")
    return "\n".join(lines)


def of_words(table: pd.DataFrame) -> list[str]:
    """Lay out what is said of words; nothing where it was not asked."""
    names = [f"clustered, {half}" for half in HALVES if f"clustered, {half}" in table.index]
    if not names:
        return []
    lines = [
        "| `words()`, clustered as the paper's ten | ten largest: coverage | all words: coverage "
        "| certain, over all | of these with the wrong sign | P(direction) ≥ .975, over all "
        "| of these with the wrong sign | ten largest: size over truth |",
        "|---" * 8 + "|",
    ]
    for name in names:
        row = table.loc[name]
        lines.append(
            f"| bases {'known' if name.endswith(', known') else 'not known'} "
            f"| {row['top_covered']:.2f} | {row['words_covered']:.2f} "
            f"| {row['certain'] * row['n']:.0f} | {percent(row['certain_wrong'])} "
            f"| {row['likely'] * row['n']:.0f} | {percent(row['likely_wrong'])} "
            f"| {row['exaggeration']:.1f} |"
        )
    return ["\n".join(lines)]


def cell(table: pd.DataFrame, name: str, what: str) -> str:
    """Write a share of simulations, or that there were none."""
    if name not in table.index:
        return "–"
    row: Any = table.loc[name]
    return share(float(row[what]), int(row["n"]), percent=what != "covered")


def percent(value: float) -> str:
    """Write a share of what may be nothing."""
    return "–" if np.isnan(value) else f"{100 * value:.0f} %"


if __name__ == "__main__":
    main()
