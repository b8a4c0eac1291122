"""Reward models without a direction in what their head reads: ``valuebias.shape``."""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from valuebias._core.atomic import atomic_path
from valuebias._core.checks import NUMBER, check_installed
from valuebias._core.foreign import read_json, reading
from valuebias._core.provenance import record
from valuebias.analysis.directions import removal
from valuebias.errors import ValueBiasError, ValueBiasWarning, shown
from valuebias.models.spec import Model
from valuebias.shaping.direction import Direction, one_model
from valuebias.shaping.heads import find_head, rewritten

__all__ = ["RECORD", "Shaped", "read_record", "shape"]

Floats = npt.NDArray[np.float64]

RECORD = "shaping.json"
"""The file beside a shaped model's weights that says how it was made."""


def shape(
    model: Any,
    directions: Direction | Sequence[Direction],
    *,
    out: str | PathLike[str],
    alpha: float | Sequence[float] = 1.0,
    keep_mean: bool = False,
    name: str | None = None,
    trust_remote_code: bool = False,
) -> Model:
    """Take directions out of what a reward model's head reads, and write the model so shaped.

    A head that reads ``r = w·h + b`` gets the weights ``w′ = (I − α P) w``; nothing else of the
    model changes, so that it costs nothing to score and every backend and server takes it. Of a
    head of two layers the first is shaped so, and of several labels all.

    Parameters
    ----------
    model : Model, str, path, mapping or DataFrame
        The reward model that the directions were estimated of; see :func:`valuebias.direction`.
    directions : Direction or sequence of Direction
        What is removed. Each is made orthogonal to those before it.
    out : str or path
        The folder that the model is written to: whole or not at all. Only the tensor of the head is
        written anew; weights that do not change are the same file under a second name, where the
        system can. ``shaping.json`` says how it was made.
    alpha : float or sequence of float, default 1
        How much is removed: 0 nothing, 1 all. One for all directions, or one each.
    keep_mean : bool, default False
        Move the bias so that the mean reward of the conversations that the directions were
        estimated from stays as it was. Needs a head with a bias, which heads of two layers have,
        and most of one layer have not; rewards of the same prompt compare as they do without.
    name : str, optional
        The model's label; by default the name of the folder.
    trust_remote_code : bool, default False
        As in :func:`valuebias.score`.

    Returns
    -------
    Model
        The shaped model, with all else as it was specified.

    Raises
    ------
    ValueBiasError
        If a direction is of another model, or a combination of others; the model has no linear head
        or one of two layers; or something else lies at `out`.

    Warns
    -----
    ValueBiasWarning
        If `alpha` is below 0 or above 1, so that a lean is made larger or turned round.

    Notes
    -----
    P projects onto the span of the directions, along the heads to which the two sides are alike:
    of one direction v and its difference of means Δ, ``P = v Δᵀ / (Δ·v)``. Without a penalty v is Δ
    up to its length, and P is the orthogonal projector. Rewards are those of the hidden states
    ``(I − α P)ᵀ h``.

    Examples
    --------
    >>> import valuebias
    >>> long = valuebias.Direction.load("length.npz")  # doctest: +SKIP
    >>> shaped = valuebias.shape("org/model", long, out="shaped")  # doctest: +SKIP
    """
    found = one_model(model, trust_remote_code)
    chosen = _directions(directions)
    shares = _shares(alpha, len(chosen))
    check_installed("torch", "transformers", extra="torch", after=", and shaping needs it")
    target = Path(out).expanduser()
    head = find_head(found)
    _check_target(target, head.resolved.source.folder)
    for one in chosen:
        if one.model_sha256 != head.sha256:
            raise ValueBiasError(
                f"The direction {one.name!r} is of {one.model!r} with the weights "
                f"{one.model_sha256[:12]}…, and the model {found.name!r} has {head.sha256[:12]}…. "
                "A direction is of one model alone: estimate it of this one."
            )
    if keep_mean and head.bias is None:
        raise ValueBiasError(
            f"The head of {found.name!r} has no bias, so that the mean reward cannot be kept. "
            "Leave keep_mean out: rewards of the same prompt compare as they would with it."
        )
    taken = removal(
        [one.vector for one in chosen],
        [one.difference for one in chosen],
        shares,
        [one.name for one in chosen],
    )
    center = np.average([d.center for d in chosen], axis=0, weights=[d.n_items for d in chosen])

    def change(tensors: Mapping[str, Floats]) -> Mapping[str, Floats]:
        weights = tensors[head.weight]
        if not np.isfinite(weights).all():
            raise ValueBiasError(
                f"The head of {found.name!r} has weights that are not finite. Save the model again."
            )
        made = {head.weight: taken.of_weights(weights)}
        if keep_mean and head.bias is not None:
            made[head.bias] = tensors[head.bias] + (weights - made[head.weight]) @ center
        return made

    details = {
        "model": {"name": found.name, "location": found.location, "revision": found.revision,
                  "weights_sha256": head.sha256},
        "tensor": head.weight,
        "keep_mean": keep_mean,
        "directions": [_about(one, share) for one, share in zip(chosen, shares, strict=True)],
    }  # fmt: skip
    with atomic_path(target) as part:
        rewritten(head, part, change if any(shares) else None)
        (part / RECORD).unlink(missing_ok=True)
        text = json.dumps({"shaping": 1, **record(details=details)}, indent=1, allow_nan=False)
        (part / RECORD).write_text(text, encoding="utf-8")
    specified = head.resolved.model
    return replace(
        found, location=str(target), name=name or target.name, revision=None,
        family=specified.family, base=specified.base, n_params=specified.n_params,
    )  # fmt: skip


def _about(one: Direction, share: float) -> dict[str, Any]:
    names = ("name", "between", "by", "n_items", "penalty", "share", "consistency", "sha256",
             "used", "provenance")  # fmt: skip
    about = {name: getattr(one, name) for name in names}
    # JSON has no word for what is not finite.
    plain = {n: None if isinstance(v, float) and not math.isfinite(v) else v
             for n, v in about.items()}  # fmt: skip
    return {"alpha": share, **plain}


def _directions(given: Any) -> list[Direction]:
    chosen = [given] if isinstance(given, Direction) else given
    listed = isinstance(chosen, Sequence) and not isinstance(chosen, str)
    if not listed or not chosen or not all(isinstance(one, Direction) for one in chosen):
        raise ValueBiasError(
            f"directions is {shown(given)}; expected what valuebias.direction(...) gives, one or "
            "several in a list."
        )
    names = [one.name for one in chosen]
    for label in names:
        if names.count(label) > 1:
            raise ValueBiasError(
                f"Two directions are called {label!r}. Give one of them another name= when it is "
                "estimated."
            )
    return list(chosen)


def _shares(alpha: Any, n: int) -> list[float]:
    listed = isinstance(alpha, Sequence | np.ndarray) and not isinstance(alpha, str)
    shares = list(alpha) if listed else [alpha] * n
    fits = all(
        isinstance(a, NUMBER) and not isinstance(a, bool) and math.isfinite(a) for a in shares
    )
    if not fits or len(shares) != n:
        raise ValueBiasError(
            f"alpha is {shown(alpha)}; expected a number from 0 to 1, or as many as directions, "
            f"{n}."
        )
    beyond = [float(share) for share in shares if not 0 <= share <= 1]
    if beyond:
        warnings.warn(
            f"alpha is {beyond[0]:g}: below 0 a lean is made larger, above 1 it is turned round. "
            "From 0 to 1 it is removed in part or whole.",
            ValueBiasWarning,
            stacklevel=3,
        )
    return [float(share) for share in shares]


def _check_target(target: Path, source: Path) -> None:
    """Refuse a folder that holds anything else, so that nothing is lost."""
    real, own = os.path.realpath(target), os.path.realpath(source)
    if os.path.commonpath([real, own]) in (own, real):
        raise ValueBiasError(
            f"{str(target)!r} is the model's own folder, in it or around it. Write the shaped "
            "model elsewhere."
        )
    if os.path.lexists(target) and not (target / RECORD).is_file():
        raise ValueBiasError(
            f"{str(target)!r} is there already and holds no shaped model. Remove it or choose "
            "another folder."
        )


@dataclass(frozen=True, slots=True)
class Shaped:
    """What a shaped model's folder says: its directions, how much of each, and what they used."""

    base_sha256: str
    names: tuple[str, ...]
    alpha: tuple[float, ...]
    used: frozenset[str]


def read_record(model: Model) -> Shaped | None:
    """Read how a model was shaped; None of one that was not."""
    path = Path(model.location).expanduser() / RECORD
    if not os.path.isfile(path):
        return None
    advice = "Shape the model again."
    content = read_json(path, advice=advice)
    with reading(path, advice=advice):
        directions = content["directions"]
        return Shaped(
            str(content["model"]["weights_sha256"]),
            tuple(str(one["name"]) for one in directions),
            tuple(float(one["alpha"]) for one in directions),
            frozenset(str(mark) for one in directions for mark in one["used"]),
        )
