"""What a figure is asked for: two families, prompts of a framing, two categories."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from valuebias.errors import ValueBiasError, did_you_mean

if TYPE_CHECKING:
    import xarray as xr

    from valuebias.analysis.classical.medians import MedianRanks
    from valuebias.analysis.estimands.weights import Contrast
    from valuebias.posterior.posterior import Posterior

__all__ = ["asked", "narrowed", "of_framing"]


def asked(
    fit: Posterior,
    pair: tuple[str, str] | None,
    framing: str | None,
    contrast: Contrast | None,
) -> Posterior:
    """View a fit with the question in front."""
    if pair is None and framing is None and contrast is None:
        return fit
    return fit.focused(pair=pair, framing=framing, contrast=contrast)


def of_framing(scores: xr.Dataset, framing: str | None) -> xr.Dataset:
    """Keep the prompts of one framing."""
    if framing is None:
        return scores
    level = scores["framing"].to_numpy()
    _check(framing, dict.fromkeys(level.tolist()))
    return scores.isel(prompt=np.flatnonzero(level == framing))


def narrowed(
    medians: MedianRanks, pair: tuple[str, str] | None, framing: str | None
) -> MedianRanks:
    """Keep the models of two families and the prompts of one framing."""
    if framing is not None:
        _check(framing, dict.fromkeys(medians.framings))
        prompts = np.flatnonzero(np.array(medians.framing) == framing)
        medians = replace(
            medians,
            values=medians.values[:, prompts],
            pooled=medians.pooled[:, [medians.framings.index(framing)]],
            prompts=tuple(medians.prompts[i] for i in prompts),
            framings=(framing,),
            framing=(framing,) * len(prompts),
        )
    if pair is None:
        return medians
    if isinstance(pair, str) or len(pair) != 2 or pair[0] == pair[1]:
        raise ValueBiasError(
            f"pair is {pair!r}; expected two different families of {list(medians.families)}."
        )
    for name in pair:
        if name not in medians.families:
            raise ValueBiasError(
                f"pair names the family {name!r}, which the dataset lacks. "
                f"{did_you_mean(name, medians.families)}"
            )
    models = [i for i, name in enumerate(medians.family) if name in pair]
    return replace(
        medians,
        values=medians.values[models],
        pooled=medians.pooled[models],
        models=tuple(medians.models[i] for i in models),
        family=tuple(medians.family[i] for i in models),
        families=tuple(sorted(pair)),
    )


def _check(framing: str, known: dict[str, None]) -> None:
    if framing not in known:
        raise ValueBiasError(
            f"framing is {framing!r}, and the dataset has no such prompts. "
            f"{did_you_mean(framing, known)}"
        )
