"""From a dataset to the posterior of the hierarchical model."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import xarray as xr

from valuebias._core.progress import progress_bar
from valuebias._core.provenance import record
from valuebias.analysis.ablation.notes import plain_fit_notes
from valuebias.analysis.auditing.alike_prompts import check_prompts, solvable
from valuebias.analysis.auditing.data_notes import data_notes, spelling_notes
from valuebias.analysis.auditing.item_notes import item_notes
from valuebias.analysis.auditing.misfit import estimate_sd, make_structure, structure_notes
from valuebias.analysis.auditing.reading import reading_notes
from valuebias.analysis.auditing.ties import tie_notes
from valuebias.analysis.design.noise import read_tails
from valuebias.analysis.design.priors import Prior, as_prior
from valuebias.analysis.estimands.weights import Contrast, store_contrast
from valuebias.analysis.hierarchical import (
    MODEL_FIELDS,
    Model,
    Settings,
    in_lexicon,
    make_problem,
    sample,
)
from valuebias.analysis.notes import Note, as_records
from valuebias.errors import ValueBiasError, ValueBiasWarning
from valuebias.posterior.item_wording import contrasts_of
from valuebias.posterior.posterior import Posterior
from valuebias.posterior.questions import largest_difference
from valuebias.schema import model_table, validate
from valuebias.schema.uncovered import uncovered

__all__ = ["Fitted", "estimate", "refit"]

# Tuning steps: the package's own sampler and completion start from the mode's curvature and have
# less to learn.
_TUNE = {"hmc": 300, "nutpie": 600, "pymc": 600}
_TUNE_INCOMPLETE = 200
_SAMPLER = ("draws", "tune", "chains", "seed", "sampler")


def estimate(
    dataset: xr.Dataset,
    options: Mapping[str, Any],
    prior: Prior | Mapping[str, Any] | None,
    contrast: Contrast | None,
    numbers: Mapping[str, Any],
    *,
    focus: Mapping[str, Any] | None = None,
    left_out: Sequence[str] = (),
    progress: bool,
) -> Posterior:
    """Prepare the data, sample, and note what the data cannot show; arguments are checked before.

    ``options`` are the fields of :class:`valuebias.analysis.hierarchical.Model`, ``numbers`` those
    of the sampler, of which ``tune`` may be None; ``focus`` is that of another fit's settings;
    ``left_out`` are items of a contrast set that lack scores.
    """
    options, numbers = dict(options), dict(numbers)
    data = in_lexicon(validate(dataset).compute())
    if options["formula"] is None:
        several = len(np.unique(data["family"].to_numpy())) > 1
        options = options | {"formula": "~ family" if several else "~ 1"}
    tails = read_tails(options.get("heavy_tails"))
    options["heavy_tails"] = list(tails) or None
    problem = make_problem(data, Model(**options), as_prior(prior))
    crossing, plain = problem.crossing, problem.noise.plain
    if not crossing.items:
        check_prompts(data, crossing)
    if not plain and numbers["sampler"] == "pymc":
        raise ValueBiasError(
            "sampler='pymc' samples normal effects, and normal residuals of one SD; with "
            "family='student', residual='model' or heavy_tails= leave sampler= out."
        )
    contrasts_of(crossing, contrast)  # refuse a bad contrast before sampling
    if said := uncovered(dataset):
        warnings.warn(said, ValueBiasWarning, stacklevel=3)
    notes = data_notes(crossing) + reading_notes(model_table(data))
    notes += spelling_notes(model_table(data), options["base"])
    notes += plain_fit_notes(crossing.design)
    if crossing.items:
        notes += item_notes(crossing, list(left_out))
    else:
        notes += tie_notes(data, str(options["outcome"]))
    if numbers["tune"] is None:
        whole = crossing.complete and plain
        numbers["tune"] = _TUNE[numbers["sampler"]] if whole else _TUNE_INCOMPLETE
    with solvable(), progress_bar("sampling", shown=progress) as advance:
        groups = sample(problem, Settings(**numbers), advance)
    settings = {
        "spec": "hierarchical",
        **options,
        "contrast": store_contrast(contrast),
        **numbers,
        "path": "augmented" if not plain else "complete" if crossing.complete else "incomplete",
        "n_missing": crossing.n_missing,
        "dropped_items": len(left_out),
        "dropped_words": dataset.sizes["response"] - data.sizes["response"],
        "focus": {},
        "notes": [],
    }
    posterior = Posterior(data, settings, problem.prior, groups, record(), problem)
    with solvable():
        settings["focus"] = focus or largest_difference(posterior)
        notes += _misfits(posterior)
    notes = [replace(n, text=posterior.said(n.text), headline=posterior.said(n.headline))
             for n in notes]  # fmt: skip
    settings["notes"] = as_records(notes)
    for note in notes:
        warnings.warn(note.text, ValueBiasWarning, stacklevel=3)
    return posterior


class Fitted(Protocol):
    """What is needed of a fit to fit the same data again."""

    @property
    def data(self) -> xr.Dataset:
        """The scores."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """How they were fitted."""

    @property
    def contrast(self) -> Contrast | None:
        """The categories to compare."""


def refit(fit: Fitted, *, prior: Prior, outcome: str) -> Posterior:
    """Fit the same data with another prior or outcome, all else (seed included) the same."""
    options = {name: fit.settings.get(name) for name in MODEL_FIELDS} | {"outcome": outcome}
    numbers = {name: fit.settings[name] for name in _SAMPLER}
    with warnings.catch_warnings():
        # The first fit has already warned.
        warnings.simplefilter("ignore", ValueBiasWarning)
        return estimate(
            fit.data, options, prior, fit.contrast, numbers, focus=fit.settings.get("focus"),
            progress=False,
        )  # fmt: skip


def _misfits(fit: Posterior) -> list[Note]:
    """Look for structure in the data that the model lacks."""
    crossing = fit.problem.crossing
    structure = make_structure(crossing, fit.contrast, fit.word_numbers, fit.focus)
    sd = estimate_sd(structure, fit.effects.coefficient)
    return structure_notes(structure, sd, np.random.default_rng([int(fit.settings["seed"]), 8]))
