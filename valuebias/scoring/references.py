"""Implicit rewards of policies: their log-probs against those of the models they were held to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from valuebias._core.arrays import Floats
from valuebias.errors import ValueBiasError, shown
from valuebias.models.references import references_of
from valuebias.models.tokenizer import Tokenizer
from valuebias.scoring.prepare import LookedInto, PreparedModel
from valuebias.scoring.request import Block, ScoringRequest

__all__ = [
    "Against",
    "check_not_its_own",
    "check_same_ids",
    "no_change",
    "reference_request",
    "with_reference",
]

_SAID = "a policy and its reference are asked in the same tokens"


@dataclass(frozen=True, slots=True, eq=False)
class Against:
    """What a policy's log-probs are read against."""

    tokens: Floats  # (prompt, response, token): the reference's log-probs
    beta: float

    def ratios(self, block: Block, tokens: Floats) -> Floats:
        """Give β times the log-ratio of each token, both (prompt × response, token)."""
        width = tokens.shape[1]
        reference = self.tokens[block.prompts, block.responses, :width].reshape(-1, width)
        # In double precision: the two are near one another.
        ratios = self.beta * (tokens.astype(np.float64) - reference)
        return np.asarray(ratios)


def reference_request(request: ScoringRequest) -> ScoringRequest:
    """Ask for the log-probs of the references, each once."""
    references = references_of(request.models)
    share = request.share
    if share is not None:
        share = share.of_references({policy: one.name for policy, one in references.items()})
    models = tuple(dict.fromkeys(references.values()))
    return replace(request, models=models, kind="logprob", share=share)


def with_reference(policy: PreparedModel, reference: PreparedModel) -> PreparedModel:
    """Note in what is said of a policy what it is scored against."""
    entry, other, beta = policy.entry, reference.entry, float(policy.resolved.model.beta)
    coords: dict[str, Any] = {**entry.coords, "reference": other.name, "beta": beta}
    base_said_by = entry.base_said_by
    if not coords.get("base"):
        # It was trained from its reference, as a rule.
        coords["base"], base_said_by = other.source, "its reference"
    settings = {
        **entry.settings,
        "reference": other.source,
        **{f"{key} of the reference": value for key, value in _measured(other.settings).items()},
        "beta": beta,
    }
    entry = replace(entry, coords=coords, settings=settings, base_said_by=base_said_by)
    return replace(policy, entry=entry, reference=reference.name)


def _measured(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what only rewards have, and the engine, which is the policy's."""
    return {k: v for k, v in settings.items() if k not in ("head", "label", "reward_at", "backend")}


def check_same_ids(
    request: ScoringRequest,
    policy: PreparedModel | LookedInto,
    reference: PreparedModel | LookedInto,
) -> None:
    """Refuse a reference whose conversations are other tokens than the policy's."""
    one, other = policy.tokenizer(), reference.tokenizer()
    mine = (one.sha256, one.template_sha256, policy.resolved.model.prefix)
    theirs = (other.sha256, other.template_sha256, reference.resolved.model.prefix)
    if mine == theirs:
        return
    asked = zip(request.prompts.table.index, request.conversations(slice(None)), strict=True)
    for name, text, words in ((name, *each) for name, some in asked for each in some):
        pairs = zip(words, *one.targets(text, words), *other.targets(text, words), strict=True)
        for word, ids, start, other_ids, other_start in pairs:
            if np.array_equal(ids, other_ids) and start == other_start:
                continue
            same = _shared(ids.tolist(), other_ids.tolist())
            raise ValueBiasError(
                f"The policy {policy.name!r} and its reference {reference.name!r} read the word "
                f"{shown(word)} after the prompt {str(name)!r} as different tokens: from token "
                f"{same} on (of {len(ids)} and {len(other_ids)}), {_tail(one, ids.tolist(), same)} "
                f"and {_tail(other, other_ids.tolist(), same)}; {_SAID}. Give the model that the "
                "policy was trained from. If only its tokenizer or template differs, give it the "
                "policy's: make the reference a mapping of its fields, with 'tokenizer' and "
                "'template'."
            )


def check_not_its_own(policy: PreparedModel) -> None:
    """Refuse a policy whose files, or what a server calls it, are its reference's."""
    settings = policy.entry.settings

    def same(key: str) -> bool:
        return bool(settings.get(key) == settings.get(f"{key} of the reference"))

    # The weights of an adapter are those of its base, which is its reference as a rule.
    own = settings.get("weights") is not None and same("weights") and same("adapter")
    served = settings.get("model served")
    if own or (served is not None and same("model served")):
        raise no_change(policy.name, served)


def no_change(name: str, served: str | None = None) -> ValueBiasError:
    """Refuse a policy whose log-probs are its reference's: all its rewards would be zero."""
    if served is not None:
        return ValueBiasError(
            f"The server would be asked for the policy {name!r} and for its reference, and runs "
            f"{shown(served)} for both, so that all implicit rewards would be zero. A server runs "
            'one model, as a rule: score policies with backend="torch".',
            in_shell=f"The server would be asked for the policy {name!r} and for its reference, "
            f"and runs {shown(served)} for both, so that all implicit rewards would be zero. A "
            "server runs one model, as a rule: score policies with --backend torch.",
        )
    return ValueBiasError(
        f"The model {name!r} is its own reference: both have the same weights, so that all "
        "implicit rewards are zero. Give the trained policy as the model, and as its reference the "
        "model that it was trained from."
    )


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    both = zip(one, other, strict=False)
    return next((n for n, (a, b) in enumerate(both) if a != b), min(len(one), len(other)))


def _tail(tokenizer: Tokenizer, ids: Sequence[int], start: int) -> str:
    rest = list(ids[start : start + 3])
    return " ".join(tokenizer.names(rest)) or "nothing"
