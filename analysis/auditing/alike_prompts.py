"""Prompts whose scores are one column, pasted or turned: no replicates, and no fit of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from valuebias.analysis.design.crossing import Crossing
from valuebias.errors import ValueBiasError, few

__all__ = ["check_prompts", "solvable"]

# Of the outcome's unit: rounding leaves about a millionth.
_NOTHING = 1e-6


def check_prompts(data: xr.Dataset, crossing: Crossing) -> None:
    """Refuse prompts with the same scores from all models, and framings without any scatter."""
    names = [str(name) for name in data["prompt"].to_numpy()]
    score = data["score"].transpose("model", "prompt", "response").to_numpy()
    for alike, turned in _copies(score):
        listed, left = few([names[p] for p in alike]), [names[p] for p in alike[1:]]
        how = ", but for their sign," if turned else ""
        said = (
            f"the prompts {listed} have the same scores{how} from every model, which one column "
            "has that is pasted under several or computed from another, or models that ignore "
            "the prompt. Counted as replicates they would make a fit too sure. Keep one"
        )
        raise ValueBiasError(
            f"{said}: dataset = dataset.drop_sel(prompt={left!r}).",
            in_shell=f"{said} of these columns in the files of scores.",
        )
    for f, framing in enumerate(crossing.framings):
        group = crossing.prompts_of(f)
        y = crossing.y[:, group]
        flat = np.ptp(y, axis=1).max() <= _NOTHING * crossing.scale
        if len(group) > 1 and flat and crossing.observed[:, group].all():
            listed = few([names[p] for p in group])
            left = [names[p] for p in group[1:]]
            said = (
                f"the prompts {listed} of {framing} framing have the same outcome from every "
                "model, whatever the level of their scores: models that ignore the prompt, or one "
                "column in several units. They are no replicates. Keep one"
            )
            raise ValueBiasError(
                f"{said}: dataset = dataset.drop_sel(prompt={left!r}).",
                in_shell=f"{said} of these columns in the files of scores.",
            )


def _copies(score: NDArray[np.float32]) -> Iterator[tuple[list[int], bool]]:
    """Find prompts with the same scores, and whether the sign of some is turned."""
    groups: dict[bytes, list[int]] = {}
    keys: dict[int, bytes] = {}
    for p in range(score.shape[1]):
        values = score[:, p]
        if np.isfinite(values).any() and np.nanmin(values) < np.nanmax(values):
            own, turned = (_bytes(sign * values) for sign in (np.float32(1), np.float32(-1)))
            groups.setdefault(min(own, turned), []).append(p)
            keys[p] = own
    for group in groups.values():
        if len(group) > 1:
            yield group, len({keys[p] for p in group}) > 1


def _bytes(values: NDArray[np.float32]) -> bytes:
    return np.where(np.isnan(values), np.float32(np.nan), values + np.float32(0)).tobytes()


@contextmanager
def solvable() -> Iterator[None]:
    """Say what singular covariances come from, which scores without scatter lead to."""
    try:
        yield
    except np.linalg.LinAlgError as error:
        raise ValueBiasError(
            "The scores leave some variance at zero, to the computer's precision, so that this "
            f"cannot be worked out ({error}). Such scores hardly depend on the prompt, or on the "
            "word: valuebias.audit(dataset) names prompts and models that are alike. Keep one of "
            "them, or look at how the scores were made."
        ) from error
