"""Scores of contrast sets that were read at every token, with known truth."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from valuebias import contrast_set
from valuebias.schema import build_contrasts

__all__ = ["TEXTS", "read", "token_ends"]

TEXTS = {
    "chosen": "It is Lima. It has been so since 1821! More or less.\nNine million live there.",
    "rejected": "It is Cusco, as everybody knows… “Is it?” Yes, it is the 2.5th capital",
}
DIMS = ("model", "item", "variant", "token")


def token_ends(text: str) -> list[int]:
    """Give where words end, each with the space before it; what ends the conversation follows."""
    return [*(found.end() for found in re.finditer(r"\s?\S+|\s", text)), len(text)]


def read(
    seed: int = 0,
    *,
    n_items: int = 20,
    families: Sequence[int] = (1, 1),
    texts: dict[str, str] | None = None,
    gap: float = 0.1,
    item_sd: float = 1.0,
) -> xr.Dataset:
    """Simulate rewards that walk at random from an item's own height.

    Those of the first answer go up by ``gap`` a token, those of others down.
    """
    rng = np.random.default_rng([seed, 31])
    texts = texts or TEXTS
    made = contrast_set({f"q{i}": {"prompt": f"{i}?", "answers": texts} for i in range(n_items)})
    ends = [np.array(token_ends(text)) for text in texts.values()]
    shape = (sum(families), n_items, len(ends), max(map(len, ends)) + 1)
    rewards, where = np.full(shape, np.nan, dtype=np.float32), np.full(shape, -1, dtype=np.int32)
    start = rng.normal(size=shape[:2]) * item_sd
    for v, end in enumerate(ends):
        steps = rng.normal((-gap, gap)[v == 0], 0.3, size=(*shape[:2], len(end)))
        rewards[:, :, v, : len(end)] = start[..., None] + np.cumsum(steps, axis=-1)
        where[:, :, v, : len(end)] = end
    final = np.stack([rewards[:, :, v, len(end) - 1] for v, end in enumerate(ends)], axis=-1)
    names = [f"F{f}" for f, n in enumerate(families) for _ in range(n)]
    index = [f"org/m{m}" for m in range(len(names))]
    models = pd.DataFrame({"family": names, "stage": "reward"}, index=index)
    scores = build_contrasts(final, models=models, contrasts=made)
    return scores.assign(token_reward=(DIMS, rewards), token_end=(DIMS, where))
