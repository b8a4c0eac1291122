"""The paper's unit of analysis: the median rank of a category's words, by model and prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from valuebias.analysis.classical.frames import from_rows
from valuebias.analysis.outcome import outcome
from valuebias.errors import ValueBiasError, did_you_mean
from valuebias.schema import FRAMINGS
from valuebias.schema.weights import are_marks

__all__ = ["MedianRanks", "median_ranks"]


@dataclass(frozen=True, eq=False)
class MedianRanks:
    """Median ranks as an array, with the names of its levels."""

    # (model, prompt, category): median rank (1 = highest score) of the category's words; NaN where
    # none was scored.
    values: NDArray[np.float64]
    # (model, framing, category): median over the words *and* the prompts of a framing together.
    pooled: NDArray[np.float64]
    # Models, prompts, categories, framings: labels; framings that are present, positive first.
    models: tuple[str, ...]
    prompts: tuple[str, ...]
    categories: tuple[str, ...]
    framings: tuple[str, ...]
    family: tuple[str, ...]  # family, framing: of each model; of each prompt
    framing: tuple[str, ...]
    families: tuple[str, ...]  # sorted, the reference level first, as R's ``factor`` orders them
    n_ranked: int  # how many ranks there are: words, counted once for each category they are in

    def frame(self) -> pd.DataFrame:
        """Return the medians one per row."""
        model, prompt, category = np.indices(self.values.shape).reshape(3, -1)
        labels = {
            "model": (self.models, model),
            "family": (self.family, model),
            "category": (self.categories, category),
            "prompt": (self.prompts, prompt),
            "framing": (self.framing, prompt),
        }
        frame = pd.DataFrame(
            {
                name: pd.Series(np.asarray(levels, dtype=object)[codes], dtype=object)
                for name, (levels, codes) in labels.items()
            }
        )
        frame["rank"] = self.values.reshape(-1)
        return frame[frame["rank"].notna()].reset_index(drop=True)

    def table(self) -> pd.DataFrame:
        """Average the pooled medians over the models of each family.

        Notes
        -----
        Source: Christian et al. 2026, main text (average median ranks).
        """
        family = np.asarray(self.family)
        rows: list[dict[str, object]] = []
        for f, framing in enumerate(self.framings):
            for c, category in enumerate(self.categories):
                for name in self.families:
                    ranks = self.pooled[family == name, f, c]
                    ranks = ranks[~np.isnan(ranks)]
                    rows.append(
                        {
                            "framing": framing,
                            "category": category,
                            "family": name,
                            "rank": float(ranks.mean()) if ranks.size else np.nan,
                            "models": int(ranks.size),
                        }
                    )
        return from_rows(rows)

    def framing_summary(self) -> pd.DataFrame:
        """Mean and standard deviation (divisor n − 1) of the medians by framing."""
        summary = self.frame().groupby("framing", sort=False)["rank"].agg(["size", "mean", "std"])
        summary = summary.reindex(list(self.framings)).reset_index()
        return summary.rename(columns={"size": "n", "std": "sd"})


def median_ranks(dataset: xr.Dataset, *, contrast: tuple[str, str] | None = None) -> MedianRanks:
    """Take the median rank of each category's words within every model and prompt.

    Notes
    -----
    A word in several categories is ranked once for each, as in the paper's long table of Moral
    Foundations words: its rows share the mean of the ranks they cover.

    Source: Christian et al. 2026, Figure 1 and its script.

    Examples
    --------
    >>> from valuebias import simulate
    >>> ds = simulate(n_models={"Gemma": 2, "Llama": 2}, n_prompts=4, n_words=30, seed=1)
    >>> median_ranks(ds).values.shape
    (4, 4, 2)
    """
    members = dataset["membership"].transpose("response", "category").to_numpy()
    if not are_marks(members.astype(float)):
        said = (
            "The paper's analysis takes medians over words that are in a category or are not, and "
            "these words have weights. Say from which weight on a word belongs: "
        )
        raise ValueBiasError(
            f"{said}valuebias.lexicon(..., threshold=0.5), or of this dataset "
            "dataset.assign(membership=dataset['membership'] >= 0.5).",
            in_shell=f"{said}--threshold 0.5.",
        )
    names = [str(name) for name in dataset["category"].to_numpy()]
    keep = _kept(names, contrast)
    empty = [names[c] for c in keep if not members[:, c].any()]
    if empty:
        raise ValueBiasError(
            f"Category {empty[0]!r} has no words in the dataset, so it has no median rank. Score "
            "words of it, or choose two other categories with contrast=."
        )
    category, word = np.nonzero(members.T)
    score = dataset["score"].transpose("model", "prompt", "response")
    rank = outcome(score.isel(response=word), kind="rank").to_numpy()
    framing = [str(value) for value in dataset["framing"].to_numpy()]
    present = tuple(level for level in FRAMINGS if level in framing)
    values = np.stack([_median(rank[..., category == c]) for c in keep], axis=-1)
    pooled = [
        [_median(rank[:, np.asarray(framing) == f][..., category == c].reshape(len(rank), -1))
         for c in keep]
        for f in present
    ]  # fmt: skip
    family = tuple(str(value) for value in dataset["family"].to_numpy())
    return MedianRanks(
        values=values,
        pooled=np.moveaxis(np.asarray(pooled), 2, 0),
        models=tuple(str(value) for value in dataset["model"].to_numpy()),
        prompts=tuple(str(value) for value in dataset["prompt"].to_numpy()),
        categories=tuple(names[c] for c in keep),
        framings=present,
        family=family,
        framing=tuple(framing),
        families=tuple(sorted(set(family))),
        n_ranked=int(word.size),
    )


def _kept(names: Sequence[str], contrast: tuple[str, str] | None) -> list[int]:
    if contrast is None:
        return list(range(len(names)))
    if isinstance(contrast, str) or len(contrast) != 2 or contrast[0] == contrast[1]:
        raise ValueBiasError(
            f"contrast={contrast!r} should name two different categories, such as "
            f"{tuple(names[:2])!r}."
        )
    for name in contrast:
        if name not in names:
            raise ValueBiasError(f"Unknown category {name!r}. {did_you_mean(name, names)}")
    return [names.index(name) for name in contrast]


def _median(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take medians along the last axis over known values; NaN where there are none."""
    if not np.isnan(values).any():
        return np.asarray(np.median(values, axis=-1))
    nothing = np.asarray(np.isnan(values).all(axis=-1))
    medians = np.asarray(np.nanmedian(np.where(nothing[..., None], 0.0, values), axis=-1))
    medians[nothing] = np.nan
    return medians
