"""Prepare models for scoring: resolve them, and record what their scores depend on."""

from __future__ import annotations

import uuid
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from valuebias._core.arrays import Integers
from valuebias._core.provenance import sha256
from valuebias.backends.base import Backend
from valuebias.errors import ValueBiasError
from valuebias.instruments import Judge
from valuebias.models.bases import followed
from valuebias.models.fingerprint import Unknowable, fingerprint
from valuebias.models.labels import label_coords
from valuebias.models.reading import Reading
from valuebias.models.resolve import Resolved, resolve
from valuebias.models.spec import Model, path_of, read_models
from valuebias.models.tokenizer import Tokenizer
from valuebias.models.verdicts import check_no_markup, response_tokens, verdict_targets
from valuebias.models.weights import companions, digest, digest_files
from valuebias.scoring.request import ScoringRequest, block_shape
from valuebias.scoring.served import check_served_apart
from valuebias.scoring.sharing import Share, Work
from valuebias.scoring.store import Entry

__all__ = [
    "LookedInto",
    "PreparedModel",
    "Tokenizers",
    "by_base",
    "check_kind",
    "checkpoint_of",
    "first_asked",
    "look_into",
    "prepare",
    "reading_of",
    "shared",
]

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
        n_prompts = len(request.prompts)
        if request.share is not None:
            n_prompts = request.share.prompts(self.name)
        return n_prompts * int(words)

    def tokenizer(self) -> Tokenizer:
        """Return its tokenizer."""
        return self.tokenizers.of(self.resolved)


@dataclass(frozen=True, slots=True, kw_only=True)
class LookedInto:
    """A model that nothing known speaks against, before any work is done."""

    resolved: Resolved
    tokenizers: Tokenizers = field(repr=False)
    served: str | None  # what a server calls it
    reading: Reading | None  # where its reward is read
    prefix: str | None  # where words begin, where that is remarkable
    n_tokens: tuple[int, ...] | None  # of each word

    @property
    def name(self) -> str:
        """Its label."""
        return self.resolved.model.name

    def tokenizer(self) -> Tokenizer:
        """Return its tokenizer."""
        return self.tokenizers.of(self.resolved)


def look_into(
    request: ScoringRequest,
    specified: Model,
    engine: Backend,
    tokenizers: Tokenizers,
    *,
    with_weights: bool,
    hashed: bool = True,
    download: bool = True,
    ask: bool = True,
) -> LookedInto:
    """Resolve a model, and refuse what an engine, a server, a judge or a template cannot do with.

    ``ask`` a server, where one has the model.
    """
    resolved = resolve(
        specified,
        kind=request.measured,
        with_weights=with_weights,
        adapted=engine.adapters,
        hashed=hashed,
        download=download,
    )
    engine.check(resolved.source)
    tokenizer = tokenizers.of(resolved)
    first_prompt, _ = request.first()
    mark = resolved.model.step_mark if request.kind == "reward" else None
    source = tokenizer.with_step_token(resolved.source, mark, first_prompt)
    resolved = replace(resolved, source=source)
    served = engine.served(resolved.source) if ask else None
    if served is not None:
        engine.check_tokens(resolved.source, _samples(request, tokenizer))
    if request.judge is not None:
        _check_judge(request, request.judge, tokenizer)
    if request.along:
        _check_along(resolved)
    return LookedInto(
        resolved=resolved,
        tokenizers=tokenizers,
        served=served,
        reading=reading_of(request, tokenizer) if request.kind == "reward" else None,
        prefix=_prefix(request, tokenizer),
        n_tokens=_n_tokens(request, tokenizer),
    )


def check_kind(request: ScoringRequest, engine: Backend) -> None:
    """Refuse an engine that does not compute what is to be measured."""
    if request.measured not in engine.kinds:
        raise ValueBiasError(
            f"The backend {engine.name!r} does not compute {request.measured!r} scores, only "
            f"{', '.join(sorted(engine.kinds))}. Choose another backend."
        )


def prepare(request: ScoringRequest, engine: Backend, *, kept: bool = False) -> list[PreparedModel]:
    """Resolve the models of a request, and hash what their scores depend on.

    All of them before the first is scored, so that a mistake in the last is not found hours later.
    Of a shard those that it has a part of: no machine needs the weights of the others.
    """
    tokenizers = Tokenizers()
    prepared = []
    share = request.share
    own = {model.name for model in request.models} if share is None else set(share.names())
    for specified in request.models:
        if specified.name not in own:
            continue
        looked = look_into(request, specified, engine, tokenizers, with_weights=engine.weights_here)
        resolved, reading = looked.resolved, looked.reading
        coords = resolved.model.coords() | label_coords(
            resolved, checkpoint_of(specified, resolved.source.weights_sha256)
        )
        if reading is not None:
            coords["read_at"] = reading.position + reading.exceptions
            coords["read_token"] = reading.token
        entry = Entry(
            name=resolved.model.name,
            source=_place(specified),
            coords=coords,
            settings={
                **_settings(request, resolved, looked.tokenizer(), kept=kept),
                "prefix": looked.prefix,
                "backend": engine.name,
                # Stores of engines that read the weights are as they were.
                **({} if looked.served is None else {"model served": looked.served}),
            },
            stated=tuple(specified.coords()),
            base_said_by=resolved.base_said_by,
            read_said_by=reading.said_by if reading else "",
            n_tokens=looked.n_tokens,
        )
        prepared.append(PreparedModel(resolved=resolved, entry=entry, tokenizers=tokenizers))
    running: dict[str, Model] = {}
    for one in prepared:
        check_served_apart(one.entry.settings.get("model served"), one.resolved.model, running)
    found = {one.name: one.resolved.model for one in prepared}
    # Of the others as well, because a base may be followed through them.
    models = [
        found.get(model.name)
        or resolve(model, kind=request.measured, with_weights=False, adapted=engine.adapters).model
        for model in request.models
    ]
    return _sharing(_with_last_bases(prepared, models))


def shared(request: ScoringRequest, engine: Backend, index: int, n: int) -> ScoringRequest:
    """Give one shard's part of a request. Configurations and tokenizers are read, no weights."""
    n_prompts = len(request.prompts)
    work = []
    passes: dict[Model, str] = {}
    for model in request.models:
        alike = replace(model, name=model.location, label=None)
        several = engine.several_labels and request.kind == "reward" and model.label is not None
        first = passes.setdefault(alike, model.name) if several else model.name
        resolved = resolve(
            model, kind=request.measured, with_weights=False, adapted=engine.adapters
        )
        words = 1 if request.words is None else len(request.words)
        if request.words is None and request.rows:
            each = block_shape(request, len(Tokenizer(resolved).vocabulary()))[0]
        elif request.words is None:
            each, words = 1, int(resolved.model_config.vocab_size)
        else:
            each = block_shape(request, words)[0]
        cost = max(1, int(resolved.model_config.n_params)) * words
        along = "" if first == model.name else first
        work.append(Work(name=model.name, prompts=each, cost=cost, along=along))
    share = Share(index=index, n=n, n_prompts=n_prompts, work=tuple(work))
    return replace(request, share=share)


def _place(model: Model) -> str:
    """Say where a model is; of a path only the end, which does not reveal the user."""

    def end(location: str) -> str:
        path = path_of(location)
        return path.name if path.exists() else location

    if model.adapter is None:
        return end(model.location)
    at = "" if model.adapter_revision is None else f"@{model.adapter_revision}"
    return f"{end(model.location)} + {end(model.adapter)}{at}"


def checkpoint_of(model: Model, sha256: str = "") -> str:
    """Name a checkpoint, of which several labels may be scored.

    Of a folder its own name with a part of its weights' hash: many end in "final", and labels of
    different ones must not count as those of one model.
    """
    if path_of(model.location).exists() and sha256:
        return f"{_place(model)} ({sha256[:8]})"
    return _place(model) + ("" if model.revision is None else f"@{model.revision}")


def _sharing(prepared: Sequence[PreparedModel]) -> list[PreparedModel]:
    """Mark models that differ in their adapters alone, so that their base is loaded once."""
    marked = list(prepared)
    for group in by_base(prepared):
        shared = len(group) > 1 and any(one.resolved.adapter is not None for _, one in group)
        for i, one in group if shared else ():
            source = replace(one.resolved.source, shared=True)
            marked[i] = replace(one, resolved=replace(one.resolved, source=source))
    return marked


def by_base(prepared: Sequence[PreparedModel]) -> list[list[tuple[int, PreparedModel]]]:
    """Group models, with their numbers, by what is loaded for them."""
    groups: dict[Hashable, list[tuple[int, PreparedModel]]] = {}
    for i, one in enumerate(prepared):
        groups.setdefault(one.resolved.source.loaded_alike(), []).append((i, one))
    return list(groups.values())


def _samples(request: ScoringRequest, tokenizer: Tokenizer) -> dict[str, Integers]:
    """Tokenise the first prompt and some words by themselves."""
    prompt, answers = request.first()
    texts = [prompt, *answers[:_SAMPLED]]
    return {text: tokenizer.plain(text) for text in texts}


def reading_of(request: ScoringRequest, tokenizer: Tokenizer) -> Reading:
    """Find where rewards are read, after the first prompt: prompts do not differ in that."""
    prompt, answers = request.first()
    return tokenizer.reading(prompt, *([] if request.words is None else [answers]))


def first_asked(request: ScoringRequest) -> str:
    """Give what the user says first: a prompt, or a message with it to a judge."""
    prompt, answers = request.first()
    if request.judge is None:
        return prompt
    return request.judge.messages(prompt, (answers or ("",))[0])[0]


def _check_along(resolved: Resolved) -> None:
    """Refuse models of whose rewards there is not one at each token."""
    name, source = resolved.model.name, resolved.source
    why = ""
    if source.pair:
        why = "is an encoder, to which every token changes what it reads at all others"
    elif source.step_token is not None:
        why = "rates steps, at the marks after them"
    if why:
        raise ValueBiasError(
            f"The model {name!r} {why}, so that it has no reward at each token of an answer. Leave "
            "read='all' out for it."
        )


def _check_judge(request: ScoringRequest, judge: Judge, tokenizer: Tokenizer) -> None:
    """Refuse verdicts and texts that a model does not read as they are meant."""
    list(verdict_targets(tokenizer, judge, [first_asked(request)]))
    texts = [
        ("the template of the judge", judge.template),
        ("its opening", judge.opening),
        ("against", judge.against or ""),
    ]
    if request.contrasts is None:
        prompts = request.prompts.table["text"]
        texts += [(f"the prompt {name!r}", str(text)) for name, text in prompts.items()]
        texts += [("a word", word) for word in request.words or ()]
    else:
        rows = request.contrasts.table
        for column in ("prompt", "response"):
            texts += [
                (f"the {column} of the variant {variant!r} of the item {item!r}", text)
                for (item, variant), text in zip(rows.index, rows[column], strict=True)
            ]
    check_no_markup(tokenizer, texts)


def _n_tokens(request: ScoringRequest, tokenizer: Tokenizer) -> tuple[int, ...] | None:
    """Count each word's tokens after the first prompt; prompts hardly differ in that."""
    if request.words is None or request.contrasts is not None:
        return None
    prompt = str(request.prompts.table["text"].iloc[0])
    if request.judge is not None:
        return response_tokens(tokenizer, request.judge, prompt, request.words)
    if request.measured == "logprob":
        sequences, first = tokenizer.targets(prompt, request.words)
        return tuple(len(ids) - int(n) for ids, n in zip(sequences, first, strict=True))
    return tuple(tokenizer.n_tokens(prompt, request.words))


def _prefix(request: ScoringRequest, tokenizer: Tokenizer) -> str | None:
    """Describe where words begin, unless that is at the end of a generation prompt."""
    # For rewards, too: a template that loses text must be refused before any work is done.
    before = tokenizer.prefix(first_asked(request))
    return before.how if request.measured == "logprob" and before.remarkable else None


def _with_last_bases(
    prepared: Sequence[PreparedModel], models: Sequence[Model]
) -> list[PreparedModel]:
    """Where a file names a reward model as the base, take the base of that."""
    everyone = [*read_models("christian2026-rms"), *models]
    known = {name: m.base or "" for m in everyone for name in (m.name, m.location)}
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
    adapter = resolved.adapter
    of_base = model.revision if adapter is None or model.adapter is not None else None
    of_adapter = model.revision if model.adapter is None else model.adapter_revision
    return {
        "revision": resolved.commit or of_base,
        **(
            {} if adapter is None else {"adapter revision": adapter.checkpoint.commit or of_adapter}
        ),
        # Before the weights and the code, whose hashes include it.
        "configuration": sha256(config) if config.exists() else None,
        # Before the tokenizer, whose hash includes the tokens that a plain template leaves to it.
        "template": tokenizer.template_sha256,
        "tokenizer": tokenizer.sha256,
        "own code": None if resolved.code is None else dict(resolved.code),
        # Before the weights: of an adapter these are those of its base.
        "adapter": resolved.adapter_sha256 or None,
        # After the code, which its hash includes.
        "weights": resolved.base_sha256 or source.weights_sha256,
        "dtype": source.dtype,
        "head": _head(model, kept) if rewards else None,
        "label": source.label if rewards else None,
        "reward_at": resolved.rule.setting() if rewards else None,
        **({"steps": [model.step_mark, model.over_steps]} if rewards and model.step_mark else {}),
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
