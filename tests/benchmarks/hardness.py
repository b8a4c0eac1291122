"""What becomes of damaged files, killed processes and full disks: counts of all outcomes.

python tests/benchmarks/hardness.py --n 300                              # some minutes
python tests/benchmarks/hardness.py --n 10000 --out tests/benchmarks/hardness.md
"""

from __future__ import annotations

import argparse
import collections
import importlib
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
import hostile_children
import hostile_mutations
from hostile_subjects import SUBJECTS, Subject


@dataclass(frozen=True, slots=True)
class Case:
    """One damage."""

    subject: Subject
    source: Path
    seed: int


def mutate(
    subjects: Sequence[Subject], n: int, place: Path, seed: int = 1
) -> dict[str, collections.Counter[str]]:
    """Damage files and read them; count the outcomes by subject."""
    counts: dict[str, collections.Counter[str]] = {}
    total = sum(subject.weight for subject in subjects)
    told: dict[str, int] = collections.Counter()
    for subject in subjects:
        begun = time.monotonic()
        source = place / f"{SUBJECTS.index(subject)}"
        source.mkdir()
        good = hostile_children.apart(lambda: _made(subject, source))
        cases = [
            Case(subject, source, seed * 1_000_003 + i)
            for i in range(max(1, round(n * subject.weight / total)))
        ]
        count: collections.Counter[str] = collections.Counter()

        def done(i: int, result: hostile_children.Result) -> None:
            what = result.what
            if what == "done":
                what = "same" if result.said == good else "other"
            if what in ("same", "other", "refused"):
                if result.seconds > hostile_children.LIMIT:
                    what = "slow"
                elif result.memory > hostile_children.MEMORY:
                    what = "memory"
            count[what] += 1
            bad = what not in ("same", "refused") and not (what == "other" and subject.excuse)
            if bad:
                key = f"{subject.name} | {what} | {result.said[:230]}"
                told[key] += 1
                if told[key] == 1:
                    print(
                        f"  {cases[i].seed} {key} {result.seconds:.1f}s {result.memory >> 20}MB",
                        flush=True,
                    )

        hostile_children.run_all(cases, _run, done)
        counts[subject.name] = count
        print(f"{subject.name}: {dict(count)} {time.monotonic() - begun:.0f}s", flush=True)
        shutil.rmtree(source)
    return counts


def _made(subject: Subject, source: Path) -> str:
    subject.make(source)
    return subject.read(source)


def _run(case: Case) -> str:
    rng = random.Random(case.seed)
    with tempfile.TemporaryDirectory(dir=case.source.parent) as folder:
        copy = Path(shutil.copytree(case.source, Path(folder) / "x"))
        file = rng.choice(case.subject.files(copy))
        hostile_mutations.damage(file, rng)
        return case.subject.read(copy)


for name in (
    "torch",
    "transformers",
    "zarr",
    "h5py",
    "pymc",
    "gguf",
    "valuebias.backends.loading",
    "valuebias.fit_result",
    "valuebias.storage",
    "transformers.models.llama.modeling_llama",
):
    importlib.import_module(name)

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        mutate([s for s in SUBJECTS if asked.only in s.name], asked.n, Path(folder), asked.seed)
