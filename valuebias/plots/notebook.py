"""Figures that notebooks display."""

from __future__ import annotations

import io

from matplotlib.figure import Figure

__all__ = ["ShownFigure"]


class ShownFigure(Figure):
    """A figure made without pyplot, of which notebooks otherwise show only the repr."""

    def _repr_png_(self) -> bytes:
        """Render the figure for IPython."""
        picture = io.BytesIO()
        self.savefig(picture, format="png", dpi=110)
        return picture.getvalue()
