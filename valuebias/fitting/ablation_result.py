"""The result of ``valuebias.fit_ablation``, with plots and reports."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from valuebias.fitting.result import Fit
from valuebias.posterior.ablation.result import AblationPosterior

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

__all__ = ["AblationFit"]


class AblationFit(AblationPosterior):
    """A fitted ablation; made by :func:`valuebias.fit_ablation`, not by hand.

    Every gap is a difference of two families' leans in units of the outcome, and unless a step is
    named it is at the end of training. Leans are signed by framing, the lean under positive prompts
    less the lean under negative ones, halved, unless :meth:`at_framing` selects one framing.

    Parameters
    ----------
    curves : Curves
        Draws of the leans.
    fit : Fit or None
        The hierarchical fit they are from; None for a table of medians.
    rope : float
        Half-width of the region of practical equivalence around zero.
    unit : str
        Of the outcome.
    formula : str
        Over the models.
    notes : list of Note
        What the data cannot show, and what makes the answer less certain than it looks.
    leans : dict of str to LeanDraws
        Draws from which curves are made, by framing.
    framing : {"signed", "positive", "negative"}
        Framing of the prompts for the leans.
    provenance : mapping, optional
        Date and versions of the fit; that of `fit` if there is one.

    Examples
    --------
    >>> import valuebias
    >>> from valuebias import simulate
    >>> ds = simulate(n_models={"A": 8, "B": 8}, n_prompts=4, n_words=20, seed=1)
    >>> ds = ds.assign_coords(
    ...     base=("model", [f + n for f in "AB" for n in "12" for _ in range(4)]),
    ...     source=("model", ["s"] * 16), n_pairs=("model", [1e3, 1e3, 2e3, 2e3] * 4),
    ...     seed=("model", [1, 2] * 8), step=("model", [60, 60, 120, 120] * 4),
    ... )
    >>> fit = valuebias.fit_ablation(ds, draws=200, seed=1, progress=False)
    >>> fit.formula
    '~ family * log2(n_pairs) + (log2(n_pairs) | base)'
    >>> fit.gaps()["n_pairs"].tolist()
    [1000.0, 2000.0]
    >>> fit.at_framing("positive").framing
    'positive'
    """

    @classmethod
    def of(cls, posterior: AblationPosterior) -> AblationFit:
        """Make a fit of a posterior."""
        fit = None if posterior.fit is None else Fit.of(posterior.fit)
        return cls(posterior.curves, fit=fit, framing=posterior.framing, **posterior._common)

    def report(
        self,
        path: str | PathLike[str],
        *,
        framing: str | None = None,
        progress: bool = True,
    ) -> Path:
        """Write a report.

        Parameters
        ----------
        path : path
            ``.html`` (one self-contained file), ``.md``, ``.tex`` (tables), ``.nc`` (the fit
            itself), or a folder for CSV files. Written whole or not at all.
        framing : {"signed", "positive", "negative"}, optional
            The prompts to speak of, as in :meth:`at_framing`; the fit's if not given.
        progress : bool, default True
            Show a progress bar on standard error.

        Returns
        -------
        pathlib.Path
            The path.
        """
        from valuebias import report

        view = self if framing is None else self.at_framing(framing)
        return report.write_report(view, path, progress=progress)

    def plot(
        self,
        kind: str = "gaps",
        *,
        pair: tuple[str, str] | None = None,
        framing: str | None = None,
        ax: Axes | None = None,
        figure: Figure | SubFigure | None = None,
        figsize: tuple[float, float] | None = None,
    ) -> Figure:
        """Draw a figure.

        Parameters
        ----------
        kind : {"gaps", "trajectories", "word_changes"}
            Which, see :mod:`valuebias.plots`.
        pair : pair of str, optional
            The two families, or other levels, to compare.
        framing : {"signed", "positive", "negative"}, optional
            The prompts to speak of.
        ax : matplotlib.axes.Axes, optional
            Where to draw, in place of a new figure; for one panel.
        figure : matplotlib.figure.Figure or SubFigure, optional
            Where to put the panels, in place of a new figure.
        figsize : pair of float, optional
            Width and height of a new figure in inches.

        Returns
        -------
        matplotlib.figure.Figure
            Not attached to pyplot; save it with ``savefig``.
        """
        from valuebias import plots

        return plots.plot(
            self, kind, pair=pair, framing=framing, ax=ax, figure=figure,
            figsize=figsize,
        )  # fmt: skip
