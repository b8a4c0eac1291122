"""How single scores scatter about what is expected of them, and which effects have heavy tails."""

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
    "TAILS",
    "Factors",
    "Noise",
    "read_noise",
    "read_tails",
]

Array = NDArray[np.float64]

FAMILIES = ("gaussian", "student")
TAILS = ("words", "models", "bases")
"""Whose effects may be t distributed."""
NU_SHAPE, NU_RATE, LEAST_NU = 2.0, 0.1, 2.0
"""Gamma prior on the degrees of freedom (Juárez and Steel 2010), above the least."""
RESIDUAL_SPREAD = 0.3
"""Scale of the half-normal prior on the SD of models' log residual SDs."""


@dataclass(frozen=True)
class Noise:
    """What is not normal with one SD a framing: of residuals, and of effects."""

    student: bool = False  # t distributed
    by_model: bool = False  # with an SD of each model's own
    tails: tuple[str, ...] = ()  # of :data:`TAILS`, whose effects are t distributed

    @property
    def plain(self) -> bool:
        """Whether residuals are normal, all of one SD, and effects are."""
        return not (self.student or self.by_model or self.tails)

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


def read_noise(family: object, residual: object, heavy_tails: object = None) -> Noise:
    """Read the settings ``family``, ``residual`` and ``heavy_tails`` of a fit."""
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
    return Noise(family == "student", residual == "model", read_tails(heavy_tails))


def read_tails(heavy_tails: object) -> tuple[str, ...]:
    """Read whose effects are t distributed, each once and in one order."""
    if heavy_tails is None:
        return ()
    named = [heavy_tails] if isinstance(heavy_tails, str) else heavy_tails
    if not isinstance(named, list | tuple | set | frozenset):
        raise ValueBiasError(
            f"heavy_tails is {shown(heavy_tails)}; expected whose effects have heavy tails, such "
            "as ('words', 'models'), or None, where all are normal."
        )
    for name in named:
        if name not in TAILS:
            raise ValueBiasError(f"heavy_tails names {shown(name)}. {did_you_mean(name, TAILS)}")
    return tuple(name for name in TAILS if name in named)
