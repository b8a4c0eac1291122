"""What shaping did to a reward model, on every axis: ``valuebias.shaping_report``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from valuebias._core.checks import check_known, check_number
from valuebias._core.notebooks import as_html
from valuebias._core.text import visible
from valuebias.analysis.changes import Change, Estimate
from valuebias.backends.base import Backend
from valuebias.errors import ValueBiasError, shown
from valuebias.models.resolve import resolve
from valuebias.models.spec import Model
from valuebias.shaping.axes import Axis, Engine, accuracy_of, axes_of, lexicons_of
from valuebias.shaping.direction import one_model
from valuebias.shaping.shape import read_record
from valuebias.shaping.sides import WordSides

__all__ = ["ShapingReport", "shaping_report"]

TOLERATED = 0.05
"""A fall in accuracy beyond which a lean counts as entangled with what rewards are for."""


@dataclass(frozen=True, slots=True, eq=False)
class ShapingReport:
    """Leans and accuracy before and after shaping, from items that no direction has seen.

    Attributes
    ----------
    table : pandas.DataFrame
        One row an axis: ``axis``, its two sides ``first`` and ``second``, the ``unit`` and how many
        ``n``; whether it is a ``target``; the lean ``before`` and ``after``, their difference
        ``change`` and its ``growth``, by how much it is further from zero, each with ``_lower`` and
        ``_upper``, in units of reward; and the ``verdict``: of a target "removed", "entangled" (at
        the cost of accuracy, as it is estimated; :attr:`removable` asks its interval as well) or
        "still there", of others "grew", "shrank" or "no clear change".
    accuracy : pandas.DataFrame
        One row, or none: how often right answers have more reward than wrong ones, ``before``,
        ``after`` and ``change``, with the same ends, and ``n`` items.
    models : tuple of (str, str)
        Before and after.
    removed : dict
        Of each direction, how much of it was removed.
    prob : float
        Of the intervals, each by itself.
    tolerated : float
        The fall in accuracy that is tolerated.

    Examples
    --------
    >>> import valuebias
    >>> report = valuebias.shaping_report("org/model", "shaped")  # doctest: +SKIP
    """

    table: pd.DataFrame
    accuracy: pd.DataFrame
    models: tuple[str, str]
    removed: dict[str, float]
    prob: float
    tolerated: float

    @property
    def removable(self) -> bool | None:
        """Whether all targets are removed within the fall in accuracy that is tolerated.

        None where accuracy was not looked at, there is no target, a lean is still there of which
        but a part was taken out, or accuracy seems to fall by more than that and its interval
        leaves it open.
        """
        targets = self.table[self.table["target"]]
        kept = targets["verdict"] == "still there"
        part = [self.removed.get(axis, 1.0) < 1 for axis in targets["axis"]]
        entangled = bool((targets["verdict"] == "entangled").any())
        if (entangled and self._falls()) or (kept & ~np.array(part, dtype=bool)).any():
            return False
        unknown = targets.empty or self.accuracy.empty or kept.any() or entangled
        return None if unknown else True

    def to_frame(self) -> pd.DataFrame:
        """Return the axes as a table.

        Returns
        -------
        pandas.DataFrame
            A copy of :attr:`table`.
        """
        return self.table.copy()

    def headline(self) -> str:
        """Say in words what became of each lean, where it may have moved, and what it cost.

        Returns
        -------
        str
            One sentence or two a line.
        """
        targets = self.table[self.table["target"]]
        lines = [self._of_target(row) for _, row in targets.iterrows()]
        if targets.empty:
            lines.append("None of the axes is that of a direction that was removed.")
        return "\n".join([*lines, self._of_accuracy(), self._of_others()])

    def _of_target(self, row: pd.Series[Any]) -> str:
        share = self.removed.get(row["axis"], 1.0)
        part = "" if share == 1 else f" ({share:g} of it taken out)"
        said = (
            f"{visible(row['axis'])} ({visible(row['first'])} less {visible(row['second'])}, "
            f"{row['n']} held-out {row['unit']}){part}: {self._moved(row)}. "
        )
        if row["verdict"] == "still there":
            lost = "" if self._fall() <= self.tolerated else ", and accuracy falls"
            left = 100 * abs(row["after"]) / max(abs(row["before"]), 1e-12)
            said += f"The interval excludes zero, {left:.0f}% of it is left{lost}: "
            if share < 1:
                return f"{said}not all was taken out."
            more = ", and one of more items may take more out" if left < 100 else ""
            return f"{said}it is not removable by this direction{more}."
        if row["verdict"] == "entangled" and not self._falls():
            return (
                f"{said}It may not be removable without harm: accuracy falls by "
                f"{100 * self._fall():.1f} points, more than {100 * self.tolerated:g}, but of so "
                "few items that this may be chance. More of them would tell."
            )
        if row["verdict"] == "entangled":
            return (
                f"{said}It is not removable without harm: accuracy falls by "
                f"{100 * self._fall():.1f} points, more than {100 * self.tolerated:g}, so that the "
                "lean is entangled with what the model is to reward."
            )
        before = Estimate(row["before"], row["before_lower"], row["before_upper"])
        if not before.excludes_zero:
            return f"{said}There was no clear lean before, so that none can be said to be removed."
        end = max(abs(row["after_lower"]), abs(row["after_upper"]))
        most = 100 * end / max(abs(row["before"]), 1e-12)
        return (
            f"{said}The interval covers zero: removed, as far as these {row['unit']} tell; up to "
            f"{most:.0f}% of it may be left."
        )

    def _moved(self, row: pd.Series[Any]) -> str:
        before, after = (
            f"{_number(row[name])} ({_number(row[f'{name}_lower'])} to "
            f"{_number(row[f'{name}_upper'])})"
            for name in ("before", "after")
        )
        return f"{before} before, {after} after, {100 * self.prob:g}% intervals"

    def _fall(self) -> float:
        return 0.0 if self.accuracy.empty else -float(self.accuracy["change"].iloc[0])

    def _falls(self) -> bool:
        """Whether accuracy falls by more than is tolerated as far as its interval goes."""
        if self.accuracy.empty:
            return False
        return float(self.accuracy["change_upper"].iloc[0]) < -self.tolerated

    def _of_accuracy(self) -> str:
        if self.accuracy.empty:
            return "Accuracy was not looked at, so that it is not known what shaping cost."
        row = self.accuracy.iloc[0]
        before, after, *change = (
            f"{100 * float(row[name]):.1f}".replace("-", "−")
            for name in ("before", "after", "change", "change_lower", "change_upper")
        )
        most = 100 * self.tolerated
        said = (
            f"Accuracy on {int(row['n'])} held-out items: {before}% before, {after}% after, a "
            f"change of {change[0]} points ({change[1]} to {change[2]}). "
        )
        if self._falls():
            return f"{said}It falls by more than {most:g} points."
        if self._fall() > self.tolerated:
            return f"{said}It seems to fall by more than {most:g} points, which is not settled."
        if -float(row["change_lower"]) > self.tolerated:
            return f"{said}A fall of more than {most:g} points is not ruled out."
        return f"{said}A fall of more than {most:g} points is ruled out at this level."

    def _of_others(self) -> str:
        others = self.table[~self.table["target"]]
        if others.empty:
            return "No other axis was looked at: whether the bias moved elsewhere is not known."
        grown = others[others["verdict"] == "grew"]
        # Where there is no lean before, one that seems to come in either direction is growth.
        chance = (1 - self.prob) * len(others)
        count = "One other axis was" if len(others) == 1 else f"{len(others)} other axes were"
        expected = (
            f"{count} looked at, of which up to {chance:.2g} would seem to grow by chance alone"
        )
        if grown.empty:
            return f"No other axis grew by more than its uncertainty. {expected}."
        each = [
            f"{visible(row['axis'])} grew by {_number(row['growth'])} "
            f"({_number(row['growth_lower'])} to {_number(row['growth_upper'])}): "
            f"{self._moved(row)}"
            for _, row in grown.iterrows()
        ]
        return f"The bias may have moved: {'; '.join(each)}. {expected}."

    def __str__(self) -> str:
        """Say the headline."""
        return self.headline()

    def __repr__(self) -> str:
        """Show the headline."""
        before, after = map(visible, self.models)
        return f"<ShapingReport {before!r} → {after!r}>\n{self.headline()}"

    def _repr_html_(self) -> str:
        """Show the headline and the numbers in a notebook."""
        short = ["axis", "n", "unit", "before", "after", "after_lower", "after_upper", "growth",
                 "verdict"]  # fmt: skip
        return as_html(self.headline(), self.table[short], self.accuracy)


def _number(value: float) -> str:
    text = f"{value:.2f}" if abs(value) < 100 else f"{value:.3g}"
    return ("0.00" if float(text) == 0 else text).replace("-", "−")


def shaping_report(
    before: Any,
    after: Any,
    axes: Any = None,
    *,
    lexicons: Any = None,
    prompts: Any = "superlatives",
    accuracy: Any = None,
    targets: str | Sequence[str] | None = None,
    prob: float = 0.9,
    tolerated: float = TOLERATED,
    backend: str | type[Backend] | Backend = "torch",
    store: str | PathLike[str] | None = None,
    trust_remote_code: bool = False,
    progress: bool = True,
) -> ShapingReport:
    """Compare a reward model before and after shaping on every axis, and its accuracy.

    Both models are scored on the same items, and items or words that a direction was estimated from
    are left out.

    Parameters
    ----------
    before, after : Model, str, path, mapping or DataFrame
        The model as it was, and what :func:`valuebias.shape` gave.
    axes : mapping, sequence or ContrastSet, optional
        Contrast sets by the names of their axes, each by itself or in a tuple with the two sides,
        and perhaps the column that they are levels of, as :func:`valuebias.direction` takes them:
        ``{"length": (contrasts, ("long", "short"))}``.
    lexicons : mapping, optional
        Lexicons by the names of their axes, each by itself or in a tuple with two categories. By
        default agency less communion; ``{}`` for none.
    prompts : str, path, PromptSet, DataFrame, mapping or sequence, optional
        Of lexicons, what :func:`valuebias.prompts` takes.
    accuracy : ContrastSet, Preferences, str, path or DataFrame, optional
        What tells right answers from wrong ones: a contrast set with the column ``correct``, or
        what :func:`valuebias.preferences` takes.
    targets : str or sequence of str, optional
        The axes whose lean was to be removed; by default those named as a direction that was.
    prob : float, default 0.9
        Of the intervals.
    tolerated : float, default 0.05
        The fall in accuracy beyond which a lean counts as not removable.
    backend : str, type of Backend or Backend
        As in :func:`valuebias.score`.
    store : str or path, optional
        A folder in which scores are kept as they are computed; the same call goes on where it was
        interrupted.
    trust_remote_code : bool, default False
        As in :func:`valuebias.score`.
    progress : bool, default True
        Show progress on standard error.

    Returns
    -------
    ShapingReport
        Draw it with :func:`valuebias.plots.plot_shaping`.

    Raises
    ------
    ValueBiasError
        If `after` was shaped from another model; there is no axis, or one has too few items that no
        direction was estimated from; or a target is no axis.

    Notes
    -----
    Intervals are over items, or over words; pairs of one prompt count as one item of accuracy. That
    a bias which is removed can come back along another axis, and under a policy's own answers even
    where none is seen here, is shown by Lamparth et al. 2026 (arXiv 2605.27996).

    Examples
    --------
    >>> import valuebias
    >>> report = valuebias.shaping_report("org/model", "shaped")  # doctest: +SKIP
    """
    check_number(prob, "prob", "a probability between 0 and 1", least=0, most=1, above=True,
                 below=True)  # fmt: skip
    check_number(tolerated, "tolerated", "a share from 0 to 1", least=0, most=1)
    folder = _folder(store)
    models = _pair(one_model(before, trust_remote_code), one_model(after, trust_remote_code))
    record = read_record(models[1])
    if record is not None:
        sha256 = resolve(models[0], kind="reward").source.weights_sha256
        if record.base_sha256 != sha256:
            raise ValueBiasError(
                f"The model {models[1].name!r} was shaped from the weights "
                f"{record.base_sha256[:12]}…, and {models[0].name!r} has {sha256[:12]}…. Give the "
                "model that it was shaped from."
            )
    found = [*axes_of(axes), *lexicons_of(lexicons, prompts)]
    _check_axes(found)
    names = [axis.name for axis in found]
    removed = {} if record is None else dict(zip(record.names, record.alpha, strict=True))
    given = [targets] if isinstance(targets, str) else targets
    chosen = [name for name in names if name in removed] if given is None else list(given)
    for name in chosen:
        check_known(name, names, f"There is no axis {name!r} that could be a target.")
    used = frozenset[str]() if record is None else record.used
    found = [axis.held_out(used) for axis in found]
    right = None if accuracy is None else accuracy_of(accuracy).held_out(used)
    engine = Engine(models, backend, progress, folder)
    sets = [axis.sides.contrasts for axis in found if not isinstance(axis.sides, WordSides)]
    engine.prepare([*sets, *([] if right is None else [right.contrasts])])
    changes = [axis.compared(engine, prob) for axis in found]
    measured = None if right is None else right.compared(engine, prob)
    entangled = measured is not None and -measured.change.mean > tolerated
    rows = [
        {
            **axis.about(),
            "target": axis.name in chosen,
            **change.columns(),
            "verdict": _verdict(change, target=axis.name in chosen, entangled=entangled),
        }
        for axis, change in zip(found, changes, strict=True)
    ]
    told = [] if right is None or measured is None else [{"n": right.n, **measured.columns()}]
    pair = (models[0].name, models[1].name)
    return ShapingReport(
        pd.DataFrame(rows), pd.DataFrame(told), pair, removed, float(prob), float(tolerated)
    )


def _pair(before: Model, after: Model) -> tuple[Model, Model]:
    """Name the two apart; both stand on one base, which is of no matter to a comparison of two."""
    base = before.base or before.name
    name = after.name if after.name != before.name else f"{after.name}, shaped"
    return replace(before, base=base), replace(after, name=name, base=base)


def _folder(store: Any) -> Path | None:
    if store is None:
        return None
    if not isinstance(store, str | PathLike) or not str(store):
        raise ValueBiasError(f"store is {shown(store)}; expected the path of a folder for scores.")
    return Path(store)


def _check_axes(axes: list[Axis]) -> None:
    if not axes:
        raise ValueBiasError(
            "There is no axis to compare the models on. Give contrast sets as axes, or leave "
            "lexicons out for agency less communion."
        )
    names = [axis.name for axis in axes]
    for name in names:
        if names.count(name) > 1:
            raise ValueBiasError(f"Two axes are called {name!r}. Rename one of them.")


def _verdict(change: Change, *, target: bool, entangled: bool) -> str:
    if target:
        if change.after.excludes_zero:
            return "still there"
        return "entangled" if entangled else "removed"
    growth = change.growth or change.change
    if growth.lower > 0:
        return "grew"
    return "shrank" if growth.upper < 0 else "no clear change"
