"""Takes the checksums out of the package where it is imported, to measure what they cost."""

from __future__ import annotations

import sys
from types import FunctionType
from typing import Any

from valuebias._core import sums
from valuebias.posterior import saved

__all__: list[str] = []


def _zeros(*given: Any) -> str:
    return 64 * "0"


def _pieces(content: bytes | memoryview) -> list[bytes | memoryview]:
    return [content, sums._TRAILER, bytes(32)]


def _whole(*given: Any) -> bool:
    return True


_INSTEAD: dict[Any, Any] = {
    sums.sum_of: _zeros,
    sums.json_sum: _zeros,
    sums.content_sum: _zeros,
    sums.file_bytes: _pieces,
    sums.file_is_whole: _whole,
    saved._digest: _zeros,
}
# Whoever has imported one of them holds it; who does so from here on gets what stands in for it.
for _module in [module for name, module in sys.modules.items() if name.startswith("valuebias.")]:
    for _name, _value in list(vars(_module).items()):
        if isinstance(_value, FunctionType) and _value in _INSTEAD:
            setattr(_module, _name, _INSTEAD[_value])
