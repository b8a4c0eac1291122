"""kill -9 at random instants: nothing that was finished is lost, and the rest is the same."""

from __future__ import annotations

import contextlib
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_models
from stores import contents, finished, without_shards

import valuebias

LACKING = tiny_models.missing()
pytestmark = [
    pytest.mark.skipif(LACKING is not None, reason=str(LACKING)),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="processes cannot be forked here"),
]

KILLS = 20
WORDS = [f"{first} {second}" for first in ("love", "power", "x") for second in "abcdef"]
SCRIPT = Path(__file__).parents[1] / "support" / "score_forks.py"


class Forks:
    """Processes that score."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def start(self, **asked: Any) -> int:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def end(self) -> int:
        return self._answer()

    def _answer(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())


@pytest.fixture
def forks() -> Iterator[Forks]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, str(SCRIPT)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as process:
        yield Forks(process)
        assert process.stdin is not None
        process.stdin.close()


def first_mark(store: Path) -> bool:
    return any(store.glob("score/.finished.*"))


@pytest.mark.slow
def test_nothing_finished_is_lost(forks: Forks, tmp_path: Path, record_property: Any) -> None:
    """Ten stores of rewards and ten of log-probs, of two models with all their blocks."""
    seed = secrets.randbits(32)
    instants = random.Random(seed)
    begun = 0
    for kind in ("reward", "logprob"):
        models = [
            str(tiny_models.tiny(name, kind, tmp_path / kind / name))
            for name in ("llama", "gemma3_text")
        ]
        asked = {"models": models, "kind": kind, "lexicon": WORDS}
        forks.start(**asked, store=str(tmp_path / f"whole-{kind}.zarr"))
        assert forks.end() == 0
        whole = contents(tmp_path / f"whole-{kind}.zarr")
        # The first run was slowed down by what only a first run does.
        again = tmp_path / f"again-{kind}.zarr"
        start = time.monotonic()
        forks.start(**asked, store=str(again))
        while not first_mark(again):
            time.sleep(0.002)
        before = time.monotonic() - start
        assert forks.end() == 0
        after = time.monotonic() - start - before
        for kill in range(KILLS // 2):
            store = tmp_path / f"{kind}-{kill}.zarr"
            pid = forks.start(**asked, store=str(store))
            # Most of a run this small goes by before its first block: two thirds come later.
            if kill % 3:
                deadline = time.monotonic() + 60
                while not first_mark(store):
                    assert time.monotonic() < deadline, seed
                    time.sleep(0.001)
                time.sleep(instants.uniform(0, after))
            else:
                time.sleep(instants.uniform(0, before))
            # It may have come to its end.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            killed = forks.end() == -signal.SIGKILL
            kept = finished(store) if store.exists() else {}
            begun += killed and bool(kept)
            forks.start(**asked, store=str(store))
            assert forks.end() == 0, seed
            # The same files: what was finished was not computed again.
            assert kept.items() <= finished(store).items(), seed
            assert contents(store) == whole, seed
    record_property("killed with blocks finished", f"{begun} of {KILLS}")
    assert begun >= KILLS // 4, seed


@pytest.mark.slow
def test_killed_shards_merge_to_the_same(forks: Forks, tmp_path: Path) -> None:
    """Each of three shards is killed after its first block, and goes on."""
    seed = secrets.randbits(32)
    instants = random.Random(seed)
    for kind in ("reward", "logprob"):
        models = [
            str(tiny_models.tiny(name, kind, tmp_path / kind / name))
            for name in ("llama", "gemma3_text")
        ]
        asked = {"models": models, "kind": kind, "lexicon": WORDS}
        forks.start(**asked, store=str(tmp_path / f"whole-{kind}.zarr"))
        assert forks.end() == 0
        stores = [tmp_path / kind / f"{i}.zarr" for i in (1, 2, 3)]
        for i, store in enumerate(stores, start=1):
            pid = forks.start(**asked, store=str(store), shard=[i, 3])
            deadline = time.monotonic() + 60
            while not first_mark(store):
                assert time.monotonic() < deadline, seed
                time.sleep(0.001)
            time.sleep(instants.uniform(0, 0.02))
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            forks.end()
            kept = finished(store)
            forks.start(**asked, store=str(store), shard=[i, 3])
            assert forks.end() == 0, seed
            assert kept.items() <= finished(store).items(), seed
        merged = tmp_path / kind / "merged.zarr"
        valuebias.merge(stores, out=merged)
        whole = without_shards(tmp_path / f"whole-{kind}.zarr")
        assert without_shards(merged) == whole, seed
