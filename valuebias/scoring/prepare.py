"""Prepare models for scoring: resolve them, and record what their scores depend on."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from valuebias._core.arrays import Integers
from valuebias._core.provenance import sha256
from valuebias.backends.base import Backend
from valuebias.errors import ValueBiasError
from valuebias.models.bases import followed
from valuebias.models.fingerprint import Unknowable, fingerprint
from valuebias.models.reading import Reading
from valuebias.models.resolve import Resolved, resolve
from valuebias.models.spec import Model, read_models
from valuebias.models.tokenizer import Tokenizer
from valuebias.models.weights import companions, digest, digest_files
from valuebias.scoring.request import ScoringRequest
from valuebias.scoring.store import Entry

__all__ = ["PreparedModel", "Tokenizers", "prepare", "reading_of"]

_SAMPLED = 8  # words whose tokens are compared with a server's


class Tokenizers:
    """Loads tokenizers and keeps the last one: they are slow to load and large."""

    def __init__(self) -> None:
        self._last: tuple[str, Tokenizer] | None = None

    def of(self, resolved: Resolved) -> Tokenizer:
        """Return a model's tokenizer."""
        name = resolved.model.name
        if self._last is None or self._last[0] != name:
            self._last = None
            self._last = (name, Tokenizer(resolved))
        return self._last[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedModel:
    """A model that is ready to be scored."""

    resolved: Resolved  # where its files are, and what its configuration says
    entry: Entry  # what a store says of it
    tokenizers: Tokenizers = field(repr=False)
    reference: str = ""  # of a policy: the name of the model that it is scored against

    @property
    def name(self) -> str:
        """Its label."""
        return self.entry.name

    @property
    def weight(self) -> float:
        """The work per pair, roughly: the number of parameters."""
        return float(self.resolved.model_config.n_params or 1)

    def pairs(self, request: ScoringRequest) -> int:
        """Count the scores, for vocabularies roughly."""
        words = (
            self.resolved.model_config.vocab_size if request.words is None else len(request.words)
        )
        return len(request.prompts) * int(words)

    def tokenizer(self) -> Tokenizer:
        """Return its tokenizer."""
        return self.tokenizers.of(self.resolved)


def prepare(request: ScoringRequest, engine: Backend, *, kept: bool = False) -> list[PreparedModel]:
    """Resolve the models of a request, and hash what their scores depend on.

    All of them before the first is scored, so that a mistake in the last is not found hours later.
    """
    tokenizers = Tokenizers()
    prepared = []
    for specified in request.models:
        resolved = resolve(specified, kind=request.measured, with_weights=engine.weights_here)
        tokenizer = tokenizers.of(resolved)
        served = engine.served(resolved.source)
        if served is not None:
            engine.check_tokens(resolved.source, _samples(request, tokenizer))
        path = Path(specified.location).expanduser()
        reading = reading_of(request, tokenizer) if request.kind == "reward" else None
        coords = resolved.model.coords()
        if reading is not None:
            coords["read_at"] = reading.position + reading.exceptions
            coords["read_token"] = reading.token
        entry = Entry(
            name=resolved.model.name,
            # Of a path only the end, which does not reveal the user.
            source=path.name if path.exists() else specified.location,
            coords=coords,
            settings={
                **_settings(request, resolved, tokenizer, kept=kept),
                "prefix": _prefix(request, tokenizer),
                "backend": engine.name,
                # Stores of engines that read the weights are as they were.
                **({} if served is None else {"model served": served}),
            },
            stated=tuple(specified.coords()),
            base_said_by=resolved.base_said_by,
            read_said_by=reading.said_by if reading else "",
            n_tokens=_n_tokens(request, tokenizer),
        )
        prepared.append(PreparedModel(resolved=resolved, entry=entry, tokenizers=tokenizers))
    return _with_last_bases(prepared)


def _samples(request: ScoringRequest, tokenizer: Tokenizer) -> dict[str, Integers]:
    """Tokenise the first prompt and some words by themselves."""
    texts = [str(request.prompts.table["text"].iloc[0]), *(request.words or ())[:_SAMPLED]]
    return {text: tokenizer.plain(text) for text in texts}


def reading_of(request: ScoringRequest, tokenizer: Tokenizer) -> Reading:
    """Find where rewards are read, after the first prompt: prompts do not differ in that."""
    prompt = str(request.prompts.table["text"].iloc[0])
    return tokenizer.reading(prompt, *([] if request.words is None else [request.words]))


def _n_tokens(request: ScoringRequest, tokenizer: Tokenizer) -> tuple[int, ...] | None:
    """Count each word's tokens after the first prompt; prompts hardly differ in that."""
    if request.words is None:
        return None
    prompt = str(request.prompts.table["text"].iloc[0])
    if request.measured == "logprob":
        sequences, first = tokenizer.targets(prompt, request.words)
        return tuple(len(ids) - int(n) for ids, n in zip(sequences, first, strict=True))
    return tuple(tokenizer.n_tokens(prompt, request.words))


def _prefix(request: ScoringRequest, tokenizer: Tokenizer) -> str | None:
    """Describe where words begin, unless that is at the end of a generation prompt."""
    # For rewards, too: a template that loses text must be refused before any work is done.
    before = tokenizer.prefix(str(request.prompts.table["text"].iloc[0]))
    return before.how if request.measured == "logprob" and before.remarkable else None


def _with_last_bases(prepared: Sequence[PreparedModel]) -> list[PreparedModel]:
    """Where a file names a reward model as the base, take the base of that."""
    models = [*read_models("christian2026-rms"), *(one.resolved.model for one in prepared)]
    known = {name: m.base or "" for m in models for name in (m.name, m.location)}
    with_bases = []
    for one in prepared:
        entry = one.entry
        if "base" in entry.coords and "base" not in entry.stated:
            base = followed(str(entry.coords["base"]), known)
            entry = replace(entry, coords={**entry.coords, "base": base})
        with_bases.append(replace(one, entry=entry))
    return with_bases


def _settings(
    request: ScoringRequest, resolved: Resolved, tokenizer: Tokenizer, *, kept: bool
) -> dict[str, Any]:
    """Return what a model's scores depend on; the keys are words for error messages."""
    model, source = resolved.model, resolved.source
    config = source.folder / "config.json"
    rewards = request.kind == "reward"
    return {
        "revision": resolved.commit or model.revision,
        # Before the weights and the code, whose hashes include it.
        "configuration": sha256(config) if config.exists() else None,
        # Before the tokenizer, whose hash includes the tokens that a plain template leaves to it.
        "template": tokenizer.template_sha256,
        "tokenizer": tokenizer.sha256,
        "own code": None if resolved.code is None else dict(resolved.code),
        # After the code, which its hash includes.
        "weights": source.weights_sha256,
        "dtype": source.dtype,
        "head": _head(model, kept) if rewards else None,
        "label": source.label if rewards else None,
        "reward_at": resolved.rule.setting() if rewards else None,
        # Last, because these include what the others name.
        "set of files": _files(source.folder, resolved.tokenizer),
    }


def _files(folder: Path, tokenizer: Path) -> str:
    """Hash the files that the configuration and the tokenizer are loaded from."""
    digests = digest_files(folder, companions(folder))
    if tokenizer == folder:
        return digests
    if tokenizer.is_file():
        return f"{digests} {digest([tokenizer])}"
    return f"{digests} {digest_files(tokenizer, companions(tokenizer))}"


def _head(model: Model, kept: bool) -> str:
    """Name the head; a function by a hash of all that it computes with."""
    head = model.head
    if isinstance(head, str):
        return head
    module = getattr(head, "__module__", "") or type(head).__module__
    name = f"{module}.{getattr(head, '__qualname__', type(head).__qualname__)}"
    try:
        return f"{name} {fingerprint(head)}"
    except Unknowable as error:
        if kept:
            raise ValueBiasError(
                f"The head of {model.name!r}, {name}, cannot be told from another one: {error}. A "
                "store would give its scores for those of another head. Score without store=, "
                "and keep the result by valuebias.write; or give a head that holds its weights "
                "itself: a function of tensors and numbers, or a torch.nn.Module."
            ) from error
        # So that no store ever takes it for another one.
        return f"{name}, not to be told from another ({error}), {uuid.uuid4().hex}"
