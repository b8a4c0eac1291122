"""Make models ready to be scored: resolve them, and write down what their scores depend on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from valuebias.backends.base import Backend
from valuebias.provenance import sha256
from valuebias.scoring.bases import followed
from valuebias.scoring.models import Model, read_models
from valuebias.scoring.plan import Plan
from valuebias.scoring.resolve import Resolved, resolve
from valuebias.scoring.store import Entry
from valuebias.scoring.tokenise import Tokeniser

__all__ = ["Prepared", "Tokenisers", "prepare"]


class Tokenisers:
    """Makes tokenisers and keeps the last one: they are slow to load and large."""

    def __init__(self) -> None:
        self._last: tuple[str, Tokeniser] | None = None

    def of(self, resolved: Resolved) -> Tokeniser:
        """Give a model's tokeniser.

        Parameters
        ----------
        resolved : Resolved
            The model.

        Returns
        -------
        Tokeniser
            Loaded.
        """
        name = resolved.model.name
        if self._last is None or self._last[0] != name:
            self._last = None
            self._last = (name, Tokeniser(resolved))
        return self._last[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A model that is ready to be scored.

    Attributes
    ----------
    resolved : Resolved
        Where its files are, and what its configuration says.
    entry : Entry
        What a store says of it.
    """

    resolved: Resolved
    entry: Entry
    tokenisers: Tokenisers = field(repr=False)

    @property
    def name(self) -> str:
        """Its label."""
        return self.entry.name

    @property
    def weight(self) -> float:
        """How much work a pair is, roughly: the number of parameters."""
        return float(self.resolved.facts.n_params or 1)

    def pairs(self, plan: Plan) -> int:
        """Say how many scores it has, for vocabularies roughly."""
        words = self.resolved.facts.vocab_size if plan.words is None else len(plan.words)
        return len(plan.prompts) * int(words)

    def tokeniser(self) -> Tokeniser:
        """Give its tokeniser."""
        return self.tokenisers.of(self.resolved)


def prepare(plan: Plan, engine: Backend) -> list[Prepared]:
    """Resolve the models of a plan, and hash what their scores depend on.

    All of them before the first is scored, so that a mistake in the last is not found hours later.

    Parameters
    ----------
    plan : Plan
        What is to be scored.
    engine : Backend
        What it is to be scored with.

    Returns
    -------
    list of Prepared
        In the plan's order.

    Raises
    ------
    ValueBiasError
        If a model cannot be had, or cannot be scored as the plan asks.
    """
    tokenisers = Tokenisers()
    prepared = []
    for specified in plan.models:
        resolved = resolve(specified, kind=plan.kind)
        tokeniser = tokenisers.of(resolved)
        entry = Entry(
            name=resolved.model.name,
            source=_public(specified),
            coords=resolved.model.coords(),
            settings=_settings(plan, resolved, tokeniser) | {"backend": engine.name},
            stated=tuple(specified.coords()),
            base_said_by=resolved.base_said_by,
            n_tokens=_n_tokens(plan, tokeniser),
        )
        prepared.append(Prepared(resolved=resolved, entry=entry, tokenisers=tokenisers))
    return _with_last_bases(prepared)


def _n_tokens(plan: Plan, tokeniser: Tokeniser) -> tuple[int, ...] | None:
    """Count each word's tokens after the first prompt; prompts hardly differ in that."""
    if plan.words is None:
        return None
    prompt = str(plan.prompts.table["text"].iloc[0])
    if plan.kind == "logprob":
        sequences, first = tokeniser.targets(prompt, plan.words)
        return tuple(len(ids) - int(n) for ids, n in zip(sequences, first, strict=True))
    return tuple(tokeniser.n_tokens(prompt, plan.words))


def _with_last_bases(prepared: Sequence[Prepared]) -> list[Prepared]:
    """Where a file names a reward model as the base, take what lies below that."""
    models = [*read_models("christian2026-rms"), *(one.resolved.model for one in prepared)]
    known = {name: m.base or "" for m in models for name in (m.name, m.source)}
    made = []
    for one in prepared:
        entry = one.entry
        if "base" in entry.coords and "base" not in entry.stated:
            base = followed(str(entry.coords["base"]), known)
            entry = replace(entry, coords={**entry.coords, "base": base})
        made.append(replace(one, entry=entry))
    return made


def _settings(plan: Plan, resolved: Resolved, tokeniser: Tokeniser) -> dict[str, Any]:
    """Give what a model's scores depend on; the keys are words for error messages."""
    model, source = resolved.model, resolved.source
    config = source.folder / "config.json"
    head = source.head
    rewards = plan.kind == "reward"
    return {
        "revision": resolved.commit or model.revision,
        # Before the weights, whose hash takes it in.
        "configuration": sha256(config) if config.exists() else None,
        "weights": source.weights_sha256,
        # Before the tokenizer, whose hash takes in what a plain template leaves to it.
        "template": tokeniser.template_sha256,
        "tokenizer": tokeniser.sha256,
        "dtype": source.dtype,
        "head": (
            None
            if not rewards
            else head
            if isinstance(head, str)
            else f"{head.__module__}.{getattr(head, '__qualname__', type(head).__qualname__)}"
        ),
        "label": source.label if rewards else None,
        "read": model.read if rewards else None,
    }


def _public(model: Model) -> str:
    """Name where a model came from; of a path only the end, which says nothing of the user."""
    path = Path(model.source).expanduser()
    return path.name if path.exists() else model.source
