"""Keep a place on disk to one process."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from valuebias.errors import ValueBiasError

__all__ = ["only_one"]


@contextmanager
def only_one(file: Path, *, what: str, instead: str) -> Iterator[None]:
    """Keep a place to this process while the block runs; the system ends that if it is killed.

    Parameters
    ----------
    file : pathlib.Path
        A file that exists and stays: the lock is on it.
    what : str
        What to call the place in errors.
    instead : str
        What else may be used, such as ``"another store"``.

    Yields
    ------
    None

    Raises
    ------
    ValueBiasError
        If another process has the lock.
    """
    try:
        import fcntl
    except ImportError:  # Windows has no such lock
        yield
        return
    with file.open("rb") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueBiasError(
                f"Another process is writing to {what}. Wait for it, or use {instead}."
            ) from error
        except OSError as error:
            # Some network file systems cannot lock.
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
                raise
        yield
