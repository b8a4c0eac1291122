"""Whether runs support an estimate of a gap: measured, interpolated or extrapolated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from valuebias.analysis.ablation.curves import Curves

__all__ = ["SUPPORT", "Stretch", "stretch_of", "support_of"]

SUPPORT = ("measured", "interpolated", "extrapolated")
"""Both families have runs there; both have runs on either side; one does not."""


@dataclass(frozen=True)
class Stretch:
    """The range of numbers of pairs, of one source, over which a gap's change is estimated."""

    # Smallest, largest: the least and the most pairs that both families were trained on; without
    # two such numbers, that either was.
    smallest: float
    largest: float
    support: str  # one of :data:`SUPPORT`, the weaker of the two ends
    # Names of the families that have no runs at one of the ends, joined by commas.
    extrapolated_for: str

    @property
    def doublings(self) -> float:
        """Its width in doublings."""
        return float(np.log2(self.largest / self.smallest))


def stretch_of(curves: Curves, pair: tuple[str, str], source: str) -> Stretch:
    """Find the range of a gap on a source that has two numbers of pairs."""
    n_pairs = curves.telling(pair, source)
    if len(n_pairs) < 2:
        n_pairs = curves.n_pairs_of(source)
    ends = support_of(curves, pair, curves.ends(source, [n_pairs[0], n_pairs[-1]]))
    weaker = max(ends["support"], key=SUPPORT.index)
    named = {name for text in ends["extrapolated_for"] for name in text.split(", ") if name}
    return Stretch(n_pairs[0], n_pairs[-1], weaker, ", ".join(sorted(named)))


def support_of(curves: Curves, families: tuple[str, ...], cells: pd.DataFrame) -> pd.DataFrame:
    """Class the runs behind the gap of families, or the lean of one, in every cell."""
    rows = []
    for source, n, progress in cells[["source", "n_pairs", "progress"]].itertuples(index=False):
        ranks = [
            _rank(curves, family, str(source), float(n), float(progress)) for family in families
        ]
        without = [family for family, rank in zip(families, ranks, strict=True) if rank == 2]
        rows.append((SUPPORT[max(ranks)], ", ".join(without)))
    return pd.DataFrame(rows, columns=["support", "extrapolated_for"], index=cells.index)


def _rank(curves: Curves, family: str, source: str, n: float, progress: float) -> int:
    """Index in :data:`SUPPORT` of one family's lean in a cell."""
    models = curves.models
    runs = models[
        (models["family"].astype(str) == family) & (models["source"].astype(str) == source)
    ]
    pairs = runs["n_pairs"].to_numpy(dtype=float)
    done = runs["progress"].to_numpy(dtype=float)
    if (np.isclose(pairs, n) & np.isclose(done, progress, atol=0.02)).any():
        return 0
    inside = len(runs) and pairs.min() <= n <= pairs.max() and done.min() <= progress <= done.max()
    return 1 if inside else 2
