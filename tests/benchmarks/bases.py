"""How long a fit with effects of bases takes, beside an earlier fit without them in the same run.

    python tests/benchmarks/bases.py                                        # a minute or two
    python tests/benchmarks/bases.py --out tests/benchmarks/bases.md        # for docs

Both fit the paper's Big Two scores, 142,020, with the same draws and chains. The earlier one is of
commit f713f0a, the last without bases, unpacked into a temporary folder; it needs the repository's
history. Every fit runs in a process of its own whose compilation cache is warm, the cases in turn,
so that other work on the machine hits them alike. The fit with bases is to take at most 1.3 times
as long. Needs the released scores: set VALUEBIAS_DATA or be online.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from conditions import conditions
from earlier_build import environment_of, unpack

ROOT = Path(__file__).parents[2]

EARLIER = "f713f0a"
BOUND = 1.3
CASES = {
    "earlier": f"commit {EARLIER}, without bases",
    "plain": "now, `base=None, spread=False`: the same model",
    "bases": "now, with bases and spreads",
}
PACKAGES = {"nutpie": "nutpie", "numba": "numba", "numpy": "numpy"}
FIT = """
import json, os, sys, time, warnings
import valuebias, nutpie
warnings.simplefilter("ignore")
options = json.loads(sys.argv[1])
data = valuebias.datasets.load("christian2026-big2")
valuebias.fit  # loads the fitting code, so that imports are not timed
def processor():
    spent = os.times()
    return spent.user + spent.system
out = {}
for name in ("", "again "):
    wall, cpu = time.perf_counter(), processor()
    fit = valuebias.fit(data, draws=1000, chains=4, seed=1, progress=False, **options)
    out[name + "wall"] = time.perf_counter() - wall
    out[name + "processor"] = processor() - cpu
table = fit.contrasts()
out |= {"rhat": float(table["rhat"].max()), "ess": float(table["ess_bulk"].min())}
print(json.dumps(out))
"""


def main() -> None:
    """Run the cases in turn and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="how often each case runs")
    parser.add_argument("--out", type=Path, help="write the table here, too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if not unpack(Path(folder), EARLIER):
            sys.stdout.write(f"skipped: this is no repository with the commit {EARLIER}\n")
            return
        for case in CASES:  # fills the caches
            run(case, Path(folder))
        load = [os.getloadavg()[0]]
        rounds = []
        for _ in range(args.rounds):
            rounds.append({case: run(case, Path(folder)) for case in CASES})
            load.append(os.getloadavg()[0])
    text = f"{head(args.rounds, load)}\n\n{table(rounds)}"
    sys.stdout.write(f"{text}\n")
    if args.out:
        args.out.write_text(f"{text}\n", encoding="utf-8")


def run(case: str, folder: Path) -> dict[str, float]:
    """Fit twice in a fresh process; say how long each fit took and how good the draws are."""
    options = {"base": None, "spread": False} if case == "plain" else {}
    environment = environment_of(folder / "earlier" if case == "earlier" else None)
    environment["NUMBA_CACHE_DIR"] = str(folder / f"cache of {case}")
    command = [sys.executable, "-c", FIT, json.dumps(options)]
    done = subprocess.run(
        command, cwd=folder, env=environment, check=True, capture_output=True, text=True
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def head(rounds: int, load: list[float]) -> str:
    """Say on what, with what, and what to look for."""
    return (
        f"{conditions('python tests/benchmarks/bases.py', PACKAGES)}, load {min(load):.1f} to "
        f"{max(load):.1f}. Medians of {rounds} rounds, each case in turn in a process of its own "
        "with a warm compilation cache; ratios to the earlier fit within a round. “Again” is a "
        f"second fit in the same process. Bound: {BOUND} times the earlier fit."
    )


def table(rounds: list[dict[str, dict[str, float]]]) -> str:
    """Lay medians and ratios out."""
    what = ("wall", "processor", "again wall", "again processor")
    lines = [
        "| fit | seconds | processor seconds | again: seconds | again: processor seconds "
        "| R-hat ≤ | bulk ESS ≥ |",
        "|---|---|---|---|---|---|---|",
    ]
    for case, title in CASES.items():
        cells = []
        for key in what:
            median = statistics.median(one[case][key] for one in rounds)
            ratio = statistics.median(one[case][key] / one["earlier"][key] for one in rounds)
            cells.append(f"{median:.2f} (×{ratio:.2f})")
        rhat, ess = rounds[0][case]["rhat"], rounds[0][case]["ess"]
        lines.append(f"| {title} | {' | '.join(cells)} | {rhat:.3f} | {ess:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
