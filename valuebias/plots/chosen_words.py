"""Chosen words over all implicit pairs or models: the paper's Figure 3."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from valuebias.analysis.outcome import describe, outcome
from valuebias.errors import ValueBiasError, did_you_mean
from valuebias.plots.canvas import Place, drawn, interval, legend, mark, tidy_axes, whole
from valuebias.plots.labels import drawable
from valuebias.plots.layout import header, make_panels, spread, width
from valuebias.plots.theme import colours, grey, ink, paper, points
from valuebias.plots.tokens import shown_token
from valuebias.schema import FRAMINGS, member_table, validate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from valuebias.posterior.posterior import Posterior

__all__ = ["plot_chosen_words"]

_GAP = 0.85
_COLOURS = 6  # how many are distinguishable

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _WordScores:
    """Means over prompts."""

    # (framing, model, word): over the prompts of the framing after which the model scored the word;
    # NaN if none.
    means: Array = field(repr=False)
    framings: tuple[str, ...]  # as shown
    columns: dict[str, int] = field(repr=False)  # each word's column
    groups: tuple[str, ...]  # for each model the name of its colour
    member: NDArray[np.bool_] = field(repr=False)  # (word, category): membership
    names: tuple[str, ...]  # of the categories
    unit: str  # what a dot is: "pair" or "model"
    label: str  # for the axis

    def of(self, word: str) -> Array:
        """Means of one word (framing, model)."""
        return self.means[..., self.columns[word]]

    def category(self, word: str) -> str | None:
        """Name the first category of a word; None where the dataset has none."""
        if not self.names:
            return None
        mine = self.member[self.columns[word]]
        return self.names[int(np.argmax(mine))] if mine.any() else "no category"

    def axis_text(self, word: str) -> str:
        """Label a word on the axis, with the number of its other categories."""
        more = int(self.member[self.columns[word]].sum()) - 1
        text = drawable(shown_token(word), 24)
        return f"{text} (+{more})" if more > 0 else text


def plot_chosen_words(
    rewards: xr.Dataset,
    words: Sequence[str] | None = None,
    *,
    framing: str | None = None,
    n: int = 6,
    fit: Posterior | None = None,
    figure: Figure | SubFigure | None = None,
    figsize: tuple[float, float] | None = None,
) -> Figure:
    """Draw the rewards of chosen words by every implicit pair, or every model.

    Parameters
    ----------
    rewards : xarray.Dataset
        Implicit rewards, or scores of another kind.
    words : sequence of str, optional
        Words as spelled in the dataset, drawn in this order. By default the `n` words of each
        category that have the largest mean over models and prompts (of those that every model
        scored), of all words where there are no categories.
    framing : {"positive", "negative"}, optional
        The prompts to show; both, side by side, by default.
    n : int, default 6
        How many words of each category to show by default.
    fit : Fit, optional
        The result of :func:`valuebias.fit` on the same dataset. Its estimates for the words are
        drawn beside them.
    figure : matplotlib.figure.Figure or SubFigure, optional
        Where to put the panels, in place of a new figure.
    figsize : pair of float, optional
        Width and height of a new figure in inches. If not given what suits its rows, or
        ``rcParams["figure.figsize"]`` where that has been changed.

    Returns
    -------
    matplotlib.figure.Figure
        One row per word, under the category it was chosen for, or else its first; "(+1)" says that
        it is in one more. Dots: the mean of a pair, or of a model, over the prompts of the framing
        after which it scored the word. Stem and diamond: the mean of the dots; with one pair or
        model there are no dots. Implicit rewards are shown in their own units, with a line at zero.
        Scores of other kinds have no common scale, so they are normal scores within model and
        prompt among all the words of the dataset: zero is the middle word. With a fit, further
        panels with the posterior mean and 90 % interval of the expected outcome of the word over
        all models, relative to the mean of the lexicon, in units of the fit's outcome; a word
        outside the lexicon has none.

    Raises
    ------
    ValueBiasError
        If the dataset is not valid, has no prompts of the framing or no such words, a word has no
        scores, `n` is not a positive number, or `fit` is of other data.

    Notes
    -----
    After Christian et al. (2026), Figure 3. Pairs that share a model are not independent of one
    another, so dots that agree are less evidence than their number suggests.

    Examples
    --------
    >>> import valuebias
    >>> figure = plot_chosen_words(valuebias.datasets.load("simulated"), framing="positive", n=2)
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['power', 'stamina', 'fairness', 'companionship']
    """
    place = Place(None, figure, figsize)
    validate(rewards)
    scores = _word_scores(rewards, _framings(rewards, framing))
    chosen = _default_words(scores, n=n) if words is None else _chosen(scores, words)
    positions = _positions(chosen)
    height = 1.7 + 0.25 * (1 - min(positions.values()))
    with drawn(width(len(scores.framings), fitted=fit is not None), height, place) as figure:
        panels = make_panels(figure, scores.framings, fitted=fit is not None)
        for level, axes in zip(scores.framings, panels.data, strict=True):
            _panel(axes, scores, positions, level)
            axes.set_xlabel(_scaled(axes, scores))
        if fit is not None:
            _posterior(panels.fitted, fit, rewards, scores, positions)
        _label(panels.data[0], scores, chosen, positions)
        if len(scores.groups) > 1:
            palette = colours(sorted(scores.groups))
            handles = [*map(mark, palette.values()), mark(ink(), "D", size=5.5)]
            mean = f"mean over {len(scores.groups)} {scores.unit}s"
            legend(figure, handles, [*palette, mean], columns=2)
    return whole(figure)


def _framings(rewards: xr.Dataset, framing: str | None) -> tuple[str, ...]:
    present = set(rewards["framing"].to_numpy().tolist())
    known = tuple(level for level in FRAMINGS if level in present)
    if framing is None:
        return known
    if framing not in known:
        raise ValueBiasError(
            f"framing is {framing!r}, and the dataset has no such prompts. "
            f"{did_you_mean(framing, known)}"
        )
    return (framing,)


def _chosen(scores: _WordScores, words: Sequence[str]) -> dict[str, str | None]:
    chosen = [str(w) for w in dict.fromkeys([words] if isinstance(words, str) else words)]
    if not chosen:
        raise ValueBiasError("words is empty; name at least one word, or leave it out.")
    for word in chosen:
        if word not in scores.columns:
            raise ValueBiasError(_unknown(word, list(scores.columns)))
        empty = np.isnan(scores.of(word)).all(axis=1)
        if empty.any():
            raise ValueBiasError(
                f"The word {word!r} has no scores after {scores.framings[int(np.argmax(empty))]} "
                "prompts. Choose another, or another framing."
            )
    return {word: scores.category(word) for word in chosen}


def _unknown(word: str, known: list[str]) -> str:
    """Suggest the nearest words; a whole vocabulary would fill the screen."""
    lowered = {entry.lower().strip(): entry for entry in reversed(known)}
    close = difflib.get_close_matches(word.lower().strip(), list(lowered), n=3, cutoff=0.6)
    hint = " or ".join(repr(lowered[entry]) for entry in close)
    return f"The dataset has no word {word!r} among its {len(known)}. " + (
        f"Did you mean {hint}?"
        if hint
        else "Words are written as in dataset['response'], with their spaces."
    )


def _positions(words: Mapping[str, str | None]) -> dict[str, float]:
    """Give each word its y position, with room for the name of a category above its words."""
    positions: dict[str, float] = {}
    y, before = 0.0, None
    for word, category in words.items():
        y -= _GAP * bool(positions and category != before)
        positions[word], before = y, category
        y -= 1
    return positions


def _panel(axes: Axes, scores: _WordScores, positions: dict[str, float], framing: str) -> None:
    tidy_axes(axes, zero=True)
    # In alphabetical order, so that a family has the same colour in every figure.
    palette = colours(sorted(scores.groups))
    f = scores.framings.index(framing)
    for word, y in positions.items():
        values = scores.of(word)[f]
        mean = float(np.nanmean(values))
        axes.plot([0, mean], [y, y], color=grey(), linewidth=1.8, solid_capstyle="butt", zorder=2)
        offsets = spread(values, 0.2)
        for name, colour in palette.items() if len(values) > 1 else ():
            mine = np.array([group == name for group in scores.groups])
            axes.plot(values[mine], y + offsets[mine], "o", color=colour, alpha=0.7, markersize=4,
                      markeredgewidth=0, zorder=3)  # fmt: skip
        axes.plot([mean], [y], "D", color=ink(), markersize=5.2, markeredgecolor=paper(),
                  markeredgewidth=0.8, zorder=4)  # fmt: skip


def _scaled(axes: Axes, scores: _WordScores) -> str:
    """Move the power of ten of very small or large numbers into the label."""
    size = max(abs(limit) for limit in axes.get_xlim())
    power = math.floor(math.log10(size)) if size > 0 else 0
    if -3 < power < 4:
        return scores.label
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / 10**power:g}".replace("-", "−"))
    exponent = f"{power}".translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    head, unit, tail = scores.label.rpartition("(")
    return f"{head}{unit}10{exponent} {tail}" if unit else f"{scores.label} (10{exponent})"


def _posterior(
    panels: list[Axes],
    fit: Posterior,
    rewards: xr.Dataset,
    scores: _WordScores,
    positions: dict[str, float],
) -> None:
    from valuebias.plots.posterior_numbers import check_same_data, word_label, word_means

    fit = check_same_data(fit, rewards)
    for framing, axes in zip(scores.framings, panels, strict=True):
        tidy_axes(axes, zero=True)
        table = word_means(fit, list(positions), framing=framing)
        for _, row in table.iterrows():
            interval(axes, positions[row["word"]], row, colour=ink(), marker="D", size=5.5)
        for word in set(positions) - set(table["word"]):
            axes.annotate("outside the lexicon", (0, positions[word]), xytext=(4, 0), va="center",
                          textcoords="offset points", color=grey(), fontsize=points(8))  # fmt: skip
        axes.set_xlabel(word_label(fit))


def _label(
    axes: Axes, scores: _WordScores, words: Mapping[str, str | None], positions: dict[str, float]
) -> None:
    before = None
    for word, category in words.items():
        if category is not None and category != before:
            header(axes, positions[word] + 0.85, category)
        before = category
    axes.set_yticks(list(positions.values()), [scores.axis_text(word) for word in positions])
    axes.set_ylim(min(positions.values()) - 0.7, 1.15 if scores.names else 0.7)


def _word_scores(rewards: xr.Dataset, framings: tuple[str, ...]) -> _WordScores:
    """Average the scores of every word over the prompts of each framing."""
    kind = str(rewards.attrs["kind"])
    if kind == "implicit":
        score = rewards["score"]
        label = f"implicit reward ({drawable(rewards.attrs['units'], 24)})"
    else:
        score = outcome(rewards["score"], kind="normal")
        noun = {"reward": "reward", "logprob": "log-prob", "judged": "verdict"}[kind]
        label = f"{noun}: {describe('normal').name} ({describe('normal').unit})"
    score = score.transpose("model", "prompt", "response")
    of = rewards["framing"].to_numpy()
    means = [
        score.isel(prompt=np.flatnonzero(of == f)).mean("prompt", dtype=np.float64).to_numpy()
        for f in framings
    ]
    return _WordScores(
        means=np.stack(means),
        framings=framings,
        columns={word: i for i, word in enumerate(rewards["response"].to_numpy().tolist())},
        groups=_groups(rewards),
        member=member_table(rewards).to_numpy(dtype=bool),
        names=tuple(str(name) for name in rewards["category"].to_numpy()),
        unit=_unit(rewards),
        label=label,
    )


def _default_words(scores: _WordScores, *, n: int) -> dict[str, str | None]:
    """Choose the words of each category with the largest means."""
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise ValueBiasError(f"n is {n!r}; expected a number of words, at least 1.")
    words = list(scores.columns)
    # NaN where some model has no score: such a word would be compared on other models.
    mean = scores.means.mean(axis=(0, 1))
    order = [i for i in np.argsort(-mean, kind="stable") if not np.isnan(mean[i])]
    sets: list[tuple[str | None, NDArray[np.bool_]]] = [(None, np.ones(len(words), dtype=bool))]
    if scores.names:
        sets = list(zip(scores.names, scores.member.T, strict=True))
    chosen: dict[str, str | None] = {}
    for name, inside in sets:
        mine = [words[i] for i in order if inside[i]][: int(n)]
        chosen |= {word: name for word in mine if word not in chosen}
    if not chosen:
        raise ValueBiasError(
            "No word of a category was scored by every model after prompts of every framing shown. "
            "Name words=, or give complete scores."
        )
    return chosen


def _unit(rewards: xr.Dataset) -> str:
    """Name what one model of the dataset is: policies have a reference, base models are paired."""
    paired = rewards.attrs["kind"] == "implicit" and "reference" not in rewards.coords
    return "pair" if paired else "model"


def _groups(rewards: xr.Dataset) -> tuple[str, ...]:
    """Name the colour of each model: its family, or for pairs of two families its numerator."""
    everything = f"a {_unit(rewards)}"
    for coord in ("family", "numerator"):
        if coord in rewards.coords:
            names = [str(name) for name in rewards[coord].to_numpy()]
            if 1 < len(set(names)) <= _COLOURS:
                return tuple(names)
    return (everything,) * rewards.sizes["model"]
