"""The gap between families against the number of pairs: the paper's Figures 4b and A5b."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from valuebias.errors import ValueBiasError
from valuebias.plots.canvas import GREY, INK, INTERVAL, PAPER, colours, legend, tidy_axes
from valuebias.plots.labels import drawable
from valuebias.plots.layout import panel_grid
from valuebias.posterior.ablation.framings import lean_name, rope_of
from valuebias.posterior.ablation.result import AblationPosterior

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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


def plot_gaps(fit: AblationPosterior, *, ahead: float = 8.0) -> Figure:
    """Draw the gap between families against the number of pairs, and extrapolate it.

    Parameters
    ----------
    fit : AblationFit
        What :func:`valuebias.fit_ablation` or :func:`valuebias.fit_ablation_medians` returns.
    ahead : float, default 8
        How far to extrapolate, as a multiple of the largest number of pairs.

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
    check_ablation(fit)
    if not (isinstance(ahead, float | int | np.number) and 1 <= ahead < np.inf):
        raise ValueBiasError(f"ahead must be a number of 1 or more, found {ahead!r}.")
    pairs = fit.curves.pairs
    palette = colours(fit.curves.sources)
    dashed = ahead > 1 and fit.curves.by_pairs == "curve"
    grid = panel_grid(len(pairs), margin=1.5, height=2.6, sharex=True)
    with grid as (figure, panels, left):
        for axes, pair in zip(panels, pairs, strict=True):
            _panel(axes, fit, pair, palette, float(ahead))
            axes.set_title(drawable(f"{pair[0]} − {pair[1]}", 40))
            axes.set_xlabel("preference pairs" + ("; dashed: extrapolated" if dashed else ""))
        for axes in left:
            axes.set_ylabel(lean_label(fit, "gap in lean", interval=True))
        handles, labels = panels[0].get_legend_handles_labels()
        legend(figure, handles, labels, columns=2 * min(len(pairs), 3))
    return figure


def _panel(
    axes: Axes, fit: AblationPosterior, pair: tuple[str, str], palette: dict[str, str], ahead: float
) -> None:
    axes.set_xscale("log")
    within = rope_of(fit).split(" (")[0]
    axes.axhspan(-fit.rope, fit.rope, color=GREY, alpha=0.18, linewidth=0, label=f"within {within}")
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
        axes.plot(x, last["mean"], "o", color=colour, markersize=5, markeredgecolor=PAPER,
                  markeredgewidth=0.7, label=plain)  # fmt: skip
    points = fit.curves.by_pairs == "points"
    every = [n for source in palette for n in fit.curves.n_pairs_of(source)]
    axes.set_xlim(min(every) / 1.5, max(every) * (1 if points else ahead) * 1.3)
    axes.tick_params(axis="x", which="minor", length=0)
    axes.spines["bottom"].set_color(INK)


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
