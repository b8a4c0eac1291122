"""The gap between families against the number of pairs: the paper's Figures 4b and A5b."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from valuebias.errors import ValueBiasError
from valuebias.plots.canvas import INTERVAL, Place, legend, tidy_axes, whole
from valuebias.plots.labels import drawable
from valuebias.plots.layout import panel_grid
from valuebias.plots.theme import colours, grey, ink, paper
from valuebias.posterior.ablation.framings import lean_name, rope_of
from valuebias.posterior.ablation.result import AblationPosterior

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

__all__ = ["check_ablation", "lean_label", "panel_title", "plot_gaps"]

_LONG = 24


def check_ablation(fit: object) -> AblationPosterior:
    """Check that this is the fit of an ablation."""
    if not isinstance(fit, AblationPosterior):
        raise ValueBiasError(
            f"fit is of type {type(fit).__name__}; expected what valuebias.fit_ablation(dataset) "
            "returns."
        )
    return fit


def at_framing(fit: object, framing: str | None) -> AblationPosterior:
    """Check that this is the fit of an ablation, and view it under a framing."""
    checked = check_ablation(fit)
    return checked if framing is None else checked.at_framing(framing)


def _pairs(fit: AblationPosterior, pair: tuple[str, str] | None) -> list[tuple[str, str]]:
    if pair is None:
        return list(fit.curves.pairs)
    known = [str(name) for name in fit.curves.families]
    if isinstance(pair, str) or len(pair) != 2 or pair[0] == pair[1] or not {*pair} <= {*known}:
        raise ValueBiasError(f"pair is {pair!r}; expected two different families of {known}.")
    return [one for one in fit.curves.pairs if {*one} == {*pair}]


def panel_title(source: object, n_pairs: float) -> str:
    """Title a panel by source and number of pairs."""
    return f"{drawable(source, 20)}, {n_pairs:,.0f} pairs"


def lean_label(fit: AblationPosterior, subject: str, *, interval: bool = False) -> str:
    """Label a vertical axis, in lines that fit a small panel."""
    category, (first, second) = fit.curves.category, fit.curves.categories
    parts = [first, second or "others"] if len(category) > _LONG else [category]
    lines = [f"{drawable(part, _LONG)} −" for part in parts[:-1]] + [drawable(parts[-1], _LONG)]
    under = lean_name(fit)
    if under:
        lines = [*lines[:-1], f"{lines[-1]},", under]
    unit = f"({fit.unit}, {INTERVAL:.0%} interval)" if interval else f"({fit.unit})"
    return "\n".join([f"{subject},", *lines, unit])


def plot_gaps(
    fit: AblationPosterior,
    *,
    ahead: float = 8.0,
    pair: tuple[str, str] | None = None,
    framing: str | None = None,
    ax: Axes | None = None,
    figure: Figure | SubFigure | None = None,
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Draw the gap between families against the number of pairs, and extrapolate it.

    Parameters
    ----------
    fit : AblationFit
        What :func:`valuebias.fit_ablation` or :func:`valuebias.fit_ablation_medians` returns.
    ahead : float, default 8
        How far to extrapolate, as a multiple of the largest number of pairs.
    pair : pair of str, optional
        The two families to draw; all if not given.
    framing : {"signed", "positive", "negative"}, optional
        The prompts to speak of, as in :meth:`AblationFit.at_framing`; the fit's if not given.
    ax : matplotlib.axes.Axes, optional
        Where to draw, in place of a new figure; for one panel.
    figure : matplotlib.figure.Figure or SubFigure, optional
        Where to put the panels, in place of a new figure.
    figsize : pair of float, optional
        Width and height of a new figure in inches. If not given what suits its rows, or
        ``rcParams["figure.figsize"]`` where that has been changed.

    Returns
    -------
    matplotlib.figure.Figure
        A panel for every two families, a colour for every source. Lines and bands: the gap at the
        end of training that the curve gives, with its 90 % interval, dashed and paler where not
        both families have runs with fewer and with more pairs. Points with bars: the runs at their
        last step. Grey band: the region of practical equivalence. Where the formula gives every
        number of pairs its own gap, lines are straight from one to the next, and end at the last.

    Raises
    ------
    ValueBiasError
        If `fit` is not the fit of an ablation, or `ahead` is less than 1.

    Notes
    -----
    After Christian et al. (2026), Figures 4b and A5b, which show medians without intervals.

    Examples
    --------
    >>> from itertools import product
    >>> import pandas as pd
    >>> from valuebias import fit_ablation_medians
    >>> import warnings
    >>> warnings.simplefilter("ignore")  # warns that every family has one base
    >>> names = ["family", "base", "n_pairs", "seed", "checkpoint", "category"]
    >>> grid = product("AB", "1", (1e3, 2e3), (1, 2), (1, 2), "xy")
    >>> table = pd.DataFrame(grid, columns=names).assign(source="s", median_rank=50.0)
    >>> table["base"] = table["family"] + table["base"]
    >>> table["median_rank"] += table.index % 5
    >>> fit = fit_ablation_medians(table, contrast=("x", "y"), draws=10, seed=1)
    >>> plot_gaps(fit).axes[0].get_title(loc="left")
    'A − B'
    """
    fit = at_framing(fit, framing)
    place = Place(ax, figure, figsize)
    if not (isinstance(ahead, float | int | np.number) and 1 <= ahead < np.inf):
        raise ValueBiasError(f"ahead must be a number of 1 or more, found {ahead!r}.")
    pairs = _pairs(fit, pair)
    place.check_one_panel(len(pairs), "Choose two families with pair=")
    dashed = ahead > 1 and fit.curves.by_pairs == "curve"
    grid = panel_grid(len(pairs), margin=1.5, height=2.6, sharex=True, place=place)
    with grid as (figure, panels, left):
        palette = colours(fit.curves.sources)
        for axes, two in zip(panels, pairs, strict=True):
            _panel(axes, fit, two, palette, float(ahead))
            axes.set_title(drawable(f"{two[0]} − {two[1]}", 40))
            axes.set_xlabel("preference pairs" + ("; dashed: extrapolated" if dashed else ""))
        for axes in left:
            axes.set_ylabel(lean_label(fit, "gap in lean", interval=True))
        handles, labels = panels[0].get_legend_handles_labels()
        legend(figure, handles, labels, columns=2 * min(len(pairs), 3), place=place)
    return whole(figure)


def _panel(
    axes: Axes, fit: AblationPosterior, pair: tuple[str, str], palette: dict[str, str], ahead: float
) -> None:
    axes.set_xscale("log")
    axes.axhspan(-fit.rope, fit.rope, color=grey(), alpha=0.18, linewidth=0,
                 label=f"within {rope_of(fit).split(' (')[0]}")  # fmt: skip
    tidy_axes(axes, grid="y", zero=True)
    observed = fit.trajectories(prob=INTERVAL)
    name = f"{pair[0]} − {pair[1]}"
    for k, (source, colour) in enumerate(palette.items()):
        drawn = source in fit.studied and _lines(axes, fit, pair, source, colour, ahead)
        rows = observed[(observed["name"] == name) & (observed["source"] == source)]
        last = rows.loc[rows.groupby("n_pairs")["step"].idxmax()]
        # Sources at the same number of pairs are drawn side by side.
        x = last["n_pairs"] * 1.04**k
        axes.vlines(x, last["lower"], last["upper"], color=colour, linewidth=1.3)
        plain = None if drawn else source
        axes.plot(x, last["mean"], "o", color=colour, markersize=5, markeredgecolor=paper(),
                  markeredgewidth=0.7, label=plain)  # fmt: skip
    points = fit.curves.by_pairs == "points"
    every = [n for source in palette for n in fit.curves.n_pairs_of(source)]
    axes.set_xlim(min(every) / 1.5, max(every) * (1 if points else ahead) * 1.3)
    axes.tick_params(axis="x", which="minor", length=0)
    axes.spines["bottom"].set_color(ink())


def _lines(
    axes: Axes,
    fit: AblationPosterior,
    pair: tuple[str, str],
    source: str,
    colour: str,
    ahead: float,
) -> bool:
    """Draw the gap, solid where both families have runs on either side; tell if any of it is."""
    curves = fit.curves
    studied = curves.n_pairs_of(source)
    if curves.by_pairs == "points":
        _line(axes, fit, pair, source, np.array(studied), colour, source)
        return True
    per_family = [curves.n_pairs_of(source, family) for family in pair]
    first = max((n[0] for n in per_family if n), default=studied[0])
    last = min((n[-1] for n in per_family if n), default=studied[0])
    # Where one family has no runs, or the ranges do not overlap, all of it is extrapolated.
    solid = (first, last) if all(per_family) and first < last else (studied[0], studied[0])
    ends = [(studied[0], solid[0], None), (*solid, source), (solid[1], studied[-1] * ahead, None)]
    for low, high, label in ends:
        if low < high:
            _line(axes, fit, pair, source, np.geomspace(low, high, 25), colour, label)
    return solid[0] < solid[1]


def _line(
    axes: Axes,
    fit: AblationPosterior,
    pair: tuple[str, str],
    source: str,
    n_pairs: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    colour: str,
    label: str | None,
) -> None:
    """Draw the curve's gap over numbers of pairs; without a label, as extrapolated."""
    gap = fit.curves.gap(pair, fit.curves.ends(source, n_pairs))
    tail = (1 - INTERVAL) / 2
    lower, upper = np.quantile(gap, [tail, 1 - tail], axis=(0, 1))
    style = "-" if label else (0, (3, 2))
    axes.fill_between(n_pairs, lower, upper, color=colour, alpha=0.22 if label else 0.09,
                      linewidth=0)  # fmt: skip
    axes.plot(n_pairs, gap.mean(axis=(0, 1)), linestyle=style, color=colour, linewidth=1.5,
              label=label)  # fmt: skip
