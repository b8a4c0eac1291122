"""Categories, framings and families without any score."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from valuebias.analysis.design.crossing import Crossing
from valuebias.analysis.notes import Note
from valuebias.errors import ValueBiasError, few, shown
from valuebias.schema.contract import FRAMINGS, NEUTRAL, SIGNS

__all__ = ["check_framings", "check_scored", "unscored_notes"]


def check_framings(framing: NDArray[np.str_]) -> None:
    """Refuse neutral prompts beside others: what is signed by framing has no place for them."""
    present = [name for name in FRAMINGS if (framing == name).any()]
    if NEUTRAL not in present or len(present) == 1:
        return
    counts = few((f"{int((framing == name).sum())} {name}" for name in present), quote=False)
    said = (
        f"the prompts are {counts}. A fit takes positive and negative ones, signed, or neutral "
        "ones alone, under their own name"
    )
    raise ValueBiasError(
        f"{said}: fit dataset.isel(prompt=dataset['framing'].to_numpy() != 'neutral'), and "
        "dataset.isel(prompt=dataset['framing'].to_numpy() == 'neutral').",
        in_shell=f"{said}. Fit each by itself: --framing signed, --framing neutral.",
    )


def check_scored(
    observed: NDArray[np.bool_], framing: NDArray[np.str_], membership: pd.DataFrame
) -> None:
    """Refuse categories and framings without any score."""
    by_prompt = np.asarray(observed.any(axis=(0, 2)))
    for name in np.unique(framing):
        if not by_prompt[framing == name].any():
            said = (
                f"no score was given after a prompt of {name} framing, so that nothing can be said "
                "of it; "
            )
            others = next((one for one in SIGNS if one != name), "")
            raise ValueBiasError(
                f'{said}leave these prompts out: dataset.isel(prompt=dataset["framing"] != '
                f'"{name}").',
                in_shell=f"{said}fit the others: --framing {others}.",
            )
    by_word = np.asarray(observed.any(axis=(0, 1)))
    member = membership.to_numpy(dtype=bool)
    empty = [str(name) for j, name in enumerate(membership) if not by_word[member[:, j]].any()]
    if empty:
        said = (
            f"no word in {_categories(empty)} was scored, so that nothing can be said of it; leave "
            "it out"
        )
        raise ValueBiasError(
            f"{said}: dataset.drop_sel(category=[{', '.join(map(shown, empty[:5]))}]).",
            in_shell=f"{said} of the lexicon.",
        )


def unscored_notes(crossing: Crossing) -> list[Note]:
    """Note families and models whose leans no score bears on."""
    if crossing.complete:
        return []
    known = _compared(crossing)
    family = crossing.design.factor("family")
    notes = []
    families = np.full(len(known), "", dtype=object)
    if family is not None:
        families = crossing.design.models["family"].astype(str).to_numpy(dtype=object)
    silent = np.zeros(len(known), dtype=bool)
    for level in dict.fromkeys(families.tolist()):
        members = families == level
        by_framing = known[members].any(axis=0)
        for categories, under in _gaps(crossing, by_framing):
            who = f"no model of family {level}" if level else "no model"
            text = (
                f"{who} has scores of words in {categories} and of others after one prompt{under}: "
                f"what {'it' if level else 'they'} would make of such words there comes from the "
                "prior and from what else is known of words, models and prompts."
            )
            line = f"Of {level or 'the models'} there are no scores to tell {categories} by{under}"
            notes.append(
                Note("unscored category", text, f"{line}: its lean is the prior's.", first=True)
            )
        silent |= members & ~(known | ~by_framing).all(axis=(1, 2))
    if silent.any():
        names = few(crossing.models[silent].astype(str))
        notes.append(
            Note(
                "model without scores",
                f"{names} {'has' if silent.sum() == 1 else 'have'} no scores to tell some category "
                "by: the lean of such a model is what other models lead one to expect.",
            )
        )
    return notes


def _compared(crossing: Crossing) -> NDArray[np.bool_]:
    """Whether a model scored words in a category and others after one prompt of a framing.

    Only then does it tell how the category compares, (model, framing, category).
    """
    member = crossing.belongs.astype(np.float32)
    out = np.zeros((crossing.shape[0], len(crossing.framings), member.shape[1]), dtype=bool)
    for m, seen in enumerate(crossing.observed):
        inside = seen.astype(np.float32) @ member
        tells = (inside > 0) & (inside < seen.sum(axis=1, keepdims=True))
        for f in range(len(crossing.framings)):
            out[m, f] = tells[crossing.prompts_of(f)].any(axis=0)
    # A category that every word is in cannot be compared.
    return out | (member > 0).all(axis=0)


def _gaps(crossing: Crossing, known: NDArray[np.bool_]) -> Iterator[tuple[str, str]]:
    """Name the categories without scores, and under which framing."""
    nowhere = ~known.any(axis=0)
    if nowhere.any():
        yield _categories(np.array(crossing.categories)[nowhere]), ""
    for f, framing in enumerate(crossing.framings):
        unscored = ~known[f] & ~nowhere
        if unscored.any():
            yield _categories(np.array(crossing.categories)[unscored]), f" of {framing} framing"


def _categories(names: list[str] | NDArray[np.str_]) -> str:
    return few([str(name) for name in names])
