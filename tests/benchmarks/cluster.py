"""How fast workers of a Dask cluster score, and what dealing a million blocks to them takes.

    python tests/benchmarks/cluster.py --out tests/benchmarks/cluster.md

The same words are scored by one and by two workers of one thread each, in turn, and without Dask by
one process of one thread and by two that have half of the prompts each, which is what the machine
itself gives for a second process. Then blocks are dealt to workers that answer
at once and compute nothing, in this process: what remains is the dealing itself.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
import tracemalloc
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from distributed import Client, LocalCluster

import valuebias
from valuebias.backends.torch_backend import TorchBackend
from valuebias.scoring.request import Block, blocks
from valuebias.scoring.scheduling import Dealer

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from conditions import conditions
from small_models import reward_model

PACKAGES = {"torch": "PyTorch", "transformers": "transformers", "distributed": "distributed"}


def main() -> None:
    """Measure, and lay it out."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--prompts", type=int, default=88)
    parser.add_argument("--units", type=int, default=10**6)
    parser.add_argument("--workers", type=int, nargs="+", default=[8, 1000])
    parser.add_argument("--skip-speed", action="store_true", help="only deal")
    parser.add_argument("--out", type=Path, help="write the tables here, too")
    args = parser.parse_args()
    load = os.getloadavg()[0]
    tables = [] if args.skip_speed else [speed(args.prompts, args.rounds)]
    tables.append(dealing(args.units, args.workers))
    head = (
        f"{conditions('python tests/benchmarks/cluster.py', PACKAGES)}, load {load:.1f} before "
        f"and {os.getloadavg()[0]:.1f} after."
    )
    text = "\n\n".join([head, *tables, ""])
    sys.stdout.write(text)
    if args.out:
        args.out.write_text(text, encoding="utf-8")


def speed(n_prompts: int, rounds: int) -> str:
    """Score with one worker, with two and with none."""
    folder = reward_model("smollm2")
    prompts = {
        f"p{i}": {"text": f"What, in one word, is the best thing of {1900 + i}?",
                  "framing": "positive"}
        for i in range(n_prompts)
    }  # fmt: skip
    asked: dict[str, Any] = {"prompts": prompts, "progress": False}
    names = ("one process", "1 worker", "2 processes", "2 workers")
    taken: dict[str, list[float]] = {name: [] for name in names}
    # Of all processes together, and of the one with the most to do.
    busy: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    scores: dict[str, np.ndarray] = {}
    options = {"threads_per_worker": 1, "dashboard_address": ":0"}
    with (
        # Before Dask sets what changes how processes that are started here keep memory.
        _started(ProcessPoolExecutor(2, get_context("spawn"))) as pool,
        LocalCluster(n_workers=1, **options) as one,
        LocalCluster(n_workers=2, **options) as two,
        Client(one) as of_one,
        Client(two) as of_two,
    ):
        clients = {"1 worker": of_one, "2 workers": of_two}
        for i in range(rounds + 1):  # the first imports and compiles
            for name in names:
                some = asked if i else asked | {"prompts": dict(list(prompts.items())[:4])}
                client = clients.get(name)
                before, start = _busy(client), time.perf_counter()
                if name == "2 processes":
                    halves = _halves(pool, folder, some)
                    made = np.concatenate([half for half, _ in halves], axis=1)
                else:
                    ds = valuebias.score(folder, client=client, backend=_engine(), **some)
                    made = ds["score"].to_numpy()
                wall, after = time.perf_counter() - start, _busy(client)
                scores[name] = made
                if i:
                    spent = [after[process] - before[process] for process in before]
                    if name == "2 processes":
                        spent += [seconds for _, seconds in halves]
                    taken[name].append(wall)
                    busy[name].append((sum(spent), max(spent)))
    n = scores["1 worker"].size
    rows = []
    for name in names:
        ratio = min(taken["1 worker"]) / min(taken[name])
        together, most = map(min, zip(*busy[name], strict=True))
        same = "yes" if np.array_equal(scores[name], scores["one process"]) else "no"
        rows.append(
            f"| {name} | {min(taken[name]):.1f} | {together:.1f} | {most:.1f} | "
            f"{n / min(taken[name]):.0f} | {ratio:.2f} | {same} |"
        )
    return "\n".join(
        [
            f"Rewards of SmolLM2-135M in float32, {n_prompts} prompts × {n // n_prompts} words, "
            f"one thread each, loading the model included; the least of {rounds}, in turn. Seconds "
            "of processors count this process and those that compute; other work of the machine "
            "lengthens these, too, but less.",
            "",
            "| | seconds | of processors | of the busiest process | pairs/s | of 1 worker | "
            "bits of one process |",
            "|---|---|---|---|---|---|---|",
            *rows,
        ]
    )


def _engine() -> TorchBackend:
    return TorchBackend(threads=1)


def _started(pool: ProcessPoolExecutor) -> ProcessPoolExecutor:
    list(pool.map(time.sleep, [1.0, 1.0]))
    return pool


def _half(folder: Path, asked: dict[str, Any]) -> tuple[np.ndarray, float]:
    """Score in a process of its own; give the seconds of processors, too."""
    before = time.process_time()
    scores = valuebias.score(folder, backend=_engine(), **asked)["score"].to_numpy()
    return scores, time.process_time() - before


def _halves(
    pool: ProcessPoolExecutor, folder: Path, asked: dict[str, Any]
) -> list[tuple[np.ndarray, float]]:
    prompts = list(asked["prompts"].items())
    middle = len(prompts) // 2
    parts = [asked | {"prompts": dict(some)} for some in (prompts[:middle], prompts[middle:])]
    return list(pool.map(_half, [folder, folder], parts))


def _busy(client: Client | None) -> dict[str, float]:
    """Seconds of processors so far: this process's, and those of the workers."""
    of_workers = {} if client is None else client.run(time.process_time)
    return {"here": time.process_time(), **of_workers}


class Nothing:
    """A model whose scores are nothing."""

    name, group, weight, in_order = "nothing", "nothing", 1.0, False

    def __init__(self, todo: Sequence[Block]) -> None:
        self.todo, self.kept = todo, 0

    def begin(self) -> Sequence[Block]:
        return self.todo

    def keep(self, block: Block, answer: object) -> bool:
        self.kept += 1
        return True

    def end(self) -> None: ...


class AtOnce:
    """Workers that answer at once."""

    def __init__(self, n: int) -> None:
        self.present = frozenset(f"tcp://10.0.{i // 256}.{i % 256}:4000" for i in range(n))
        self.asked: deque[int] = deque()
        self.number = 0

    def workers(self) -> frozenset[str]:
        return self.present

    def submit(self, worker: str, job: object, block: Block, ahead: Block | None) -> int:
        self.number += 1
        self.asked.append(self.number)
        return self.number

    def answers(self, seconds: float) -> Iterator[tuple[int, object]]:
        yield self.asked.popleft(), None

    def forget(self, numbers: Iterable[int]) -> None: ...


def dealing(units: int, workers: Sequence[int]) -> str:
    """Deal blocks of one model."""
    todo = list(blocks(units, 1, (1, 1)))
    rows = []
    for n in workers:
        model = Nothing(todo)
        start = time.perf_counter()
        Dealer([model], AtOnce(n)).run()  # type: ignore[list-item]
        seconds = time.perf_counter() - start
        assert model.kept == units
        few = Nothing(todo[: units // 20])
        tracemalloc.start()
        Dealer([few], AtOnce(n)).run()  # type: ignore[list-item]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        rows.append(
            f"| {n:,} | {seconds:.1f} | {seconds / units * 1e6:.1f} | {peak / 2**10:,.0f} | "
            f"{peak / n / 2**10:.1f} |"
        )
    tracemalloc.start()
    kept = list(blocks(units // 20, 1, (1, 1)))
    each = tracemalloc.get_traced_memory()[0] / len(kept)
    tracemalloc.stop()
    return "\n".join(
        [
            f"{units:,} blocks of one model, dealt to workers that answer at once. The list of "
            f"blocks takes {each:.0f} bytes a block, with or without workers; what dealing takes "
            "besides depends on the number of workers alone.",
            "",
            "| workers | seconds | µs a block | KiB in all | KiB a worker |",
            "|---|---|---|---|---|",
            *rows,
        ]
    )


if __name__ == "__main__":
    main()
