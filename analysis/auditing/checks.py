"""The checks of a data audit, one function per check, and their table."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from valuebias.analysis.auditing.reading import reading_notes
from valuebias.analysis.auditing.ties import MANY_TIES, tied
from valuebias.analysis.design.grouping import shared_models
from valuebias.errors import few
from valuebias.schema import model_table
from valuebias.schema.spelling import alike_text, look_alike
from valuebias.schema.verdicts import has_verdicts, outside_notes, position_bias
from valuebias.schema.weights import are_marks

__all__ = ["CHECKS", "Data", "Finding"]

_SMALL_CATEGORY = 10  # words; the median of fewer moves by several ranks with any one of them
_SOME_TIES = 0.1
_MUCH_MISSING = 0.1
_EXTREME = 10.0  # robust standard deviations from the median
# What people write for a missing number, with either sign.
_CODES = (77, 88, 99, 777, 888, 998, 999, 7777, 8888, 9999, 99999, 999999)
# Models of one checkpoint differ in size by their heads only; checkpoints by more.
_SIZES = 1.5


class Finding(NamedTuple):
    """Severity, position and description of something doubtful."""

    severity: str
    where: str
    detail: str


@dataclass(frozen=True, eq=False)
class Data:
    """The data that the checks read."""

    ds: xr.Dataset  # the dataset
    score: NDArray[np.float32]  # (model, prompt, response): its scores
    inside: NDArray[np.bool_]  # (response,): whether a word is in the lexicon
    # (model, prompt, response inside): the scores of the lexicon's words.
    lexical: NDArray[np.float32]

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the scores are from; empty where unreadable, which is the contract's to say."""
        try:
            record = json.loads(self.ds.attrs.get("provenance", "{}"))
        except (TypeError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}

    def names(self, dim: str) -> list[str]:
        """Return the names along a dim."""
        return [str(name) for name in self.ds[dim].to_numpy().tolist()]


def _identical_models(data: Data) -> Iterator[Finding]:
    for names in _same(data.names("model"), [_fingerprint(model) for model in data.score]):
        yield Finding(
            "problem",
            "model",
            f"{len(names)} models have the same score in every cell: {few(names)}. They are one "
            "model counted several times, or a file was copied; keep one.",
        )


def _identical_files(data: Data) -> Iterator[Finding]:
    # The same file may be recorded by several parts; only differing names make two files.
    files = list(dict.fromkeys(_files(data.provenance)))
    for names in _same([name for name, _ in files], [digest for _, digest in files]):
        yield Finding(
            "problem",
            "source files",
            f"{len(names)} source files are byte for byte the same: {few(names)}. What they are "
            "said to hold cannot all be true.",
        )


def _repeated_words(data: Data) -> Iterator[Finding]:
    words = data.names("response")
    groups = list(_same(words, [word.strip().casefold() for word in words]))
    if groups:
        listed = few([" = ".join(map(repr, group)) for group in groups], quote=False)
        yield Finding(
            "warning",
            "response",
            f"{len(groups)} words occur more than once, apart from case and blanks: {listed}. Each "
            "spelling is ranked as a word of its own.",
        )


def _identical_texts(data: Data) -> Iterator[Finding]:
    texts = [" ".join(str(text).split()).casefold() for text in data.ds["text"].to_numpy()]
    for names in _same(data.names("prompt"), texts):
        yield Finding(
            "warning",
            "prompt",
            f"{len(names)} prompts have the same text: {few(names)}. They count as replicates "
            "without being any.",
        )


def _identical_prompts(data: Data) -> Iterator[Finding]:
    prompts = data.names("prompt")
    everywhere = list(_same(prompts, [_fingerprint(data.score[:, p]) for p in range(len(prompts))]))
    for names in everywhere:
        yield Finding(
            "warning",
            "prompt",
            f"{len(names)} prompts have the same scores from every model: {few(names)}. One was "
            "probably scored in place of another; keep one.",
        )
    known = [set(names) for names in everywhere]
    for model, rows in zip(data.names("model"), data.score, strict=True):
        for names in _same(prompts, [_fingerprint(row) for row in rows]):
            # The next check reports columns without variation.
            varies = np.ptp(np.nan_to_num(rows[prompts.index(names[0])])) > 0
            if varies and not any(set(names) <= group for group in known):
                yield Finding(
                    "warning",
                    f"model {model!r}",
                    f"{len(names)} prompts have the same scores: {few(names)}.",
                )


def _constant_columns(data: Data) -> Iterator[Finding]:
    lowest = np.fmin.reduce(data.lexical, axis=-1)
    constant = lowest == np.fmax.reduce(data.lexical, axis=-1)
    for m, model in enumerate(data.names("model")):
        names = [name for name, flat in zip(data.names("prompt"), constant[m], strict=True) if flat]
        if names:
            yield Finding(
                "problem" if len(names) == constant.shape[1] else "warning",
                f"model {model!r}",
                f"All words have the same score under {len(names)} of {constant.shape[1]} prompts: "
                f"{few(names)}. Every rank there is the middle one and says nothing.",
            )


def _missing_cells(data: Data) -> Iterator[Finding]:
    missing = np.isnan(data.score)
    if not missing.any():
        return
    share = float(missing.mean())
    yield Finding(
        "warning" if share > _MUCH_MISSING else "note",
        "dataset",
        f"{int(missing.sum()):,} of {missing.size:,} cells ({share:.1%}) have no score.",
    )
    for axis, dim in enumerate(("model", "prompt", "response")):
        shares = missing.mean(axis=tuple(other for other in range(3) if other != axis))
        names = data.names(dim)
        gone = [name for name, value in zip(names, shares, strict=True) if value == 1]
        if gone:
            yield Finding(
                "problem" if dim == "model" else "warning",
                dim,
                f"{len(gone)} of {len(names)} have no score at all: {few(gone)}. Leave them out.",
            )
        partly = np.flatnonzero((shares > 0) & (shares < 1))
        if partly.size and shares[partly].max() > 2 * share:
            worst = partly[np.argsort(-shares[partly], kind="stable")]
            worst_models = [f"{names[i]!r} {shares[i]:.1%}" for i in worst]
            yield Finding(
                "warning" if shares[worst[0]] > _MUCH_MISSING else "note",
                dim,
                f"{partly.size} of {len(names)} have missing cells, most of them "
                f"{few(worst_models, quote=False)}.",
            )


def _outside_lexicon(data: Data) -> Iterator[Finding]:
    if not data.ds.sizes["category"]:
        yield Finding(
            "problem", "category", "The dataset has no categories, so there is nothing to compare."
        )
        return
    outside = [w for w, kept in zip(data.names("response"), data.inside, strict=True) if not kept]
    if outside:
        yield Finding(
            "note",
            "response",
            f"{len(outside)} of {data.inside.size} words are in no category and left out of every "
            f"analysis: {few(outside)}.",
        )


def _several_categories(data: Data) -> Iterator[Finding]:
    given = data.ds["membership"].transpose("response", "category").to_numpy()
    memberships = (given != 0).sum(axis=1)
    words = data.names("response")
    several = [word for word, n in zip(words, memberships, strict=True) if n > 1]
    if several:
        yield Finding(
            "note",
            "response",
            f"{len(several)} words are in more than one category and "
            + (
                "lie midway between these, so that they tell nothing of their difference"
                if are_marks(given.astype(float))
                else "count in each, by their weights"
            )
            + f": {few(several)}.",
        )


def _small_categories(data: Data) -> Iterator[Finding]:
    sizes = (data.ds["membership"] != 0).sum("response").to_numpy().tolist()
    for name, size in zip(data.names("category"), sizes, strict=True):
        if size < _SMALL_CATEGORY:
            yield Finding(
                "warning",
                f"category {name!r}",
                f"It has {size} word{'s' * (size != 1)}; with fewer than {_SMALL_CATEGORY}, any "
                "one word moves its median rank and its mean by much.",
            )


def _ties(data: Data) -> Iterator[Finding]:
    shares = tied(data.lexical)
    whole = bool((np.nan_to_num(data.lexical) % 1 == 0).all())
    reason = (
        "All scores are whole numbers, as ratings are; there is no outcome for ordinal scores"
        if whole
        else "Scores computed in 16 bits are that coarse"
    )
    for model, share in zip(data.names("model"), shares, strict=True):
        if share > _SOME_TIES:
            yield Finding(
                "warning" if share > MANY_TIES else "note",
                f"model {model!r}",
                f"{share:.0%} of its scores equal that of another word under the same prompt. "
                f"{reason}; tied words share a rank.",
            )


def _extreme_scores(data: Data) -> Iterator[Finding]:
    middle = _row_median(data.lexical)
    distance = np.abs(data.lexical - middle)
    spread = 1.4826 * _row_median(distance)
    extreme = (distance > _EXTREME * spread) & (spread > 0)
    for m, model in enumerate(data.names("model")):
        if not extreme[m].any():
            continue
        ratio = np.divide(distance[m], spread[m], out=np.zeros_like(distance[m]), where=extreme[m])
        prompt, word = np.unravel_index(int(np.argmax(ratio)), ratio.shape)
        words = np.asarray(data.names("response"), dtype=object)
        kept = words[data.inside] if data.inside.any() else words
        yield Finding(
            "note",
            f"model {model!r}",
            f"{int(extreme[m].sum())} scores lie over {_EXTREME:.0f} robust standard deviations "
            f"from the median of their prompt, the farthest {kept[word]!r} under "
            f"{data.names('prompt')[prompt]!r} ({ratio[prompt, word]:.1f}). Ranks and normal "
            "scores are robust to this, z scores are not.",
        )


def _missing_codes(data: Data) -> Iterator[Finding]:
    codes: dict[float, dict[str, int]] = {}
    for model, score in zip(data.names("model"), data.score, strict=True):
        kept = score[~np.isnan(score)]
        is_code = np.isin(np.abs(kept), _CODES)
        others = kept[~is_code]
        if others.size < 2 or not is_code.any():
            continue
        low, high = float(others.min()), float(others.max())
        for code in np.unique(kept[is_code]).tolist():
            # A score of 99 among others up to 100 is none.
            if not low - (high - low) <= code <= high + (high - low):
                codes.setdefault(code, {})[model] = int((kept == code).sum())
    for code, models in codes.items():
        n = sum(models.values())
        yield Finding(
            "problem",
            "scores",
            f"{n:,} {'score is' if n == 1 else 'scores are'} {code:g}, far from all others, in "
            f"{few(models)}. Such a number is probably a code for a score that is missing; leave "
            "these cells empty (NaN).",
        )


def _families(data: Data) -> Iterator[Finding]:
    family = [str(name) for name in data.ds["family"].to_numpy()]
    names = sorted(set(family))
    if len(names) < 2:
        yield Finding(
            "problem",
            "family",
            f"All models are of the family {names[0]!r}; there is none to compare it with.",
        )
        return
    alone = [name for name in names if family.count(name) == 1]
    if alone:
        yield Finding(
            "warning",
            "family",
            f"One model only in {few(alone)}: how models of the family differ is taken from the "
            "other families, and what is said of it rests on that model.",
        )


def _bases(data: Data) -> Iterator[Finding]:
    """List missing bases, and those that can hardly be checkpoints."""
    models = model_table(data.ds)
    named = {"base", "family"} <= set(models.columns)
    if len(models) < 2 or not named or data.provenance.get("simulated"):
        return
    bases = models["base"].astype(str).str.strip()
    lacking = [str(name) for name in models.index[bases == ""]]
    if lacking:
        yield Finding(
            "warning",
            "model",
            f"{len(lacking)} of {len(models)} models have no base: {few(lacking)}. Models that "
            "were trained from one checkpoint are not independent, and without it each counts as "
            "standing on its own. Give the checkpoints: "
            "dataset.assign_coords(base=('model', [...])), or the column 'base' of the models "
            "table.",
        )
    yield from _spelled_alike(bases[bases != ""])
    sizes = pd.to_numeric(models.get("n_params", pd.Series(np.nan, models.index)), errors="coerce")
    for base, rows in models[bases != ""].groupby(bases[bases != ""], sort=True):
        names = [str(name) for name in rows.index]
        known = sizes.loc[rows.index].dropna()
        if len(known) > 1 and known.max() > _SIZES * known.min():
            problem = f"has models from {known.min():.2g} to {known.max():.2g} parameters"
        elif len(rows) > 1 and str(base).casefold() in rows["family"].str.casefold().tolist():
            problem = "has the name of a family"
        else:
            continue
        yield Finding(
            "warning",
            f"base {str(base)!r}",
            f"It {problem}: {few(names)}. A base is one checkpoint, size and version included, as "
            "in 'google/gemma-2-2b-it'; models that merely share a family would be taken for "
            "models of one checkpoint.",
        )


def _spelled_alike(bases: pd.Series) -> Iterator[Finding]:
    """List names that may be one base written in several ways."""
    for alike in look_alike(sorted(set(bases))):
        text = alike_text("base", [alike])
        yield Finding("warning", f"base {alike[0]!r}", f"{text[0].upper()}{text[1:]}")


def _reading(data: Data) -> Iterator[Finding]:
    for note in reading_notes(model_table(data.ds)):
        severity = "warning" if note.headline else "note"
        yield Finding(severity, "model", f"{note.text[0].upper()}{note.text[1:]}")


def _verdicts(data: Data) -> Iterator[Finding]:
    if data.ds.attrs.get("kind") != "judged" or not has_verdicts(data.ds):
        return
    for note in outside_notes(data.ds):
        yield Finding("warning", "model", note)
    if data.ds["order"].to_numpy().max() < 2:
        return
    bias = np.abs(position_bias(data.ds).mean(("prompt", "response")).to_numpy())
    spread = np.nanstd(data.score, axis=(1, 2))
    named = [
        f"{name!r} ({size:.1f} against {sd:.1f})"
        for name, size, sd in zip(data.names("model"), bias, spread, strict=True)
        if size > sd
    ]
    if named:
        yield Finding(
            "note",
            "model",
            "The log-odds of the answer that comes first, whichever it is, are larger on average "
            f"than the SD of the scores: {few(named, quote=False)} nats. They cancel out in the "
            "scores, each of which is the mean of both orders; but such a judge looks at the place "
            "more than at the word.",
        )


def _shared_models(data: Data) -> Iterator[Finding]:
    if not {"numerator", "denominator"} <= set(data.ds.coords):
        return
    sharing = shared_models(data.names("numerator"), data.names("denominator"))
    if sharing:
        yield Finding(
            "warning",
            "model",
            f"{sharing[0].upper()}{sharing[1:]}: they are not independent observations. The "
            "hierarchical model allows for it where every numerator is paired with every "
            "denominator; the classical analysis never does.",
        )


def _framings(data: Data) -> Iterator[Finding]:
    framing = [str(value) for value in data.ds["framing"].to_numpy()]
    counts = {level: framing.count(level) for level in sorted(set(framing))}
    if len(counts) < 2:
        yield Finding(
            "warning",
            "prompt",
            f"All prompts are {framing[0]}: a model that favours some words whatever the question "
            "cannot be told from one that values them.",
        )
    elif len(set(counts.values())) > 1:
        framings = " and ".join(f"{n} {level}" for level, n in counts.items())
        yield Finding("note", "prompt", f"There are {framings} prompts.")


CHECKS: dict[str, Callable[[Data], Iterable[Finding]]] = {
    "identical models": _identical_models,
    "identical files": _identical_files,
    "repeated words": _repeated_words,
    "identical texts": _identical_texts,
    "identical prompts": _identical_prompts,
    "constant columns": _constant_columns,
    "missing cells": _missing_cells,
    "outside the lexicon": _outside_lexicon,
    "several categories": _several_categories,
    "small categories": _small_categories,
    "ties": _ties,
    "missing codes": _missing_codes,
    "extreme scores": _extreme_scores,
    "families": _families,
    "bases": _bases,
    "reading": _reading,
    "verdicts": _verdicts,
    "shared models": _shared_models,
    "framings": _framings,
}
"""The checks by name, in the order they are made."""


def _fingerprint(values: NDArray[np.float32]) -> bytes:
    """Return bytes that are equal for equal scores, missing ones and signed zeros included."""
    return np.where(np.isnan(values), np.float32(np.nan), values + np.float32(0)).tobytes()


def _same(names: Sequence[str], keys: Sequence[Hashable]) -> Iterator[list[str]]:
    """Return the groups of names that share a key."""
    groups: dict[Hashable, list[str]] = {}
    for name, key in zip(names, keys, strict=True):
        groups.setdefault(key, []).append(name)
    return (group for group in groups.values() if len(group) > 1)


def _files(record: Any) -> Iterator[tuple[str, str]]:
    """Return the name and SHA-256 of every source file in a provenance record, parts included."""
    if not isinstance(record, dict):
        return
    for entry in record.get("files", []):
        if isinstance(entry, dict) and {"name", "sha256"} <= entry.keys():
            yield str(entry["name"]), str(entry["sha256"])
    for part in record.get("parts", []):
        yield from _files(part)


def _row_median(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Take the median along the last axis over known values, 0 where there are none."""
    gone = np.isnan(values)
    if not gone.any():
        return np.asarray(np.median(values, axis=-1, keepdims=True))
    filled = np.where(gone.all(axis=-1, keepdims=True), np.float32(0), values)
    return np.asarray(np.nanmedian(filled, axis=-1, keepdims=True))
