"""What all training in the laboratory shares: PyTorch, seeds, batches and steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from valuebias.errors import ValueBiasError
from valuebias.training.common import Advance

__all__ = ["Integers", "check_torch", "optimise", "padded"]

Integers = npt.NDArray[np.int64]

_FALL = 0.3
"""Share of the steps over which the rate falls; some things are learned late, at full height."""


def check_torch() -> None:
    """Raise a ValueBiasError unless what trains and writes models is installed."""
    try:
        import safetensors  # noqa: F401
        import tokenizers  # noqa: F401
        import torch  # noqa: F401
        import transformers  # noqa: F401
    except ImportError as error:
        raise ValueBiasError(
            f"{error.name} is not installed, and the laboratory's models need it. Run: "
            'pip install "valuebias[torch]".'
        ) from error


def padded(sequences: Sequence[Sequence[int]]) -> Integers:
    """Put token ids into one array, shape (text, token), with 0, the padding token, at the ends."""
    made = np.zeros((len(sequences), max(map(len, sequences))), dtype=np.int64)
    for row, ids in zip(made, sequences, strict=True):
        row[: len(ids)] = ids
    return made


def optimise(
    parameters: Sequence[Any],
    losses: Iterator[Callable[[], Any]],
    *,
    n_steps: int,
    learning_rate: float,
    advance: Advance | None,
) -> list[float]:
    """Take steps of AdamW: a short warm-up, and a rate that falls to 0 in the end."""
    import torch

    # The second moment forgets fast: what is learnt last has the smallest gradients.
    optimiser = torch.optim.AdamW(
        parameters, lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.01, foreach=True
    )
    warm = max(1, n_steps // 20)
    made = []
    for step in range(n_steps):
        rate = min(1.0, (step + 1) / warm, (1 - step / n_steps) / _FALL)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate * rate
        loss = next(losses)()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        made.append(float(loss.detach()))
        if advance is not None:
            advance(step + 1, n_steps)
    return made
