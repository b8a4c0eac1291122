"""How fast outputs are computed and read, beside an earlier build in the same run.

    python tests/benchmarks/outputs.py                                          # some minutes
    python tests/benchmarks/outputs.py --out tests/benchmarks/outputs.md        # for docs

The model is SmolLM2-135M-Instruct, with a one-label head of random weights for rewards. Timed is
`valuebias.score` from text to dataset, without loading the model: log-probs of the whole vocabulary
after all 54 prompts, log-probs of the 263 nouns of the paper's Big Two scores after two prompts,
and their rewards there. The earlier build is commit f713f0a, unpacked into a temporary folder; it
needs the repository's history. Each build has a process of its own with its models loaded, and they
take turns, the order changing from round to round, so that other work on the machine hits them
alike. Needs the released scores: set VALUEBIAS_DATA or be online.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
import small_models
from conditions import conditions
from earlier_build import environment_of, unpack

ROOT = Path(__file__).parents[2]

EARLIER = "f713f0a"
CASES = {
    "rows": ("log-probs of the whole vocabulary, 54 prompts", 1.8),
    "words": ("log-probs of 263 nouns, 2 prompts", 1.0),
    "rewards": ("rewards of 263 nouns, 2 prompts", 1.0),
}
PACKAGES = {"torch": "PyTorch", "transformers": "transformers", "numpy": "numpy"}
WORKER = """
import json, os, sys, time, warnings
warnings.simplefilter("ignore")
import numpy as np
import valuebias
from preloaded import Preloaded
from valuebias.backends.torch_backend import TorchBackend

folders, words = json.loads(sys.stdin.readline())
every = valuebias.prompts()
some = valuebias.prompts(every.table.iloc[::27], name="some")
few = valuebias.prompts(every.table.iloc[:2], name="few")
asked = {
    "rows": dict(models=folders["language"], kind="logprob", lexicon="vocabulary", prompts=every),
    "words": dict(models=folders["language"], kind="logprob", lexicon=words, prompts=some),
    "rewards": dict(models=folders["reward"], lexicon=words, prompts=some),
}
engines = {case: Preloaded(TorchBackend(device="cpu")) for case in asked}
def run(case, **other):
    options = asked[case] | other
    models = valuebias.Model(options.pop("models"), name="m")
    made = valuebias.score(models, backend=engines[case], progress=False, **options)
    return made if case != "rows" else next(iter(made.children.values()))
for line in sys.stdin:
    case = json.loads(line)
    if engines[case].model is None:
        run(case, prompts=few)
    wall, spent = time.perf_counter(), time.process_time()
    scores = run(case)["score"].to_numpy()
    took = time.perf_counter() - wall, time.process_time() - spent
    shown = np.linspace(0, scores.size - 1, 1001).astype(int)
    print(json.dumps([scores.size, *took, scores.reshape(-1)[shown].tolist()]), flush=True)
"""


def main() -> None:
    """Run the builds in turn and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="how often each case runs")
    parser.add_argument("--only", choices=list(CASES), action="append")
    parser.add_argument("--out", type=Path, help="write the table here, too")
    args = parser.parse_args()
    reason = small_models.missing("smollm2")
    if reason is not None:
        sys.stdout.write(f"skipped: {reason}\n")
        return
    with tempfile.TemporaryDirectory() as folder:
        if not unpack(Path(folder), EARLIER):
            sys.stdout.write(f"skipped: this is no repository with the commit {EARLIER}\n")
            return
        rounds: dict[str, list[dict[str, list[Any]]]] = {}
        load = [os.getloadavg()[0]]
        with worker(Path(folder) / "earlier") as earlier, worker(None) as now:
            builds = {"earlier": earlier, "now": now}
            for case in args.only or CASES:
                for build in builds.values():  # loads the model
                    ask(build, case)
                rounds[case] = []
                for i in range(args.rounds):
                    order = list(builds) if i % 2 else list(builds)[::-1]
                    rounds[case].append({name: ask(builds[name], case) for name in order})
                    load.append(os.getloadavg()[0])
    text = f"{head(args.rounds, load)}\n\n{table(rounds)}"
    sys.stdout.write(f"{text}\n")
    if args.out:
        args.out.write_text(f"{text}\n", encoding="utf-8")


@contextmanager
def worker(build: Path | None) -> Iterator[subprocess.Popen[str]]:
    """Start a process that scores what it is told to."""
    import valuebias

    ds = valuebias.datasets.load("christian2026-big2")
    inside = ds["membership"].any("category").to_numpy()
    words = [str(word) for word in ds["response"].to_numpy()[inside]]
    folders = {
        "language": str(small_models.language_model("smollm2")),
        "reward": str(small_models.reward_model("smollm2")),
    }
    environment = environment_of(build)
    with subprocess.Popen(
        [sys.executable, "-c", WORKER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps([folders, words]) + "\n")
        process.stdin.flush()
        yield process
        process.stdin.close()


def ask(process: subprocess.Popen[str], case: str) -> list[Any]:
    """Have a case scored: number of scores, wall and processor seconds, and some of the scores."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(case) + "\n")
    process.stdin.flush()
    return list(json.loads(process.stdout.readline()))


def head(rounds: int, load: list[float]) -> str:
    """Say on what, with what, and what to look for."""
    return (
        f"{conditions('python tests/benchmarks/outputs.py', PACKAGES)}, load {min(load):.1f} to "
        f"{max(load):.1f}. Medians of {rounds} rounds, the builds in turn; ratios within a round, "
        f"above 1 where the build at hand is faster than commit {EARLIER}."
    )


def table(rounds: dict[str, list[dict[str, list[Any]]]]) -> str:
    """Lay speeds and ratios out."""
    lines = [
        "| case | scores/s, earlier | now | ratio | quartiles | processor seconds, earlier | now "
        "| ratio | bound | largest difference |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for case, runs in rounds.items():
        title, bound = CASES[case]
        cells = [title]
        speeds = {
            name: statistics.median(one[name][0] / one[name][1] for one in runs)
            for name in ("earlier", "now")
        }
        cells += [f"{speeds['earlier']:,.0f}", f"{speeds['now']:,.0f}"]
        ratios = sorted(one["earlier"][1] / one["now"][1] for one in runs)
        cells.append(f"**{statistics.median(ratios):.2f}**")
        low, high = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
        cells.append(f"{low:.2f} to {high:.2f}")
        for name in ("earlier", "now"):
            cells.append(f"{statistics.median(one[name][2] for one in runs):.2f}")
        shares = [one["earlier"][2] / one["now"][2] for one in runs]
        cells.append(f"{statistics.median(shares):.2f}")
        gap = max(abs(a - b) for a, b in zip(runs[0]["earlier"][3], runs[0]["now"][3], strict=True))
        lines.append(f"| {' | '.join([*cells, f'{bound}', f'{gap:.1e}'])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
