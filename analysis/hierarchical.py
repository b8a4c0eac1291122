"""From a dataset to posterior draws: prepare the crossing, choose the path, sample, recover."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from valuebias.analysis.components import SPREADS, Components, make_components
from valuebias.analysis.crossing import Crossing, make_crossing
from valuebias.analysis.density import PackedStrata, Posterior, pack_strata
from valuebias.analysis.effects import EffectDraws, draw_effects, make_margins
from valuebias.analysis.formula import parse_formula
from valuebias.analysis.grouping import (
    SIDES,
    Group,
    describe_group,
    find_groups,
    known_bases,
    shared_models,
)
from valuebias.analysis.notes import Note
from valuebias.analysis.outcome import describe, outcome
from valuebias.analysis.priors import Prior
from valuebias.analysis.random_terms import groups_of, split_random
from valuebias.analysis.strata import Stratum, make_strata, make_tables
from valuebias.errors import some
from valuebias.schema import member_table, model_table, prompt_table

if TYPE_CHECKING:
    from valuebias.analysis.incomplete import CompletedDraws
    from valuebias.analysis.sampling import VarianceDraws

__all__ = [
    "MODEL_FIELDS",
    "Model",
    "Problem",
    "Settings",
    "consequences",
    "make_problem",
    "sample",
    "sample_variances",
    "spread_by_family",
    "word_covariates",
]

Array = NDArray[np.float64]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Settings:
    """How to sample.

    Attributes
    ----------
    draws, tune, chains : int
    seed : int
    sampler : str
        ``"nutpie"`` or ``"pymc"``.
    """

    draws: int
    tune: int
    chains: int
    seed: int
    sampler: str


@dataclass(frozen=True)
class Problem:
    """A crossing with its components and prior: everything but the draws."""

    crossing: Crossing
    components: Components
    prior: Prior
    strata: list[Stratum]

    @property
    def coefficient_scales(self) -> Array:
        """Prior SDs of the design's columns in outcome units, shape (column,)."""
        return self.prior.coefficient_scales(self.crossing)

    @property
    def packed(self) -> PackedStrata:
        """The strata as flat arrays."""
        return pack_strata(self.strata)

    def posterior(self, strata: list[Stratum]) -> Posterior:
        """Make the collapsed posterior with the data of ``strata``."""
        components = self.components
        n = components.n_framings
        scales = np.repeat([self.prior.sd_of(name) for name in components.names], n)
        return Posterior(
            packed=pack_strata(strata),
            scales=scales * self.crossing.scale,
            eta=self.prior.correlation,
            spread_scale=self.prior.spread,
            codes=components.codes,
            contrasts=components.spread_contrasts,
            n_framings=n,
            n_correlated=len(components.correlated),
        )


@dataclass(frozen=True)
class Model:
    """What is fitted, but for the data and the priors.

    Attributes
    ----------
    formula : str
        Over the coordinates of the models, random effects such as ``(1 | base)`` included.
    outcome : str
    words : str or None
        Formula over the coordinates of the words.
    base : str or None
        The coordinate that names each model's base; None to take no notice of bases.
    spread : bool or None
        Whether families differ in how much their models vary; where None, as
        :func:`spread_by_family` says.
    """

    formula: str
    outcome: str
    words: str | None = None
    base: str | None = "base"
    spread: bool | None = None


MODEL_FIELDS = tuple(field.name for field in fields(Model))
"""What a fit keeps of its model."""


def make_problem(
    dataset: xr.Dataset, model: Model, prior: Prior | None, *, scale: float | None = None
) -> Problem:
    """Prepare a validated dataset for sampling.

    A higher value always means a higher reward, so ranks are turned round. ``scale`` is the unit of
    the priors, where that is not to be taken from these data.
    """
    values = outcome(dataset, kind=model.outcome)
    # By position: words may hold lone surrogates, which label look-up refuses.
    inside = np.flatnonzero(dataset["membership"].any("category").to_numpy())
    lexical = dataset.isel(response=inside)
    models, prompts = model_table(dataset), prompt_table(dataset)
    fixed, random = split_random(model.formula)
    groups = groups_of(random, models, model.base)
    crossing = make_crossing(
        describe(model.outcome).sign * values.transpose("model", "prompt", "response").to_numpy(),
        parse_formula(fixed, models),
        prompts["framing"].to_numpy().astype(str),
        member_table(lexical),
        prompts.index,
        groups=groups,
        spread=spread_by_family(groups) if model.spread is None else model.spread,
        covariates=word_covariates(model.words, lexical),
        scale=scale,
    )
    components = make_components(crossing)
    chosen = prior or Prior()
    chosen.check(components)
    tables = make_tables(crossing, crossing.y)
    strata = make_strata(crossing, components, tables, chosen.coefficient_scales(crossing))
    return Problem(crossing, components, chosen, strata)


def spread_by_family(groups: tuple[Group, ...]) -> bool:
    """Say whether families have spreads of their own where nobody asks.

    Not among pairs of models or checkpoints of training, whose spread is their layout's.
    """
    return not {group.name for group in groups} & {*SIDES, "run"}


def word_covariates(formula: str | None, dataset: xr.Dataset) -> pd.DataFrame | None:
    """Compute the columns of a formula over the words' coordinates, (word, covariate)."""
    if formula is None:
        return None
    from valuebias.schema import word_table

    design = parse_formula(formula, word_table(dataset))
    return pd.DataFrame(design.matrix[:, 1:], columns=design.column_names[1:])


def consequences(crossing: Crossing) -> list[Note]:
    """Say what the data at hand cannot tell; empty where nothing is amiss."""
    notes = []
    family = crossing.design.factor("family")
    if family is not None:
        counts = crossing.design.models["family"].value_counts()
        lone = sorted(str(name) for name in counts.index[counts == 1])
        if lone:
            who = f"family {lone[0]} has" if len(lone) == 1 else f"families {', '.join(lone)} have"
            every = len(lone) == len(counts)
            source = "the prior" if every else "the other families"
            text = (
                f"{who} one model only: what is the family's and what is that model's own cannot "
                "be told apart there, so the spread between models of a family is taken from "
                f"{source}."
            )
            if every:
                text += " One model a family cannot carry a claim about families."
            notes.append(Note("one model a family", text))
    notes += _sharing_consequences(crossing)
    n_models, n_columns = crossing.design.matrix.shape
    if n_models == n_columns:
        notes.append(
            Note(
                "no replication",
                f"The formula has as many columns as there are models, {n_models}, which leaves no "
                "replication: how much models of a kind differ comes from the prior alone, and so "
                "do the widths of all intervals on the formula's terms. Differences on single "
                "words are between these very models and generalise over none.",
                "The formula has as many columns as there are models, so that the prior alone says "
                "how wide this interval is.",
                first=True,
            )
        )
    for f, name in enumerate(crossing.framings):
        if len(crossing.prompts_of(f)) == 1:
            notes.append(
                Note(
                    "one prompt",
                    f"one prompt only under {name} framing: prompts' own effects cannot be "
                    "separated from the rest there.",
                )
            )
    if len(crossing.framings) == 1:
        notes.append(
            Note(
                "one framing",
                f"all prompts have {crossing.framings[0]} framing: a liking for certain words "
                "cannot be told from a habit of scoring them so; add prompts of the other framing.",
                f"All prompts are {crossing.framings[0]}, so that a preference cannot be told from "
                "a habit of scoring some words high.",
            )
        )
    return notes


def _sharing_consequences(crossing: Crossing) -> list[Note]:
    """Say what follows from bases, from pairs that share models, and from checkpoints of a run."""
    models, space = crossing.design.models, crossing.space
    notes = [_dropped(name) for name in space.dropped]
    if set(SIDES) <= set(models.columns):
        both = set(models[SIDES[0]].astype(str)) & set(models[SIDES[1]].astype(str))
        if both:
            shared = shared_models(*(models[side].astype(str).tolist() for side in SIDES))
            notes.append(
                Note(
                    "model on both sides",
                    f"{shared}, and {sorted(both)[0]!r} is a numerator and a denominator. Taken as "
                    "independent, they make all intervals too narrow; have no model on both sides.",
                    "Some models are on both sides of pairs, so the interval is too narrow.",
                    first=True,
                )
            )
    notes += _bases_left_out(crossing) + _one_base(models)
    lone = _lone_bases(crossing)
    if lone:
        return [*notes, lone]
    unknown = [g for g in space.groups if not g.reaches_beyond(crossing.design.matrix)]
    for group in unknown:
        if group.name in SIDES:
            text = (
                f"too few models are a pair's {group.name} to tell what is such a model's own from "
                f"what is its family's: how much {group.name}s of a family differ comes from the "
                "prior alone."
            )
            headline = ""
        else:
            who = describe_group(group.name)
            text = (
                f"{who}, {group.n_levels} in number, cannot be told apart from what the formula "
                "names: how much they differ comes from the prior alone."
            )
            headline = (
                f"How much {who} differ, and with it how wide this interval is, the prior alone "
                "says."
            )
        notes.append(Note(f"spread of {group.name}s unknown", text, headline))
    return notes


def _dropped(name: str) -> Note:
    return Note(
        "uneven groups",
        f"the models are too uneven over {describe_group(name)} for an exact model of what these "
        "share, which is left out. Taken as independent, models that share it make all intervals "
        "too narrow; keep as many models of each, or one.",
        f"What is shared by {describe_group(name)} is left out, so the interval is too narrow.",
        first=True,
    )


def _bases_left_out(crossing: Crossing) -> list[Note]:
    """Say where models share bases that neither `base` nor the formula asks about."""
    space = crossing.space
    shared = {group.name: group for group in find_groups(crossing.design.models)}
    if "base" in (*space.sizes, *space.dropped) or "base" not in shared:
        return []
    # Bases may go by another name, such as family:base.
    if any(shared["base"].same_as(group) for group in space.groups):
        return []
    n = shared["base"].n_levels
    return [
        Note(
            "bases left out",
            f"the {crossing.shape[0]} models stand on {n} bases, which were left out: models of "
            "one base count as independent, so that what is said holds for these bases, and no "
            "interval reaches to others. Add '(1 | base)' to the formula, or leave base= as it is "
            "where the formula has no random effects.",
            f"Models share {n} bases, which were left out here: the interval holds for these bases "
            "and does not reach to others of a family.",
        )
    ]


def _one_base(models: pd.DataFrame) -> list[Note]:
    """Say where all models stand on one base."""
    bases = known_bases(models) or []
    if len(bases) < 2 or len(set(bases)) > 1 or set(SIDES) <= set(models.columns):
        return []
    return [
        Note(
            "one base",
            f"all {len(bases)} models stand on one base, {bases[0]}: what is said is about models "
            "of this base, and how far those of others would differ is in no interval. Score "
            "models of further bases.",
            "All models stand on one base, and nothing here reaches to models of others.",
        )
    ]


def _lone_bases(crossing: Crossing) -> Note | None:
    """Say where a family and its base are the same thing, in all families or in some."""
    base, family = crossing.space.group("base"), crossing.design.factor("family")
    if base is None or family is None:
        return None
    kinds = crossing.design.models["family"].astype(str)
    bases = pd.Series(base.labels.tolist(), kinds.index).groupby(kinds)
    count = bases.nunique()
    lone = bases.first()[count == 1]
    if lone.empty or base.n_levels != count.sum():
        return None
    named = some([f"{family} ({base})" for family, base in lone.items()], quote=False)
    if len(lone) == len(count):
        return Note(
            "one base a family",
            f"every family has one base: {named}. What is a family's and what is its base's cannot "
            "be told apart, and how much bases of a family differ is taken from the prior alone: "
            "so are the widths of all intervals on families. Score models of further bases, or ask "
            "for base=None and speak of these bases.",
            "Each family has one base here, so that family and base cannot be told apart, and the "
            "interval is as wide as the prior on bases makes it.",
            first=True,
        )
    return Note(
        "one base of a family",
        f"there is one base only of {named}: what is the family's and what is its base's cannot be "
        "told apart there, and how much its bases differ is taken from the other families.",
        f"There is one base only of {some(list(map(str, lone.index)), quote=False)}: how far "
        "others would differ is taken from the other families.",
    )


def sample(problem: Problem, settings: Settings, progress: Progress | None) -> xr.DataTree:
    """Sample and recover; the groups of a fit, without attributes.

    Complete crossings go to NUTS on the collapsed density, incomplete ones to completion.
    """
    from valuebias.analysis.incomplete import CompletedDraws

    found = sample_variances(problem, settings, progress)
    extra = None
    if isinstance(found, CompletedDraws):
        draws, margins = found.variances, found.margins
        extra = xr.Dataset(
            {
                "cell": (("missing", "side"), found.cells),
                "value": (("kept", "missing"), found.completions),
                "kept": found.kept,
                "on_axes": (("sample", "axis", "model", "framing"), margins.on_axes),
                "rest": (("sample", "rotated", "word"), margins.rest),
                "scatter": ("entry", found.scatter),
            }
        )
    else:
        draws = found
        margins = make_margins(problem.crossing, make_tables(problem.crossing, problem.crossing.y))
    v = problem.components.variances(draws.sd, draws.correlation, draws.spread)
    v = v.reshape(-1, problem.components.n_variances)
    rng = np.random.default_rng([settings.seed, 1])
    effects = draw_effects(
        problem.crossing, problem.components, margins, v, problem.coefficient_scales, rng
    )
    groups = {"posterior": _posterior(problem, draws, effects)}
    groups["sample_stats"] = draws.stats
    if extra is not None:
        groups["completion"] = extra
    return xr.DataTree.from_dict(groups)


def sample_variances(
    problem: Problem, settings: Settings, progress: Progress | None
) -> VarianceDraws | CompletedDraws:
    """Sample the variances only; of an incomplete crossing with its completions."""
    from valuebias.analysis.incomplete import sample_incomplete
    from valuebias.analysis.sampling import sample_nuts, sample_pymc

    cores = min(settings.chains, os.cpu_count() or 1)
    common = {
        "draws": settings.draws,
        "tune": settings.tune,
        "chains": settings.chains,
        "seed": settings.seed,
        "cores": cores,
    }
    if not problem.crossing.complete:
        return sample_incomplete(
            problem.crossing,
            problem.components,
            problem.posterior,
            problem.coefficient_scales,
            progress=progress,
            **common,
        )
    if settings.sampler == "pymc":
        from valuebias.analysis.model import build_model

        model = build_model(problem.crossing, problem.components, problem.prior, problem.packed)
        return sample_pymc(model, **common)
    posterior = problem.posterior(problem.strata)
    return sample_nuts(posterior, progress=progress, **common)


def _posterior(problem: Problem, draws: VarianceDraws, effects: EffectDraws) -> xr.Dataset:
    """Name the draws: one Dataset over (chain, draw, …)."""
    chains, n = draws.sd.shape[:2]

    def chained(values: Array) -> Array:
        return values.reshape(chains, n, *values.shape[1:])

    crossing, components = problem.crossing, problem.components
    by_column = ("chain", "draw", "column", "framing", "axis")
    by_model = ("chain", "draw", "model", "framing", "axis")
    arrays = {
        "sd": (("chain", "draw", "component", "framing"), draws.sd),
        "correlation": (("chain", "draw", "correlated"), draws.correlation),
        "coefficient": (by_column, chained(effects.coefficient)),
        "word_shift": (by_column, chained(effects.word_shift)),
        "model_effect": (by_model, chained(effects.model)),
    }
    coords: dict[str, Any] = {
        "chain": np.arange(chains),
        "draw": np.arange(n),
        "component": components.names,
        "correlated": np.array(components.correlated, dtype=str),
        "framing": list(crossing.framings),
        "column": crossing.design.column_names,
        "axis": np.arange(1, len(crossing.axes) + 1),
        "model": [str(name) for name in crossing.models],
    }
    if crossing.space.group("base") is not None:
        arrays["base_effect"] = (by_model, chained(effects.base))
    if crossing.space.kinds:
        arrays["spread"] = (("chain", "draw", "level", "kind"), draws.spread)
        coords |= {"level": list(SPREADS), "kind": list(crossing.space.kinds)}
    return xr.Dataset(arrays, coords=coords)
