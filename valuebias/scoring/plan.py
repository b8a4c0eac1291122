"""Estimate the cost of scoring: ``valuebias.plan(models)``."""

from __future__ import annotations

import html
import importlib.util
import itertools
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from valuebias._core.text import visible_lines
from valuebias.backends.base import Backend, Pack, conversations
from valuebias.backends.registry import get_backend
from valuebias.models.adapters import CONFIG
from valuebias.models.bases import nothing_known
from valuebias.models.config import ModelConfig
from valuebias.models.labels import label_coords
from valuebias.models.references import reference_of, references_of
from valuebias.models.resolve import Resolved, resolve
from valuebias.models.spec import Model, path_of
from valuebias.models.tokenizer import Tokenizer
from valuebias.scoring.compute import NO_TOKENS, Batch, Conversations, pack
from valuebias.scoring.labels import with_labels
from valuebias.scoring.prepare import checkpoint_of, first_asked, reading_of, shared
from valuebias.scoring.request import (
    Block,
    Kind,
    ScoringRequest,
    Words,
    block_shape,
    blocks,
    contrast_request,
    make_request,
)
from valuebias.scoring.sharing import Share, check_shard

__all__ = ["ScoringPlan", "plan"]

# Backends choose when they load a model; ours choose 1024 on a CPU.
_BATCH_TOKENS = 1024
# How many of a vocabulary's blocks are laid out to estimate the total.
_SAMPLE = 2
_MERGED = "it is an adapter, which is merged into the weights of {!r} when it is loaded."
_BESIDE = (
    f"an adapter ({CONFIG}) lies beside the weights. It is not applied: the weights are taken to "
    "have it merged in. If they have not, merge it first (peft: merge_and_unload)."
)
# Fits compare families, so that a guess has to be seen.
_GUESSED = (
    "its family is taken for {!r}, because its model type is {!r}; others build models of that "
    "type, too. Name another in a column 'family' of the models table, or as "
    "Model(..., family='…')."
)
_EFFICIENCY = {"cpu": 0.8, "cuda": 0.5, "mps": 0.5}
"""Share of its matrix-product speed that a device reaches, roughly, in our benchmarks."""


def _seconds(value: float) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if value >= 2 * size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.1f} s"


_MODEL = "model"
_OF_REFERENCE = "{} (reference)"
_NOTHING_MORE = {"packs": 0.0, "tokens": 0.0, "flop": 0.0, "shared": 1.0}
_COLUMNS: dict[str, Callable[[float], str]] = {
    "pairs": "{:,.0f}".format,
    "packs": "{:,.0f}".format,
    "tokens": "{:,.0f}".format,
    "unpacked": "{:,.0f}".format,
    "shared": "{:.0%}".format,
    "flop": "{:.2e}".format,
    "seconds": _seconds,
}


@dataclass(frozen=True, slots=True, eq=False)
class ScoringPlan:
    """What scoring will take.

    Attributes
    ----------
    headline : str
        What is to be done, and with what.
    table : pandas.DataFrame
        One row per model: ``pairs``, ``packs``, ``tokens`` (computed), ``unpacked`` (tokens of the
        same conversations one by one), ``shared`` (the share of these that packing saves),
        ``flop`` and ``seconds``.
    notes : tuple of str
        For each model: its family where that was guessed, the first tokens of its texts, the last
        token before the answer, the token at which a reward is read, and what decided each; then
        what the estimates assume, and the models without a known base.

    Examples
    --------
    >>> row = {"pairs": 9828, "packs": 81, "tokens": 41249, "unpacked": 478692, "shared": 0.914,
    ...     "flop": 1.02e13, "seconds": 150.0}
    >>> print(ScoringPlan("reward scores", pd.DataFrame([row], index=["SmolLM2"]), ("Roughly.",)))
    reward scores
    <BLANKLINE>
    model    pairs  packs  tokens  unpacked  shared      flop  seconds
    SmolLM2  9,828     81  41,249   478,692     91%  1.02e+13  2.5 min
    <BLANKLINE>
    Roughly.
    """

    headline: str
    table: pd.DataFrame = field(repr=False)
    notes: tuple[str, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        """Return the table.

        Returns
        -------
        pandas.DataFrame
            A copy.
        """
        return self.table.copy()

    def rows(self) -> list[tuple[str, ...]]:
        """Return the table as text.

        Returns
        -------
        list of tuple of str
            The headings, then a row per model.
        """
        lines: list[tuple[str, ...]] = [(_MODEL, *_COLUMNS)]
        for name, row in self.table.iterrows():
            cells = (write(row[column]) for column, write in _COLUMNS.items())
            lines.append((str(name), *cells))
        return lines

    def __str__(self) -> str:
        """Show everything as text."""
        rows = self.rows()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = []
        for row in rows:
            cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
            lines.append("  ".join([row[0].ljust(widths[0]), *cells]))
        return visible_lines("\n".join([self.headline, "", *lines, "", *self.notes]))

    def _repr_html_(self) -> str:
        """Show everything in a notebook."""
        head, *body = [[html.escape(cell) for cell in row] for row in self.rows()]
        lines = ["".join(f"<td>{cell}</td>" for cell in row) for row in body]
        return (
            f"<p>{html.escape(self.headline)}</p><table><thead><tr>"
            + "".join(f"<th>{cell}</th>" for cell in head)
            + "</tr></thead><tbody>"
            + "".join(f"<tr>{line}</tr>" for line in lines)
            + "</tbody></table>"
            + "".join(f"<p>{html.escape(note)}</p>" for note in self.notes)
        )


def plan(
    models: Any,
    *,
    prompts: Any = "superlatives",
    lexicon: Words | None = None,
    kind: Kind = "reward",
    backend: str | type[Backend] | Backend = "torch",
    shard: tuple[int, int] | None = None,
    contrasts: Any = None,
    judge: Any = None,
    tokens_as: str = "text",
    batch_tokens: int | None = None,
    trust_remote_code: bool = False,
) -> ScoringPlan:
    """Estimate what :func:`valuebias.score` would do and how long it would take.

    Only configurations and tokenizers are read; no model is loaded and no weights are downloaded.

    Parameters
    ----------
    models : Model, str, path, mapping, DataFrame, or sequence of these
        What :func:`valuebias.read_models` takes.
    prompts : str, path, PromptSet, Factorial, DataFrame or mapping
        What :func:`valuebias.prompts` takes.
    lexicon : str, path, Lexicon, DataFrame, mapping or sequence of str, optional
        As in :func:`valuebias.score`; ``"vocabulary"`` for every token.
    kind : {"reward", "logprob", "implicit", "judged"}
        What is to be measured; of policies the table has a row for each reference, too.
    backend : str, type of Backend or Backend
        What is to run the models.
    shard : pair of int, optional
        As in :func:`valuebias.score`: what the i-th of n shards would do. Models of which it has no
        part are left out.
    contrasts : ContrastSet, str, path, DataFrame, mapping or sequence, optional
        In place of prompts and words a contrast set, as :func:`valuebias.score_contrasts` takes it.
    judge : str, path, Judge or mapping, optional
        As in :func:`valuebias.score`.
    tokens_as : {"text", "ids"}
        As in :func:`valuebias.score`.
    batch_tokens : int, optional
        How many tokens a pack may have. If not given, those that the backend was made with,
        else 1024.
    trust_remote_code : bool, default False
        Whether a table of models in a file may ask for the code that comes with a model to be run,
        as :func:`valuebias.read_models` takes it.

    Returns
    -------
    ScoringPlan
        Prints as a table of packs, tokens, what packing saves, arithmetic and time.

    Raises
    ------
    ValueBiasError
        If a model, prompt, word or setting is not as it should be.

    Notes
    -----
    The arithmetic counts the layers' matrix products, attention of every token to those it follows
    in its conversations, and the read-out of the vocabulary.

    Examples
    --------
    >>> import valuebias
    >>> valuebias.plan("org/model", backend="torhc")
    Traceback (most recent call last):
    ...
    valuebias.errors.ValueBiasError: There is no backend 'torhc'. ... Did you mean 'torch'? ...
    """
    same: dict[str, Any] = {"kind": kind, "pooling": "sum", "judge": judge}
    same |= {"trust_remote_code": trust_remote_code, "batch_tokens": batch_tokens}
    if contrasts is not None:
        request = contrast_request(models, contrasts, **same)
    else:
        request = make_request(
            models, prompts=prompts, lexicon=lexicon, tokens_as=tokens_as, **same
        )
    part = None if shard is None else check_shard(shard)
    engine = get_backend(backend)
    request = with_labels(request, engine, weights=False)
    if part is not None:
        request = shared(request, engine, *part)
    share = request.share
    tokens = batch_tokens or _option(engine, "batch_tokens")
    device = _option(engine, "device") or engine.devices()[0]
    efficiency = _EFFICIENCY.get(device.partition(":")[0], 0.5)
    speeds: dict[str, float] = {}
    rows: dict[str, dict[str, float]] = {}
    bases, lines = {}, []
    passes: dict[Model, str] = {}
    for name, model in _to_run(request).items():
        part_of = _part(request, name)
        if part_of is not None and not part_of.rows(name):
            continue
        resolved = resolve(
            model, kind=request.measured, with_weights=False, adapted=engine.adapters
        )
        if name == model.name:
            # A policy without a stated base was trained from its reference.
            of_policy = reference_of(model).name if request.kind == "implicit" else ""
            labelled = label_coords(resolved, checkpoint_of(model))
            bases[labelled.get("reward_model", name)] = resolved.model.base or of_policy
        tokenizer = Tokenizer(resolved)
        prompt = first_asked(request)
        before = tokenizer.prefix(prompt)
        said = [
            str(tokenizer.start(prompt)),
            f"the last token before the answer is {before.token!r}, {before.how}.",
        ]
        if model.family is None and name == model.name:
            said.insert(0, _GUESSED.format(resolved.model.family, resolved.model_config.model_type))
        if request.kind == "reward":
            said.append(f"the reward is read {reading_of(request, tokenizer)}.")
        if resolved.adapter is not None:
            said.append(_MERGED.format(_place(resolved)))
        elif resolved.source.file is None and (resolved.source.folder / CONFIG).is_file():
            said.append(_BESIDE)
        alike = replace(model, name=model.location, label=None)
        first = passes.setdefault(alike, name) if engine.several_labels else name
        if first == name:
            packs = tokens or _BATCH_TOKENS
            asked = replace(request, share=part_of)
            counts = _count(asked, name, engine, tokenizer, resolved.model_config, packs)
        else:
            said.append(f"this label is read from the passes of {first!r}.")
            counts = rows[first] | _NOTHING_MORE
        lines += [f"{name!r}: {line}" for line in said]
        if model.dtype not in speeds:
            speeds[model.dtype] = matmul_speed(device, model.dtype)
        reached = speeds[model.dtype] * efficiency
        rows[name] = counts | {"seconds": counts["flop"] / reached}
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(_COLUMNS))
    whole = ("pairs", "packs", "tokens", "unpacked")
    table = table.astype(dict.fromkeys(whole, np.int64)).rename_axis(_MODEL)
    if share is not None:
        n_rows = sum(len(share.rows(name)) for name in share.names())
        total = sum(-(-share.n_prompts // one.prompts) for one in share.work)
        lines.append(
            f"This is {share}: {n_rows} of the {total} parts that the request can be divided into."
            + (" Nothing falls to it: fewer shards would do." if not rows else "")
        )
    measured = ", ".join(f"{speed / 1e9:,.0f} GFLOP/s in {name}" for name, speed in speeds.items())
    if rows:
        lines.append(
            f"Time: assumes {efficiency:.0%} of the speed of matrix products that was just "
            f"measured ({measured}), and leaves out downloads and loading."
        )
    if tokens is None:
        lines.append(f"Packs: a backend chooses their size; {_BATCH_TOKENS} tokens are assumed.")
    if request.words is None:
        lines.append(
            f"Counts: estimated from the first {_SAMPLE} blocks of each model's vocabulary."
        )
    if not engine.packed:
        lines.append(
            f"The backend {engine.name!r} computes each conversation whole; nothing is shared."
        )
    lines += filter(None, [nothing_known(bases)])
    headline = _headline(request, engine, device, tokens or _BATCH_TOKENS)
    return ScoringPlan(headline, table, tuple(lines))


def _place(resolved: Resolved) -> str:
    """Name an adapter's base; of a folder only its own name."""
    location = resolved.model.location
    if resolved.adapter is not None and resolved.model.adapter is None:
        location = str(resolved.adapter.config["base_model_name_or_path"])
    return resolved.source.folder.name if os.path.exists(path_of(location)) else location


def _to_run(request: ScoringRequest) -> dict[str, Model]:
    """Give the models that run, by what the plan calls them: of policies the references, too."""
    models = {model.name: model for model in request.models}
    if request.kind == "implicit":
        references = references_of(request.models).values()
        models |= {_OF_REFERENCE.format(model.name): model for model in references}
    return models


def _part(request: ScoringRequest, name: str) -> Share | None:
    """Give the shard's part of a model, by what the plan calls it."""
    share = request.share
    if share is None or any(model.name == name for model in request.models):
        return share
    references = references_of(request.models)
    return share.of_references(
        {policy: _OF_REFERENCE.format(one.name) for policy, one in references.items()}
    )


def _option(engine: Backend, name: str) -> Any:
    """Read an option that most backends have; None where the backend is to choose."""
    value = getattr(engine, name, None)
    return None if value == "auto" else value


def matmul_speed(device: str, dtype: str) -> float:
    """Measure how fast a device multiplies matrices, in a fraction of a second."""
    size = 1024 if device == "cpu" else 8192
    matrix: Any = np.ones((size, size), dtype=np.float32)
    if importlib.util.find_spec("torch") is not None:
        import torch

        matrix = torch.ones(size, size, dtype=getattr(torch, dtype), device=device)
    best = 0.0
    (matrix @ matrix)[0, 0].item()
    for _ in range(5):
        start = time.perf_counter()
        # Reading one number waits for the device.
        (matrix @ matrix)[0, 0].item()
        best = max(best, 2 * size**3 / (time.perf_counter() - start))
    return best


def _count(
    request: ScoringRequest,
    name: str,
    engine: Backend,
    tokenizer: Tokenizer,
    model_config: ModelConfig,
    batch_tokens: int,
) -> dict[str, float]:
    """Lay out the packs of a model, of a vocabulary a few of them, and count."""
    vocabulary = tokenizer.vocabulary() if request.words is None else NO_TOKENS
    n_responses = len(vocabulary) if request.words is None else len(request.words)
    shape = block_shape(request, n_responses)
    source = Conversations(request, tokenizer, vocabulary)
    everything: Iterable[Block] = blocks(len(request.prompts), n_responses, shape)
    n_prompts = len(request.prompts)
    if request.share is not None:
        everything = request.share.of(name, everything)
        n_prompts = request.share.prompts(name)
    looked_at = itertools.islice(everything, _SAMPLE) if request.words is None else everything
    total = dict.fromkeys(("pairs", "packs", "tokens", "unpacked", "flop"), 0.0)
    for block in looked_at:
        batch = source.batch(block)
        packs = [packed.pack for packed in pack(batch, batch_tokens)]
        work = [_work(each, engine) for each in packs]
        tokens, pairs = sum(n for n, _ in work), sum(n for _, n in work)
        rows = sum(len(each.gather) for each in packs) if request.measured == "logprob" else 0
        flop = model_config.flop_per_token * tokens + model_config.attention_flop(pairs)
        counts = {
            "pairs": block.pairs,
            "packs": len(packs),
            "tokens": tokens,
            "unpacked": _unpacked(batch, request),
            "flop": flop + model_config.vocabulary_flop(rows),
        }
        total = {key: value + counts[key] for key, value in total.items()}
    # Scale up from the sampled blocks.
    factor = n_prompts * n_responses / total["pairs"]
    total = {key: float(round(value * factor)) for key, value in total.items()}
    return total | {"shared": 1 - total["tokens"] / total["unpacked"]}


def _work(pack_: Pack, engine: Backend) -> tuple[int, int]:
    """Count the tokens that are computed, and the pairs of a token and one that it sees."""
    if engine.packed:
        return len(pack_), int((pack_.end - np.arange(len(pack_))).sum())
    lengths = [len(path) for path in conversations(pack_)[0]]
    return sum(lengths), sum(length * (length + 1) // 2 for length in lengths)


def _unpacked(batch: Batch, request: ScoringRequest) -> int:
    # The verdicts of a judge end one conversation.
    verdicts = 1 if request.judge is None else len(request.judge.labels)
    whole = batch.sequences[::verdicts]
    length, n = sum(map(len, whole)), len(whole)
    repeats = 1.0 if batch.source is None else len(batch.source) / max(1, n)
    # Of a word's last token nothing is read.
    unread = n if request.measured == "logprob" and batch.first is not None else 0
    return int((length - unread) * repeats)


def _headline(request: ScoringRequest, engine: Backend, device: str, batch_tokens: int) -> str:
    models = f"{len(request.models)} model{'s' if len(request.models) > 1 else ''}"
    words = "the whole vocabulary" if request.words is None else f"{len(request.words)} words"
    asked = f"{len(request.prompts)} prompts × {words}"
    if request.contrasts is not None:
        asked = f"{len(request.contrasts)} items × {len(request.contrasts.variants)} variants"
    return (
        f"{request.kind} scores of {models} × {asked}, by the "
        f"backend {engine.name!r} on {device}, in packs of up to {batch_tokens} tokens"
        + ("" if request.share is None else f"; {request.share} of them")
    )
