"""What all reward models of a study share, however they are trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from valuebias.backends.base import Backend
from valuebias.instruments import Lexicon, PromptSet
from valuebias.preference_data.preferences import Preferences
from valuebias.training.features import Base, Conversation
from valuebias.training.objective import BRADLEY_TERRY, Objective

if TYPE_CHECKING:
    from valuebias.ablation.study import Study

__all__ = ["Design", "Run", "RunScores", "instrument"]

RunScores = tuple[dict[str, Any], npt.NDArray[np.float32]]
"""A reward model's coords, and its rewards, (prompt, response)."""


def _always() -> None:
    pass


@dataclass(frozen=True, slots=True)
class Run:
    """One reward model to be trained."""

    base: Base  # the base model
    source: str  # the name of its preferences
    n_pairs: int  # n_pairs, seed: the number of pairs, and the seed that draws them
    seed: int
    objective: Objective = field(default_factory=Objective)  # what it is trained for

    @property
    def label(self) -> str:
        """The name of the run."""
        name = f"{self.base.name} · {self.source} · {self.n_pairs} · seed {self.seed}"
        return name if self.objective.name == BRADLEY_TERRY else f"{name} · {self.objective.name}"

    def row(
        self, *, tuning: str, step: int, measured: Mapping[str, float], label: str | None = None
    ) -> dict[str, Any]:
        """Make the coords of its scores."""
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
            "objective": self.objective.name,
            "loss": measured["loss"],
            "accuracy": measured["accuracy"],
        }


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """A study with all its inputs read."""

    study: Study  # the study
    out: Path  # the output folder
    engine: Backend  # the backend
    progress: bool  # whether to show progress
    # The pairs to train on and the held-out ones, by source.
    sources: Mapping[str, tuple[Preferences, Preferences]]
    instrument: list[Conversation]  # one conversation per prompt, with all words
    # Runs that failed, and why; filled during the study.
    failures: dict[str, str] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)  # further provenance by run; likewise
    # Asked between two steps: raises where nobody waits for the study any more.
    go_on: Callable[[], None] = _always

    def stepping(
        self, advance: Callable[[int, int], None] | None = None
    ) -> Callable[[int, int], None]:
        """Ask between two steps whether to go on, and move a bar, if there is one."""

        def step(done: int, total: int) -> None:
            self.go_on()
            if advance is not None:
                advance(done, total)

        return step


def instrument(prompts: PromptSet, lexicon: Lexicon) -> list[Conversation]:
    """Make one conversation of each prompt, with all words as its answers."""
    return [Conversation.after(str(text), lexicon.words) for text in prompts.table["text"]]
