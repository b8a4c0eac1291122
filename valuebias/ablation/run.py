"""Run a study: train and score every missing run, and collect all scores."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from valuebias._core.atomic import probe
from valuebias._core.disk import explain_os_errors
from valuebias._core.locks import only_one
from valuebias._core.provenance import record
from valuebias.ablation.cluster import run_cells
from valuebias.ablation.design import Design, RunScores, instrument
from valuebias.ablation.head_runs import train_heads
from valuebias.ablation.trained_runs import check_trainable, clear_scratch, train_checkpoints
from valuebias.backends.registry import get_backend
from valuebias.errors import ValueBiasError, ValueBiasWarning
from valuebias.instruments import lexicon as as_lexicon
from valuebias.instruments import prompts as as_prompts
from valuebias.io import write
from valuebias.preference_data.preferences import Preferences
from valuebias.schema import build
from valuebias.training.features import Base, find_base

if TYPE_CHECKING:
    from distributed import Client

    from valuebias.ablation.study import Study

__all__ = ["SCORES", "run"]

SCORES = "scores.nc"
"""File name of a study's scores in its folder."""


def run(
    study: Study, out: Path, *, backend: Any, client: Client | None, progress: bool
) -> xr.Dataset:
    """Train and score what is missing; see :meth:`valuebias.ablation.Study.run`."""
    engine = get_backend(backend)
    probe(out / SCORES, folder=False)
    train: Callable[[Design, Base], Iterator[RunScores]] = train_heads
    if study.tuning != "head":
        check_trainable(engine)
        train = train_checkpoints
    sources = study.split()
    prompts, lexicon = as_prompts(study.prompts), as_lexicon(study.lexicon)
    models = study.models()
    bases = [find_base(model) for model in models]
    design = Design(study, out, engine, progress, sources, instrument(prompts, lexicon))
    lock = out / ".lock"
    with explain_os_errors(lock):
        out.mkdir(parents=True, exist_ok=True)
        lock.touch()
    with only_one(lock, noun=repr(str(out)), instead="another folder"):
        clear_scratch(out)
        if client is not None:
            run_cells(client, design, list(zip(models, bases, strict=True)))
        trained = [scores for base in bases for scores in train(design, base)]
        if not trained:
            first = next(iter(design.failures.items()))
            raise ValueBiasError(f"No run could be trained. The first: {': '.join(first)}")
        for label, reason in design.failures.items():
            warnings.warn(f"The run {label} failed: {reason}", ValueBiasWarning, stacklevel=3)
        dataset = build(
            np.stack([scores for _, scores in trained]),
            models=pd.DataFrame([row for row, _ in trained]).set_index("model"),
            prompts=prompts,
            lexicon=lexicon,
            responses=lexicon.words,
            provenance=record(details=_about(design, bases)),
        )
        with explain_os_errors(out / SCORES):
            write(dataset, out / SCORES)
    return dataset


def _about(design: Design, bases: list[Base]) -> dict[str, Any]:
    study = design.study
    settings = (
        {"penalty": study.penalty}
        if study.tuning == "head"
        else {
            "training": study.training.about(study.tuning),
            "objectives": {one.name: one.about() for one in study.objective},
            "runs": design.details,
        }
    )
    return {
        "by": "valuebias.ablation",
        "tuning": study.tuning,
        **settings,
        "held_out": study.held_out if isinstance(study.held_out, int | float) else "its own pairs",
        "sources": {name: _source(*split) for name, split in design.sources.items()},
        "bases": {
            base.name: {
                "weights": base.resolved.source.weights_sha256,
                "tokenizer": base.tokenizer.sha256,
                "template": base.tokenizer.template_sha256,
                "commit": base.resolved.commit,
            }
            for base in bases
        },
        "failures": design.failures,
    }


def _source(train: Preferences, held_out: Preferences) -> dict[str, Any]:
    return {
        "sha256": train.sha256,
        "pairs": len(train),
        "held_out": {"sha256": held_out.sha256, "pairs": len(held_out)},
    }
