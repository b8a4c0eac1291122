"""Keep a place on disk to one process."""

from __future__ import annotations

import errno
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from valuebias._core.disk import explain_os_errors
from valuebias.errors import ValueBiasError, ValueBiasWarning

__all__ = ["only_one"]

_HELD = (errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK, errno.EDEADLK)
"""How systems say that another process has the lock."""
_PAUSE = 0.05
_NO_WRITING = (errno.EROFS, errno.EACCES, errno.EPERM)


@contextmanager
def only_one(file: Path, *, noun: str, instead: str, wait: float = 0.0) -> Iterator[None]:
    """Keep a place to this process while the block runs; the system ends that if it is killed.

    Another process that has it is waited for, for so many seconds, and then refused.

    Notes
    -----
    The lock is on a file that has a content of its own (Zarr's ``.zgroup``), as all versions of
    valuebias have it; filelock, which empties the file that it locks, cannot do that.
    """
    handle = _open(file)
    try:
        while not (_lock(handle, noun, instead, wait) and _is_still(handle, file)):
            # It was removed or replaced, with its folder, before it was locked.
            os.close(handle)
            handle = _open(file)
        yield
    finally:
        os.close(handle)


def _open(file: Path) -> int:
    """Open for writing, which network file systems want of who locks; else for reading."""
    with explain_os_errors(file):
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            return os.open(file, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o666)
        except OSError as error:
            if error.errno not in _NO_WRITING or not file.exists():
                raise
            return os.open(file, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))


def _lock(handle: int, noun: str, instead: str, wait: float) -> bool:
    try:
        import fcntl
    except ImportError:
        _warn(noun, "this system has no such locks")
        return True
    until = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in _HELD:
                # Such as ENOLCK, EOPNOTSUPP, ENOSYS, EINVAL, EBADF: network file systems differ.
                _warn(noun, error.strerror or str(error))
            elif time.monotonic() < until:
                time.sleep(_PAUSE)
                continue
            else:
                raise ValueBiasError(
                    f"Another process is writing to {noun}. Wait for it, or use {instead}."
                ) from error
        return True


def _is_still(handle: int, file: Path) -> bool:
    if os.name == "nt":
        return True
    try:
        return os.path.samestat(os.fstat(handle), os.stat(file))
    except FileNotFoundError:
        return False


def _warn(noun: str, why: str) -> None:
    warnings.warn(
        f"{noun} cannot be locked ({why}): make sure that no other process writes to it meanwhile, "
        "or put it on a local disk.",
        ValueBiasWarning,
        stacklevel=5,
    )
