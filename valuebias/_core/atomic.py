"""Write a file or a folder whole or not at all, wherever a process may be killed.

What is being written lies in a folder ``.valuebias-….part`` beside its place. Its writer holds a
lock on that folder, which the system takes away from a process that is killed: so that the next one
to write beside it can tell what is left over, and removes it.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from valuebias._core.disk import REFUSALS, explain_os_errors
from valuebias.errors import ValueBiasError

__all__ = ["atomic_path", "clear_leftovers", "probe", "restore"]

_HOLDER = re.compile(r"\.valuebias-[0-9a-f]{12}\.part")
_OLD = "old"
_DAY = 86_400.0
_ROOM = 65_536
"""Less than this no fit, report or table takes."""
_EXCHANGE = 2
_HERE = -100


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path for `path`, and move it there once the block ends well.

    Notes
    -----
    When the block raises (an interrupt included), what it wrote is removed and `path` stays as it
    was. A file replaces an older one in a single step (:func:`os.replace`), a folder likewise where
    the system can exchange two (Linux). Elsewhere the older folder is moved aside first; a kill in
    between leaves it there, and :func:`restore` moves it back.

    Examples
    --------
    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with atomic_path(folder / "a.txt") as part:
    ...     _ = part.write_text("all of it")
    >>> [entry.name for entry in folder.iterdir()]
    ['a.txt']
    """
    target = Path(path)
    with explain_os_errors(target, kept=False, errnos=REFUSALS):
        _make_parent(target)
        clear_leftovers(target.parent)
        with _holder(target.parent) as holder:
            part = holder / target.name
            yield part
            _move(part, target)


def probe(path: str | os.PathLike[str], *, folder: bool | None = None) -> None:
    """Find out whether something can be written, before the work that it is the result of."""
    target = Path(path)
    missing = [parent for parent in target.parents if not parent.exists()]
    try:
        with explain_os_errors(target, kept=False):
            _make_parent(target)
            if folder is not None and target.exists():
                _check_alike(target, folder=folder)
            with _holder(target.parent) as holder:
                (holder / target.name).write_bytes(bytes(_ROOM))
    finally:
        with suppress(OSError):
            for parent in missing:
                parent.rmdir()


def restore(path: str | os.PathLike[str]) -> bool:
    """Move back what a process that was killed while it replaced `path` had moved aside."""
    target = Path(path)
    if not os.path.exists(target):
        clear_leftovers(target.parent)
    return os.path.exists(target)


def clear_leftovers(folder: Path) -> None:
    """Remove what processes that were killed have left in a folder; what lives is left alone."""
    # Whatever goes wrong here is of no matter to what is to be written.
    with suppress(OSError):
        holders = [entry.name for entry in os.scandir(folder) if _HOLDER.fullmatch(entry.name)]
        for name in holders:
            with suppress(OSError), _claimed(folder / name, fresh=False) as dead:
                if dead:
                    aside = folder / name / _OLD
                    # Not glob(), which passes over a folder that cannot be listed.
                    for entry in aside.iterdir() if aside.is_dir() else ():
                        if not (folder / entry.name).exists():
                            entry.rename(folder / entry.name)
                    shutil.rmtree(folder / name, ignore_errors=True)


@contextmanager
def _holder(parent: Path) -> Iterator[Path]:
    """Make a folder that is this process's, as its lock says."""
    while True:
        holder = parent / f".valuebias-{uuid.uuid4().hex[:12]}.part"
        holder.mkdir()
        with _claimed(holder, fresh=True) as mine:
            # Another one may have taken it for a leftover before it was locked.
            if not (mine and holder.exists()):
                continue
            try:
                yield holder
            finally:
                shutil.rmtree(holder, ignore_errors=True)
            return


@contextmanager
def _claimed(holder: Path, *, fresh: bool) -> Iterator[bool]:
    """Lock a folder; tell whether that went well, or it is as good as ours.

    Where nothing can be locked, that is what was just made, or is a day old.
    """
    try:
        import fcntl
    except ImportError:
        yield fresh or _is_old(holder)
        return
    try:
        handle = os.open(holder, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        # Another process has taken it for a leftover.
        yield False
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = True
        except BlockingIOError:
            mine = False
        except OSError:
            # Network file systems lock no folders.
            mine = fresh or _is_old(holder)
        yield mine
    finally:
        os.close(handle)


def _is_old(holder: Path) -> bool:
    return time.time() - holder.stat().st_mtime > _DAY


def _make_parent(target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise ValueBiasError(
            f"{str(target.parent)!r} is not a folder and cannot be made one ({error.strerror}). "
            "Give a path in a folder that you may write to."
        ) from error


def _check_alike(target: Path, *, folder: bool) -> None:
    if target.is_dir() != folder:
        noun = "folder" if target.is_dir() else "file"
        raise ValueBiasError(
            f"{str(target)!r} is a {noun} already and would be replaced by something else. "
            "Remove it first or choose another path."
        )


def _move(part: Path, target: Path) -> None:
    if not part.exists():
        raise ValueBiasError(f"Nothing was written for {str(target)!r}; expected a file or folder.")
    if target.exists():
        _check_alike(target, folder=part.is_dir())
    if not target.is_dir():
        part.replace(target)
    elif not _exchange(part, target):
        aside = part.parent / _OLD
        aside.mkdir()
        target.rename(aside / target.name)
        try:
            part.rename(target)
        except BaseException:
            (aside / target.name).rename(target)
            raise


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; tell whether the system can."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    return not call(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE)
