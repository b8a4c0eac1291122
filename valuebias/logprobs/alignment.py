"""Join the log-probs of models with different tokenizers on the text of their tokens."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from valuebias._core.checks import check_known
from valuebias._core.provenance import record
from valuebias.errors import ValueBiasError, ValueBiasWarning
from valuebias.instruments.lexicons import lexicon as as_lexicon
from valuebias.instruments.members import Lexicon
from valuebias.logprobs.vocabularies import (
    COMBINE,
    MERGE,
    Combine,
    Vocabulary,
    check_logprobs,
)
from valuebias.schema import build, model_table, prompt_table
from valuebias.schema.contract import DIMS, check_unique, coord_table
from valuebias.schema.joining import joined_words

__all__ = ["align", "alignment_report"]

_JOIN = ("inner", "outer")
_Lexicon = str | PathLike[str] | Lexicon | pd.DataFrame
_LogProbs = xr.DataTree | xr.Dataset | Mapping[str, xr.Dataset] | Sequence[xr.Dataset]


def align(
    logprobs: _LogProbs,
    *,
    join: Literal["inner", "outer"] = "inner",
    merge: str | Sequence[str] = (),
    combine: Combine = "max",
    lexicon: _Lexicon | None = None,
) -> xr.Dataset:
    """Join log-probs of models whose vocabularies differ, on the text that tokens stand for.

    Parameters
    ----------
    logprobs : xarray.DataTree, or datasets as a mapping or a sequence
        Log-probs, a group or a dataset for one or more models, as ``valuebias.score(...,
        kind="logprob", lexicon="vocabulary")`` and :func:`valuebias.read_vocabulary` give. Groups
        on disk are read one after another.
    join : {"inner", "outer"}
        Keep the texts that every model has, or all texts, with NaN where a model lacks one.
    merge : {"space", "case"} or sequence of these, optional
        Which variants count as one text: those that differ in white space at their ends (" love"
        and "love"), those that differ in case.
    combine : {"max", "mean", "logsumexp"}
        How the log-probs of such variants become one: the highest; their mean; that of either one
        being said. Of several tokens with the very same text the highest is always taken.
    lexicon : str, path, Lexicon or DataFrame, optional
        Word categories, as in :func:`valuebias.lexicon`. Left out, there are none.

    Returns
    -------
    xarray.Dataset
        In the "valuebias/1" contract, kind ``logprob``, in nats. ``response`` is the text; texts
        come in the order of the first model's tokens. :func:`alignment_report` says what was lost.
        Coords of your own on response are kept; of variants that become one text, the first's.

    Raises
    ------
    ValueBiasError
        If scores are not log-probs, or probabilities of a vocabulary do not sum to one; a model
        occurs twice; prompts or coords on response differ; no text is shared; no shared text is in
        the lexicon.

    Warns
    -----
    ValueBiasWarning
        If texts lack the space that their tokens begin with, as in scores of SentencePiece
        vocabularies by earlier versions; it is put before them.

    Notes
    -----
    The text of a token is what it adds to a text, whatever the tokenizer: " love" both for "Ġlove"
    and for SentencePiece's "▁love", which decoded alone would lose its space.

    Christian et al. (2026) keep the highest log-prob among tokens with the same decoded text, and
    the intersection of the vocabularies.

    Examples
    --------
    >>> from valuebias.schema import build
    >>> prompts = pd.DataFrame({"text": ["Best?"], "framing": ["positive"]}, index=["best"])
    >>> def group(name, words, values):
    ...     about = {"family": [name], "base": [name], "stage": ["pretrained"]}
    ...     return build([[values]], models=pd.DataFrame(about, index=[name]), prompts=prompts,
    ...                  responses=words, kind="logprob")
    >>> a, b = group("a", ["love", " love", "x"], [-1, -2, -3]), group("b", ["Love", "y"], [-4, -5])
    >>> align([a, b], merge=["space", "case"])["score"].values.tolist()
    [[[-1.0]], [[-4.0]]]
    """
    chosen = (merge,) if isinstance(merge, str) else tuple(merge)
    for name, values, known in (("join", (join,), _JOIN), ("combine", (combine,), COMBINE),
                                ("merge", chosen, MERGE)):  # fmt: skip
        for value in values:
            check_known(value, known, f"{name} is {value!r}.")
    datasets = list(_each(logprobs))
    if not datasets:
        raise ValueBiasError("There are no log-probs to align; give at least one model's.")
    first = datasets[0]
    vocabularies = [Vocabulary(ds, chosen) for ds in datasets]
    _warn_of_mended(vocabularies)
    for ds in datasets:
        _check_same_prompts(first, ds)
    check_unique([vocabulary.name for vocabulary in vocabularies], "model")
    texts = _shared(vocabularies, join)
    score = np.full((len(datasets), first.sizes["prompt"], len(texts)), np.nan, dtype=np.float32)
    for row, (lazy, vocabulary) in enumerate(zip(datasets, vocabularies, strict=True)):
        ds = lazy.compute()
        check_logprobs(ds, f"The vocabulary of {vocabulary.name!r}")
        position = vocabulary.texts.get_indexer(texts)
        present = np.flatnonzero(position >= 0)
        order = first.indexes["prompt"].get_indexer(ds.indexes["prompt"])
        of_texts = vocabulary.of_texts(
            ds["score"].to_numpy()[0], position[present], combine=combine
        )
        score[row][np.ix_(order, present)] = of_texts
    words = as_lexicon(lexicon) if lexicon is not None else None
    of_words = [
        vocabulary.of_words(coord_table(ds, "response"))
        for vocabulary, ds in zip(vocabularies, datasets, strict=True)
    ]
    details = {
        "alignment": {
            "join": join,
            "merge": list(chosen),
            "combine": combine,
            "texts": "pieces",
            "models": _losses(vocabularies, texts, words),
        },
        "parts": [json.loads(ds.attrs["provenance"]) for ds in datasets],
    }
    if words is not None:
        details["lexicon"] = words.about()
    return build(
        score,
        models=pd.concat([model_table(ds) for ds in datasets]),
        prompts=prompt_table(first),
        lexicon=words,
        responses=texts.tolist(),
        words=joined_words(of_words, [1] * len(of_words)),
        kind="logprob",
        provenance=record(details=details),
    )


def alignment_report(ds: xr.Dataset) -> pd.DataFrame:
    """Report what an alignment kept and lost.

    Parameters
    ----------
    ds : xarray.Dataset
        What :func:`align` gave.

    Returns
    -------
    pandas.DataFrame
        One row per model: ``tokens``; ``empty`` (tokens without text); ``alike`` (with the text of
        an earlier token); ``variants`` (joined by `merge`); ``texts`` (what is left); ``kept`` and
        ``lost`` of these; and for each category ``<category>: words`` of the lexicon that the model
        has, and ``<category>: lost``.

    Raises
    ------
    ValueBiasError
        If the dataset was not made by :func:`align`.

    Examples
    --------
    >>> import valuebias
    >>> alignment_report(valuebias.datasets.load("simulated"))
    Traceback (most recent call last):
    ...
    valuebias.errors.ValueBiasError: These scores were not aligned; expected what valuebias.align...
    """
    try:
        rows = json.loads(ds.attrs["provenance"])["alignment"]["models"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueBiasError(
            "These scores were not aligned; expected what valuebias.align(...) gave."
        ) from error
    return pd.DataFrame(rows).set_index("model")


def _each(logprobs: Any) -> Iterator[xr.Dataset]:
    """Return one dataset per model; those on disk are opened and not yet read."""
    if isinstance(logprobs, xr.DataTree):
        parts = [node.to_dataset() for node in logprobs.subtree if "score" in node.data_vars]
    elif isinstance(logprobs, xr.Dataset):
        parts = [logprobs]
    elif isinstance(logprobs, Mapping):
        parts = list(logprobs.values())
    else:
        parts = list(logprobs)
    for ds in parts:
        if not isinstance(ds, xr.Dataset) or not {"score", "model"} <= set(ds.variables):
            raise ValueBiasError(
                f"Log-probs are given as {type(ds).__name__}; expected datasets with scores of "
                "models, such as those of valuebias.read_vocabulary(path)."
            )
        for row in range(ds.sizes["model"]):
            yield ds.isel(model=[row]).transpose(*DIMS, ..., missing_dims="ignore")


def _warn_of_mended(vocabularies: Sequence[Vocabulary]) -> None:
    mended = [vocabulary for vocabulary in vocabularies if vocabulary.n_mended]
    if mended:
        named = ", ".join(f"{v.n_mended:,} tokens of {v.name!r}" for v in mended)
        warnings.warn(
            f"The texts of {named} lack the space that the tokens begin with, as earlier versions "
            "of valuebias wrote them. They are joined with it; what was aligned from these scores "
            "before was joined without it: align it again.",
            ValueBiasWarning,
            stacklevel=3,
        )


def _check_same_prompts(first: xr.Dataset, other: xr.Dataset) -> None:
    name = str(other["model"].to_numpy()[0])
    mine, theirs = prompt_table(first)["text"], prompt_table(other)["text"]
    differing = sorted(set(mine.index) ^ set(theirs.index))
    if differing:
        raise ValueBiasError(
            f"The prompts of {name!r} differ from those of the first model: {differing[0]!r} and "
            f"{len(differing) - 1} more are in one of them only. Score all models on the same "
            "prompts, or select the shared ones."
        )
    wrong = mine.index[(mine != theirs.loc[mine.index]).to_numpy()]
    if len(wrong):
        raise ValueBiasError(
            f"The prompt {wrong[0]!r} has the text {theirs[wrong[0]]!r} for {name!r} and "
            f"{mine[wrong[0]]!r} for the first model. Score all models on the same prompts."
        )


def _shared(vocabularies: Sequence[Vocabulary], join: str) -> pd.Index:
    texts = vocabularies[0].texts
    for vocabulary in vocabularies[1:]:
        if join == "outer":
            texts = texts.append(vocabulary.texts[~vocabulary.texts.isin(texts)])
            continue
        texts = texts[texts.isin(vocabulary.texts)]
        if not len(texts):
            raise ValueBiasError(
                f"The vocabulary of {vocabulary.name!r} shares no text with those before it. Leave "
                'it out, merge variants (merge=["space", "case"]), or keep all texts '
                '(join="outer").'
            )
    return texts


def _losses(
    vocabularies: Sequence[Vocabulary], texts: pd.Index, words: Lexicon | None
) -> list[dict[str, Any]]:
    rows = []
    for vocabulary in vocabularies:
        kept = vocabulary.texts.isin(texts)
        row: dict[str, Any] = {
            "model": vocabulary.name,
            "tokens": vocabulary.n_tokens,
            "empty": vocabulary.n_empty,
            "alike": vocabulary.n_alike,
            "variants": vocabulary.n_variants,
            "texts": len(kept),
            "kept": int(kept.sum()),
            "lost": int((~kept).sum()),
        }
        if words is not None:
            member = words.membership(vocabulary.texts.tolist())
            for category in member.columns:
                inside = member[category].to_numpy(dtype=bool)
                row[f"{category}: words"] = int(inside.sum())
                row[f"{category}: lost"] = int((inside & ~kept).sum())
        rows.append(row)
    return rows
