"""The items of the paper: how each is made from which data, or why it cannot be."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from valuebias.plots import save_figure
from valuebias.reproduction import logprob_items
from valuebias.reproduction.settings import Settings
from valuebias.reproduction.sources import Missing, Sources

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["ITEMS", "Item"]

_CLASSICAL = ("n_permutations", "seed")
_R = (
    "The package's own tests compare these statistics, for the released Big Two scores, with the "
    "output of R (nlme, MKinfer); R's numbers are not part of the package."
)


@dataclass(frozen=True, slots=True)
class Item:
    """One figure, table or analysis."""

    name: str  # also the name of its folder
    title: str  # what it is in the paper
    # Returns the hash of each file that it is made from; raises `Missing` if one is absent.
    inputs: Callable[[Sources], dict[str, str]]
    # Writes its files into a new folder; returns notes for the reader.
    make: Callable[[Sources, Settings, Path], list[str]]
    settings: tuple[str, ...] = ()  # the settings that it depends on


def write_statistics(
    scores: xr.Dataset, settings: Settings, folder: Path, name: str = "statistics"
) -> None:
    """Write the paper's analysis as text and as JSON."""
    from valuebias.analysis.classical.classical import classical

    result = classical(
        scores, n_permutations=settings.n_permutations, seed=settings.seed, progress=False
    )
    (folder / f"{name}.txt").write_text(str(result), encoding="utf-8")
    text = json.dumps(result.to_dict(), indent=1, allow_nan=False)
    (folder / f"{name}.json").write_text(text, encoding="utf-8")


def _released(*names: str) -> Callable[[Sources], dict[str, str]]:
    return lambda sources: sources.released(*names)


def _figure_1(sources: Sources, settings: Settings, folder: Path) -> list[str]:
    from valuebias.datasets import load
    from valuebias.plots.ranks import plot_ranks

    save_figure(plot_ranks(load("christian2026-big2")), folder / "figure-1")
    return ["Dots are the models of Figure A1(a), diamonds the means of Figure 1(a)."]


def _statistics_1(sources: Sources, settings: Settings, folder: Path) -> list[str]:
    from valuebias.datasets import load

    write_statistics(load("christian2026-big2"), settings, folder)
    return [_R]


def _figure_a1(sources: Sources, settings: Settings, folder: Path) -> list[str]:
    from valuebias.datasets import load
    from valuebias.plots.ranks import plot_ranks

    scores = load("christian2026-mfd2")
    save_figure(plot_ranks(scores), folder / "figure-a1")
    left_out = _last_column_only(scores)
    write_statistics(scores.isel(response=~left_out), settings, folder, "statistics-paper")
    write_statistics(scores, settings, folder, "statistics-all-words")
    return [
        "Dots are the models of Figure A1(b), diamonds the means of Figure 1(b).",
        f"The paper's statistics are statistics-paper: without the {int(left_out.sum())} words "
        "that are Sanctity vice only, because the range of columns in the authors' script stops "
        "one short of the dictionary's last. statistics-all-words has all words.",
    ]


def _last_column_only(scores: xr.Dataset) -> npt.NDArray[np.bool_]:
    """Find the words that only the last column of the released dictionary has."""
    from valuebias.instruments import lexicon

    apart = lexicon("mfd2-virtue-vice")
    member = apart.membership(scores["response"].to_numpy().tolist()).to_numpy(dtype=bool)
    last = apart.categories.index("sanctity.vice")
    return np.asarray(member[:, last] & (member.sum(axis=1) == 1))


def _posterior(sources: Sources, settings: Settings, folder: Path) -> list[str]:
    from valuebias.datasets import load
    from valuebias.fitting.fit import fit

    fitted = fit(
        load("christian2026-big2"),
        draws=settings.draws,
        chains=settings.chains,
        seed=settings.seed,
        progress=False,
    )
    fitted.save(folder / "fit.nc")
    fitted.report(folder / "report.html", progress=False)
    fitted.plot("forest").savefig(folder / "forest.png", dpi=200, metadata={"Software": None})
    headline = fitted.headline()
    (folder / "headline.txt").write_text(f"{headline.text}\n", encoding="utf-8")
    extends = (
        "Not in the paper: the same question with models as the sampling unit, beside the paper's "
        "analysis in the report."
    )
    return [extends] if headline.converged else [extends, *fitted.diagnostics().messages]


def _figure_4(sources: Sources, settings: Settings, folder: Path) -> list[str]:
    from valuebias.datasets import load
    from valuebias.fitting.ablation import fit_ablation_medians
    from valuebias.plots import plot_gaps, plot_trajectories

    table = load("christian2026-training")
    table.to_csv(folder / "training-ranks.csv", index=False, lineterminator="\n")
    fitted = fit_ablation_medians(table, seed=settings.seed)
    save_figure(plot_trajectories(fitted), folder / "figure-4a")
    save_figure(plot_gaps(fitted), folder / "figure-4b")
    (folder / "headline.txt").write_text(f"{fitted.headline()}\n", encoding="utf-8")
    return ["Leans (agency − communion) with intervals, in ranks; the paper draws the medians."]


def _absent(name: str, title: str, reason: str) -> Item:
    """Describe an item that no data known to the package can make."""

    def inputs(sources: Sources) -> dict[str, str]:
        raise Missing(reason)

    def make(sources: Sources, settings: Settings, folder: Path) -> list[str]:
        raise Missing(reason)

    return Item(name, title, inputs, make)


def _logprob_item(
    name: str,
    title: str,
    models: Sequence[str],
    make: Callable[[Sources, Settings, Path], list[str]],
) -> Item:
    def inputs(sources: Sources) -> dict[str, str]:
        return sources.hashes_of(models)

    return Item(name, title, inputs, make)


def _figure_2(name: str, title: str, models: Sequence[str]) -> Item:
    def inputs(sources: Sources) -> dict[str, str]:
        return sources.hashes_of(models) | sources.released(logprob_items.NOUNS)

    def make(sources: Sources, settings: Settings, folder: Path) -> list[str]:
        scores, notes = logprob_items.figure_2(sources, models, folder, name)
        write_statistics(scores, settings, folder)
        return notes

    return Item(name, title, inputs, make, _CLASSICAL)


ITEMS: tuple[Item, ...] = (
    Item(
        "figure-1",
        "Figures 1(a) and A1(a): median ranks of ten reward models, Big Two",
        _released("christian2026-big2"),
        _figure_1,
    ),
    Item(
        "figure-1-statistics",
        "The statistics of Figure 1(a): mixed model, ANOVA and permutation tests",
        _released("christian2026-big2"),
        _statistics_1,
        _CLASSICAL,
    ),
    Item(
        "posterior",
        "The hierarchical model of the Big Two scores, and its report",
        _released("christian2026-big2"),
        _posterior,
        ("draws", "chains", "seed"),
    ),
    Item(
        "figure-a1",
        "Figures 1(b) and A1(b): median ranks of ten reward models, Moral Foundations",
        _released("christian2026-mfd2"),
        _figure_a1,
        _CLASSICAL,
    ),
    _figure_2(
        "figure-2a",
        "Figure 2(a): median ranks of log-probs, instruction-tuned models",
        logprob_items.INSTRUCT,
    ),
    _figure_2(
        "figure-2b",
        "Figure 2(b): median ranks of log-probs, pretrained models",
        logprob_items.PRETRAINED,
    ),
    Item(
        "figure-3",
        "Figure 3: implicit rewards of “freedom” and “love” over pairs of models",
        logprob_items.inputs_3,
        logprob_items.figure_3,
    ),
    _logprob_item(
        "table-1",
        "Table 1: tokens with the highest and lowest implicit reward",
        logprob_items.INSTRUCT,
        logprob_items.table_1,
    ),
    Item(
        "figure-4",
        "Figures 4 and A5: median ranks of the reward models that the authors trained",
        _released("christian2026-training"),
        _figure_4,
        ("seed",),
    ),
    _absent(
        "figure-5",
        "Figures 5 and A6: words whose rank changes most in training",
        "It needs the rewards of single words at every checkpoint. The data known to this package "
        "have the median rank of each category only; see figure-4.",
    ),
    _absent(
        "figure-a3",
        "Figure A3: which implicit reward finds a known change",
        "The authors fine-tuned models for it, whose log-probs are not among the data known to "
        "this package. valuebias.validate_implicit(logprobs) asks the same question "
        "of log-probs that are changed by a known amount.",
    ),
    _absent(
        "reward-model-tokens",
        "Tokens with the highest and lowest rewards of the ten reward models",
        "It needs rewards of whole vocabularies, which are not released and take a GPU: "
        "valuebias score christian2026-rms --lexicon vocabulary --store rewards.zarr",
    ),
)
"""All items, in the order in which they are made and shown."""
