"""The figures of a fit or of an ablation's fit, by kind.

Every figure is a :class:`matplotlib.figure.Figure` made without pyplot, so that making one changes
no global state. Save it with ``figure.savefig("forest.pdf")``.
"""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING

from valuebias.errors import ValueBiasError, did_you_mean, few

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from valuebias.analysis.estimands.weights import Contrast
    from valuebias.posterior.ablation.result import AblationPosterior
    from valuebias.posterior.posterior import Posterior

__all__ = ["ABLATION_KINDS", "KINDS", "plot"]

KINDS = ("forest", "families", "words", "ppc", "trace", "sensitivity", "influence", "specs")
"""The kinds of figure of a fit, in the order of the report."""
ABLATION_KINDS = ("gaps", "trajectories", "word_changes")
"""Those of an ablation's fit."""


def plot(
    fit: Posterior | AblationPosterior,
    kind: str | None = None,
    *,
    pair: tuple[str, str] | None = None,
    framing: str | None = None,
    contrast: Contrast | None = None,
    ax: Axes | None = None,
    figure: Figure | SubFigure | None = None,
    figsize: tuple[float, float] | None = None,
) -> Figure:
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
    pair : pair of str, optional
        The two families, or other levels, to compare, as in :meth:`Fit.focused`.
    framing : {"signed", "positive", "negative"}, optional
        The prompts to speak of, likewise.
    contrast : pair of str or mapping, optional
        The two categories to compare, likewise.
    ax : matplotlib.axes.Axes, optional
        Where to draw, in place of a new figure; for one panel.
    figure : matplotlib.figure.Figure or SubFigure, optional
        Where to put the panels, in place of a new figure.
    figsize : pair of float, optional
        Width and height of a new figure in inches.

    Returns
    -------
    matplotlib.figure.Figure
        A new one, not attached to pyplot, or the one that was drawn in. Leans are in units of the
        outcome.

    Raises
    ------
    ValueBiasError
        If the kind is unknown, the fit lacks what the figure shows, or the figure does not take
        what is given: one that shows no two families has no `pair`, say, and one of several panels
        no `ax`.

    Notes
    -----
    Colours are those of Okabe and Ito (2008), which colour-blind readers can tell apart, unless the
    user or a style sheet has set others: figures keep to ``rcParams`` where these are not as
    Matplotlib has them by default, in colours, letters, lines and size.

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
    function = getattr(module, f"plot_{name}")
    options = {
        "pair": pair, "framing": framing, "contrast": contrast, "ax": ax, "figure": figure,
        "figsize": figsize,
    }  # fmt: skip
    given = {option: value for option, value in options.items() if value is not None}
    known = inspect.signature(function).parameters
    for option in given:
        if option not in known:
            takes = few([other for other in options if other in known], quote=False)
            raise ValueBiasError(
                f"The figure {name!r} takes no {option}=, which has no meaning there; it takes "
                f"{takes}."
            )
    drawn: Figure = function(fit, **given)
    return drawn
