"""The look of figures: the package's own, where the user or a style sheet has set nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.colors import to_hex, to_rgb, to_rgba

__all__ = [
    "FAINT",
    "GREY",
    "INK",
    "PAPER",
    "colours",
    "faint",
    "grey",
    "house_style",
    "hue",
    "ink",
    "natural_size",
    "paper",
    "points",
    "styled",
]

# The report's style sheet replaces these four by the reader's colours, light or dark.
INK = "#1b1c20"
GREY = "#6e7079"
FAINT = "#d7d8dd"
PAPER = "#fefefe"

# Okabe & Ito 2008, without black and yellow, which are lost on a dark and on a light ground.
_PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_POINTS = 8.5
_APART = 1.9

_COLOURS: dict[Any, Any] = {
    "axes.edgecolor": GREY,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "figure.facecolor": PAPER,
    "text.color": INK,
    "xtick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.color": GREY,
    "ytick.labelcolor": INK,
}
_SIZES: dict[Any, float] = {
    "axes.labelsize": 9,
    "axes.titlesize": 9,
    "font.size": _POINTS,
    "legend.fontsize": _POINTS,
    "xtick.labelsize": _POINTS,
    "ytick.labelsize": _POINTS,
}
_REST: dict[Any, Any] = {
    "axes.linewidth": 0.7,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "figure.dpi": 110,
    "legend.frameon": False,
    "savefig.dpi": 200,
    "svg.fonttype": "path",
    "ytick.left": False,
}


@contextmanager
def styled() -> Iterator[None]:
    """Draw in the style of the package, but for what the user or a style sheet has set."""
    with mpl.rc_context():
        mpl.rcParams.update(_own())
        yield


@contextmanager
def house_style() -> Iterator[None]:
    """Leave the user's settings out, for pages whose figures have to fit them."""
    with mpl.rc_context():
        mpl.rcdefaults()
        yield


def _own() -> dict[Any, Any]:
    """Give the package's settings of what is as matplotlib has it."""
    # Colours go together: of a style sheet that has its own ground, all are kept.
    whole = not any(_is_set(name) for name in _COLOURS)
    style = {name: value for name, value in _REST.items() if not _is_set(name)}
    style |= _COLOURS if whole else {}
    style |= {name: points(size) for name, size in _SIZES.items() if not _is_set(name)}
    # The last is a fallback for letters that the user's font lacks, and has all that labels keep.
    family = mpl.rcParams["font.family"] if _is_set("font.family", "font.sans-serif") else []
    # TeX would take names from data for commands.
    return {
        **style,
        "font.family": list(dict.fromkeys([*family, "DejaVu Sans"])),
        "text.usetex": False,
        "axes.unicode_minus": True,
    }


def _is_set(*names: str) -> bool:
    return any(mpl.rcParams[name] != mpl.rcParamsDefault[name] for name in names)


def points(size: float) -> float:
    """Scale a size of letters to the user's."""
    return size * (float(mpl.rcParams["font.size"]) / _POINTS if _is_set("font.size") else 1.0)


def natural_size(width: float, height: float) -> tuple[float, float]:
    """Scale a size in inches to the user's letters; a size that the user has set is kept."""
    if _is_set("figure.figsize"):
        across, up = mpl.rcParams["figure.figsize"]
        return float(across), float(up)
    return points(width), points(height)


def ink() -> str:
    """Give the colour of texts and of what matters most."""
    return to_hex(mpl.rcParams["text.color"])


def paper() -> str:
    """Give the colour of the ground."""
    ground = mpl.rcParams["figure.facecolor"]
    if to_rgba(ground)[3] == 0:
        ground = mpl.rcParams["axes.facecolor"]
    return PAPER if to_rgba(ground)[3] == 0 else to_hex(ground)


def grey() -> str:
    """Give the colour of what stands back."""
    return GREY if (ink(), paper()) == (INK, PAPER) else _between(0.6)


def faint() -> str:
    """Give the colour of lines behind the marks."""
    return FAINT if (ink(), paper()) == (INK, PAPER) else _between(0.18)


def _between(share: float) -> str:
    pairs = zip(to_rgb(ink()), to_rgb(paper()), strict=True)
    red, green, blue = (share * of_ink + (1 - share) * of_paper for of_ink, of_paper in pairs)
    return to_hex((red, green, blue))


def hue(i: int) -> str:
    """Give a colour of the palette, or of the cycle of colours that a style sheet has set."""
    palette: tuple[str, ...] = _PALETTE
    if _is_set("axes.prop_cycle"):
        cycle = mpl.rcParams["axes.prop_cycle"].by_key().get("color", ())
        seen = [to_hex(colour) for colour in cycle if _apart(colour, paper())]
        palette = tuple(dict.fromkeys(seen)) or _PALETTE
    return palette[i % len(palette)]


def _apart(colour: Any, ground: Any) -> bool:
    """Whether names in a colour can be told from the ground: by the ratio of WCAG 2."""
    low, high = sorted((_luminance(colour), _luminance(ground)))
    return (high + 0.05) / (low + 0.05) >= _APART


def _luminance(colour: Any) -> float:
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in to_rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def colours(names: Iterable[str]) -> dict[str, str]:
    """Give each name a colour, in order; colours repeat after six."""
    return {name: hue(i) for i, name in enumerate(dict.fromkeys(names))}
