"""The paper's own analysis, to the digit: median ranks, mixed model, ANOVA and tests.

Its mixed model gives every model a random intercept only, so that the 54 paraphrases of a question
count as independent replicates of its answer. The same model with random slopes, in which they do
not, stands beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from valuebias._core.notebooks import as_html
from valuebias._core.text import visible_lines
from valuebias.analysis.classical.anova import type_two
from valuebias.analysis.classical.frames import as_records, as_text, from_rows
from valuebias.analysis.classical.leans import LEANS, leans, sentence
from valuebias.analysis.classical.medians import MedianRanks, median_ranks
from valuebias.analysis.classical.mixed import INTERCEPT, SLOPES, MixedFit, fit_mixed
from valuebias.analysis.classical.permutation import bases_of, family_permutations
from valuebias.analysis.classical.welch import permutation_tests, welch_tests
from valuebias.analysis.estimands.plain_names import plain_names
from valuebias.analysis.headline import Headline
from valuebias.errors import ValueBiasError
from valuebias.schema import validate

__all__ = ["AVERAGES", "Classical", "classical"]

Array = NDArray[np.float64]

AVERAGES = (
    "Here each model's median is over all its ranks under a framing, of every word and prompt, and "
    "the average over models. The mixed models and tests take a median for each prompt, over words "
    "alone, so that means of theirs over models and prompts differ a little."
)
"""What the paper's two sets of averages are of, which are near one another but not the same."""

_FIT_COLUMNS = ["Value", "Std.Error", "DF", "t-value", "p-value"]


@dataclass(frozen=True, eq=False)
class Classical:
    """The paper's analysis of a dataset.

    Made by `classical`. Every number is in ranks, 1 = the highest reward; only `contrasts` is
    turned round so that more means valued more.

    Attributes
    ----------
    medians : pandas.DataFrame
        The unit of analysis: ``model``, ``family``, ``category``, ``prompt``, ``framing``, ``rank``
        (the median rank of the category's words for that model and prompt).
    table : pandas.DataFrame
        Average median rank by ``framing``, ``category`` and ``family``.
    framing : pandas.DataFrame
        ``n``, ``mean`` and ``sd`` of the medians by ``framing``.
    mixed : pandas.DataFrame
        Fixed effects of the paper's mixed model (random intercept by model), one row per term,
        columns as nlme's. Without rows where it could not be estimated; `messages` then says why.
    mixed_slopes : pandas.DataFrame
        The same with random category × framing effects of each model; ``DF(models)`` and
        ``p-value(models)`` take the models as the replicates.
    sd : pandas.DataFrame
        Standard deviations of both models: ``spec``, ``group``, ``term``, ``sd``.
    fits : pandas.DataFrame
        One row per mixed model: ``spec``, ``logLik`` (restricted), ``n``, ``models``, ``singular``.
    anova : pandas.DataFrame
        Type-II ANOVA of the medians by ordinary least squares (the paper's Figure 2), one row per
        term: ``Sum Sq``, ``Df``, ``F value``, ``Pr(>F)``.
    anova_mixed : pandas.DataFrame
        Type-II Wald χ² of both mixed models: ``spec``, ``term``, ``Chisq``, ``Df``, ``Pr(>Chisq)``.
    permutation, welch : pandas.DataFrame
        Two families compared in each category × framing; see the module ``welch``. Of the
        paper's permutation tests ``p.perm`` is the paper's own p, which may be 0; ``p.plus1`` is
        the one to read and ``p.bonferroni`` corrects it.
    family_permutation : pandas.DataFrame
        The difference in lean of every two families, tested by permuting their labels over the
        models and, where models share them, over the bases; see the module ``permutation``.
        Not the paper's: its shuffles take median ranks of one model as independent.
    messages : tuple of str
        What could not be estimated, and why; singular fits; missing medians.
    n_permutations, seed : int
        As used.
    ranks : MedianRanks
        The medians as an array.

    Examples
    --------
    >>> from valuebias import simulate
    >>> ds = simulate(n_models={"Gemma": 3, "Llama": 4}, n_prompts=12, n_words=60, seed=1)
    >>> result = classical(ds, n_permutations=99)
    >>> result.fits["spec"].tolist()
    ['random intercept', 'random slopes']
    >>> result.contrasts().loc[0, ["estimand", "name", "framing", "category"]].tolist()
    ['family difference', 'Gemma − Llama', 'signed', 'agency − communion']
    """

    medians: pd.DataFrame
    table: pd.DataFrame
    framing: pd.DataFrame
    mixed: pd.DataFrame
    mixed_slopes: pd.DataFrame
    sd: pd.DataFrame
    fits: pd.DataFrame
    anova: pd.DataFrame
    anova_mixed: pd.DataFrame
    permutation: pd.DataFrame
    welch: pd.DataFrame
    family_permutation: pd.DataFrame
    messages: tuple[str, ...]
    n_permutations: int
    seed: int
    ranks: MedianRanks
    _fits: tuple[MixedFit, ...]

    def contrasts(self, *, prob: float = 0.9) -> pd.DataFrame:
        """Restate both mixed models as leans of the families and differences between them.

        Parameters
        ----------
        prob : float, default 0.9
            Probability that the intervals cover.

        Returns
        -------
        pandas.DataFrame
            Columns ``spec``, ``estimand``, ``name``, ``framing``, ``category``, ``estimate``
            (ranks, positive towards the first category), ``se``, ``df``, ``t``, ``p``, ``lower``,
            ``upper``. Without rows where no mixed model could be estimated.

        Raises
        ------
        ValueBiasError
            If `prob` is not between 0 and 1.
        """
        if not 0 < prob < 1:
            raise ValueBiasError(f"prob={prob!r}; expected a probability between 0 and 1.")
        tables = [leans(fit, self.ranks, prob=prob) for fit in self._fits]
        return pd.concat(tables, ignore_index=True) if tables else from_rows([], columns=LEANS)

    def headline(self) -> Headline:
        """State the result of the paper's specification, and that with random slopes.

        Returns
        -------
        Headline
            A sentence or two, and the first row of :meth:`contrasts`.
        """
        frame = self.contrasts()
        if frame.empty:
            text = "No mixed model could be estimated; see the messages."
            return Headline(text, pd.Series(dtype=object), False)
        first = frame.drop_duplicates("spec")
        text = " ".join(sentence(row, self.ranks) for _, row in first.iterrows())
        return Headline(text, frame.iloc[0], True)

    def summary(self) -> pd.DataFrame:
        """Put the coefficients of both mixed models in one table.

        Returns
        -------
        pandas.DataFrame
            ``spec`` ("random intercept", "random slopes") and ``term``, then the columns of
            `mixed`. Without rows where no mixed model could be estimated.
        """
        tables = {INTERCEPT: self.mixed, SLOPES: self.mixed_slopes}
        parts = [
            frame.rename_axis("term").reset_index().assign(spec=spec)
            for spec, frame in tables.items()
        ]
        table = pd.concat(parts, ignore_index=True)
        return table[["spec", *table.columns.drop("spec")]]

    def __repr__(self) -> str:
        models, families = self.medians["model"].nunique(), self.medians["family"].nunique()
        return visible_lines(
            f"<valuebias.Classical of {models} models of {families} "
            f"famil{'y' if families == 1 else 'ies'}; print it for its tables>\n{self.headline()}"
        )

    def _repr_html_(self) -> str:
        """Show the headline and both mixed models' contrasts in a notebook."""
        columns = ["spec", "estimand", "name", "framing", "category", "estimate", "lower", "upper"]
        table = self.contrasts()
        first = table[table["framing"] == table["framing"].iloc[0]] if len(table) else table
        about = repr(self).partition(";")[0].lstrip("<")
        ranks = "In median ranks; 90% intervals."
        return as_html(about, str(self.headline()), first[[*columns, "p"]], ranks, *self.messages)

    def __str__(self) -> str:
        """Format the analysis as text, in the order of the paper."""
        sections = {
            f"Average median rank (1 = highest reward)\n{AVERAGES}": self.table,
            "Median ranks by framing": self.framing,
            "Mixed model, random intercept by model (the paper's)": self.mixed,
            "Mixed model, random category × framing effects by model": self.mixed_slopes,
            "Standard deviations": self.sd,
            "Type-II ANOVA (least squares)": self.anova,
            "Type-II Wald tests of the mixed models": self.anova_mixed,
            f"Permutation tests of Welch's t ({self.n_permutations} shuffles, seed {self.seed})":
                self._shuffles(),
            "Welch's t": self.welch,
            "Family labels permuted over models, and over bases where models share them: "
            "difference in mean lean (ranks)": self.family_permutation,
        }  # fmt: skip
        parts = [self.headline().text, *self.messages]
        parts += [f"{title}\n{as_text(frame)}" for title, frame in sections.items()]
        return visible_lines("\n\n".join(parts) + "\n")

    def _shuffles(self) -> pd.DataFrame:
        """Show the paper's p as a count: a p is not 0 because no shuffle was as large."""
        n = self.n_permutations
        shares = self.permutation["p.perm"].tolist()
        counts = ["" if np.isnan(p) else f"{round(p * n)}/{n}" for p in shares]
        table = self.permutation.assign(**{"p.perm": pd.Series(counts, dtype=object)})
        return table.rename(columns={"p.perm": "as large"})

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain lists and dicts, ready for JSON.

        Returns
        -------
        dict
            One entry per attribute, tables as lists of rows; what does not exist is None. Names
            have an ordinary hyphen, "Gemma - Llama".
        """
        names = ["table", "framing", "mixed", "mixed_slopes", "sd", "fits", "anova", "anova_mixed",
                 "permutation", "welch", "family_permutation", "medians"]  # fmt: skip
        tables = {name: getattr(self, name) for name in names} | {"contrasts": self.contrasts()}
        record: dict[str, Any] = {
            name: as_records(plain_names(table)) for name, table in tables.items()
        }
        record["messages"] = list(self.messages)
        record["n_permutations"], record["seed"] = self.n_permutations, self.seed
        return record


def classical(
    dataset: xr.Dataset,
    *,
    contrast: tuple[str, str] | None = None,
    n_permutations: int = 9999,
    seed: int = 0,
    progress: bool = True,
) -> Classical:
    """Analyse a dataset as Christian et al. (2026) did.

    Parameters
    ----------
    dataset : xarray.Dataset
        Scores that follow the contract (`valuebias.schema`). With models of one family, as pairs
        of two families are, the family's own lean is analysed and nothing compared.
    contrast : tuple of two str, optional
        Two categories to restrict the analysis to, the first as the reference; by default all.
        Ranks are taken over the whole lexicon either way.
    n_permutations : int, default 9999
        Shuffles of each permutation test; of labels of models or bases only where there are more
        than 20,000 ways to give them, which are otherwise gone through one by one.
    seed : int, default 0
        Seed of the shuffles.
    progress : bool, default True
        Show a progress bar over the permutation tests on standard error.

    Returns
    -------
    Classical
        Its tables, and messages about what could not be estimated.

    Raises
    ------
    ValueBiasError
        If the dataset breaks the contract, has fewer than two categories, `contrast`
        does not name two of its categories, or `n_permutations` or `seed` is out of range.

    Notes
    -----
    Source: Christian et al. 2026 (arXiv 2601.20838): ranks, medians, mixed model and permutation
    tests with Bonferroni correction of Figure 1; type-II ANOVA and Welch tests with a false
    discovery rate of Figure 2. Families and framings are in treatment coding, the first family in
    alphabetical order, the first category and positive prompts being the reference.

    What cannot be estimated (a mixed model with one model per family, say) comes back as a table
    without rows and a message; the rest is still answered.

    Examples
    --------
    >>> from valuebias import simulate
    >>> ds = simulate(n_models={"Gemma": 3, "Llama": 4}, n_prompts=12, n_words=60, seed=1)
    >>> result = classical(ds, n_permutations=99)
    >>> len(result.medians)
    168
    >>> result.mixed.index[-1]
    'family[Llama]:category[communion]:framing[negative]'
    """
    validate(dataset, min_categories=2)
    _check_numbers(n_permutations, seed)
    medians = median_ranks(dataset, contrast=contrast)
    fits, messages = _mixed_models(medians)
    anova, excuse = type_two(medians.frame())
    by_spec = {fit.spec: fit for fit in fits}
    empty = pd.DataFrame(columns=pd.Index(_FIT_COLUMNS, dtype=object))
    labels, unpermuted = family_permutations(
        medians, bases_of(dataset), n_permutations=n_permutations, seed=seed
    )
    return Classical(
        medians=medians.frame(),
        table=medians.table(),
        framing=medians.framing_summary(),
        mixed=by_spec[INTERCEPT].table if INTERCEPT in by_spec else empty,
        mixed_slopes=by_spec[SLOPES].table if SLOPES in by_spec else empty,
        sd=_stacked([fit.sd for fit in fits], ["spec", "group", "term", "sd"]),
        fits=_fit_frame(fits, medians),
        anova=anova,
        anova_mixed=_stacked(
            [fit.wald() for fit in fits], ["spec", "term", "Chisq", "Df", "Pr(>Chisq)"]
        ),
        permutation=permutation_tests(
            medians, n_permutations=n_permutations, seed=seed, progress=progress
        ),
        welch=welch_tests(medians),
        family_permutation=labels,
        messages=(*_notes(medians), *messages, *excuse, *unpermuted),
        n_permutations=n_permutations,
        seed=seed,
        ranks=medians,
        _fits=fits,
    )


def _check_numbers(n_permutations: int, seed: int) -> None:
    for name, value, least in (("n_permutations", n_permutations, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise ValueBiasError(f"{name}={value!r}; expected a whole number from {least} up.")


def _notes(medians: MedianRanks) -> Iterator[str]:
    gaps = int(np.isnan(medians.values).sum())
    if gaps:
        yield (
            f"{gaps} of {medians.values.size} median ranks do not exist, because no word of the "
            "category was scored for that model and prompt; the rest is analysed."
        )
    if len(medians.families) == 1:
        yield (
            f"All {len(medians.models)} models are of the family {medians.families[0]!r}, so there "
            "are no families to compare and no tests of their difference."
        )
    alone = [name for name in medians.families if medians.family.count(name) == 1]
    if alone:
        yield (
            f"One model only in {', '.join(alone)}: nothing is seen of how models of such a family "
            "differ, and what is said of the family rests on that model."
        )


def _mixed_models(medians: MedianRanks) -> tuple[tuple[MixedFit, ...], list[str]]:
    """Fit both specifications, or record why not."""
    fits, messages = [], []
    for spec in (INTERCEPT, SLOPES):
        try:
            fit = fit_mixed(medians, spec=spec)
        except ValueBiasError as error:
            messages.append(f"Mixed model, {spec}: not estimated. {error}")
        else:
            fits.append(fit)
            messages.extend(f"Mixed model, {spec}: {message}" for message in fit.messages)
    return tuple(fits), messages


def _fit_frame(fits: tuple[MixedFit, ...], medians: MedianRanks) -> pd.DataFrame:
    columns = ["spec", "logLik", "n", "models", "singular"]
    size = int((~np.isnan(medians.values)).sum()), len(medians.models)
    rows = [(fit.spec, fit.loglik, *size, fit.singular) for fit in fits]
    return from_rows([dict(zip(columns, row, strict=True)) for row in rows], columns=columns)


def _stacked(frames: list[pd.DataFrame], columns: list[str]) -> pd.DataFrame:
    return pd.concat(frames, ignore_index=True) if frames else from_rows([], columns=columns)
