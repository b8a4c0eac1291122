"""Fit an ablation of trained reward models: ``valuebias.fit_ablation(dataset)``."""

from __future__ import annotations

import secrets
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from valuebias._core.frames import as_frame
from valuebias._core.provenance import record
from valuebias.analysis.ablation.layout import (
    base_of,
    check_models,
    choose_formula,
    has_base_slopes,
    progress_of,
)
from valuebias.analysis.ablation.levelling import draw_leans
from valuebias.analysis.ablation.medians import draw_medians
from valuebias.analysis.ablation.notes import curve_notes, layout_notes
from valuebias.analysis.design.formula import parse_formula
from valuebias.analysis.design.random_terms import split_random
from valuebias.analysis.estimands.estimand import CategoryPair
from valuebias.analysis.notes import Note
from valuebias.analysis.outcome import describe
from valuebias.errors import ValueBiasError, ValueBiasWarning
from valuebias.fitting.ablation_result import AblationFit
from valuebias.fitting.fit import fit as fit_scores
from valuebias.posterior.ablation.estimates import checked_rope
from valuebias.posterior.ablation.framings import SIGNED, draw_fit_leans, lean_curves
from valuebias.schema import model_table, validate

if TYPE_CHECKING:
    from valuebias.analysis.design.priors import Prior

__all__ = ["AblationFit", "fit_ablation", "fit_ablation_medians"]

_CHAINS = 4
_MEDIAN_BASES = Note(
    "bases left out",
    "families have several bases, and what runs of one base share is not in the model of medians: "
    "taken as independent, they make all intervals too narrow.",
    "What runs of one base share is left out, so the interval is too narrow.",
)
_MEDIANS = (
    "medians carry no uncertainty of words and prompts: intervals are for these words and prompts."
)
_STRAIGHT = Note(
    "levelling left out",
    "gaps are assumed to change with the pairs as the formula says, however far: one that levels "
    "off before it closes looks as if it closed. Leave levelling= out to let it level off.",
    "The gap is assumed not to level off.",
)
_OF_FAMILIES = ("one model a family", "one base a family", "training averaged over")
_COLUMNS = ("source", "n_pairs", "base", "family", "category", "checkpoint", "median_rank")


def fit_ablation(
    dataset: xr.Dataset,
    formula: str | None = None,
    *,
    outcome: str | None = None,
    prior: Prior | Mapping[str, Any] | None = None,
    contrast: tuple[str, str] | None = None,
    rope: float | None = None,
    levelling: bool = True,
    draws: int = 1000,
    tune: int | None = None,
    chains: int = 4,
    seed: int | None = None,
    progress: bool = True,
) -> AblationFit:
    """Estimate how the gap between families changes with the pairs that models are trained on.

    Parameters
    ----------
    dataset : xarray.Dataset
        Scores in the "valuebias/1" contract. On ``model`` it needs the coordinates ``family``,
        ``base``, ``source`` (of the preferences), ``n_pairs``, ``seed`` and ``step``;
        ``tuning`` is optional. There may be several checkpoints (steps) of a run.
    formula : str, optional
        R formula over the coordinates on ``model`` and ``progress``, the share of its run that a
        checkpoint has completed. By default ``"~ family * source * log2(n_pairs)"`` as far as
        these vary, and with several checkpoints all of that ``"* np.sqrt(progress)"``: runs start
        alike, so effects of sources and pairs grow with progress, and most of it early. Where a
        family has several bases, ``"+ (log2(n_pairs) | base)"``: each base has its own lean and
        slope. ``"~ family * C(n_pairs)"`` draws no curve through the numbers of pairs.
    outcome : {"normal", "rank", "z", "raw"}, optional
        As in :func:`valuebias.fit`, like all that follow but `rope`.
    prior : Prior or mapping, optional
        Scales of the priors.
    contrast : pair of str, optional
        The two categories to compare; of several contrasts the first is followed.
    rope : float, optional
        Half-width of the region of practical equivalence around zero, in units of the outcome;
        0.05 of its SD if not given.
    levelling : bool, default True
        Whether the change may stop: from some number of pairs on, which differs by source, more of
        them change nothing. That number is averaged over, see :meth:`AblationFit.levelling`. If
        False, gaps follow the formula's curve, straight over doublings by default, however far.
    draws : int, default 1000
        Posterior draws per chain.
    tune : int, optional
        Tuning steps per chain.
    chains : int, default 4
        Number of chains.
    seed : int, optional
        Makes the draws repeatable.
    progress : bool, default True
        Show a progress bar on standard error.

    Returns
    -------
    AblationFit
        Gaps, slopes, remaining shares, closing points, trajectories and words.

    Raises
    ------
    ValueBiasError
        If a coordinate is missing, ``n_pairs`` is not positive, there is one family only, two
        models are the same checkpoint, or :func:`valuebias.fit` raises it.

    Warns
    -----
    ValueBiasWarning
        For what the data cannot show, such as chance between runs where there is a single seed.

    Notes
    -----
    The model is that of :func:`valuebias.fit`, in which checkpoints of one run share effects of the
    run, on categories and on words, so that they do not count as independent. Runs also share the
    effects of their base, and its slope, where a family has several bases; statements on families
    then generalise over bases. With one base per family they are about these bases. The likelihood
    stays exact.

    The data determine whether the change has stopped within the range of pairs, but not whether it
    continues beyond. There the prior says that it stops after t more ranges, in doublings, with
    probability t / (1 + t), so "never closes" keeps a probability that data within the range
    cannot take away.

    Source: extends Christian et al. 2026 (arXiv 2601.20838), section 4, which shows median ranks of
    such models without intervals.

    Examples
    --------
    >>> import valuebias
    >>> from valuebias import simulate
    >>> ds = simulate(n_models={"A": 8, "B": 8}, n_prompts=4, n_words=20, seed=1)
    >>> ds = ds.assign_coords(
    ...     base=("model", [f + n for f in "AB" for n in "12" for _ in range(4)]),
    ...     source=("model", ["s"] * 16), n_pairs=("model", [1e3, 1e3, 2e3, 2e3] * 4),
    ...     seed=("model", [1, 2] * 8), step=("model", [60, 60, 120, 120] * 4),
    ... )
    >>> fit = valuebias.fit_ablation(ds, draws=200, seed=1, progress=False)
    >>> fit.slope()["name"].tolist()
    ['A − B']
    """
    data = validate(dataset).compute()
    models = model_table(data)
    check_models(models)
    share = progress_of(models)
    data = data.assign_coords(progress=("model", share))
    models = models.assign(progress=share)
    chosen = choose_formula(models) if formula is None else formula
    base = base_of(models)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit = fit_scores(
            data, chosen, base=base, outcome=outcome, prior=prior, contrast=contrast,
            draws=draws, tune=tune, chains=chains, seed=seed, progress=progress,
        )  # fmt: skip
    known_notes = {note.text for note in fit.notes}
    for warning in caught:
        if str(warning.message) not in known_notes:
            warnings.warn(warning.message, stacklevel=2)
    half = 0.05 * fit.problem.crossing.scale if rope is None else checked_rope(rope)
    leans = draw_fit_leans(fit, levelling=levelling)
    result = AblationFit(
        lean_curves(fit, leans[SIGNED]),
        fit=fit,
        leans=leans,
        rope=half,
        unit=describe(fit.settings["outcome"]).unit,
        formula=chosen,
        notes=[],
    )
    # The notes of an ablation count its bases; with one per family they are left out on purpose.
    omitted = (*_OF_FAMILIES, *(["bases left out"] if base is None else []))
    kept = [note for note in fit.notes if note.code not in omitted]
    result.notes += _ablation_notes(result) + kept
    _warn(result)
    return result


def fit_ablation_medians(
    table: pd.DataFrame,
    formula: str | None = None,
    *,
    contrast: tuple[str, str] = ("agency", "communion"),
    rope: float | None = None,
    levelling: bool = True,
    draws: int = 1000,
    seed: int | None = None,
) -> AblationFit:
    """Estimate the same from median ranks by checkpoint, as the paper's authors released them.

    Parameters
    ----------
    table : DataFrame
        As ``valuebias.datasets.load("christian2026-training")`` returns it: columns ``source``,
        ``n_pairs``, ``base``, ``family``, ``category``, ``checkpoint``, ``median_rank`` (1 =
        highest reward), and ``seed`` if there are several.
    formula : str, optional
        As in :func:`fit_ablation`, without random effects.
    contrast : pair of str, default ("agency", "communion")
        The lean is the median rank of the second category less that of the first, so that it is
        positive where the first is valued more.
    rope : float, optional
        Half-width of the region of practical equivalence in ranks; if not given, 0.05 of the SD of
        ranks, of which there are about twice the mean median.
    levelling : bool, default True
        As in :func:`fit_ablation`.
    draws : int, default 1000
        Posterior draws per chain, of four chains.
    seed : int, optional
        Makes the draws repeatable.

    Returns
    -------
    AblationFit
        Without :meth:`AblationFit.word_changes`.

    Raises
    ------
    ValueBiasError
        If columns or categories are missing, a row occurs twice, or :func:`fit_ablation` would
        raise it.

    Warns
    -----
    ValueBiasWarning
        For what the table cannot show, and for rows left out because ``n_pairs`` is unknown.

    Notes
    -----
    A linear mixed model: the formula's mean of a kind of run, plus a deviation of the run, plus one
    of the checkpoint. Medians carry no uncertainty of words and prompts, so intervals are for these
    words and prompts. With a single seed the runs' deviations are estimated from how far runs
    depart from the formula; those of checkpoints are taken as independent.

    Examples
    --------
    >>> from itertools import product
    >>> import pandas as pd, valuebias
    >>> import warnings
    >>> warnings.simplefilter("ignore")  # warns that every family has one base
    >>> names = ["family", "base", "n_pairs", "seed", "checkpoint", "category"]
    >>> grid = product("AB", "1", (1e3, 2e3), (1, 2), (1, 2), "xy")
    >>> table = pd.DataFrame(grid, columns=names).assign(source="s", median_rank=50.0)
    >>> table["base"] = table["family"] + table["base"]
    >>> table.loc[(table["family"] == "A") & (table["category"] == "y"), "median_rank"] = 59.0
    >>> fit = valuebias.fit_ablation_medians(table, contrast=("x", "y"), draws=100, seed=1)
    >>> bool(fit.gaps()["mean"].between(5, 13).all())
    True
    """
    if not isinstance(draws, int | np.integer) or draws < 4:
        raise ValueBiasError(f"draws must be a whole number of 4 or more, found {draws!r}.")
    models, notes = _lean_table(table, contrast)
    check_models(models)
    models["progress"] = progress_of(models)
    chosen = choose_formula(models, random=False) if formula is None else formula
    design = parse_formula(chosen, models)
    # Ranks from 1 to about twice the middle one are spread like a uniform.
    unit = 2 * float(table["median_rank"].mean()) / np.sqrt(12)
    chosen_seed = secrets.randbits(32) if seed is None else int(seed)
    rng = np.random.default_rng(chosen_seed)
    total = _CHAINS * int(draws)
    medians = draw_medians(models["lean"].to_numpy(), design, unit=unit, draws=total, rng=rng)
    model = {SIGNED: medians.lean_model(design)}
    leans = draw_leans(model, design, levelling=levelling, rng=rng)
    curves = leans[SIGNED].curves(
        design,
        medians.coefficient.reshape(_CHAINS, -1, medians.coefficient.shape[1]),
        medians.lean.reshape(_CHAINS, -1, len(models)),
        CategoryPair(*contrast),
    )
    result = AblationFit(
        curves,
        fit=None,
        leans=leans,
        rope=0.05 * unit if rope is None else checked_rope(rope),
        unit="ranks",
        formula=chosen,
        notes=notes,
        provenance=record(details={"seed": chosen_seed, "draws": int(draws)}),
    )
    result.notes += _ablation_notes(result)
    if base_of(models) is not None:
        result.notes.append(_MEDIAN_BASES)
    _warn(result)
    result.notes.append(Note("medians", _MEDIANS, _MEDIANS.capitalize()))
    return result


def _warn(result: AblationFit) -> None:
    for note in result.notes:
        warnings.warn(note.text, ValueBiasWarning, stacklevel=3)


def _ablation_notes(fit: AblationFit) -> list[Note]:
    """List what the data of an ablation cannot show, and what contradicts its curves."""
    curves, slopes = fit.curves, None
    if fit.fit is not None and has_base_slopes(curves.models) and curves.by_pairs:
        slopes = any(
            term.group == "base" and any("n_pairs" in slope for slope in term.slopes)
            for term in split_random(fit.formula)[1]
        )
    # The most pairs that two families share, by source where some have more.
    both = {}
    for source in curves.sources:
        if len({tuple(curves.n_pairs_of(source, family)) for family in curves.families}) > 1:
            shared = [curves.shared(pair, source) for pair in curves.pairs]
            both[source] = max((n_pairs[-1] for n_pairs in shared if n_pairs), default=0.0)
    notes = layout_notes(curves.models, fit.formula, base_slopes=slopes, both=both)
    # With a free gap at each number of pairs there is no curve to contradict.
    if curves.by_pairs == "curve":
        if fit.studied and curves.levelled is None:
            notes.append(_STRAIGHT)
        notes += curve_notes(fit.departures(), levelling=curves.levelled is not None)
    return notes


def _lean_table(table: pd.DataFrame, contrast: tuple[str, str]) -> tuple[pd.DataFrame, list[Note]]:
    """Turn medians by category into one lean per checkpoint, with the coordinates of a model."""
    table = as_frame(table)
    for column in _COLUMNS:
        if column not in table.columns:
            raise ValueBiasError(
                f"the table of medians has no column {column!r}; found {list(table.columns)}, "
                f"expected {', '.join(_COLUMNS)}."
            )
    known = set(table["category"])
    for name in contrast:
        if name not in known:
            raise ValueBiasError(
                f"contrast names the category {name!r}; the table has {sorted(map(str, known))}."
            )
    notes = []
    kept = table[table["n_pairs"].notna()]
    if len(kept) < len(table):
        lost = ", ".join(sorted(set(table.loc[table["n_pairs"].isna(), "source"].astype(str))))
        text = f"the number of pairs is unknown for {lost}; these rows are left out."
        notes.append(Note("pairs unknown", text))
    kept = kept.assign(seed=kept["seed"] if "seed" in kept.columns else 0)
    key = ["source", "n_pairs", "base", "family", "seed", "checkpoint"]
    twice = kept.duplicated([*key, "category"])
    if twice.any():
        row = kept.loc[twice].iloc[0]
        raise ValueBiasError(
            f"the table has two medians of {row['category']!r} for {row['base']!r} at checkpoint "
            f"{row['checkpoint']}; keep one."
        )
    wide = kept.set_index([*key, "category"])["median_rank"].unstack("category")
    first, second = contrast
    lean = (wide[second] - wide[first]).rename("lean")
    if not np.isfinite(lean).all():
        raise ValueBiasError(
            f"some checkpoints have a median of only one of {contrast}; give both, or leave them "
            "out."
        )
    models = lean.reset_index().rename(columns={"checkpoint": "step"})
    models.index = pd.Index([f"row {i}" for i in range(len(models))])
    return models, notes
