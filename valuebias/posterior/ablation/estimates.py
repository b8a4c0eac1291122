"""Estimates from the curves of an ablation: gaps, slopes, shares, closing points, trajectories."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from valuebias.analysis.ablation.closing import (
    BaseGap,
    base_gaps,
    closing_row,
    departure_rows,
    share_row,
)
from valuebias.analysis.ablation.curves import Curves, summarise
from valuebias.analysis.ablation.levels import levels_of
from valuebias.errors import ValueBiasError
from valuebias.posterior.ablation.support import Stretch, stretch_of, support_of

__all__ = ["Estimates", "check_prob", "checked_rope"]

Array = NDArray[np.float64]

_DEPARTURES = ["name", "category", "source", "n_pairs", "gap", "straight", "mean", "sd", "lower",
               "upper", "p_straight", "p_levelling"]  # fmt: skip
_REPLICATES = 2
_LEVELLING = ["name", "category", "source", "smallest", "largest", "p_within", "prior_within",
              "median", "lower", "upper"]  # fmt: skip


class Estimates:
    """Estimates from draws of leans; the part of an ablation's fit without words.

    Examples
    --------
    >>> from valuebias import AblationFit
    >>> issubclass(AblationFit, Estimates)
    True
    """

    def __init__(self, curves: Curves, *, rope: float, formula: str) -> None:
        self.curves, self.rope, self.formula = curves, rope, formula

    @property
    def studied(self) -> list[str]:
        """Sources with two numbers of pairs, if the formula distinguishes these."""
        several = [s for s in self.curves.sources if len(self.curves.n_pairs_of(s)) > 1]
        return several if self.curves.by_pairs else []

    def gaps(self, *, prob: float = 0.9, rope: float | None = None) -> pd.DataFrame:
        """Give the gap between every two families at every source, number of pairs and step.

        Parameters
        ----------
        prob : float, default 0.9
            Probability of the equal-tailed intervals.
        rope : float, optional
            Half-width of the region of practical equivalence; the fit's own if not given.

        Returns
        -------
        DataFrame
            Columns ``name`` (which families), ``category``, ``source``, ``n_pairs``, ``step``,
            ``progress`` (completed share of the run; 1 at its end), ``n_models`` (of the family
            with fewer in that cell), ``support`` ("measured": both families have runs there,
            "interpolated": both have runs with fewer and with more pairs, "extrapolated": one has
            not, and the number is that of the curve), ``extrapolated_for`` (which families),
            ``mean``, ``median``, ``sd``, ``lower``, ``upper``, ``p_direction``, ``p_rope``,
            ``rhat``, ``ess_bulk``, ``ess_tail``.
        """
        check_prob(prob)
        cells = self.curves.steps()
        heads, draws = [], []
        for a, b in self.curves.pairs:
            counts = cells[[f"runs of {a}", f"runs of {b}"]].min(axis=1)
            head = cells[["source", "n_pairs", "step", "progress"]].assign(n_models=counts)
            head.insert(0, "name", f"{a} − {b}")
            head.insert(1, "category", self.curves.category)
            heads.append(head.join(support_of(self.curves, (a, b), cells)))
            draws.append(self.curves.gap((a, b), cells))
        return summarise(
            pd.concat(heads), np.concatenate(draws, axis=-1), prob=prob, rope=self._half(rope)
        )

    def slope(self, *, prob: float = 0.9) -> pd.DataFrame:
        """Give the change of the gap per doubling of the pairs, by source.

        Parameters
        ----------
        prob : float, default 0.9
            Probability of the equal-tailed intervals.

        Returns
        -------
        DataFrame
            Columns ``name``, ``category``, ``source``, ``smallest`` and ``largest`` number of pairs
            (that both families were trained on, where there are two), ``support`` and
            ``extrapolated_for`` (as in :meth:`gaps`, the weaker of the two ends), ``p_shrinks``
            (probability that the gap is smaller in size at the largest number than at the
            smallest; one that has turned, to as much on the other side or more, has not shrunk),
            and those of :meth:`gaps`. The average change over the range, at the end of training.
            Sources with one number of pairs are left out.

        Raises
        ------
        ValueBiasError
            If no source has two numbers of pairs.
        """
        check_prob(prob)
        heads, draws = [], []
        for name, source, stretch, first, last in self._ranges():
            change = (last - first) / stretch.doublings
            shrinks = (np.abs(last) < np.abs(first)).mean()
            heads.append(self._head(name, source, stretch) | {"p_shrinks": shrinks})
            draws.append(change)
        head = pd.DataFrame(heads)
        table = summarise(head, np.stack(draws, axis=-1), prob=prob, rope=0.0)
        return table.drop(columns="p_rope")

    def share_remaining(
        self, *, base_gap: BaseGap | None = None, prob: float = 0.9
    ) -> pd.DataFrame:
        """Give the share of the gap that remains at the largest number of pairs, by source.

        Parameters
        ----------
        base_gap : float, array of draws or mapping of these by name of the gap, optional
            The gap of the bases before training, in the same units, such as draws from a fit of
            the bases. The gap at the smallest number of pairs if not given.
        prob : float, default 0.9
            Probability of the equal-tailed intervals.

        Returns
        -------
        DataFrame
            Columns ``name``, ``category``, ``source``, ``smallest``, ``largest``, ``support``,
            ``extrapolated_for`` (as in :meth:`slope`), ``of`` (the gap that the share is of),
            ``base_lower`` and ``base_upper`` (interval of that gap, the denominator), ``median``,
            ``lower``, ``upper`` (of the share), ``p_less`` (probability that less than the whole
            remains, in size: of the gap at the smallest, the ``p_shrinks`` of :meth:`slope`),
            ``why_not``.

        Raises
        ------
        ValueBiasError
            If no source has two numbers of pairs and there is no base gap, or the base gap names no
            gap or is not a finite number.

        Notes
        -----
        A ratio whose denominator may be zero has no usable interval. Where the interval of the
        denominator contains zero, the share is NaN and ``why_not`` says so.
        """
        check_prob(prob)
        names = [f"{a} − {b}" for a, b in self.curves.pairs]
        n_draws = int(np.prod(self.curves.coefficient.shape[:2]))
        of_bases = None if base_gap is None else base_gaps(base_gap, names, n_draws)
        rows = []
        for name, source, stretch, first, last in self._ranges(all_sources=of_bases is not None):
            base = first.ravel() if of_bases is None else of_bases[name]
            of = "the gap at the smallest" if of_bases is None else "the bases' gap"
            share = share_row(base, last.ravel(), prob=prob)
            rows.append(self._head(name, source, stretch) | {"of": of} | share)
        return pd.DataFrame(rows)

    def closing_point(
        self, *, rope: float | None = None, prob: float = 0.9, horizon: float | None = None
    ) -> pd.DataFrame:
        """Give the number of pairs at which the gap enters the ROPE, by source.

        Parameters
        ----------
        rope : float, optional
            Half-width of the region of practical equivalence; the fit's own if not given.
        prob : float, default 0.9
            Probability of the equal-tailed intervals.
        horizon : float, optional
            How far to look, as a multiple of the largest number of pairs; 1,024 if not given, or 1
            where the formula gives every number of pairs its own gap, as ``C(n_pairs)`` does.

        Returns
        -------
        DataFrame
            Columns ``name``, ``category``, ``source``, ``smallest``, ``largest``, ``support``,
            ``extrapolated_for`` (as in :meth:`slope`), ``rope``,
            ``p_inside`` (probability that the gap is inside at the smallest number), ``p_within``
            (that it enters between the smallest and the largest), ``p_beyond`` (that it enters
            later, by extrapolation), ``p_not`` (not up to the horizon), ``median``, ``lower``,
            ``upper`` (number of pairs; infinite for not at all up to the horizon) and
            ``extrapolated`` (whether the median lies beyond the largest number).

        Raises
        ------
        ValueBiasError
            If no source has two numbers of pairs, or `horizon` is less than 1, or more than 1 where
            the formula cannot predict other numbers of pairs.

        Notes
        -----
        The gap is that at the end of training. Where it may level off, only the prior determines
        how far it changes beyond the largest number of pairs, see :meth:`levelling`. With
        ``C(n_pairs)`` it is assumed to be straight between two numbers.
        """
        check_prob(prob)
        half, far = self._half(rope), self._horizon(horizon)
        rows = []
        for a, b in self.curves.pairs:
            for source in self.studied:
                stretch = stretch_of(self.curves, (a, b), source)
                between = (stretch.smallest, stretch.largest * far)
                points = self.curves.crossing_point((a, b), source, between=between, rope=half)
                row = closing_row(
                    points, smallest=stretch.smallest, largest=stretch.largest, prob=prob
                )
                rows.append(self._head(f"{a} − {b}", source, stretch) | {"rope": half} | row)
        if not rows:
            raise ValueBiasError(self._unstudied())
        return pd.DataFrame(rows)

    def departures(self, *, prob: float = 0.9) -> pd.DataFrame:
        """Give how far the gap departs from a straight line over doublings of the pairs.

        The check of the curve: a free gap at every number of pairs that both families were trained
        on, against the straight line through all of them.

        Parameters
        ----------
        prob : float, default 0.9
            Probability of the equal-tailed intervals.

        Returns
        -------
        DataFrame
            Columns ``name``, ``category``, ``source``, ``n_pairs``, ``gap`` (free of any curve) and
            ``straight`` (the line there), posterior means; ``mean``, ``sd``, ``lower``, ``upper``
            of their difference; ``p_straight``, the tail probability of so large a departure, over
            all numbers of pairs together, if the line were straight; ``p_levelling``, the same for
            the line that levels off where it fits best, NaN for fewer than four numbers. Only
            sources on which both families have three numbers of pairs, and only families with more
            than one run of a kind: with a single seed of a single base, chance cannot be
            distinguished from curvature. No rows if there is none.
        """
        check_prob(prob)
        rows = []
        for a, b in self.curves.pairs:
            for source in self.curves.sources:
                n_pairs, gap = self.curves.free_gaps((a, b), source)
                if len(n_pairs) < 3 or self.curves.replicates((a, b)) < _REPLICATES:
                    continue
                table = departure_rows(n_pairs, gap, prob=prob)
                table.insert(0, "name", f"{a} − {b}")
                table.insert(1, "category", self.curves.category)
                table.insert(2, "source", source)
                rows.append(table)
        return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=_DEPARTURES)

    def levelling(self, *, prob: float = 0.9) -> pd.DataFrame:
        """Give the number of pairs from which on the gap stays constant.

        Parameters
        ----------
        prob : float, default 0.9
            Probability of the equal-tailed intervals.

        Returns
        -------
        DataFrame
            Columns ``name``, ``category``, ``source``, ``smallest``, ``largest`` (number of pairs
            that both families were trained on, where there are two), ``p_within`` (probability
            that the change stops within that range), ``prior_within`` (the same before the data),
            ``median``, ``lower`` and ``upper`` (number of pairs; beyond the largest they are the
            prior's, infinite for a change that never stops). A row for every two families and every
            source with two numbers of pairs; none where gaps may not level off.
        """
        check_prob(prob)
        tail, curves, levelled = (1 - prob) / 2, self.curves, self.curves.levelled
        if levelled is None:
            return pd.DataFrame(columns=_LEVELLING)
        rows: list[dict[str, object]] = []
        for k, pair in enumerate(curves.pairs):
            for source in self.studied:
                studied = curves.telling(pair, source)
                if len(studied) < 2:
                    continue
                level = levelled.level[k, ..., curves.sources.index(source)].ravel()
                ends = np.quantile(level, [tail, 0.5, 1 - tail], method="inverted_cdf")
                rows.append(
                    {
                        "name": " − ".join(pair),
                        "category": curves.category,
                        "source": source,
                        "smallest": studied[0],
                        "largest": studied[-1],
                        "p_within": float((level < studied[-1]).mean()),
                        "prior_within": 1 - levels_of(studied).latest,
                        "median": float(ends[1]),
                        "lower": float(ends[0]),
                        "upper": float(ends[2]),
                    }
                )
        return pd.DataFrame(rows, columns=_LEVELLING)

    def trajectories(self, *, prob: float = 0.9) -> pd.DataFrame:
        """Give the leans of the families, and their gaps, at every checkpoint.

        Parameters
        ----------
        prob : float, default 0.9
            Probability of the equal-tailed intervals.

        Returns
        -------
        DataFrame
            Columns ``estimand`` ("family lean", "family difference"), ``name``, ``category``,
            ``source``, ``n_pairs``, ``step``, ``progress``, and those of :meth:`gaps` from ``mean``
            on. These are the means of the checkpoints themselves, whatever the formula, so all are
            measured: there is a gap where both families have runs. For predictions of further runs
            see :meth:`gaps`.
        """
        check_prob(prob)
        head, draws = self.curves.at_hand()
        return summarise(head, draws, prob=prob, rope=self.rope)

    def _half(self, rope: float | None) -> float:
        return checked_rope(self.rope if rope is None else rope)

    def _horizon(self, horizon: float | None) -> float:
        points = self.curves.by_pairs == "points"
        far = (1.0 if points else 1024.0) if horizon is None else horizon
        if not (isinstance(far, float | int | np.number) and 1 <= far < np.inf):
            raise ValueBiasError(f"horizon must be a number of 1 or more, found {horizon!r}.")
        if points and far > 1:
            raise ValueBiasError(
                f"the formula {self.formula!r} gives every number of pairs its own gap and "
                "predicts no others, so nothing can be said beyond the largest. Leave horizon= "
                "out, or fit a formula with log2(n_pairs)."
            )
        return float(far)

    def _head(self, name: str, source: str, stretch: Stretch) -> dict[str, object]:
        """Make the columns with the gap, source and range of a row."""
        where = {"name": name, "category": self.curves.category, "source": source}
        return where | asdict(stretch)

    def _unstudied(self) -> str:
        return (
            "no source of preferences has runs with two numbers of pairs that the formula "
            f"{self.formula!r} distinguishes, so no change can be estimated. See gaps()."
        )

    def _ranges(self, *, all_sources: bool = False) -> list[tuple[str, str, Stretch, Array, Array]]:
        """Draws of every gap at a source's smallest and largest number of pairs."""
        sources = self.curves.sources if all_sources else self.studied
        if not sources:
            raise ValueBiasError(self._unstudied())
        out = []
        for a, b in self.curves.pairs:
            for source in sources:
                stretch = stretch_of(self.curves, (a, b), source)
                ends = self.curves.ends(source, [stretch.smallest, stretch.largest])
                gap = self.curves.gap((a, b), ends)
                out.append((f"{a} − {b}", source, stretch, gap[..., 0], gap[..., 1]))
        return out


def checked_rope(rope: float) -> float:
    """Check the half-width of a region of practical equivalence."""
    if not (isinstance(rope, float | int | np.number) and rope >= 0):
        raise ValueBiasError(f"rope must be zero or more, found {rope!r}.")
    return float(rope)


def check_prob(prob: float) -> None:
    """Check the probability of an interval."""
    if not (isinstance(prob, float | int | np.number) and 0 < prob < 1):
        raise ValueBiasError(f"prob must lie between 0 and 1, such as 0.9, found {prob!r}.")
