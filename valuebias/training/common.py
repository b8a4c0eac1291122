"""What all training of models with TRL shares: what it needs, its own randomness, its progress."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from valuebias.backends.base import Backend
from valuebias.errors import ValueBiasError

__all__ = ["Advance", "check_training", "on_cpu", "own_randomness", "reporting", "without_futures"]

Advance = Callable[[int, int], None]


def check_training() -> None:
    """Raise a ValueBiasError unless what training needs is installed."""
    try:
        import datasets  # noqa: F401
        import peft  # noqa: F401
        import trl  # noqa: F401
    except ImportError as error:
        raise ValueBiasError(
            f"{error.name} is not installed, and fine-tuning needs it. Run: "
            'pip install "valuebias[train]".'
        ) from error


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


def reporting(advance: Advance) -> Any:
    """Give a callback for a trainer that tells of every step."""
    from transformers import TrainerCallback

    class ProgressCallback(TrainerCallback):
        """Moves the bar on after each step."""

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            advance(state.global_step, state.max_steps)

    return ProgressCallback()
