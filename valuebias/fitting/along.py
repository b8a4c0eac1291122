"""Rewards along answers: ``valuebias.along(scores)``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pandas as pd
import xarray as xr

from valuebias._core.checks import check_number, check_whole
from valuebias._core.notebooks import as_html
from valuebias._core.text import visible_lines
from valuebias.analysis.along.foresight import (
    SHARES,
    accuracy_along,
    calibration_along,
    reliability_along,
)
from valuebias.analysis.along.readings import Readings
from valuebias.analysis.along.sentences import by_sentence, by_token
from valuebias.errors import ValueBiasError, shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

__all__ = ["Along", "along"]

_PROB = 0.9


@dataclass(frozen=True, eq=False, repr=False)
class Along:
    """Rewards along answers; what :func:`valuebias.along` returns.

    Attributes
    ----------
    scores : xarray.Dataset
        What was given.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import valuebias
    >>> answers = {"right": "It is 4. Yes.", "wrong": "It is 5. Yes."}
    >>> lines = {"q1": {"prompt": "2 + 2?", "answers": answers, "correct": [True, False]}}
    >>> models = pd.DataFrame({"family": ["A"], "stage": "reward"}, index=["org/a"])
    >>> made = valuebias.contrast_set(lines)
    >>> scores = valuebias.schema.build_contrasts([[[2.0, 1.0]]], models=models, contrasts=made)
    >>> dims = ("model", "item", "variant", "token")
    >>> rewards = np.array([[[[0.5, 0.7, 1.7, 2.0], [0.5, 0.7, 0.4, 1.0]]]])
    >>> ends = np.full((1, 1, 2, 4), [2, 5, 8, 13])
    >>> scores = scores.assign(token_reward=(dims, rewards), token_end=(dims, ends))
    >>> found = valuebias.along(scores).sentences(variant="right")
    >>> found[["text", "change"]].round(1).values.tolist()
    [['It is 4.', 1.2], ['Yes.', 0.3]]
    """

    scores: xr.Dataset = field(repr=False)
    _readings: Readings = field(repr=False)

    def contributions(
        self, *, item: str | None = None, variant: str | None = None, model: str | None = None
    ) -> pd.DataFrame:
        """Tabulate what each token changes in the reward.

        Parameters
        ----------
        item, variant, model : str, optional
            Of these answers and this model only.

        Returns
        -------
        pandas.DataFrame
            One row per model, item, variant and ``token`` (1 is the answer's first): ``part``
            ("answer" or "end of conversation"), ``text`` and where it stands in the response
            (``start``, ``end``; −1 and no text where that is not known), ``reward``, that of a
            conversation that ended there, and ``change`` from the token before, in units of the
            model's own rewards; NaN for the first token, before which nothing is read.

        Raises
        ------
        ValueBiasError
            If there is no such item, variant or model.
        """
        return by_token(self._readings.answers(model=model, item=item, variant=variant))

    def sentences(
        self, *, item: str | None = None, variant: str | None = None, model: str | None = None
    ) -> pd.DataFrame:
        """Tabulate what each sentence of an answer changes in the reward.

        Parameters
        ----------
        item, variant, model : str, optional
            Of these answers and this model only.

        Returns
        -------
        pandas.DataFrame
            One row per model, item, variant and ``sentence``: its ``text`` with ``start`` and
            ``end``, ``n_tokens``, the reward ``before`` and ``after`` it, and the ``change``. What
            ends the conversation has a row of its own (``part``). The changes of an answer sum up
            to its final reward less the reward at its first token.

        Raises
        ------
        ValueBiasError
            If there is no such item, variant or model, or where tokens end is not known.

        Notes
        -----
        A sentence ends after ``.``, ``!``, ``?`` or ``…`` (closing quotation marks and brackets
        included) before white space or the end of the answer, after ``。``, ``！`` or ``？``, and
        at the end of a line. A token is of the sentence that its last character is in.
        """
        return by_sentence(self._readings.answers(model=model, item=item, variant=variant))

    def accuracy(
        self,
        *,
        shares: Sequence[float] = SHARES,
        correct: str | None = None,
        prob: float = _PROB,
    ) -> pd.DataFrame:
        """Say how often the right answer is ahead when a share of both answers has been read.

        Parameters
        ----------
        shares : sequence of float, default (0.25, 0.5, 0.75, 1)
            Shares of an answer's own tokens, rounded up to whole ones; 0.5 is the middle token.
        correct : str, optional
            The coordinate that says which answers are right; "correct" if not given, or variants
            called "chosen" and "rejected" where there is none.
        prob : float, default 0.9
            Probability of the intervals.

        Returns
        -------
        pandas.DataFrame
            One row per share, and one for the end of the conversation (``share`` NaN), of every
            model, family and difference of families: ``estimate``, the share of an item's pairs of
            a right and a wrong answer in which the right one is ahead, ties half, averaged over
            items; ``se``, ``lower`` and ``upper`` with items as clusters (of families also models
            or bases, as :func:`valuebias.contrast_statistics` has them); ``p`` of one half.

        Raises
        ------
        ValueBiasError
            If nothing says which answers are right, an item has none that is or none that is not,
            or a share is out of range.
        """
        return accuracy_along(self._readings, _checked(shares), correct, _probability(prob))

    def calibration(self, *, shares: Sequence[float] = SHARES, prob: float = _PROB) -> pd.DataFrame:
        """Say how well the reward at a share of an answer foretells the final one.

        Parameters
        ----------
        shares : sequence of float, default (0.25, 0.5, 0.75, 1)
            As in :meth:`accuracy`.
        prob : float, default 0.9
            Probability of the intervals.

        Returns
        -------
        pandas.DataFrame
            One row per ``statistic`` and share, of every model, family and difference of families.
            ``slope`` of the final reward on that at the share: 1 if it is as large as it says;
            ``p`` is of that. ``R²``, over all answers, and ``R² within items``, over differences
            from the item's mean, as questions alone foretell much. ``mean absolute error`` of the
            reward at the share taken for the final one, in SDs of the model's scores.

        Raises
        ------
        ValueBiasError
            If a share is out of range, or a model gave all answers one score.
        """
        return calibration_along(self._readings, _checked(shares), _probability(prob))

    def reliability(self, *, shares: Sequence[float] = SHARES, bins: int = 10) -> pd.DataFrame:
        """Tabulate the final reward by bins of the reward at a share of the answer.

        Parameters
        ----------
        shares : sequence of float, default (0.25, 0.5, 0.75, 1)
            As in :meth:`accuracy`.
        bins : int, default 10
            How many, each with as many answers.

        Returns
        -------
        pandas.DataFrame
            One row per share, model and bin: the mean reward ``foretold`` and ``final``, both in
            SDs of the model's scores about their mean; the ``sd`` of the final ones in the bin;
            ``n_answers``.

        Raises
        ------
        ValueBiasError
            If a share is out of range, or a model gave all answers one score.
        """
        check_whole(bins, "bins", least=2)
        return reliability_along(self._readings, _checked(shares), int(bins))

    def plot(
        self,
        *,
        item: str | None = None,
        variant: str | None = None,
        model: str | None = None,
        figure: Figure | SubFigure | None = None,
        figsize: tuple[float, float] | None = None,
    ) -> Figure:
        """Draw one answer as a heat strip; see :func:`valuebias.plots.plot_along`.

        Parameters
        ----------
        item, variant, model : str, optional
            Which answer, and who reads it; of what is not named, the first that was scored.
        figure : matplotlib.figure.Figure or SubFigure, optional
            Where to draw.
        figsize : pair of float, optional
            Size of a new figure in inches.

        Returns
        -------
        matplotlib.figure.Figure
            Tokens on the colour of what they change, above the reward as it goes.
        """
        from valuebias.plots.along import plot_along

        return plot_along(
            self.scores, item=item, variant=variant, model=model, figure=figure, figsize=figsize
        )

    def to_html(
        self, *, item: str | None = None, variant: str | None = None, model: str | None = None
    ) -> str:
        """Write one answer as a heat strip in HTML, for notebooks and pages.

        Parameters
        ----------
        item, variant, model : str, optional
            As in :meth:`plot`.

        Returns
        -------
        str
            One element, light or dark as its page, in which tokens are shown and never run.
        """
        from valuebias.plots.along import strip_html

        return strip_html(self._readings.one(model, item, variant))

    def __repr__(self) -> str:
        table = self._summary()
        return visible_lines(f"{table.to_string(index=False)}\n{self._about()}")

    def _repr_html_(self) -> str:
        """Show how well beginnings foretell the end, in a notebook."""
        return as_html(self._summary(), self._about(), most=40)

    def _summary(self) -> pd.DataFrame:
        """Lay the calibration out, one row a model and share, with the accuracy where known."""
        table = self.calibration()
        table = table[table["level"] == "model"]
        keys = ["name", "at"]
        wide = table.pivot_table("estimate", keys, "statistic", sort=False, dropna=False)
        # Where nothing says which answers are right, there is no accuracy.
        with suppress(ValueBiasError):
            right = self.accuracy()
            of_models = right[right["level"] == "model"].set_index(keys)["estimate"]
            wide["accuracy"] = of_models.reindex(wide.index)
        out = wide.map(lambda x: "–" if pd.isna(x) else f"{x:.2f}".replace("-", "−")).reset_index()
        out.columns.name = None
        return out.rename(columns={"name": "model", "at": "read"})

    def _about(self) -> str:
        n = int((self._readings.n_tokens > 0).sum())
        n_tokens = int(self._readings.n_tokens.sum())
        return (
            f"{n:,} answers with {n_tokens:,} readings. How well the reward at a beginning "
            "foretells the final one: slope (1 if it is as large as it says), R², mean absolute "
            "error in SDs of the model's scores. Intervals: accuracy(), calibration()."
        )


def along(scores: xr.Dataset) -> Along:
    """Follow rewards along answers, token by token.

    Parameters
    ----------
    scores : xarray.Dataset
        Scores of a contrast set with rewards at every token: :func:`valuebias.score_contrasts` with
        ``read="all"``.

    Returns
    -------
    Along
        What tokens and sentences change (:meth:`Along.contributions`, :meth:`Along.sentences`),
        how early right answers are ahead (:meth:`Along.accuracy`), how well a beginning foretells
        the end (:meth:`Along.calibration`), and one answer as a heat strip (:meth:`Along.plot`).

    Raises
    ------
    ValueBiasError
        If the scores are not of a contrast set, or rewards were read at the end only.

    Notes
    -----
    The reward at a token is that of a conversation that ends there, which most reward models were
    never trained on: where a beginning foretells little, that is why. After Nikulkov (2026, arXiv
    2604.22981), whose training makes these rewards coherent: see
    :class:`valuebias.ablation.Objective`, kind "tcrm".

    Examples
    --------
    >>> import valuebias
    >>> sums = valuebias.battery("answers", valuebias.questions("arithmetic", n=20, seed=1))
    >>> scores = valuebias.score_contrasts("org/rm", sums, read="all")  # doctest: +SKIP
    >>> valuebias.along(scores).accuracy()  # doctest: +SKIP
    """
    if not isinstance(scores, xr.Dataset):
        raise ValueBiasError(
            f"scores is of type {type(scores).__name__}; expected the dataset that "
            "valuebias.score_contrasts(..., read='all') returns."
        )
    return Along(scores, Readings.of(scores))


def _checked(shares: Sequence[float]) -> tuple[float, ...]:
    given = (shares,) if isinstance(shares, int | float) else tuple(shares)
    if not given:
        raise ValueBiasError("shares is empty; expected shares of the answer, such as [0.5, 1].")
    for share in given:
        expected = "a share of the answer, above 0 and at most 1"
        check_number(share, "shares", expected, least=0, most=1, above=True)
    return tuple(float(share) for share in given)


def _probability(prob: float) -> float:
    if not (isinstance(prob, float | int) and 0 < prob < 1):
        raise ValueBiasError(f"prob must lie between 0 and 1, such as 0.9, found {shown(prob)}.")
    return float(prob)
