"""Write a file or a folder whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from valuebias.errors import ValueBiasError

__all__ = ["atomic_path"]


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a temporary path beside `path`, and move it there once the block ends well.

    Parameters
    ----------
    path : str or path-like
        Where the file or the folder is to be. Its parent folder is made if needed.

    Yields
    ------
    pathlib.Path
        A path in the same folder, with the same suffix, at which nothing lies yet. Write a file or
        make a folder there.

    Raises
    ------
    ValueBiasError
        If the parent is no folder, if a file would replace a folder or a folder a file, or if the
        block wrote nothing.

    Notes
    -----
    When the block raises (an interrupt included), what it wrote is removed and `path` stays as it
    was. A file replaces an older one in a single step (:func:`os.replace`). A folder cannot be
    replaced in one step: the older one is moved aside first and put back should the move fail.

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
    _make_parent(target)
    # The dot hides the unfinished file from globs; the suffix stays because writers look at it.
    part = target.with_name(f".{target.stem}.{uuid.uuid4().hex[:12]}.part{target.suffix}")
    try:
        yield part
        _move(part, target)
    finally:
        _remove(part)


def _make_parent(target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueBiasError(
            f"{str(target.parent)!r} is not a folder and cannot be made one ({error.strerror}). "
            "Give a path in a folder that you may write to."
        ) from error


def _move(part: Path, target: Path) -> None:
    if not part.exists():
        raise ValueBiasError(f"Nothing was written for {str(target)!r}; expected a file or folder.")
    if target.exists() and part.is_dir() != target.is_dir():
        what = "folder" if target.is_dir() else "file"
        raise ValueBiasError(
            f"{str(target)!r} is a {what} already and would be replaced by something else. "
            "Remove it first or choose another path."
        )
    if not target.is_dir():
        part.replace(target)
        return
    aside = part.with_name(part.name + ".old")
    target.rename(aside)
    try:
        part.rename(target)
    except BaseException:
        aside.rename(target)
        raise
    shutil.rmtree(aside)


def _remove(part: Path) -> None:
    if part.is_dir():
        shutil.rmtree(part)
    else:
        part.unlink(missing_ok=True)
