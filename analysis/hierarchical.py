"""From a dataset to posterior draws: prepare the crossing, choose the path, sample, recover."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from valuebias.analysis.components import Components, make_components
from valuebias.analysis.crossing import Crossing, make_crossing
from valuebias.analysis.density import PackedStrata, Posterior, pack_strata, variances
from valuebias.analysis.effects import EffectDraws, draw_effects, make_margins
from valuebias.analysis.formula import parse_formula
from valuebias.analysis.notes import Note
from valuebias.analysis.outcome import describe, outcome
from valuebias.analysis.priors import Prior
from valuebias.analysis.sides import GROUPS, SIDES, shared_models
from valuebias.analysis.strata import Stratum, make_strata, make_tables
from valuebias.schema import member_table, model_table, prompt_table

__all__ = ["Problem", "Settings", "consequences", "make_problem", "sample"]

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
        names, n = self.components.names, self.components.n_framings
        scales = np.repeat([self.prior.sd_of(name) for name in names], n) * self.crossing.scale
        n_correlated = len(self.components.correlated)
        return Posterior(pack_strata(strata), scales, self.prior.correlation, n, n_correlated)


def make_problem(dataset: xr.Dataset, formula: str, kind: str, prior: Prior | None) -> Problem:
    """Prepare a validated dataset for sampling; ``kind`` is the outcome.

    A higher value always means a higher reward, so ranks are turned round.
    """
    values = outcome(dataset, kind=kind)
    # By position: words may hold lone surrogates, which label look-up refuses.
    inside = np.flatnonzero(dataset["membership"].any("category").to_numpy())
    membership = member_table(dataset.isel(response=inside))
    design = parse_formula(formula, model_table(dataset))
    prompts = prompt_table(dataset)
    crossing = make_crossing(
        describe(kind).sign * values.transpose("model", "prompt", "response").to_numpy(),
        design,
        prompts["framing"].to_numpy().astype(str),
        membership,
        prompts.index,
    )
    components = make_components(crossing)
    chosen = prior or Prior()
    chosen.check(components)
    tables = make_tables(crossing, crossing.y)
    strata = make_strata(crossing, components, tables, chosen.coefficient_scales(crossing))
    return Problem(crossing, components, chosen, strata)


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
                "do the widths of all intervals on the formula's terms.",
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
    """Say what follows from pairs that share models, and from checkpoints that share runs."""
    models, sides = crossing.design.models, crossing.sides
    if sides.status == "unsupported" and not set(SIDES) <= set(models.columns):
        return [
            Note(
                "uneven groups",
                "the checkpoints of the training runs are too uneven for the model of what they "
                "share. Taken as independent, they make all intervals too narrow; keep as many "
                "checkpoints of every run, or the last of each.",
                "Checkpoints of one run count as independent here, which makes this interval too "
                "narrow.",
                first=True,
            )
        ]
    if sides.status == "unsupported":
        shared = shared_models(*(models[side].tolist() for side in SIDES))
        return [
            Note(
                "uneven groups",
                f"{shared}. Taken as independent, they make all intervals too narrow; pair every "
                "numerator with every denominator, and have no model on both sides.",
                "Pairs that share a model count as independent here, which makes this interval too "
                "narrow.",
                first=True,
            )
        ]
    blind = [
        side
        for side in sides.in_span
        if not any(subspace.size and side in subspace.loads for subspace in sides.subspaces)
        # Columns beyond the formula's tell as well.
        and crossing.model_basis.shape[1] == crossing.design.matrix.shape[1]
    ]
    return [
        Note(
            f"spread of {side}s unknown",
            f"too few models are a pair's {side} to tell what is such a model's own from what is "
            f"its family's: how much {side}s of a family differ comes from the prior alone."
            if side in SIDES
            else f"the formula has as many columns as there are {side}s, {sides.sizes[side]}: how "
            f"much {GROUPS[side]} differ comes from the prior alone.",
        )
        for side in blind
    ]


def sample(problem: Problem, settings: Settings, progress: Progress | None) -> xr.DataTree:
    """Sample and recover; the groups of a fit, without attributes.

    Complete crossings go to NUTS on the collapsed density, incomplete ones to completion.
    """
    cores = min(settings.chains, os.cpu_count() or 1)
    if problem.crossing.complete:
        draws, extra = _sample_complete(problem, settings, cores, progress), None
        margins = make_margins(problem.crossing, make_tables(problem.crossing, problem.crossing.y))
    else:
        from valuebias.analysis.incomplete import sample_incomplete

        completed = sample_incomplete(
            problem.crossing,
            problem.components,
            problem.posterior,
            problem.coefficient_scales,
            draws=settings.draws,
            tune=settings.tune,
            chains=settings.chains,
            seed=settings.seed,
            cores=cores,
            progress=progress,
        )
        draws, margins = completed.variances, completed.margins
        extra = xr.Dataset(
            {
                "cell": (("missing", "side"), completed.cells),
                "value": (("kept", "missing"), completed.completions),
                "kept": completed.kept,
                "on_axes": (("sample", "axis", "model", "framing"), margins.on_axes),
                "rest": (("sample", "rotated", "word"), margins.rest),
                "scatter": ("entry", completed.scatter),
            }
        )
    v = variances(draws.sd, draws.correlation).reshape(-1, problem.components.n_variances)
    rng = np.random.default_rng([settings.seed, 1])
    effects = draw_effects(
        problem.crossing, problem.components, margins, v, problem.coefficient_scales, rng
    )
    groups = {"posterior": _posterior(problem, draws.sd, draws.correlation, effects)}
    groups["sample_stats"] = draws.stats
    if extra is not None:
        groups["completion"] = extra
    return xr.DataTree.from_dict(groups)


def _sample_complete(problem: Problem, settings: Settings, cores: int, progress: Progress | None):  # type: ignore[no-untyped-def]
    from valuebias.analysis.sampling import sample_nuts, sample_pymc, useful_cores

    common = {
        "draws": settings.draws,
        "tune": settings.tune,
        "chains": settings.chains,
        "seed": settings.seed,
    }
    if settings.sampler == "pymc":
        from valuebias.analysis.model import build_model

        model = build_model(problem.crossing, problem.components, problem.prior, problem.packed)
        return sample_pymc(model, cores=cores, **common)
    posterior = problem.posterior(problem.strata)
    cores = useful_cores(posterior, cores)
    return sample_nuts(posterior, cores=cores, progress=progress, **common)


def _posterior(problem: Problem, sd: Array, correlation: Array, effects: EffectDraws) -> xr.Dataset:
    """Name the draws: one Dataset over (chain, draw, …)."""
    chains, draws = sd.shape[:2]

    def chained(values: Array) -> Array:
        return values.reshape(chains, draws, *values.shape[1:])

    crossing, components = problem.crossing, problem.components
    by_column = ("chain", "draw", "column", "framing", "axis")
    return xr.Dataset(
        {
            "sd": (("chain", "draw", "component", "framing"), sd),
            "correlation": (("chain", "draw", "correlated"), correlation),
            "coefficient": (by_column, chained(effects.coefficient)),
            "word_shift": (by_column, chained(effects.word_shift)),
            "model_effect": (
                ("chain", "draw", "model", "framing", "axis"),
                chained(effects.model),
            ),
        },
        coords={
            "chain": np.arange(chains),
            "draw": np.arange(draws),
            "component": components.names,
            "correlated": np.array(components.correlated, dtype=str),
            "framing": list(crossing.framings),
            "column": crossing.design.column_names,
            "axis": np.arange(1, len(crossing.axis_weight) + 1),
            "model": [str(name) for name in crossing.models],
        },
    )
