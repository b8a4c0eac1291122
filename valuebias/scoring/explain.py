"""Say which backend scores which model, and what it takes: ``valuebias.explain(models)``.

What a backend can do is said by the backend, in the words that it refuses models with, and by the
same checks that scoring begins with; so the two cannot disagree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from valuebias._core.checks import NotInstalled
from valuebias.backends.base import Backend, Source
from valuebias.backends.machine import Machine, machine
from valuebias.backends.registry import every_backend, install_command, named_backend
from valuebias.errors import ValueBiasError
from valuebias.models.hub import NotHere
from valuebias.models.labels import asks_several, one_a_label
from valuebias.models.references import reference_of
from valuebias.models.resolve import resolve, sketch
from valuebias.models.sizes import ITEM, Size, size_of
from valuebias.models.spec import Model
from valuebias.scoring.choice import BackendChoice, gigabytes
from valuebias.scoring.prepare import LookedInto, Tokenizers, check_kind, look_into
from valuebias.scoring.references import check_same_ids, no_change, reference_request
from valuebias.scoring.request import Kind, ScoringRequest, Words, make_request
from valuebias.scoring.served import check_served_apart

__all__ = ["explain"]

_COLUMNS = ("model", "backend", "scores", "reason", "ready", "lacks", "install", "disk", "memory",
            "memory_from", "fits", "takes", "recommended", "why")  # fmt: skip
_MACHINES = (
    "Several machines, or jobs of SLURM: workers of a Dask cluster take models from one store "
    '(client=, pip install "valuebias[cluster]"), or each job scores a part into a store of its '
    "own (shard=), which valuebias.merge puts together."
)
_MORE = "How many tokens, packs and minutes it would take: valuebias.plan."


@dataclass(frozen=True, slots=True, kw_only=True)
class _Verdict:
    """Whether an engine scores a model; what is known of it."""

    scores: str
    reason: str = ""
    source: Source | None = None
    n_params: float | None = None  # by the configuration, where the weights are not here
    served: bool = False


def explain(
    models: Any,
    *,
    prompts: Any = "superlatives",
    lexicon: Words | None = None,
    kind: Kind = "reward",
    backend: str | type[Backend] | Backend | Sequence[Any] | None = None,
    judge: Any = None,
    tokens_as: str = "text",
    trust_remote_code: bool = False,
) -> BackendChoice:
    """Say which backend can score which models, what that takes, and which one to use.

    Models are put through the checks that :func:`valuebias.score` begins with. Nothing is loaded,
    downloaded or installed, and no backend need be installed: of weights the headers are read. A
    server is asked what it runs, where one answers.

    Parameters
    ----------
    models : Model, str, path, mapping, DataFrame, or sequence of these
        What :func:`valuebias.read_models` takes.
    prompts : str, path, PromptSet, Factorial, DataFrame or mapping
        What :func:`valuebias.prompts` takes.
    lexicon : str, path, Lexicon, DataFrame, mapping or sequence of str, optional
        As in :func:`valuebias.score`; ``"vocabulary"`` for every token.
    kind : {"reward", "logprob", "implicit", "judged"}
        What is to be measured.
    backend : str, type of Backend, Backend, or sequence of these, optional
        Which to look at; all that :func:`valuebias.backends.backend_names` gives if not given.
    judge : str, path, Judge or mapping, optional
        As in :func:`valuebias.score`.
    tokens_as : {"text", "ids"}
        As in :func:`valuebias.score`.
    trust_remote_code : bool, default False
        Whether a table of models in a file may ask for the code that comes with a model to be run,
        as :func:`valuebias.read_models` takes it.

    Returns
    -------
    BackendChoice
        Prints as a table of models and backends, the advice on each model, and what each takes.

    Raises
    ------
    ValueBiasError
        If there is no such backend, or a setting is not as it should be. What is wrong with one
        model is in the table.

    Notes
    -----
    A "yes" is what can be known without loading the model: that its architecture computes as it
    should is looked into when it is loaded. Memory is that of the weights alone; packs take some
    more, and an export to ONNX twice as much while it is made.

    Examples
    --------
    >>> import valuebias
    >>> choice = valuebias.explain("nowhere/my-rm", backend="torch")
    >>> choice.to_frame().loc[0, "scores"]
    'not known'
    """
    request = make_request(
        models,
        prompts=prompts,
        lexicon=lexicon,
        kind=kind,
        pooling="sum",
        judge=judge,
        tokens_as=tokens_as,
        trust_remote_code=trust_remote_code,
    )
    engines = _engines(backend)
    here = machine()
    rows: list[dict[str, Any]] = []
    # A server that does not answer is waited for once.
    missing = {id(engine): engine.available() for engine, _ in engines}
    tokenizers = Tokenizers()
    running: dict[int, dict[str, Model]] = {id(engine): {} for engine, _ in engines}
    for model in request.models:
        of_model = []
        for engine, package in engines:
            ready = missing[id(engine)] is None
            verdict = _verdict(request, model, engine, tokenizers, ready, running[id(engine)])
            row = _row(model, engine, package, verdict, missing[id(engine)], here)
            of_model.append((engine, verdict, row))
        _recommend(of_model, here)
        rows += [row for _, _, row in of_model]
    table = pd.DataFrame(rows, columns=list(_COLUMNS)).astype({"disk": float, "memory": float})
    # So that what is not known stays None beside True and False.
    table["fits"] = pd.Series([row["fits"] for row in rows], dtype=object)
    return BackendChoice(_headline(request, here), table, _notes(engines))


def _engines(backend: Any) -> list[tuple[Backend, str | None]]:
    if backend is None:
        return list(every_backend())
    several = isinstance(backend, Sequence) and not isinstance(backend, str)
    chosen = list(backend) if several else [backend]
    if not chosen:
        raise ValueBiasError("No backend is given to look at. Name one, or leave backend= out.")
    return [named_backend(one) for one in chosen]


def _verdict(
    request: ScoringRequest,
    model: Model,
    engine: Backend,
    tokenizers: Tokenizers,
    ready: bool,
    running: dict[str, Model],
) -> _Verdict:
    """Put a model through the checks that scoring begins with, as far as they can be made here."""
    why: ValueBiasError | None = None
    for with_weights in dict.fromkeys((engine.weights_here, False)):
        try:
            check_kind(request, engine)
            looked = _looked_into(request, model, engine, tokenizers, with_weights, ready)
            check_served_apart(looked.served, looked.resolved.model, running)
        except (NotHere, NotInstalled) as error:
            why = why or error
        except ValueBiasError as error:
            return _Verdict(scores="no", reason=str(error))
        else:
            source, config = looked.resolved.source, looked.resolved.model_config
            known: dict[str, Any] = {"source": source, "n_params": config.n_params}
            if why is None:
                return _Verdict(scores="yes", served=looked.served is not None, **known)
            return _Verdict(scores="likely", reason=f"Not all is known here: {why}", **known)
    try:
        source = sketch(model, kind=request.measured, adapted=engine.adapters)
        engine.check(source)
    except NotHere as error:
        more = "Its configuration would tell, which valuebias.plan downloads."
        return _Verdict(scores="not known", reason=f"{error} {more}")
    except NotInstalled as error:
        return _Verdict(scores="not known", reason=str(error))
    except ValueBiasError as error:
        return _Verdict(scores="no", reason=str(error))
    return _Verdict(scores="likely", reason=f"Not all is known here: {why}", source=source)


def _looked_into(
    request: ScoringRequest,
    model: Model,
    engine: Backend,
    tokenizers: Tokenizers,
    with_weights: bool,
    ready: bool,
) -> LookedInto:
    how: dict[str, Any] = {
        "with_weights": with_weights, "hashed": False, "download": False,
        "ask": ready and not engine.weights_here,
    }  # fmt: skip
    several = [model]
    if request.kind == "reward" and asks_several(model):
        options = {key: how[key] for key in ("with_weights", "hashed", "download")}
        resolved = resolve(model, kind="reward", adapted=engine.adapters, **options)
        several = one_a_label(model, resolved)
    looked, *_ = [look_into(request, one, engine, tokenizers, **how) for one in several]
    if request.kind != "implicit":
        return looked
    reference = look_into(
        reference_request(request), reference_of(model), engine, Tokenizers(), **how
    )
    check_same_ids(request, looked, reference)
    mine, theirs = looked.resolved.source, reference.resolved.source
    same = (*mine.loaded_alike(), mine.adapter) == (*theirs.loaded_alike(), theirs.adapter)
    if same or (looked.served is not None and looked.served == reference.served):
        raise no_change(model.name, looked.served)
    return looked


def _row(
    model: Model,
    engine: Backend,
    package: str | None,
    verdict: _Verdict,
    missing: str | None,
    here: Machine,
) -> dict[str, Any]:
    source = verdict.source
    size, memory_from = Size(), ""
    lacks, extra, takes = missing, engine.extra, ""
    if source is not None:
        lacks, extra = missing or engine.lacks(source), engine.extra_for(source)
        size, memory_from = _size(source, verdict.n_params)
        needs = engine.needs(source, location=model.location, revision=model.revision)
        takes = "\n".join([*needs, *_room(size, engine)])
    fits = None
    if engine.weights_here and size.memory is not None:
        fits = here.holds(size.memory)
    return {
        "model": model.name,
        "backend": engine.name,
        "scores": verdict.scores,
        "reason": verdict.reason,
        "ready": lacks is None,
        "lacks": lacks or "",
        "install": install_command(package, extra) if lacks else "",
        "disk": size.disk,
        "memory": size.memory,
        "memory_from": memory_from,
        "fits": fits,
        "takes": takes,
        "recommended": False,
        "why": "",
    }


def _size(source: Source, n_params: float | None) -> tuple[Size, str]:
    """Give a model's size, and what says how much memory it takes."""
    try:
        size = size_of(source)
    except ValueBiasError:
        size = Size()
    if size.memory is not None:
        return size, "weights"
    if n_params:
        return Size(size.disk, int(n_params * ITEM[source.dtype])), "configuration"
    return size, ""


def _room(size: Size, engine: Backend) -> list[str]:
    if size.disk is None or not engine.weights_here:
        return []
    return [f"The files with the weights take {gigabytes(size.disk)} on disk."]


def _recommend(of_model: Sequence[tuple[Backend, _Verdict, dict[str, Any]]], here: Machine) -> None:
    """Mark one backend: a server that runs the model, what is here, what can be installed."""
    usable = [each for each in of_model if each[1].scores in ("yes", "likely")]
    for _, verdict, row in usable:
        if verdict.served:
            row |= {"recommended": True, "why": "a server runs this model already"}
            return
    own = [(engine, row) for engine, _, row in usable if engine.weights_here]
    fitting = [(engine, row) for engine, row in own if row["fits"] is not False]
    # What is here before what is to be installed; what computes shared beginnings once first.
    fitting.sort(key=lambda each: (not each[1]["ready"], not each[0].packed))
    if fitting:
        engine, row = fitting[0]
        row |= {"recommended": True, "why": _reason(engine, row, here)}
        return
    elsewhere = [row for engine, _, row in usable if not engine.weights_here]
    if elsewhere and own:
        why = f"its weights are larger than what this machine has ({here}); start it where they fit"
        elsewhere[0] |= {"recommended": True, "why": why}
    elif own:
        why = f"it takes a machine with more memory than this one ({here})"
        own[0][1].update({"recommended": True, "why": why})
    elif elsewhere:
        elsewhere[0] |= {"recommended": True, "why": "no other backend scores it"}


def _reason(engine: Backend, row: dict[str, Any], here: Machine) -> str:
    if row["ready"]:
        parts = ["all that it takes is here"]
    elif row["install"]:
        parts = [f"it takes {row['install']}"]
    else:
        parts = [f"it can score the model, though {row['lacks'].rstrip('.')}"]
    if row["fits"]:
        on_card = any(row["memory"] <= card for card in here.cards)
        parts.append(f"the weights fit {'onto a card' if on_card else 'into memory'}")
    if engine.packed:
        parts.append("what conversations share is computed once")
    return ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1]


def _headline(request: ScoringRequest, here: Machine) -> str:
    n = len(request.models)
    return f"{request.kind} scores of {n} model{'s' if n > 1 else ''}; this machine: {here}"


def _notes(engines: Sequence[tuple[Backend, str | None]]) -> tuple[str, ...]:
    notes = [f"Choose {engine.name!r}: {engine.suits}." for engine, _ in engines if engine.suits]
    return (*notes, _MACHINES, _MORE)
