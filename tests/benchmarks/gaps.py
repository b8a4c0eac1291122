"""How long fits of scores with gaps take, and how much memory, beside an earlier build.

    python tests/benchmarks/gaps.py                                   # some half an hour
    python tests/benchmarks/gaps.py --out tests/benchmarks/gaps.md    # for docs
    python tests/benchmarks/gaps.py --only "Big Two, 10 % missing" --rounds 1

Simulated scores of 10 models, 54 prompts and 1,000 words with 1, 60 and 99 % of the cells dropped
at random are fitted. Times are of the processor, since chains run in threads, and are divided by
the bulk effective sample size of the SDs and the headline, of which the median is taken. The Big
Two scores and 1.1 million simulated ones are fitted as users do, with default settings, and their
times divided by the headline's effective sample size; needs the released scores: set VALUEBIAS_DATA
or be online. For memory, 5.4 million cells are fitted: what the process needs at its peak more than
before the scores were made. The earlier build is commit f713f0a, unpacked into a temporary folder;
it needs the repository's history. Each build has a process of its own with its code compiled, and
they take turns, the order changing from round to round, so that other work on the machine hits them
alike.
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
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from conditions import conditions
from earlier_build import environment_of, unpack

EARLIER = "f713f0a"
# Share of the cells that is missing, number of words, rounds, and what is asked of the ratio.
CASES: dict[str, tuple[float, int, int, float]] = {
    "1 % missing": (0.01, 1000, 5, 1.0),
    "60 % missing": (0.60, 1000, 5, 4.0),
    "99 % missing": (0.99, 1000, 2, 4.0),
    "memory, complete": (0.0, 10_000, 1, 30.0),
    "memory, 1 % missing": (0.01, 10_000, 1, 30.0),
    "memory, 60 % missing": (0.60, 10_000, 1, 30.0),
}
# Fits with default settings: scores, what is dropped (a share of cells, or a word of one model),
# rounds, and what is asked of the ratio.
USUAL: dict[str, tuple[str, float | str, int, float]] = {
    "Big Two, 10 % missing": ("big2", 0.1, 3, 4.0),
    "Big Two, a word that one model lacks": ("big2", "word", 2, 4.0),
    "simulated, 1,101,600 cells, 10 % missing": ("simulated", 0.1, 2, 4.0),
}
PACKAGES = {"numpy": "numpy", "numba": "numba", "xarray": "xarray"}
WORKER = """
import json, resource, sys, time, warnings
warnings.simplefilter("ignore")
import numpy as np
import valuebias
from either_build import simulate

def scores(n_words, missing):
    words = {"agency": n_words // 2, "communion": n_words // 2}
    return simulate(n_models={"Gemma": 4, "Llama": 6}, n_words=words, missing=missing, seed=1)

def run(data, seed, draws=100):
    return valuebias.fit(data, draws=draws, tune=100, chains=2, seed=seed, progress=False)

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def usual_scores(kind, missing):
    if kind == "big2":
        data = valuebias.datasets.load("christian2026-big2")
    else:
        words = dict.fromkeys(["care", "fairness", "loyalty", "authority", "sanctity"], 408)
        data = simulate(n_words=words, overlap=0.02, seed=1)
    values = data["score"].copy()
    if missing == "word":
        values[0, :, 7] = np.nan
        return data.assign(score=values)
    return data.assign(score=values.where(np.random.default_rng(1).random(values.shape) >= missing))

def usual(kind, missing, seed):
    data = usual_scores(kind, missing)
    valuebias.fit(data, draws=20, tune=20, chains=2, seed=1, progress=False)  # compiles
    start = time.process_time()
    fit = valuebias.fit(data, seed=seed, progress=False)
    seconds = time.process_time() - start
    headline = fit.contrasts().iloc[0]
    ess, mean, sd = (float(headline[name]) for name in ("ess_bulk", "mean", "sd"))
    return {"seconds": seconds, "ess": ess, "mean": mean, "sd": sd}

asked = json.loads(sys.stdin.read())
if isinstance(asked[0], str):
    print(json.dumps(usual(*asked)))
    sys.exit()
missing, n_words, seed, memory = asked
try:
    # Compiles; the more is missing, the other way the missing cells are drawn.
    run(scores(20, missing and min(max(missing, 0.3), 0.9)), 1, draws=20)
    if memory:
        before = peak()
        data = scores(n_words, missing)
        made = peak()
        run(data, seed)
        answer = {"bytes": (peak() - before) / data["score"].size, "made": made - before}
    else:
        data = scores(n_words, missing)
        start = time.process_time()
        fit = run(data, seed)
        seconds = time.process_time() - start
        ess = fit.summary().filter(regex="^sd", axis=0)["ess_bulk"].tolist()
        headline = fit.contrasts().iloc[0]
        answer = {
            "seconds": seconds, "ess": float(np.median([*ess, headline["ess_bulk"]])),
            "mean": headline["mean"], "sd": headline["sd"],
        }
except valuebias.ValueBiasError as error:
    answer = {"refused": str(error)}
print(json.dumps(answer))
"""


def main() -> None:
    """Run the builds in turn and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=[*USUAL, *CASES], action="append")
    parser.add_argument("--rounds", type=int, help="how often each case runs")
    parser.add_argument("--out", type=Path, help="write the table here, too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if not unpack(Path(folder), EARLIER):
            sys.stdout.write(f"skipped: this is no repository with the commit {EARLIER}\n")
            return
        builds = {"earlier": Path(folder) / "earlier", "now": None}
        load = [os.getloadavg()[0]]
        runs: dict[str, list[dict[str, dict[str, Any]]]] = {}
        for case in args.only or [*USUAL, *CASES]:
            runs[case] = []
            for i in range(args.rounds or (USUAL.get(case) or CASES[case])[2]):
                order = list(builds) if i % 2 else list(builds)[::-1]
                runs[case].append({name: ask(builds[name], case, i) for name in order})
                load.append(os.getloadavg()[0])
    text = f"{head(load)}\n\n{tables(runs)}"
    sys.stdout.write(f"{text}\n")
    if args.out:
        args.out.write_text(f"{text}\n", encoding="utf-8")


def ask(build: Path | None, case: str, seed: int) -> dict[str, Any]:
    """Fit a case in a process of its own."""
    if case in USUAL:
        asked = [*USUAL[case][:2], seed + 1]
    else:
        asked = [*CASES[case][:2], seed + 1, case.startswith("memory")]
    environment = environment_of(build)
    done = subprocess.run(
        [sys.executable, "-c", WORKER],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def head(load: list[float]) -> str:
    """Say on what, with what, and what to look for."""
    return (
        f"{conditions('python tests/benchmarks/gaps.py', PACKAGES)}, load {min(load):.1f} to "
        f"{max(load):.1f}. By default 4 chains of 1000 draws after 1000 tuning steps; where cells "
        f"are counted in the head, simulated scores of 10 models and 54 prompts, 2 chains of 100 "
        f"draws after 100 tuning steps. The builds in turn, nothing to be compiled; ratios within "
        f"a round, above 1 where the build at hand is better than commit {EARLIER}."
    )


def tables(runs: dict[str, list[dict[str, dict[str, Any]]]]) -> str:
    """Lay times and memory out."""
    columns = (
        "processor seconds, earlier | now | ratio | {}, earlier | now "
        "| ratio at equal effective size | range | bound |"
    )
    usual, times = (
        [f"| {title} | {columns.format(size)}", "|---|---|---|---|---|---|---|---|---|"]
        for title, size in (
            ("by default", "effective draws of the headline"),
            ("540,000 cells", "effective draws"),
        )
    )
    memory = [
        "| 5,400,000 cells | bytes a cell at the peak, earlier | now | bound |",
        "|---|---|---|---|",
    ]
    for case, rounds in runs.items():
        bound = f"{(USUAL.get(case) or CASES[case])[3]:g}"
        refused = [name for name in ("earlier", "now") if "refused" in rounds[0][name]]
        if case.startswith("memory"):
            shown = [
                "refused" if name in refused else f"{rounds[0][name]['bytes']:.0f}"
                for name in ("earlier", "now")
            ]
            memory.append(f"| {' | '.join([case.removeprefix('memory, '), *shown, bound])} |")
        else:
            row = f"| {' | '.join([case, *cells(rounds, refused), bound])} |"
            (usual if case in USUAL else times).append(row)
    parts = ["\n".join(table) for table in (usual, times, memory) if len(table) > 2]
    return "\n\n".join(parts)


def cells(rounds: list[dict[str, dict[str, Any]]], refused: list[str]) -> list[str]:
    """Give one case's times, effective sizes and their ratios."""

    def median(name: str, what: str) -> str:
        if name in refused:
            return "refused"
        return f"{statistics.median(one[name][what] for one in rounds):.3g}"

    def ratios(of: Any) -> list[float]:
        if refused:
            return []
        return sorted(of(one["earlier"]) / of(one["now"]) for one in rounds)

    plain = ratios(lambda one: one["seconds"])
    equal = ratios(lambda one: one["seconds"] / one["ess"])
    return [
        median("earlier", "seconds"),
        median("now", "seconds"),
        f"{statistics.median(plain):.1f}" if plain else "",
        median("earlier", "ess"),
        median("now", "ess"),
        f"**{statistics.median(equal):.1f}**" if equal else "",
        f"{equal[0]:.1f} to {equal[-1]:.1f}" if equal else "",
    ]


if __name__ == "__main__":
    main()
