"""How long a folder of wide tables takes to read, beside an earlier build.

    python tests/benchmarks/reading.py                                          # some minutes
    python tests/benchmarks/reading.py --out tests/benchmarks/reading.md        # for docs

Ten CSV files, a model each, with 20,000 words × 54 prompts, are read and validated by the build at
hand and by commit f713f0a, the last before people's own files were read as they have them; each
time in a fresh process and in turn, the order changing from round to round. Both have to give the
same dataset, by the sum of its scores, words and models. Processor seconds and peaks of memory are
compared; the files are in the system's cache by then. Needs the repository's history.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from conditions import conditions
from earlier_build import run_worker, unpack

EARLIER = "f713f0a"
N_MODELS, N_WORDS = 10, 20_000
FASTER, NO_MORE = 1 / 3, 1.0
PACKAGES = {"pyarrow": "pyarrow", "xarray": "xarray", "numpy": "numpy"}
WORKER = """
import hashlib, json, resource, sys, time, warnings
warnings.simplefilter("ignore")
import valuebias
folder, models = json.loads(sys.argv[1])
valuebias.read_scores
start = time.process_time()
scores = valuebias.validate(valuebias.read_scores(folder, models=models))
seconds = time.process_time() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
digest = hashlib.sha256(scores["score"].to_numpy().tobytes())
for dim in ("model", "prompt", "response"):
    digest.update(json.dumps(scores[dim].to_numpy().tolist()).encode())
print(json.dumps([seconds, peak, digest.hexdigest()]))
"""

Run = tuple[float, float, str]


def main() -> None:
    """Write the files, read them by both builds in turn, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="how often each build reads")
    parser.add_argument("--words", type=int, default=N_WORDS, help="of each file")
    parser.add_argument("--out", type=Path, help="write the table here, too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not unpack(folder, EARLIER):
            sys.stdout.write(f"skipped: this is no repository with the commit {EARLIER}\n")
            return
        builds = {"earlier": folder / "earlier", "now": None}
        asked = write(folder, args.words)
        load = [os.getloadavg()[0]]
        runs: list[dict[str, Run]] = []
        for i in range(args.rounds):
            order = list(builds) if i % 2 else list(builds)[::-1]
            runs.append({one: ask(builds[one], asked) for one in order})
            load.append(os.getloadavg()[0])
            if runs[-1]["now"][2] != runs[-1]["earlier"][2]:
                raise SystemExit("the builds read different scores")
        megabytes = sum(path.stat().st_size for path in Path(asked[0]).iterdir()) / 1e6
        text = f"{head(args.rounds, args.words, megabytes, load)}\n\n{table(runs)}"
    sys.stdout.write(f"{text}\n")
    if args.out:
        args.out.write_text(f"{text}\n", encoding="utf-8")


def write(folder: Path, n_words: int) -> tuple[str, str]:
    """Write a table a model, and that of the models; give the folder and the path."""
    import valuebias

    prompts = [str(name) for name in valuebias.prompts().table.index]
    rng = np.random.default_rng(1)
    inside = folder / "scores"
    inside.mkdir()
    models = ["model,family,base,stage"]
    for i in range(N_MODELS):
        models.append(f"org/m{i},{'AB'[i % 2]},base {i},reward")
        lines = [",".join(["response", *prompts])]
        for j, row in enumerate(rng.normal(0, 5, (n_words, len(prompts)))):
            lines.append(",".join([f"word{j}", *(f"{score:.6f}" for score in row)]))
        (inside / f"org_m{i}.csv").write_text("\n".join([*lines, ""]), encoding="utf-8")
    path = folder / "models.csv"
    path.write_text("\n".join([*models, ""]), encoding="utf-8")
    return str(inside), str(path)


def ask(build: Path | None, asked: tuple[str, str]) -> Run:
    """Read in a process of its own: processor seconds, the peak in MB, a sum of what is read."""
    seconds, peak, digest = run_worker(WORKER, asked, build)
    return float(seconds), float(peak), str(digest)


def head(rounds: int, n_words: int, megabytes: float, load: list[float]) -> str:
    """Say of what, on what, and with what."""
    return (
        f"{conditions('python tests/benchmarks/reading.py', PACKAGES)}, load {min(load):.1f} to "
        f"{max(load):.1f}. {N_MODELS} CSV files of {n_words:,} words × 54 prompts, {megabytes:.0f} "
        f"MB in all, read and validated with the same result. Medians of {rounds} rounds, the "
        "builds in turn; ratios within a round, below 1 where the build at hand is quicker or "
        f"smaller than commit {EARLIER}."
    )


def table(runs: list[dict[str, Run]]) -> str:
    """Lay processor seconds, peaks and their ratios out."""
    lines = ["| | earlier | now | ratio | all rounds | bound |", "|---|---|---|---|---|---|"]
    told: Mapping[str, tuple[int, str, float]] = {
        "processor seconds": (0, ".2f", FASTER),
        "peak of memory in MB": (1, ".0f", NO_MORE),
    }
    for name, (i, form, bound) in told.items():
        ratios = sorted(float(one["now"][i]) / float(one["earlier"][i]) for one in runs)
        medians = [
            format(statistics.median(float(one[build][i]) for one in runs), form)
            for build in ("earlier", "now")
        ]
        spread = f"{ratios[0]:.3f} to {ratios[-1]:.3f}"
        cells = [name, *medians, f"**{statistics.median(ratios):.3f}**", spread, f"{bound:.3f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
