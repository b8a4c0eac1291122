"""Make ``simulated.npz``: simulated scores of invented models on the bundled lexicon.

    python tests/data/make_simulated.py valuebias/data/simulated.npz

after a change of the lexicon or of ``simulate``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from valuebias._core.atomic import atomic_path
from valuebias.datasets.simulate import simulate
from valuebias.instruments import lexicon

PARAMETERS: dict[str, Any] = {
    "n_models": {"Alder": 4, "Birch": 4},
    "n_prompts": 12,
    "effects": {"Alder": 0.2, "Birch": -0.2},
    "seed": 2026,
}


def simulated_arrays() -> dict[str, np.ndarray[Any, Any]]:
    """Simulate the scores, as they are stored: half precision, words as in the lexicon."""
    words = lexicon().table
    counts = {category: int(words[category].sum()) for category in words.columns}
    ds = simulate(n_words=counts, **PARAMETERS)
    return {
        "score": ds["score"].to_numpy().astype(np.float16),
        "model": ds["model"].to_numpy(),
        "family": ds["family"].to_numpy(),
        "base": ds["base"].to_numpy(),
        "n_params": ds["n_params"].to_numpy(),
        "prompt": ds["prompt"].to_numpy(),
        "parameters": np.array(json.dumps({**PARAMETERS, "n_words": counts})),
    }


if __name__ == "__main__":
    with atomic_path(Path(sys.argv[1])) as part:
        np.savez_compressed(part, allow_pickle=False, **simulated_arrays())
