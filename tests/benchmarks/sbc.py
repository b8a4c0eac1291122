"""Whether the posterior is right: ranks of what was drawn from the prior among posterior draws.

    python tests/benchmarks/sbc.py                       # 20 draws from the prior a design, minutes
    python tests/benchmarks/sbc.py --n 500 --jobs 2 --store tests/benchmarks/results \\
        --out tests/benchmarks/sbc.md --figure docs/_static/sbc.png        # an hour and more
    python tests/benchmarks/sbc.py --designs bases --n 500 --store tests/benchmarks/results --table

The designs are in tests/support/prior_draws.py; an incomplete one takes ten times as long as a
complete one. With --store results are kept, so that a run that was stopped goes on (with --table
nothing is run); a change of the package goes unseen: use another folder then.
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
from conditions import conditions
from many import add_options, show, simulated
from matplotlib.figure import Figure
from prior_draws import DESIGNS
from sbc_ranks import GROUPS, N_RANKS, design, group_of, one, ranks_of
from uniformity import make_bands

from valuebias._core.atomic import atomic_path

FILE = "sbc.jsonl"
PACKAGES = {"numpy": "NumPy"}
PROB = 0.95


def main() -> None:
    """Simulate what is missing, print a table and draw the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_options(parser, n=20, what="draws from the prior a design")
    parser.add_argument("--designs", nargs="+", choices=DESIGNS, default=list(DESIGNS))
    parser.add_argument("--figure", type=Path, help="draw the figure here")
    args = parser.parse_args()
    wanted = [(name, seed) for seed in range(args.n) for name in args.designs]
    made = simulated(one, wanted, args, file=FILE, design=design)
    found = {name: [r for r in made if r["name"] == name] for name in args.designs}
    found = {name: part for name, part in found.items() if part}
    if not found:
        sys.stdout.write("no results\n")
        return
    text = page(found)
    show(text, args.out)
    if args.figure:
        with atomic_path(args.figure) as part:
            draw(found).savefig(part, dpi=150)


def page(found: dict[str, list[dict[str, Any]]]) -> str:
    """Lay out the table: a line a design."""
    n = max(len(part) for part in found.values())
    names = " ".join(f"'{name}'" for name in found)
    asked = f"python tests/benchmarks/sbc.py --designs {names} --n {n}"
    lines = [
        f"{conditions(asked, PACKAGES)}.",
        "",
        "| design | draws from the prior | parameters | outside their 95 % band | expected "
        "| smallest p | times the number of parameters | divergent |",
        "|---" * 8 + "|",
    ]
    for name, part in found.items():
        names, ranks = ranks_of(part)
        p = make_bands(len(part), N_RANKS).p(ranks)
        worst = int(p.argmin())
        divergent = np.mean([result["diverging"] > 0 for result in part])
        lines.append(
            f"| {name} | {len(part)} | {len(names)} | {int((p < 1 - PROB).sum())} "
            f"| {(1 - PROB) * len(names):.1f} | {p[worst]:.4f} (`{names[worst]}`) "
            f"| {min(1.0, p[worst] * len(names)):.2f} | {100 * divergent:.1f} % of fits |"
        )
    return "\n".join(lines) + "\n"


def draw(found: dict[str, list[dict[str, Any]]]) -> Figure:
    """Draw how far the distribution of each parameter's ranks is from uniform."""
    seen = {group_of(name) for part in found.values() for name in part[0]["ranks"]}
    groups = [group for group in GROUPS if group in seen]
    figure = Figure(figsize=(2.2 * len(groups), 1.7 * len(found)), layout="constrained")
    panels = figure.subplots(len(found), len(groups), sharex=True, sharey=True, squeeze=False)
    for row, (name, part) in zip(panels, found.items(), strict=True):
        bands = make_bands(len(part), N_RANKS)
        names, ranks = ranks_of(part)
        curves = bands.cumulative(ranks) / len(part) - bands.points
        outside = bands.p(ranks) < 1 - PROB
        lower, upper = (limit - bands.points for limit in bands.limits(PROB))
        for axes, group in zip(row, groups, strict=True):
            axes.fill_between(bands.points, lower, upper, color="0.85", linewidth=0, step="mid")
            for key, curve, far in zip(names, curves, outside, strict=True):
                if group_of(key) == group:
                    axes.plot(bands.points, curve, color="C1" if far else "C0", linewidth=0.7)
            axes.tick_params(labelsize=7)
        row[0].set_ylabel(name, fontsize=8)
    for axes, group in zip(panels[0], groups, strict=True):
        axes.set_title(group, fontsize=9)
    figure.supxlabel("rank of the truth among the posterior draws, as a share", fontsize=9)
    figure.supylabel("cumulative share of simulations, less what is due", fontsize=9)
    return figure


if __name__ == "__main__":
    main()
