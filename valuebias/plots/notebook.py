"""Figures that notebooks show by themselves."""

from __future__ import annotations

import io

from matplotlib.figure import Figure

__all__ = ["ShownFigure"]


class ShownFigure(Figure):
    """A figure made without pyplot, which notebooks otherwise show by its name only."""

    def _repr_png_(self) -> bytes:
        """Give the picture, as IPython asks for it."""
        picture = io.BytesIO()
        self.savefig(picture, format="png", dpi=110)
        return picture.getvalue()
