"""Check a dataset for what would mislead an analysis without breaking it.

Duplicated models, prompts whose words all have one score, coarse scores with many ties, words that
no category holds: each is a finding with a severity, to be read before the results are.
"""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
import xarray as xr

from valuebias._core.notebooks import as_html
from valuebias.analysis.auditing import checks, structure_checks
from valuebias.analysis.auditing.checks import Data, Finding
from valuebias.analysis.classical.frames import from_rows
from valuebias.errors import ValueBiasError
from valuebias.schema import validate

__all__ = ["CHECKS", "SEVERITIES", "Audit", "audit"]

SEVERITIES = ("problem", "warning", "note")
"""From worst to least: wrong results; results to be read with care; good to know."""

CHECKS: tuple[str, ...] = ("contract", *checks.CHECKS, *structure_checks.CHECKS)
"""The names of the checks, in the order they are made."""


@dataclass(frozen=True, eq=False)
class Audit:
    """What an audit found.

    Attributes
    ----------
    findings : pandas.DataFrame
        One row per finding, the worst first: ``severity`` (one of `SEVERITIES`), ``check`` (one of
        `CHECKS`), ``where`` and ``detail``.

    Examples
    --------
    >>> from valuebias import simulate
    >>> found = audit(simulate(n_models={"A": 2, "B": 1}, n_prompts=4, n_words=30, seed=1))
    >>> found.ok, found.count("warning")
    (True, 1)
    >>> found.findings.loc[0, "check"]
    'families'
    """

    findings: pd.DataFrame

    def _repr_html_(self) -> str:
        """Show the findings in a notebook."""
        if self.findings.empty:
            return as_html("Nothing found.")
        return as_html(self.findings, most=30)

    @property
    def ok(self) -> bool:
        """Whether there is no problem; there may be warnings and notes."""
        return not self.count("problem")

    def count(self, severity: str) -> int:
        """Count the findings of a severity.

        Parameters
        ----------
        severity : {"problem", "warning", "note"}
            Which.

        Returns
        -------
        int
            How many there are.
        """
        return int((self.findings["severity"] == severity).sum())


def audit(dataset: xr.Dataset) -> Audit:
    """Check a dataset for what would mislead an analysis.

    Parameters
    ----------
    dataset : xarray.Dataset
        Scores that follow the contract (`valuebias.schema`). A breach of it that leaves the scores
        readable is a finding.

    Returns
    -------
    Audit
        The findings.

    Raises
    ------
    ValueBiasError
        If `dataset` is not a Dataset or lacks variables, dims or coords that the checks read.

    Notes
    -----
    Checks (`CHECKS`): identical models, by their scores and by the SHA-256 of their source files;
    words that differ in case only; prompts with one text, or one column of scores; prompts for
    which a model gives all words one score; missing cells; words outside the lexicon or in several
    categories; small categories; ties; extreme scores; families, bases that are missing or
    doubtful, models whose rewards are read at different places, judges that would reply something
    else than a verdict or go by an answer's place, pairs that share a model, and framings. Ties,
    constants and extremes are counted over the words of the lexicon.

    The last three ask what would make an analysis too sure: models of a family whose mean normal
    scores of the words, categories apart, are more alike than those of independent models, though
    their ``base`` is not the same; families whose models
    differ more among themselves than those of another, and models that differ more from their
    family than others do; and numbers of the words (their length, any
    numeric coordinate on ``response``) that differ between the categories.

    Examples
    --------
    >>> from valuebias import simulate
    >>> ds = simulate(n_models={"A": 2, "B": 2}, n_prompts=4, n_words=30, seed=1)
    >>> ds["score"][3] = ds["score"][2]
    >>> audit(ds).findings.loc[0, "detail"]
    "2 models have the same score in every cell: 'simulated/b-1' and 'simulated/b-2'. ..."
    """
    breach = _contract(dataset)
    score = dataset["score"].transpose("model", "prompt", "response").to_numpy()
    inside = (dataset["membership"] != 0).any("category").to_numpy()
    data = Data(dataset, score, inside, score[..., inside] if inside.any() else score)
    findings = {"contract": breach, **{name: check(data) for name, check in checks.CHECKS.items()}}
    findings |= structure_checks.look(data)
    rows = [{"check": name, **one._asdict()} for name, group in findings.items() for one in group]
    rows.sort(key=lambda row: SEVERITIES.index(str(row["severity"])))
    return Audit(from_rows(rows, columns=["severity", "check", "where", "detail"]))


def _contract(dataset: xr.Dataset) -> list[Finding]:
    """Validate; raise only if the checks could not read the data."""
    try:
        validate(dataset)
    except ValueBiasError as error:
        readable = (
            isinstance(dataset, xr.Dataset)
            and {"score", "membership"} <= set(dataset.data_vars)
            and {"model", "prompt", "response", "category"} <= set(dataset.coords)
            and {"family", "text", "framing"} <= set(dataset.coords)
            and set(dataset["score"].dims) == {"model", "prompt", "response"}
            and set(dataset["membership"].dims) == {"response", "category"}
            and dataset["score"].dtype.kind == "f"
            and dataset["membership"].dtype.kind == "b"
        )
        if not readable:
            raise
        return [Finding("problem", "dataset", str(error))]
    return []
