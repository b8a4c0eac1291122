"""The items of the paper: how each is made from which data, or why it cannot be."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from valuebias._core.text import escape, neutralise
from valuebias.analysis.classical.classical import classical
from valuebias.datasets import load
from valuebias.errors import ValueBiasError
from valuebias.fitting.ablation import fit_ablation_medians
from valuebias.fitting.fit import fit
from valuebias.instruments import lexicon
from valuebias.logprobs.alignment import align
from valuebias.logprobs.pairs import implicit
from valuebias.plots import (
    plot_chosen_words,
    plot_gaps,
    plot_logprobs,
    plot_ranks,
    plot_trajectories,
    save_figure,
    token_table,
)
from valuebias.reproduction.sources import Missing, Settings, Sources
from valuebias.schema import build, model_table, prompt_table

__all__ = ["ITEMS", "Item"]

_CLASSICAL = ("n_permutations", "seed")
_R = (
    "The package's own tests compare these statistics, for the released Big Two scores, with the "
    "output of R (nlme, MKinfer); R's numbers are not part of the package."
)
# The models, the prompt and the number of tokens are those of the authors' scripts.
_INSTRUCT = ("google/gemma-2-2b-it", "meta-llama/Llama-3.2-3B-Instruct")
_PRETRAINED = ("google/gemma-2-2b", "meta-llama/Llama-3.2-3B")
_NOUNS = "big2-nouns"
_PAIRED = {
    "Llama": (
        "meta-llama/Llama-3.2-1B-Instruct",
        "meta-llama/Llama-3.2-3B-Instruct",
        "meta-llama/Meta-Llama-3-8B-Instruct",
        "meta-llama/Llama-3.1-8B-Instruct",
        "meta-llama/Meta-Llama-3-70B-Instruct",
        "meta-llama/Llama-3.1-70B-Instruct",
        "meta-llama/Llama-3.3-70B-Instruct",
    ),
    "Gemma": ("google/gemma-2-2b-it", "google/gemma-2-9b-it", "google/gemma-2-27b-it"),
}
_PROMPT = "greatest_ever_one"
_WORDS = {"Freedom": "agency", "Love": "communion"}
_TOKENS = 15
_SHARED = (
    "The authors' list of what Llama 3 and Gemma 2 share has 85,524 texts, as transformers 4 "
    "decodes tokens; as version 5 does, they share 85,571. New log-probs depend on the version "
    "that scores them."
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
    result = classical(
        scores, n_permutations=settings.n_permutations, seed=settings.seed, progress=False
    )
    (folder / f"{name}.txt").write_text(str(result), encoding="utf-8")
    text = json.dumps(result.to_dict(), indent=1, allow_nan=False)
    (folder / f"{name}.json").write_text(text, encoding="utf-8")


def _released(*names: str) -> Callable[[Sources], dict[str, str]]:
    return lambda sources: sources.released(*names)


def _figure_1(sources: Sources, settings: Settings, folder: Path) -> list[str]:
    save_figure(plot_ranks(load("christian2026-big2")), folder / "figure-1")
    return ["Dots are the models of Figure A1(a), diamonds the means of Figure 1(a)."]


def _statistics_1(sources: Sources, settings: Settings, folder: Path) -> list[str]:
    write_statistics(load("christian2026-big2"), settings, folder)
    return [_R]


def _figure_a1(sources: Sources, settings: Settings, folder: Path) -> list[str]:
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
    apart = lexicon("mfd2-virtue-vice")
    member = apart.membership(scores["response"].to_numpy().tolist()).to_numpy(dtype=bool)
    last = apart.categories.index("sanctity.vice")
    return np.asarray(member[:, last] & (member.sum(axis=1) == 1))


def _posterior(sources: Sources, settings: Settings, folder: Path) -> list[str]:
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


def _figure_2(name: str, title: str, models: Sequence[str]) -> Item:
    """Draw the median log-prob ranks of the Big Two nouns for two models."""

    def inputs(sources: Sources) -> dict[str, str]:
        return sources.hashes_of(models) | sources.released(_NOUNS)

    def make(sources: Sources, settings: Settings, folder: Path) -> list[str]:
        aligned = align(sources.logprobs().read(models), lexicon=_NOUNS)
        member = aligned["membership"].transpose("response", "category").to_numpy()
        nouns = aligned.isel(response=np.flatnonzero(member.any(axis=1)))
        save_figure(plot_logprobs(nouns), folder / name)
        write_statistics(nouns, settings, folder)
        counts = dict(zip(nouns["category"].to_numpy().tolist(), member.sum(axis=0), strict=True))
        counted = ", ".join(f"{int(n)} of {category}" for category, n in counts.items())
        return [f"Nouns that are single tokens of both models: {counted}."]

    return Item(name, title, inputs, make, _CLASSICAL)


def _inputs_3(sources: Sources) -> dict[str, str]:
    """Find the available log-probs of the models of Figure 3, of both families."""
    available = _available(sources)
    for family, names in available.items():
        if not names:
            # Raises an error that names them all, and how to get them.
            sources.hashes_of(_PAIRED[family])
    return sources.logprobs().hashes([name for names in available.values() for name in names])


def _figure_3(sources: Sources, settings: Settings, folder: Path) -> list[str]:
    """Draw the implicit rewards of two words over all pairs, Llama against Gemma."""
    available = _available(sources)
    names = [name for family in available.values() for name in family]
    aligned = align(sources.logprobs().read(names, prompts=[_PROMPT]))
    spelt = np.array([_plain(str(text)) for text in aligned["response"].to_numpy()], dtype=object)
    parts = []
    for word in _WORDS:
        variants = np.flatnonzero(spelt == _plain(word))
        if not len(variants):
            raise ValueBiasError(f"The models have no token in common that reads {word!r}.")
        rewards = implicit(
            aligned.isel(response=variants),
            numerator=available["Llama"],
            denominator=available["Gemma"],
        )
        # The authors score every variant, such as " Love" and "love", and average the scores.
        parts.append(rewards["score"].mean("response", dtype=np.float64).to_numpy())
    scores = build(
        np.stack(parts, axis=-1),
        models=model_table(rewards),
        prompts=prompt_table(rewards),
        lexicon=pd.DataFrame(
            {c: [c == of for of in _WORDS.values()] for c in _WORDS.values()}, index=list(_WORDS)
        ),
        responses=list(_WORDS),
        kind="implicit",
        units=str(rewards.attrs["units"]),
    )
    save_figure(plot_chosen_words(scores, list(_WORDS), framing="positive"), folder / "figure-3")
    table = scores["score"].isel(prompt=0).to_pandas()
    table.insert(0, "numerator", scores["numerator"].to_numpy())
    table.insert(1, "denominator", scores["denominator"].to_numpy())
    table.to_csv(folder / "figure-3.csv", index=False, lineterminator="\n")
    lacking = [name for family in _PAIRED.values() for name in family if name not in names]
    notes = [f"Llama − Gemma, mixture-weighted log-ratio, after the prompt {_PROMPT!r}."]
    if lacking:
        notes.append(
            f"Log-probs were given for {len(names)} of the paper's {len(names) + len(lacking)} "
            f"models; there are none of {', '.join(lacking)}."
        )
    return notes


def _table_1(sources: Sources, settings: Settings, folder: Path) -> list[str]:
    """Tabulate the tokens that one model values most and least relative to the other."""
    gemma, llama = _INSTRUCT
    aligned = align(sources.logprobs().read(_INSTRUCT, prompts=[_PROMPT]))
    rewards = implicit(aligned, numerator=llama, denominator=gemma)
    # A small vocabulary may have fewer than thirty tokens.
    n_tokens = min(_TOKENS, rewards.sizes["response"] // 2)
    if not n_tokens:
        raise ValueBiasError(f"{llama!r} and {gemma!r} have one token in common; it takes two.")
    tokens = token_table(rewards, n=n_tokens)
    (folder / "table-1.txt").write_text(f"{tokens.to_text()}\n", encoding="utf-8")
    (folder / "table-1.tex").write_text(tokens.to_latex(), encoding="utf-8")
    safe = tokens.table.assign(word=[neutralise(escape(word)) for word in tokens.table["word"]])
    safe.to_csv(folder / "table-1.csv", index=False, lineterminator="\n")
    return [
        f"{llama} − {gemma}, mixture-weighted log-ratio, after the prompt {_PROMPT!r}: the top is "
        f"what {llama} prefers. {rewards.sizes['response']:,} tokens are in both vocabularies.",
        _SHARED,
    ]


def _available(sources: Sources) -> dict[str, list[str]]:
    known = sources.logprobs().models
    return {family: [n for n in names if n in known] for family, names in _PAIRED.items()}


def _plain(text: str) -> str:
    return text.strip().lower()


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
        _INSTRUCT,
    ),
    _figure_2(
        "figure-2b",
        "Figure 2(b): median ranks of log-probs, pretrained models",
        _PRETRAINED,
    ),
    Item(
        "figure-3",
        "Figure 3: implicit rewards of “freedom” and “love” over pairs of models",
        _inputs_3,
        _figure_3,
    ),
    Item(
        "table-1",
        "Table 1: tokens with the highest and lowest implicit reward",
        lambda sources: sources.hashes_of(_INSTRUCT),
        _table_1,
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
