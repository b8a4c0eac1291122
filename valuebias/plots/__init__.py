"""Figures, one file each: of fits, of scores, of ablations.

Every figure is a :class:`matplotlib.figure.Figure` made without pyplot, so that making one changes
no global state, and carries its panels in ``figure.axes``. Save it with :func:`save_figure`.
"""

from __future__ import annotations

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
