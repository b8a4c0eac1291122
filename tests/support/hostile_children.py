"""Run cases in forked children with limits, so that a crash, a hang or a flood is an outcome.

A child goes on from case to case for as long as it lives: a fork of a process that has PyTorch
imported takes longer than most cases.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import math
import os
import resource
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from valuebias import ValueBiasError
from valuebias.backends.memory import set_aside

__all__ = ["LIMIT", "MEMORY", "Result", "alone", "apart", "run_all"]

LIMIT = 5.0
"""Seconds of processor that a case may take."""
MEMORY = 2**30
"""Bytes that it may take beside what there was."""
_aside: list[ExitStack] = []
"""Holds what is set aside to the end of the process."""
_ADDRESSES = 6 * 2**30


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a case: "done", "refused", "raised" or "crashed"; by a hang, too."""

    what: str
    said: str = ""
    seconds: float = 0.0
    memory: int = 0


def run_all(
    cases: Sequence[Any],
    run: Callable[[Any], str],
    done: Callable[[int, Result], None],
    *,
    patience: float = 2 * LIMIT,
) -> None:
    """Run each case; `run` gives a text back, such as the hash of what was read.

    A case that takes more seconds of processor than `patience` is ended: it hangs; and so is one
    that takes ten times as many seconds, because others may be at work on this machine.
    """
    # What is imported is no garbage; to look through it takes longer than most cases.
    if not _aside:
        _aside.append(ExitStack())
        _aside[0].enter_context(set_aside())
    gc.collect()
    gc.freeze()
    place: int | None = 0 if cases else None
    while place is not None and place < len(cases):
        place = _one_child(cases, run, done, place, patience)


def _one_child(cases: Any, run: Any, done: Any, start: int, patience: float) -> int | None:
    """Fork a child that works from one case on; give the case to go on with after its end."""
    read, write = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        _work(cases, run, start, write, patience)
    os.close(write)
    place, begun = start, time.monotonic()
    buffer = b""
    try:
        while place < len(cases):
            left = begun + 10 * patience - time.monotonic()
            ready = select.select([read], [], [], max(0.0, left))
            if not ready[0]:
                os.kill(pid, signal.SIGKILL)
                done(place, Result("crashed", "a hang", time.monotonic() - begun))
                return place + 1
            more = os.read(read, 65536)
            if not more:
                _, status = os.waitpid(pid, 0)
                pid = 0
                how = os.waitstatus_to_exitcode(status)
                said = signal.Signals(-how).name if how < 0 else f"exit {how}"
                done(place, Result("crashed", said, time.monotonic() - begun))
                return place + 1
            buffer += more
            while b"\n" in buffer:
                line, _, buffer = buffer.partition(b"\n")
                done(place, Result(**json.loads(line)))
                place, begun = place + 1, time.monotonic()
        return None
    finally:
        os.close(read)
        if pid:
            os.waitpid(pid, 0)


def _work(cases: Any, run: Any, start: int, write: int, patience: float) -> None:
    """Work off cases; never return."""
    try:
        faulthandler.disable()
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        used = int(_status("VmSize"))
        resource.setrlimit(resource.RLIMIT_AS, (used + _ADDRESSES, resource.RLIM_INFINITY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for case in cases[start:]:
                most = math.ceil(time.process_time() + patience)
                resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))
                os.write(write, json.dumps(_outcome(run, case)).encode() + b"\n")
    except BaseException:  # noqa: BLE001 - a child must not go on with the parent's work
        os._exit(99)
    os._exit(0)


def _outcome(run: Callable[[Any], str], case: Any) -> dict[str, Any]:
    gc.collect()
    with open("/proc/self/clear_refs", "w") as handle:  # the peak counts from here
        handle.write("5")
    before, begun = _status("VmRSS"), time.process_time()
    try:
        what, said = "done", run(case)
    except ValueBiasError as error:
        what, said = "refused", str(error)[:600]
        if len(str(error)) > 4000:
            what, said = "raised", f"a message of {len(str(error)):,} characters: {said}"
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - Rust's panics are no Exception
        what, said = "raised", _told(error)
    return {
        "what": what,
        "said": said,
        "seconds": time.process_time() - begun,
        "memory": max(0, _status("VmHWM") - before),
    }


def _told(error: BaseException) -> str:
    """Name the exception, and the last place in this package that it came through."""
    places = [
        f"{frame.filename.rpartition('/')[2]}:{frame.lineno}"
        for frame in traceback.extract_tb(error.__traceback__)
        if any(part in frame.filename for part in ("/valuebias/", "/backends/", "/analysis/"))
    ]
    text = " ".join(str(error).split())[:160]
    return f"{type(error).__name__} at {places[-1] if places else '?'}: {text}"


def _status(key: str) -> int:
    with open("/proc/self/status") as handle:
        for line in handle:
            if line.startswith(f"{key}:"):
                return int(line.split()[1]) * 1024
    return 0


def alone(work: Callable[[], str]) -> Result:
    """Run one thing in a child; give what became of it."""
    found: list[Result] = []
    run_all([None], lambda _: work(), lambda _, result: found.append(result), patience=120)
    return found[0]


def apart(work: Callable[[], str]) -> str:
    """Do something in a child, so that this process starts no thread and can be forked again."""
    read, write = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                said = work()
            os.write(write, said.encode())
            os._exit(0)
        except BaseException:  # noqa: BLE001 - as above
            traceback.print_exc()
            os._exit(1)
    os.close(write)
    with os.fdopen(read, "rb") as handle:
        found = handle.read().decode()
    if os.waitpid(pid, 0)[1]:
        raise RuntimeError("What is to be damaged could not be made; see above.")
    return found
