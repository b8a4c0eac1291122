"""Where an answer stands in a conversation, and at which token its reward is read.

A reward model is trained to be right at one token of a conversation, and is read there. Which one
that is its own head decides: transformers' classifiers take the last token that is not the padding
of their configuration. Where a tokenizer has no padding token, trainers pad with the end of a turn,
and the head then reads the answer's last token; the end of the conversation was never trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from valuebias._core.arrays import Integers
from valuebias.backends.base import OWN_OUTPUT, STEPS
from valuebias.errors import ValueBiasError

__all__ = [
    "ANSWER",
    "END",
    "LAST",
    "OWN_CODE",
    "READS",
    "AnswerPosition",
    "Prefix",
    "Reading",
    "Rule",
    "common_start",
    "reading_position",
    "rule_of",
    "without_blanks",
]

READS = ("own", "last", "last-non-pad")
"""What a model's ``reward_at`` may be."""
END = "end of conversation"
ANSWER = "end of answer"
OWN_CODE = "by its own code"
_BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"


@dataclass(frozen=True, slots=True)
class Rule:
    """How a model's reward is read."""

    # The reward is read at the last token that is not this one; None = at the last of all.
    padding: int | None
    said_by: str  # what decided it, for people
    # Whether the model's own code reads it, wherever in the conversation that may be.
    own_code: bool = False

    def setting(self) -> str:
        """Return the identity of the rule for hashes: rules that read alike have the same."""
        if self.own_code:
            return OWN_CODE
        return "last" if self.padding is None else f"last that is not {self.padding}"

    def cut(self, conversation: Integers) -> Integers:
        """Cut a conversation off after the token that the reward is read at."""
        if self.padding is None:
            return conversation
        # The same as valuebias.backends.reading_place, for many conversations quickly.
        kept = np.flatnonzero(conversation != self.padding)
        return conversation[: kept[-1] + 1 if len(kept) else 1]


LAST = Rule(None, "reward_at='last'")


@dataclass(frozen=True, slots=True)
class Reading:
    """The token at which a model's reward is read, as found in its conversations."""

    # ``"end of conversation"``, ``"end of answer"``, ``"by its own code"``, or how many tokens
    # before the end.
    position: str
    token: str  # the token and its id; empty where it is the answer's own, or is not known
    said_by: str  # what decided it
    exceptions: str = ""  # for which answers the position is another one; empty as a rule

    def __str__(self) -> str:
        """Describe it as the end of a sentence: "at ..."."""
        if self.position == OWN_CODE:
            return f"where the model's own code reads it ({self.said_by})"
        where = {
            END: "at the end of the conversation",
            ANSWER: "at the answer's last token",
        }.get(self.position, self.position)
        token = f", {self.token}" if self.token else ""
        return f"{where}{token} ({self.said_by}){self.exceptions}"


def rule_of(
    reward_at: str,
    *,
    head: Any,
    padding: Any,
    classifier: bool,
    own_code: bool,
    encoder: bool = False,
    name: str,
) -> Rule:
    """Decide where a model's reward is read."""
    if padding is not None and (isinstance(padding, bool) or not isinstance(padding, int)):
        raise ValueBiasError(
            f"The configuration of {name!r} has pad_token_id={padding!r}; expected a token's "
            "number, or nothing. Correct its config.json."
        )
    if reward_at == "last":
        return LAST
    if reward_at == "last-non-pad":
        if padding is None:
            raise ValueBiasError(
                f"The model {name!r} has no padding token, so reward_at='last-non-pad' means "
                "nothing. Give reward_at='last'."
            )
        return Rule(
            padding, f"reward_at='last-non-pad': the last token that is not the {_id(padding)}"
        )
    if head in OWN_OUTPUT or own_code:
        if head == STEPS:
            return Rule(None, "the rewards are read at the step marks", own_code=True)
        whose = "an encoder's class reads" if encoder else "code of its own computes"
        return Rule(None, f"{whose} its reward", own_code=True)
    if callable(head) and not classifier:
        return Rule(None, "the head is a function, and the checkpoint has none of its own")
    if padding is None:
        return Rule(None, "its configuration has no pad_token_id, so its own head reads the last")
    reason = "its own head reads the last token that is not the pad_token_id of its configuration"
    return Rule(padding, f"{reason}, {padding}")


def _id(padding: int) -> str:
    return f"pad_token_id {padding}"


def reading_position(
    rule: Rule,
    conversations: Sequence[Integers],
    *,
    n_before: int,
    n_after: int,
    name_token: Any,
) -> Reading:
    """Find the token at which rewards are read, in conversations that differ in the answer."""
    if rule.own_code:
        return Reading(OWN_CODE, "", rule.said_by)
    tokens_at: dict[str, set[int]] = {}
    count: dict[str, int] = {}
    for ids in conversations:
        kept = rule.cut(ids)
        left = len(ids) - len(kept)
        has_answer = len(ids) > n_before + n_after
        position = END if not left else f"{left} token{'s' if left > 1 else ''} before the end"
        if left and left == n_after and has_answer:
            position = ANSWER
        tokens_at.setdefault(position, set()).add(int(kept[-1]))
        count[position] = count.get(position, 0) + 1
    usual = max(count, key=lambda position: count[position])
    others = ", ".join(f"{n} of them {where}" for where, n in count.items() if where != usual)
    tokens = sorted(tokens_at[usual])
    return Reading(
        usual,
        name_token(tokens[0]) if len(tokens) == 1 and usual != ANSWER else "",
        rule.said_by,
        f"; of {len(conversations)} answers, {others}" if others else "",
    )


@dataclass(frozen=True, slots=True)
class AnswerPosition:
    """Where the answer stands in the text of a conversation."""

    before: str  # all the text before the answer
    how: str  # whose text that is, for people
    # What the model would be given to go on from, where that is another text.
    generation: str | None = None


class Prefix(NamedTuple):
    """Where an answer begins in the tokens of a conversation."""

    token_id: int  # the last token before the answer
    token: str  # its text
    how: str  # what makes it the last one, for people
    blanks: str  # white space that the template has after it, which counts as the answer's
    # Whether the generation prompt would give another one, or there are such blanks.
    remarkable: bool


def common_start(one: str, other: str) -> str:
    """Cut two texts down to the beginning that they share."""
    pairs = enumerate(zip(one, other, strict=False))
    return one[: next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))]


def without_blanks(text: str) -> str:
    """Cut white space off the end of a text, line breaks apart.

    Examples
    --------
    >>> without_blanks("Q: Why? A: ")
    'Q: Why? A:'
    """
    stop = len(text)
    while stop and text[stop - 1].isspace() and text[stop - 1] not in _BREAKS:
        stop -= 1
    return text[:stop]
