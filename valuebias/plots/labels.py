"""Text that is safe to draw: text from data stays inert and visible."""

from __future__ import annotations

import functools
import unicodedata
from itertools import groupby

from valuebias._core.text import visible

__all__ = ["drawable", "shortened"]

_RIGHT_TO_LEFT = {"R", "AL"}


def shortened(text: str, most: int) -> str:
    """Cut the middle out of a text that is too long.

    Examples
    --------
    >>> shortened("Skywork/Skywork-Reward-Llama", 15)
    'Skywork…d-Llama'
    """
    if len(text) <= most:
        return text
    tail = (most - 1) // 2
    return f"{text[: most - 1 - tail]}…{text[len(text) - tail :]}"


def drawable(value: object, most: int = 48) -> str:
    r"""Write a text that matplotlib draws literally.

    Examples
    --------
    >>> print(drawable("$x$"))
    \$x\$
    >>> drawable(chr(0x4E2D))
    'U+4E2D'
    """
    known = _glyphs()
    text = "".join(
        c if ord(c) in known else f"U+{ord(c):04X}" for c in shortened(visible(value), most)
    )
    return _in_visual_order(text).replace("$", r"\$")


@functools.lru_cache(maxsize=1)
def _glyphs() -> frozenset[int]:
    """Code points in the font of the figures, which comes with matplotlib."""
    from matplotlib.font_manager import findfont
    from matplotlib.ft2font import FT2Font

    return frozenset(FT2Font(findfont("DejaVu Sans")).get_charmap())


def _in_visual_order(text: str) -> str:
    """Turn runs of right-to-left letters round, where matplotlib (before 3.11) does not."""
    from matplotlib import ft2font

    if hasattr(ft2font, "__libraqm_version__"):
        return text
    runs = groupby(text, key=lambda c: unicodedata.bidirectional(c) in _RIGHT_TO_LEFT)
    return "".join("".join(run)[:: -1 if turned else 1] for turned, run in runs)
