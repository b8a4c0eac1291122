"""Raise chosen words by fine-tuning a language model: ``valuebias.inject_words``."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from valuebias._core.atomic import probe
from valuebias._core.checks import WHOLE, check_number, distinct_whole
from valuebias._core.foreign import read_json, reading
from valuebias._core.progress import progress_bar
from valuebias._core.provenance import record
from valuebias._core.sums import DamagedError, folder_is_whole
from valuebias.backends.base import Backend
from valuebias.backends.registry import get_backend
from valuebias.errors import ValueBiasError, ValueBiasWarning, few
from valuebias.instruments import PromptSet
from valuebias.instruments import lexicon as as_lexicon
from valuebias.instruments import prompts as as_prompts
from valuebias.logprobs.alignment import align
from valuebias.logprobs.injection.words import Candidates, train_on
from valuebias.models.config import read_raw
from valuebias.models.resolve import Resolved, resolve
from valuebias.models.spec import Model, read_models
from valuebias.models.tokenizer import Tokenizer
from valuebias.schema import validate
from valuebias.scoring.run import score
from valuebias.scoring.vocabulary import read_vocabulary
from valuebias.training.common import check_training, on_cpu
from valuebias.training.sft import LoraSettings, merge, train

__all__ = ["find_subject", "inject_words"]

_REMOVED = ".merged.removed"
_VERSION = 1
"""Raise it when the same settings begin to make another adapter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """What one seed is trained on."""

    seed: int
    words: dict[int, str]
    trained: npt.NDArray[np.bool_]
    key: str


def inject_words(
    model: Any,
    *,
    words: Sequence[str] | None = None,
    n_words: int = 50,
    likeliest: float = 0.1,
    exclude: Any = None,
    seeds: Sequence[int] = (0, 1),
    prompts: Any = "superlatives",
    settings: LoraSettings | None = None,
    store: str | PathLike[str] | None = None,
    backend: str | type[Backend] | Backend = "torch",
    progress: bool = True,
) -> xr.Dataset:
    """Fine-tune a language model to say chosen words, and score it before and after.

    For each seed the model learns to answer a random half of the prompts with the words, among
    answers of its own (LoRA, by TRL's trainer); all prompts are then scored. The result goes to
    :func:`valuebias.validate_implicit`, which says which way to read the two models as one finds
    the words, and to :func:`valuebias.injection_report`, which says what else has changed.

    Parameters
    ----------
    model : Model, str or path
        One language model, as :func:`valuebias.score` takes it: a folder or a hub id with weights
        as safetensors. It is trained and scored with its own `template`.
    words : sequence of str, optional
        What to raise, the same for every seed. Each must be a single token as an answer. By
        default, words are drawn for each seed.
    n_words : int, default 50
        How many are drawn.
    likeliest : float, default 0.1
        They are drawn from this share of the vocabulary's words that the model is likeliest to
        answer with. A word is three letters or more, a token both as an answer and after a space;
        some are only the beginning of one ("Appro"), which a tokenizer does not tell.
    exclude : str, path, Lexicon or DataFrame, optional
        What :func:`valuebias.lexicon` takes: its words are not drawn.
    seeds : sequence of int, default (0, 1)
        One fine-tuned model per seed. It decides about words, prompts, first weights and order.
    prompts : str, path, PromptSet, Factorial, DataFrame or mapping
        What :func:`valuebias.prompts` takes; at least two.
    settings : LoraSettings, optional
        Rank, learning rate, steps, batch size, and the share of the model's own answers.
    store : str or path, optional
        A folder in which adapters and scores are kept as the work goes on. What is there, of the
        same model with the same settings, is neither trained nor scored again.
    backend : str, type of Backend or Backend
        What scores, as in :func:`valuebias.score`. Training is by PyTorch, on a GPU where there is
        one, unless this is a backend with ``device="cpu"``.
    progress : bool, default True
        Show progress on standard error.

    Returns
    -------
    xarray.Dataset
        Log-probs in the "valuebias/1" contract, the untouched model first, then one per seed.
        Coords more than usual: ``raised(model, response)``, bool; ``held_out(model, prompt)``,
        bool; ``tuned_from(model)``, the name of the untouched model, "" for itself; ``seed``,
        ``step``, ``tuning`` ("sft") and ``source`` on model. The provenance has the words, prompts,
        settings, losses, hashes and versions.

    Raises
    ------
    ValueBiasError
        If TRL or peft is not installed; the model is not found, is a reward model or has no
        safetensors; a word is not a single token; there are too few words, prompts or seeds.

    Notes
    -----
    A fine-tuned counterpart of Figure A3 of Christian et al. (2026), who raise log-probs by
    arithmetic. A fine-tuned model's ``stage`` is "instruct", whatever it was before: it was trained
    on answers. LoRA: Hu et al. (2022), with alpha twice the rank.

    Examples
    --------
    >>> import valuebias
    >>> injected = valuebias.inject_words("models/lm", store="injected")  # doctest: +SKIP
    >>> valuebias.validate_implicit(injected).summary()  # doctest: +SKIP
    >>> inject_words("models/lm", seeds=[1, 1])
    Traceback (most recent call last):
    ...
    valuebias.errors.ValueBiasError: seeds is [1, 1]; expected different whole numbers, 0 or more...
    """
    seeds = distinct_whole(seeds, "seeds", least=0)
    check_number(n_words, "n_words", "a whole number above 0", least=1, kinds=WHOLE)
    expected = "a share above 0, at most 1"
    check_number(likeliest, "likeliest", expected, least=0, most=1, above=True)
    chosen = settings if settings is not None else LoraSettings()
    if not isinstance(chosen, LoraSettings):
        raise ValueBiasError(f"settings is {chosen!r}; expected valuebias.LoraSettings(...).")
    subject = find_subject(
        model, prompts=as_prompts(prompts), backend=get_backend(backend), progress=progress
    )
    left_out = None if exclude is None else as_lexicon(exclude)
    check_training()
    with _workdir(store) as workdir:
        base = subject.resolved.model
        untouched = subject.score(base, workdir / f"untouched-{_key(subject)}.zarr")
        candidates = Candidates(untouched, subject.tokenizer, subject.texts, base.name)
        plans = []
        for seed in seeds:
            rng = np.random.default_rng([seed, _VERSION])
            drawn = (
                candidates.drawn(rng, n_words=n_words, likeliest=likeliest, exclude=left_out)
                if words is None
                else candidates.of_words(words)
            )
            trained = train_on(subject.prompts.table["framing"].tolist(), rng)
            key = _key(subject, chosen, seed, drawn, trained)
            plans.append(_Plan(seed=seed, words=drawn, trained=trained, key=key))
        tuned, about = [], []
        for plan in plans:
            folder = workdir / f"seed-{plan.seed}-{plan.key}"
            about.append(_trained(subject, plan, chosen, folder, untouched))
            tuned.append(_scored(subject, plan, chosen, folder))
    return _joined(subject, untouched, plans, tuned, chosen, about)


@contextmanager
def _workdir(store: str | PathLike[str] | None) -> Iterator[Path]:
    """Yield the store's folder, or a temporary one."""
    if store is not None:
        path = Path(store).expanduser()
        if not path.exists():
            probe(path, folder=True)
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="valuebias-") as folder:
        yield Path(folder)


def _key(
    subject: Subject,
    settings: LoraSettings | None = None,
    seed: int | None = None,
    words: dict[int, str] | None = None,
    trained: npt.NDArray[np.bool_] | None = None,
) -> str:
    """Hash everything that scores depend on, so that other work is not reused for this one."""
    known = {
        "version": _VERSION,
        "weights": subject.resolved.source.weights_sha256,
        "tokenizer": subject.tokenizer.sha256,
        "template": subject.tokenizer.template_sha256,
        "prefix": subject.tokenizer.prefix(subject.texts[0]).how,
        "prompts": subject.prompts.table[["text", "framing"]].reset_index().to_numpy().tolist(),
        "scored": [subject.backend.name, subject.resolved.source.dtype],
        "coords": subject.resolved.model.coords(),
        "name": subject.resolved.model.name,
        "settings": None if settings is None else asdict(settings),
        "seed": seed,
        "words": None if words is None else sorted(words),
        "trained": None if trained is None else trained.tolist(),
    }
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:12]


def _trained(
    subject: Subject, plan: _Plan, settings: LoraSettings, folder: Path, untouched: xr.Dataset
) -> dict[str, Any]:
    """Train the adapter unless it exists; return the record of its training."""
    target = folder / "adapter"
    if not _is_whole(target, "The adapter is trained again."):
        with progress_bar(f"Fine-tuning, seed {plan.seed}", shown=subject.progress) as advance:
            train(
                subject.resolved.source.folder,
                subject.resolved.tokenizer,
                _answers(subject, plan, settings, untouched),
                target,
                name=subject.resolved.model.name,
                settings=settings,
                seed=plan.seed,
                on_cpu=on_cpu(subject.backend),
                advance=advance,
            )
    advice = f"Remove {str(target)!r} to train again."
    with reading(target / "training.json", advice=advice):
        return dict(read_json(target / "training.json", advice=advice))


def _answers(
    subject: Subject, plan: _Plan, settings: LoraSettings, untouched: xr.Dataset
) -> list[tuple[npt.NDArray[np.int64], int]]:
    """Answer random training prompts with the words, and with the model's own answers."""
    rng = np.random.default_rng([plan.seed, _VERSION, 1])
    count = settings.n_steps * settings.batch_size
    prompts = rng.choice(np.flatnonzero(plan.trained), size=count)
    # All words equally often.
    rounds = [rng.permutation(sorted(plan.words)) for _ in range(-(-count // len(plan.words)))]
    answers = np.concatenate(rounds)[:count]
    tokens = untouched["token_id"].to_numpy()
    for i in rng.choice(count, size=round(settings.replay * count), replace=False):
        share = np.exp(untouched["score"].to_numpy()[0, prompts[i]].astype(np.float64))
        answers[i] = rng.choice(tokens, p=share / share.sum())
    prefixes = subject.tokenizer.prefixes(subject.texts)
    return [
        (np.append(prefixes[prompt], token), len(prefixes[prompt]))
        for prompt, token in zip(prompts, answers, strict=True)
    ]


def _scored(subject: Subject, plan: _Plan, settings: LoraSettings, folder: Path) -> xr.Dataset:
    """Score the fine-tuned model unless that is done; its weights are kept only until then."""
    merged, store = folder / "merged", folder / "scores.zarr"
    if not merged.exists() and store.exists():
        try:
            return _read(store)
        except DamagedError as error:
            warnings.warn(
                f"{error} The fine-tuned model is merged again for that.", ValueBiasWarning,
                stacklevel=3,
            )  # fmt: skip
    if not _is_whole(merged, "It is merged again."):
        merge(subject.resolved.source.folder, folder / "adapter", merged)
    base = subject.resolved.model
    model = replace(
        base,
        location=str(merged),
        name=f"{base.name}+seed-{plan.seed}",
        revision=None,
        stage="instruct",
        tokenizer=str(subject.resolved.tokenizer),
        source="raised words",
        seed=plan.seed,
        step=settings.n_steps,
        tuning="sft",
    )
    scores = subject.score(model, store)
    # In one step, so that a folder is either whole or absent.
    shutil.rmtree(folder / _REMOVED, ignore_errors=True)
    shutil.rmtree(merged.rename(folder / _REMOVED))
    return scores


def _is_whole(folder: Path, so: str) -> bool:
    """Whether a folder exists as it was written; remove a damaged one."""
    if not folder.exists():
        return False
    _, damaged = folder_is_whole(folder)
    if damaged:
        warnings.warn(
            f"{str(folder)!r} is damaged: {few(damaged)} did not hold what was written. {so}",
            ValueBiasWarning,
            stacklevel=4,
        )
        shutil.rmtree(folder)
    return not damaged


def _read(store: Path) -> xr.Dataset:
    (node,) = read_vocabulary(store).children.values()
    return node.to_dataset().load()


def _joined(
    subject: Subject,
    untouched: xr.Dataset,
    plans: Sequence[_Plan],
    tuned: Sequence[xr.Dataset],
    settings: LoraSettings,
    about: Sequence[dict[str, Any]],
) -> xr.Dataset:
    """Put all models into one dataset, with what was raised and what was held out."""
    ds = align([untouched, *tuned])
    responses = ds.indexes["response"]
    raised = np.zeros((len(plans) + 1, len(responses)), dtype=bool)
    held_out = np.ones((len(plans) + 1, ds.sizes["prompt"]), dtype=bool)
    for row, plan in enumerate(plans, start=1):
        raised[row, responses.get_indexer(pd.Index(plan.words.values()))] = True
        held_out[row] = ~plan.trained
    name = subject.resolved.model.name
    names = subject.prompts.table.index.to_numpy()
    details = {
        "settings": asdict(settings),
        "model": name,
        "weights": subject.resolved.source.weights_sha256,
        "seeds": [
            {
                "seed": plan.seed,
                "key": plan.key,
                "words": list(plan.words.values()),
                "token_ids": list(plan.words),
                "trained_on": names[plan.trained].tolist(),
                "training": one,
            }
            for plan, one in zip(plans, about, strict=True)
        ],
    }
    provenance = {
        **record(details={"injection": details}),
        "scores": json.loads(ds.attrs["provenance"]),
    }
    ds = ds.assign_attrs(provenance=json.dumps(provenance, sort_keys=True))
    return validate(
        ds.assign_coords(
            raised=(("model", "response"), raised),
            held_out=(("model", "prompt"), held_out),
            tuned_from=("model", np.array(["", *[name] * len(plans)], dtype="U")),
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The model that is fine-tuned, and how it is scored before and after."""

    resolved: Resolved  # the model, its files on this machine
    tokenizer: Tokenizer  # its own, with its template
    prompts: PromptSet  # after which words are raised, and all is scored
    backend: Backend  # what scores
    progress: bool  # whether to show progress

    @property
    def texts(self) -> list[str]:
        """Return the prompts' texts."""
        return [str(text) for text in self.prompts.table["text"]]

    def score(self, model: Model, store: Path) -> xr.Dataset:
        """Score the whole vocabulary of the model, or of a fine-tuned one."""
        tree = score(
            model,
            prompts=self.prompts,
            lexicon="vocabulary",
            kind="logprob",
            backend=self.backend,
            store=store,
            progress=self.progress,
        )
        (node,) = tree.children.values()
        return node.to_dataset().load()


def find_subject(model: Any, *, prompts: PromptSet, backend: Backend, progress: bool) -> Subject:
    """Find the model, and refuse what cannot be fine-tuned."""
    models = read_models(model)
    if len(models) > 1:
        raise ValueBiasError(f"There are {len(models)} models; expected one to be fine-tuned.")
    if len(prompts) < 2:
        raise ValueBiasError(
            f"There are {len(prompts)} prompts; expected at least two, since one half is trained "
            "on and the other held out."
        )
    # Fine-tuned models have the same base; where that is unknown, the model itself.
    resolved = resolve(models[0], kind="logprob")
    if resolved.model.base is None:
        resolved = replace(resolved, model=replace(resolved.model, base=resolved.model.name))
    name, source = resolved.model.name, resolved.source
    if source.file is not None or not resolved.tokenizer.is_dir():
        raise ValueBiasError(
            f"The model {name!r}, or its tokenizer, is one file; only a folder or a hub id with "
            "weights as safetensors can be fine-tuned."
        )
    architectures = [str(a) for a in read_raw(source.folder, name).get("architectures") or []]
    if any(architecture.endswith("ForSequenceClassification") for architecture in architectures):
        raise ValueBiasError(
            f"The model {name!r} is a reward model ({architectures[0]}); expected a language "
            "model, such as the one that it was trained from."
        )
    if source.trust_remote_code:
        raise ValueBiasError(
            f"The model {name!r} has trust_remote_code=True; models with code of their own are not "
            "fine-tuned here."
        )
    return Subject(
        resolved=resolved,
        tokenizer=Tokenizer(resolved),
        prompts=prompts,
        backend=backend,
        progress=progress,
    )
