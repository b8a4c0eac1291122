"""Find numbers in a manuscript that do not follow from a fit: ``valuebias.check_claims``."""

from __future__ import annotations

from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from valuebias._core.manuscripts import looks_like_latex, read_passages
from valuebias._core.notebooks import as_html
from valuebias._core.tables import read_text
from valuebias._core.text import has_surrogate, visible
from valuebias.errors import ValueBiasError, shown
from valuebias.posterior.claim_verdicts import FAULTS, FOLLOWS, NOT_CHECKED, NOT_FOUND, Judge
from valuebias.posterior.posterior import Posterior

if TYPE_CHECKING:
    from valuebias.posterior.ablation.result import AblationPosterior

__all__ = ["Claims", "check_claims", "describe"]

_COLUMNS = ["line", "text", "number", "verdict", "quantity", "value", "by_chance", "remark"]


@dataclass(frozen=True, eq=False, repr=False)
class Claims:
    """The numbers of a manuscript beside those of a fit; printed, it is what to mend.

    Parameters
    ----------
    table : DataFrame
        One row per number read: ``line``, ``text`` around it, ``number`` as written, ``verdict``,
        the ``quantity`` it is or should be and its ``value``, ``by_chance``, and a ``remark``.
    source : str
        Where the text is from.

    Examples
    --------
    >>> import valuebias
    >>> fit = valuebias.fit(valuebias.datasets.load("simulated"), seed=1, progress=False)
    >>> claims = valuebias.check_claims("The fit is of 9 models and 12 prompts.", fit)
    >>> claims.table["verdict"].tolist()
    ['does not follow', 'follows']
    >>> claims.all_follow
    False
    """

    table: pd.DataFrame = field(repr=False)
    source: str = "text"

    @property
    def faults(self) -> pd.DataFrame:
        """The rows that contradict the fit."""
        return self.table[self.table["verdict"].isin(FAULTS)]

    @property
    def to_mend(self) -> pd.DataFrame:
        """The rows to look at: those that contradict the fit, and those not found in it."""
        return self.table[self.table["verdict"].isin([*FAULTS, NOT_FOUND])]

    @property
    def all_follow(self) -> bool:
        """Whether no number contradicts the fit; some may be of things that it does not know."""
        return self.faults.empty

    def summary(self) -> str:
        """Count the verdicts, and say what those that follow are worth.

        Returns
        -------
        str
            A few sentences.
        """
        counts = self.table["verdict"].value_counts()
        left, ok = int(counts.get(NOT_CHECKED, 0)), int(counts.get(FOLLOWS, 0))
        n = len(self.table) - left
        lucky = float(self.table.loc[self.table["verdict"] == FOLLOWS, "by_chance"].sum())
        others = [f"{counts[v]} {v}" for v in (*FAULTS, NOT_FOUND) if v in counts]
        text = f"{ok} of {n} numbers that speak of the fit follow from it"
        text += f"; {', '.join(others)}. " if others else ". "
        if ok:
            text += (
                f"Had they been random numbers of the same size and decimals, about {lucky:.1f} of "
                f"these {ok} would have followed by chance. "
            )
        return text + f"{left} other numbers were not checked."

    def __str__(self) -> str:
        lines = [
            f"{visible(self.source)}:{row['line']}: {visible(row['number'])} {row['verdict']}"
            f"{': ' * bool(describe(row))}{visible(describe(row))}\n"
            f"    … {visible(row['text'])} …"
            for _, row in self.to_mend.iterrows()
        ]
        return "\n".join([*lines, self.summary()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Show what to look at, and the count in a notebook."""
        rows = self.to_mend
        table = rows[["line", "number", "verdict"]].assign(
            fit=[visible(describe(row)) for _, row in rows.iterrows()],
            text=[f"… {visible(text)} …" for text in rows["text"]],
        )
        return as_html(self.source, table, self.summary(), most=40)


def describe(row: pd.Series[Any]) -> str:
    """Say what the fit has instead of a number, and what else there is to say of it."""
    known = f"{row['quantity']} is {row['value']:.6g}" if row["quantity"] else ""
    return "; ".join(part for part in (known, row["remark"]) if part)


def check_claims(
    text: str | PathLike[str], fit: Posterior | AblationPosterior, *, latex: bool | None = None
) -> Claims:
    r"""Find numbers in a manuscript that do not follow from a fit.

    For each number whose sentence speaks of the fit, ask whether it equals one of the fit's numbers
    that the sentence can mean, at the precision written.

    Parameters
    ----------
    text : str or path
        The manuscript itself, or a path object (``pathlib.Path``) of its file: Markdown, LaTeX or
        plain text.
    fit : Fit
        The fit that it reports.
    latex : bool, optional
        Whether it is LaTeX, where ``%`` begins a comment; by its suffix or its commands if not
        given.

    Returns
    -------
    Claims
        Its ``table`` has the verdict on each number. ``follows``; ``rounded wrongly`` (one unit in
        the last place off); ``sign`` (equals the negative, given the order of levels and categories
        in the sentence); ``of something else`` (equals the same quantity of other levels, models or
        prompts than the sentence names); ``does not follow``; ``not found`` (nothing in the fit is
        of the kind it could be); ``not checked``, with the reason as the remark.

    Raises
    ------
    ValueBiasError
        If the file cannot be read, or is not text; or if there are more numbers than a manuscript
        has.

    Notes
    -----
    ``by_chance`` is the share of numbers with the same sign, size and decimals that would have
    followed as well: where a sentence can mean many quantities, a match is worth little. Intervals
    are of the probability that the sentence, or the last before it, names. Lines with
    ``<!-- claims: skip -->`` (in LaTeX ``% claims: skip``) are left out. Words such as
    "significant" are not judged. After statcheck: Nuijten et al. 2016, *Behavior Research Methods*
    48, 1205–1226.

    Examples
    --------
    >>> import valuebias
    >>> fit = valuebias.fit(valuebias.datasets.load("simulated"), seed=1, progress=False)
    >>> valuebias.check_claims(str(fit.headline()), fit).all_follow
    True
    """
    if not isinstance(fit, Posterior):
        raise ValueBiasError(
            "claims are compared with a fit of scores, as valuebias.fit makes it; found "
            f"{shown(type(fit).__name__)}. Of an ablation give its .fit, which has its models."
        )
    source = "text"
    if isinstance(text, PathLike):
        path = Path(text)
        source, text = str(path), read_text(path)
        latex = path.suffix.lower() in (".tex", ".ltx") if latex is None else latex
    if not isinstance(text, str):
        raise ValueBiasError(f"text must be a text or a path, found {shown(type(text).__name__)}.")
    passages = read_passages(text, latex=looks_like_latex(text) if latex is None else latex)
    return Claims(_table(list(Judge(fit).rows(passages))), source)


def _table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Make a table of rows; pandas' own texts hold no half of a surrogate pair."""
    columns = {name: [row[name] for row in rows] for name in _COLUMNS}
    halved = {
        name: pd.Series(values, dtype=object)
        for name, values in columns.items()
        if any(isinstance(value, str) and has_surrogate(value) for value in values)
    }
    return pd.DataFrame({**columns, **halved})
