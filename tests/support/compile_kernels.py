"""Compile all kernels, which every process that finds none of them on disk would do for itself."""

from __future__ import annotations

import warnings

import numpy as np

import valuebias
from valuebias.datasets.simulate import simulate

__all__: list[str] = []


def main() -> None:
    complete = simulate(n_models={"A": 3, "B": 3}, n_prompts=4, n_words=12, seed=1)
    score = complete["score"].to_numpy()
    scattered, whole = (
        np.where(np.random.default_rng(1).random(score.shape) < 0.1, np.nan, score),
        score.copy(),
    )
    whole[:3, :, 4] = np.nan
    for values in (score, scattered, whole):
        ds = complete.assign(score=(complete["score"].dims, values))
        fit = valuebias.fit(ds, draws=10, tune=10, chains=2, seed=1, progress=False)
        fit.ppc(draws=4)
        if values is score:
            fit.influence(progress=False)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
