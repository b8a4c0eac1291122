"""The words that score highest and lowest: the paper's Table 1, of any dataset."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import xarray as xr

from valuebias._core.markup import tex
from valuebias._core.text import visible
from valuebias.analysis.classical.frames import from_rows
from valuebias.errors import ValueBiasError
from valuebias.schema import FRAMINGS, validate

__all__ = ["TokenTable", "token_table"]

_SPACE = "␣"
_Escape = Callable[[str], str]


@dataclass(frozen=True, slots=True, eq=False)
class TokenTable:
    """The words at both ends, by framing.

    Attributes
    ----------
    table : pandas.DataFrame
        One row per word shown: ``framing``, ``end`` ("top" or "bottom"), ``place`` (1 = the
        outermost), ``word`` as it is in the data, ``score`` (mean over models and prompts).
    units : str
        Of the score.

    Examples
    --------
    >>> import valuebias
    >>> table = token_table(valuebias.datasets.load("simulated"), n=1)
    >>> table.table[["framing", "end"]].values.tolist()[:2]
    [['positive', 'top'], ['positive', 'bottom']]
    """

    table: pd.DataFrame = field(repr=False)
    units: str

    def to_text(self) -> str:
        """Give the table as plain text.

        Returns
        -------
        str
            With spaces at the ends of words and control characters written out.
        """
        return self._wide(shown_token).to_string(index=False)

    def __str__(self) -> str:
        """Give plain text."""
        return self.to_text()

    def to_html(self) -> str:
        """Give the table in HTML.

        Returns
        -------
        str
            One element, in which words are shown and never run.
        """
        wide = self._wide(lambda word: html.escape(shown_token(word)))
        head = "".join(f"<th>{html.escape(name)}</th>" for name in wide.columns)
        rows = "".join(
            "<tr>"
            + "".join(
                f"<td><code><bdi>{cell}</bdi></code></td>" if "," in name else f"<td>{cell}</td>"
                for name, cell in zip(wide.columns, row, strict=True)
            )
            + "</tr>"
            for row in wide.itertuples(index=False)
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"

    def _repr_html_(self) -> str:
        """Show the table in a notebook."""
        return self.to_html()

    def to_latex(self) -> str:
        r"""Give the table in LaTeX.

        Returns
        -------
        str
            A ``tabular`` for booktabs, made for pdfLaTeX with T1 fonts.
        """
        wide = self._wide(_tex_token)
        lines = [r"\begin{tabular}{r" + "lr" * (len(wide.columns) // 2) + "}", r"\toprule"]
        lines += [" & ".join(tex(name) for name in wide.columns) + r" \\", r"\midrule"]
        lines += [
            " & ".join(row).replace("−", "$-$") + r" \\" for row in wide.itertuples(index=False)
        ]
        return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"

    def _wide(self, escape: _Escape) -> pd.DataFrame:
        """Arrange the words side by side, as text."""
        columns: dict[str, list[str]] = {}
        for (framing, end), part in self.table.groupby(["framing", "end"], sort=False):
            columns.setdefault("", [str(rank) for rank in part["place"]])
            columns[f"{framing}, {end}"] = [escape(word) for word in part["word"]]
            # Column names must differ; trailing blanks do not show.
            name = "score" + " " * (len(columns) // 2 - 1)
            columns[name] = [f"{value:.3g}".replace("-", "−") for value in part["score"]]
        return pd.DataFrame(columns)


def token_table(scores: xr.Dataset, *, n: int = 10) -> TokenTable:
    """Find the words that score highest and lowest, by framing.

    Parameters
    ----------
    scores : xarray.Dataset
        Scores of any kind; best of one model, or of one implicit pair, since raw scores of
        different reward models have no common scale.
    n : int, default 10
        How many words to show at each end.

    Returns
    -------
    TokenTable
        With ``to_text()``, ``to_html()`` and ``to_latex()``. Words are ordered by their mean score
        over models and prompts; of equal ones the first in the data comes first.

    Raises
    ------
    ValueBiasError
        If the dataset is not valid, or has fewer than 2 `n` words that are scored throughout.

    Notes
    -----
    After Christian et al. (2026), Table 1.

    Examples
    --------
    >>> import valuebias
    >>> len(token_table(valuebias.datasets.load("simulated"), n=3).table)
    12
    """
    validate(scores)
    if not isinstance(n, int | np.integer) or n < 1:
        raise ValueBiasError(f"n is {n!r}; expected a number of words, at least 1.")
    words = scores["response"].to_numpy()
    framing = scores["framing"].to_numpy()
    rows = []
    for level in FRAMINGS:
        if level not in framing:
            continue
        part = scores["score"].isel(prompt=np.flatnonzero(framing == level))
        # A word that some model or prompt lacks would be compared on other prompts.
        mean = part.mean(("model", "prompt"), skipna=False, dtype=np.float64).to_numpy()
        known = np.flatnonzero(~np.isnan(mean))
        if len(known) < 2 * n:
            raise ValueBiasError(
                f"{len(known)} words are scored by every model after every {level} prompt; "
                f"{2 * n} are needed to show {n} at each end. Give a smaller n, or complete scores."
            )
        for end, sign in (("top", -1), ("bottom", 1)):
            order = known[np.argsort(sign * mean[known], kind="stable")][:n]
            rows += [
                {"framing": level, "end": end, "place": place, "word": str(words[i]),
                 "score": float(mean[i])}
                for place, i in enumerate(order, start=1)
            ]  # fmt: skip
    return TokenTable(from_rows(rows), str(scores.attrs["units"]))


def shown_token(word: str) -> str:
    """Write a word with invisible characters made visible: controls, and spaces at its ends."""
    text = visible(word)
    inner = text.strip(" ")
    before = len(text) - len(text.lstrip(" ")) if inner else len(text)
    after = len(text) - len(text.rstrip(" ")) if inner else 0
    return f"{_SPACE * before}{inner}{_SPACE * after}"


def _tex_token(word: str) -> str:
    spaced = r"\textvisiblespace{}".join(map(tex, shown_token(word).split(_SPACE)))
    return rf"\texttt{{{spaced}}}"
