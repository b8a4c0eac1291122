"""What this machine has, asked of the system and the driver: no engine need be installed."""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Machine", "cuda_memory", "machine"]

_LIMITS = (
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)
"""Where Linux says how much memory a container or a job may have."""


@dataclass(frozen=True, slots=True)
class Machine:
    """How much memory there is.

    Examples
    --------
    >>> Machine(16 * 10**9, ()).holds(2 * 10**9)
    True
    >>> str(Machine(16 * 10**9, (8 * 10**9,)))
    '16 GB of memory, a CUDA card of 8 GB'
    """

    memory: int | None  # bytes that this process may have; None where the system does not say
    cards: tuple[int, ...]  # bytes of each CUDA card

    def holds(self, size: float) -> bool | None:
        """Whether so many bytes fit into the memory or onto a card; None where that is open."""
        if any(size <= card for card in self.cards):
            return True
        return None if self.memory is None else size <= self.memory

    def __str__(self) -> str:
        """Name both."""
        memory = "memory of a size that is not known"
        if self.memory is not None:
            memory = f"{self.memory / 1e9:.3g} GB of memory"
        if not self.cards:
            return f"{memory}, no CUDA card"
        sizes = " and ".join(f"{card / 1e9:.3g} GB" for card in self.cards)
        noun = "a CUDA card" if len(self.cards) == 1 else f"{len(self.cards)} CUDA cards"
        return f"{memory}, {noun} of {sizes}"


def machine() -> Machine:
    """Look at this machine.

    Examples
    --------
    >>> machine().holds(1)
    True
    """
    return Machine(_memory(), cuda_memory())


def _memory() -> int | None:
    """Give the bytes of memory, or of what a container may have of it."""
    known = []
    # Windows has no such names, and others may not know them.
    with suppress(AttributeError, ValueError, OSError):
        known.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for limit in _LIMITS:
        with suppress(ValueError, OSError):
            known.append(int(Path(limit).read_text(encoding="ascii")))
    return min((size for size in known if size > 0), default=None)


def cuda_memory() -> tuple[int, ...]:
    """Give the bytes of each CUDA card, as the driver says; engines find out only by failing."""
    name = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        return ()
    count = ctypes.c_int()
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return ()
    sizes = []
    for i in range(count.value):
        device, size = ctypes.c_int(), ctypes.c_size_t()
        known = driver.cuDeviceGet(ctypes.byref(device), i) == 0
        known = known and driver.cuDeviceTotalMem_v2(ctypes.byref(size), device) == 0
        sizes.append(size.value if known else 0)
    return tuple(sizes)
