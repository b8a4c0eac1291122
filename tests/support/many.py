"""Run something for many seeds, so that what is done stays done.

Results are lines of JSON, appended one by one; a run that was stopped goes on where it was, and a
line that was cut short is done again.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from valuebias._core.atomic import atomic_path
from valuebias._core.progress import progress_bar

__all__ = ["add_options", "results", "run_all", "show", "simulated"]

Task = tuple[str, int]
Result = dict[str, Any]


def add_options(parser: ArgumentParser, *, n: int, what: str) -> None:
    """Add what every study of simulations can be asked: how many, on what, kept where."""
    parser.add_argument("--n", type=int, default=n, help=what)
    parser.add_argument("--jobs", type=int, default=1, help="how many processes")
    parser.add_argument("--store", type=Path, help="folder in which results are kept")
    parser.add_argument("--table", action="store_true", help="run nothing")
    parser.add_argument("--out", type=Path, help="write what is printed here, too")


def simulated(
    one: Callable[[str, int], Result],
    tasks: Sequence[Task],
    asked: Namespace,
    *,
    file: str,
    design: Callable[[str], str],
) -> list[Result]:
    """Run what is missing, unless no more than a table was asked for; give what there is."""
    with TemporaryDirectory() as scratch:
        store = (asked.store or Path(scratch)) / file
        if not asked.table:
            run_all(one, tasks, store=store, design=design, jobs=asked.jobs)
        chosen = set(tasks)
        return [r for r in results(store, design) if (r["name"], r["seed"]) in chosen]


def show(text: str, out: Path | None) -> None:
    """Print a table, and write it where it is asked for."""
    sys.stdout.write(text)
    if out:
        with atomic_path(out) as part:
            part.write_text(text, encoding="utf-8")


def run_all(
    one: Callable[[str, int], Result],
    tasks: Sequence[Task],
    *,
    store: Path,
    design: Callable[[str], str],
    jobs: int = 1,
    shown: bool = True,
) -> None:
    """Run ``one(name, seed)`` for the tasks that the store lacks.

    ``design(name)`` says what was run: results of another design do not count. ``one`` is a
    function of a module, so that other processes find it.
    """
    done = {(r["name"], r["seed"]) for r in results(store, design)}
    left = [task for task in tasks if task not in done]
    store.parent.mkdir(parents=True, exist_ok=True)
    _end_last_line(store)
    with (
        store.open("a", encoding="utf-8") as lines,
        progress_bar("simulating", shown=shown) as advance,
        _finished(one, left, jobs) as finished,
    ):
        for count, ((name, seed), result) in enumerate(finished, start=1):
            record = {"name": name, "seed": seed, "design": design(name), **result}
            lines.write(json.dumps(record) + "\n")
            lines.flush()
            if advance is not None:
                advance(count, len(left))


def results(store: Path, design: Callable[[str], str]) -> list[Result]:
    """Read what there is of the present design."""
    if not store.exists():
        return []
    found = [_parsed(line) for line in store.read_text(encoding="utf-8").splitlines()]
    return [r for r in found if r is not None and r["design"] == design(r["name"])]


@contextmanager
def _finished(
    one: Callable[[str, int], Result], tasks: Sequence[Task], jobs: int
) -> Iterator[Iterator[tuple[Task, Result]]]:
    if jobs == 1:
        yield ((task, one(*task)) for task in tasks)
        return
    # Spawned, because forking a process that has compiled code and threads is not safe.
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))
    try:
        futures = {pool.submit(one, *task): task for task in tasks}
        yield ((futures[future], future.result()) for future in as_completed(futures))
    finally:
        pool.shutdown(cancel_futures=True)


def _end_last_line(store: Path) -> None:
    if store.exists() and store.read_bytes()[-1:] != b"\n":
        with store.open("ab") as file:
            file.write(b"\n")


def _parsed(line: str) -> Result | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and {"name", "seed", "design"} <= set(found) else None
