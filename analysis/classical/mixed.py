"""The paper's linear mixed model, by restricted maximum likelihood (REML).

Median rank ~ family * category * framing, with a random intercept for each model (as in the paper)
or with a random effect of each model in every category × framing cell (so that prompts stop
counting as replicates of a model).

All that a model's rows say about the fixed effects and about the models is in their cell means, so
everything but the random-intercept fit, which is statsmodels', works on a models × cells table.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from statsmodels.regression.mixed_linear_model import MixedLM, MixedLMParams

from valuebias.analysis.classical.frames import from_rows
from valuebias.analysis.classical.medians import MedianRanks
from valuebias.analysis.classical.reml import (
    CellMeans,
    FixedEffects,
    Variances,
    fixed_effects,
    gls,
    shared_intercept,
    unstructured,
)
from valuebias.errors import ValueBiasError

__all__ = ["INTERCEPT", "SLOPES", "MixedFit", "fit_mixed"]

Array = NDArray[np.float64]

INTERCEPT = "random intercept"
"""Name of the paper's specification: every model shifts all its medians alike."""

_NO_SPREAD = 1e-9  # squared ranks; median ranks differ by a quarter or more, if at all

SLOPES = "random slopes"
"""Name of the specification in which every model has its own category × framing effects."""


@dataclass(frozen=True, eq=False)
class MixedFit:
    """A mixed model fitted to the median ranks."""

    spec: str  # `INTERCEPT` or `SLOPES`
    # Standard deviations, in ranks: columns ``spec``, ``group`` ("model" or "residual"), ``term``,
    # ``sd``.
    sd: pd.DataFrame
    # (random effect, random effect): correlations of the by-model effects, in the order of `sd`;
    # NaN where an SD is zero.
    correlation: Array
    # The maximised restricted log-likelihood, with the constant that nlme and lme4 use.
    loglik: float
    singular: bool  # whether the estimated covariance of the by-model effects is not of full rank
    messages: tuple[str, ...]  # what a reader should know about this fit
    effects: FixedEffects  # the terms, and the design of every family × cell
    beta: Array  # beta, cov: the fixed effects and their covariance, in the order of `table`
    cov: Array
    df_rows: int  # df_rows, df_models: nlme's degrees of freedom within models and between models
    df_models: int

    @cached_property
    def table(self) -> pd.DataFrame:
        """The fixed effects by term, as in R's nlme; for `SLOPES` also p values over models."""
        error = np.sqrt(np.diag(self.cov))
        only_family = [set(term) == {"family"} for term in self.effects.term_of]
        df = np.where(only_family, self.df_models, self.df_rows)
        t = self.beta / error
        table = pd.DataFrame(
            {
                "Value": self.beta,
                "Std.Error": error,
                "DF": df,
                "t-value": t,
                "p-value": 2 * stats.t.sf(np.abs(t), df),
            },
            index=pd.Index(self.effects.names, name="term", dtype=object),
        )
        if self.spec == SLOPES:
            table["DF(models)"] = self.df_models
            table["p-value(models)"] = 2 * stats.t.sf(np.abs(t), self.df_models)
        return table

    def wald(self) -> pd.DataFrame:
        """Test each term by type-II Wald χ², as R's ``car::Anova`` does for mixed models.

        Notes
        -----
        A term is tested after all terms but those that contain it: its χ² is the Wald statistic of
        the term together with those less the statistic of those alone. χ² takes the variances as
        known, so with few models its p values are somewhat too small.
        """
        rows = []
        for term in self.effects.terms:
            inside = [i for i, t in enumerate(self.effects.term_of) if set(t) > set(term)]
            of_term = [i for i, t in enumerate(self.effects.term_of) if t == term]
            chisq = max(0.0, self._quadratic(of_term + inside) - self._quadratic(inside))
            rows.append(
                {
                    "spec": self.spec,
                    "term": ":".join(term),
                    "Chisq": chisq,
                    "Df": len(of_term),
                    "Pr(>Chisq)": float(stats.chi2.sf(chisq, len(of_term))),
                }
            )
        return from_rows(rows)

    def _quadratic(self, columns: list[int]) -> float:
        if not columns:
            return 0.0
        beta = self.beta[columns]
        return float(beta @ np.linalg.solve(self.cov[np.ix_(columns, columns)], beta))


def fit_mixed(medians: MedianRanks, *, spec: str) -> MixedFit:
    """Fit the paper's mixed model to median ranks, by REML.

    Notes
    -----
    Source: `INTERCEPT` is ``nlme::lme(rank ~ family * category * framing, random = ~ 1 | model)``
    of Christian et al. 2026; `SLOPES` is ``random = ~ 0 + category:framing | model``.

    Degrees of freedom of nlme: rows − models − within-model terms, except for terms in which only
    the family varies, which have models − families. In `SLOPES` the former are far too many for the
    family interactions, whose replicates are the models, hence ``DF(models)`` beside them.

    Examples
    --------
    >>> from valuebias import simulate
    >>> ds = simulate(n_models={"Gemma": 2, "Llama": 2}, n_prompts=4, n_words=30, seed=1)
    >>> from valuebias.analysis.classical.medians import median_ranks
    >>> fit = fit_mixed(median_ranks(ds), spec=SLOPES)
    >>> fit.df_rows, fit.df_models
    (22, 2)
    """
    cells = _cell_means(medians)
    effects = fixed_effects(medians.families, medians.categories, medians.framings)
    _check_estimable(medians, cells, spec)
    if spec == INTERCEPT:
        variances = _random_intercept(medians, cells, effects)
        sd = {"(Intercept)": float(np.sqrt(variances.between[0, 0]))}
        correlation = np.ones((1, 1))
    else:
        variances = unstructured(cells, effects)
        spread = np.sqrt(np.diag(variances.between))
        sd = dict(zip(effects.cells, spread.tolist(), strict=True))
        scale = np.where(spread > 0, spread, np.nan)
        correlation = variances.between / np.outer(scale, scale)
    beta, cov, loglik, _ = gls(cells, effects, variances)
    between = sum(set(term) <= {"family"} for term in effects.term_of)
    df_models = len(medians.models) - between
    df_rows = cells.rows - len(medians.models) - (len(effects.names) - between)
    rows = [{"spec": spec, "group": "model", "term": t, "sd": v} for t, v in sd.items()]
    residual = float(np.sqrt(variances.residual))
    rows.append({"spec": spec, "group": "residual", "term": "", "sd": residual})
    return MixedFit(
        spec=spec,
        sd=from_rows(rows),
        correlation=correlation,
        loglik=loglik,
        singular=variances.singular,
        messages=variances.messages,
        effects=effects,
        beta=beta,
        cov=cov,
        df_rows=df_rows,
        df_models=df_models,
    )


def _cell_means(medians: MedianRanks) -> CellMeans:
    """Average the medians over the prompts of each framing; cells run category-fastest."""
    framing = np.asarray(medians.framing)
    blocks = [medians.values[:, framing == level] for level in medians.framings]
    counts = np.concatenate([(~np.isnan(b)).sum(axis=1) for b in blocks], axis=1)
    sums = np.concatenate([np.nansum(b, axis=1) for b in blocks], axis=1)
    means = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    split = np.split(means, len(blocks), axis=1)
    within = sum(
        float(np.nansum((b - m[:, None, :]) ** 2)) for b, m in zip(blocks, split, strict=True)
    )
    family = np.searchsorted(np.asarray(medians.families), np.asarray(medians.family))
    return CellMeans(means=means, counts=counts, within=within, family=family)


def _check_estimable(medians: MedianRanks, cells: CellMeans, spec: str) -> None:
    models, families = len(medians.models), len(medians.families)
    if models <= families:
        raise ValueBiasError(
            f"There are {models} models in {families} families, one each, so differences between "
            "models cannot be told from differences between families. Add a second model to some "
            "family."
        )
    seen = np.stack([(cells.counts[cells.family == g] > 0).any(axis=0) for g in range(families)])
    if not seen.all():
        g, k = np.argwhere(~seen)[0]
        framing, category = divmod(int(k), len(medians.categories))
        raise ValueBiasError(
            f"Family {medians.families[g]!r} has no score for {medians.categories[category]!r} "
            f"with {medians.framings[framing]} prompts, so the interactions cannot be estimated."
        )
    if not np.nanmax(medians.values) > np.nanmin(medians.values):
        raise ValueBiasError(
            "All median ranks are the same, so there is nothing to explain. Look at the scores: "
            "valuebias.audit lists prompts whose words all have one score."
        )
    if spec == SLOPES and cells.df_within < 1:
        raise ValueBiasError(
            "Every model has one median per category and framing, so its own effects cannot be "
            "told from the residual. Random slopes need two or more prompts of a framing."
        )
    if cells.rows <= len(cells.counts) + families * cells.counts.shape[1]:
        raise ValueBiasError(
            f"There are {cells.rows} median ranks, too few for the effects of {families} families "
            f"in {cells.counts.shape[1]} cells and of {models} models."
        )
    if not cells.within > 0 and (cells.df_within > 0 or not _varies(cells)):
        raise ValueBiasError(
            "No model's median ranks differ between prompts of one framing, so there is no "
            "residual to compare the effects with. Look at the scores, or use more words."
        )


def _varies(cells: CellMeans) -> bool:
    """Whether cell means differ beyond those of families in cells and those of models."""
    model, cell = np.nonzero(cells.counts > 0)
    family_cell = cells.family[model] * cells.counts.shape[1] + cell
    design = np.hstack([codes[:, None] == np.unique(codes) for codes in (model, family_cell)])
    means = cells.means[model, cell]
    fitted = design @ np.linalg.lstsq(design.astype(float), means, rcond=None)[0]
    return bool(((means - fitted) ** 2).sum() > _NO_SPREAD)


def _random_intercept(medians: MedianRanks, cells: CellMeans, effects: FixedEffects) -> Variances:
    """Fit by statsmodels, then refine the one variance ratio to the top of the same likelihood.

    MixedLM's optimisers leave standard errors good to 3e-5, and some of them stop at a variance of
    zero that is not the maximum.
    """
    ratio, complaints = _statsmodels_ratio(medians, cells, effects)
    variances = shared_intercept(cells, effects, start=ratio)
    return replace(variances, messages=_messages(variances, ratio, complaints))


def _messages(variances: Variances, ratio: float, complaints: list[str]) -> tuple[str, ...]:
    """Make the messages on a random intercept from statsmodels' ratio and warnings."""
    if variances.singular:
        return (
            "The variance between models is estimated as zero: beyond their family, the models' "
            "medians differ no more than prompts make them.",
        )
    if np.isclose(ratio * variances.residual, variances.between[0, 0], rtol=0.01):
        return ()
    said = "; ".join(complaints) or "nothing"
    return (
        "statsmodels stopped short of the maximum of the likelihood; the variance between models "
        f"was found by a direct search instead. It said: {said}",
    )


def _statsmodels_ratio(
    medians: MedianRanks, cells: CellMeans, effects: FixedEffects
) -> tuple[float, list[str]]:
    """Return statsmodels' ratio of the models' variance to the residual's, and its warnings."""
    framing = np.asarray([medians.framings.index(level) for level in medians.framing])
    model, prompt, category = np.nonzero(~np.isnan(medians.values))
    cell = framing[prompt] * len(medians.categories) + category
    mixed = MixedLM(
        medians.values[model, prompt, category],
        effects.design[cells.family[model], cell],
        groups=model,
    )
    start = MixedLMParams.from_components(
        fe_params=np.zeros(len(effects.names)), cov_re=np.array([[0.01]])
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            fitted = mixed.fit(reml=True, start_params=start, method=["bfgs"], gtol=1e-8)
        except np.linalg.LinAlgError as error:
            # A covariance on the edge of singularity; the direct search goes on without a guess.
            return 0.0, [str(error)]
    complaints = list(dict.fromkeys(str(entry.message) for entry in caught))
    return float(fitted.cov_re[0, 0] / fitted.scale), complaints
