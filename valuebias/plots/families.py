"""Posterior densities of the families' leans and of the differences between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from valuebias.analysis.estimands.estimand import DIFFERENCE, LEAN
from valuebias.analysis.outcome import describe
from valuebias.errors import ValueBiasError
from valuebias.plots.asking import asked
from valuebias.plots.canvas import Place, drawn, half_eye, lean_axes, whole
from valuebias.plots.labels import drawable
from valuebias.plots.theme import colours, faint, grey, ink

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from valuebias.analysis.estimands.weights import Contrast
    from valuebias.posterior.posterior import Posterior

__all__ = ["plot_families"]


def plot_families(
    fit: Posterior,
    *,
    pair: tuple[str, str] | None = None,
    framing: str | None = None,
    contrast: Contrast | None = None,
    figure: Figure | SubFigure | None = None,
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Draw the densities; one row of panels per contrast of categories.

    Parameters
    ----------
    fit : Fit
        What :func:`valuebias.fit` returned.
    pair : pair of str, optional
        The two families, or other levels, to compare, as in :meth:`Fit.focused`.
    framing : {"signed", "positive", "negative"}, optional
        The prompts to speak of, likewise.
    contrast : pair of str or mapping, optional
        The two categories to compare, likewise.
    figure : matplotlib.figure.Figure or SubFigure, optional
        Where to put the panels, in place of a new figure.
    figsize : pair of float, optional
        Width and height of a new figure in inches. If not given what suits its rows, or
        ``rcParams["figure.figsize"]`` where that has been changed.

    Returns
    -------
    matplotlib.figure.Figure
        A new one, not attached to pyplot, or the one that was drawn in.

    Examples
    --------
    >>> import valuebias
    >>> data = valuebias.datasets.load("simulated")
    >>> fit = valuebias.fit(data, draws=50, tune=200, chains=2, seed=1, progress=False)
    >>> figure = plot_families(fit)
    >>> len(figure.axes) > 0
    True
    """
    fit = asked(fit, pair, framing, contrast)
    place = Place(None, figure, figsize)
    draws = fit.contrast_draws
    framing = str(draws["framing"].to_numpy()[0])
    draws = draws.isel(estimand=np.flatnonzero(draws["framing"].to_numpy() == framing))
    compared = draws["variable"].to_numpy()[draws["form"].to_numpy() == DIFFERENCE]
    if not len(compared):
        raise ValueBiasError(
            f"the formula {fit.settings['formula']!r} compares no groups of models, so there are "
            "no densities to compare; fit '~ family'."
        )
    factor = str(compared[0])
    leans, gaps = _select(draws, LEAN, factor), _select(draws, DIFFERENCE, factor)
    categories = list(dict.fromkeys(leans["category"].to_numpy().tolist()))
    palette = colours(sorted(set(leans["name"].to_numpy().tolist())))
    n_left, n_right = (len({*map(tuple, _named(d))}) for d in (leans, gaps))
    height = 0.9 + len(categories) * (0.55 + 0.55 * max(n_left, n_right))
    rope = 0.05 * fit.problem.crossing.scale
    unit = describe(fit.settings["outcome"]).unit
    with drawn(7.2, max(height, 2.5), place) as figure:
        panels = figure.subplots(len(categories), 2, squeeze=False, sharex="col")
        for i, category in enumerate(categories):
            left, right = panels[i]
            _panel(left, leans, category, palette)
            _panel(right, gaps, category, {})
            right.axvspan(-rope, rope, color=faint(), alpha=0.55, linewidth=0, zorder=0)
            if i == 0:
                left.set_title(f"Lean of each {drawable(factor)}", pad=16)
                right.set_title("Difference", pad=16)
        panels[-1, 0].set_xlabel(f"lean, {fit.under(framing)} ({unit})")
        panels[-1, 1].set_xlabel(f"difference ({unit})\nband: ±0.05 of the outcome's SD")
    return whole(figure)


def _select(draws: xr.DataArray, form: str, factor: str) -> xr.DataArray:
    of_form = (draws["form"].to_numpy() == form) & (draws["variable"].to_numpy() == factor)
    return draws.isel(estimand=np.flatnonzero(of_form & (draws["variant"].to_numpy() == "")))


def _panel(axes: Axes, draws: xr.DataArray, category: str, palette: dict[str, str]) -> None:
    chosen = draws.isel(estimand=np.flatnonzero(draws["category"].to_numpy() == category))
    names = chosen["name"].to_numpy().tolist()
    over, against = (str(chosen[part].to_numpy()[0]) for part in ("over", "against"))
    lean_axes(axes, over, against, narrow=True)
    for i, name in enumerate(names):
        values = chosen.isel(estimand=i).to_numpy().ravel()
        half_eye(axes, float(-i), values, palette.get(name, ink() if len(names) == 1 else grey()))
    axes.set_yticks([-i for i in range(len(names))], [_label(*parts) for parts in _named(chosen)])
    axes.set_ylim(-len(names) + 0.7, 0.85)


def _named(draws: xr.DataArray) -> list[tuple[str, str, str]]:
    """List what each estimand compares, and what else is set."""
    parts = [draws[part].to_numpy().tolist() for part in ("first", "second", "at")]
    return list(zip(*parts, strict=True))


def _label(first: str, second: str, at: str) -> str:
    """Write a family, or two families, on two lines where they are long."""
    name = f"{first} − {second}" if second else first
    if at:
        return f"{drawable(name, 18)}\n{drawable(at, 20)}"
    if not second or len(name) <= 16:
        return drawable(name, 18)
    return f"{drawable(first, 16)}\n− {drawable(second, 16)}"
