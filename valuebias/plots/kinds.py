"""The figures of a fit, by kind.

Every figure is a :class:`matplotlib.figure.Figure` made without pyplot, so that making one changes
no global state. Save it with ``figure.savefig("forest.pdf")``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from valuebias.errors import ValueBiasError, did_you_mean

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from valuebias.posterior.posterior import Posterior

__all__ = ["KINDS", "plot"]

KINDS = ("forest", "families", "words", "ppc", "trace", "sensitivity", "influence", "specs")
"""The kinds of figure, in the order of the report."""


def plot(fit: Posterior, kind: str = "forest") -> Figure:
    """Draw a figure of a fit.

    Parameters
    ----------
    fit : Fit
        What :func:`valuebias.fit` returned.
    kind : str, default "forest"
        ``"forest"``: the lean of every model, the mean of each family and the lean predicted for an
        unseen model of it. ``"families"``: posterior densities of the families' leans and of the
        differences between them. ``"words"``: the words that drive the difference. ``"ppc"``:
        replicated against observed statistics. ``"trace"``: chains and ranks. ``"sensitivity"``:
        the headline under other prior scales. ``"influence"``: the headline without each model and
        each base (fits again without each). ``"specs"``: this model
        beside the paper's, both on ranks (refits the model, unless its outcome is the rank).

    Returns
    -------
    matplotlib.figure.Figure
        A new figure. Leans are in units of the outcome.

    Raises
    ------
    ValueBiasError
        If the kind is unknown, or the fit lacks what the figure shows.

    Notes
    -----
    Colours are those of Okabe and Ito (2008), which colour-blind readers can tell apart.

    Examples
    --------
    >>> import valuebias
    >>> from valuebias.plots import plot
    >>> data = valuebias.datasets.load("simulated")
    >>> fit = valuebias.fit(data, draws=50, tune=200, chains=2, seed=1, progress=False)
    >>> figure = plot(fit, "forest")
    >>> figure.axes[0].get_xlabel()
    'lean, agency − communion, signed by framing (SD)'
    """
    if kind not in KINDS:
        raise ValueBiasError(f"There is no figure {kind!r}. {did_you_mean(kind, KINDS)}")
    figure: Figure = importlib.import_module(f"valuebias.plots.{kind}").draw(fit)
    return figure
