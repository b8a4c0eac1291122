"""Rewards read at every token of answers, as tables of numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from valuebias._core.checks import check_known, check_number
from valuebias.errors import ValueBiasError, shown
from valuebias.schema.contrast_scores import validate_contrasts

__all__ = ["Answer", "Readings"]

Array = NDArray[np.float64]
_READINGS = ("token_reward", "token_end")
_DIMS = ("model", "item", "variant")


class Answer(NamedTuple):
    """One answer as one model reads it."""

    model: str
    item: str
    variant: str
    response: str
    rewards: Array  # (token,)
    # (token,): how many characters of the response have been read then; None where not known.
    ends: NDArray[np.int64] | None
    n_own: int  # how many of these tokens are the answer's; the others end the conversation

    @property
    def starts(self) -> NDArray[np.int64]:
        """Give where each token begins in the response; only where ends are known."""
        if self.ends is None:
            raise ValueBiasError(
                f"Where the tokens of {self.model!r} end in the answer {shown(self.response)} is "
                "not known: its tokenizer does not say, or its chat template writes answers "
                "otherwise. Its accuracy and its calibration need no texts."
            )
        return np.concatenate([[0], self.ends[:-1]])

    @property
    def changes(self) -> Array:
        """Give what each token changes; NaN for the first, before which nothing is read."""
        return np.concatenate([[np.nan], np.diff(self.rewards)])


@dataclass(frozen=True, eq=False)
class Readings:
    """All readings of a contrast set's scores."""

    scores: xr.Dataset = field(repr=False)
    rewards: Array = field(repr=False)  # (model, item, variant, token), NaN beyond the last
    ends: NDArray[np.int64] = field(repr=False)  # likewise, −1 beyond and where not known
    n_tokens: NDArray[np.int64] = field(repr=False)  # (model, item, variant): read, 0 for none
    n_own: NDArray[np.int64] = field(repr=False)  # likewise: of these the answer's own

    @classmethod
    def of(cls, scores: xr.Dataset) -> Readings:
        """Take scores that were read at all tokens; refuse others."""
        validate_contrasts(scores)
        missing = [name for name in _READINGS if name not in scores.data_vars]
        if missing:
            raise ValueBiasError(
                f"These scores have no {missing[0]!r}: rewards were read at the end only. Score "
                "the contrast set again with valuebias.score_contrasts(..., read='all')."
            )
        both = [scores[name].transpose(*_DIMS, "token").to_numpy() for name in _READINGS]
        rewards, ends = both[0].astype(np.float64), both[1].astype(np.int64)
        n_tokens = np.isfinite(rewards).sum(axis=-1)
        inside = np.arange(rewards.shape[-1]) < n_tokens[..., None]
        if (np.isfinite(rewards) != inside).any():
            raise ValueBiasError(
                "'token_reward' has gaps: NaN stands before a number. Expected NaN beyond the last "
                "token only, as valuebias.score_contrasts(..., read='all') writes it."
            )
        return cls(scores, rewards, ends, n_tokens, _own(scores, ends, n_tokens))

    @property
    def final(self) -> Array:
        """Give the reward of the whole conversation, at its last token; (model, item, variant)."""
        return _picked(self.rewards, self.n_tokens - 1)

    @property
    def located(self) -> NDArray[np.bool_]:
        """Tell of which answers it is known where their tokens end; (model, item, variant)."""
        inside = np.arange(self.rewards.shape[-1]) < self.n_tokens[..., None]
        return (self.n_tokens > 0) & ~((self.ends < 0) & inside).any(axis=-1)

    def at(self, share: float) -> Array:
        """Give the reward when a share of an answer's own tokens has been read, rounded up."""
        check_number(share, "share", "a share of the answer, above 0 and at most 1", least=0,
                     most=1, above=True)  # fmt: skip
        # Rounded first, so that 0.7 of ten tokens are seven.
        place = np.ceil(np.round(share * self.n_own, 9)).astype(np.int64)
        return _picked(self.rewards, np.where(self.n_own > 0, np.maximum(place, 1), 0) - 1)

    def answers(
        self, *, model: str | None = None, item: str | None = None, variant: str | None = None
    ) -> Iterator[Answer]:
        """Give the answers that were read, all or some."""
        names = {"model": model, "item": item, "variant": variant}
        places = [self._places(dim, name) for dim, name in names.items()]
        responses = self._responses()
        labels = [self.scores[dim].to_numpy() for dim in _DIMS]
        for m, i, v in ((m, i, v) for m in places[0] for i in places[1] for v in places[2]):
            n = int(self.n_tokens[m, i, v])
            if not n:
                continue
            ends = self.ends[m, i, v, :n]
            yield Answer(
                str(labels[0][m]),
                str(labels[1][i]),
                str(labels[2][v]),
                responses[i, v],
                self.rewards[m, i, v, :n],
                None if (ends < 0).any() else ends,
                int(self.n_own[m, i, v]),
            )

    def one(self, model: str | None, item: str | None, variant: str | None) -> Answer:
        """Give one answer: of what is not named, the first that was read."""
        found = next(self.answers(model=model, item=item, variant=variant), None)
        if found is None:
            raise ValueBiasError(
                f"The answer model={shown(model)}, item={shown(item)}, variant={shown(variant)} "
                "was not scored. Name one that was, or leave one of the three out."
            )
        return found

    def _places(self, dim: str, name: str | None) -> list[int]:
        names = [str(one) for one in self.scores[dim].to_numpy().tolist()]
        if name is None:
            return list(range(len(names)))
        check_known(name, names, f"There is no {dim} {shown(name)}.")
        return [names.index(name)]

    def _responses(self) -> NDArray[Any]:
        return _responses(self.scores)


def _picked(rewards: Array, place: NDArray[np.int64]) -> Array:
    """Take the reward at a place of each answer, NaN where it is negative."""
    taken = np.take_along_axis(rewards, np.maximum(place, 0)[..., None], axis=-1)[..., 0]
    return np.asarray(np.where(place >= 0, taken, np.nan))


def _responses(scores: xr.Dataset) -> NDArray[Any]:
    """Give the texts of answers, (item, variant), "" where they are not there."""
    shape = (scores.sizes["item"], scores.sizes["variant"])
    if "response" not in scores.coords:
        return np.full(shape, "", dtype=object)
    texts = scores["response"].broadcast_like(scores["score"].isel(model=0))
    return np.asarray(texts.transpose("item", "variant").to_numpy().astype(object))


def _own(
    scores: xr.Dataset, ends: NDArray[np.int64], n_tokens: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Count the tokens up to the one at which an answer has been read; all, where not known."""
    lengths = np.vectorize(lambda text: len(text.rstrip()), otypes=[np.int64])(_responses(scores))
    read = (ends >= lengths[None, :, :, None]) & (lengths > 0)[None, :, :, None]
    return np.where(read.any(axis=-1), np.argmax(read, axis=-1) + 1, n_tokens)
