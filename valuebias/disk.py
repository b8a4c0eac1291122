"""What long work writes as it goes: whole or not at all, and in plain words where it cannot be."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from valuebias.atomic import atomic_path
from valuebias.errors import ValueBiasError

__all__ = ["CannotWriteError", "put", "written"]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class CannotWriteError(ValueBiasError):
    """The disk is full or refuses: no fault of what was computed, so that the work stops.

    Examples
    --------
    >>> issubclass(CannotWriteError, ValueBiasError)
    True
    """


def put(path: Path, content: bytes) -> None:
    """Write a file of a store or a study, whole or not at all.

    Parameters
    ----------
    path : pathlib.Path
        Where.
    content : bytes
        What.

    Raises
    ------
    CannotWriteError
        If it cannot be written; what was there before is left.
    """
    with written(path), atomic_path(path) as part:
        part.write_bytes(content)


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Say in plain words what stands in the way of writing a file.

    Parameters
    ----------
    path : pathlib.Path
        What is written while the block runs.

    Yields
    ------
    None

    Raises
    ------
    CannotWriteError
        Where the system refuses, with the room that is left.
    """
    try:
        yield
    except OSError as error:
        full = error.errno in _FULL
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        free = shutil.disk_usage(folder).free / 1e6
        raise CannotWriteError(
            f"{'There is no room' if full else 'It is not possible'} to write {str(path)!r} "
            f"({error.strerror or error}; {free:,.0f} MB are free). What was finished is kept: "
            "make room or see to the permissions, then run the same call again to go on."
        ) from error
