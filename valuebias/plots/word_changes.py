"""Words that moved most in training: the paper's Figures 5 and A6, with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from valuebias.plots.canvas import INTERVAL, Place, drawn, interval, legend, tidy_axes, whole
from valuebias.plots.gaps import at_framing
from valuebias.plots.labels import drawable
from valuebias.plots.theme import colours, points
from valuebias.posterior.ablation.framings import lean_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from valuebias.posterior.ablation.result import AblationPosterior

__all__ = ["plot_word_changes"]


def plot_word_changes(
    fit: AblationPosterior,
    *,
    n: int = 10,
    by: str = "n_pairs",
    source: str | None = None,
    between: tuple[float, float] | None = None,
    framing: str | None = None,
    figure: Figure | SubFigure | None = None,
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Draw the words whose expected outcome moved most, by family.

    Parameters
    ----------
    fit : AblationFit
        What :func:`valuebias.fit_ablation` returns.
    n : int, default 10
        How many words of each family.
    by : {"n_pairs", "step"}, default "n_pairs"
        What they moved with, as in :meth:`valuebias.AblationFit.word_changes`.
    source : str, optional
        Of the pairs, likewise.
    between : pair of float, optional
        The two numbers of pairs, or shares of a run, likewise.
    framing : {"signed", "positive", "negative"}, optional
        The prompts to speak of, as in :meth:`AblationFit.at_framing`; the fit's if not given.
    figure : matplotlib.figure.Figure or SubFigure, optional
        Where to put the panels, in place of a new figure.
    figsize : pair of float, optional
        Width and height of a new figure in inches. If not given what suits its rows, or
        ``rcParams["figure.figsize"]`` where that has been changed.

    Returns
    -------
    matplotlib.figure.Figure
        One panel per family, its largest change at the top. Point and bar: posterior mean and 90 %
        interval of the change in the word's expected outcome under the fit's framing, relative to
        the mean of the lexicon; the colour is the word's category. A line at zero.

    Raises
    ------
    ValueBiasError
        If `fit` is not the fit of an ablation, or :meth:`valuebias.AblationFit.word_changes`
        raises it.

    Notes
    -----
    After Christian et al. (2026), Figures 5 and A6. The words are chosen for their change, so
    the largest are partly chance; the intervals shrink them only as far as the model does.

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
    >>> fit = valuebias.fit_ablation(ds, draws=100, seed=1, progress=False)
    >>> len(plot_word_changes(fit, n=3).axes)
    2
    """
    fit = at_framing(fit, framing)
    place = Place(None, figure, figsize)
    table = fit.word_changes(n=n, by=by, source=source, between=between, prob=INTERVAL)
    categories = sorted(set(table["categories"]))
    palette = colours(categories)
    families = fit.curves.families
    with drawn(1.0 + 2.9 * len(families), 1.5 + 0.24 * min(n, len(table)), place) as figure:
        grid = figure.subplots(1, len(families), squeeze=False, sharex=True).ravel()
        for axes, family in zip(grid, families, strict=True):
            _panel(axes, table[table["family"] == family], palette)
            axes.set_title(drawable(family, 30))
        first = table.iloc[0]
        ends = f"{_number(first['start'])} to {_number(first['end'])}"
        unit = f"pairs of {first['source']}" if by == "n_pairs" else "of a run's length"
        under = f", {lean_name(fit)}" if lean_name(fit) else ""
        grid[0].set_xlabel(f"change{under}\n({fit.unit}, {INTERVAL:.0%} interval)")
        figure.suptitle(drawable(f"From {ends} {unit}", 80), fontsize=points(9))
        handles = [grid[0].plot([], [], "o", color=palette[name])[0] for name in categories]
        legend(figure, handles, categories)
    return whole(figure)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:g}"


def _panel(axes: Axes, table: pd.DataFrame, palette: dict[str, str]) -> None:
    tidy_axes(axes, zero=True)
    for i, (_, row) in enumerate(table.iterrows()):
        interval(axes, -i, row, colour=palette[row["categories"]])
    axes.set_yticks([-i for i in range(len(table))], [drawable(w, 18) for w in table["word"]])
    axes.set_ylim(-len(table) + 0.4, 0.6)
