"""How long a fit takes, beside lme4 and bambi on the same scores in the same run.

    python tests/benchmarks/fitting.py                 # valuebias, and lme4 where Rscript is found
    python tests/benchmarks/fitting.py --bambi         # bambi too (pip install bambi); many minutes
    python tests/benchmarks/fitting.py --only big2     # one case

Each valuebias case runs in a process of its own with an empty compilation cache, so that the time
is what a first-time user waits after import, and the peak memory is its own. Needs the released Big
Two scores: set VALUEBIAS_DATA or be online.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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
    parser.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    args = parser.parse_args()
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
    import nutpie  # noqa: F401

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
