"""How long a fit takes, beside lme4 and bambi on the same scores in the same run.

    python tests/benchmarks/fitting.py                 # valuebias, and lme4 where Rscript is found
    python tests/benchmarks/fitting.py --bambi         # bambi too (pip install bambi); many minutes
    python tests/benchmarks/fitting.py --only big2     # one case
    python tests/benchmarks/fitting.py --earlier --out tests/benchmarks/fitting.md   # minutes

Each valuebias case runs in a process of its own with an empty compilation cache, so that the time
is what a first-time user waits after import, and the peak memory is its own. Needs the released Big
Two scores: set VALUEBIAS_DATA or be online.

With --earlier the complete Big Two fit runs beside that of commit f713f0a, unpacked from the
repository's history, round by round in processes of their own: processor seconds of the first fit
(with the loading of all it needs), of the same with no compiled kernels on disk, and of later ones.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from conditions import conditions
from earlier_build import environment_of, unpack

EARLIER = "f713f0a"
BUILDS = {
    "earlier": f"commit {EARLIER}, without bases and spreads",
    "plain": "now, `base=None, spread=False`: the same model",
    "usual": "now, with bases and spreads",
}
PACKAGES = {"numba": "numba", "numpy": "numpy"}
# Once more with the headline, as its R-hat and effective sample sizes are part of the wait.
TIMED = {
    "first": "first fit of a process",
    "compiled": "the same, kernels to be compiled",
    "fit": "later fits",
    "headline": "later fits with headline",
}
FIT = """
import json, os, sys, time, warnings
import valuebias
warnings.simplefilter("ignore")
options, later = json.loads(sys.argv[1]), int(sys.argv[2])
data = valuebias.datasets.load("christian2026-big2")
out = {"first": 0.0, "fit": [], "headline": []}
for seed in range(1, later + 2):
    start = time.process_time()
    fit = valuebias.fit(data, draws=1000, chains=4, seed=seed, progress=False, **options)
    fitted = time.process_time() - start
    str(fit.headline())
    said = time.process_time() - start
    if seed == 1:
        out["first"] = fitted
    else:
        out["fit"].append(fitted)
        out["headline"].append(said)
for name, table in (("contrasts", fit.contrasts()), ("others", fit.summary())):
    out[name] = [float(table[kind].min()) for kind in ("ess_bulk", "ess_tail")]
print(json.dumps(out))
"""

CASES = {
    "big2": "Big Two scores, 142,020, complete",
    "big2-missing": "Big Two scores, 10 % of cells dropped at random",
    "large": "simulated 10 × 54 × 2,040, five categories, complete",
    "large-missing": "the same, 10 % of cells dropped at random",
}


def main() -> None:
    """Run the cases asked for and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=[*CASES, "lme4", "bambi"], action="append")
    parser.add_argument("--bambi", action="store_true", help="run bambi too")
    parser.add_argument("--json", type=Path, help="write the numbers here")
    parser.add_argument("--earlier", action="store_true", help="beside an earlier commit instead")
    parser.add_argument("--rounds", type=int, default=5, help="of --earlier")
    parser.add_argument("--out", type=Path, help="write the table of --earlier here, too")
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.earlier:
        text = beside_earlier(args.rounds)
        sys.stdout.write(text)
        if args.out:
            args.out.write_text(text, encoding="utf-8")
        return
    if args.case:
        sys.stdout.write(json.dumps(run_case(args.case)) + "\n")
        return
    wanted = args.only or [*CASES, "lme4", *(["bambi"] if args.bambi else [])]
    results = {name: in_own_process(name) for name in wanted if name in CASES}
    if "lme4" in wanted:
        results |= run_lme4()
    if "bambi" in wanted:
        results["bambi"] = run_bambi()
    sys.stdout.write(table(results))
    if args.json:
        args.json.write_text(json.dumps({"machine": machine(), "results": results}, indent=1))


def beside_earlier(rounds: int) -> str:
    """Fit with each build in turn; lay out medians and their ratios to the earlier build's."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not unpack(folder, EARLIER):
            return f"skipped: this is no repository with the commit {EARLIER}\n"
        compiled = {build: run_build(build, folder, later=0)["first"] for build in BUILDS}
        load, made = [os.getloadavg()[0]], []
        for _ in range(rounds):
            made.append({build: run_build(build, folder, later=3) for build in BUILDS})
            load.append(os.getloadavg()[0])
    for one in made:
        for build, result in one.items():
            result["compiled"] = compiled[build]
            for key in ("fit", "headline"):
                result[key] = statistics.median(result[key])
    about = conditions("python tests/benchmarks/fitting.py --earlier", PACKAGES)
    lines = [
        f"{about}, load {min(load):.1f} to {max(load):.1f}: the Big Two scores, 142,020, 4 chains "
        f"× 1000 draws. Processor seconds, medians of {rounds} rounds (of one, where kernels are "
        "to be compiled), in brackets the median ratio to the earlier commit within a round; "
        "smallest effective sample sizes, bulk and tail, over contrasts and over SDs, correlations "
        "and means, medians.",
        "",
        f"| build | {' | '.join(TIMED.values())} | ESS of contrasts | ESS of others |",
        "|---" * (len(TIMED) + 3) + "|",
    ]
    for build, title in BUILDS.items():
        cells = []
        for key in TIMED:
            middle = statistics.median(one[build][key] for one in made)
            ratio = statistics.median(one[build][key] / one["earlier"][key] for one in made)
            cells.append(f"{middle:.2f} (×{ratio:.2f})")
        for key in ("contrasts", "others"):
            sizes = zip(*(one[build][key] for one in made), strict=True)
            cells.append(", ".join(f"{statistics.median(size):.0f}" for size in sizes))
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def run_build(build: str, folder: Path, *, later: int) -> dict[str, object]:
    """Fit in a fresh process of a build, whose kernels stay in its own part of the folder."""
    options = {"base": None, "spread": False} if build == "plain" else {}
    environment = environment_of(folder / "earlier" if build == "earlier" else None)
    environment["NUMBA_CACHE_DIR"] = str(folder / f"kernels of {build}")
    done = subprocess.run(
        [sys.executable, "-c", FIT, json.dumps(options), str(later)],
        cwd=folder,
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def machine() -> dict[str, object]:
    """Describe what the numbers were measured on."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":")[1].strip() if names else model
    return {"cpu": model, "cores": os.cpu_count(), "python": platform.python_version()}


def in_own_process(name: str) -> dict[str, object]:
    """Run one case in a fresh interpreter with an empty numba cache."""
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"NUMBA_CACHE_DIR": cache}
        done = subprocess.run(
            [sys.executable, __file__, "--case", name],
            env=environment,
            check=True,
            capture_output=True,
            text=True,
        )
    return json.loads(done.stdout.splitlines()[-1])


def run_case(name: str) -> dict[str, object]:
    """Fit one case and say how it went."""
    import numpy as np

    import valuebias
    from valuebias.datasets.simulate import simulate

    if name.startswith("big2"):
        data = valuebias.datasets.load("christian2026-big2")
    else:
        words = dict.fromkeys(["care", "fairness", "loyalty", "authority", "sanctity"], 408)
        data = simulate(n_words=words, overlap=0.02, seed=1)
    if name.endswith("missing"):
        gaps = np.random.default_rng(1).random(data["score"].shape) < 0.1
        data = data.assign(score=data["score"].where(~gaps))
    valuebias.fit  # noqa: B018 - loads the fitting code, so that imports are not timed
    start = time.perf_counter()
    fit = valuebias.fit(data, seed=1, progress=False)
    wall = time.perf_counter() - start
    diagnostics = fit.diagnostics()
    return {
        "seconds": wall,
        "rows": int(data["score"].notnull().sum()),
        "max_rhat": diagnostics.max_rhat,
        "min_ess_bulk": diagnostics.min_ess_bulk,
        "divergences": diagnostics.divergences,
        "peak_rss_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def write_long_table(path: Path) -> None:
    """Write the Big Two normal scores in long form for the peers."""
    import valuebias
    from valuebias.analysis.outcome import outcome

    data = valuebias.datasets.load("christian2026-big2")
    values = outcome(data, kind="normal").rename("y")
    words = data["membership"].sel(response=values["response"])
    category = words["category"].to_numpy()[words.to_numpy().argmax(axis=1)]
    frame = values.assign_coords(category=("response", category)).to_dataframe().reset_index()
    columns = ["y", "model", "family", "prompt", "framing", "response", "category"]
    frame[columns].to_csv(path, index=False)


LME4 = """
suppressMessages(library(lme4))
d <- read.csv(commandArgs(TRUE)[1], stringsAsFactors = TRUE)
d$cell <- interaction(d$category, d$framing)
for (derivatives in c(FALSE, TRUE)) {
  t <- system.time(m <- lmer(
    y ~ family * category * framing + (1 | response) + (1 | prompt) + (0 + cell | model),
    data = d, control = lmerControl(calc.derivs = derivatives)))
  cat(t[["elapsed"]], isSingular(m), "\\n")
}
"""


def run_lme4() -> dict[str, dict[str, object]]:
    """Fit the additive crossed model with lme4 (a point estimate), where R is installed.

    Twice: without the check of the gradient and Hessian at the optimum, and by default, with it.
    """
    if shutil.which("Rscript") is None:
        return {"lme4": {"skipped": "Rscript is not installed"}}
    with tempfile.TemporaryDirectory() as folder:
        table_path, script = Path(folder) / "scores.csv", Path(folder) / "lme4.R"
        write_long_table(table_path)
        script.write_text(LME4)
        done = subprocess.run(
            ["Rscript", str(script), str(table_path)], capture_output=True, text=True, check=False
        )
    if done.returncode:
        return {"lme4": {"skipped": f"lme4 failed: {done.stderr.strip().splitlines()[-1]}"}}
    fits = [line.split() for line in done.stdout.splitlines()]
    return {
        name: {"seconds": float(seconds), "singular": singular == "TRUE"}
        for name, (seconds, singular) in zip(("lme4", "lme4-default"), fits, strict=True)
    }


def run_bambi() -> dict[str, object]:
    """Fit the same additive model with bambi and nutpie, 2 chains × (500 + 500)."""
    try:
        import arviz as az
        import bambi
    except ImportError as error:
        return {"skipped": str(error)}
    import pandas as pd

    with tempfile.TemporaryDirectory() as folder:
        write_long_table(Path(folder) / "scores.csv")
        frame = pd.read_csv(Path(folder) / "scores.csv")
    frame["cell"] = frame["category"] + frame["framing"]
    model = bambi.Model(
        "y ~ family * category * framing + (1|response) + (1|prompt) + (0 + cell|model)", frame
    )
    start = time.perf_counter()
    trace = model.fit(draws=500, tune=500, chains=2, random_seed=1, inference_method="nutpie")
    wall = time.perf_counter() - start
    posterior = trace["posterior"]
    worst = max(float(v.max()) for v in az.rhat(posterior).data_vars.values())
    least = min(float(v.min()) for v in az.ess(posterior).data_vars.values())
    return {"seconds": wall, "max_rhat": worst, "min_ess_bulk": least}


def table(results: dict[str, dict[str, object]]) -> str:
    """Lay the results out as Markdown, with ratios to the complete Big Two fit."""
    base = results.get("big2", {}).get("seconds")
    lines = [
        "| case | seconds | ratio | R-hat ≤ | bulk ESS ≥ | peak RSS, GB |",
        "|---|---|---|---|---|---|",
    ]
    titles = CASES | {
        "lme4": "lme4, additive model, point estimate, `calc.derivs = FALSE`",
        "lme4-default": "lme4, the same with its default settings",
        "bambi": "bambi + nutpie, additive model, 2 × (500 + 500)",
    }
    for name, result in results.items():
        if "skipped" in result:
            lines.append(f"| {titles[name]} | – | – | {result['skipped']} | | |")
            continue
        ratio = f"{result['seconds'] / base:.1f}" if base else "–"
        rhat = f"{result['max_rhat']:.3f}" if "max_rhat" in result else "–"
        ess = f"{result['min_ess_bulk']:.0f}" if "min_ess_bulk" in result else "–"
        rss = f"{result['peak_rss_gb']:.2f}" if "peak_rss_gb" in result else "–"
        seconds = f"{result['seconds']:.1f}"
        lines.append(f"| {titles[name]} | {seconds} | {ratio} | {rhat} | {ess} | {rss} |")
    return "\n".join([*lines, "", json.dumps(machine(), ensure_ascii=False), ""])


if __name__ == "__main__":
    main()
