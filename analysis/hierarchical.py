"""From a dataset to posterior draws: prepare the crossing, choose the path, sample, recover."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from valuebias.analysis.design.components import SPREADS, Components, make_components
from valuebias.analysis.design.crossing import Crossing, make_crossing
from valuebias.analysis.design.formula import parse_formula
from valuebias.analysis.design.grouping import (
    PAIR_COORDS,
    Group,
)
from valuebias.analysis.design.items import make_item_crossing
from valuebias.analysis.design.noise import NORMAL, Noise, read_noise
from valuebias.analysis.design.priors import Prior
from valuebias.analysis.design.random_terms import groups_of, split_random
from valuebias.analysis.design.stored_design import Layout, pack_layout, unpack_layout
from valuebias.analysis.design.strata import Stratum, make_strata, make_tables
from valuebias.analysis.design.unscored import check_framings, check_scored
from valuebias.analysis.estimands.effects import EffectDraws, draw_effects, make_margins
from valuebias.analysis.outcome import describe, outcome, words_with_categories
from valuebias.analysis.sampling.density import PackedStrata, Posterior, pack_strata
from valuebias.errors import ValueBiasError
from valuebias.schema import member_table, model_table, prompt_table

if TYPE_CHECKING:
    from valuebias.analysis.sampling.incomplete import CompletedDraws
    from valuebias.analysis.sampling.nuts import VarianceDraws
    from valuebias.analysis.sampling.tail_layout import TailDraws

__all__ = [
    "MODEL_FIELDS",
    "Model",
    "Problem",
    "Settings",
    "in_lexicon",
    "make_layout",
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
    """How to sample."""

    draws: int
    tune: int
    chains: int
    seed: int
    sampler: str  # ``"hmc"``, ``"nutpie"`` or ``"pymc"``


@dataclass(frozen=True)
class Problem:
    """A crossing with its components and prior: everything but the draws."""

    crossing: Crossing
    components: Components
    prior: Prior
    strata: list[Stratum]
    stored: xr.Dataset | None = None
    """The formulas' columns, to be kept with the draws."""
    noise: Noise = NORMAL

    @property
    def coefficient_scales(self) -> Array:
        """Prior SDs of the design's columns in outcome units, shape (column,)."""
        return self.prior.coefficient_scales(self.crossing)

    @property
    def packed(self) -> PackedStrata:
        """The strata as flat arrays."""
        return pack_strata(self.strata)

    def completed_cubes(self, v: Array, rng: np.random.Generator) -> Iterator[Array]:
        """Complete the outcome at each row of variances (draw, variance), into the same array."""
        from valuebias.analysis.sampling.incomplete import complete_cubes

        scales = self.coefficient_scales
        return complete_cubes(self.crossing, self.components, scales, v, rng)

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
    """The model of a fit, without the data and the priors.

    Attributes
    ----------
    formula : str
        Over the coordinates of the models, random effects such as ``(1 | base)`` included.
    outcome : str
    words : str or None
        Formula over the coordinates of the words.
    base : str or None
        The coordinate that names each model's base; None to ignore bases.
    spread : bool or None
        Whether families differ in how much their models vary; where None, as
        :func:`spread_by_family` says.
    family : str
        How scores scatter about what is expected of them, ``"gaussian"`` or ``"student"``.
    residual : str or None
        ``"model"`` where each model has a residual SD of its own.
    heavy_tails : sequence of str or None
        Whose effects are t distributed: of ``"words"``, ``"models"``, ``"bases"``.
    by : str or None
        Of a contrast set: what its variants are grouped by; the items are then the words.
    """

    formula: str
    outcome: str
    words: str | None = None
    base: str | None = "base"
    spread: bool | None = None
    family: str = "gaussian"
    residual: str | None = None
    heavy_tails: Sequence[str] | None = None
    by: str | None = None


MODEL_FIELDS = tuple(field.name for field in fields(Model))
"""The fields of its model that a fit keeps."""


def make_problem(
    dataset: xr.Dataset,
    model: Model,
    prior: Prior | None,
    *,
    scale: float | None = None,
    stored: xr.Dataset | None = None,
) -> Problem:
    """Prepare a validated dataset for sampling.

    A higher value always means a higher reward, so ranks are turned round. ``scale`` is the unit of
    the priors, where that is not to be taken from these data. ``stored`` is what the formulas gave
    before, so that they are not read again.
    """
    lexical = in_lexicon(dataset)
    prompts = prompt_table(dataset)
    layout = make_layout(lexical, model, stored)
    groups = layout.groups
    framing, member = prompts["framing"].to_numpy().astype(str), member_table(lexical)
    score = lexical["score"].transpose("model", "prompt", "response").to_numpy()
    check_framings(framing)
    check_scored(~np.isnan(score), framing, member)
    spread = spread_by_family(groups) if model.spread is None else model.spread
    values = _upward(lexical, model.outcome)
    if model.by is None:
        crossing = make_crossing(
            values,
            layout.design,
            framing,
            member,
            prompts.index,
            groups=groups,
            spread=spread,
            covariates=layout.covariates,
            scale=scale,
        )
    else:
        crossing = make_item_crossing(
            values,
            layout.design,
            tuple(map(str, member.columns)),
            prompts.index,
            shared=groups,
            spread=spread,
            scale=scale,
        )
    components = make_components(crossing)
    chosen = prior or Prior()
    chosen.check(components)
    tables = make_tables(crossing, crossing.y)
    strata = make_strata(crossing, components, tables, chosen.coefficient_scales(crossing))
    kept = pack_layout(layout, model.formula) if stored is None else stored
    noise = read_noise(model.family, model.residual, model.heavy_tails)
    if "bases" in noise.tails and not components.tailed(("bases",)):
        raise ValueBiasError(
            "heavy_tails names 'bases', but no two models share one, so that bases have no effects "
            "of their own; name 'models' instead."
        )
    return Problem(crossing, components, chosen, strata, kept, noise)


def in_lexicon(dataset: xr.Dataset) -> xr.Dataset:
    """Drop the words outside the lexicon: no category, nothing to compare."""
    inside = words_with_categories(dataset)
    # By position: words may hold lone surrogates, which label look-up refuses.
    return dataset if inside.all() else dataset.isel(response=np.flatnonzero(inside))


def _upward(dataset: xr.Dataset, kind: str) -> Array:
    """Return the outcome (model, prompt, word), higher for higher rewards."""
    values = outcome(dataset, kind=kind).transpose("model", "prompt", "response").to_numpy()
    if describe(kind).sign < 0:
        np.negative(values, out=values)
    return values


def make_layout(dataset: xr.Dataset, model: Model, stored: xr.Dataset | None = None) -> Layout:
    """Read the formulas over the models and words, or take their stored columns."""
    models = model_table(dataset)
    if stored is not None:
        layout = unpack_layout(stored, models, formula=model.formula, words=model.words)
        if layout.covariates is not None and len(layout.covariates) != dataset.sizes["response"]:
            raise ValueBiasError(
                f"the saved fit's design is of {len(layout.covariates):,} words, its data of "
                f"{dataset.sizes['response']:,}; it was changed after saving. Fit again."
            )
        return layout
    fixed, random = split_random(model.formula)
    return Layout(
        parse_formula(fixed, models),
        groups_of(random, models, model.base),
        word_covariates(model.words, dataset),
        model.words,
    )


def spread_by_family(groups: tuple[Group, ...]) -> bool:
    """Decide whether families have spreads of their own by default.

    Not among pairs of models or checkpoints of training, whose spread is their layout's.
    """
    return not {group.name for group in groups} & {*PAIR_COORDS, "run"}


def word_covariates(formula: str | None, dataset: xr.Dataset) -> pd.DataFrame | None:
    """Compute the columns of a formula over the words' coordinates, (word, covariate)."""
    if formula is None:
        return None
    from valuebias.schema import word_table

    design = parse_formula(formula, word_table(dataset))
    return pd.DataFrame(design.matrix[:, 1:], columns=design.column_names[1:])


def sample(problem: Problem, settings: Settings, progress: Progress | None) -> xr.DataTree:
    """Sample and recover effects; returns the groups of a fit, without attributes.

    Complete crossings are sampled on the collapsed density, incomplete ones to completion, and so
    are scores whose residuals are not normal with one SD, or effects not normal.
    """
    from valuebias.analysis.sampling.incomplete import CompletedDraws

    sampled = sample_variances(problem, settings, progress)
    extra, of_noise, tails = None, xr.Dataset(), None
    if isinstance(sampled, CompletedDraws):
        draws, margins = sampled.variances, sampled.margins
        extra = xr.Dataset(
            {
                "on_axes": (("sample", "axis", "model", "framing"), margins.on_axes),
                "rest": (("kept", "rotated", "word"), margins.rest),
                "rest_of": ("kept", sampled.rest_of),
                "scatter": ("entry", sampled.scatter),
            }
        )
    else:
        draws = sampled
        margins = make_margins(problem.crossing, make_tables(problem.crossing, problem.crossing.y))
    v = problem.components.variances(draws.sd, draws.correlation, draws.spread)
    v = v.reshape(-1, problem.components.n_variances)
    if extra is not None and isinstance(sampled, CompletedDraws) and not problem.noise.plain:
        # The values that stand for the scores have a residual variance of their own.
        core = v[:, list(problem.components["residual"].index[0])]
        extra["residual"] = (("sample", "framing"), core)
        draws, of_noise, tails = _with_noise(problem, draws, sampled.noise)
        if tails is not None:
            extra["common"] = (("sample", "tail"), tails.common)
            extra = extra.assign_coords(tail=tails.names)
            if sampled.shift.shape[1]:
                extra["shift"] = (("kept", "tailed", "word"), sampled.shift)
    rng = np.random.default_rng([settings.seed, 1])
    effects = draw_effects(
        problem.crossing, problem.components, margins, v, problem.coefficient_scales, rng
    )
    if tails is not None:
        effects = EffectDraws(
            effects.coefficient,
            effects.word_shift + tails.word_shift,
            effects.model + tails.model,
            effects.base + tails.base,
        )
    groups = {"posterior": _posterior(problem, draws, effects).merge(of_noise)}
    groups["sample_stats"] = draws.stats
    if problem.stored is not None:
        groups["design"] = problem.stored
    if extra is not None:
        groups["completion"] = extra
    return xr.DataTree.from_dict(groups)


def sample_variances(
    problem: Problem, settings: Settings, progress: Progress | None
) -> VarianceDraws | CompletedDraws:
    """Sample the variances only; of an incomplete crossing with its completions."""
    from valuebias.analysis.sampling.incomplete import Sampler, sample_incomplete
    from valuebias.analysis.sampling.robust import RobustSampler

    cores = min(settings.chains, os.cpu_count() or 1)
    common = {
        "draws": settings.draws,
        "tune": settings.tune,
        "chains": settings.chains,
        "seed": settings.seed,
        "cores": cores,
    }
    if not problem.noise.plain:
        return sample_incomplete(RobustSampler(problem), progress=progress, **common)
    if not problem.crossing.complete:
        sampler = Sampler(
            problem.crossing, problem.components, problem.posterior, problem.coefficient_scales
        )
        return sample_incomplete(sampler, progress=progress, **common)
    if settings.sampler == "pymc":
        from valuebias.analysis.sampling.nuts import sample_pymc
        from valuebias.analysis.sampling.pymc_model import build_model

        model = build_model(problem.crossing, problem.components, problem.prior, problem.packed)
        return sample_pymc(model, **common)
    posterior = problem.posterior(problem.strata)
    if settings.sampler == "nutpie":
        from valuebias.analysis.sampling.nuts import sample_nuts

        return sample_nuts(posterior, progress=progress, **common)
    from valuebias.analysis.sampling.hmc import sample_hmc

    return sample_hmc(posterior, progress=progress, rings=problem.components.rings, **common)


def _with_noise(
    problem: Problem, draws: VarianceDraws, kept: Array
) -> tuple[VarianceDraws, xr.Dataset, TailDraws | None]:
    """Give residual and heavy-tailed effects their own SDs among the draws.

    Returns also what else they are like: as named, and, of effects, with chains one after the
    other.
    """
    from valuebias.analysis.sampling.robust import NoiseDraws
    from valuebias.analysis.sampling.tail_layout import TailDraws

    crossing, names = problem.crossing, problem.components.names
    n_of_residuals = len(crossing.framings) + crossing.shape[0] + 2
    noise = NoiseDraws.read(kept[..., :n_of_residuals], len(crossing.framings))
    sd = draws.sd.copy()
    sd[:, :, names.index("residual")] = noise.sd
    named, tails = xr.Dataset(), None
    nu = {"residual": noise.nu} if problem.noise.student else {}
    if problem.noise.tails:
        tailed = problem.components.tailed(problem.noise.tails)
        flat = kept[..., n_of_residuals:].reshape(-1, kept.shape[-1] - n_of_residuals)
        tails = TailDraws.read(flat, crossing, problem.components, tailed)
        for i, name in enumerate(tailed):
            nu[name] = tails.nu[:, i].reshape(sd.shape[:2])
            sd[:, :, names.index(name)] /= np.sqrt(tails.common[:, i]).reshape(*sd.shape[:2], 1)
    if nu:
        named["nu"] = (("chain", "draw", "part"), np.stack(list(nu.values()), axis=-1))
        named = named.assign_coords(part=list(nu))
    if problem.noise.by_model:
        named["residual_factor"] = (("chain", "draw", "model"), noise.factor)
        named["residual_spread"] = (("chain", "draw", "over"), noise.spread[..., None])
        named = named.assign_coords(over=["model"])
    return replace(draws, sd=sd), named, tails


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
