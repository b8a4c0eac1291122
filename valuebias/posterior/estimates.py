"""Estimates that a user asked for: their table, draws, ranks and arithmetic."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from valuebias._core.notebooks import as_html
from valuebias._core.text import visible_lines
from valuebias.analysis.design.expressions import compute
from valuebias.analysis.design.grammar import check_expression
from valuebias.analysis.estimands.estimand import COLUMNS, HYPOTHESIS, summarise_contrasts
from valuebias.analysis.estimands.plain_names import ascii_name, plain_name
from valuebias.errors import ValueBiasError, did_you_mean, shown
from valuebias.posterior.wording import shown as shown_table

__all__ = ["Estimates", "check_prob", "check_rope", "read_statement"]

Array = NDArray[np.float64]

_ROPE = 0.05
_SHOWN = ("estimand", "name", "at", "framing", "category", "mean", "lower", "upper", "p_direction",
          "n_models")  # fmt: skip
_TINY = 1e-3
_RELATION = re.compile(r"<=|>=|==|<|>|=")


@dataclass(frozen=True, eq=False, repr=False)
class Estimates:
    """Estimates of a posterior: what :meth:`Fit.means` and its like return.

    Parameters
    ----------
    draws : xarray.DataArray
        (chain, draw, estimand), in units of the outcome, with the parts of the names as
        coordinates.
    averaging : str
        What the variables that are not set stand at.
    units : str
        What one unit is.
    scale : float
        The outcome's SD.

    Examples
    --------
    >>> import valuebias
    >>> fit = valuebias.fit(valuebias.datasets.load("simulated"), seed=1, progress=False)
    >>> means = fit.means(by="family")
    >>> means.draws.sizes["estimand"], len(means.table())
    (6, 6)
    """

    draws: xr.DataArray = field(repr=False)
    averaging: str
    units: str
    scale: float

    def __repr__(self) -> str:
        text = self._written().to_string(index=False)
        return visible_lines(f"{text}\n{self.averaging} In {self.units}; 90% intervals.")

    def _repr_html_(self) -> str:
        """Show the table in a notebook."""
        note = f"{self.averaging} In {self.units}; 90% intervals."
        return as_html(self._written(), note, most=40)

    def _written(self) -> pd.DataFrame:
        """Write the columns that say something."""
        table = self.table()
        columns = [
            name for name in _SHOWN if name in table and (table[name].astype(str) != "").any()
        ]
        written = shown_table(table)
        if (table["sd"] < _TINY).all():
            # Slopes per parameter of a model.
            for name in ("mean", "lower", "upper"):
                written[name] = [f"{value:+.2g}" for value in table[name]]
        return written[columns]

    def table(self, *, prob: float = 0.9, rope: float | None = None) -> pd.DataFrame:
        """Summarise the draws.

        Parameters
        ----------
        prob : float, default 0.9
            Probability of the equal-tailed intervals, and of the joint ones.
        rope : float, optional
            Half-width of the region of practical equivalence around zero, in units of the outcome;
            0.05 of its SD if not given.

        Returns
        -------
        DataFrame
            One row per estimate, with the columns of :meth:`Fit.contrasts`; ``at`` says what other
            variables are set to. ``lower_joint`` and ``upper_joint``: all estimates of one framing
            and category lie in these intervals at once with probability `prob`. ``p_joint``: as
            ``p_direction``, but that of the whole group jointly, which is what to read of one that
            was picked for its size: it reaches .95 where the joint 90% interval leaves zero. Then
            the variables that were set, and ``n_models``.

        Raises
        ------
        ValueBiasError
            If `prob` is not between 0 and 1 or `rope` is negative.

        Notes
        -----
        The joint intervals are medians plus and minus one multiple of the SDs (sup-t; Montiel Olea
        and Plagborg-Møller 2019, *Journal of Applied Econometrics* 34, 1–17).
        """
        check_prob(prob)
        half = check_rope(rope, self.scale)
        table = summarise_contrasts(self.draws, prob, half)
        joint = self._joint(table, prob)
        table.insert(int(table.columns.get_loc("p_rope")), "p_joint", joint[2])  # type: ignore[arg-type]
        position = int(table.columns.get_loc("upper")) + 1  # type: ignore[arg-type]
        for name, values in zip(("upper_joint", "lower_joint"), joint[1::-1], strict=True):
            table.insert(position, name, values)
        for given, coordinate in self.draws.coords.items():
            name = str(given)
            if coordinate.dims == ("estimand",) and name not in (*COLUMNS, "estimand"):
                table[name] = coordinate.to_numpy()
        table.attrs |= {"prob": prob, "rope": half, "units": self.units}
        table.attrs |= {"averaging": self.averaging, "draws": self.draws[..., 0].size}
        return table

    def _joint(self, table: pd.DataFrame, prob: float) -> tuple[Array, Array, Array]:
        """Return the ends of the intervals that hold a framing and category's estimates at once.

        And the probabilities of direction that go with them.
        """
        flat = self.draws.to_numpy().reshape(-1, len(table))
        lower, upper, sure = (
            np.array(table[name], dtype=np.float64) for name in ("lower", "upper", "p_direction")
        )
        for rows in self._groups().values():
            if len(rows) < 2:
                continue
            centre = table["median"].to_numpy(float)[rows]
            sd = table["sd"].to_numpy(float)[rows]
            with np.errstate(invalid="ignore", divide="ignore"):
                far = np.nan_to_num(np.abs(flat[:, rows] - centre) / sd).max(axis=1)
            width = np.quantile(far, prob) * sd
            lower[rows], upper[rows] = centre - width, centre + width
            with np.errstate(invalid="ignore", divide="ignore"):
                reached = np.abs(centre) / sd
            joint = 0.5 + 0.5 * (far[:, None] < reached).mean(axis=0)
            sure[rows] = np.minimum(sure[rows], joint)
        return lower, upper, sure

    def _groups(self) -> dict[tuple[str, str], NDArray[np.intp]]:
        """Positions of the estimates of each framing and category."""
        keys = zip(*(self.draws[name].to_numpy() for name in ("framing", "category")), strict=True)
        groups: dict[tuple[str, str], list[int]] = {}
        for i, (framing, category) in enumerate(keys):
            groups.setdefault((str(framing), str(category)), []).append(i)
        return {key: np.array(rows, dtype=np.intp) for key, rows in groups.items()}

    def ranks(self) -> pd.DataFrame:
        """Give the probability of each rank among the estimates of one framing and category.

        Returns
        -------
        DataFrame
            One row per estimate: ``name``, ``at``, ``framing``, ``category``, ``mean_rank``, and
            ``rank_1`` (the largest), ``rank_2``, …: probabilities, which sum to one.
        """
        parts = []
        flat = self.draws.to_numpy().reshape(-1, self.draws.sizes["estimand"])
        for (framing, category), rows in self._groups().items():
            ranks = (-flat[:, rows]).argsort(axis=1).argsort(axis=1)
            labels = {name: self.draws[name].to_numpy()[rows] for name in ("name", "at")}
            shares = {f"rank_{k + 1}": (ranks == k).mean(axis=0) for k in range(len(rows))}
            body = {"framing": framing, "category": category, "mean_rank": ranks.mean(axis=0) + 1}
            parts.append(pd.DataFrame(labels | body | shares))
        table = pd.concat(parts, ignore_index=True)
        table.attrs["draws"] = len(flat)
        return table

    def hypothesis(
        self,
        text: str,
        *,
        framing: str | None = None,
        prob: float = 0.9,
        more: Mapping[str, Array] | None = None,
    ) -> pd.DataFrame:
        """Test a statement on these estimates, or estimate what it computes.

        Parameters
        ----------
        text : str
            Arithmetic of their names with ``+ - * / **`` and the functions of a formula, alone or
            on both sides of ``<``, ``>`` or ``=``. Names with anything but letters, digits and
            underscores stand between backticks; one with a backtick in it cannot be written. A
            difference may have an ordinary hyphen, as in "Gemma - Llama", where programs read
            names. Where estimates of one name are at several values, the name ends in what ``at``
            says, as in "Gemma − Llama, stage = instruct".
        framing : str, optional
            The framing of the estimates; that of the first if not given.
        prob : float, default 0.9
            Probability of the equal-tailed interval.
        more : mapping from str to ndarray, optional
            Draws of further quantities by name, (chain, draw).

        Returns
        -------
        DataFrame
            One row with the columns of :meth:`table`: of the left side − the right, and
            ``p_true``, the probability of what stands with ``<`` or ``>``; NaN for others, as an
            equality of numbers has none. See ``p_rope``.

        Raises
        ------
        ValueBiasError
            If the text cannot be read, or names something that is not there.

        Examples
        --------
        >>> import valuebias
        >>> fit = valuebias.fit(valuebias.datasets.load("simulated"), seed=1, progress=False)
        >>> row = fit.means(by="family").hypothesis("Alder > Birch").loc[0]
        >>> bool(row["p_true"] > 0.5)
        True
        """
        left, relation, right = read_statement(text)
        named, framing, category = self._named(framing)
        columns = {name: values.ravel() for name, values in named.items()}
        columns |= {name: np.asarray(values).ravel() for name, values in (more or {}).items()}
        table = pd.DataFrame(columns | _plain_names(columns))
        values = _compute(left, table) - (_compute(right, table) if right else 0.0)
        if not np.isfinite(values).all():
            raise ValueBiasError(
                f"{shown(text)} is not finite for {(~np.isfinite(values)).sum()} of {len(values)} "
                "draws; it may divide by what can be zero. State it as a product instead."
            )
        shape = (self.draws.sizes["chain"], self.draws.sizes["draw"], 1)
        coords = dict.fromkeys(COLUMNS, "")
        coords |= {"kind": HYPOTHESIS, "form": HYPOTHESIS, "name": text, "framing": framing,
                   "category": category, "first": left, "second": right}  # fmt: skip
        draws = xr.DataArray(
            values.reshape(shape),
            dims=("chain", "draw", "estimand"),
            coords={"estimand": [text], **{k: ("estimand", [v]) for k, v in coords.items()}},
        )
        out = Estimates(draws, self.averaging, self.units, self.scale).table(prob=prob)
        stands = {"<": values < 0, "<=": values <= 0, ">": values > 0, ">=": values >= 0}
        true = float(stands[relation].mean()) if relation in stands else np.nan
        out.insert(int(out.columns.get_loc("p_rope")), "p_true", true)  # type: ignore[arg-type]
        return out.drop(columns=["lower_joint", "upper_joint", "p_joint"])

    def _named(self, framing: str | None) -> tuple[dict[str, Array], str, str]:
        """Return draws by name under a framing, with the framing and the category."""
        framings, categories = (
            self.draws[name].to_numpy().astype(str) for name in ("framing", "category")
        )
        chosen = framings[0] if framing is None else framing
        if not isinstance(chosen, str) or chosen not in framings:
            raise ValueBiasError(
                f"framing is {shown(framing)}. {did_you_mean(framing, dict.fromkeys(framings))}"
            )
        at = np.flatnonzero(framings == chosen)
        several = {
            part: len(set(self.draws[part].to_numpy()[at].tolist())) > 1
            for part in ("at", "category")
        }
        out: dict[str, Array] = {}
        for i in at:
            parts = ["name", *(part for part, differ in several.items() if differ)]
            words = [str(self.draws[part].to_numpy()[i]) for part in parts]
            out[", ".join(word for word in words if word)] = self.draws[..., i].to_numpy()
        return out, chosen, "" if several["category"] else categories[at[0]]


def check_prob(prob: object) -> None:
    """Refuse what is not a probability of an interval."""
    if not (isinstance(prob, float | int | np.number) and 0 < prob < 1):
        raise ValueBiasError(f"prob must lie between 0 and 1, such as 0.9, found {shown(prob)}.")


def check_rope(rope: object, scale: float) -> float:
    """Return the half-width of the region of practical equivalence, or refuse it."""
    half = _ROPE * scale if rope is None else rope
    if not (isinstance(half, float | int | np.number) and half >= 0):
        raise ValueBiasError(f"rope must be zero or more, found {shown(rope)}.")
    return float(half)


def read_statement(text: object) -> tuple[str, str, str]:
    """Split a statement at its relation, which stands outside of backticks."""
    if not isinstance(text, str) or not text.strip():
        raise ValueBiasError(
            f"a hypothesis is text such as 'Llama - Gemma > 0.1', found {shown(text)}."
        )
    bare = re.sub(r"`[^`]*`", lambda name: " " * len(name.group()), text)
    relations = list(_RELATION.finditer(bare))
    if len(relations) > 1:
        raise ValueBiasError(
            f"{shown(text)} has {len(relations)} relations; state one, such as 'Llama > Gemma'."
        )
    if not relations:
        return text.strip(), "", ""
    start, end = relations[0].span()
    left, right = text[:start].strip(), text[end:].strip()
    if not left or not right:
        raise ValueBiasError(f"{shown(text)} lacks one side of {relations[0].group()!r}.")
    return left, relations[0].group(), right


def _plain_names(columns: Mapping[str, Array]) -> dict[str, Array]:
    """Give draws by the names that programs read, where each is of one estimate."""
    plain: dict[str, list[str]] = {}
    for name in columns:
        for other in {plain_name(name), ascii_name(name)} - {*columns}:
            plain.setdefault(other, []).append(name)
    return {other: columns[names[0]] for other, names in plain.items() if len(names) == 1}


def _compute(side: str, table: pd.DataFrame) -> Array:
    unknown = sorted(check_expression(side) - {*map(str, table.columns)})
    if unknown:
        raise ValueBiasError(
            f"the hypothesis names {shown(unknown[0])}, which is no estimate. "
            f"{did_you_mean(unknown[0], map(str, table.columns))} Names with spaces or signs stand "
            "between backticks; call a level that has one in its name something else."
        )
    values, learnt = compute(side, table)
    if learnt:
        raise ValueBiasError(
            f"{shown(side)} calls a function of a formula that learns from models; use arithmetic."
        )
    return values[:, 0]
