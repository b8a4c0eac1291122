"""What the curves of an ablation say: gaps, slopes, shares left, closing points, trajectories."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from valuebias.analysis.closing import BaseGap, base_gaps, closing_row, share_row
from valuebias.analysis.curves import Curves, summarise
from valuebias.errors import ValueBiasError

__all__ = ["Estimates", "check_prob"]

Array = NDArray[np.float64]


class Estimates:
    """What can be asked of draws of leans; the part of an ablation's fit that knows no words.

    Parameters
    ----------
    curves : Curves
        Draws of the leans.
    rope : float
        Half-width of the region of practical equivalence around zero.
    formula : str
        Over the models.

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
        """Sources with two numbers of pairs, if the formula tells these apart."""
        several = [s for s in self.curves.sources if len(self.curves.quantities(s)) > 1]
        return several if "n_pairs" in self.formula else []

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
            ``progress`` (share of the run that is done; 1 at its end), ``n_models`` (of the family
            that has fewer there; 0 where the gap is what the formula says of a cell not trained),
            ``mean``, ``median``, ``sd``, ``lower``, ``upper``, ``p_direction``, ``p_rope``,
            ``rhat``, ``ess_bulk``, ``ess_tail``.
        """
        check_prob(prob)
        cells = self.curves.cells()
        heads, draws = [], []
        for a, b in self.curves.pairs:
            counts = cells[[f"runs of {a}", f"runs of {b}"]].min(axis=1)
            head = cells[["source", "n_pairs", "step", "progress"]].assign(n_models=counts)
            head.insert(0, "name", f"{a} − {b}")
            head.insert(1, "category", self.curves.category)
            heads.append(head)
            draws.append(self.curves.gap((a, b), cells))
        return summarise(
            pd.concat(heads), np.concatenate(draws, axis=-1), prob=prob, rope=self._half(rope)
        )

    def slope(self, *, prob: float = 0.9) -> pd.DataFrame:
        """Give the change of the gap for every doubling of the pairs, by source.

        Parameters
        ----------
        prob : float, default 0.9
            Probability of the equal-tailed intervals.

        Returns
        -------
        DataFrame
            Columns ``name``, ``category``, ``source``, ``smallest`` and ``largest`` number of
            pairs, ``p_shrinks`` (probability that the slope goes against the gap at the smallest),
            and those of :meth:`gaps`. The average change over the range, at the end of training.
            Sources with one number of pairs are left out.

        Raises
        ------
        ValueBiasError
            If no source has two numbers of pairs.
        """
        check_prob(prob)
        heads, draws = [], []
        for name, source, first, last in self._ranges():
            low, high = self.curves.quantities(source)[0], self.curves.quantities(source)[-1]
            change = (last - first) / np.log2(high / low)
            shrinks = (np.sign(change) != np.sign(first)).mean()
            heads.append((name, self.curves.category, source, low, high, shrinks))
            draws.append(change)
        names = ["name", "category", "source", "smallest", "largest", "p_shrinks"]
        head = pd.DataFrame(heads, columns=names)
        made = summarise(head, np.stack(draws, axis=-1), prob=prob, rope=0.0)
        return made.drop(columns="p_rope")

    def share_left(self, *, base_gap: BaseGap | None = None, prob: float = 0.9) -> pd.DataFrame:
        """Give the share of the gap that is left at the largest number of pairs, by source.

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
            Columns ``name``, ``category``, ``source``, ``of`` (what the share is of), ``smallest``,
            ``largest``, ``base_lower`` and ``base_upper`` (interval of the gap that is divided by),
            ``median``, ``lower``, ``upper`` (of the share), ``p_less`` (probability that less than
            the whole is left, in size), ``why_not``.

        Raises
        ------
        ValueBiasError
            If no source has two numbers of pairs and there is no base gap, or the base gap names no
            gap or is no finite number.

        Notes
        -----
        A ratio whose denominator may be zero has no usable interval. Where the interval of the gap
        that is divided by holds zero, the share is NaN and ``why_not`` says so.
        """
        check_prob(prob)
        names = [f"{a} − {b}" for a, b in self.curves.pairs]
        n_draws = int(np.prod(self.curves.coefficient.shape[:2]))
        given = None if base_gap is None else base_gaps(base_gap, names, n_draws)
        rows = []
        for name, source, first, last in self._ranges(all_sources=given is not None):
            studied = self.curves.quantities(source)
            base = first.ravel() if given is None else given[name]
            rows.append(
                {
                    "name": name,
                    "category": self.curves.category,
                    "source": source,
                    "of": "the gap at the smallest" if given is None else "the bases' gap",
                    "smallest": studied[0],
                    "largest": studied[-1],
                    **share_row(base, last.ravel(), prob=prob),
                }
            )
        return pd.DataFrame(rows)

    def closing(
        self, *, rope: float | None = None, prob: float = 0.9, horizon: float = 1024.0
    ) -> pd.DataFrame:
        """Give the number of pairs at which the gap enters the ROPE, by source.

        Parameters
        ----------
        rope : float, optional
            Half-width of the region of practical equivalence; the fit's own if not given.
        prob : float, default 0.9
            Probability of the equal-tailed intervals.
        horizon : float, default 1024
            How far to look, as a multiple of the largest number of pairs.

        Returns
        -------
        DataFrame
            Columns ``name``, ``category``, ``source``, ``rope``, ``smallest``, ``largest``,
            ``p_inside`` (probability that the gap is inside at the smallest number), ``p_within``
            (that it enters between the smallest and the largest), ``p_beyond`` (that it enters
            later, by extrapolation), ``p_not`` (not up to the horizon), ``median``, ``lower``,
            ``upper`` (number of pairs; infinite for not at all up to the horizon) and
            ``extrapolated`` (whether the median lies beyond the largest number).

        Raises
        ------
        ValueBiasError
            If no source has two numbers of pairs, or `horizon` is less than 1.

        Notes
        -----
        The gap is that of the formula at the end of training. Beyond the largest number of pairs
        it is the formula's line drawn on, which no data speak for.
        """
        check_prob(prob)
        half = self._half(rope)
        if not (isinstance(horizon, float | int | np.number) and 1 <= horizon < np.inf):
            raise ValueBiasError(f"horizon must be a number of 1 or more, found {horizon!r}.")
        rows = []
        for a, b in self.curves.pairs:
            for source in self.studied:
                at = self.curves.crossing_point((a, b), source, rope=half, horizon=horizon)
                studied = self.curves.quantities(source)
                row = {"name": f"{a} − {b}", "category": self.curves.category, "source": source,
                       "rope": half, "smallest": studied[0], "largest": studied[-1]}  # fmt: skip
                found = closing_row(at, smallest=studied[0], largest=studied[-1], prob=prob)
                rows.append(row | found)
        return pd.DataFrame(rows)

    def trajectories(self, *, prob: float = 0.9) -> pd.DataFrame:
        """Give the leans of the families, and their gaps, at every checkpoint at hand.

        Parameters
        ----------
        prob : float, default 0.9
            Probability of the equal-tailed intervals.

        Returns
        -------
        DataFrame
            Columns ``estimand`` ("family lean", "family difference"), ``name``, ``category``,
            ``source``, ``n_pairs``, ``step``, ``progress``, and those of :meth:`gaps`. These are
            the means of the checkpoints themselves, whatever the formula; for what further runs
            would do see :meth:`gaps`.
        """
        check_prob(prob)
        head, draws = self.curves.at_hand()
        return summarise(head, draws, prob=prob, rope=self.rope)

    def _half(self, rope: float | None) -> float:
        half = self.rope if rope is None else rope
        if not (isinstance(half, float | int | np.number) and half >= 0):
            raise ValueBiasError(f"rope must be zero or more, found {rope!r}.")
        return float(half)

    def _ranges(self, *, all_sources: bool = False) -> list[tuple[str, str, Array, Array]]:
        """Draws of every gap at a source's smallest and largest number of pairs."""
        sources = self.curves.sources if all_sources else self.studied
        if not sources:
            raise ValueBiasError(
                "no source of preferences was trained on with two numbers of pairs that the "
                f"formula {self.formula!r} tells apart, so no change can be given. Look at gaps()."
            )
        out = []
        for a, b in self.curves.pairs:
            for source in sources:
                studied = self.curves.quantities(source)
                gap = self.curves.gap((a, b), self.curves.ends(source, [studied[0], studied[-1]]))
                out.append((f"{a} − {b}", source, gap[..., 0], gap[..., 1]))
        return out


def check_prob(prob: float) -> None:
    """Refuse what is no probability of an interval."""
    if not (isinstance(prob, float | int | np.number) and 0 < prob < 1):
        raise ValueBiasError(f"prob must lie between 0 and 1, such as 0.9, found {prob!r}.")
