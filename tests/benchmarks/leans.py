"""What the laboratory shows with four seeds: gaps that are inherited, shrunk, or not there.

    python tests/benchmarks/leans.py                   # some eight minutes on one core
    python tests/benchmarks/leans.py --out tests/benchmarks/leans.md    # for docs

The study of tests/lab/test_study.py, with twice its seeds, and once more with no lean planted.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import xarray as xr

import valuebias

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
import laboratory
import tiny_models
from conditions import conditions

SEEDS = range(4)
NAMES = {"neutral": "neutral", "communion": "a quarter favours communion"}
PACKAGES = {"torch": "PyTorch", "transformers": "transformers", "nutpie": "nutpie"}


def main() -> None:
    """Make the study with and without leans, and print the gaps."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="write the table here, too")
    args = parser.parse_args()
    reason = tiny_models.missing()
    if reason is not None:
        sys.stdout.write(f"skipped: {reason}\n")
        return
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for name, leans in (("±1.5", laboratory.LEANS), ("none", {"Llama": 0.0, "Gemma": 0.0})):
            models = laboratory.train(Path(scratch) / name, leans=leans, seeds=SEEDS)
            rewards = laboratory.scores(models, kind="reward")
            for source, told in NAMES.items():
                cells = [gap(cell(rewards, source, n)) for n in laboratory.QUANTITIES]
                rows.append(" | ".join([f"| {name}", told, *cells]) + " |")
    quantities = " | ".join(f"{n} pairs" for n in laboratory.QUANTITIES)
    rules = "---|" * (2 + len(laboratory.QUANTITIES))
    table = "\n".join([f"| planted | preferences | {quantities} |", f"|{rules}", *rows])
    text = f"{conditions('python tests/benchmarks/leans.py', PACKAGES)}.\n\n{table}"
    sys.stdout.write(f"{text}\n")
    if args.out:
        args.out.write_text(f"{text}\n", encoding="utf-8")


def cell(rewards: xr.Dataset, source: str, n_pairs: int) -> xr.Dataset:
    """Give the reward models of one source and quantity."""
    there = (rewards["source"] == source) & (rewards["n_pairs"] == n_pairs)
    return rewards.isel(model=np.flatnonzero(there))


def gap(rewards: xr.Dataset) -> str:
    """Give the difference of the families, signed by framing, with its 90 % interval."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", valuebias.ValueBiasWarning)
        fit = valuebias.fit(rewards, "~ family", seed=1, progress=False)
    table = fit.contrasts(prob=0.9)
    there = (table["estimand"] == "family difference") & (table["framing"] == "signed")
    (row,) = table[there].to_dict("records")
    assert row["name"] == "Gemma − Llama"
    mean, lower, upper = (f"{row[k]:.2f}".replace("-", "−") for k in ("mean", "lower", "upper"))
    return f"{mean} ({lower}, {upper})"


if __name__ == "__main__":
    main()
