"""What all training of models with TRL shares: what it needs, its own randomness, its progress."""

from __future__ import annotations

import random
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from valuebias._core.checks import check_installed
from valuebias.backends.base import Backend

__all__ = [
    "ARGUMENTS",
    "Advance",
    "apart",
    "check_training",
    "losses",
    "on_cpu",
    "own_randomness",
    "reporting",
    "without_futures",
]

Advance = Callable[[int, int], None]

ARGUMENTS: Mapping[str, Any] = {
    # Off; the word False is deprecated, and TRL's own default is on.
    "gradient_checkpointing": None,
    "max_length": None,
    "dataloader_pin_memory": False,
    "logging_steps": 1,
    "report_to": "none",
    "save_strategy": "no",
    "disable_tqdm": True,
}
"""Arguments of all trainers: nothing is cut, written or sent, and every loss is kept."""


def check_training() -> None:
    """Raise a ValueBiasError unless what training needs is installed."""
    needs = ", and fine-tuning needs it"
    check_installed("datasets", "peft", "trl", extra="train", after=needs)


def on_cpu(backend: Backend) -> bool:
    """Tell whether models are to be trained on the CPU: where the backend is, or has to be."""
    import torch

    return str(getattr(backend, "device", "")) == "cpu" or not torch.cuda.is_available()


@contextmanager
def without_futures() -> Iterator[None]:
    """Pass over what these packages say of one another's coming versions: no user can act on it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield


@contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Seed the generators that models are made with, and leave them afterwards as they were."""
    import torch

    before, old = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(before)
            np.random.set_state(old)  # noqa: NPY002


@contextmanager
def apart(seed: int) -> Iterator[Path]:
    """Train without noise, with randomness of its own; gives a folder for what trainers leave."""
    from valuebias.backends.loading import quiet

    scratch = tempfile.TemporaryDirectory(prefix="valuebias-")
    with quiet(), without_futures(), own_randomness(seed), scratch as folder:
        yield Path(folder)


def losses(trainer: Any) -> list[float]:
    """Give the loss of each step."""
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def reporting(advance: Advance) -> Any:
    """Give a callback for a trainer that tells of every step."""
    from transformers import TrainerCallback

    class ProgressCallback(TrainerCallback):
        """Moves the bar on after each step."""

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            advance(state.global_step, state.max_steps)

    return ProgressCallback()
