"""Whether `valuebias.design` predicts what fits find, and how long it takes.

    python tests/benchmarks/designs.py                                      # some half an hour
    python tests/benchmarks/designs.py --out tests/benchmarks/designs.md    # for docs

At three designs 400 crossings are simulated by `simulate`, whose own code draws them, and fitted by
`fit`. Their power and mean width are compared with those predicted from as many simulations, in
Monte Carlo errors of the difference. The time is that of 20 designs of the paper's sizes with 200
simulations each, on all cores.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import valuebias

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from conditions import conditions

# Bases of each family, models of each, prompts, words, effect.
POINTS = ((3, 1, 20, 100, 0.3), (4, 2, 10, 60, 0.2), (8, 1, 20, 100, 0.15))
DOUBT = 0.975


def fitted(task: tuple[int, tuple[int, int, int, int, float]]) -> tuple[float, float]:
    """Fit one simulated crossing; give whether the direction is right and sure, and the width."""
    seed, (n_bases, n_models, n_prompts, n_words, effect) = task
    half = effect / 2
    first = round(n_words * 104 / 263)
    scores = valuebias.simulate(
        n_models={"A": [n_models] * n_bases, "B": [n_models] * n_bases},
        n_prompts=n_prompts,
        n_words={"agency": first, "communion": n_words - first},
        effects={"A": half, "B": -half},
        seed=1000 + seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = valuebias.fit(
            scores, "~ family", outcome="raw", draws=400, chains=2, seed=seed, progress=False
        )
    row = fit.contrasts().iloc[0]
    sure = row["p_direction"] >= DOUBT and row["median"] > 0
    return float(sure), float(row["upper"] - row["lower"])


def compare(n: int, workers: int) -> list[str]:
    lines = [
        "| bases × models | prompts | words | effect | power of fits | predicted | difference in "
        "errors | width of fits | predicted | difference in errors |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for point in POINTS:
        n_bases, n_models, n_prompts, n_words, effect = point
        with ProcessPoolExecutor(workers) as pool:
            found = np.array(list(pool.map(fitted, [(s, point) for s in range(n)], chunksize=5)))
        # In parts, so that the width has an error of its own.
        parts = [
            valuebias.design(
                n_bases=n_bases, n_models=n_models, n_prompts=n_prompts, n_words=n_words,
                effect=effect, n_simulations=n // 20, seed=s, progress=False,
            ).iloc[0]
            for s in range(20)
        ]  # fmt: skip
        cells: list[str] = []
        for i, name in enumerate(("power", "width")):
            theirs = np.array([part[name] for part in parts], dtype=float)
            ours = found[:, i]
            error = np.hypot(theirs.std(ddof=1) / np.sqrt(20), ours.std(ddof=1) / np.sqrt(n))
            gap = (theirs.mean() - ours.mean()) / error
            cells += [f"{ours.mean():.3f}", f"{theirs.mean():.3f}", f"{gap:+.1f}"]
        sizes = f"| {n_bases} × {n_models} | {n_prompts} | {n_words} | {effect} | "
        lines.append(sizes + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    return lines


def timed() -> str:
    sizes: dict[str, Any] = {
        "n_bases": [3, 5, 8, 12, 20], "n_prompts": [10, 54], "n_words": [100, 263], "effect": 0.1,
    }  # fmt: skip
    start = time.perf_counter(), time.process_time()
    table = valuebias.design(n_simulations=200, seed=1, progress=False, **sizes)
    wall, cpu = time.perf_counter() - start[0], time.process_time() - start[1]
    return (
        f"{len(table)} designs × 200 simulations: {wall:.0f} s, {cpu:.0f} s of processor on "
        f"{os.cpu_count()} cores."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=400)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    about = conditions("python tests/benchmarks/designs.py", {"numpy": "NumPy", "nutpie": "nutpie"})
    lines = ["# Designs", "", about, "", *compare(options.n, options.workers), "", timed()]
    print(lines[-1])
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
