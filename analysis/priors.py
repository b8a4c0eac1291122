"""Priors, in units of the outcome's own standard deviation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from valuebias.analysis.components import Components
from valuebias.analysis.crossing import Crossing
from valuebias.analysis.sides import GROUPS
from valuebias.errors import ValueBiasError, did_you_mean

__all__ = ["Prior", "as_prior", "prior_table"]

# Words differ by about the outcome's whole spread; models and prompts, as a rule, by far less.
_DEFAULT_SD = {"word": 1.0, "model_word": 1.0, "prompt_word": 1.0, "residual": 1.0}
_DEFAULT_SD |= {"model_category": 0.5, "prompt_category": 0.5, "model_prompt": 0.5}
# Where pairs share models, or checkpoints a training run.
_DEFAULT_SD |= {f"{one}_word": 1.0 for one in GROUPS} | {f"{one}_category": 0.5 for one in GROUPS}


@dataclass(frozen=True)
class Prior:
    """Scales of the priors, in units of the outcome's standard deviation over words.

    Parameters
    ----------
    sd : mapping of str to float
        Scale of the half-normal prior on the SD of a component: ``model_category``, ``word``,
        ``word:<term>``, ``model_word``, ``prompt_category``, ``model_prompt``, ``prompt_word``,
        ``residual``; of pairs that share models also ``numerator_category``, ``numerator_word``,
        ``denominator_category``, ``denominator_word``, of checkpoints ``run_category``,
        ``run_word``, ``base_category``, ``base_word``. Components left out keep their default (1,
        or 0.5 for those that act on categories).
    mean : float
        SD of the normal prior on each category × framing mean.
    effect : float
        SD of the normal prior on each effect of a formula term on a category × framing.
    correlation : float
        Concentration η of the LKJ(η) prior on the correlation between framings; 1 is uniform.

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

    def __post_init__(self) -> None:
        if not isinstance(self.sd, Mapping):
            raise ValueBiasError(
                "prior sd must be a mapping from components to scales such as {'word': 0.5}, found "
                f"{self.sd!r}."
            )
        numbers = {"mean": self.mean, "effect": self.effect, "correlation": self.correlation}
        numbers |= {f"sd[{name!r}]": value for name, value in self.sd.items()}
        for name, value in numbers.items():
            number = isinstance(value, int | float | np.number)
            if not (number and np.isfinite(value) and value > 0):
                raise ValueBiasError(f"prior {name} must be a positive number, found {value!r}.")

    def sd_of(self, component: str) -> float:
        """Half-normal scale of one component's SD."""
        kind = component.split(":")[0]
        return float(self.sd.get(component, self.sd.get(kind, _DEFAULT_SD[kind])))

    def scaled(self, factor: float) -> Prior:
        """Return the prior with every scale multiplied by ``factor`` (correlation kept)."""
        sd = {name: self.sd_of(name) * factor for name in {*_DEFAULT_SD, *self.sd}}
        return replace(self, sd=sd, mean=self.mean * factor, effect=self.effect * factor)

    def check(self, components: Components) -> None:
        """Raise where an SD is named that no component of the model has."""
        known = components.names
        for name in self.sd:
            if name not in known and name not in _DEFAULT_SD:
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
    fields = ("sd", "mean", "effect", "correlation")
    if not isinstance(prior, Mapping):
        raise ValueBiasError(
            f"prior must be a Prior or a mapping such as {{'effect': 0.25}}, found {prior!r}."
        )
    for name in prior:
        if name not in fields:
            raise ValueBiasError(f"unknown prior {name!r}. {did_you_mean(name, fields)}")
    return Prior(**prior)


def prior_table(prior: Prior, crossing: Crossing, components: Components) -> pd.DataFrame:
    """One row a parameter: its distribution in outcome units and what it means."""
    unit = crossing.scale
    rows = []
    for component in components.members:
        scale = prior.sd_of(component.name) * unit
        rows.append((f"sd[{component.name}]", f"HalfNormal({scale:.3g})", component.description))
        if component.name in components.correlated:
            text = f"LKJ({prior.correlation:g})"
            rows.append((f"correlation[{component.name}]", text, "correlation between framings"))
    rows.append(
        (
            "mean",
            f"Normal(0, {prior.mean * unit:.3g})",
            "each category × framing, zero-sum families",
        )
    )
    if len(crossing.design.terms) > 1:
        rows.append(
            (
                "effect",
                f"Normal(0, {prior.effect * unit:.3g})",
                "each column of the formula, likewise",
            )
        )
    return pd.DataFrame(rows, columns=["parameter", "prior", "meaning"]).set_index("parameter")
