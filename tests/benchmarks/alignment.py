"""How fast vocabularies are aligned and paired, beside tables: CSV, sort, drop_duplicates, merge.

    python tests/benchmarks/alignment.py               # a pair and twelve models, some minutes
    python tests/benchmarks/alignment.py --only pair   # one case

Vocabularies are simulated at full size: tokens that repeat each other's texts, a hundred thousand
texts that all models share, log-probs after 54 prompts. Ours are read from a store as scoring
leaves it. The peer gets one CSV per model, as the authors of the paper release them; the number
"after loading" leaves out reading on both sides.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

import valuebias
from valuebias.schema import build

PROMPTS = valuebias.prompts()
HEAD = "| case | ours, s | tables, s | ratio | peak RSS, GB |\n|---|---|---|---|---|\n"
LARGE, SIZES = 262_144, (128_256, 151_936, 256_000, 262_144)


def main() -> None:
    """Run the cases asked for, each in a process of its own, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=list(CASES), action="append")
    parser.add_argument("--case", choices=list(CASES), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        with tempfile.TemporaryDirectory() as folder:
            sys.stdout.write(json.dumps(CASES[args.case](Path(folder))) + "\n")
        return
    sys.stdout.write(HEAD)
    for name in args.only or CASES:
        command = [sys.executable, __file__, "--case", name]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        for row in json.loads(done.stdout.splitlines()[-1]):
            sys.stdout.write(f"| {' | '.join(row)} |\n")
            sys.stdout.flush()


def vocabulary(name: str, family: str, size: int, seed: int) -> xr.Dataset:
    """Simulate one model's log-probs."""
    rng = np.random.default_rng(seed)
    shared = [f"word{i}" for i in range(100_000)]
    own = [f"{name} {i // 2}" for i in range(size - len(shared) - 3000)]
    texts = np.array([*shared, *own, *["\ufffd"] * 3000], dtype="U")[rng.permutation(size)]
    logits = rng.normal(0, 3, (1, len(PROMPTS), size)).astype(np.float32)
    logits -= np.log(np.exp(logits).sum(axis=2, keepdims=True))
    about = {"family": [family], "base": [name], "stage": ["pretrained"]}
    ds = build(
        logits,
        models=pd.DataFrame(about, index=[name]),
        prompts=PROMPTS,
        responses=[f"t{i}" for i in range(size)],
        kind="logprob",
    )
    return ds.assign_coords(token_id=("response", np.arange(size)), decoded=("response", texts))


def write(folder: Path, names: dict[str, tuple[str, int]], *, csv: bool) -> Path:
    """Write a store, and for the peer a CSV per model."""
    store = folder / "vocabularies.zarr"
    for seed, (name, (family, size)) in enumerate(names.items()):
        ds = vocabulary(name, family, size, seed)
        ds.to_zarr(store, group=name, mode="a", zarr_format=2, consolidated=False)
        if csv:
            frame = pd.DataFrame(ds["score"].to_numpy()[0].T, columns=list(PROMPTS.table.index))
            frame.insert(0, "token_decoded", ds["decoded"].to_numpy())
            frame.to_csv(folder / f"{name}.csv", index=False)
    return store


def timed(work: Callable[[], object]) -> float:
    """Time once, in seconds."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def by_tables(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """Pair two models prompt by prompt: highest first, one row a text, joined on text."""
    made = {}
    for prompt in PROMPTS.table.index:
        parts = [
            frame[["token_decoded", prompt]]
            .sort_values(prompt, ascending=False)
            .drop_duplicates("token_decoded")
            for frame in frames
        ]
        both = parts[0].merge(parts[1], on="token_decoded", suffixes=("_p", "_q"))
        p, q = both[f"{prompt}_p"], both[f"{prompt}_q"]
        scores = 0.5 * (np.exp(p) + np.exp(q)) * (p - q)
        made[prompt] = pd.Series(scores.to_numpy(), index=both["token_decoded"])
    return pd.DataFrame(made)


def pair(folder: Path) -> list[tuple[str, ...]]:
    """Align two models of 262k tokens and read them as one, ours and by tables."""
    names = {"a": ("A", LARGE), "b": ("B", LARGE)}
    store = write(folder, names, csv=True)
    made: dict[str, xr.Dataset] = {}

    def ours(tree: xr.DataTree) -> None:
        aligned = valuebias.align(tree)
        made["ours"] = valuebias.implicit(aligned, numerator="A", denominator="B")

    loaded = xr.open_datatree(store, engine="zarr", consolidated=False).load()
    after = timed(lambda: ours(loaded))
    whole = timed(lambda: ours(xr.open_datatree(store, engine="zarr", consolidated=False)))
    frames: list[pd.DataFrame] = []
    read = timed(
        lambda: frames.extend(
            pd.read_csv(folder / f"{name}.csv", keep_default_na=False) for name in names
        )
    )
    tables: dict[str, pd.DataFrame] = {}
    theirs = timed(lambda: tables.update(made=by_tables(frames)))
    found = made["ours"]["score"].to_numpy()[0].T
    wanted = tables["made"].loc[made["ours"]["response"].to_numpy()].to_numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-9)
    return [
        row("a pair, 262k × 54, aligned and paired, after loading", after, theirs),
        row("the same with reading (store; CSV)", whole, read + theirs),
    ]


def twelve(folder: Path) -> list[tuple[str, ...]]:
    """Align twelve models of 128k to 262k tokens from a store."""
    names = {f"m{i}": ("AB"[i % 2], SIZES[i % 4]) for i in range(12)}
    store = write(folder, names, csv=False)
    # In a process of its own: making the vocabularies takes more memory than aligning them.
    code = (
        "import json, resource, sys, time, xarray as xr, valuebias\n"
        "start = time.perf_counter()\n"
        "tree = xr.open_datatree(sys.argv[1], engine='zarr', consolidated=False)\n"
        "ds = valuebias.align(tree)\n"
        "seconds = time.perf_counter() - start\n"
        "rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9\n"
        "print(json.dumps([seconds, rss, dict(ds.sizes)]))\n"
    )
    command = [sys.executable, "-c", code, str(store)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    seconds, rss, sizes = json.loads(done.stdout.splitlines()[-1])
    assert sizes["model"] == 12
    case = "twelve models, 128k–262k × 54, from a store"
    return [(case, f"{seconds:.1f}", "–", "–", f"{rss:.2f}")]


def row(case: str, ours: float, theirs: float) -> tuple[str, ...]:
    """Lay a comparison out."""
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return case, f"{ours:.1f}", f"{theirs:.1f}", f"{theirs / ours:.1f}", f"{rss:.1f} (both)"


CASES = {"pair": pair, "twelve": twelve}

if __name__ == "__main__":
    main()
