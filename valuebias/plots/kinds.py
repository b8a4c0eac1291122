"""The figures of a fit or of an ablation's fit, by kind.

Every figure is a :class:`matplotlib.figure.Figure` made without pyplot, so that making one changes
no global state. Save it with ``figure.savefig("forest.pdf")``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from valuebias.errors import ValueBiasError, did_you_mean

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from valuebias.posterior.ablation.result import AblationPosterior
    from valuebias.posterior.posterior import Posterior

__all__ = ["ABLATION_KINDS", "KINDS", "plot"]

KINDS = ("forest", "families", "words", "ppc", "trace", "sensitivity", "influence", "specs")
"""The kinds of figure of a fit, in the order of the report."""
ABLATION_KINDS = ("gaps", "trajectories", "word_changes")
"""Those of an ablation's fit."""


def plot(fit: Posterior | AblationPosterior, kind: str | None = None) -> Figure:
    """Draw a figure of a fit.

    Parameters
    ----------
    fit : Fit or AblationFit
        What :func:`valuebias.fit` or :func:`valuebias.fit_ablation` returned.
    kind : str, optional
        Of a fit ``"forest"``, ``"families"``, ``"words"``, ``"ppc"``, ``"trace"``,
        ``"sensitivity"``, ``"influence"`` or ``"specs"``; of an ablation ``"gaps"``,
        ``"trajectories"`` or ``"word_changes"``: what :func:`plot_forest` and the others draw. The
        first of them if not given.

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
    from valuebias.posterior.posterior import Posterior

    kinds = KINDS if isinstance(fit, Posterior) else ABLATION_KINDS
    name = kinds[0] if kind is None else kind
    if name not in kinds:
        raise ValueBiasError(f"There is no figure {name!r}. {did_you_mean(name, kinds)}")
    module = importlib.import_module(f"valuebias.plots.{name}")
    figure: Figure = getattr(module, f"plot_{name}")(fit)
    return figure
