"""What becomes of damaged files, killed processes and full disks: counts of all outcomes.

    python tests/benchmarks/hardness.py --n 300 --flips 100 --kills 10               # some minutes
    python tests/benchmarks/hardness.py --keep hardness.jsonl \\
        --out tests/benchmarks/hardness.md                             # two hours of one processor

Five parts, to be chosen by --parts. *mutations*: valid files of every kind that the package reads
are damaged, the same way for the same --seed, and read; 200 or 400 of most kinds, 100 of those that
take long. *losses*: each file of every kind is gone, empty, or a folder. *flips*: bits of a file
are turned round, one at a time. Of files that are read in about a millisecond (netCDF, CSV and its
sidecar, heads, records, downloads) all bits, or one bit of each byte where there are more than
--flips x 8; of others that are read (Zarr, Parquet, stores of scores and of vocabularies) one bit
of each byte; of what takes longer (whatever is gone on with, checked, or compiled) --flips / 200
bits. *kills*: work that writes is killed before each of its file operations, and while it writes;
what lies there afterwards is read, or the work is done again. *disks*: the same work on disks that
are full, nearly full or read-only, which takes the right to mount. In the last three also plain
xarray and zarr, for comparison.

Every case runs in a child process with limits of time and memory, and in memory instead of on a
disk where /dev/shm is there. With --keep, a run that was stopped goes on where it was, and several
may share the work by --parts and --only. Ends with 1 if an outcome is neither success with the
right content nor a ValueBiasError.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
import hostile_kills
import hostile_mutations
from conditions import conditions
from hostile_children import LIMIT, MEMORY, Result, apart, run_all
from hostile_disks import STATES, can_mount, on_disk
from hostile_jobs import JOBS, PLAIN, Job
from hostile_ledger import Ledger, Piece, table
from hostile_subjects import PLAIN_SUBJECTS, SUBJECTS, Subject, differing

READ = ("same", "refused", "other content", "unseen", "raised", "crashed", "slow", "memory")
PARTS = {
    "mutations": ("Damaged files", READ),
    "losses": ("Files that are gone, empty or a folder", READ),
    "flips": ("Single bits", READ),
    "kills": ("Killed processes",
              ("old", "new", "refused after a kill", "unseen", "raised", "crashed")),
    "disks": ("Full, nearly full and read-only disks",
              ("refused", "done", "raised", "crashed", "old", "new", "unseen")),
}  # fmt: skip
PACKAGES = {"xarray": "xarray", "zarr": "zarr", "h5py": "h5py", "pyarrow": "pyarrow",
            "torch": "PyTorch", "transformers": "transformers"}  # fmt: skip
# Imported once, before any child is forked; nothing here may start a thread.
MODULES = ("torch", "transformers", "zarr", "h5netcdf", "pymc", "nutpie", "gguf", "peft",
           "trl.trainer.reward_trainer", "valuebias.reproduction.run",
           "transformers.convert_slow_tokenizer", "transformers.models.llama.modeling_llama",
           "valuebias.fitting.ablation", "valuebias.backends.torch_backend",
           "valuebias.checking.check", "valuebias.fitting.fit", "valuebias.scoring.run",
           "valuebias.scoring.keeping", "valuebias.posterior.saved")  # fmt: skip
SIZES = (0, 100, 1000, 4096, 20_000)
"""Beyond which a file must not grow, or the process dies in the middle of writing it."""
_PIECES = {"flips": 1000}
"""Cases to a line that is kept, where they are not 100."""
_MEMORY = "/dev/shm"  # noqa: S108 - folders of random names are made in it


@dataclass(frozen=True, slots=True)
class Asked:
    """How much of each part, and which names of rows."""

    n: int
    flips: int
    kills: int
    seed: int

    def of_each(self) -> dict[str, dict[str, int]]:
        """Say of each part what its counts depend on."""
        amounts = {"mutations": {"n": self.n}, "flips": {"flips": self.flips},
                   "kills": {"kills": self.kills}, "disks": {}}  # fmt: skip
        asked = {part: {**amount, "seed": self.seed} for part, amount in amounts.items()}
        return {**asked, "losses": {}}


@dataclass(frozen=True, slots=True)
class Damage:
    """One damaged file: by a seed, one bit of it, or a file by its place that is lost in a way."""

    subject: Subject
    source: Path
    good: str
    seed: str
    bit: int | None = None
    lost: tuple[int, str] | None = None


@dataclass(frozen=True, slots=True)
class Kill:
    """One process that is killed: before an operation, or when a file grows beyond a size."""

    job: Job
    source: Path
    place: int
    by_size: bool


# --- damaged files -------------------------------------------------------------------------------


def mutate(subject: Subject, ledger: Ledger, place: Path, asked: Asked) -> Iterator[None]:
    """Damage files and read them, piece by piece."""
    total = sum(one.weight for one in SUBJECTS)
    n = max(1, round(asked.n * subject.weight / total))
    for piece, last in _pieces(ledger, "mutations", subject.name, n):
        source, good = _laid_out(subject, place)
        seeds = [f"{asked.seed} {subject.name} {i}" for i in range(piece.first, last)]
        _read_all(piece, [Damage(subject, source, good, seed) for seed in seeds])
        ledger.add(piece)
        yield


def lose(subject: Subject, ledger: Ledger, place: Path, asked: Asked) -> Iterator[None]:
    """Lose each file in each way, and read, piece by piece."""
    ways = list(hostile_mutations.LOSSES)
    n = ledger.size("losses", subject.name)
    if n is None:
        n = len(ways) * len(subject.files(_laid_out(subject, place)[0]))
    for piece, last in _pieces(ledger, "losses", subject.name, n):
        source, good = _laid_out(subject, place)
        lost = [(i // len(ways), ways[i % len(ways)]) for i in range(piece.first, last)]
        files = [file.relative_to(source) for file in subject.files(source)]
        _read_all(
            piece,
            [Damage(subject, source, good, f"{files[i]}, {way}", lost=(i, way)) for i, way in lost],
        )
        ledger.add(piece)
        yield


def flip(subject: Subject, ledger: Ledger, place: Path, asked: Asked) -> Iterator[None]:
    """Turn single bits round and read, piece by piece."""
    n = ledger.size("flips", subject.name)
    if n is None:
        n = len(_bits(subject, _laid_out(subject, place)[0], asked))
    for piece, last in _pieces(ledger, "flips", subject.name, n):
        source, good = _laid_out(subject, place)
        bits = _bits(subject, source, asked)[piece.first : last]
        _read_all(piece, [Damage(subject, source, good, f"bit {bit}", bit) for bit in bits])
        _clear_kept(source, crashed=piece.counts["crashed"] > 0)
        ledger.add(piece)
        yield


def _bits(subject: Subject, source: Path, asked: Asked) -> Sequence[int]:
    size = sum(file.stat().st_size for file in subject.files(source))
    rng = random.Random(f"{asked.seed} {subject.name}")
    most = max(1, round(asked.flips * subject.bits))
    bits = list(range(8 * size))
    if size <= most < 8 * size:
        bits = [8 * byte + rng.randrange(8) for byte in range(size)]
    elif most < size:
        bits = rng.sample(bits, most)
    # In any order, so that a run that is stopped has seen all places.
    rng.shuffle(bits)
    return bits


def _pieces(ledger: Ledger, part: str, row: str, n: int) -> Iterator[tuple[Piece, int]]:
    """Give the pieces that are not done yet, each with where it ends."""
    size = _PIECES.get(part, 100)
    for first in range(0, n, size):
        if not ledger.has(part, row, first):
            yield Piece(part, row, first, n), min(n, first + size)


@cache
def _laid_out(subject: Subject, place: Path) -> tuple[Path, str]:
    """Give the folder that subjects made the same way share, and a hash of what is read there."""
    source = _made(subject.make, place)

    def read() -> str:
        with tempfile.TemporaryDirectory(dir=place) as folder:
            return subject.read(Path(shutil.copytree(source, Path(folder) / "x")))

    return source, apart(read)


@cache
def _made(make: Callable[[Path], Any], place: Path) -> Path:
    source = Path(tempfile.mkdtemp(dir=place))
    apart(lambda: str(make(source) and ""))
    return source


def _read_all(piece: Piece, cases: Sequence[Damage]) -> None:
    slow: list[Damage] = []

    def done(case: Damage, result: Result, *, again: bool = False) -> None:
        what = result.said if result.what == "done" else result.what
        if what != "crashed" and result.seconds > LIMIT:
            # What is imported first, in one case only, does not count.
            if not again:
                slow.append(case)
                return
            what = "slow"
        elif what != "crashed" and result.memory > MEMORY:
            what = "memory"
        about = f"{case.seed}, {result.seconds:.1f} s, {result.memory >> 20} MB"
        piece.add(what, f"{result.said} ({about})")

    run_all(cases, _read_damaged, lambda i, result: done(cases[i], result))
    for case in slow:
        run_all([case], _read_damaged, lambda _, result, c=case: done(c, result, again=True))


def _read_damaged(case: Damage) -> str:
    if case.bit is not None and case.subject.bits >= 1:
        return _read_in_place(case, case.bit)
    rng = random.Random(case.seed)
    with tempfile.TemporaryDirectory(dir=case.source.parent) as folder:
        copy = Path(shutil.copytree(case.source, Path(folder) / "x"))
        files = case.subject.files(copy)
        if case.lost is not None:
            file = files[case.lost[0]]
            hostile_mutations.LOSSES[case.lost[1]](file)
        elif case.bit is None:
            file = rng.choice(files)
            hostile_mutations.damage(file, rng)
        else:
            file = hostile_mutations.flip(files, case.bit)
        if case.subject.after is not None:
            case.subject.after(copy)
        return _told_apart(case, copy, file)


def _told_apart(case: Damage, copy: Path, file: Path) -> str:
    if case.subject.read(copy) == case.good:
        return "same"
    before = case.source / file.relative_to(copy)
    return "other content" if differing(case.subject, before, file) else "unseen"


def _read_in_place(case: Damage, bit: int) -> str:
    """Turn a bit round, and back once it is read: to copy a folder of files takes longer."""
    copy = _kept(case.source, os.getpid())
    files = case.subject.files(copy)
    file = hostile_mutations.flip(files, bit)
    try:
        return _told_apart(case, copy, file)
    finally:
        hostile_mutations.flip(files, bit)


@cache
def _kept(source: Path, pid: int) -> Path:
    return Path(shutil.copytree(source, source.with_name(f"{source.name}.{pid}")))


def _clear_kept(source: Path, *, crashed: bool) -> None:
    """Remove copies of processes that have ended; all bits must be as they were."""
    for copy in source.parent.glob(f"{source.name}.*"):
        if not crashed and _content(copy) != _content(source):
            raise RuntimeError(f"Reading has changed {copy}.")
        shutil.rmtree(copy)


def _content(folder: Path) -> dict[Path, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder): path.read_bytes() for path in files}


# --- killed processes ----------------------------------------------------------------------------


def kill(job: Job, ledger: Ledger, place: Path, asked: Asked) -> Iterator[None]:
    """Kill work before each of its file operations, and while it writes, piece by piece."""
    n = ledger.size("kills", job.name)
    if n is None:
        n = min(_ends(job, place)[3], asked.kills) + len(SIZES)
    for piece, last in _pieces(ledger, "kills", job.name, n):
        source, old, new, n_operations = _ends(job, place)
        cases = [Kill(job, source, at, False) for at in _spread(n_operations, n - len(SIZES))]
        cases += [Kill(job, source, size, True) for size in SIZES]
        chosen = cases[piece.first : last]

        def done(i: int, result: Result, old: str = old, new: str = new,
                 chosen: Sequence[Kill] = chosen, piece: Piece = piece) -> None:  # fmt: skip
            what = {"done": "unseen", "refused": "refused after a kill"}.get(
                result.what, result.what)  # fmt: skip
            if result.what == "done" and result.said in (old, new):
                what = "new" if result.said == new else "old"
            where = "a file of the size" if chosen[i].by_size else "operation"
            piece.add(what, f"{where} {chosen[i].place}: {result.said}")

        run_all(chosen, _look_after, done, patience=120)
        ledger.add(piece)
        yield


def _spread(n: int, most: int) -> list[int]:
    if n <= most:
        return list(range(n))
    return sorted({round(i * (n - 1) / max(1, most - 1)) for i in range(most)})


@cache
def _ends(job: Job, place: Path) -> tuple[Path, str, str, int]:
    """Lay out what a job begins with; give hashes of what is read before and after, too."""
    source = Path(tempfile.mkdtemp(dir=place))

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
        if case.job.ready is not None:
            case.job.ready(case.source)
        die = hostile_kills.killed_while_writing if case.by_size else hostile_kills.killed_before
        die(case.place, case.job.act, copy)
        if case.job.again:
            case.job.act(copy)
        return case.job.read(copy)


# --- disks ---------------------------------------------------------------------------------------


def fill(job: Job, ledger: Ledger, place: Path, asked: Asked) -> Iterator[None]:
    """Work on full, nearly full and read-only disks."""
    for piece, _ in _pieces(ledger, "disks", job.name, len(STATES)):
        source, old, new, _ = _ends(job, place)
        for state in STATES:
            made, found = on_disk(state, job, source, place / "disk")
            piece.add(made.what, f"{state}: {made.said}")
            piece.add({old: "old", new: "new"}.get(found, "unseen"), f"{state}, left: {found}")
        ledger.add(piece)
        yield


# --- all together --------------------------------------------------------------------------------


def run(parts: Sequence[str], ledger: Ledger, asked: Asked, only: str, until: float) -> None:
    """Do what the ledger has not got yet, a piece of each row in turn."""
    for name in MODULES:
        importlib.import_module(name)
    # On a disk, most cases would wait for it.
    place = _MEMORY if os.access(_MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=place) as folder, _alone(Path(folder)):
        work = [one for part in parts for one in _rows(part, ledger, Path(folder), asked, only)]
        while work and time.monotonic() < until:
            for one in list(work):
                if time.monotonic() >= until:
                    break
                if next(one, work) is work:
                    work.remove(one)
        if work:
            print(f"stopped; {len(work)} rows are unfinished", flush=True)


def _rows(
    part: str, ledger: Ledger, folder: Path, asked: Asked, only: str
) -> Iterator[Iterator[None]]:
    # Parts of the same rows share what is laid out.
    place = folder / ("subjects" if PARTS[part][1] is READ else "jobs")
    place.mkdir(exist_ok=True)
    if part == "disks" and not can_mount(place):
        print("no file system can be mounted here: no disks are filled", flush=True)
        return
    how: dict[str, Any] = {"mutations": mutate, "losses": lose, "flips": flip, "kills": kill,
                           "disks": fill}  # fmt: skip
    for one in _subjects_or_jobs(part):
        if re.search(only, one.name):
            yield _told(how[part](one, ledger, place, asked), part, one.name, ledger)


def _subjects_or_jobs(part: str) -> Sequence[Any]:
    sealed = [subject for subject in SUBJECTS if not subject.excuse]
    flipped = (*sealed, *PLAIN_SUBJECTS)
    rows = {"mutations": SUBJECTS, "losses": SUBJECTS, "flips": flipped}
    return rows.get(part, (*JOBS, *PLAIN))


def _told(pieces: Iterator[None], part: str, row: str, ledger: Ledger) -> Iterator[None]:
    """Print how far a row has come after each of its pieces."""
    begun = time.monotonic()
    for _ in pieces:
        done = [piece for piece in ledger.pieces(part) if piece.row == row]
        n = sum(sum(piece.counts.values()) for piece in done)
        print(f"{part}, {row}: {n} of {done[0].of}, {time.monotonic() - begun:.0f} s", flush=True)
        yield
        begun = time.monotonic()


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Leave no network, and no cache but one of its own."""
    before = dict(os.environ)
    (folder / "data").mkdir()
    proxies = [f"{scheme}_proxy" for scheme in ("http", "https")]
    os.environ.update({
        "VALUEBIAS_CACHE": str(folder / "cache"),
        "VALUEBIAS_DATA": str(folder / "data"),
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "NO_PROXY": "",
        "no_proxy": "",
        **{name: "http://127.0.0.1:9" for each in proxies for name in (each, each.upper())},
    })  # fmt: skip
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def report(ledger: Ledger, parts: Sequence[str], command: str, seed: int) -> tuple[str, bool]:
    """Write all tables; tell whether all is as it should be."""
    made = [f"{conditions(command, PACKAGES)}, seed {seed}.", ""]
    for part in parts:
        title, columns = PARTS[part]
        rows = [one.name for one in _subjects_or_jobs(part)]
        if any(True for _ in ledger.pieces(part)):
            made.append(table(ledger, part, title, rows, columns))
    good = not any(piece.bad for part in parts for piece in ledger.pieces(part))
    return "\n".join(made), good


def main(given: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--n", type=int, default=15_000, help="damaged files")
    parser.add_argument("--flips", type=int, default=40_000, help="bits of a kind")
    parser.add_argument("--kills", type=int, default=10_000, help="the most places of one work")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="a regular expression of rows")
    parser.add_argument("--keep", type=Path, help="file to go on with")
    parser.add_argument("--seconds", type=float, default=1e9, help="after which to stop")
    parser.add_argument("--out", type=Path, help="write the tables here, too")
    given_ = parser.parse_args(given)
    asked = Asked(given_.n, given_.flips, given_.kills, given_.seed)
    ledger = Ledger(given_.keep, asked.of_each())
    if given_.seconds > 0:
        run(given_.parts, ledger, asked, given_.only, time.monotonic() + given_.seconds)
    command = f"python tests/benchmarks/hardness.py --n {asked.n} --flips {asked.flips}"
    text, good = report(ledger, given_.parts, command, asked.seed)
    if given_.out is not None:
        given_.out.write_text(text, encoding="utf-8")
    print(text)
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
