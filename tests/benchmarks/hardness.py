"""What becomes of damaged files, killed processes and full disks: counts of all outcomes.

    python tests/benchmarks/hardness.py --n 300                                     # some minutes
    python tests/benchmarks/hardness.py --n 10000 --flips 400 \\
        --out tests/benchmarks/hardness.md                                            # two hours

Four parts, to be chosen by --parts. *mutations*: valid files of every kind that the package reads
are damaged, the same way for the same --seed, and read. *flips*: one bit of a file is turned round,
--flips bits spread over all files of each kind (0: every bit). *kills*: work that writes is killed
before each of its file operations, and while it writes; what lies there afterwards is read, or the
work is done again. *disks*: the same work on disks that are full, nearly full or read-only, which
takes the right to mount. In the last three also plain xarray and zarr, for comparison.

Every case runs in a child process with limits of time and memory. Ends with 1 if an outcome is
neither success with the right content nor a ValueBiasError.
"""

from __future__ import annotations

import argparse
import collections
import importlib
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
import hostile_kills
import hostile_mutations
from conditions import conditions
from hostile_children import LIMIT, MEMORY, Result, apart, run_all
from hostile_disks import STATES, can_mount, on_disk
from hostile_jobs import JOBS, PLAIN, Job
from hostile_subjects import PLAIN_SUBJECTS, SUBJECTS, Subject, differing

Counts = collections.Counter[str]
PARTS = ("mutations", "flips", "kills", "disks")
READ = ("same", "refused", "other content", "unseen", "raised", "crashed", "slow", "memory")
LEFT = ("old", "new", "refused", "unseen", "raised", "crashed")
TOLD = ("refused", "done", "raised", "crashed")
BAD = frozenset(("unseen", "raised", "crashed", "hung", "slow", "memory"))
HEADS = {
    "same": "same numbers", "refused": "`ValueBiasError`", "other content": "other, valid content",
    "unseen": "other, unseen", "raised": "other exception", "crashed": "crash or hang",
    "slow": f"over {LIMIT:.0f} s", "memory": f"over {MEMORY >> 20} MB", "old": "as before",
    "new": "as after", "done": "done",
}  # fmt: skip
PACKAGES = {"xarray": "xarray", "zarr": "zarr", "torch": "PyTorch", "transformers": "transformers"}
# Imported once, before any child is forked; nothing here may start a thread.
MODULES = ("torch", "transformers", "zarr", "h5py", "pymc", "gguf", "valuebias.backends.loading",
           "valuebias.fit_result", "valuebias.storage",
           "transformers.models.llama.modeling_llama")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Damage:
    """One damaged file: by a seed, or one bit of it."""

    subject: Subject
    source: Path
    good: str
    seed: int
    bit: int | None = None


@dataclass(frozen=True, slots=True)
class Kill:
    """One process that is killed: before an operation, or when a file grows beyond a size."""

    job: Job
    source: Path
    place: int
    by_size: bool


@dataclass
class Table:
    """Counts by kind of work, and the bad outcomes in words."""

    title: str
    columns: Sequence[str]
    rows: dict[str, Counts]
    bad: dict[str, int]

    def add(self, row: str, what: str, said: str = "", *, bad: bool | None = None) -> None:
        self.rows.setdefault(row, collections.Counter())[what] += 1
        if (what in BAD if bad is None else bad) and not row.startswith("plain"):
            key = f"{row} | {what} | {said[:300]}"
            self.bad[key] = self.bad.get(key, 0) + 1
            if self.bad[key] == 1:
                print(f"   ! {key}", flush=True)

    def text(self) -> str:
        head = ["", "cases", *(HEADS[column] for column in self.columns)]
        lines = [f"## {self.title}", "", f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
        total: Counts = collections.Counter()
        for row, counts in self.rows.items():
            if not row.startswith("plain"):
                total += counts
            lines.append(self._line(row, counts))
        return "\n".join([*lines, self._line("**all of valuebias**", total), ""])

    def _line(self, row: str, counts: Counts) -> str:
        cells = [f"{counts.get(column, 0) or '·'}" for column in self.columns]
        # On disks, each case has an outcome and something that lies there afterwards.
        n = sum(counts.values()) // (2 if "done" in self.columns else 1)
        return f"| {row} | {n:,} | {' | '.join(cells)} |"


# --- damaged files -------------------------------------------------------------------------------


def mutate(subjects: Sequence[Subject], n: int, place: Path, seed: int) -> Table:
    """Damage files and read them."""
    table = Table("Damaged files", READ, {}, {})
    total = sum(subject.weight for subject in subjects)
    for subject in subjects:
        source, good = _laid_out(subject, place)
        count = max(1, round(n * subject.weight / total))
        cases = [Damage(subject, source, good, seed * 1_000_003 + i) for i in range(count)]
        _read_all(table, subject, cases)
    return table


def flip(subjects: Sequence[Subject], n: int, place: Path, seed: int) -> Table:
    """Turn single bits round and read."""
    table = Table("Single bits", READ, {}, {})
    for subject in subjects:
        source, good = _laid_out(subject, place)
        size = 8 * sum(file.stat().st_size for file in subject.files(source))
        rng = random.Random(seed)
        bits = range(size) if not n or n >= size else sorted(rng.sample(range(size), n))
        _read_all(table, subject, [Damage(subject, source, good, seed, bit) for bit in bits])
    return table


def _laid_out(subject: Subject, place: Path) -> tuple[Path, str]:
    source = place / f"s{len(list(place.iterdir()))}"
    source.mkdir()

    def made() -> str:
        subject.make(source)
        return subject.read(source)

    return source, apart(made)


def _read_all(table: Table, subject: Subject, cases: Sequence[Damage]) -> None:
    begun = time.monotonic()

    def done(i: int, result: Result) -> None:
        what = {"done": result.said, "hung": "crashed"}.get(result.what, result.what)
        if what not in BAD and result.seconds > LIMIT:
            what = "slow"
        elif what not in BAD and result.memory > MEMORY:
            what = "memory"
        case = cases[i]
        about = f"{case.seed if case.bit is None else case.bit} {result.seconds:.1f} s"
        table.add(subject.name, what, f"{result.said} ({about}, {result.memory >> 20} MB)")

    run_all(cases, _read_damaged, done)
    said = dict(table.rows[subject.name])
    print(f"{subject.name}: {said} {time.monotonic() - begun:.0f} s", flush=True)


def _read_damaged(case: Damage) -> str:
    rng = random.Random(case.seed)
    with tempfile.TemporaryDirectory(dir=case.source.parent) as folder:
        copy = Path(shutil.copytree(case.source, Path(folder) / "x"))
        files = case.subject.files(copy)
        if case.bit is None:
            file = rng.choice(files)
            hostile_mutations.damage(file, rng)
        else:
            file = hostile_mutations.flip(files, case.bit)
        if case.subject.read(copy) == case.good:
            return "same"
        before = case.source / file.relative_to(copy)
        return "other content" if differing(case.subject, before, file) else "unseen"


# --- killed processes ----------------------------------------------------------------------------


def kill(jobs: Sequence[Job], place: Path, n_most: int) -> Table:
    """Kill work before each of its file operations, and while it writes."""
    table = Table("Killed processes", LEFT, {}, {})
    for job in jobs:
        begun = time.monotonic()
        source, old, new, n = _ends(job, place)
        most = min(n_most, job.n_most)
        cases = [Kill(job, source, at, False) for at in _spread(n, most)]
        cases += [Kill(job, source, size, True) for size in (0, 100, 1000, 4096, 20_000)]

        def done(
            i: int, result: Result, job: Job = job, old: str = old, new: str = new,
            cases: Sequence[Kill] = cases,
        ) -> None:  # fmt: skip
            what = {"done": "unseen", "hung": "crashed"}.get(result.what, result.what)
            if result.what == "done" and result.said in (old, new):
                what = "new" if result.said == new else "old"
            where = f"{'size' if cases[i].by_size else 'operation'} {cases[i].place}"
            table.add(job.name, what, f"{where}: {result.said}", bad=what not in ("old", "new"))

        run_all(cases, _look_after, done)
        print(f"{job.name}: {n} operations {dict(table.rows[job.name])} "
              f"{time.monotonic() - begun:.0f} s", flush=True)  # fmt: skip
    return table


def _spread(n: int, most: int) -> list[int]:
    return (
        list(range(n))
        if n <= most
        else sorted({round(i * (n - 1) / (most - 1)) for i in range(most)})
    )


def _ends(job: Job, place: Path) -> tuple[Path, str, str, int]:
    """Lay out what a job begins with; give hashes of what is read before and after, too."""
    source = place / f"j{len(list(place.iterdir()))}"
    source.mkdir()

    def before() -> str:
        job.make(source)
        return "" if job.again else job.read(source)

    def after() -> str:
        with tempfile.TemporaryDirectory(dir=place) as folder:
            copy = Path(shutil.copytree(source, Path(folder) / "x"))
            n = hostile_kills.count_operations(job.act, copy)
            return f"{job.read(copy)} {n}"

    old = apart(before)
    new, n = apart(after).split()
    return source, old, new, int(n)


def _look_after(case: Kill) -> str:
    with tempfile.TemporaryDirectory(dir=case.source.parent) as folder:
        copy = Path(shutil.copytree(case.source, Path(folder) / "x"))
        die = hostile_kills.killed_while_writing if case.by_size else hostile_kills.killed_before
        die(case.place, case.job.act, copy)
        if case.job.again:
            case.job.act(copy)
        return case.job.read(copy)


# --- disks ---------------------------------------------------------------------------------------


def disks(jobs: Sequence[Job], place: Path) -> Table:
    """Work on full, nearly full and read-only disks."""
    table = Table("Full, nearly full and read-only disks", (*TOLD, "old", "new", "unseen"), {}, {})
    if not can_mount(place):
        table.title += " (not run: no file system can be mounted here)"
        return table
    for job in jobs:
        source, old, new, _ = _ends(job, place)
        for state in STATES:
            made, found = on_disk(state, job, source, place / "disk")
            what = "crashed" if made.what == "hung" else made.what
            table.add(job.name, what, f"{state}: {made.said}")
            left = {old: "old", new: "new"}.get(found, "unseen")
            table.rows[job.name][left] += 1
            if left == "unseen" and not job.name.startswith("plain"):
                table.bad[f"{job.name} | left behind | {state}: {found[:300]}"] = 1
                print(f"   ! {job.name} | left behind | {state}: {found[:300]}", flush=True)
        print(f"{job.name}: {dict(table.rows[job.name])}", flush=True)
    return table


# --- all together --------------------------------------------------------------------------------


def run(
    parts: Sequence[str],
    *,
    n: int,
    n_flips: int = 100,
    n_kills: int = 10_000,
    seed: int = 1,
    only: Callable[[str], bool] = bool,
) -> list[Table]:
    """Run the parts; `only` chooses among subjects and jobs by their names."""
    for name in MODULES:
        importlib.import_module(name)
    before = dict(os.environ)
    try:
        with tempfile.TemporaryDirectory() as folder:
            os.environ.update(_alone(Path(folder)))
            return _run(parts, Path(folder), n, n_flips, n_kills, seed, only)
    finally:
        os.environ.clear()
        os.environ.update(before)


def _alone(folder: Path) -> dict[str, str]:
    """Leave no network, and no cache but one of its own."""
    (folder / "data").mkdir()
    proxies = [f"{scheme}_proxy" for scheme in ("http", "https")]
    return {
        "VALUEBIAS_CACHE": str(folder / "cache"),
        "VALUEBIAS_DATA": str(folder / "data"),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "NO_PROXY": "",
        "no_proxy": "",
        **{name: "http://127.0.0.1:9" for each in proxies for name in (each, each.upper())},
    }


def _run(
    parts: Sequence[str],
    folder: Path,
    n: int,
    n_flips: int,
    n_kills: int,
    seed: int,
    only: Callable[[str], bool],
) -> list[Table]:
    subjects = [subject for subject in SUBJECTS if only(subject.name)]
    plain = [subject for subject in PLAIN_SUBJECTS if only(subject.name)]
    stored = [subject for subject in subjects if not subject.excuse]
    jobs = [job for job in (*JOBS, *PLAIN) if only(job.name)]
    work: dict[str, Callable[[Path], Table]] = {
        "mutations": lambda place: mutate(subjects, n, place, seed),
        "flips": lambda place: flip([*stored, *plain], n_flips, place, seed),
        "kills": lambda place: kill(jobs, place, n_kills),
        "disks": lambda place: disks(jobs, place),
    }
    made = []
    for part in parts:
        place = folder / part
        place.mkdir()
        made.append(work[part](place))
    return made


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--n", type=int, default=300)
    parser.add_argument("--flips", type=int, default=100)
    parser.add_argument("--kills", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args(given)
    tables = run(asked.parts, n=asked.n, n_flips=asked.flips, n_kills=asked.kills,
                 seed=asked.seed, only=lambda name: asked.only in name)  # fmt: skip
    command = f"python tests/benchmarks/hardness.py --n {asked.n} --flips {asked.flips}"
    text = "\n".join(
        [conditions(command, PACKAGES) + f", seed {asked.seed}.", "", *map(_told, tables)]
    )
    if asked.out is not None:
        asked.out.write_text(text, encoding="utf-8")
    print(text)
    return int(any(table.bad for table in tables))


def _told(table: Table) -> str:
    bad = [f"- {count} ×: {said}" for said, count in table.bad.items()]
    return "\n".join([table.text(), *(["What should not be:", "", *bad, ""] if bad else [])])


if __name__ == "__main__":
    sys.exit(main())
