"""Kill a process before one of its file operations, or while it writes; count them first."""

from __future__ import annotations

import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["count_operations", "killed_before", "killed_while_writing"]

_ALWAYS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate")


def count_operations(act: Callable[[Path], Any], folder: Path) -> int:
    """Do the work, and count what it does to files below a folder."""
    seen = 0

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        seen += _counts(event, arguments, folder)

    sys.addaudithook(hook)
    act(folder)
    return seen


def killed_before(place: int, act: Callable[[Path], Any], folder: Path) -> None:
    """Do the work in a child that dies before that operation."""

    def work() -> None:
        seen = 0

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal seen
            if _counts(event, arguments, folder):
                if seen == place:
                    os.kill(os.getpid(), signal.SIGKILL)
                seen += 1

        sys.addaudithook(hook)
        act(folder)

    _in_child(work)


def killed_while_writing(size: int, act: Callable[[Path], Any], folder: Path) -> None:
    """Do the work in a child that dies when a file of its grows beyond a size."""

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        act(folder)

    _in_child(work)


def _in_child(work: Callable[[], None]) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            work()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def _counts(event: str, arguments: tuple[Any, ...], folder: Path) -> bool:
    """Tell whether an event changes files below a folder; names may be relative to one in it."""
    if event in _ALWAYS:
        path = os.fsdecode(str(arguments[0]))
        return path.startswith(os.fspath(folder)) or not path.startswith(("/dev", "/proc"))
    if event != "open" or not isinstance(arguments[0], str | bytes):
        return False
    path, mode, flags = arguments
    writes = (isinstance(mode, str) and set(mode) & set("wax+")) or (
        isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    )
    return bool(writes) and os.fsdecode(path).startswith(os.fspath(folder))
