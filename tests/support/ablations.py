"""Simulated ablations with known gaps."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import xarray as xr

from valuebias.schema import build

N_PAIRS = (8_000, 16_000, 32_000, 64_000)
SD = {"run": 0.05, "checkpoint": 0.03, "word": 0.8, "word_family": 0.2, "run_word": 0.2,
      "checkpoint_word": 0.1, "prompt": 0.1, "prompt_word": 0.15, "residual": 0.2}  # fmt: skip


def ablation(
    seed: int,
    *,
    start: float = 0.6,
    slope: float = -0.1,
    families: tuple[str, ...] = ("Gemma", "Llama"),
    sources: tuple[str, ...] = ("a",),
    n_pairs: tuple[int, ...] = N_PAIRS,
    seeds: int = 3,
    shares: tuple[float, ...] = (1.0,),
    n_prompts: int = 6,
    n_words: int = 40,
    sd: dict[str, float] | None = None,
    moved: float = 0.0,
    common_start: float | None = None,
) -> xr.Dataset:
    """Simulate scores of checkpoints.

    At the end of a run on n pairs, the first family's lean is half of ``start + slope ·
    log2(n / smallest)`` and the second's minus that; a third has none. Before, it is larger by the
    share of the run that is to come; or, if given, all runs set out from the gap ``common_start``.
    ``moved`` is added to the first word for every doubling.
    """
    scale = SD | (sd or {})
    rng = np.random.default_rng(seed)
    runs = list(product(families, sources, n_pairs, range(seeds)))
    framing = np.repeat([0, 1], n_prompts // 2)
    sign = np.where(framing == 0, 1.0, -1.0)
    axis = np.repeat([0.5, -0.5], n_words // 2)
    member = np.stack([axis > 0, axis < 0]).astype(float)

    def liking(name: str) -> np.ndarray:
        """A liking of words by prompt, half the same and half turned round by framing."""
        by_framing = np.array([[1.0, 1.0], [-1.0, 1.0]]) @ rng.normal(size=(2, n_words))
        return scale[name] * by_framing[framing] / np.sqrt(2)

    word = liking("word") + scale["prompt_word"] * rng.normal(size=(n_prompts, n_words))
    word += scale["prompt"] * rng.normal(size=(n_prompts, 2)) @ member
    by_family = {f: liking("word_family") for f in families}
    # A lean is signed by framing; what a run likes otherwise is not.
    direction = dict(zip(families, (0.5, -0.5, *[0.0] * len(families)), strict=False))
    rows, cubes = [], []
    for family, source, n, s in runs:
        doublings = np.log2(n / n_pairs[0])
        own, of_run = scale["run"] * rng.normal(size=2), by_family[family] + liking("run_word")
        for share in shares:
            end = start + slope * doublings
            before = end + 0.3 if common_start is None else common_start
            gap = end + (before - end) * (1 - np.sqrt(share))
            noise = own + scale["checkpoint"] * rng.normal(size=2)
            lean = sign * direction[family] * gap + noise[framing]
            cube = lean[:, None] * axis + word + of_run + liking("checkpoint_word")
            cube[:, 0] += sign * moved * doublings
            cube += 0.05 * rng.normal(size=(n_prompts, 2)) @ member
            cubes.append(cube + scale["residual"] * rng.normal(size=cube.shape))
            rows.append((family, f"{family} 2B", source, n, s, round(share * n / 16)))
    models = pd.DataFrame(rows, columns=["family", "base", "source", "n_pairs", "seed", "step"])
    models = models.assign(stage="reward", tuning="bt")
    models.index = pd.Index([f"rm {i}" for i in range(len(models))])
    names = [f"p{i}" for i in range(n_prompts)]
    prompts = pd.DataFrame(
        {"text": names, "framing": np.where(sign > 0, "positive", "negative")}, index=names
    )
    words = [f"w{i}" for i in range(n_words)]
    lexicon = pd.DataFrame({"agency": axis > 0, "communion": axis < 0}, index=words)
    return build(np.stack(cubes), models=models, prompts=prompts, lexicon=lexicon, responses=words)
