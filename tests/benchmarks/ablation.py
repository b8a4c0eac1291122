"""How long the fit of an ablation and its report take, against the bound of 15 s for the fit.

    python tests/benchmarks/ablation.py                    # the bundled study of 48 models
    python tests/benchmarks/ablation.py --data scores.nc   # one's own
    python tests/benchmarks/ablation.py --out tests/benchmarks/ablation.md    # for the docs

The bundled study has 2 bases × 2 sources × 4 numbers of pairs × 3 seeds, 54 prompts and 182 words.
All runs in a process of its own with an empty compilation cache, so that the first time is
what a first-time user waits after import; the second fit is in the same process, with another seed.
Seconds at work, of the processor, tell how much of the time others on the machine took.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from conditions import conditions

BOUND = 15.0
"""Seconds that the fit may take."""
PACKAGES = {"pymc": "PyMC", "nutpie": "nutpie", "numba": "numba", "matplotlib": "matplotlib"}
STEPS = {
    "first": "`fit_ablation`, nothing compiled before",
    "again": "`fit_ablation` again, another seed",
    "html": "report as HTML, with figures",
    "md": "report as Markdown",
    "save": "save",
    "load": "load, and the headline",
}


def main() -> None:
    """Time all steps in a fresh interpreter and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="scores of an ablation; the bundled if not given")
    parser.add_argument("--out", type=Path, help="write the table here, too")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.alone:
        sys.stdout.write(json.dumps(timed(args.data)) + "\n")
        return
    text = table(in_own_process(args.data))
    sys.stdout.write(text)
    if args.out:
        args.out.write_text(text, encoding="utf-8")


def in_own_process(data: Path | None) -> dict[str, Any]:
    """Run the steps in a fresh interpreter with an empty numba cache."""
    given = [] if data is None else ["--data", str(data)]
    with tempfile.TemporaryDirectory() as cache:
        done = subprocess.run(
            [sys.executable, __file__, "--alone", *given],
            env=os.environ | {"NUMBA_CACHE_DIR": cache},
            check=True,
            stdout=subprocess.PIPE,
            text=True,
        )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def timed(data: Path | None) -> dict[str, Any]:
    """Fit, report, save and load, and say how long each took."""
    warnings.simplefilter("ignore")
    import nutpie  # noqa: F401 - so that imports are not timed

    import valuebias

    scores = valuebias.read(data) if data else valuebias.datasets.load("demo")
    valuebias.fit_ablation  # noqa: B018 - likewise
    seconds: dict[str, tuple[float, float]] = {}

    def clock(name: str, step: Callable[[], Any]) -> Any:
        start, worked = time.perf_counter(), time.process_time()
        made = step()
        seconds[name] = (time.perf_counter() - start, time.process_time() - worked)
        return made

    fit = clock("first", lambda: valuebias.fit_ablation(scores, seed=1, progress=False))
    clock("again", lambda: valuebias.fit_ablation(scores, seed=2, progress=False))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for form in ("html", "md"):
            clock(form, lambda form=form: fit.report(folder / f"report.{form}"))
        saved = clock("save", lambda: fit.save(folder / "fit.nc"))
        clock("load", lambda: valuebias.load(saved).headline())
    diagnostics = fit.fit.diagnostics()
    return {
        "seconds": seconds,
        "sizes": dict(scores.sizes),
        "formula": fit.formula,
        "converged": diagnostics.converged,
        "max_rhat": diagnostics.max_rhat,
        "min_ess": min(diagnostics.min_ess_bulk, diagnostics.min_ess_tail),
        "divergences": diagnostics.divergences,
        "peak_rss_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
    }


def table(found: dict[str, Any]) -> str:
    """Lay the times out as Markdown."""
    lines = ["| step | seconds | at work, all cores | bound |", "|---|---:|---:|---|"]
    for name, title in STEPS.items():
        taken, worked = found["seconds"][name]
        bound = ""
        if name in ("first", "again"):
            bound = f"{BOUND:.0f}, {'kept' if taken <= BOUND else 'not kept'}"
        lines.append(f"| {title} | {taken:.1f} | {worked:.1f} | {bound} |")
    sizes = " × ".join(f"{found['sizes'][d]} {d}s" for d in ("model", "prompt", "response"))
    state = "converged" if found["converged"] else "not converged"
    said = (
        f"{conditions('python tests/benchmarks/ablation.py', PACKAGES)}: {sizes}, "
        f"`{found['formula']}`; {state}, R-hat ≤ {found['max_rhat']:.3f}, ESS ≥ "
        f"{found['min_ess']:.0f}, {found['divergences']} divergences, peak "
        f"{found['peak_rss_gb']:.2f} GB."
    )
    return "\n".join([said, "", *lines, ""])


if __name__ == "__main__":
    main()
