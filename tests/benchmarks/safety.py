"""What checksums cost: scoring, writing and reading with them and without, in turn.

    python tests/benchmarks/safety.py                                         # ten minutes
    python tests/benchmarks/safety.py --out tests/benchmarks/safety.md        # for docs

The same work in three processes that take turns, the order changing from round to round: the build
at hand; the same with its sums taken out (whatever is hashed, 64 zeros come out at once); and
commit 9609db1, which had sums of scores, fits and CSV files only. Scores are of
SmolLM2-135M-Instruct, with a one-label head of random weights for rewards, into a store that is new
each time; datasets have 10 models, 54 prompts and 1,000 words, and fits 4,000 draws, each written
over an older one.
Processor seconds are compared, which other work on the machine moves least. Ends with 1 where the
sums cost more than 3 % of scoring or 10 % of writing. Needs the repository's history.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
import small_models
from conditions import conditions
from earlier_build import environment_of, unpack

EARLIER = "9609db1"
SCORING, WRITING = 1.03, 1.10
# With how often each is done at a time, so that none is too short to be measured.
CASES: dict[str, tuple[str, float | None, int]] = {
    "vocabulary": ("score: the whole vocabulary, 54 prompts", SCORING, 1),
    "rewards": ("score: rewards of 66 nouns, 2 prompts", SCORING, 1),
    "write.zarr": ("write: dataset, Zarr", WRITING, 5),
    "write.nc": ("write: dataset, netCDF", WRITING, 5),
    "write.parquet": ("write: dataset, Parquet", WRITING, 5),
    "write.csv": ("write: dataset, CSV", WRITING, 2),
    "save.zarr": ("write: fit, Zarr", WRITING, 5),
    "save.nc": ("write: fit, netCDF", WRITING, 5),
    "read.zarr": ("read: dataset, Zarr", None, 5),
    "read.nc": ("read: dataset, netCDF", None, 5),
    "read.parquet": ("read: dataset, Parquet", None, 3),
}
PACKAGES = {"torch": "PyTorch", "xarray": "xarray", "zarr": "zarr", "numpy": "numpy"}
WORKER = """
import json, shutil, sys, time, warnings
warnings.simplefilter("ignore")
from pathlib import Path
if sys.argv[1] == "without":
    import no_sums  # before whatever adds them
import valuebias
from either_build import simulate
from preloaded import Preloaded
from valuebias.backends.torch_backend import TorchBackend

folders, words, place = json.loads(sys.stdin.readline())
place = Path(place)
place.mkdir()
every = valuebias.prompts()
some = valuebias.prompts(every.table.iloc[::27], name="some")
engines = {case: Preloaded(TorchBackend(device="cpu")) for case in ("vocabulary", "rewards")}
asked = {
    "vocabulary": dict(models=folders["language"], kind="logprob", lexicon="vocabulary",
                       prompts=every),
    "rewards": dict(models=folders["reward"], lexicon=words, prompts=some),
}
made = {}
def dataset():
    if "ds" not in made:
        made["ds"] = simulate(n_models={"A": 5, "B": 5}, n_prompts=54, n_words=1000, seed=1)
    return made["ds"]
def fit():
    if "fit" not in made:
        ds = simulate(n_models={"A": 5, "B": 5}, n_prompts=4, n_words=40, seed=1)
        made["fit"] = valuebias.fit(ds, draws=1000, chains=4, seed=1, progress=False)
    return made["fit"]
def work(case):
    if case in asked:
        options = dict(asked[case])
        models = valuebias.Model(options.pop("models"), name="m")
        scores = valuebias.score(models, backend=engines[case], progress=False,
                                 store=place / "scores.zarr", **options)
        if case == "vocabulary":
            scores.load()
        return
    verb, _, suffix = case.partition(".")
    if verb == "write":
        valuebias.write(dataset(), place / f"ds.{suffix}")
    elif verb == "save":
        fit().save(place / f"fit.{suffix}")
    else:
        if not (place / f"ds.{suffix}").exists():
            valuebias.write(dataset(), place / f"ds.{suffix}")
        valuebias.read(place / f"ds.{suffix}")
for line in sys.stdin:
    case, n = json.loads(line)
    shutil.rmtree(place / "scores.zarr", ignore_errors=True)
    wall, spent = time.perf_counter(), time.process_time()
    for _ in range(n):
        work(case)
    took = time.perf_counter() - wall, time.process_time() - spent
    print(json.dumps([one / n for one in took]), flush=True)
"""
Rounds = list[dict[str, list[float]]]


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
    rounds: dict[str, Rounds] = {}
    load = [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        if not unpack(Path(folder), EARLIER):
            sys.stdout.write(f"skipped: this is no repository with the commit {EARLIER}\n")
            return
        builds = {
            name: stack.enter_context(worker(name, Path(folder)))
            for name in ("now", "without", "earlier")
        }
        for case in args.only or CASES:
            for build in builds.values():  # loads models and libraries
                ask(build, case)
            rounds[case] = []
            for i in range(args.rounds):
                order = list(builds)[i % 3 :] + list(builds)[: i % 3]
                rounds[case].append({name: ask(builds[name], case) for name in order})
                load.append(os.getloadavg()[0])
            sys.stdout.write(f"{row(case, rounds[case])}\n")
            sys.stdout.flush()
            if args.out:
                text = f"{head(args.rounds, load)}\n\n{table(rounds)}\n"
                args.out.write_text(text, encoding="utf-8")
    dear = [case for case, runs in rounds.items() if not within(case, runs)]
    if dear:
        sys.exit(f"beyond its bound: {', '.join(dear)}")


@contextmanager
def worker(name: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a process that does what it is told to."""
    import valuebias

    ds = valuebias.datasets.load("christian2026-big2")
    inside = ds["membership"].any("category").to_numpy()
    words = [str(word) for word in ds["response"].to_numpy()[inside][::4]]
    folders = {
        "language": str(small_models.language_model("smollm2")),
        "reward": str(small_models.reward_model("smollm2")),
    }
    environment = environment_of(folder / "earlier" if name == "earlier" else None)
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps([folders, words, str(folder / f"place-{name}")]) + "\n")
        process.stdin.flush()
        yield process
        process.stdin.close()


def ask(process: subprocess.Popen[str], case: str) -> list[float]:
    """Have a case done: wall and processor seconds of each time."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps([case, CASES[case][2]]) + "\n")
    process.stdin.flush()
    return list(json.loads(process.stdout.readline()))


def ratios(runs: Rounds, other: str) -> list[float]:
    """Give what the build at hand takes for each second of another, by round, sorted."""
    return sorted(one["now"][1] / one[other][1] for one in runs)


def within(case: str, runs: Rounds) -> bool:
    """Tell whether the sums cost no more than they may."""
    bound = CASES[case][1]
    return bound is None or statistics.median(ratios(runs, "without")) <= bound


def head(rounds: int, load: list[float]) -> str:
    """Say on what, with what, and what to look for."""
    return (
        f"{conditions('python tests/benchmarks/safety.py', PACKAGES)}, load {min(load):.1f} to "
        f"{max(load):.1f}. Medians of {rounds} rounds, in turn; processor seconds. Ratios are "
        "within a round: what the build at hand takes beside itself without sums (bound: 1.03 "
        f"where models are scored, 1.10 where something is written) and beside commit {EARLIER}, "
        "since which other things have changed, too."
    )


def table(rounds: Mapping[str, Rounds]) -> str:
    """Lay seconds and ratios out."""
    lines = [
        f"| work | now, s | without sums, s | ratio | quartiles | bound | {EARLIER}, s | ratio |",
        "|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*lines, *(row(case, runs) for case, runs in rounds.items())])


def row(case: str, runs: Rounds) -> str:
    """Lay one case out."""
    title, bound, _ = CASES[case]
    seconds = {
        name: statistics.median(one[name][1] for one in runs)
        for name in ("now", "without", "earlier")
    }
    found, earlier = ratios(runs, "without"), ratios(runs, "earlier")
    low, high = found[len(found) // 4], found[-1 - len(found) // 4]
    cells = [
        title,
        f"{seconds['now']:.3f}",
        f"{seconds['without']:.3f}",
        f"**{statistics.median(found):.3f}**",
        f"{low:.3f} to {high:.3f}",
        "" if bound is None else f"{bound:.2f}",
        f"{seconds['earlier']:.3f}",
        f"{statistics.median(earlier):.2f}",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
