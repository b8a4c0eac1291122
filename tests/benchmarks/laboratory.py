"""How long the laboratory's study takes: pretraining, log-probs, reward models and fit.

    python tests/benchmarks/laboratory.py                   # some two minutes on one core
    python tests/benchmarks/laboratory.py --out tests/benchmarks/laboratory.md    # for docs

The study is that of tests/lab/test_study.py and of the guide on the laboratory: 6 bases of 2
families × 2 sources × 3 numbers of pairs × 2 seeds, made in a fresh folder. It is to take no more
than 120 s.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
import laboratory
import tiny_models
from conditions import conditions

BOUND = 120
PACKAGES = {"torch": "PyTorch", "transformers": "transformers", "nutpie": "nutpie"}


def main() -> None:
    """Make the study once, and print how long each part took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="write the table here, too")
    args = parser.parse_args()
    reason = tiny_models.missing()
    if reason is not None:
        sys.stdout.write(f"skipped: {reason}\n")
        return
    with tempfile.TemporaryDirectory() as scratch:
        parts = study(Path(scratch))
    text = f"{head()}\n\n{table(parts)}"
    sys.stdout.write(f"{text}\n")
    if args.out:
        args.out.write_text(f"{text}\n", encoding="utf-8")


def study(folder: Path) -> dict[str, tuple[float, float]]:
    """Make the study; give seconds and processor seconds of each part."""
    parts: dict[str, tuple[float, float]] = {}
    last = (time.perf_counter(), processor_seconds())

    def done(part: str) -> None:
        nonlocal last
        now = (time.perf_counter(), processor_seconds())
        parts[part] = (now[0] - last[0], now[1] - last[1])
        last = now

    bases = laboratory.pretrained(folder)
    done(f"{len(bases)} language models pretrained")
    scores = laboratory.logprobs(bases)
    done(f"their log-probs of {scores.sizes['prompt']} prompts × {scores.sizes['response']} words")
    plan = laboratory.study(bases, {"neutral": 0.0, "communion": 0.25})
    rewards = plan.run(folder / "study", progress=False)
    done(f"{rewards.sizes['model']} reward models trained and scored")
    fit = laboratory.fitted(rewards)
    assert fit.fit is not None
    converged = fit.fit.diagnostics().converged
    done(f"`fit_ablation`, {'converged' if converged else 'not converged'}")
    return parts


def processor_seconds() -> float:
    """Give the processor time of this process so far, all threads together."""
    spent = os.times()
    return spent.user + spent.system


def head() -> str:
    """Say on what, with what."""
    threads = os.environ.get("OMP_NUM_THREADS")
    return (
        f"{conditions('python tests/benchmarks/laboratory.py', PACKAGES)}, "
        f"{f'{threads} thread' if threads else 'threads as PyTorch chooses'}, load "
        f"{os.getloadavg()[0]:.1f}. The bound is {BOUND} s on a machine that does nothing else."
    )


def table(parts: dict[str, tuple[float, float]]) -> str:
    """Lay the parts out, and their sum."""
    whole = tuple(map(sum, zip(*parts.values(), strict=True)))
    rows = [*parts.items(), ("together", whole)]
    return "| part | seconds | processor seconds |\n|---|---|---|\n" + "\n".join(
        f"| {name} | {wall:.0f} | {spent:.0f} |" for name, (wall, spent) in rows
    )


if __name__ == "__main__":
    main()
