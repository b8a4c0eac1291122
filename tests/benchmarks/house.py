"""How large the package is and who imports whom, and that nothing has become slower for it.

    python tests/benchmarks/house.py                                        # some ten minutes
    python tests/benchmarks/house.py --out tests/benchmarks/house.md        # for docs

Lines, folders and floors of the sources are counted, in commit 94cc0ad as well, which was the last
before the folders were rearranged; import-linter says whether an import runs up or in a circle.
Then both builds import, fit 540,000 simulated scores, write the report of a small fit and score 263
nouns by SmolLM2-135M-Instruct with a head of random weights, each time in a fresh process and in
turn, the order changing from round to round. Processor seconds and peaks of memory are compared;
compiled code is cached and the model is loaded beforehand. Needs the repository's history.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
import small_models
from conditions import conditions
from earlier_build import ROOT, run_worker, unpack

EARLIER = "94cc0ad"
SOURCES = ("valuebias", "analysis", "backends")
BOUND = 1.05
FEWER = 0.87
MOST_FOLDERS, MOST_FLOORS = 24, 9
CASES = {
    "import": "`import valuebias`, and `valuebias.fit`",
    "fit": "`fit` of 540,000 scores",
    "report": "a report in HTML",
    "score": "`score` of 263 nouns, 2 prompts",
}
PACKAGES = {"torch": "PyTorch", "xarray": "xarray", "numpy": "numpy"}
WORKER = """
import json, resource, sys, tempfile, time, warnings
warnings.simplefilter("ignore")
import valuebias
valuebias.fit
case, folder, words = json.loads(sys.argv[1])
seconds = time.process_time()
if case != "import":
    from either_build import simulate
if case in ("fit", "report"):
    size = (1000, 54) if case == "fit" else (40, 6)
    data = simulate(n_models={"A": 4, "B": 6}, n_words=size[0], n_prompts=size[1], seed=1)
    start = time.process_time()
    fit = valuebias.fit(data, draws=200, chains=2, seed=1, progress=False)
    if case == "report":
        start = time.process_time()
        fit.report(tempfile.mkdtemp() + "/report.html", progress=False)
    seconds = time.process_time() - start
if case == "score":
    from preloaded import Preloaded
    from valuebias.backends.torch_backend import TorchBackend
    engine = Preloaded(TorchBackend(device="cpu"))
    prompts = valuebias.prompts(valuebias.prompts().table.iloc[::27], name="some")
    for asked in (words[:2], words):
        start = time.process_time()
        valuebias.score(valuebias.Model(folder, name="m"), backend=engine, prompts=prompts,
                        lexicon=asked, progress=False)
        seconds = time.process_time() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([seconds, peak]))
"""


def main() -> None:
    """Count, run the builds in turn and print two tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="how often each case runs")
    parser.add_argument("--only", choices=list(CASES), action="append")
    parser.add_argument("--out", type=Path, help="write the tables here, too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if not unpack(Path(folder), EARLIER):
            sys.stdout.write(f"skipped: this is no repository with the commit {EARLIER}\n")
            return
        builds = {"earlier": Path(folder) / "earlier", "now": None}
        load = [os.getloadavg()[0]]
        runs: dict[str, list[dict[str, list[float]]]] = {}
        for case in args.only or CASES:
            if case == "score" and small_models.missing("smollm2") is not None:
                continue
            for build in builds.values():  # compiles
                ask(build, case)
            runs[case] = []
            for i in range(args.rounds):
                order = list(builds) if i % 2 else list(builds)[::-1]
                runs[case].append({name: ask(builds[name], case) for name in order})
                load.append(os.getloadavg()[0])
        text = "\n\n".join([head(args.rounds, load), sizes(Path(folder) / "earlier"), times(runs)])
    sys.stdout.write(f"{text}\n")
    if args.out:
        args.out.write_text(f"{text}\n", encoding="utf-8")


def ask(build: Path | None, case: str) -> list[float]:
    """Run a case in a process of its own: processor seconds, and the peak in MB."""
    model = str(small_models.reward_model("smollm2")) if case == "score" else ""
    words = [f"word{i}" for i in range(263)]
    return list(run_worker(WORKER, [case, model, words], build))


def head(rounds: int, load: list[float]) -> str:
    """Say on what, and with what."""
    return (
        f"{conditions('python tests/benchmarks/house.py', PACKAGES)}, load {min(load):.1f} to "
        f"{max(load):.1f}. Medians of {rounds} rounds, the builds in turn; ratios within a round, "
        f"below 1 where the build at hand is quicker or smaller than commit {EARLIER}."
    )


def sizes(earlier: Path) -> str:
    """Count what lies in the sources, and say what import-linter finds."""
    now = [path for name in SOURCES for path in (ROOT / name).rglob("*.py")]
    before = lines(list((earlier / "valuebias").rglob("*.py")))
    floors = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = floors["tool"]["importlinter"]["contracts"][0]["layers"]
    rows = [
        ("imports that run up or in circles", "", linter(), "none"),
        ("floors", "", f"{len(layers)}", f"{MOST_FLOORS}"),
        ("folders and loose modules", f"{count_folders(earlier / 'valuebias')}",
         f"{count_folders(ROOT / 'valuebias')}", f"{MOST_FOLDERS}"),
        ("lines of Python outside tests", f"{before:,}",
         f"{lines(now):,} ({lines(now) / before - 1:+.1%})", f"{FEWER - 1:+.0%}"),
    ]  # fmt: skip
    return "\n".join([
        f"| | commit {EARLIER} | now | bound |", "|---|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in rows),
    ])  # fmt: skip


def lines(files: list[Path]) -> int:
    """Count lines."""
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)


def count_folders(package: Path) -> int:
    """Count the folders of the package and the modules that stand in none."""
    own = {"__init__.py", "__main__.py"}
    parts = [path for path in package.iterdir() if path.name not in ("__pycache__", "data")]
    folders = sum(path.is_dir() and path.name not in ("analysis", "backends") for path in parts)
    loose = sum(path.suffix == ".py" and path.name not in own for path in parts)
    return folders + loose + 2


def linter() -> str:
    """Ask import-linter, from where the installed package is found."""
    program = Path(sys.executable).with_name("lint-imports")
    if not program.exists():
        return "import-linter is not installed"
    command = [str(program), "--no-cache", "--no-logo", "--config", str(ROOT / "pyproject.toml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False,
                          cwd=program.parent)  # fmt: skip
    return "none" if done.returncode == 0 else done.stdout.strip().splitlines()[-1]


def times(runs: Mapping[str, list[dict[str, list[float]]]]) -> str:
    """Lay processor seconds, peaks and their ratios out."""
    table = [
        "| | processor seconds, earlier | now | ratio | quartiles | peak in MB, earlier | now "
        "| ratio | bound |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for case, rounds in runs.items():
        cells = [CASES[case]]
        for i, form in ((0, ".3f"), (1, ".0f")):
            ratios = sorted(one["now"][i] / one["earlier"][i] for one in rounds)
            medians = (statistics.median(one[k][i] for one in rounds) for k in ("earlier", "now"))
            cells += [f"{median:{form}}" for median in medians]
            cells.append(f"**{statistics.median(ratios):.3f}**")
            if i == 0:
                quarter = len(ratios) // 4
                cells.append(f"{ratios[quarter]:.3f} to {ratios[-1 - quarter]:.3f}")
        table.append(f"| {' | '.join([*cells, f'{BOUND}'])} |")
    return "\n".join(table)


if __name__ == "__main__":
    main()
