"""The cost of a study, computed before it runs."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from valuebias._core.arrays import Integers
from valuebias._core.notebooks import as_html
from valuebias._core.text import visible_lines
from valuebias.ablation.design import instrument
from valuebias.backends.packing import pack_rewards
from valuebias.instruments import lexicon as as_lexicon
from valuebias.instruments import prompts as as_prompts
from valuebias.models.resolve import resolve
from valuebias.models.tokenizer import Tokenizer
from valuebias.preference_data.preferences import Preferences
from valuebias.scoring.plan import matmul_speed
from valuebias.training.features import Base, Conversation
from valuebias.training.objective import Objective
from valuebias.training.reward import PairTokens
from valuebias.training.settings import checkpoints

if TYPE_CHECKING:
    from valuebias.ablation.study import Study

__all__ = ["StudyPlan", "make_plan"]

_SAMPLE = 64
_BATCH_TOKENS = 1024
_READING = 0.7
"""The share of a plain matrix product's speed that a frozen base reaches on a CPU."""
_TRAINING = {"cpu": 0.6, "cuda": 0.35}
"""The share that training reaches."""
_BACKWARD = 3
"""Forward and backward together take about three times the operations of forward alone; logits,
too: they are computed twice, and the weights that make them have no gradients."""

Split = Mapping[str, tuple[Preferences, Preferences]]


@dataclass(frozen=True)
class StudyPlan:
    """The cost of a study.

    Attributes
    ----------
    runs : pandas.DataFrame
        One row per reward model: ``base``, ``objective``, ``source``, ``n_pairs``, ``seed``.
    table : pandas.DataFrame
        One row per base and what it reads (a source, or the instrument's words):
        ``conversations``, ``tokens`` (computed), ``seconds`` and ``megabytes`` on disk. Where
        models are trained, a row for each source and one for the scoring at all checkpoints, with
        ``steps`` (or checkpoints) and ``too_long``, the pairs that are left out. With several
        objectives each source has a row for each of them; "dpo" has one more, for the log-probs
        that all answers have before training.
    notes : tuple of str
        What the estimates assume.

    Examples
    --------
    >>> row = {"conversations": 1, "tokens": 10, "seconds": 0.5, "megabytes": 1.0}
    >>> table = pd.DataFrame([row], index=pd.MultiIndex.from_tuples([("lm", "a source")]))
    >>> "1 reward model" in str(StudyPlan(pd.DataFrame({"base": ["lm"]}), table))
    True
    """

    runs: pd.DataFrame = field(repr=False)
    table: pd.DataFrame = field(repr=False)
    notes: tuple[str, ...] = ()

    def _headline(self) -> str:
        n = len(self.runs)
        total = self.table[["conversations", "tokens", "seconds", "megabytes"]].sum()
        return (
            f"{n} reward model{'s' * (n != 1)}: {total['conversations']:,.0f} conversations of "
            f"{total['tokens']:,.0f} tokens, {total['seconds'] / 60:.1f} minutes, "
            f"{total['megabytes']:,.0f} MB"
        )

    def __str__(self) -> str:
        """Write the plan."""
        table = self.table.round({"seconds": 0, "megabytes": 1}).to_string()
        return visible_lines("\n\n".join([self._headline(), table, *self.notes]))

    def _repr_html_(self) -> str:
        """Show the plan in a notebook."""
        table = self.table.round({"seconds": 0, "megabytes": 1})
        return as_html(self._headline(), table.reset_index(), *self.notes, most=40)


def make_plan(study: Study) -> StudyPlan:
    """Compute the cost of a study."""
    words = instrument(as_prompts(study.prompts), as_lexicon(study.lexicon))
    plan = _head_plan if study.tuning == "head" else _trained_plan
    return plan(study, study.split(), words)


def _bases(study: Study) -> Iterator[Base]:
    """Find the bases, without their weights."""
    for model in study.models():
        resolved = resolve(model, kind="logprob", with_weights=False)
        yield Base(resolved, Tokenizer(resolved))


def _packed_tokens(sequences: list[Integers]) -> int:
    """Count the tokens computed for conversations, shared prefixes once."""
    return sum(len(packed.pack) for packed in pack_rewards(sequences, batch_tokens=_BATCH_TOKENS))


def _head_plan(study: Study, split: Split, words: list[Conversation]) -> StudyPlan:
    conversations, counts = {"words": words}, {"words": len(words)}
    for name, (train, held_out) in split.items():
        parts = [train.subset(max(study.n_pairs), seed=seed).pairs for seed in study.seeds]
        needed = pd.concat([held_out.pairs, *parts]).drop_duplicates("id")
        sample = needed.sample(min(_SAMPLE, len(needed)), random_state=0)
        conversations[name], counts[name] = Conversation.of_pairs(sample), len(needed)
    speed = _READING * matmul_speed("cpu", "float32")
    rows = {}
    for base in _bases(study):
        config = base.resolved.model_config
        for name, group in conversations.items():
            tokens = _packed_tokens(base.token_ids(group)) * counts[name] / len(group)
            answers = counts[name] * len(group[0].answers)
            rows[base.name, name] = {
                "conversations": answers,
                "tokens": round(tokens),
                "seconds": tokens * config.flop_per_token / speed,
                "megabytes": answers * config.hidden * 4 / 1e6,
            }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis(["base", "reads"])
    whole = {"conversations": np.int64, "tokens": np.int64}
    return StudyPlan(
        study.runs(),
        table.astype(whole),
        (
            "Time is for this machine's CPU, from a matrix product timed just now; tokens of "
            f"sources are estimated from {_SAMPLE} pairs of each. Fitting the heads takes seconds.",
        ),
    )


def _trained_plan(study: Study, split: Split, words: list[Conversation]) -> StudyPlan:
    device = _device()
    fast = study.training.bf16 and device == "cuda"
    speed = _TRAINING[device] * matmul_speed(device, "bfloat16" if fast else "float32")
    rows: dict[tuple[str, str], dict[str, float]] = {}
    scratch = kept = 0.0
    for base in _bases(study):
        config = base.resolved.model_config
        rate = config.flop_per_token / speed
        head = max(config.hidden * (one.width or 0) for one in study.objective)
        scratch = max(scratch, (config.n_params + head) * 4e-9)
        if any(one.has_log_probs for one in study.objective):
            kept = max(kept, config.hidden * config.vocab_size * 4e-9)
        for reads, row in _rows(study, base, split, words):
            of_logits = config.vocabulary_flop(1) * row.pop("logits") / speed
            seconds = row["tokens"] * row.pop("weight") * rate + of_logits
            rows[base.name, reads] = row | {"seconds": seconds}
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis(["base", "reads"])
    order = ["conversations", "tokens", "steps", "too_long", "seconds", "megabytes"]
    whole = dict.fromkeys(order[:4], np.int64)
    return StudyPlan(study.runs(), table[order].round(dict.fromkeys(order[:4], 0)).astype(whole), (
        f"Time is for this machine's {'CPU' if device == 'cpu' else 'card'}, from a matrix product "
        f"timed just now; tokens, and pairs too long for training, are estimated from {_SAMPLE} "
        "pairs of each source.",
        f"At each checkpoint a model is written for scoring and removed, {scratch:.2f} GB at most.",
        *([f"For 'grm' the language-model head stays in memory beside the model that is trained, "
           f"{kept:.2f} GB at most."] if kept else []),
    ))  # fmt: skip


def _rows(
    study: Study,
    base: Base,
    split: Split,
    words: list[Conversation],
) -> Iterator[tuple[str, dict[str, Any]]]:
    # The weight is the cost of a token in forward passes; logits are rows over the vocabulary.
    several = len(study.objective) > 1
    asked = any(objective.has_term for objective in study.objective)
    tokens = PairTokens(base, study.training.max_length, starts=asked)
    scored = {"conversations": 0.0, "tokens": 0.0}
    total = 0
    for name, (train, held_out) in split.items():
        drawn, measured = _sampled(tokens, train), _sampled(tokens, held_out)
        kept = len(held_out) * (1 - measured.too_long)
        for objective in study.objective:
            reads = f"{name} · {objective.name}" if several else name
            row, n_checkpoints = _trained(study, drawn, objective)
            yield reads, row
            if objective.has_log_probs and objective.regulariser == "dpo":
                yield f"{reads}, before training", _before(row, drawn)
            total += n_checkpoints
            scored["conversations"] += n_checkpoints * 2 * kept
            scored["tokens"] += n_checkpoints * measured.packed * kept
    ids = base.token_ids(words)
    yield (
        "checkpoints",
        {
            "conversations": scored["conversations"] + total * len(ids),
            "tokens": scored["tokens"] + total * _packed_tokens(ids),
            "steps": total,
            "too_long": 0,
            "megabytes": (total * len(ids) * 4 + scored["conversations"] * 4) / 1e6,
            "weight": 1,
            "logits": 0,
        },
    )


@dataclass(frozen=True, slots=True)
class _Sampled:
    """What a pair of some preferences takes, on average."""

    tokens: float = 0.0
    packed: float = 0.0  # tokens that are computed where beginnings are shared
    chosen: float = 0.0  # chosen, answers: tokens of the chosen answer, and of both
    answers: float = 0.0
    too_long: float = 1.0  # the share of the pairs that are


def _trained(study: Study, pair: _Sampled, objective: Objective) -> tuple[dict[str, float], int]:
    """Estimate the training of all runs on a source, and count their checkpoints."""
    settings, n_seeds = study.training, len(study.seeds)
    columns = ("conversations", "tokens", "steps", "too_long", "megabytes", "logits", "pairs")
    row = dict.fromkeys(columns, 0.0)
    n_checkpoints = 0
    for n_pairs in study.n_pairs:
        left = max(1, round(n_pairs * (1 - pair.too_long)))
        steps = settings.n_steps(left)
        seen = min(steps * settings.batch_size, settings.epochs * left)
        row["conversations"] += 2 * seen
        row["tokens"] += seen * pair.tokens
        row["steps"] += steps
        row["too_long"] += n_pairs - left
        row["pairs"] += left
        if objective.has_log_probs:
            rows = pair.chosen if objective.regulariser == "sft" else pair.answers
            row["logits"] += _BACKWARD * seen * rows
        n_checkpoints += len(checkpoints(settings, steps))
    row = {k: v * n_seeds for k, v in row.items()}
    return row | {"weight": _BACKWARD}, n_checkpoints * n_seeds


def _before(trained: Mapping[str, float], pair: _Sampled) -> dict[str, float]:
    """Estimate the log-probs of all answers before training."""
    n = trained["pairs"]
    return {
        "conversations": 2 * n, "tokens": n * pair.tokens, "steps": 0, "too_long": 0,
        "megabytes": 0, "weight": 1, "logits": n * pair.answers,
    }  # fmt: skip


def _sampled(tokens: PairTokens, pairs: Preferences) -> _Sampled:
    """Estimate what a pair takes."""
    sample = pairs.subset(min(_SAMPLE, len(pairs)))
    fitting = tokens.of(sample)
    n = len(fitting)
    if not n:
        return _Sampled()
    both = [i for pair in zip(fitting.chosen, fitting.rejected, strict=True) for i in pair]
    starts = np.array(fitting.starts or [(0, 0)] * n)
    lengths = np.array([len(ids) for ids in both]).reshape(n, 2)
    chosen, rejected = (lengths - starts).mean(axis=0)
    return _Sampled(
        tokens=float(lengths.sum()) / n, packed=_packed_tokens(both) / n, chosen=float(chosen),
        answers=float(chosen + rejected), too_long=1 - n / len(sample),
    )  # fmt: skip


def _device() -> str:
    if importlib.util.find_spec("torch") is None:
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
