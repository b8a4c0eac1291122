"""The cost of a study, computed before it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from valuebias.backends.packing import pack_rewards
from valuebias.instruments import lexicon as as_lexicon
from valuebias.instruments import prompts as as_prompts
from valuebias.models.resolve import resolve
from valuebias.models.tokenizer import Tokenizer
from valuebias.scoring.plan import matmul_speed
from valuebias.training.features import Base, Conversation

if TYPE_CHECKING:
    from valuebias.ablation.study import Study

__all__ = ["StudyPlan", "make_plan", "packed_tokens"]

_SAMPLE = 64
_BATCH_TOKENS = 1024
# The share of a plain matrix product's speed that a model reaches on a CPU.
_EFFICIENCY = 0.7


@dataclass(frozen=True)
class StudyPlan:
    """The cost of a study.

    Attributes
    ----------
    runs : pandas.DataFrame
        One row per reward model: ``base``, ``source``, ``n_pairs``, ``seed``.
    table : pandas.DataFrame
        One row per base and what it reads (a source, or the instrument's words):
        ``conversations``, ``tokens`` (computed), ``seconds`` and ``megabytes`` on disk. Where
        models are trained, a row for each source and one for the scoring at all checkpoints, with
        ``steps`` (or checkpoints) and ``too_long``, the pairs that are left out.
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

    def __str__(self) -> str:
        """Write the plan."""
        n = len(self.runs)
        total = self.table[["conversations", "tokens", "seconds", "megabytes"]].sum()
        head = (
            f"{n} reward model{'s' * (n != 1)}: {total['conversations']:,.0f} conversations of "
            f"{total['tokens']:,.0f} tokens, {total['seconds'] / 60:.1f} minutes, "
            f"{total['megabytes']:,.0f} MB"
        )
        table = self.table.round({"seconds": 0, "megabytes": 1}).to_string()
        return "\n\n".join([head, table, *self.notes])


def make_plan(study: Study) -> StudyPlan:
    """Compute the cost of a study."""
    if study.tuning == "head":
        return _head_plan(study)
    from valuebias.ablation.trained_plan import trained_plan

    return trained_plan(study)


def packed_tokens(sequences: list[npt.NDArray[np.int64]]) -> int:
    """Count the tokens computed for conversations, shared prefixes once."""
    return sum(len(packed.pack) for packed in pack_rewards(sequences, batch_tokens=_BATCH_TOKENS))


def _head_plan(study: Study) -> StudyPlan:
    lexicon = as_lexicon(study.lexicon)
    texts = [str(text) for text in as_prompts(study.prompts).table["text"]]
    conversations: dict[str, list[Conversation]] = {
        "words": [Conversation.after(text, lexicon.words) for text in texts]
    }
    counts = {"words": len(texts)}
    for name, (train, held_out) in study.splits().items():
        parts = [train.subset(max(study.n_pairs), seed=seed).pairs for seed in study.seeds]
        needed = pd.concat([held_out.pairs, *parts]).drop_duplicates("id")
        sample = needed.sample(min(_SAMPLE, len(needed)), random_state=0)
        columns = (sample[key].tolist() for key in ("prompt", "chosen", "rejected"))
        conversations[name] = [Conversation(p, (c, r)) for p, c, r in zip(*columns, strict=True)]
        counts[name] = len(needed)
    speed = _EFFICIENCY * matmul_speed("cpu", "float32")
    rows = {}
    for model in study.models():
        resolved = resolve(model, kind="logprob", with_weights=False)
        base = Base(resolved, Tokenizer(resolved))
        for name, group in conversations.items():
            tokens = _tokens(base, group) * counts[name] / len(group)
            answers = counts[name] * len(group[0].answers)
            rows[base.name, name] = {
                "conversations": answers,
                "tokens": round(tokens),
                "seconds": tokens * resolved.model_config.flop_per_token / speed,
                "megabytes": answers * resolved.model_config.hidden * 4 / 1e6,
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


def _tokens(base: Base, conversations: list[Conversation]) -> int:
    ids = [
        sequence
        for conversation in conversations
        for sequence in base.tokenizer.rewards(conversation.messages(), conversation.answers)
    ]
    return packed_tokens(ids)
