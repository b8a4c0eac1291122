"""Release memory: what is freed but kept for later, and pages of mapped files."""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["forget", "keep_freed", "pause_collection", "release", "set_aside", "trim"]

_MAPS = Path("/proc/self/maps")
_is_aside = False
# Parameters of mallopt, and what glibc itself sets them to once large pieces have been freed.
_TRIM, _MMAP = -1, -3
_OWN_TRIM, _OWN_MMAP = 64 * 2**20, 32 * 2**20
_FIRST_MMAP = 128 * 2**10


def release() -> None:
    """Collect garbage, and hand all memory that is free to the system: a fraction of a second."""
    gc.collect()
    trim()


@contextmanager
def set_aside() -> Iterator[None]:
    """Collect garbage, inside the context, only among objects made there.

    What has been imported is a million objects that live to the end. To look through them takes
    half a second each time, which :func:`release` would do twice a model. What has become garbage
    lately is collected before. Does nothing where something is set aside already.
    """
    # To ask the collector would take as long: it counts them one by one.
    global _is_aside
    if _is_aside:
        yield
        return
    gc.collect(1)
    gc.freeze()
    _is_aside = True
    try:
        yield
    finally:
        _is_aside = False
        gc.unfreeze()


@contextmanager
def pause_collection() -> Iterator[None]:
    """Collect no garbage inside the context: where millions of objects are made that all live on.

    To go through them again and again was a fifth of an export.
    """
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


def trim() -> None:
    """Hand the memory that is free to the system: some milliseconds.

    glibc keeps what is freed for later use, and after many small pieces have come and gone (tokens,
    activations) that is tens of megabytes. Does nothing elsewhere.
    """
    if sys.platform == "linux":
        give = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if give is not None:
            give(0)


@contextmanager
def keep_freed() -> Iterator[None]:
    """Use freed memory again inside the context, where a process was told to hand it back at once.

    Dask starts its workers with ``MALLOC_TRIM_THRESHOLD_=65536``. Then each tensor has its pages
    taken from the system, and cleared by it, which nearly doubled the time of a forward pass. What
    is left over is for :func:`trim` to hand back. Does nothing where someone has set both limits.
    """
    told = os.environ.get("MALLOC_TRIM_THRESHOLD_", "")
    choose = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    chosen = "mmap_threshold" in os.environ.get("GLIBC_TUNABLES", "")
    chosen = chosen or "MALLOC_MMAP_THRESHOLD_" in os.environ
    if choose is None or chosen or not told.isdecimal() or int(told) >= _OWN_TRIM:
        yield
        return
    choose(_MMAP, _OWN_MMAP)
    choose(_TRIM, _OWN_TRIM)
    try:
        yield
    finally:
        choose(_MMAP, _FIRST_MMAP)
        choose(_TRIM, int(told))


def forget(tensor: Tensor) -> bool:
    """Drop a tensor's pages from memory, where they are a read-only copy of a file's.

    safetensors maps a file into memory as a whole, so a weight that has been copied elsewhere keeps
    its pages until the last weight of the file is gone, and a table of which rows are read gathers
    those of all rows. Should the tensor be read again, the system reads the file again. Does
    nothing but on Linux, and nothing to ordinary memory.
    """
    if sys.platform != "linux" or tensor.device.type != "cpu" or not tensor.is_contiguous():
        return False
    page = mmap.PAGESIZE
    start = -(-tensor.data_ptr() // page) * page
    stop = (tensor.data_ptr() + tensor.numel() * tensor.element_size()) // page * page
    if stop <= start or not _is_of_file(start, stop):
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    dropped = libc.madvise(
        ctypes.c_void_p(start), ctypes.c_size_t(stop - start), mmap.MADV_DONTNEED
    )
    return bool(dropped == 0)


def _is_of_file(start: int, stop: int) -> bool:
    """Whether addresses belong to the mapping of a file of weights."""
    with _MAPS.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            span, *rest = line.split(maxsplit=5)
            low, high = (int(part, 16) for part in span.split("-"))
            if low <= start and stop <= high:
                return len(rest) == 5 and rest[4].strip().endswith(".safetensors")
    return False
