"""Priors, in units of the outcome's own standard deviation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from valuebias._core.numbers import is_finite, plain_numbers
from valuebias.analysis.design.components import SPREADS, Components
from valuebias.analysis.design.crossing import Crossing
from valuebias.analysis.design.noise import LEAST_NU, NU_RATE, NU_SHAPE, RESIDUAL_SPREAD, Noise
from valuebias.errors import ValueBiasError, did_you_mean, shown

__all__ = ["Prior", "as_prior", "prior_table"]

# By what a component acts on; for the reasons see docs/model.md. Words differ by about the
# outcome's whole spread. There are models enough to say how much their leans differ, but not bases:
# their prior is near what the paper's scores show, chosen by simulation so that 90 % intervals hold
# the truth in about 90 % of cases with one to four bases per family.
_DEFAULT_SD = {"word": 1.0, "residual": 1.0, "category": 0.25, "covariate": 0.25, "prompt": 0.5}
_DEFAULT_OF = {"base_category": 0.1, "prompt_category": 0.5, "prompt_covariate": 0.5}


_FIELDS = ("sd", "mean", "effect", "correlation", "spread")
_COMPONENT = re.compile(
    r"word|residual|prompt_word|model_prompt|model_prompt_covariate|prompt_(category|covariate)"
    r"|(model|base|run|numerator|denominator)_(category|covariate|word)"
)


def _acts_on(component: str) -> str:
    """Return "word" for ``word:<term>``, "category" for ``base_category``: what it acts on."""
    return "word" if component.startswith("word:") else component.rpartition("_")[2]


def _kind_of(component: str) -> str:
    """Drop what a component is the slope of: ``base:log2(n_pairs)_word`` is a ``base_word``."""
    who, colon, _ = component.partition(":")
    return f"{who}_{_acts_on(component)}" if colon and who != "word" else who


@dataclass(frozen=True)
class Prior:
    """Scales of the priors, in units of the outcome's standard deviation over words.

    Parameters
    ----------
    sd : mapping of str to float
        Scale of the half-normal prior on the SD of a component: ``model_category``, ``word``,
        ``word:<term>``, ``model_word``, ``prompt_category``, ``model_prompt``, ``prompt_word``,
        ``residual``; where models share bases also ``base_category`` and ``base_word``, of pairs
        that share models ``numerator_category``, ``denominator_word`` and so on, of checkpoints
        ``run_category`` and ``run_word``; where words have a formula ``model_covariate`` and the
        like. Components left out keep their default: 1; for those that act on categories and
        covariates 0.25, of bases 0.1 and of prompts 0.5.
    mean : float
        SD of the normal prior on each category × framing mean.
    effect : float
        SD of the normal prior on each effect of a formula term on a category × framing.
    correlation : float
        Concentration η of the LKJ(η) prior on the correlation between framings; 1 is uniform.
    spread : float
        SD of the normal prior on zero-sum contrasts of the families' log SDs: how much families may
        differ in how much their models vary.

    Examples
    --------
    >>> Prior(sd={"model_category": 0.25}).sd_of("model_category")
    0.25
    >>> Prior().sd_of("word:family")
    1.0
    """

    sd: Mapping[str, float] = field(default_factory=dict)
    mean: float = 1.0
    effect: float = 0.5
    correlation: float = 2.0
    spread: float = 0.7

    def __post_init__(self) -> None:
        if not isinstance(self.sd, Mapping):
            raise ValueBiasError(
                "prior sd must be a mapping from components to scales such as {'word': 0.5}, found "
                f"{shown(self.sd)}."
            )
        numbers = {name: getattr(self, name) for name in _FIELDS[1:]}
        numbers |= {f"sd[{name!r}]": value for name, value in self.sd.items()}
        for name, value in numbers.items():
            if not (is_finite(value) and value > 0):
                raise ValueBiasError(
                    f"prior {name} must be a positive number, found {shown(value)}."
                )
        # As Python's own, so that a fit with numpy's can be saved.
        for name in _FIELDS:
            object.__setattr__(self, name, plain_numbers(getattr(self, name)))

    def sd_of(self, component: str) -> float:
        """Half-normal scale of one component's SD."""
        kind = _kind_of(component)
        default = _DEFAULT_OF.get(kind, _DEFAULT_SD[_acts_on(component)])
        return float(self.sd.get(component, self.sd.get(kind, default)))

    def scaled(self, factor: float, components: Components, only: str = "") -> Prior:
        """Return the prior with scales multiplied by ``factor``.

        All of them (correlations are kept), or ``only`` one: a component's, ``"mean"``,
        ``"effect"`` or ``"spread"``.
        """
        names = [name for name in components.names if only in ("", name)]
        sd = dict(self.sd) | {name: self.sd_of(name) * factor for name in names}
        numbers = {
            name: getattr(self, name) * factor
            for name in ("mean", "effect", "spread")
            if only in ("", name)
        }
        return replace(self, sd=sd, **numbers)

    def check(self, components: Components) -> None:
        """Raise where an SD is named that no component of any model has."""
        known = components.names
        for name in self.sd:
            if not isinstance(name, str):
                raise ValueBiasError(f"prior sd names {shown(name)}. {did_you_mean(name, known)}")
            # A component of another model is not an error: one prior may serve several fits.
            if name not in known and not _COMPONENT.fullmatch(name):
                raise ValueBiasError(
                    f"no component {name!r} has an SD. {did_you_mean(name, known)}"
                )

    def to_dict(self) -> dict[str, Any]:
        """Plain dict for storage."""
        return asdict(replace(self, sd=dict(self.sd)))

    def coefficient_scales(self, crossing: Crossing) -> NDArray[np.float64]:
        """Prior SDs of the design's columns in outcome units, shape (column,)."""
        scales = np.full(crossing.design.matrix.shape[1], self.effect)
        scales[0] = self.mean
        return scales * crossing.scale


def as_prior(prior: Prior | Mapping[str, Any] | None) -> Prior:
    """Accept a Prior, a mapping of its fields, or None for the default."""
    if prior is None:
        return Prior()
    if isinstance(prior, Prior):
        return prior
    if not isinstance(prior, Mapping):
        raise ValueBiasError(
            f"prior must be a Prior or a mapping such as {{'effect': 0.25}}, found {prior!r}."
        )
    for name in prior:
        if name not in _FIELDS:
            raise ValueBiasError(f"unknown prior {name!r}. {did_you_mean(name, _FIELDS)}")
    return Prior(**prior)


def prior_table(
    prior: Prior, crossing: Crossing, components: Components, noise: Noise
) -> pd.DataFrame:
    """One row per parameter: its distribution in outcome units and what it means."""
    unit = crossing.scale
    rows = []
    for component in components.members:
        scale = prior.sd_of(component.name) * unit
        rows.append((f"sd[{component.name}]", f"HalfNormal({scale:.3g})", component.description))
        if component.name in components.correlated:
            text = f"LKJ({prior.correlation:g})"
            rows.append((f"correlation[{component.name}]", text, "correlation between framings"))
    if crossing.space.kinds:
        text = f"Normal(0, {prior.spread:g}) on the log scale"
        rows += [
            (f"spread[{level}]", text, f"how families differ in their models' SDs on {level_text}")
            for level, level_text in zip(SPREADS, ("categories", "single words"), strict=True)
            if level in components.spread_levels
        ]
    if noise.student:
        text = f"Gamma({NU_SHAPE:g}, {NU_RATE:g}) above {LEAST_NU:g}"
        rows.append(("nu[residual]", text, "degrees of freedom of the t, whose scale sd is"))
    for name in components.tailed(noise.tails):
        text = f"Gamma({NU_SHAPE:g}, {NU_RATE:g}) above {LEAST_NU:g}"
        rows.append((f"nu[{name}]", text, "degrees of freedom of the t of these effects, likewise"))
    if noise.by_model:
        text = f"HalfNormal({RESIDUAL_SPREAD:g}) on the log scale"
        rows.append(("residual_spread[model]", text, "how models differ in the residual's SD"))
    text = f"Normal(0, {prior.mean * unit:.3g})"
    rows.append(("mean", text, "each category × framing, zero-sum families"))
    if len(crossing.design.terms) > 1:
        text = f"Normal(0, {prior.effect * unit:.3g})"
        rows.append(("effect", text, "each column of the formula, likewise"))
    return pd.DataFrame(rows, columns=["parameter", "prior", "meaning"]).set_index("parameter")
