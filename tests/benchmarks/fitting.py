"""How long a fit takes, beside lme4 and bambi on the same scores in the same run.

    python tests/benchmarks/fitting.py                 # valuebias, and lme4 where Rscript is found
    python tests/benchmarks/fitting.py --bambi         # bambi too (pip install "bambi<0.17")
    python tests/benchmarks/fitting.py --only big2     # one case
    python tests/benchmarks/fitting.py --earlier       # beside an earlier commit instead; minutes
    python tests/benchmarks/fitting.py --bambi --earlier --out tests/benchmarks/fitting.md

Each valuebias case runs in a process of its own with an empty compilation cache, so that the time
is what a first-time user spends after import, and the peak memory is its own; a second fit of the
same process says what compiling takes. lme4 and bambi fit the additive model to the same normal
scores; bambi, which takes the better part of an hour for all of them, those of six prompts only.
Needs the released Big Two scores: set VALUEBIAS_DATA or be online.

With --earlier the complete Big Two fit runs beside that of commit f713f0a, unpacked from the
repository's history, round by round in processes of their own: processor seconds of the first fit
(with the loading of all it needs), of the same with no compiled kernels on disk, and of later ones.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from conditions import conditions
from earlier_build import environment_of, unpack

if TYPE_CHECKING:
    import xarray as xr

EARLIER = "f713f0a"
ABOUT = (
    "Processor seconds, imports not counted: 4 chains × 1000 draws, every random effect of the "
    "model, with nothing compiled yet, and again; lme4 and bambi fit the additive model to the "
    "same normal scores, those of all prompts or of six."
)
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
    "few": "Big Two scores of six prompts, 15,780, complete",
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
    parser.add_argument("--earlier", action="store_true", help="beside an earlier commit")
    parser.add_argument("--rounds", type=int, default=5, help="of --earlier")
    parser.add_argument("--out", type=Path, help="write the tables here, too")
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        sys.stdout.write(json.dumps(run_case(args.case)) + "\n")
        return
    parts = [beside_peers(args.only, args.bambi)] if args.only or args.bambi else []
    if args.earlier:
        parts.append(beside_earlier(args.rounds))
    text = "\n".join(parts or [beside_peers(None, bambi=False)])
    sys.stdout.write(text)
    if args.out:
        args.out.write_text(text, encoding="utf-8")


def beside_peers(only: list[str] | None, bambi: bool) -> str:
    """Run the cases, or all, and the other packages; lay out what they took."""
    wanted = only or [*CASES, "lme4", *(["bambi"] if bambi else [])]
    load = [os.getloadavg()[0]]
    results: dict[str, dict[str, object]] = {}
    for name in wanted:
        if name in CASES:
            results[name] = in_own_process(name)
        elif name == "lme4":
            results |= run_lme4()
        else:
            results["bambi"] = run_bambi()
        load.append(os.getloadavg()[0])
    command = f"python tests/benchmarks/fitting.py{' --bambi' if 'bambi' in wanted else ''}"
    about = conditions(command, PACKAGES)
    return f"{about}, load {min(load):.1f} to {max(load):.1f}. {ABOUT}\n\n{table(results)}"


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
    """Fit one case twice and say how it went."""
    import valuebias

    data = scores_of(name)
    valuebias.fit  # noqa: B018 - loads the fitting code, so that imports are not timed
    seconds = []
    for seed in (1, 2):
        start = time.process_time()
        fit = valuebias.fit(data, seed=seed, progress=False)
        seconds.append(time.process_time() - start)
    diagnostics = fit.diagnostics()
    return {
        "seconds": seconds[0],
        "again": seconds[1],
        "max_rhat": diagnostics.max_rhat,
        "min_ess_bulk": diagnostics.min_ess_bulk,
        "peak_rss_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def scores_of(name: str) -> xr.Dataset:
    """Make or load the scores of a case."""
    import numpy as np

    import valuebias
    from valuebias.datasets.simulate import simulate

    if name.startswith("large"):
        words = dict.fromkeys(["care", "fairness", "loyalty", "authority", "sanctity"], 408)
        data = simulate(n_words=words, overlap=0.02, seed=1)
    else:
        data = valuebias.datasets.load("christian2026-big2")
    if name == "few":
        framing = data["framing"].to_numpy()
        data = data.isel(
            prompt=[i for f in np.unique(framing) for i in np.where(framing == f)[0][:3]]
        )
    if name.endswith("missing"):
        gaps = np.random.default_rng(1).random(data["score"].shape) < 0.1
        data = data.assign(score=data["score"].where(~gaps))
    return data


def write_long_table(path: Path, name: str) -> None:
    """Write the normal scores of a case in long form for the peers."""
    from valuebias.analysis.outcome import outcome

    data = scores_of(name)
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
  cat(t[["user.self"]] + t[["sys.self"]], "\\n")
}
"""


def run_lme4() -> dict[str, dict[str, object]]:
    """Fit the additive crossed model with lme4 (a point estimate), where R is installed.

    Twice each: without the check of the gradient and Hessian at the optimum, and with it.
    """
    if shutil.which("Rscript") is None:
        return {"lme4, few": {"skipped": "Rscript is not installed"}}
    results: dict[str, dict[str, object]] = {}
    with tempfile.TemporaryDirectory() as folder:
        table_path, script = Path(folder) / "scores.csv", Path(folder) / "lme4.R"
        script.write_text(LME4)
        for case in ("few", "big2"):
            write_long_table(table_path, case)
            done = subprocess.run(
                ["Rscript", str(script), str(table_path)],
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                last = done.stderr.strip().splitlines()[-1]
                return {f"lme4, {case}": {"skipped": f"lme4 failed: {last}"}}
            quick, usual = (float(line) for line in done.stdout.split())
            results[f"lme4, {case}"] = {"seconds": quick}
            results[f"lme4 by default, {case}"] = {"seconds": usual}
    return results


def run_bambi() -> dict[str, object]:
    """Fit the same additive model with bambi and nutpie to the scores of six prompts."""
    try:
        import arviz as az
        import bambi
    except ImportError as error:
        return {"skipped": str(error)}
    import pandas as pd

    with tempfile.TemporaryDirectory() as folder:
        write_long_table(Path(folder) / "scores.csv", "few")
        frame = pd.read_csv(Path(folder) / "scores.csv")
    frame["cell"] = frame["category"] + frame["framing"]
    model = bambi.Model(
        "y ~ family * category * framing + (1|response) + (1|prompt) + (0 + cell|model)", frame
    )
    start = time.process_time()
    trace = model.fit(draws=1000, tune=1000, chains=4, random_seed=1, inference_method="nutpie")
    seconds = time.process_time() - start
    posterior = trace["posterior"]
    worst = max(float(v.max()) for v in az.rhat(posterior).data_vars.values())
    least = min(float(v.min()) for v in az.ess(posterior).data_vars.values())
    return {"seconds": seconds, "max_rhat": worst, "min_ess_bulk": least}


def table(results: dict[str, dict[str, object]]) -> str:
    """Lay the results out as Markdown."""
    lines = [
        "| case | seconds | again | R-hat ≤ | bulk ESS ≥ | peak RSS, GB |",
        "|---|---|---|---|---|---|",
    ]
    titles = CASES | {"bambi": "bambi + nutpie, additive model, six prompts, 4 × (1000 + 1000)"}
    for which, prompts in (("few", "six prompts"), ("big2", "all prompts")):
        point = f"additive model, {prompts}, point estimate"
        titles[f"lme4, {which}"] = f"lme4, {point}, `calc.derivs = FALSE`"
        titles[f"lme4 by default, {which}"] = f"lme4, {point}, default settings"
    formats = {
        "seconds": ".1f", "again": ".1f", "max_rhat": ".3f", "min_ess_bulk": ".0f",
        "peak_rss_gb": ".2f",
    }  # fmt: skip
    for name, result in results.items():
        if "skipped" in result:
            lines.append(f"| {titles[name]} | {result['skipped']} | | | | |")
            continue
        cells = [format(result[key], how) if key in result else "–" for key, how in formats.items()]
        lines.append(f"| {titles[name]} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
