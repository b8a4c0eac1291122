"""Save figures for a paper, a page and a slide: the same bytes every time."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from valuebias._core.atomic import atomic_path
from valuebias.errors import ValueBiasError, did_you_mean
from valuebias.plots.theme import styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["save_figure"]

# Dates and versions would make every file differ from the last.
_NO_METADATA: dict[str, dict[str, Any]] = {
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
}
# TrueType fonts inside the PDF, and text as text in the SVG: both can be searched and edited.
# Any: the types of the keys differ between versions of Matplotlib.
_TEXT: Any = {"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "valuebias"}


def save_figure(
    figure: Figure, path: str | PathLike[str], *, formats: Sequence[str] = ("pdf", "png", "svg")
) -> tuple[Path, ...]:
    """Save a figure in one or several formats, each file whole or not at all.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Any figure of the package.
    path : path
        Without a suffix: one file per format, with the suffix of each. With one (``"ranks.pdf"``):
        that file alone.
    formats : sequence of str, default ("pdf", "png", "svg")
        Where `path` has no suffix.

    Returns
    -------
    tuple of pathlib.Path
        Paths of the files, in the order of the formats.

    Raises
    ------
    ValueBiasError
        If a suffix or format is not one of these three, or the folder cannot be written to.

    Notes
    -----
    The same figure gives the same bytes with the same version of Matplotlib: no dates, no random
    names. The PDF embeds its fonts; the SVG keeps text as text in DejaVu Sans. PNG has 200 dots
    per inch.

    Examples
    --------
    >>> import tempfile, valuebias
    >>> figure = valuebias.plots.plot_ranks(valuebias.datasets.load("simulated"))
    >>> [path.name for path in save_figure(figure, tempfile.mkdtemp() + "/ranks")]
    ['ranks.pdf', 'ranks.png', 'ranks.svg']
    """
    import matplotlib as mpl

    targets = _targets(Path(path), formats)
    with ExitStack() as stack, styled(), mpl.rc_context(_TEXT), _laid_out(figure):
        for target, kind in targets.items():
            part = stack.enter_context(atomic_path(target))
            # Into memory first: if the disk is full, matplotlib leaves a file open.
            drawn = io.BytesIO()
            figure.savefig(drawn, format=kind, metadata=_NO_METADATA[kind])
            part.write_bytes(drawn.getvalue())
    return tuple(targets)


@contextmanager
def _laid_out(figure: Figure) -> Iterator[None]:
    """Lay a figure out once for all formats, and the same way however often it was drawn."""
    for axes in figure.axes:
        spec = axes.get_subplotspec()
        if spec is not None:
            axes.set_subplotspec(spec)  # where the layout starts from
    figure.draw_without_rendering()
    engine = figure.get_layout_engine()
    figure.set_layout_engine("none")
    try:
        yield
    finally:
        figure.set_layout_engine(engine)


def _targets(path: Path, formats: Sequence[str]) -> dict[Path, str]:
    """Map each file to write to its format."""
    if path.suffix:
        return {path: _known(path.suffix.removeprefix(".").lower(), f"The suffix of {str(path)!r}")}
    if isinstance(formats, str) or not list(formats):
        raise ValueBiasError(
            f"formats is {formats!r}; expected one or several of {list(_NO_METADATA)}."
        )
    kinds = [_known(str(kind).removeprefix(".").lower(), "A format") for kind in formats]
    return {path.with_name(f"{path.name}.{kind}"): kind for kind in kinds}


def _known(kind: str, subject: str) -> str:
    if kind not in _NO_METADATA:
        raise ValueBiasError(f"{subject} is {kind!r}. {did_you_mean(kind, _NO_METADATA)}")
    return kind
