"""Scores of contrast sets averaged by what variants are like: what a fit of items is about."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from valuebias._core.numbers import digits_apart
from valuebias.errors import ValueBiasError, did_you_mean, few, shown
from valuebias.schema.contract import NEUTRAL, SCHEMA
from valuebias.schema.contrast_scores import validate_contrasts
from valuebias.schema.validation import validate

__all__ = ["SCORE_SD", "Averaged", "average_by", "groups_of_variants", "score_sd"]

SCORE_SD = "score_sd"
"""The coordinate of models that holds the SD of a model's scores over a contrast set."""
_NAMES_OF_TRUTH = {"correct": ("right", "wrong")}


class Averaged(NamedTuple):
    """Scores of items, averaged over the variants of each group."""

    # In the contract: items as prompts, groups as words, each its own category.
    data: xr.Dataset
    left_out: tuple[str, ...]  # the items that lack a score of some model


def groups_of_variants(ds: xr.Dataset, by: str) -> tuple[list[str], npt.NDArray[np.intp]]:
    """Name the groups of variants, and say which group each is in, (item, variant); −1 for none."""
    if by == "variant":
        names = [str(name) for name in ds["variant"].to_numpy().tolist()]
        return names, np.broadcast_to(np.arange(len(names)), (ds.sizes["item"], len(names)))
    if by not in ds.coords or "variant" not in ds[by].dims or "model" in ds[by].dims:
        others = [str(n) for n, c in ds.coords.items() if _of_variants(c) and n != by]
        known = list(dict.fromkeys(["variant", *others]))
        what = "unknown"
        if by in ds.coords:
            of_models = "model" in ds[by].dims
            what = "of models" if of_models else "of items, all of whose variants have one value"
        raise ValueBiasError(
            f"by={shown(by)} is {what}; it takes a coordinate in which variants differ. "
            f"{did_you_mean(by, known)}"
        )
    values = np.asarray(ds[by].broadcast_like(ds["score"].isel(model=0)).to_numpy())
    if values.dtype.kind == "b":
        names = list(_NAMES_OF_TRUTH.get(by, (by, f"not {by}")))
        return names, np.where(values, 0, 1)
    if values.dtype.kind in "iuf":
        numbers = np.unique(values[np.isfinite(values)]).tolist()
        digits = digits_apart(numbers)
        named = {level: f"{level:.{digits}g}" for level in numbers}
        # What only rounding tells apart, as 0.1 + 0.2 and 0.3, is one level.
        names = list(dict.fromkeys(named.values()))
        place = {level: names.index(name) for level, name in named.items()}
        return names, np.array(
            [place.get(value, -1) for value in values.ravel().tolist()], dtype=np.intp
        ).reshape(values.shape)
    levels = [level for level in dict.fromkeys(values.ravel().tolist()) if level]
    names = [str(level) for level in levels]
    group = np.full(values.shape, -1, dtype=np.intp)
    for i, level in enumerate(levels):
        group[values == level] = i
    return names, group


def _of_variants(coord: xr.DataArray) -> bool:
    return "variant" in coord.dims and "model" not in coord.dims


def score_sd(ds: xr.Dataset) -> npt.NDArray[np.float64]:
    """Give the SD of each model's scores over a contrast set, its unit; (model,)."""
    score = ds["score"].transpose("model", ...).to_numpy().astype(np.float64)
    flat = score.reshape(len(score), -1)
    known = np.isfinite(flat)
    count = known.sum(axis=1)
    mean = np.where(known, flat, 0.0).sum(axis=1) / np.maximum(count, 1)
    squares = np.where(known, (flat - mean[:, None]) ** 2, 0.0).sum(axis=1)
    sd = np.sqrt(squares / np.maximum(count - 1, 1))
    bad = np.flatnonzero(~(sd > 0))
    if bad.size:
        names = [str(ds["model"].to_numpy()[i]) for i in bad]
        raise ValueBiasError(
            f"{few(names)} gave all variants of all items one score, or none at all, so that its "
            f"scores have no unit. Leave it out: scores.drop_sel(model={names[:5]!r})."
        )
    return np.asarray(sd)


def average_by(ds: xr.Dataset, by: str | None) -> Averaged:
    """Average the scores of each item over the variants that are alike in ``by``.

    Items of which some model lacks a score are left out: with all others the layout is balanced,
    and what is said of them exact.
    """
    validate_contrasts(ds)
    names, group = groups_of_variants(ds, by or "variant")
    score = ds["score"].to_numpy().astype(np.float64)
    scored = np.isfinite(score)
    there = np.asarray(scored.any(axis=0))
    of_group = np.asarray(group[..., None] == np.arange(len(names))) & there[..., None]
    used = np.asarray(of_group.any(axis=(0, 1)))
    names, of_group = [n for n, u in zip(names, used, strict=True) if u], of_group[..., used]
    if len(names) < 2:
        raise ValueBiasError(
            f"by={shown(by or 'variant')} puts all scored variants into one group, {few(names)}; "
            "at least two are compared. Name another coordinate of the variants, or leave by= out."
        )
    in_item: npt.NDArray[np.bool_] = np.asarray(of_group.any(axis=1))
    has_all = np.asarray(in_item.all(axis=1))
    whole = np.asarray((scored | ~of_group.any(axis=2)).all(axis=(0, 2))) & has_all
    _check_enough(ds, whole, scored, has_all, of_group, names, by or "variant")
    kept = np.flatnonzero(whole)
    weights = of_group[kept] / of_group[kept].sum(axis=1, keepdims=True)
    means = np.einsum("miv,ivg->mig", np.nan_to_num(score[:, kept]), weights)
    items = [str(name) for name in ds["item"].to_numpy()]
    data = xr.Dataset(
        {
            "score": (("model", "prompt", "response"), means.astype(np.float32)),
            "membership": (("response", "category"), np.eye(len(names), dtype=bool)),
        },
        coords={
            "prompt": ds["item"].to_numpy()[kept],
            "response": np.array(names, dtype="U"),
            "category": np.array(names, dtype="U"),
            "text": ("prompt", np.array([f"item {items[i]}" for i in kept], dtype="U")),
            "framing": ("prompt", np.full(len(kept), NEUTRAL)),
            **{n: c for n, c in ds.coords.items() if c.dims == ("model",)},
            SCORE_SD: ("model", score_sd(ds)),
        },
        attrs={**ds.attrs, "schema": SCHEMA},
    )
    return Averaged(validate(data), tuple(items[i] for i in np.flatnonzero(~whole)))


def _check_enough(
    ds: xr.Dataset,
    whole: npt.NDArray[np.bool_],
    scored: npt.NDArray[np.bool_],
    has_all: npt.NDArray[np.bool_],
    of_group: npt.NDArray[np.bool_],
    names: list[str],
    by: str,
) -> None:
    """Refuse fewer than two items, saying who lacks the scores."""
    if whole.sum() > 1:
        return
    said = f"{int(whole.sum())} of {len(whole)} items have all scores; at least two are needed"
    if has_all.sum() < 2:
        in_items = np.asarray(of_group.any(axis=1)).sum(axis=0).tolist()
        lacking = [name for name, n in zip(names, in_items, strict=True) if n < 2]
        if len(lacking) == len(names) and len(names) > 2 and len(whole) > 1:
            raise ValueBiasError(
                f"{said}: of the {len(names)} groups by {by}, such as {shown(names[0])}, none is "
                "in two items. Name a coordinate whose values come back in other items, or leave "
                "by= out."
            )
        if len(lacking) == len(names):
            raise ValueBiasError(f"{said}. Score more items.")
        raise ValueBiasError(
            f"{said}: {few(lacking or names)} occur together with the others in "
            f"{int(has_all.sum())} items. Leave out the variants that most items lack: "
            "scores.sel(variant=[...])."
        )
    absent = np.asarray((~scored & of_group.any(axis=2)).any(axis=2))
    lacks = absent[:, has_all].sum(axis=1)
    worst = str(ds["model"].to_numpy()[int(np.argmax(lacks))])
    raise ValueBiasError(
        f"{said}. The model {worst!r} lacks scores of {int(lacks.max())}. Score it again, or leave "
        f"it out: scores.drop_sel(model=[{worst!r}])."
    )
