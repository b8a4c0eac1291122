"""The cost of a study that trains models, computed before it runs."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from valuebias.ablation.plan import StudyPlan, packed_tokens
from valuebias.instruments import lexicon as as_lexicon
from valuebias.instruments import prompts as as_prompts
from valuebias.models.resolve import resolve
from valuebias.models.tokenizer import Tokenizer
from valuebias.preference_data.preferences import Preferences
from valuebias.scoring.plan import matmul_speed
from valuebias.training.features import Base, Conversation
from valuebias.training.pair_tokens import PairTokens
from valuebias.training.schedule import checkpoint_steps

if TYPE_CHECKING:
    from valuebias.ablation.study import Study

__all__ = ["trained_plan"]

_SAMPLE = 64
_BACKWARD = 3
"""Forward and backward together take about three times the operations of forward alone."""
_EFFICIENCY = {"cpu": 0.6, "cuda": 0.35}
"""The share of a plain matrix product's speed that training reaches."""


@dataclass(frozen=True, slots=True)
class _Sampled:
    """Estimates from a sample of a source's pairs: tokens per pair, and the share too long."""

    tokens: float
    too_long: float
    packed: float


def trained_plan(study: Study) -> StudyPlan:
    """Compute the cost of a study with the tuning "lora" or "full"."""
    splits = study.splits()
    lexicon = as_lexicon(study.lexicon)
    texts = [str(text) for text in as_prompts(study.prompts).table["text"]]
    words = [Conversation.after(text, lexicon.words) for text in texts]
    device = _device()
    fast = study.training.bf16 and device == "cuda"
    speed = _EFFICIENCY[device] * matmul_speed(device, "bfloat16" if fast else "float32")
    rows: dict[tuple[str, str], dict[str, float]] = {}
    scratch = 0.0
    for model in study.models():
        resolved = resolve(model, kind="logprob", with_weights=False)
        base = Base(resolved, Tokenizer(resolved))
        rate = resolved.model_config.flop_per_token / speed
        scratch = max(scratch, resolved.model_config.n_params * 4e-9)
        for reads, row in _rows(study, base, splits, words):
            rows[base.name, reads] = row | {"seconds": row["tokens"] * row.pop("weight") * rate}
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis(["base", "reads"])
    order = ["conversations", "tokens", "steps", "too_long", "seconds", "megabytes"]
    whole = dict.fromkeys(order[:4], np.int64)
    return StudyPlan(study.runs(), table[order].round(dict.fromkeys(order[:4], 0)).astype(whole), (
        f"Time is for this machine's {'CPU' if device == 'cpu' else 'card'}, from a matrix product "
        f"timed just now; tokens, and pairs too long for training, are estimated from {_SAMPLE} "
        "pairs of each source.",
        f"At each checkpoint a model is written for scoring and removed, {scratch:.2f} GB at most.",
    ))  # fmt: skip


def _rows(
    study: Study,
    base: Base,
    splits: dict[str, tuple[Preferences, Preferences]],
    words: list[Conversation],
) -> Iterator[tuple[str, dict[str, Any]]]:
    # The weight is the cost of a token in forward passes.
    settings = study.training
    tokens = PairTokens(base, settings.max_length)
    scored = {"conversations": 0.0, "tokens": 0.0}
    checkpoints = 0
    for name, (train, held_out) in splits.items():
        sample, measured = _sampled(tokens, train), _sampled(tokens, held_out)
        row = dict.fromkeys(("conversations", "tokens", "steps", "too_long", "megabytes"), 0.0)
        n_checkpoints = 0
        for n_pairs in study.n_pairs:
            left = max(1, round(n_pairs * (1 - sample.too_long)))
            steps = settings.n_steps(left)
            seen = min(steps * settings.batch_size, settings.epochs * left)
            row["conversations"] += 2 * seen
            row["tokens"] += seen * sample.tokens
            row["steps"] += steps
            row["too_long"] += n_pairs - left
            n_checkpoints += len(checkpoint_steps(
                steps, linear=settings.linear_checkpoints, log=settings.log_checkpoints
            ))  # fmt: skip
        yield name, {k: v * len(study.seeds) for k, v in row.items()} | {"weight": _BACKWARD}
        n_checkpoints *= len(study.seeds)
        checkpoints += n_checkpoints
        kept = len(held_out) * (1 - measured.too_long)
        scored["conversations"] += n_checkpoints * 2 * kept
        scored["tokens"] += n_checkpoints * measured.packed * kept
    ids = [i for c in words for i in base.tokenizer.rewards(c.messages(), c.answers)]
    yield (
        "checkpoints",
        {
            "conversations": scored["conversations"] + checkpoints * len(ids),
            "tokens": scored["tokens"] + checkpoints * packed_tokens(ids),
            "steps": checkpoints,
            "too_long": 0,
            "megabytes": (checkpoints * len(ids) * 4 + scored["conversations"] * 4) / 1e6,
            "weight": 1,
        },
    )


def _sampled(tokens: PairTokens, pairs: Preferences) -> _Sampled:
    sample = pairs.subset(min(_SAMPLE, len(pairs)))
    fitting = tokens.of(sample)
    if not len(fitting):
        return _Sampled(0.0, 1.0, 0.0)
    both: list[npt.NDArray[np.int64]] = [
        ids for pair in zip(fitting.chosen, fitting.rejected, strict=True) for ids in pair
    ]
    return _Sampled(
        sum(map(len, both)) / len(fitting),
        1 - len(fitting) / len(sample),
        packed_tokens(both) / len(fitting),
    )


def _device() -> str:
    if importlib.util.find_spec("torch") is None:
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
