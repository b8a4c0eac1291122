"""Score models: ``valuebias.score(models)``."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, overload

import xarray as xr

from valuebias._core.atomic import probe
from valuebias.backends import memory
from valuebias.backends.base import Backend
from valuebias.backends.registry import get_backend
from valuebias.errors import ValueBiasError, ValueBiasWarning, shown
from valuebias.models import bases
from valuebias.models.references import references_of
from valuebias.scoring import cluster
from valuebias.scoring.cluster_client import check_client
from valuebias.scoring.compute import NO_TOKENS, Batch, Conversations, Runner, loaded
from valuebias.scoring.keeping import InMemory, OnDisk
from valuebias.scoring.labels import LabelWriters, Places, Together, together, with_labels
from valuebias.scoring.prepare import PreparedModel, check_kind, prepare, shared
from valuebias.scoring.progress import ScoringProgress, scoring_progress
from valuebias.scoring.records import run_record
from valuebias.scoring.references import (
    Against,
    check_not_its_own,
    check_same_ids,
    reference_request,
    with_reference,
)
from valuebias.scoring.request import Block, Kind, ScoringRequest, Words, make_request
from valuebias.scoring.served import warn_served_alike
from valuebias.scoring.sharing import ScoringShard, check_shard
from valuebias.scoring.verdicts import with_verdicts_checked

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["How", "ScoringProgress", "score", "scored", "scoring_progress"]

Store = str | PathLike[str]


class How(TypedDict):
    """How a run is done, which no score depends on."""

    client: Client | None
    batch_tokens: int | None
    progress: bool


@overload
def score(
    models: Any,
    *,
    prompts: Any = ...,
    lexicon: Words | None = ...,
    kind: Kind = ...,
    backend: str | type[Backend] | Backend = ...,
    store: Store,
    shard: tuple[int, int],
    client: Client | None = ...,
    judge: Any = ...,
    pooling: str = ...,
    tokens_as: str = ...,
    batch_tokens: int | None = ...,
    trust_remote_code: bool = ...,
    progress: bool = ...,
) -> ScoringShard: ...


@overload
def score(
    models: Any,
    *,
    prompts: Any = ...,
    lexicon: Literal["vocabulary"],
    kind: Kind = ...,
    backend: str | type[Backend] | Backend = ...,
    store: Store | None = ...,
    client: Client | None = ...,
    judge: Any = ...,
    pooling: str = ...,
    tokens_as: str = ...,
    batch_tokens: int | None = ...,
    trust_remote_code: bool = ...,
    progress: bool = ...,
) -> xr.DataTree: ...


@overload
def score(
    models: Any,
    *,
    prompts: Any = ...,
    lexicon: Words | None = ...,
    kind: Kind = ...,
    backend: str | type[Backend] | Backend = ...,
    store: Store | None = ...,
    client: Client | None = ...,
    judge: Any = ...,
    pooling: str = ...,
    tokens_as: str = ...,
    batch_tokens: int | None = ...,
    trust_remote_code: bool = ...,
    progress: bool = ...,
) -> xr.Dataset: ...


@overload
def score(
    models: Any,
    *,
    prompts: Any = ...,
    lexicon: Words | None = ...,
    kind: Kind = ...,
    backend: str | type[Backend] | Backend = ...,
    store: Store | None = ...,
    shard: tuple[int, int] | None,
    client: Client | None = ...,
    judge: Any = ...,
    pooling: str = ...,
    tokens_as: str = ...,
    batch_tokens: int | None = ...,
    trust_remote_code: bool = ...,
    progress: bool = ...,
) -> xr.Dataset | xr.DataTree | ScoringShard: ...


def score(
    models: Any,
    *,
    prompts: Any = "superlatives",
    lexicon: Words | None = None,
    kind: Kind = "reward",
    backend: str | type[Backend] | Backend = "torch",
    store: Store | None = None,
    shard: tuple[int, int] | None = None,
    client: Client | None = None,
    judge: Any = None,
    pooling: str = "sum",
    tokens_as: str = "text",
    batch_tokens: int | None = None,
    trust_remote_code: bool = False,
    progress: bool = True,
) -> xr.Dataset | xr.DataTree | ScoringShard:
    """Score words as answers to prompts, with reward models or language models.

    Every conversation is rendered and tokenised whole; what conversations share is computed once.

    Parameters
    ----------
    models : Model, str, path, mapping, DataFrame, or sequence of these
        What :func:`valuebias.read_models` takes: a hub id, a folder, a GGUF file, a YAML or CSV
        table, the name of a bundled table.
    prompts : str, path, PromptSet, Factorial, DataFrame or mapping
        What :func:`valuebias.prompts` takes.
    lexicon : str, path, Lexicon, DataFrame, mapping or sequence of str, optional
        What :func:`valuebias.lexicon` takes (agency–communion if not given); or a sequence of words
        without categories; or ``"vocabulary"``: every token of each model's vocabulary.
    kind : {"reward", "logprob", "implicit", "judged"}
        ``"reward"``: the reward of the conversation in which the word is the answer.
        ``"logprob"``: the log-prob of the word as the answer, in nats. ``"implicit"``: the implicit
        reward of a policy, such as DPO trains, β Σ (log π − log π_ref) over the word's tokens; each
        model has a `reference`, and may have a `beta` (:class:`valuebias.Model`). ``"judged"``: the
        verdict of a language model on the word as the answer, for which it is asked by a `judge`.
    backend : str, type of Backend or Backend
        A name that :func:`valuebias.backends.backend_names` gives, or a backend itself, which may
        have options.
    store : str or path, optional
        A folder that ends in ``.zarr``, written as the work goes on. If it is there, what it lacks
        is added: the rest of an interrupted run, or further models. :func:`valuebias.read` (for
        vocabularies :func:`valuebias.read_vocabulary`) reads it at any time. Log-probs of policies'
        references are kept beside it, ``scores.references.zarr`` beside ``scores.zarr``.
    shard : pair of int, optional
        ``(i, n)``: score the i-th of n parts only, i from 1, into a `store` of its own, so that
        several processes or machines do one request together. All are given the same request, and
        :func:`valuebias.merge` puts their stores together. Which part is whose depends on the
        request alone; only the weights of models in it are needed. References of policies are
        scored by each shard for its own part.
    client : distributed.Client, optional
        A client of a Dask cluster, whose workers compute; this process alone writes the store. A
        worker keeps one model loaded. What a worker that was killed had is computed again by the
        others. Workers have the same versions, and see models' files under the same paths. Needs
        ``pip install "valuebias[cluster]"``.
    judge : str, path, Judge or mapping, optional
        Of kind "judged": what :func:`valuebias.judge` takes, such as ``"rating"``. The score is
        made of the log-probs of its verdicts, which the variable ``token_logprob`` keeps, one a
        verdict (coord ``verdict``); nothing is generated.
    pooling : {"sum", "mean"}
        How the log-probs of a word's several tokens, or for policies their log-ratios, become its
        score. Each log-prob is kept in the variable ``token_logprob``.
    tokens_as : {"text", "ids"}
        Rewards of whole vocabularies: score the text that a token stands for (as a user would write
        it), or put the token's id into the conversation as it is, which no text may give.
    batch_tokens : int, optional
        How many tokens a pack may have; by default what the backend found best. Halved where memory
        runs out.
    trust_remote_code : bool, default False
        Whether a table of models in a file may ask for the code that comes with a model to be run,
        as :func:`valuebias.read_models` takes it.
    progress : bool, default True
        Show progress on standard error.

    Returns
    -------
    xarray.Dataset, xarray.DataTree or ScoringShard
        Scores in the "valuebias/1" contract. The coord ``n_tokens`` on response is how many tokens
        a word takes in its conversation (those that are not there whatever the answer; for
        log-probs those that the score is made of), counted after the first prompt: the mean over
        models. For vocabularies a tree with a group per model, as :func:`valuebias.read_vocabulary`
        gives. With `shard`, what was done, since a part of the scores is no dataset.

    Raises
    ------
    ValueBiasError
        If a model, prompt, word or setting is not as it should be; a model cannot be found or run;
        scores come out infinite or NaN; the store was made with other settings or cannot be
        written; or `client` is not connected, has no workers for half a minute, or workers with
        other versions. What was finished stays in the store.

    Warns
    -----
    ValueBiasWarning
        If the base of some of several models is not known, neither from what is given nor from
        their files; memory ran out and packs were made smaller; or a judge leaves more than a tenth
        of the probability, on average, for other tokens than its verdicts.

    Notes
    -----
    A store may be interrupted at any instant: the same call goes on where it stopped, and the
    scores are the same to the last bit as without the interruption. What a model is (family, base
    and so on) may be corrected or added at any time: give it, and run the same call again.

    Examples
    --------
    >>> import valuebias
    >>> scores = valuebias.score("models.yaml", store="scores.zarr")  # doctest: +SKIP
    >>> valuebias.score("org/model", kind="rewards")
    Traceback (most recent call last):
    ...
    valuebias.errors.ValueBiasError: kind is 'rewards'. Did you mean 'reward'? Known: ...
    """
    request = make_request(
        models,
        prompts=prompts,
        lexicon=lexicon,
        kind=kind,
        judge=judge,
        pooling=pooling,
        tokens_as=tokens_as,
        trust_remote_code=trust_remote_code,
        batch_tokens=batch_tokens,
    )
    how: How = {"client": client, "batch_tokens": batch_tokens, "progress": progress}
    return scored(request, backend=backend, store=store, shard=shard, how=how)


def scored(
    request: ScoringRequest,
    *,
    backend: str | type[Backend] | Backend,
    store: Store | None,
    shard: tuple[int, int] | None,
    how: How,
) -> xr.Dataset | xr.DataTree | ScoringShard:
    """Do what a request asks for; see :func:`score`."""
    client = how["client"]
    part = None if shard is None else check_shard(shard)
    engine = get_backend(backend)
    check_kind(request, engine)
    request = with_labels(request, engine)
    if client is not None:
        check_client(client, engine)
    if part is not None:
        index, n = part
        if store is None:
            raise ValueBiasError(
                f"Shard {index} of {n} has no store, and shards are put together from their "
                f'stores. Give it one of its own, such as store="shards/{index}.zarr".'
            )
        request = shared(request, engine, index, n)
    path = None if store is None else _path(store)
    keeper = _keeper(path, request)
    prepared = prepare(request, engine, kept=store is not None)
    with _naming_store(store):
        against: dict[str, Against] = {}
        if request.kind == "implicit":
            prepared, against = _held_to(path, keeper, request, engine, prepared, how)
        done = _fill(keeper, request, engine, prepared, against, **how)
    if store is not None and request.share is not None:
        n_blocks, n_scores = len(done), sum(block.pairs for block in done)
        return ScoringShard(Path(store), request.share.index, request.share.n, n_blocks, n_scores)
    return with_verdicts_checked(keeper.scores(), stacklevel=3)


def _keeper(path: Path | None, request: ScoringRequest) -> InMemory | OnDisk:
    return InMemory(request) if path is None else OnDisk(path, request)


def _held_to(
    path: Path | None,
    keeper: InMemory | OnDisk,
    request: ScoringRequest,
    engine: Backend,
    policies: Sequence[PreparedModel],
    how: How,
) -> tuple[list[PreparedModel], dict[str, Against]]:
    """Score what policies are held to, as far as it is needed; each reference once."""
    asked = reference_request(request)
    named = references_of(request.models)
    references = {model.name: model for model in prepare(asked, engine, kept=path is not None)}
    prepared = []
    for policy in policies:
        reference = references[named[policy.name].name]
        check_same_ids(request, policy, reference)
        prepared.append(with_reference(policy, reference))
        check_not_its_own(prepared[-1])
    # A store that was made otherwise is refused before any work is done.
    entries = [model.entry for model in prepared]
    with keeper.opened(entries):
        todo = [m for m in prepared if keeper.scores_of(m.entry, NO_TOKENS).missing()]
    needed = [references[name] for name in dict.fromkeys(model.reference for model in todo)]
    if not needed:
        return prepared, {}
    beside = None if path is None else path.with_suffix(".references.zarr")
    reference_keeper = _keeper(beside, asked)
    _fill(reference_keeper, asked, engine, needed, {}, warn=False, **how)
    with warnings.catch_warnings():
        # That a shard has not all of them: it needs no others.
        warnings.simplefilter("ignore", ValueBiasWarning)
        tokens = reference_keeper.scores()["token_logprob"]
    # One array a reference, however many policies have it.
    kept = {one.name: tokens.sel(model=one.name).to_numpy() for one in needed}
    return prepared, {
        model.name: Against(kept[model.reference], float(model.resolved.model.beta))
        for model in todo
    }


def _path(store: Store) -> Path:
    if not isinstance(store, str | PathLike):
        raise ValueBiasError(
            f"store is {shown(store)}; expected a path that ends in .zarr, such as 'scores.zarr'."
        )
    path = Path(store)
    if path.suffix != ".zarr":
        raise ValueBiasError(
            f"The store {str(path)!r} ends in {path.suffix!r}; expected '.zarr'. Other formats "
            "cannot be filled bit by bit: use valuebias.write for them afterwards."
        )
    if not path.exists():
        probe(path, folder=True)
    return path


@contextmanager
def _naming_store(store: Store | None) -> Iterator[None]:
    """Name the store in an interruption: it keeps all finished scores."""
    try:
        yield
    except KeyboardInterrupt as stopped:
        if store is not None and Path(store).exists():
            stopped.add_note(
                f"What was finished is kept in {str(store)!r}; run the same call again to go on."
            )
        raise


def _fill(
    keeper: InMemory | OnDisk,
    request: ScoringRequest,
    engine: Backend,
    prepared: Sequence[PreparedModel],
    against: Mapping[str, Against],
    *,
    client: Client | None,
    batch_tokens: int | None,
    progress: bool,
    warn: bool = True,
) -> list[Block]:
    """Score what is missing; give all blocks that are there then."""
    entries = [model.entry for model in prepared]
    groups = together(prepared, engine)
    how: dict[str, Any] = {"batch_tokens": batch_tokens, "progress": progress}
    with keeper.opened(entries), memory.set_aside():
        if warn:
            said = {model.name: model.entry.coords for model in prepared}
            said |= {entry["name"]: entry["coords"] for entry in keeper.stored()}
            bases.warn(bases.stated(said), stacklevel=4)
            warn_served_alike(entries, keeper.stored(), stacklevel=4)
        if client is not None:
            return cluster.fill(client, keeper, request, engine, groups, against, **how)
        return _fill_here(keeper, request, engine, groups, against, **how)


def _fill_here(
    keeper: InMemory | OnDisk,
    request: ScoringRequest,
    engine: Backend,
    groups: Sequence[Together],
    against: Mapping[str, Against],
    *,
    batch_tokens: int | None,
    progress: bool,
) -> list[Block]:
    """Score model by model in this process."""
    everything: list[Block] = []
    total = sum(group.first.weight * group.first.pairs(request) for group in groups)
    with (
        scoring_progress(shown=progress, n_models=len(groups), work=total) as models_progress,
        ExitStack() as finishing,
    ):
        finishing.callback(engine.release)
        for group in groups:
            places = Places(group, keeper, request)
            everything += places.blocks
            n_prompts = len(request.prompts)
            if request.share is not None:
                n_prompts = request.share.prompts(group.first.name)
            models_progress.model(
                group.name,
                pairs=places.pairs,
                todo=sum(block.pairs for block in places.todo),
                n_prompts=n_prompts,
                weight=group.first.weight,
            )
            if places.todo:
                source = Conversations(request, group.first.tokenizer(), places.vocabulary)
                with (
                    loaded(
                        engine, group.source, batch_tokens=batch_tokens, width=group.width
                    ) as runner,
                    closing(_batches(source, places.todo)) as batches,
                ):
                    places.note_run(run_record(runner))
                    memory.release()
                    _work_off(batches, runner, places.writers(against), models_progress)
            models_progress.end()
    return everything


def _work_off(
    batches: Iterable[Batch], runner: Runner, finish: LabelWriters, models_progress: ScoringProgress
) -> None:
    for batch in batches:
        # Where conversations repeat, one computation counts for several pairs.
        each = batch.block.pairs / max(1, len(batch.sequences))

        def advance(done: int, each: float = each) -> None:
            models_progress.advance(int(done * each))

        finish(batch, runner.run(batch, advance))
        models_progress.finish(batch.block.pairs)
        memory.trim()


def _batches(source: Conversations, todo: Sequence[Block]) -> Generator[Batch]:
    """Tokenise each block while the one before it is computed."""
    with ThreadPoolExecutor(max_workers=1) as executor:
        waiting = executor.submit(source.batch, todo[0])
        for block in todo[1:]:
            batch = waiting.result()
            waiting = executor.submit(source.batch, block)
            yield batch
        yield waiting.result()
