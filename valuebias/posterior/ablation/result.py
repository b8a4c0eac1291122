"""The posterior of an ablation: the gap between families by the number of training pairs."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from valuebias._core.notebooks import as_html
from valuebias._core.text import visible_lines
from valuebias.analysis.ablation.curves import Curves
from valuebias.analysis.ablation.levelling import LeanDraws
from valuebias.analysis.headline import Headline
from valuebias.analysis.notes import Note
from valuebias.posterior.ablation.estimates import Estimates, check_prob
from valuebias.posterior.ablation.framings import SIGNED, compare_framings, look
from valuebias.posterior.ablation.word_changes import most_moved
from valuebias.posterior.wording import shown

if TYPE_CHECKING:
    from valuebias.posterior.posterior import Posterior

__all__ = ["AblationPosterior"]

_SHOWN = ("name", "category", "source", "n_pairs", "mean", "lower", "upper", "p_direction")


class AblationPosterior(Estimates):
    """All tables of the draws of an ablation, but no figures or reports.

    Its parameters are those of :class:`valuebias.AblationFit`.
    """

    def __init__(
        self, curves: Curves, *, fit: Posterior | None, rope: float, unit: str, formula: str,
        notes: list[Note], leans: dict[str, LeanDraws], framing: str = SIGNED,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(curves, rope=rope, formula=formula)
        self.fit, self.unit, self.notes, self.framing = fit, unit, notes, framing
        self.leans = leans
        record = fit.provenance if fit is not None else provenance
        self.provenance: dict[str, Any] = dict(record or {})

    @property
    def _common(self) -> dict[str, Any]:
        """What is the same under all framings, as the constructor takes it."""
        names = ("rope", "unit", "formula", "notes", "leans", "provenance")
        return {name: getattr(self, name) for name in names}

    def __repr__(self) -> str:
        models = self.curves.models
        return visible_lines(
            f"<valuebias.{type(self).__name__} {self.formula!r}: {len(models)} checkpoints of "
            f"{', '.join(self.curves.families)}, {self.framing}>\n{self.headline()}"
        )

    def _repr_html_(self) -> str:
        """Show the headline and the gaps in a notebook."""
        about, answer = repr(self).split("\n", 1)
        gaps = shown(self.gaps())
        note = f"In {self.unit}; 90% intervals."
        return as_html(about.strip("<>"), answer, gaps[list(_SHOWN)], note)

    def at_framing(self, framing: str) -> Self:
        """Select one framing of the prompts, of the same fit.

        Parameters
        ----------
        framing : {"signed", "positive", "negative"}
            "positive" and "negative": the lean under these prompts, positive where the first
            category is scored higher, whether they ask for the best or the worst. "signed": half
            the first less the second.

        Returns
        -------
        AblationFit
            With numbers, headline and figures for that framing; nothing is fitted again.

        Raises
        ------
        ValueBiasError
            If the prompts have no such framing, or the fit is of medians.
        """
        return look(self, framing)

    def by_framing(self, *, prob: float = 0.9) -> pd.DataFrame:
        """Set the framings side by side, at every source's largest number of pairs.

        A gap with the same sign and size for the best and for the worst is a habit of scoring some
        words high, not a value; signed by framing it is zero.

        Parameters
        ----------
        prob : float, default 0.9
            Probability of the equal-tailed intervals.

        Returns
        -------
        DataFrame
            Columns ``framing``, ``estimand`` ("gap", "family lean"), ``name``, ``category``,
            ``source``, ``n_pairs``, and those of :meth:`gaps` from ``mean`` on. All framings of the
            prompts, whichever is selected; for medians "signed" alone.
        """
        return compare_framings(self, prob=prob)

    def word_changes(
        self,
        *,
        n: int = 10,
        by: str = "n_pairs",
        source: str | None = None,
        between: tuple[float, float] | None = None,
        prob: float = 0.9,
    ) -> pd.DataFrame:
        """List the words whose expected outcome moved most, by family.

        Parameters
        ----------
        n : int, default 10
            How many words of each family.
        by : {"n_pairs", "step"}, default "n_pairs"
            Whether they moved between two numbers of pairs at the end of training, or between two
            shares of a run, averaged over numbers of pairs.
        source : str, optional
            Of the pairs; the one with the most numbers of pairs if not given.
        between : pair of float, optional
            The two numbers of pairs, or the two shares of a run from 0 to 1. If not given the
            smallest and the largest: for numbers of pairs those that every family was trained on,
            if there are two.
        prob : float, default 0.9
            Probability of the equal-tailed intervals.

        Returns
        -------
        DataFrame
            Columns ``family``, ``word``, ``categories``, ``source``, ``start``, ``end`` (the two
            ends), ``support`` (as in :meth:`gaps`, of the family alone, the weaker of the two
            ends), ``before`` and ``after`` (expected outcome there, relative to the lexicon's
            mean, under the fit's framing), ``mean``, ``sd``, ``lower``, ``upper`` (of the
            change) and ``p_direction``; in each family the largest change first.

        Raises
        ------
        ValueBiasError
            If the fit is of medians, which have no words, or an argument is invalid.
        """
        check_prob(prob)
        return most_moved(self, n=n, by=by, source=source, between=between, prob=prob)

    def summary(self, *, prob: float = 0.9) -> pd.DataFrame:
        """Put gaps at the end of training and slopes in one table.

        Parameters
        ----------
        prob : float, default 0.9
            Probability of the equal-tailed intervals.

        Returns
        -------
        DataFrame
            Columns ``estimand`` ("gap" or "gap per doubling"), ``name``, ``source``, ``n_pairs``
            (NaN for slopes), ``support``, and those of :meth:`gaps` from ``mean`` on.
        """
        gaps = self.gaps(prob=prob)
        gaps = gaps[np.isclose(gaps["progress"], 1.0)].assign(estimand="gap")
        parts = [gaps]
        if self.studied:
            parts.append(self.slope(prob=prob).assign(estimand="gap per doubling", n_pairs=np.nan))
        columns = ["estimand", "name", "source", "n_pairs", "support", "mean", "median", "sd",
                   "lower", "upper", "p_direction", "rhat", "ess_bulk", "ess_tail"]  # fmt: skip
        return pd.concat([part[columns] for part in parts], ignore_index=True)

    def headline(self, *, framing: str | None = None) -> Headline:
        """Give the answer in a few sentences, with its uncertainty.

        Parameters
        ----------
        framing : {"signed", "positive", "negative"}, optional
            The prompts to speak of, as in :meth:`at_framing`; the fit's if not given.

        Returns
        -------
        Headline
            Text, its row of :meth:`gaps`, and whether the fit converged: about the first two
            families and the source with the most numbers of pairs; first any failure to converge,
            last what the data cannot show.
        """
        from valuebias.posterior.ablation.headline import ablation_headline

        return ablation_headline(self if framing is None else self.at_framing(framing))

    def save(self, path: str | PathLike[str]) -> Path:
        """Save the fit whole; read it with :func:`valuebias.load`.

        Parameters
        ----------
        path : path
            ``.nc`` (netCDF) or ``.zarr``. Written whole or not at all.

        Returns
        -------
        pathlib.Path
            The path.
        """
        from valuebias.posterior.ablation.saved import save_ablation

        return save_ablation(self, path)
