"""What is to be scored: models, prompts and words, and the blocks in which this is done."""

from __future__ import annotations

import hashlib
import itertools
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any, Literal, cast

import numpy as np
import pandas as pd

from valuebias._core.checks import WHOLE, check_known, check_number
from valuebias._core.frames import as_frame
from valuebias.errors import ValueBiasError, ValueBiasWarning
from valuebias.instruments import ContrastSet, Judge, Lexicon, PromptSet, contrast_set
from valuebias.instruments import judge as as_judge
from valuebias.instruments import lexicon as as_lexicon
from valuebias.instruments import prompts as as_prompts
from valuebias.instruments.contrast_sets import one_set, several_sets
from valuebias.models.spec import Model, read_models
from valuebias.schema.contract import KINDS, check_unique
from valuebias.schema.contrast_scores import item_table
from valuebias.scoring.sharing import Share

__all__ = [
    "VOCABULARY",
    "Block",
    "ScoringRequest",
    "block_shape",
    "blocks",
    "contrast_request",
    "make_request",
]

VOCABULARY = "vocabulary"
"""The lexicon that stands for every token of a model's vocabulary."""

# A block is what a killed run loses at most, and what a pack may share a prefix within: large
# enough to fill packs, small enough to be done in seconds on a card and half a minute on a CPU.
_PAIRS = 4096
# Log-probs of a vocabulary cost one token per prompt, but each pair is a number in memory.
_ROW_VALUES = 2**22
# Of contrast sets, whose texts may be long: as many tokens as some 4096 pairs of words have.
_CHARACTERS = 2**18

Kind = Literal["reward", "logprob", "implicit", "judged"]
Measured = Literal["reward", "logprob"]
Words = str | PathLike[str] | Lexicon | pd.DataFrame | Mapping[str, Sequence[str]] | Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringRequest:
    """What is to be scored."""

    models: tuple[Model, ...]  # as they were specified
    prompts: PromptSet  # what is asked
    lexicon: Lexicon | None  # whose categories the words have, where they have any
    words: tuple[str, ...] | None  # the answers; None = every token of each model's vocabulary
    kind: Kind  # what is measured
    pooling: str  # how the log-probs of a word's tokens become its score
    # Whether a token of the vocabulary is scored as the text it stands for, or its id is put into
    # the conversation as it is.
    tokens_as: str
    judge: Judge | None = None  # of kind "judged": what is asked
    share: Share | None = None  # which part of it is to be computed; None = all
    # Items as prompts and variants as words, whose texts differ from item to item.
    contrasts: ContrastSet | None = None
    along: bool = False  # whether rewards are read at every token of an answer

    @property
    def measured(self) -> Measured:
        """What an engine computes: implicit rewards and verdicts are made of log-probs."""
        return "reward" if self.kind == "reward" else "logprob"

    @property
    def rows(self) -> bool:
        """Whether a single forward pass gives the scores of the whole vocabulary."""
        return self.words is None and self.measured == "logprob"

    @property
    def n_token_scores(self) -> int:
        """How many log-probs of tokens a store begins with room for, at each pair; 0 = none."""
        if self.judge is not None:
            return self.judge.width
        if self.along:
            return 2
        return 1 if self.kind == "logprob" and self.words is not None else 0

    def conversations(self, prompts: slice) -> list[list[tuple[str, tuple[str, ...]]]]:
        """Give what is asked for each prompt: texts, each with the answers that it is scored with.

        Answers are in the order of responses; those that an item lacks are left out.
        """
        if self.contrasts is None:
            words = self.words or ()
            return [[(str(text), words)] for text in self.prompts.table["text"].iloc[prompts]]
        items = self.prompts.table.index[prompts]
        order = {name: i for i, name in enumerate(self.words or ())}
        table = self.contrasts.table
        rows = table[table.index.get_level_values("item").isin(items)]
        by_item: dict[str, list[tuple[int, str, str]]] = {str(item): [] for item in items}
        cells = zip(rows.index, rows["prompt"], rows["response"], strict=True)
        for (item, variant), prompt, response in cells:
            by_item[item].append((order[variant], prompt, response))
        return [_by_prompt(sorted(asked)) for asked in by_item.values()]

    def first(self) -> tuple[str, tuple[str, ...]]:
        """Give the first of what is asked."""
        return self.conversations(slice(0, 1))[0][0]

    def settings(self) -> dict[str, Any]:
        """Return the settings that all scores in one store must share, in JSON's types."""
        table = self.prompts.table
        answers: Any = VOCABULARY
        if self.words is not None:
            member = None if self.lexicon is None else self.lexicon.membership(self.words)
            marks: list[Any] = []
            if member is not None:
                whole = all(dtype == np.bool_ for dtype in member.dtypes)
                marks = [list(member), member.to_numpy(dtype=int if whole else float).tolist()]
            answers = _digest([list(self.words), marks])
        judge = {} if self.judge is None else self.judge.settings()
        contrasts = {}
        if self.contrasts is not None:
            rows = self.contrasts.table
            texts = [list(map(list, rows.index)), rows[["prompt", "response"]].values.tolist()]
            contrasts = {"contrast set": _digest(texts)}
        if self.along:
            contrasts["read"] = "all"
        pooled = self.measured == "logprob" and self.words is not None and self.judge is None
        return {
            "kind": self.kind,
            **contrasts,
            **{f"judge's {field}": value for field, value in judge.items()},
            "prompts": _digest([list(table.index), list(table), table.astype(str).values.tolist()]),
            "lexicon": answers,
            "pooling": self.pooling if pooled else None,
            "tokens_as": (self.tokens_as if self.kind == "reward" and self.words is None else None),
        }


@dataclass(frozen=True, slots=True)
class Block:
    """A part of one model's scores: what is computed and stored in one go."""

    index: tuple[int, int]  # which block, by prompt and by response
    prompts: slice  # which prompts
    responses: slice  # which responses

    @property
    def pairs(self) -> int:
        """How many scores there are."""
        return int(self.prompts.stop - self.prompts.start) * self.n_responses

    @property
    def n_responses(self) -> int:
        """How many responses there are."""
        return int(self.responses.stop - self.responses.start)


def make_request(
    models: Any,
    *,
    prompts: Any,
    lexicon: Words | None,
    kind: str,
    pooling: str,
    tokens_as: str,
    judge: Any = None,
    trust_remote_code: bool = False,
    batch_tokens: int | None = None,
) -> ScoringRequest:
    """Read what the user gave; see :func:`valuebias.score` for what that may be."""
    for name, value, known in (
        ("kind", kind, tuple(KINDS)),
        ("pooling", pooling, ("sum", "mean")),
        ("tokens_as", tokens_as, ("text", "ids")),
    ):
        check_known(value, known, f"{name} is {value!r}.")
    chosen, words = _answers(lexicon)
    if batch_tokens is not None:
        expected = "a number of tokens, such as 512"
        check_number(batch_tokens, "batch_tokens", expected, least=1, kinds=WHOLE)
    specified = read_models(models, trust_remote_code=trust_remote_code)
    _check_references(specified, kind, vocabulary=words is None)
    chosen_judge = _judge(judge, kind, vocabulary=words is None)
    return ScoringRequest(
        models=specified,
        prompts=as_prompts(prompts),
        lexicon=chosen,
        words=words,
        kind=cast(Kind, kind),
        pooling=pooling,
        tokens_as=tokens_as,
        judge=chosen_judge,
    )


def contrast_request(
    models: Any, contrasts: Any, *, read: str = "last", **settings: Any
) -> ScoringRequest:
    """Read what the user gave of a contrast set: items are prompts, variants words."""
    check_known(read, ("last", "all"), f"read is {read!r}.")
    if read == "all" and settings["kind"] != "reward":
        why = "of which there is one at each token. Log-probs of each token are kept in any case."
        raise ValueBiasError(
            f"read is 'all', and kind is {settings['kind']!r}; expected 'reward', {why}",
            in_shell=f"--read is all, and --kind is {settings['kind']}; expected reward, {why}",
        )
    several = several_sets(contrasts)
    chosen = one_set(several) if several else contrast_set(contrasts)
    table = item_table(chosen)
    # Items may ask the same, which prompts may not; what is asked comes from the contrast set.
    apart = table.assign(text=[f"{name}: {text}" for name, text in table["text"].items()])
    items = PromptSet(chosen.name, apart, chosen.citation)
    words = list(chosen.variants)
    request = make_request(models, prompts=items, lexicon=words, tokens_as="text", **settings)
    return replace(request, contrasts=chosen, along=read == "all")


def _judge(given: Any, kind: str, *, vocabulary: bool) -> Judge | None:
    """Read the judge, which scores of kind "judged" have, and no others."""
    if kind != "judged":
        if given is not None:
            raise ValueBiasError(
                f"A judge is given, and kind is {kind!r}; give kind='judged', or leave judge= out.",
                in_shell=f"A judge is given, and --kind is {kind}; give --kind judged, or leave "
                "--judge out.",
            )
        return None
    if given is None:
        said, of = "kind is 'judged', and no judge is given. Give", "from 1 to 5"
        raise ValueBiasError(
            f"{said} judge='rating', {of}, or your own: valuebias.Judge(template=..., "
            "verdicts=...).",
            in_shell=f"{said} --judge rating, {of}, or a YAML file with 'template' and 'verdicts'.",
        )
    if vocabulary:
        raise ValueBiasError(
            "Words are judged, and the lexicon is 'vocabulary', every token of which would be a "
            "conversation of its own. Give words, or score the vocabulary by kind='logprob'.",
            in_shell="Words are judged, and --lexicon is vocabulary, every token of which would be "
            "a conversation of its own. Give words, or score the vocabulary by --kind logprob.",
        )
    return as_judge(given)


def _check_references(models: Sequence[Model], kind: str, *, vocabulary: bool) -> None:
    """Refuse policies without a reference, and reward models with one."""
    for model in models:
        if kind == "implicit" and model.reference is None:
            raise ValueBiasError(
                f"The model {model.name!r} has no reference to score it against. Give the model "
                "that it was held to in training: in a column 'reference' of the models table, or "
                "as Model(..., reference='org/model'). Log-probs, kind='logprob', need none."
            )
        if kind in ("reward", "judged") and model.reference is not None:
            other = "a reward model" if kind == "reward" else "to judge by itself"
            raise ValueBiasError(
                f"The model {model.name!r} has a reference, so that it is a policy, whose reward "
                f"is implicit in two models' log-probs: give kind='implicit'. If it is {other}, "
                "leave the reference out."
            )
    if kind == "implicit" and vocabulary:
        raise ValueBiasError(
            "Implicit rewards are scored for words, and the lexicon is 'vocabulary'. Give words; "
            "or score policies and references with kind='logprob' and read them in pairs: "
            "valuebias.implicit(..., method='log_ratio')."
        )


def block_shape(request: ScoringRequest, n_responses: int) -> tuple[int, int]:
    """Return the numbers of prompts and responses in a block; they depend on the request alone."""
    total = len(request.prompts)
    if request.contrasts is not None:
        texts = request.contrasts.table
        length = int(texts["prompt"].str.len().sum() + texts["response"].str.len().sum())
        parts = min(total, -(-length // _CHARACTERS))
        return -(-total // parts), n_responses
    if request.words is None and request.kind == "reward":
        return 1, min(n_responses, _PAIRS)
    each = 1 if request.judge is None else request.judge.orders
    most = (_ROW_VALUES if request.rows else _PAIRS) // (n_responses * each)
    # Blocks of like size, so that no small rest fails to fill a pack.
    parts = -(-total // max(1, most))
    return -(-total // parts), n_responses


def blocks(n_prompts: int, n_responses: int, shape: tuple[int, int]) -> Iterator[Block]:
    """Divide the scores of one model into blocks.

    Examples
    --------
    >>> [(b.prompts.start, b.prompts.stop, b.pairs) for b in blocks(5, 10, (2, 10))]
    [(0, 2, 20), (2, 4, 20), (4, 5, 10)]
    """
    for i, prompt in enumerate(range(0, n_prompts, shape[0])):
        for j, response in enumerate(range(0, n_responses, shape[1])):
            yield Block(
                (i, j),
                slice(prompt, min(prompt + shape[0], n_prompts)),
                slice(response, min(response + shape[1], n_responses)),
            )


def _by_prompt(asked: Sequence[tuple[int, str, str]]) -> list[tuple[str, tuple[str, ...]]]:
    """Put answers to the same text together where they follow one another."""
    groups = itertools.groupby(asked, key=lambda one: one[1])
    return [(text, tuple(answer for _, _, answer in some)) for text, some in groups]


def _answers(lexicon: Words | None) -> tuple[Lexicon | None, tuple[str, ...] | None]:
    if isinstance(lexicon, str) and lexicon == VOCABULARY:
        return None, None
    lexicon = as_frame(lexicon)
    if lexicon is not None and not isinstance(
        lexicon, str | PathLike | Lexicon | pd.DataFrame | Mapping
    ):
        words = tuple(lexicon)
        for word in words:
            if not isinstance(word, str) or not word:
                raise ValueBiasError(f"A word is {word!r}; expected text, not empty.")
        if not words:
            raise ValueBiasError("There is no word to score; give at least one.")
        check_unique(list(words), "word")
        return None, words
    chosen = as_lexicon(lexicon)
    words = tuple(str(word) for word in chosen.words if not str(word).endswith("*"))
    left_out = len(chosen) - len(words)
    if not words:
        raise ValueBiasError(
            f"Every term of the lexicon {chosen.name!r} ends in '*' and stands for many words. "
            "Score a list of words, or the whole vocabulary."
        )
    if left_out:
        warnings.warn(
            f"{left_out} terms of the lexicon {chosen.name!r} end in '*' and stand for many words; "
            f"they are not scored. The other {len(words)} are.",
            ValueBiasWarning,
            stacklevel=4,
        )
    return chosen, words


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
