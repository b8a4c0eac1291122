"""What chains in threads share with the one that waits for them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Counter", "interrupts_deferred"]


class Counter:
    """Progress over threads, and the signal to stop them."""

    def __init__(self, progress: Callable[[int, int], None] | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0
        self._lock = threading.Lock()
        self.stop = False

    def step(self, n: int = 1) -> None:
        """Count iterations of any chain."""
        with self._lock:  # so that no count is lost and the last to be told is the total
            before, self._done = self._done, self._done + n
            tell = self._done // 20 > before // 20 or self._done == self._total
            if self._progress is not None and tell:
                self._progress(self._done, self._total)


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Hold an interrupt back until the block has ended, then deliver it.

    For numba's compiler: it calls back into Python through C, where an exception is printed and
    dropped. Outside the main thread, which alone gets interrupts, nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[tuple[Any, ...]] = []
    before = signal.signal(signal.SIGINT, lambda *arguments: held.append(arguments))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if held and callable(before):
        before(*held[0])
