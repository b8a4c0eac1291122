"""Plain statistics of a contrast set by model and family: ``valuebias.contrast_statistics``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from valuebias._core.checks import check_known, check_whole
from valuebias._core.notebooks import as_html
from valuebias._core.numbers import signed
from valuebias._core.text import visible_lines
from valuebias.analysis.contrasting.calibration import calibration_error, make_pairs, reliability
from valuebias.analysis.contrasting.choosing import Right, find_right, numbers_of, places_of
from valuebias.analysis.contrasting.clustered import Estimate, of_families, of_model
from valuebias.analysis.contrasting.values import (
    CORRELATION,
    POWER,
    SHARE,
    Values,
    above,
    all_right,
    chance_of_all_right,
    gaps,
    overall_correlation,
    position_spread,
    position_test,
    within_correlation,
)
from valuebias.analysis.design.grouping import known_bases
from valuebias.errors import ValueBiasError, shown
from valuebias.schema import model_table
from valuebias.schema.contrast_categories import groups_of_variants, score_sd
from valuebias.schema.contrast_scores import validate_contrasts

__all__ = ["ContrastStatistics", "Models", "contrast_statistics"]

Array = NDArray[np.float64]

_MODEL, _FAMILY, _DIFFERENCE = "model", "family", "family difference"
_COLUMNS = ["statistic", "of", "level", "name", "family", "estimate", "se", "lower", "upper",
            "null", "p", "mde", "n_items", "n_models", "n_bases", "unit", "remark"]  # fmt: skip
_SHOWN = ["statistic", "of", "level", "name", "estimate", "lower", "upper", "p", "mde"]
# What cannot be negative is written without a sign.
_SHARES = ("accuracy", "P(wrong > right)", "calibration error", "spread over positions")
_ALONE = "one {unit}: nothing is seen of how {unit}s differ"
_NO_SE = "too few items"
_NO_SCATTER = "no scatter: what could depart from it was not among so few"
_FEW_GROUPS = 4


@dataclass(frozen=True, eq=False, repr=False)
class ContrastStatistics:
    """Statistics of a contrast set; what :func:`valuebias.contrast_statistics` returns.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per statistic and model, family or difference of two families, see
        :meth:`to_frame`.
    reliability : pandas.DataFrame
        Of models and families, by bin: mean ``confidence``, ``σ(|r_right − r_wrong|)``, and
        ``accuracy``, with ``n_pairs``. Without rows where no answer is known to be right.
    prob : float
        Probability of the intervals.
    bins : int
        Number of bins of the calibration, of equal width from one half to one.
    n_ties : int
        Pairs of a right and a wrong answer with equal scores, each counted half.

    Examples
    --------
    >>> import pandas as pd
    >>> import valuebias
    >>> from valuebias.schema.contrast_scores import build_contrasts
    >>> answers = {"right": "4", "wrong": "5"}
    >>> lines = [{"prompt": f"{i} + {i}?", "answers": answers, "correct": [True, False]}
    ...          for i in range(3)]
    >>> models = pd.DataFrame({"family": ["A"], "stage": "reward"}, index=["org/a"])
    >>> scores = [[[2.0, 1.0], [3.0, 1.0], [0.0, 0.5]]]
    >>> ds = build_contrasts(scores, models=models, contrasts=valuebias.contrast_set(lines))
    >>> table = valuebias.contrast_statistics(ds).to_frame("accuracy")
    >>> round(float(table.loc[0, "estimate"]), 2)
    0.67
    """

    table: pd.DataFrame = field(repr=False)
    reliability: pd.DataFrame = field(repr=False)
    prob: float
    bins: int
    n_ties: int

    def to_frame(self, statistic: str | None = None, *, level: str | None = None) -> pd.DataFrame:
        """Return the statistics as a table.

        Parameters
        ----------
        statistic : str, optional
            One of the column ``statistic``; all if not given.
        level : {"model", "family", "family difference"}, optional
            Whose; all if not given.

        Returns
        -------
        pandas.DataFrame
            ``statistic`` and what it is ``of``; ``level``, ``name`` and ``family``; ``estimate``,
            ``se``, ``lower`` and ``upper``; ``null``, the value where nothing is there, and ``p``,
            its two-sided p-value; ``mde``, where the interval holds the null value: how far from it
            a value would have been found with a probability of 80 %; ``n_items``, ``n_models``,
            ``n_bases``; ``unit``, what the interval takes as sampled; ``remark``, why something is
            not known.

        Raises
        ------
        ValueBiasError
            If there is no such statistic or level.
        """
        out = self.table
        for column, value in (("statistic", statistic), ("level", level)):
            if value is None:
                continue
            known = list(dict.fromkeys(self.table[column]))
            if value not in known:
                raise ValueBiasError(
                    f"There is no {column} {shown(value)} here; found {', '.join(known)}."
                )
            out = out[out[column] == value]
        return out.reset_index(drop=True)

    def __repr__(self) -> str:
        written = self._written()
        return visible_lines(f"{written.head(40).to_string(index=False)}\n{self._about()}")

    def _repr_html_(self) -> str:
        """Show the statistics in a notebook."""
        return as_html(self._written(), self._about(), most=40)

    def _written(self) -> pd.DataFrame:
        # Families first: of many models the table is long.
        order = {_DIFFERENCE: 0, _FAMILY: 1, _MODEL: 2}
        table = self.table.sort_values("level", key=lambda one: one.map(order), kind="stable")
        out = table[_SHOWN].astype(object)
        plain = table["statistic"].isin(_SHARES) & (table["level"] != _DIFFERENCE)
        for name in ("estimate", "lower", "upper"):
            texts = [f"{x:.3f}" if p else signed(x, 3)
                     for x, p in zip(table[name], plain, strict=True)]  # fmt: skip
            out[name] = ["–" if "nan" in text else text for text in texts]
        out["p"] = ["–" if np.isnan(x) else f"{x:.2g}" for x in table["p"]]
        out["mde"] = ["" if np.isnan(x) else f"{x:.2f}" for x in table["mde"]]
        return out

    def _about(self) -> str:
        text = (
            f"{self.prob:.0%} intervals: of models over items, of families over models (or bases) "
            "and items. Gaps and spreads are in SDs of the model's scores. mde: what would have "
            f"been found with a probability of {POWER:.0%}, where the interval holds the null "
            "value."
        )
        if len(self.reliability):
            text += f" Calibration in {self.bins} bins; {self.n_ties:,} ties of pairs count half."
        return text


def contrast_statistics(
    scores: xr.Dataset,
    *,
    by: str | None = None,
    contrast: tuple[str, str] | None = None,
    correct: str | None = "correct",
    numbers: str | Sequence[str] | None = None,
    order: Mapping[str, Sequence[str]] | None = None,
    position: str | None = "position",
    bins: int = 10,
    prob: float = 0.9,
) -> ContrastStatistics:
    r"""Describe the scores of a contrast set by model and family, items as clusters.

    Parameters
    ----------
    scores : xarray.Dataset
        Scores of a contrast set, dims (model, item, variant).
    by : str, optional
        The coordinate whose groups of variants gaps are between; the variants themselves if not
        given. With more than four groups each is compared with the first, else all pairs are.
    contrast : pair of str, optional
        The two groups that a gap is between, the first less the second, and no others.
    correct : str or None, default "correct"
        The coordinate that says which answers are right. Where there is none of this name, or with
        None, nothing is said of correctness.
    numbers : str or sequence of str, optional
        Numbers of the variants to correlate scores with; if not given all numeric coordinates in
        which variants differ, such as ``"length"``.
    order : mapping from str to sequence of str, optional
        Ordered coordinates, such as ``{"hedging": ["none", "some", "strong"]}``: the values from
        the lowest to the highest, with whose places scores are correlated as with numbers.
    position : str or None, default "position"
        The coordinate that says where an answer stood; None, or one that is not there, for none.
    bins : int, default 10
        Bins of the calibration, of equal width from one half to one.
    prob : float, default 0.9
        Probability of the intervals.

    Returns
    -------
    ContrastStatistics
        With :meth:`ContrastStatistics.to_frame`. The statistics:

        ``accuracy``
            Share of items whose every right answer scores above their every wrong one.
        ``P(wrong > right)``
            Share of an item's pairs of a right and a wrong answer in which the wrong one scores
            higher, ties half; averaged over items.
        ``gap``
            Mean over items of the difference between two groups of variants, in SDs of the model's
            scores over the set.
        ``correlation within items``, ``correlation overall``
            Spearman's, with a number: averaged over items, and over all conversations at once.
        ``spread over positions``
            SD over positions of the mean score there, in the same SDs; chance alone makes some. Its
            p is of Hotelling's test that all are equal, and where that finds nothing the interval
            reaches down to 0.
        ``calibration error``
            Mean over bins of \|σ(\|r_right − r_wrong\|) − accuracy\|, weighed by pairs: whether
            differences of rewards are log-odds. Chance makes some of that as well.

    Raises
    ------
    ValueBiasError
        If the scores are not of a contrast set; a coordinate or a group is unknown; or items lack a
        right or a wrong answer where correctness is asked, which are named.

    Notes
    -----
    Of a model the interval is about other items: the mean of an item's values has the
    cluster-robust standard error, items as clusters. Of a family it is about other models (or
    bases, where some share one) and items: two-way clusters. Intervals are of Student's t, with the
    degrees of freedom of the fewer clusters. With a handful of models :func:`valuebias.fit` says
    more, as it learns from all families how much models differ. Statistics that are no means over
    items have their scatter by leaving out groups of items (jackknife). Where nothing scatters, as
    where all answers are right, the interval is Clopper and Pearson's: how many may depart unseen.

    Source: after Fein et al. 2026 (arXiv 2603.03291). Clusters: Cameron, Gelbach and Miller 2011,
    *Journal of Business & Economic Statistics* 29, 238–249. Calibration: Guo et al. 2017, *ICML*.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> import valuebias
    >>> from valuebias.schema.contrast_scores import build_contrasts
    >>> answers = {"short": "Yes.", "long": "Yes, that is so."}
    >>> lines = [{"prompt": f"Is {i} a number?", "answers": answers, "length": [1, 4]}
    ...          for i in range(20)]
    >>> models = pd.DataFrame({"family": ["A"], "stage": "reward"}, index=["org/by-length"])
    >>> made = valuebias.contrast_set(lines)
    >>> ds = build_contrasts(np.tile([1.0, 4.0], (1, 20, 1)), models=models, contrasts=made)
    >>> found = valuebias.contrast_statistics(ds)
    >>> float(found.to_frame("correlation within items").loc[0, "estimate"])
    1.0
    """
    validate_contrasts(scores)
    check_whole(bins, "bins", least=2)
    if not (isinstance(prob, float | int) and 0 < prob < 1):
        raise ValueBiasError(f"prob must lie between 0 and 1, such as 0.9, found {shown(prob)}.")
    raw = scores["score"].to_numpy().astype(np.float64)
    models = Models.of(scores)
    unit = score_sd(scores)[:, None, None]
    rows = list(_gaps(scores, raw / unit, by, contrast, models, prob))
    right = find_right(scores, correct)
    table, n_ties = pd.DataFrame(), 0
    if right is not None:
        of_right, n_ties = _correctness(raw, right, bins)
        rows = [row for one in of_right for row in models.rows(*one, prob)] + rows
        pairs = make_pairs(raw, right.right, right.wrong)
        table = reliability(pairs, bins, models.each())
    for name, number in numbers_of(scores, numbers, order, (correct, position)).items():
        within = Values.of_items(within_correlation(raw, number), CORRELATION)
        rows += models.rows("correlation within items", name, within, 0.0, prob)
        rows += models.rows(
            "correlation overall", name, overall_correlation(raw, number), 0.0, prob
        )
    places = places_of(scores, position)
    if places is not None:
        rows += _positions(raw / unit, *places, str(position), models, prob)
    return ContrastStatistics(
        pd.DataFrame(rows, columns=_COLUMNS), table, float(prob), int(bins), n_ties
    )


@dataclass(frozen=True)
class Models:
    """Whose statistics there are: every model, every family, every difference of two families."""

    names: tuple[str, ...]
    families: NDArray[np.str_]
    unit: NDArray[np.intp]  # (model,): numbers what is independent
    noun: str  # what that is

    @classmethod
    def of(cls, scores: xr.Dataset) -> Models:
        """Take the models of scores."""
        table = model_table(scores)
        names = tuple(map(str, table.index))
        labels = known_bases(table)
        shared = labels is not None and len(set(labels)) < len(labels)
        _, unit = np.unique(labels if shared and labels else list(names), return_inverse=True)
        families = table["family"].astype(str).to_numpy(dtype=np.str_)
        return cls(names, families, unit, "base" if shared else "model")

    def members(self) -> dict[str, NDArray[np.intp]]:
        """Give the models of each family."""
        known = dict.fromkeys(self.families.tolist())
        return {name: np.flatnonzero(self.families == name) for name in known}

    def each(self) -> Iterator[tuple[str, str, str, NDArray[np.intp]]]:
        """Give level, name, family and models of every model and family."""
        for name, models in self.members().items():
            yield _FAMILY, name, name, models
        for m, name in enumerate(self.names):
            yield _MODEL, name, str(self.families[m]), np.array([m])

    def rows(
        self, statistic: str, of: str, values: Values, null: float, prob: float
    ) -> list[dict[str, Any]]:
        """Make the rows of one statistic."""
        head = {"statistic": statistic, "of": of}
        out = []
        families = self.members()
        for a, b in combinations(families, 2):
            both = (families[a], families[b])
            found = of_families(values, both, self.unit)
            named = {"level": _DIFFERENCE, "name": f"{a} − {b}", "family": ""}
            # Of what is no chance level, such as an error, a difference of none is zero.
            out.append(head | named | self._numbers(found, 0.0, prob, both))
        for level, name, family, models in self.each():
            sampled = () if level == _MODEL else (models,)
            if sampled:
                found = of_families(values, sampled, self.unit)
            else:
                found = of_model(values, int(models[0]))
            named = {"level": level, "name": name, "family": family}
            out.append(head | named | self._numbers(found, null, prob, sampled))
        return out

    def _numbers(
        self, found: Estimate, null: float, prob: float, sampled: Sequence[NDArray[np.intp]]
    ) -> dict[str, Any]:
        lower, upper = found.interval(prob)
        n_units = [len(np.unique(self.unit[one])) for one in sampled]
        remark = ""
        if not np.isfinite(found.se):
            remark = _ALONE.format(unit=self.noun) if n_units and min(n_units) < 2 else _NO_SE
        elif found.n_same:
            remark = _NO_SCATTER
        return {
            "estimate": found.value, "se": found.se, "lower": lower, "upper": upper, "null": null,
            "p": found.p(null), "mde": found.detectable if lower <= null <= upper else np.nan,
            "n_items": found.n_items, "n_models": sum(map(len, sampled)) or 1,
            "n_bases": sum(n_units) if self.noun == "base" and sampled else np.nan,
            "unit": f"{self.noun}s and items" if sampled else "items", "remark": remark,
        }  # fmt: skip


_Statistic = tuple[str, str, Values, float]


def _correctness(raw: Array, right: Right, bins: int) -> tuple[list[_Statistic], int]:
    """Compute what is asked of right and wrong answers, and count ties."""
    sides = right.right, right.wrong
    shares, n_ties = above(raw, *sides)
    error = calibration_error(make_pairs(raw, *sides), bins, raw.shape[1])
    every = Values.of_items(all_right(raw, *sides), SHARE)
    of = "right − wrong"
    return [
        ("accuracy", of, every, chance_of_all_right(*sides)),
        ("P(wrong > right)", of, Values.of_items(shares, SHARE), 0.5),
        ("calibration error", f"{of}, {bins} bins", error, np.nan),
    ], n_ties


def _gaps(
    scores: xr.Dataset, scaled: Array, by: str | None, contrast: Any, models: Models, prob: float
) -> Iterator[dict[str, Any]]:
    """Compare groups of variants."""
    names, group = groups_of_variants(scores, by or "variant")
    pairs = list(combinations(range(len(names)), 2))
    if len(names) > _FEW_GROUPS:
        pairs = [(k, 0) for k in range(1, len(names))]
    if contrast is not None:
        pairs = [_pair(contrast, names, by or "variant")]
    for a, b in pairs:
        values = Values.of_items(gaps(scaled, group == a, group == b))
        yield from models.rows("gap", f"{names[a]} − {names[b]}", values, 0.0, prob)


def _pair(contrast: Any, names: list[str], by: str) -> tuple[int, int]:
    if isinstance(contrast, str) or not isinstance(contrast, Sequence) or len(contrast) != 2:
        raise ValueBiasError(
            f"contrast is {shown(contrast)}; expected two groups of {by!r}, such as "
            f"({names[-1]!r}, {names[0]!r})."
        )
    for name in contrast:
        check_known(name, names, f"contrast names {shown(name)}, which is no group of {by!r}.")
    if contrast[0] == contrast[1]:
        raise ValueBiasError(
            f"contrast names {contrast[0]!r} twice; expected two groups of {by!r}."
        )
    return names.index(contrast[0]), names.index(contrast[1])


def _positions(
    scaled: Array, names: list[str], place: NDArray[np.intp], of: str, models: Models, prob: float
) -> list[dict[str, Any]]:
    """Say how much scores differ between positions, with the p-value of none at all."""
    values = position_spread(scaled, place, len(names))
    rows = models.rows("spread over positions", of, values, np.nan, prob)
    p, least = position_test(scaled, place, len(names))
    by_model = dict(zip(models.names, zip(p, least, strict=True), strict=True))
    for row in rows:
        if row["level"] == _MODEL:
            row["p"], least_found = by_model[row["name"]]
            row["mde"] = least_found if row["p"] > 1 - prob else np.nan
            row["null"] = 0.0
            if row["p"] > 1 - prob:
                row["lower"] = (
                    0.0  # chance alone makes a spread: the test says whether there is one
                )
    return rows
