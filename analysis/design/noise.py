"""How single scores scatter about what is expected of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from valuebias.errors import ValueBiasError, did_you_mean, shown

__all__ = [
    "FAMILIES",
    "LEAST_NU",
    "NORMAL",
    "NU_RATE",
    "NU_SHAPE",
    "RESIDUAL_SPREAD",
    "Factors",
    "Noise",
    "read_noise",
]

Array = NDArray[np.float64]

FAMILIES = ("gaussian", "student")
NU_SHAPE, NU_RATE, LEAST_NU = 2.0, 0.1, 2.0
"""Gamma prior on the degrees of freedom (Juárez and Steel 2010), above the least."""
RESIDUAL_SPREAD = 0.3
"""Scale of the half-normal prior on the SD of models' log residual SDs."""


@dataclass(frozen=True)
class Noise:
    """The distribution of residuals: normal with one SD a framing, unless it says otherwise."""

    student: bool = False  # t distributed
    by_model: bool = False  # with an SD of each model's own

    @property
    def plain(self) -> bool:
        """Whether residuals are normal, all of one SD."""
        return not (self.student or self.by_model)

    def factors(self, nu: float, spread: float, n_models: int, rng: np.random.Generator) -> Factors:
        """Draw what new models' residual SDs are multiplied by, and how heavy their tails are."""
        logs = spread * rng.standard_normal(n_models) if self.by_model else np.zeros(n_models)
        return Factors(np.exp(logs), nu if self.student else np.inf)


@dataclass(frozen=True)
class Factors:
    """What turns standard normals into residuals of SD (or t scale) one for a typical model."""

    by_model: Array  # (model,)
    nu: float  # degrees of freedom; infinite where normal

    def scale(self, noise: Array, rng: np.random.Generator) -> None:
        """Scale standard normals (model, prompt, word) in place."""
        if (self.by_model != 1).any():
            noise *= self.by_model[:, None, None]
        if np.isfinite(self.nu):
            noise /= np.sqrt(rng.standard_gamma(0.5 * self.nu, noise.shape) / (0.5 * self.nu))


NORMAL = Noise()


def read_noise(family: object, residual: object) -> Noise:
    """Read the settings ``family`` and ``residual`` of a fit."""
    if family not in FAMILIES:
        raise ValueBiasError(
            f"family is {shown(family)}. {did_you_mean(family, FAMILIES)} It is the distribution "
            "of a score about what is expected of it; which families of models are compared is "
            "said by the formula, such as '~ family'."
        )
    if residual not in (None, "model"):
        raise ValueBiasError(
            f"residual is {shown(residual)}; expected 'model', for a residual SD of each model's "
            "own, or None, for one of all models."
        )
    return Noise(family == "student", residual == "model")
