"""One specification of a multiverse: its fit, and what is read out of it."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import xarray as xr

from valuebias._core.sums import content_sum, json_sum
from valuebias.analysis.estimands.estimand import DIFFERENCE
from valuebias.analysis.estimands.weights import read_contrast
from valuebias.errors import ValueBiasError, ValueBiasWarning, few
from valuebias.posterior.estimate import estimate
from valuebias.posterior.multiverse_choices import meaning, subset
from valuebias.posterior.posterior import Posterior

__all__ = ["NUMBERS", "OTHER", "PARTS", "TEXTS", "Task", "data_sums"]

TEXTS = ("name", "category", "error")
NUMBERS = ("mean", "sd", "lower", "upper", "p_direction", "p_rope", "positive")
"""What a result says beside its choices and whether it has converged."""
OTHER = "does not compare these: "
PARTS = ("form", "variable", "first", "second", "framing")
_SAMPLER = {"draws": 500, "tune": None, "chains": 2, "sampler": "hmc"}
_PROB = 0.9
_ROPE = 0.05


def data_sums(data: xr.Dataset) -> dict[str, str]:
    """Give the sums of the scores and of all else that an estimate may depend on."""
    scores = data["score"].to_numpy()
    # There are many ways not to be a number, all alike to a fit.
    scores = np.where(np.isnan(scores), np.float32(np.nan), scores)
    rest = data.drop_vars("score").drop_attrs()
    rest = rest.assign_attrs({name: data.attrs[name] for name in ("kind", "units")})
    numbers = {
        str(name): (variable.dims, np.where(np.isnan(variable), np.nan, variable))
        for name, variable in rest.variables.items()
        if variable.dtype.kind == "f"
    }
    return {
        "scores": hashlib.sha256(np.ascontiguousarray(scores).data).hexdigest(),
        "data": content_sum(rest.assign(numbers)),
    }


@dataclass(frozen=True)
class Task:
    """What all specifications share."""

    data: xr.Dataset
    options: Mapping[str, Mapping[str, Any]]
    contrast: Any
    seed: int
    pair: list[str] | None
    # What all estimate: the parts of its name, and the weights of its categories.
    estimand: Mapping[str, Any] | None = None
    # Of the data; where results are kept, they are told by it.
    sums: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def about(self) -> dict[str, Any]:
        """What the results in a folder are of."""
        return {
            **self.sums,
            "contrast": self.contrast,
            "pair": self.pair,
            "seed": self.seed,
        }

    @cached_property
    def _behind(self) -> dict[str, dict[str, str]]:
        """What stands behind the names of the choices, which may be another thing next time."""
        return {
            name: {label: meaning(value) for label, value in values.items()}
            for name, values in self.options.items()
        }

    def marks(self, spec: Mapping[str, str]) -> dict[str, Any]:
        """Tell a result from any other one that its file could hold."""
        said = {
            **self.about,
            "estimand": self.estimand,
            "choices": {name: self._behind[name][label] for name, label in spec.items()},
            "settings": [_SAMPLER, _PROB, _ROPE],
        }
        return {"seed": self.seed, "of": json_sum(said)}

    def begin(self, spec: Mapping[str, str]) -> tuple[Task, dict[str, Any]]:
        """Estimate the first specification, whose headline says what the others estimate."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ValueBiasWarning)
                fit = self._fit(spec)
            if self.pair is not None:
                fit = fit.focused(pair=(self.pair[0], self.pair[1]))
        except ValueBiasError as error:
            raise ValueBiasError(
                "the first specification, whose headline the others estimate as well, cannot be "
                f"estimated: {error}"
            ) from error
        front = fit.contrast_draws.isel(estimand=0)
        estimand = {name: str(front[name].item()) for name in PARTS}
        task = replace(self, estimand=estimand | {"weights": _weights(fit)[0]})
        return task, task._row(spec, fit)

    def estimate(self, spec: Mapping[str, str]) -> dict[str, Any]:
        """Estimate what is asked under a specification."""
        try:
            return self._row(spec, self._fit(spec))
        except ValueBiasError as error:
            return self._empty(spec) | {"error": str(error)}

    def _empty(self, spec: Mapping[str, str]) -> dict[str, Any]:
        row: dict[str, Any] = {**spec, **dict.fromkeys(TEXTS, "")}
        return row | dict.fromkeys(NUMBERS, np.nan) | {"converged": False}

    def _fit(self, spec: Mapping[str, str]) -> Posterior:
        chosen = {name: self.options[name][label] for name, label in spec.items()}
        return estimate(
            subset(self.data, chosen["lexicon"], chosen["prompts"]),
            {key: chosen[key] for key in ("formula", "outcome", "words", "base")}
            | {"spread": None},
            chosen["prior"],
            read_contrast(self.contrast),
            {**_SAMPLER, "seed": self.seed},
            progress=False,
        )

    def _row(self, spec: Mapping[str, str], fit: Posterior) -> dict[str, Any]:
        chosen = _find(fit, self.estimand or {})
        if isinstance(chosen, str):
            return self._empty(spec) | {"error": OTHER + chosen}
        fit, at = chosen
        scale = float(fit.problem.crossing.scale)
        head = fit.contrasts(prob=_PROB, rope=_ROPE * scale).iloc[at]
        numbers = {name: float(head[name]) for name in NUMBERS if name != "positive"}
        numbers |= {name: numbers[name] / scale for name in ("mean", "sd", "lower", "upper")}
        draws = fit.contrast_draws.isel(estimand=at)
        return self._empty(spec) | {
            "name": str(head["name"]),
            "category": str(head["category"]),
            **numbers,
            "positive": float((draws > 0).mean()),
            "converged": bool(fit.diagnostics().converged),
        }


def _weights(fit: Posterior) -> list[dict[str, float]]:
    """Return the weights of the categories that take part, of each contrast of a fit."""
    categories = fit.problem.crossing.categories
    return [
        {name: float(w) for name, w in zip(categories, weights, strict=True) if w}
        for weights in fit.categories.values()
    ]


def _find(fit: Posterior, estimand: Mapping[str, Any]) -> tuple[Posterior, int] | str:
    """Find an estimand among those of a fit, or say why it is not there."""
    if estimand["weights"] not in (known := _weights(fit)):
        return f"its categories are compared as {few(map(str, known), quote=False)}."
    category = [*fit.categories][known.index(estimand["weights"])]
    form, variable, first, second, framing = (estimand[name] for name in PARTS)
    if form == DIFFERENCE:
        factor = fit.problem.crossing.design.factor(variable)
        if factor is None or not factor.categorical:
            return f"its formula {fit.settings['formula']!r} has no levels of {variable!r}."
        lacking = [level for level in (first, second) if level not in factor.levels]
        if lacking:
            return f"its models have no {variable} {few(lacking)}."
        fit = fit.focused(pair=(first, second))
    draws = fit.contrast_draws
    wanted = {**estimand, "over": category.first, "against": category.second, "variant": ""}
    del wanted["weights"]
    same = np.ones(draws.sizes["estimand"], dtype=bool)
    for name, value in wanted.items():
        same &= draws[name].to_numpy().astype(str) == value
    if same.any():
        return fit, int(np.flatnonzero(same)[0])
    if framing not in draws["framing"].to_numpy():
        return f"its prompts have no lean that is {framing!r}; they are of one framing."
    return f"its formula {fit.settings['formula']!r} has no {form} of {variable!r}."
