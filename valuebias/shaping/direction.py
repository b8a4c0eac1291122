"""Directions that a bias lies along: ``valuebias.direction``."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from valuebias._core.atomic import atomic_path
from valuebias._core.checks import check_number
from valuebias._core.notebooks import as_html
from valuebias._core.opening.limits import RefusedFileError
from valuebias._core.opening.numpy_files import load_arrays
from valuebias._core.progress import progress_bar
from valuebias._core.provenance import record
from valuebias._core.sums import archive_bytes
from valuebias._core.text import visible
from valuebias.analysis.directions import Sample, ledoit_wolf, reader, split_half
from valuebias.backends.base import Backend
from valuebias.backends.registry import get_backend
from valuebias.errors import ValueBiasError, shown
from valuebias.instruments import contrast_set
from valuebias.instruments import prompts as as_prompts
from valuebias.models.spec import Model, read_models
from valuebias.shaping.heads import RewardHead, find_head, hidden_base
from valuebias.shaping.sides import Between, Sides, WordSides, sides_of, words_of
from valuebias.training.features import Base, Conversation, feature_blocks

__all__ = ["Direction", "direction", "one_model"]

Floats = npt.NDArray[np.float64]

_AUTO = "auto"
_ARRAYS = ("vector", "difference", "center")
_ROUNDING = 1e-6
"""Differences below this share of the hidden states' length are rounding errors in float32."""


@dataclass(frozen=True, slots=True, eq=False)
class Direction:
    """A direction in the space of hidden states that a reward head reads.

    Attributes
    ----------
    name : str
        What it is called.
    vector : ndarray, shape (d,)
        The direction, of length 1: along it hidden states are read and a head is changed. It points
        to the first side. Without a penalty it is the difference.
    difference : ndarray, shape (d,)
        The difference of mean hidden states, the first side less the second: a head is shaped so
        that this has no reward.
    center : ndarray, shape (d,)
        The mean hidden state of both sides.
    between : tuple of (str, str)
        The two sides.
    by : str
        What tells them apart: a column of the contrast set, or "category" of words.
    model, model_sha256 : str
        Of which model, and the hash of its weights.
    n_items : int
        How many items, or words, it was estimated from.
    penalty : float or None
        λ, in mean variances within items; None without one, infinite where the difference alone is
        taken.
    share : float
        The share of the sum of squared differences that is their mean's: 1 where all items differ
        by the same.
    consistency : float
        Cosine of the differences in random halves of the items, the mean of 20 splits; near 0 where
        there is no common direction. NaN with fewer than four items.
    used : tuple of str
        Hashes of the conversations or words, by which others are known as held out.
    provenance : mapping
        When, from what and with which packages.

    Examples
    --------
    >>> import valuebias
    >>> long = valuebias.Direction.load("length.npz")  # doctest: +SKIP
    """

    name: str
    vector: Floats
    difference: Floats
    center: Floats
    between: tuple[str, str]
    by: str
    model: str
    model_sha256: str
    n_items: int
    penalty: float | None
    share: float
    consistency: float
    used: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """Names the direction by its numbers."""
        content = b"".join(np.ascontiguousarray(getattr(self, n)).tobytes() for n in _ARRAYS)
        return hashlib.sha256(content).hexdigest()

    def reading(self, hidden: npt.ArrayLike) -> Floats:
        """Read hidden states along the direction.

        Parameters
        ----------
        hidden : array_like, shape (..., d)
            Hidden states.

        Returns
        -------
        ndarray, shape (...)
            How far each lies towards the first side.

        Raises
        ------
        ValueBiasError
            If they are of another width.
        """
        values = np.asarray(hidden, dtype=np.float64)
        if values.ndim == 0 or values.shape[-1] != len(self.vector):
            raise ValueBiasError(
                f"The hidden states have the shape {values.shape}; expected {len(self.vector)} on "
                f"the last axis, those of {self.model!r}."
            )
        return np.asarray((values - self.center) @ self.vector)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the direction to a file of numpy arrays.

        Parameters
        ----------
        path : str or path
            Ends in ``.npz``.

        Raises
        ------
        ValueBiasError
            If it does not, or cannot be written.
        """
        if Path(path).suffix != ".npz":
            raise ValueBiasError(f"{os.fspath(path)!r} does not end in .npz. Rename it.")
        about = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _ARRAYS}
        arrays: dict[str, Any] = {name: getattr(self, name) for name in _ARRAYS}
        content = archive_bytes(arrays | {"about": json.dumps(about)})
        with atomic_path(path) as part:
            part.write_bytes(content)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Direction:
        """Read a direction that :meth:`save` wrote.

        Parameters
        ----------
        path : str or path
            The file.

        Returns
        -------
        Direction
            As it was.

        Raises
        ------
        ValueBiasError
            If the file is not there, is damaged, or holds something else.
        """
        try:
            stored: dict[str, Any] = load_arrays(path, [*_ARRAYS, "about"])
            about = dict(json.loads(str(stored.pop("about"))))
            about["between"], about["used"] = tuple(about["between"]), tuple(about["used"])
            found = cls(**stored, **about)
            shapes = {getattr(found, name).shape for name in _ARRAYS}
            kinds = {getattr(found, name).dtype for name in _ARRAYS}
            whole = len(shapes) == 1 and kinds == {np.dtype(np.float64)}
            if not whole or not all(np.isfinite(getattr(found, n)).all() for n in _ARRAYS):
                raise ValueError("its arrays are no finite rows of one length")
        except RefusedFileError:
            raise
        except (ValueError, TypeError, KeyError) as error:
            raise ValueBiasError(
                f"{os.fspath(path)!r} is not there or holds no direction "
                f"({type(error).__name__}). Expected a file that Direction.save wrote."
            ) from error
        return found

    def to_frame(self) -> pd.DataFrame:
        """Return what is known of the direction as a table of one row.

        Returns
        -------
        pandas.DataFrame
            Columns name, first, second, by, model, n_items, dimensions, penalty, share and
            consistency.
        """
        row = {
            "name": self.name,
            "first": self.between[0],
            "second": self.between[1],
            "by": self.by,
            "model": self.model,
            "n_items": self.n_items,
            "dimensions": len(self.vector),
            "penalty": math.nan if self.penalty is None else self.penalty,
            "share": self.share,
            "consistency": self.consistency,
        }
        return pd.DataFrame([row])

    def __repr__(self) -> str:
        """Say what it is, and how well the items agree on it."""
        noun = "words" if self.by == "category" else "items"
        cosine = (
            "" if math.isnan(self.consistency) else f", split-half cosine {self.consistency:.2f}"
        )
        first, second = (visible(side) for side in self.between)
        return (
            f"<Direction {visible(self.name)!r}: {first} less {second}, of {self.n_items} {noun} "
            f"in {len(self.vector)} dimensions{cosine}>"
        )

    def _repr_html_(self) -> str:
        """Show the same with the numbers in a notebook."""
        return as_html(repr(self).strip("<>"), self.to_frame())


def direction(
    model: Any,
    contrasts: Any = None,
    *,
    between: Between | None = None,
    by: str | None = None,
    lexicon: Any = None,
    prompts: Any = "superlatives",
    name: str | None = None,
    penalty: float | str | None = None,
    held_out: float = 0.0,
    backend: str | type[Backend] | Backend = "torch",
    store: str | PathLike[str] | None = None,
    trust_remote_code: bool = False,
    progress: bool = True,
) -> Direction:
    """Estimate the direction in which a reward model's hidden states differ between two sides.

    Hidden states are what the reward head reads: after the last norm, at the token where the reward
    is read.

    Parameters
    ----------
    model : Model, str, path, mapping or DataFrame
        One reward model, as :func:`valuebias.read_models` takes it, with a linear head or one of
        two layers.
    contrasts : ContrastSet, str, path, DataFrame, mapping or sequence, optional
        What :func:`valuebias.contrast_set` takes. Differences are taken within items.
    between : pair of str or of sequences of str, optional
        The two sides, the first less the second: variants, or levels of `by`, or groups of them; of
        a lexicon two categories. May be left out where there are two.
    by : str, optional
        A column of the contrast set whose levels are compared; by default what a battery compares,
        else "variant".
    lexicon : str, path, Lexicon, DataFrame or mapping, optional
        Instead of `contrasts`: words as answers to `prompts`. A word's hidden state is the mean
        over prompts, with the sign of a signed lean: those of negative framing are turned.
    prompts : str, path, PromptSet, DataFrame, mapping or sequence, optional
        Of a lexicon, what :func:`valuebias.prompts` takes.
    name : str, optional
        What to call it; by default the contrast set, or the first category less the second.
    penalty : "auto" or float, optional
        λ, above 0, in mean variances m of the hidden states within items: the direction is
        ``(S + λ m I)⁻¹`` times the difference of means, with S their covariance within items.
        "auto": what Ledoit and Wolf's shrinkage of S amounts to. Needed with fewer items than
        hidden dimensions. Without a penalty the direction is the difference of means itself.
    held_out : float, default 0
        The share of the items, or of each category's words, that is not used, so that
        :func:`valuebias.shaping_report` can look at them. Which ones depends on their names alone.
    backend : str, type of Backend or Backend
        As in :func:`valuebias.score`; one that takes functions as heads, such as "torch".
    store : str or path, optional
        A folder that keeps the hidden states, so that what was interrupted goes on.
    trust_remote_code : bool, default False
        As in :func:`valuebias.score`.
    progress : bool, default True
        Show progress on standard error.

    Returns
    -------
    Direction
        Which :func:`valuebias.shape` takes out of the model's head.

    Raises
    ------
    ValueBiasError
        If the model is no reward model with such a head; there are fewer items than dimensions and
        no penalty; the sides do not differ; or hidden states are not finite.

    Notes
    -----
    Fein et al. 2026 (arXiv 2603.03291) shape rewards along such directions. The penalised
    direction removes the difference with the least change of rewards (Belrose et al. 2023,
    arXiv 2306.03819); shrinkage after Ledoit & Wolf 2004.

    Examples
    --------
    >>> import valuebias
    >>> pairs = {"q1": {"prompt": "2 + 2?", "answers": {"long": "It is 4.", "short": "4"}}}
    >>> long = valuebias.direction("org/model", pairs, penalty="auto")  # doctest: +SKIP
    """
    found = one_model(model, trust_remote_code)
    _check_penalty(penalty)
    engine = get_backend(backend)
    sides = _held_out(_asked(contrasts, lexicon, between, by, prompts), held_out)
    head = find_head(found)
    base = hidden_base(found)
    folder = None if store is None else Path(store).expanduser()
    with progress_bar(f"Reading {found.name}", shown=progress) as advance:

        def read(conversations: Sequence[Conversation]) -> Iterable[npt.NDArray[np.float32]]:
            blocks = feature_blocks(
                base, conversations, folder=folder, backend=engine, advance=advance
            )
            return (block[:, 0] for block in blocks)

        if isinstance(sides, WordSides):
            sample, center, length = _of_words(sides, read)
        else:
            sample, center, length = _of_contrasts(sides, read)
    label = name or (sides.contrasts.name if isinstance(sides, Sides) else _less(sides))
    asked = {"penalty": penalty, "held_out": held_out}
    return _estimated(label, sides, sample, center, length, asked, head, base)


def one_model(model: Any, trust_remote_code: bool) -> Model:
    """Take one model, of any form that several may have."""
    models = read_models(model, trust_remote_code=trust_remote_code)
    if len(models) != 1:
        raise ValueBiasError(
            f"There are {len(models)} models; a direction is of one, and so is a shaped head. Give "
            "them one by one."
        )
    return models[0]


def _check_penalty(penalty: Any) -> None:
    if penalty is None or (isinstance(penalty, str) and penalty == _AUTO):
        return
    expected = "'auto' or a number above 0"
    check_number(penalty, "penalty", expected, least=0, above=True)
    if not math.isfinite(penalty):
        raise ValueBiasError(f"penalty is {penalty!r}; expected {expected}.")


def _asked(
    contrasts: Any, lexicon: Any, between: Between | None, by: str | None, prompts: Any
) -> Sides | WordSides:
    if (contrasts is None) == (lexicon is None):
        raise ValueBiasError(
            "A direction is of a contrast set or of a lexicon; "
            + ("neither was given." if contrasts is None else "both were given.")
            + " Give contrasts, or lexicon= with prompts=."
        )
    if lexicon is not None:
        if by is not None:
            raise ValueBiasError(
                f"by is {shown(by)}, and a lexicon is given, whose categories are compared. Leave "
                "it out."
            )
        return words_of(lexicon, between, as_prompts(prompts))
    sides = sides_of(contrast_set(contrasts), between, by)
    if len(sides.contrasts) < 2:
        raise ValueBiasError(
            f"The contrast set {sides.contrasts.name!r} has one item with both sides; a direction "
            "needs two or more. Add items."
        )
    return sides


def _held_out(sides: Sides | WordSides, share: Any) -> Sides | WordSides:
    expected = "a share of the items, from 0 to below 1"
    check_number(share, "held_out", expected, least=0, most=1, below=True)
    kept: Sides | WordSides | None = sides.thinned(share) if share else sides
    if kept is None:
        raise ValueBiasError(
            f"held_out is {share!r}, which leaves too little to estimate a direction from. Give a "
            "smaller share, or more items."
        )
    return kept


def _less(sides: WordSides) -> str:
    return f"{sides.categories[0]} − {sides.categories[1]}"


def _of_contrasts(sides: Sides, read: Any) -> tuple[Sample, Floats, float]:
    table = sides.contrasts.table
    asked = [
        Conversation.after(prompt, (response,))
        for prompt, response in zip(table["prompt"], table["response"], strict=True)
    ]
    hidden = np.concatenate(list(read(asked))).astype(np.float64)
    return Sample(sides.differences(hidden)), hidden.mean(0), _length(hidden)


def _of_words(sides: WordSides, read: Any) -> tuple[Sample, Floats, float]:
    """Add hidden states up by word, as they come: those of all prompts may fill the memory."""
    weight = sides.weights()
    asked = [
        Conversation.after(str(text), (word,))
        for text in sides.prompts.table["text"]
        for word in sides.words
    ]
    n, at = len(sides.words), 0
    signed: Any = None
    for block in read(asked):
        values = block.astype(np.float64)
        if signed is None:
            signed, total, squares = np.zeros((n, values.shape[1])), np.zeros(values.shape[1]), 0.0
        prompt, word = np.divmod(np.arange(at, at + len(values)), n)
        np.add.at(signed, word, values * weight[prompt, None])
        total += values.sum(0)
        squares += float((values**2).sum())
        at += len(values)
    first, second = signed[: sides.n_first], signed[sides.n_first :]
    return Sample(first, second), total / at, math.sqrt(squares / at)


def _length(hidden: Floats) -> float:
    return math.sqrt(float((hidden**2).sum()) / len(hidden))


def _estimated(
    name: str,
    sides: Sides | WordSides,
    sample: Sample,
    center: Floats,
    length: float,
    asked: Mapping[str, Any],
    head: RewardHead,
    base: Base,
) -> Direction:
    difference, penalty = sample.difference, asked["penalty"]
    noun = "words" if isinstance(sides, WordSides) else "items"
    first, second = sides.categories if isinstance(sides, WordSides) else sides.said
    if float(np.linalg.norm(difference)) <= _ROUNDING * length:
        raise ValueBiasError(
            f"The hidden states of {base.name!r} do not differ between {first!r} and {second!r}, "
            "so that there is no direction. A template may drop what differs between them: compare "
            "other variants."
        )
    if penalty is None and sample.n < len(difference):
        raise ValueBiasError(
            f"The direction {name!r} is of {sample.n} {noun} in {len(difference)} dimensions; "
            "without a penalty as many are needed as there are dimensions. Give penalty='auto' or "
            "a number, such as 1; or more."
        )
    chosen = None if penalty is None else float(_auto(sample) if penalty == _AUTO else penalty)
    vector = difference if chosen is None else reader(sample, chosen)
    about = {
        "contrasts": sides.contrasts.name if isinstance(sides, Sides) else None,
        "lexicon": sides.lexicon.name if isinstance(sides, WordSides) else None,
        "prompts": sides.prompts.name if isinstance(sides, WordSides) else None,
        **asked,
        "template": base.tokenizer.template_sha256,
        "dtype": base.resolved.source.dtype,
    }
    return Direction(
        name=name,
        vector=vector / np.linalg.norm(vector),
        difference=difference,
        center=center,
        between=(first, second),
        by=sides.by if isinstance(sides, Sides) else "category",
        model=base.name,
        model_sha256=head.sha256,
        n_items=sample.n,
        penalty=chosen,
        share=sample.share(),
        consistency=split_half(sample),
        used=tuple(sides.marks()),
        provenance=record(details=about),
    )


def _auto(sample: Sample) -> float:
    # A penalty of 0 would leave a covariance of fewer units than dimensions without an inverse.
    return max(ledoit_wolf(sample.deviations()[0]), 1e-3)
