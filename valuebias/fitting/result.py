"""The result of ``valuebias.fit``, with plots, reports and loading."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from valuebias.errors import ValueBiasError
from valuebias.posterior.posterior import Posterior

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from valuebias.analysis.estimands.weights import Contrast

__all__ = ["Fit"]


class Fit(Posterior):
    """A fitted hierarchical model; made by :func:`valuebias.fit`, not by hand.

    Everything of :class:`valuebias.posterior.posterior.Posterior`, plus plots, reports and
    loading.

    Parameters
    ----------
    data : xarray.Dataset
        The scores as fitted (words outside the lexicon dropped).
    settings : mapping
        Formula, outcome, contrast, sampler settings, seed, the path taken (``"complete"``,
        ``"incomplete"`` or ``"augmented"``), missing cells, and notes on what the data cannot say.
    prior : Prior
        Prior scales in units of the outcome's SD.
    tree : xarray.DataTree
        Groups ``posterior`` (SDs, correlations, coefficients, model effects by chain and draw) and
        ``sample_stats``; ``completion`` for incomplete crossings.
    provenance : dict
        Date, versions and platform of the fit.
    problem : Problem, optional
        The prepared data; made again from `data` if not given.

    Examples
    --------
    >>> import valuebias
    >>> fit = valuebias.fit(valuebias.datasets.load("simulated"), seed=1, progress=False)
    >>> fit.contrasts().loc[0, ["estimand", "name", "framing"]].tolist()
    ['family difference', 'Alder − Birch', 'signed']
    >>> fit.diagnostics().converged
    True
    """

    @classmethod
    def of(cls, posterior: Posterior) -> Fit:
        """Make a fit of a posterior."""
        # Pass on a problem that exists: making it again takes time.
        parts = (posterior.data, posterior.settings, posterior.prior, posterior.tree)
        return cls(*parts, posterior.provenance, vars(posterior).get("problem"))

    def plot(
        self,
        kind: str = "forest",
        *,
        pair: tuple[str, str] | None = None,
        framing: str | None = None,
        contrast: Contrast | None = None,
        ax: Axes | None = None,
        figure: Figure | SubFigure | None = None,
        figsize: tuple[float, float] | None = None,
    ) -> Figure:
        """Draw a figure.

        Parameters
        ----------
        kind : str, default "forest"
            One of the kinds of :mod:`valuebias.plots`: forest, families, words, ppc, trace,
            sensitivity, influence, specs.
        pair : pair of str, optional
            The two families, or other levels, to compare, as in :meth:`focused`.
        framing : {"signed", "positive", "negative"}, optional
            The prompts to speak of.
        contrast : pair of str or mapping, optional
            The two categories to compare.
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
            self, kind, pair=pair, framing=framing, contrast=contrast, ax=ax, figure=figure,
            figsize=figsize,
        )  # fmt: skip

    def report(
        self,
        path: str | PathLike[str],
        *,
        pair: tuple[str, str] | None = None,
        framing: str | None = None,
        contrast: Contrast | None = None,
        along: xr.Dataset | None = None,
        progress: bool = True,
    ) -> Path:
        """Write a report.

        Parameters
        ----------
        path : path
            ``.html`` (one self-contained file), ``.md``, ``.tex`` (tables), ``.nc`` (the fit
            itself), or a folder for CSV files. Written whole or not at all.
        pair : pair of str, optional
            The two families, or other levels, to compare, as in :meth:`focused`.
        framing : {"signed", "positive", "negative"}, optional
            The prompts to speak of, likewise.
        contrast : pair of str or mapping, optional
            The two categories to compare, likewise.
        along : xarray.Dataset, optional
            Of a fit of a contrast set, the scores that were fitted, with rewards at every token
            (``read="all"``): one answer is shown as a heat strip, and in a table by sentences.
        progress : bool, default True
            Show a progress bar on standard error.

        Returns
        -------
        pathlib.Path
            The path.

        Raises
        ------
        ValueBiasError
            As :meth:`focused`; if the path has another suffix or cannot be written to; or if
            `along` has no rewards along the answers of this fit.
        """
        from valuebias import report

        asked = self._asked(pair, framing, contrast)
        return report.write_report(asked, path, along=along, progress=progress)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Fit:
        """Read a saved fit; :func:`valuebias.load` reads the fit of an ablation as well.

        Parameters
        ----------
        path : path
            A ``.nc`` file or ``.zarr`` folder.

        Returns
        -------
        Fit
            As it was when saved.

        Raises
        ------
        ValueBiasError
            If it cannot be read, or is not a saved fit or is that of an ablation.
        """
        from valuebias.fitting.load import load

        loaded = load(path)
        if not isinstance(loaded, cls):
            raise ValueBiasError(
                f"{str(path)!r} holds the fit of an ablation; read it with valuebias.load."
            )
        return loaded
