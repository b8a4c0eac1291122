"""Figures 2 and 3 and Table 1, made from log-probs of language models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from valuebias._core.text import escape, neutralise
from valuebias.errors import ValueBiasError
from valuebias.plots import plot_chosen_words, plot_logprobs, save_figure
from valuebias.reproduction.settings import Settings
from valuebias.reproduction.sources import Sources
from valuebias.schema import build, model_table, prompt_table

__all__ = [
    "INSTRUCT",
    "NOUNS",
    "PRETRAINED",
    "figure_2",
    "figure_3",
    "inputs_3",
    "table_1",
]

# The models, the prompt and the number of tokens are those of the authors' scripts.
INSTRUCT = ("google/gemma-2-2b-it", "meta-llama/Llama-3.2-3B-Instruct")
PRETRAINED = ("google/gemma-2-2b", "meta-llama/Llama-3.2-3B")
NOUNS = "big2-nouns"
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


def figure_2(
    sources: Sources, models: Sequence[str], folder: Path, name: str
) -> tuple[xr.Dataset, list[str]]:
    """Draw the median log-prob ranks of the Big Two nouns for two models."""
    from valuebias.logprobs.alignment import align

    aligned = align(sources.logprobs().read(models), lexicon=NOUNS)
    member = aligned["membership"].transpose("response", "category").to_numpy()
    nouns = aligned.isel(response=np.flatnonzero(member.any(axis=1)))
    save_figure(plot_logprobs(nouns), folder / name)
    counts = dict(zip(nouns["category"].to_numpy().tolist(), member.sum(axis=0), strict=True))
    counted = ", ".join(f"{int(n)} of {category}" for category, n in counts.items())
    return nouns, [f"Nouns that are single tokens of both models: {counted}."]


def inputs_3(sources: Sources) -> dict[str, str]:
    """Find the available log-probs of the models of Figure 3, of both families."""
    available = _available(sources)
    for family, names in available.items():
        if not names:
            # Raises an error that names them all, and how to get them.
            sources.hashes_of(_PAIRED[family])
    return sources.logprobs().hashes([name for names in available.values() for name in names])


def figure_3(sources: Sources, settings: Settings, folder: Path) -> list[str]:
    """Draw the implicit rewards of two words over all pairs, Llama against Gemma."""
    from valuebias.logprobs.alignment import align
    from valuebias.logprobs.pairs import implicit

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


def table_1(sources: Sources, settings: Settings, folder: Path) -> list[str]:
    """Tabulate the tokens that one model values most and least relative to the other."""
    from valuebias.logprobs.alignment import align
    from valuebias.logprobs.pairs import implicit
    from valuebias.plots.tokens import token_table

    gemma, llama = INSTRUCT
    aligned = align(sources.logprobs().read(INSTRUCT, prompts=[_PROMPT]))
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
