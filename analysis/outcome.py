"""Turn raw scores, whose scale differs between models, into comparable outcomes.

A reward model's scores have no unit, and the log-probabilities of two language models differ in
spread, so each model × prompt is brought to a common scale over the words it scored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import special

from valuebias.errors import ValueBiasError, did_you_mean
from valuebias.schema.contrast_categories import SCORE_SD

__all__ = ["KINDS", "OutcomeKind", "describe", "midranks", "outcome", "words_with_categories"]

Floats = NDArray[np.floating[Any]]

_AT_A_TIME = 200_000  # scores


@dataclass(frozen=True)
class OutcomeKind:
    """One kind of outcome, and how to read its numbers.

    Examples
    --------
    >>> describe("rank").sign
    -1
    """

    kind: str  # the name `outcome` takes, such as ``"rank"`` or ``"normal"``
    name: str  # its name in a sentence or on an axis
    units: str  # what one unit is
    unit: str  # the same in short, for an axis or a table
    # +1 if a higher number means a higher reward, −1 (ranks) if it means a lower one. Multiply a
    # contrast by it to have "more" mean "valued more".
    sign: int
    reading: str  # how to read it, in a sentence
    source: str  # where it comes from


_KINDS: tuple[OutcomeKind, ...] = (
    OutcomeKind(
        kind="rank",
        name="rank",
        units="ranks",
        unit="ranks",
        sign=-1,
        reading="1 is the word with the highest score for that model and prompt, n (the number of "
        "words scored) the lowest; tied words share the mean of their ranks. A smaller number "
        "means a higher reward.",
        source="Christian et al. 2026: ranks of the negated scores (its Figure 1).",
    ),
    OutcomeKind(
        kind="normal",
        name="normal score",
        units="standard deviations of the words of one model and prompt",
        unit="SD",
        sign=1,
        reading="0 is the middle word for that model and prompt and +1 stands at about the 84th "
        "percentile of its words. A larger number means a higher reward.",
        source="Rankit, Φ⁻¹((r − ½)/n) of the ascending rank r: Bliss 1967, Statistics in Biology; "
        "qnorm(ppoints(n)) in R for n > 10; nearest to unit variance of the usual formulas in "
        "Solomon & Sawilowsky 2009, J. Mod. Appl. Stat. Methods 8(2), 448–462.",
    ),
    OutcomeKind(
        kind="z",
        name="z score",
        units="standard deviations of the words of one model and prompt",
        unit="SD",
        sign=1,
        reading="0 is the mean of the words for that model and prompt and 1 their standard "
        "deviation (divisor n − 1). A larger number means a higher reward; one extreme word moves "
        "all the others.",
        source="scale() in R.",
    ),
    OutcomeKind(
        kind="scaled",
        name="score in SDs of the model",
        units="standard deviations of the model's scores",
        unit="SD",
        sign=1,
        reading="The score divided by the standard deviation of all scores of the model, from "
        "whatever its scale starts. A larger number means a higher reward.",
        source="The divisor n − 1, over all prompts and answers that the model scored.",
    ),
    OutcomeKind(
        kind="raw",
        name="raw score",
        units="the model's own units",
        unit="score units",
        sign=1,
        reading="The score as the model gave it. A larger number means a higher reward, but two "
        "models' numbers cannot be compared.",
        source="The model.",
    ),
)

KINDS: tuple[str, ...] = tuple(entry.kind for entry in _KINDS)
"""The kinds of outcome: ``"rank"``, ``"normal"``, ``"z"``, ``"scaled"``, ``"raw"``."""


def describe(kind: str) -> OutcomeKind:
    """Describe a kind of outcome: its units and how to read it.

    Parameters
    ----------
    kind : str
        One of `KINDS`.

    Returns
    -------
    OutcomeKind
        Its name, units, direction, reading and source.

    Raises
    ------
    ValueBiasError
        If the kind is not known.

    Examples
    --------
    >>> describe("normal").units
    'standard deviations of the words of one model and prompt'
    >>> describe("ranks")
    Traceback (most recent call last):
        ...
    valuebias.errors.ValueBiasError: Unknown outcome 'ranks'. Did you mean 'rank'? ...
    """
    for entry in _KINDS:
        if entry.kind == kind:
            return entry
    raise ValueBiasError(f"Unknown outcome {kind!r}. {did_you_mean(kind, KINDS)}")


def outcome(data: xr.Dataset | xr.DataArray, *, kind: str = "normal") -> xr.DataArray:
    """Bring scores to a common scale within each model and prompt.

    Parameters
    ----------
    data : xarray.Dataset or xarray.DataArray
        A dataset of the "valuebias/1" contract, or a score array with a ``response`` dimension. Of
        a dataset only the words of its lexicon (a ``membership`` in some category) are kept and
        ranked; of an array, all words.
    kind : {"normal", "rank", "z", "scaled", "raw"}, default "normal"
        See `describe`. ``"normal"``: Φ⁻¹((r − ½)/n) of the ascending rank r among the n words
        scored. ``"rank"``: the paper's rank, where **1 is the highest score** and n the lowest.
        ``"z"``: standardised, divisor n − 1. ``"scaled"``: divided by the SD of all scores of the
        model, which magnitudes between prompts survive. ``"raw"``: unchanged.

    Returns
    -------
    xarray.DataArray
        Of float64, dimensions and coordinates as in `data`, NaN where a score is missing. Its
        attributes ``kind``, ``units``, ``long_name`` and ``sign`` come from `describe`.

    Raises
    ------
    ValueBiasError
        If the kind is unknown, the data have no ``response`` dimension, no word is in the lexicon,
        a score is infinite, or `kind` is ``"z"`` and some model gives all words of a prompt one
        score.

    Notes
    -----
    Ties get the mean of the ranks they cover; where a model gives all words of a prompt one score,
    all get the middle rank. Ranks run the other way from the rest: with r the ascending rank,
    ``"rank"`` is n + 1 − r, so a higher reward is a *smaller* rank but a *higher* normal score, and
    normal score = −Φ⁻¹((rank − ½)/n). Words are ranked among those scored for that model and
    prompt: a missing word neither takes a rank nor leaves a gap.

    Source: Christian et al. 2026 (arXiv 2601.20838), Figure 1 (ranks). Rankit rather than Blom's
    formula because it is R's ``qnorm(ppoints(n))`` for n > 10 and its variance is nearer to one;
    for a hundred words the two differ by less than 0.01 but for the outermost five at each end.

    Examples
    --------
    >>> import xarray as xr
    >>> scores = xr.DataArray([3.0, -1.0, 0.5, 0.5], dims="response")
    >>> outcome(scores, kind="rank").values
    array([1. , 4. , 2.5, 2.5])
    >>> outcome(scores, kind="normal").values.round(2)
    array([ 1.15, -1.15,  0.  ,  0.  ])
    """
    described = describe(kind)
    score = _lexicon_scores(data)
    moved = score.transpose(..., "response")
    _check_finite(moved)
    if kind == "z":
        _check_varies(moved)
    values = moved.copy(data=_by_rows(_TRANSFORMS[kind], moved.to_numpy()))
    if kind == "scaled":
        values = (values / _model_sd(score)).transpose(*moved.dims)
    values.attrs = {
        "kind": kind,
        "long_name": described.name,
        "units": described.units,
        "sign": described.sign,
    }
    return values.transpose(*score.dims).rename("outcome")


def midranks(scores: Floats) -> NDArray[np.float64]:
    """Rank ascending along the last axis, 1 for the lowest, ties averaged, NaN kept.

    Notes
    -----
    One sort for all rows: about 0.1 s for 1.1 million scores, where SciPy's ``rankdata`` with
    ``nan_policy="omit"`` goes row by row.

    Examples
    --------
    >>> midranks(np.array([[2.0, np.nan, 2.0, 1.0]]))
    array([[2.5, nan, 2.5, 1. ]])
    """
    values = np.asarray(scores)
    order = np.argsort(values, axis=-1)
    ordered = np.take_along_axis(values, order, axis=-1)
    position = np.broadcast_to(np.arange(values.shape[-1], dtype=np.int32), values.shape)
    first = np.ones(values.shape, dtype=bool)
    np.not_equal(ordered[..., 1:], ordered[..., :-1], out=first[..., 1:])
    last = np.ones(values.shape, dtype=bool)
    last[..., :-1] = first[..., 1:]
    start = np.maximum.accumulate(np.where(first, position, 0), axis=-1)
    stop = np.where(last, position, values.shape[-1])[..., ::-1]
    stop = np.minimum.accumulate(stop, axis=-1)[..., ::-1]
    ranks = np.empty(values.shape, dtype=np.float64)
    np.put_along_axis(ranks, order, 0.5 * (start + stop) + 1.0, axis=-1)
    ranks[np.isnan(values)] = np.nan
    return ranks


def _descending(scores: Floats) -> NDArray[np.float64]:
    return midranks(-scores)


def _normal(scores: Floats) -> NDArray[np.float64]:
    count = np.maximum(np.isfinite(scores).sum(axis=-1, keepdims=True), 1)
    quantiles: NDArray[np.float64] = special.ndtri((midranks(scores) - 0.5) / count)
    return quantiles


def _standardised(scores: Floats) -> NDArray[np.float64]:
    values = scores.astype(np.float64)
    present = np.isfinite(values)
    count = present.sum(axis=-1, keepdims=True)
    mean = np.where(present, values, 0.0).sum(axis=-1, keepdims=True) / np.maximum(count, 1)
    values -= mean
    squares = np.where(present, values**2, 0.0).sum(axis=-1, keepdims=True)
    spread = np.sqrt(squares / np.maximum(count - 1, 1))
    np.divide(values, spread, out=values, where=spread > 0)
    return values


def _raw(scores: Floats) -> NDArray[np.float64]:
    return scores.astype(np.float64)


_TRANSFORMS: dict[str, Callable[[Floats], NDArray[np.float64]]] = {
    "rank": _descending,
    "normal": _normal,
    "z": _standardised,
    "scaled": _raw,
    "raw": _raw,
}


def _by_rows(
    transform: Callable[[Floats], NDArray[np.float64]], scores: Floats
) -> NDArray[np.float64]:
    """Transform some rows at a time: ranking needs six times the memory of the scores.

    In one order of memory, for sums over others differ in their last bits.
    """
    scores = np.ascontiguousarray(scores)
    transformed = np.empty(scores.shape)
    flat, rows = transformed.reshape(-1, scores.shape[-1]), scores.reshape(-1, scores.shape[-1])
    step = max(1, _AT_A_TIME // max(1, scores.shape[-1]))
    for first in range(0, len(rows), step):
        part = slice(first, first + step)
        flat[part] = transform(rows[part])
    return transformed


def _model_sd(score: xr.DataArray) -> xr.DataArray:
    """Give the SD of each model's scores: as it was of all, where some were averaged since."""
    if SCORE_SD in score.coords:
        return xr.DataArray(score.coords[SCORE_SD].to_numpy(), dims="model")
    others = [dim for dim in score.dims if dim != "model"]
    sd = score.astype(np.float64).std(others, ddof=1)
    flat = ~(sd.to_numpy() > 0)
    if flat.any():
        raise ValueBiasError(
            f"All scores are the same at {_where(sd, flat)}, so that they have no SD. Leave that "
            "model out, or use outcome='rank'."
        )
    return sd


def words_with_categories(data: xr.Dataset) -> NDArray[np.bool_]:
    """Whether each word is in a category; refuse data in which none is."""
    inside: NDArray[np.bool_] = (data["membership"] != 0).any("category").to_numpy()
    if not inside.any():
        said = (
            f"None of the {inside.size} words is in a category, so there is nothing to compare. "
            "Give the lexicon that says of which they are"
        )
        raise ValueBiasError(
            f"{said}: lexicon= of valuebias.score, read_scores or schema.build, such as "
            "lexicon='agency-communion'. None is taken unasked.",
            in_shell=f"{said}: valuebias data read ... --lexicon agency-communion. None is taken "
            "unasked.",
        )
    return inside


def _lexicon_scores(data: xr.Dataset | xr.DataArray) -> xr.DataArray:
    """Return the scores of the lexicon's words as floats, once they have a response dimension."""
    if isinstance(data, xr.Dataset):
        missing = [name for name in ("score", "membership") if name not in data]
        if missing:
            raise ValueBiasError(
                f"The dataset has no {' and no '.join(repr(name) for name in missing)}. Expected "
                "the variables of the 'valuebias/1' contract; make one with valuebias.schema.build."
            )
        inside = words_with_categories(data)
        score = data["score"] if inside.all() else data["score"].isel(response=inside)
    elif isinstance(data, xr.DataArray):
        score = data
    else:
        raise ValueBiasError(
            f"Expected an xarray Dataset or DataArray of scores; found {type(data).__name__}."
        )
    if "response" not in score.dims:
        raise ValueBiasError(
            f"The scores have dimensions {tuple(score.dims)} and no 'response', over which they "
            "are compared. Rename the dimension of the words to 'response'."
        )
    return score if score.dtype.kind == "f" else score.astype(np.float64)


def _check_finite(score: xr.DataArray) -> None:
    infinite = np.isinf(score.to_numpy())
    if infinite.any():
        raise ValueBiasError(
            f"{int(infinite.sum())} scores are infinite, the first at {_where(score, infinite)}. "
            "Expected finite numbers, or NaN where a word was not scored."
        )


def _check_varies(score: xr.DataArray) -> None:
    values = score.to_numpy()
    lowest = np.fmin.reduce(values, axis=-1)
    flat = lowest == np.fmax.reduce(values, axis=-1)
    if flat.any():
        rows = score.isel(response=0, drop=True)
        raise ValueBiasError(
            f"All words have the same score at {_where(rows, flat)} ({int(flat.sum())} such "
            "model × prompt in all), so z scores do not exist there. Use outcome='rank' or "
            "outcome='normal', or drop it."
        )


def _where(score: xr.DataArray, mask: NDArray[np.bool_]) -> str:
    """Name the first cell of a mask by its coordinates."""
    cell = np.argwhere(mask)[0]
    named = [
        f"{dim} {score[dim].to_numpy()[i].item()!r}" if dim in score.coords else f"{dim} {i}"
        for dim, i in zip(score.dims, cell, strict=True)
    ]
    return ", ".join(named) if named else "its only row"
