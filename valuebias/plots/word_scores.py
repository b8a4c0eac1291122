"""The numbers behind the figure of words: one mean per word, model and framing."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from valuebias.analysis.outcome import describe, outcome
from valuebias.errors import ValueBiasError
from valuebias.plots.labels import drawable
from valuebias.plots.tokens import shown_token
from valuebias.schema import member_table

__all__ = ["WordScores", "default_words", "word_scores"]

Array = NDArray[np.float64]
_COLOURS = 6  # how many are distinguishable


@dataclass(frozen=True, eq=False)
class WordScores:
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


def word_scores(rewards: xr.Dataset, framings: tuple[str, ...]) -> WordScores:
    """Average the scores of every word over the prompts of each framing."""
    kind = str(rewards.attrs["kind"])
    if kind == "implicit":
        score = rewards["score"]
        label = f"implicit reward ({drawable(rewards.attrs['units'], 24)})"
    else:
        score = outcome(rewards["score"], kind="normal")
        noun = {"reward": "reward", "logprob": "log-prob"}[kind]
        label = f"{noun}: {describe('normal').name} ({describe('normal').unit})"
    score = score.transpose("model", "prompt", "response")
    of = rewards["framing"].to_numpy()
    means = np.stack([_mean(score.isel(prompt=np.flatnonzero(of == f))) for f in framings])
    return WordScores(
        means=means,
        framings=framings,
        columns={word: i for i, word in enumerate(rewards["response"].to_numpy().tolist())},
        groups=_groups(rewards),
        member=member_table(rewards).to_numpy(dtype=bool),
        names=tuple(str(name) for name in rewards["category"].to_numpy()),
        unit="pair" if kind == "implicit" else "model",
        label=label,
    )


def default_words(scores: WordScores, *, n: int) -> dict[str, str | None]:
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


def _mean(score: xr.DataArray) -> Array:
    values = score.to_numpy()
    known = ~np.isnan(values)
    count = known.sum(axis=1)
    total = np.where(known, values, 0.0).sum(axis=1, dtype=np.float64)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _groups(rewards: xr.Dataset) -> tuple[str, ...]:
    """Name the colour of each model: its family, or for pairs of two families its numerator."""
    everything = "a pair" if rewards.attrs["kind"] == "implicit" else "a model"
    for coord in ("family", "numerator"):
        if coord in rewards.coords:
            names = [str(name) for name in rewards[coord].to_numpy()]
            if 1 < len(set(names)) <= _COLOURS:
                return tuple(names)
    return (everything,) * rewards.sizes["model"]
