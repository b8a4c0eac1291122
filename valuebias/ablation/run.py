"""Run a study: train and score every cell that is not there yet, and put all scores together."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from valuebias._core.atomic import probe
from valuebias._core.disk import written
from valuebias._core.locks import only_one
from valuebias._core.provenance import record
from valuebias.ablation.cells import Scored, Work
from valuebias.ablation.head_runs import head_cells
from valuebias.ablation.trained_runs import demand_trainable, trained_cells
from valuebias.backends.registry import get_backend
from valuebias.errors import ValueBiasError, ValueBiasWarning
from valuebias.instruments import lexicon as as_lexicon
from valuebias.instruments import prompts as as_prompts
from valuebias.io import write
from valuebias.preference_data.preferences import Preferences
from valuebias.schema import build
from valuebias.training.features import Base, Conversation, find_base

if TYPE_CHECKING:
    from valuebias.ablation.study import Study

__all__ = ["SCORES", "run"]

SCORES = "scores.nc"
"""What a study's scores are called in its folder."""


def run(study: Study, out: Path, *, backend: Any, progress: bool) -> xr.Dataset:
    """Train and score what is missing; see :meth:`valuebias.ablation.Study.run`."""
    engine = get_backend(backend)
    probe(out / SCORES, folder=False)
    cells: Callable[[Work, Base], Iterator[Scored]] = head_cells
    if study.objective != "head":
        demand_trainable(engine)
        cells = trained_cells
    sources = study.sides()
    prompts, lexicon = as_prompts(study.prompts), as_lexicon(study.lexicon)
    bases = [find_base(model) for model in study.models()]
    texts = [str(text) for text in prompts.table["text"]]
    asked = [Conversation.after(text, lexicon.words) for text in texts]
    work = Work(study, out, engine, progress, sources, asked)
    lock = out / ".lock"
    with written(lock):
        out.mkdir(parents=True, exist_ok=True)
        lock.touch()
    with only_one(lock, what=repr(str(out)), instead="another folder"):
        made = [scored for base in bases for scored in cells(work, base)]
        if not made:
            first = next(iter(work.failures.items()))
            raise ValueBiasError(f"No cell could be trained. The first: {': '.join(first)}")
        for cell, reason in work.failures.items():
            warnings.warn(f"The cell {cell} failed: {reason}", ValueBiasWarning, stacklevel=3)
        dataset = build(
            np.stack([scored.scores for scored in made]),
            models=pd.DataFrame([scored.row for scored in made]).set_index("model"),
            prompts=prompts,
            lexicon=lexicon,
            responses=lexicon.words,
            provenance=record(details=_about(work, bases)),
        )
        with written(out / SCORES):
            write(dataset, out / SCORES)
    return dataset


def _about(work: Work, bases: list[Base]) -> dict[str, Any]:
    study = work.study
    settings = (
        {"penalty": study.penalty}
        if study.objective == "head"
        else {"training": study.training.about(study.objective), "cells": work.details}
    )
    return {
        "by": "valuebias.ablation",
        "objective": study.objective,
        **settings,
        "held_out": study.held_out if isinstance(study.held_out, int | float) else "its own pairs",
        "sources": {name: _source(*sides) for name, sides in work.sources.items()},
        "bases": {
            base.name: {
                "weights": base.resolved.source.weights_sha256,
                "tokenizer": base.tokeniser.sha256,
                "template": base.tokeniser.template_sha256,
                "commit": base.resolved.commit,
            }
            for base in bases
        },
        "failures": work.failures,
    }


def _source(train: Preferences, held_out: Preferences) -> dict[str, Any]:
    return {
        "sha256": train.sha256,
        "pairs": len(train),
        "held_out": {"sha256": held_out.sha256, "pairs": len(held_out)},
    }
