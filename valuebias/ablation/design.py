"""What the reward models of a study have in common, however they are trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from valuebias.backends.base import Backend
from valuebias.preference_data.preferences import Preferences
from valuebias.training.features import Base, Conversation

if TYPE_CHECKING:
    from valuebias.ablation.study import Study

__all__ = ["Design", "Run", "RunScores"]


@dataclass(frozen=True, slots=True)
class Run:
    """One reward model to be trained.

    Attributes
    ----------
    base : Base
        What it is built on.
    source : str
        The name of its preferences.
    n_pairs, seed : int
        How many of them, and which.
    """

    base: Base
    source: str
    n_pairs: int
    seed: int

    @property
    def label(self) -> str:
        """Its name."""
        return f"{self.base.name} · {self.source} · {self.n_pairs} · seed {self.seed}"

    def row(
        self, *, tuning: str, step: int, measured: Mapping[str, float], label: str | None = None
    ) -> dict[str, Any]:
        """Give the coords of its scores."""
        model = self.base.resolved.model
        return {
            "model": self.label if label is None else label,
            "family": model.family,
            "base": model.base,
            "stage": "reward",
            "n_params": self.base.resolved.model_config.n_params,
            "source": self.source,
            "n_pairs": self.n_pairs,
            "seed": self.seed,
            "step": step,
            "tuning": tuning,
            "loss": measured["loss"],
            "accuracy": measured["accuracy"],
        }


@dataclass(frozen=True, slots=True, eq=False)
class RunScores:
    """A reward model's scores.

    Attributes
    ----------
    row : dict
        Its coords.
    scores : numpy.ndarray of float32, shape (prompt, response)
        Rewards.
    """

    row: dict[str, Any]
    scores: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """What a study is made of, once everything is read.

    Attributes
    ----------
    study : Study
        What is asked.
    out : pathlib.Path
        The folder for everything.
    engine : Backend
        What runs models.
    progress : bool
        Whether to show progress.
    sources : dict of str to (Preferences, Preferences)
        The pairs to train on and the held-out ones, by source.
    instrument : list of Conversation
        What is scored: a prompt each, with all words.
    failures : dict of str to str
        Runs that failed, and why; filled as the work goes on.
    details : dict
        What else belongs in the provenance, by run; likewise.
    """

    study: Study
    out: Path
    engine: Backend
    progress: bool
    sources: Mapping[str, tuple[Preferences, Preferences]]
    instrument: list[Conversation]
    failures: dict[str, str] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
