"""What is written to disk: whole or not at all, and in plain words where it cannot be."""

from __future__ import annotations

import errno
import os
import re
import shutil
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from valuebias.errors import ValueBiasError

__all__ = ["REFUSALS", "WriteError", "explain_os_errors", "write_bytes"]

_FULL = {
    errno.ENOSPC: "no space is left on the disk",
    errno.EDQUOT: "no space is left in your quota",
    errno.EFBIG: "a file may not grow any further",
}
_REFUSED = {
    errno.EROFS: ("the disk is read-only", "choose a place that can be written to"),
    errno.EACCES: ("you may not write there", "see to the permissions, or choose another place"),
    errno.EPERM: ("you may not write there", "see to the permissions, or choose another place"),
    errno.ENAMETOOLONG: ("the name is too long", "choose a shorter one"),
    errno.EISDIR: ("a folder stands in its place", "remove it"),
    errno.EIO: ("the disk does not work", "see to the disk, or choose another one"),
}
REFUSALS = frozenset((*_FULL, *_REFUSED, errno.ESTALE, errno.ENXIO, errno.ENODEV))
"""How a system says that a file cannot be written, whoever tried."""
_SAID = re.compile(r"\b(?:os error|errno) (\d+)", re.IGNORECASE)


class WriteError(ValueBiasError):
    """The disk is full or refuses: no fault of what was computed, so that the work stops.

    Examples
    --------
    >>> issubclass(WriteError, ValueBiasError)
    True
    """


def write_bytes(path: Path, content: bytes | memoryview, *, kept: bool = True) -> None:
    """Write a file of a place that this process has locked, whole or not at all.

    A kill leaves a file ``.….part`` beside it, which who locks the place next removes.
    """
    with explain_os_errors(path, kept=kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{uuid.uuid4().hex[:12]}.part")
        try:
            part.write_bytes(content)
            part.replace(path)
        except BaseException:
            with suppress(OSError):
                part.unlink(missing_ok=True)
            raise


@contextmanager
def explain_os_errors(
    path: Path, *, kept: bool = True, errnos: Collection[int] | None = None
) -> Iterator[None]:
    """Say in plain words what stands in the way of writing a file."""
    try:
        yield
    except ValueBiasError:
        raise
    # Libraries that are not written in Python have errors of their own for a full disk.
    except Exception as error:
        number = _number(error)
        if number is None or (errnos is not None and number not in errnos):
            raise
        raise WriteError(_message(path, number, error, kept=kept)) from error


def _number(error: BaseException) -> int | None:
    """Find out which error of the system is behind another one; None where none is."""
    if isinstance(error, OSError):
        return error.errno or _errno_in(error) or 0
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        number = cause.errno if isinstance(cause, OSError) else _errno_in(cause)
        if number in REFUSALS:
            return number
        cause = cause.__cause__ or cause.__context__
    return None


def _errno_in(error: BaseException) -> int | None:
    match = _SAID.search(str(error)[:2000])
    return int(match[1]) if match else None


def _message(path: Path, number: int, error: BaseException, *, kept: bool) -> str:
    name = str(path)
    name = name if len(name) < 400 else f"{name[:200]}…{name[-100:]}"
    said = (os.strerror(number) if number else str(error))[:300]
    if number in _FULL:
        text = f"There is no room to write {name!r}: {_FULL[number]} ({said}{_free(path)})."
        advice = "make room, or choose another disk"
    else:
        reason, advice = _REFUSED.get(number, ("the system refuses", "choose another place"))
        text = f"It is not possible to write {name!r}: {reason} ({said})."
    if kept:
        return f"{text} What was finished is kept: {advice}, then run the same call again to go on."
    return f"{text} What was there before is unchanged: {advice}."


def _free(path: Path) -> str:
    try:
        folder = next(parent for parent in path.absolute().parents if parent.exists())
        return f"; {shutil.disk_usage(folder).free / 1e6:,.1f} MB are free"
    except OSError:
        return ""
