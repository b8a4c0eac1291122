"""The same model of fewer data: without some models, or without a word.

Outcomes, the unit of the priors, the coding of the formula and the list of components stay those of
all data, so that a value of the parameters means the same.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from valuebias.analysis.design.components import word_spans
from valuebias.analysis.design.crossing import Crossing, as_design, word_axes
from valuebias.analysis.design.grouping import restrict_space
from valuebias.analysis.design.strata import make_strata, make_tables
from valuebias.analysis.hierarchical import Problem

__all__ = ["without_models", "without_word", "word_can_go"]

Index = NDArray[np.intp]


def without_models(problem: Problem, models: Index) -> Problem:
    """Leave out the models at some positions."""
    crossing = problem.crossing
    keep = np.setdiff1d(np.arange(crossing.shape[0]), models)
    design = crossing.design.of_models(keep)
    spans = [design.matrix[:, term.columns] for term in design.terms]
    return _with(
        problem,
        replace(
            crossing,
            y=crossing.y[keep],
            observed=crossing.observed[keep],
            design=design,
            space=restrict_space(crossing.space, keep, design.matrix, spans),
            models=crossing.models[keep],
        ),
    )


def without_word(problem: Problem, word: int) -> Problem:
    """Leave out the word at a position.

    Where words have covariates this is not quite the model of the other words: what of their
    categories the covariates explain is worked out without the word.
    """
    crossing = problem.crossing
    keep = np.delete(np.arange(crossing.shape[2]), word)
    loadings = crossing.loadings[keep]
    membership = as_design(loadings)
    covariates = crossing.covariates[keep]
    covariates = covariates - covariates.mean(axis=0)
    named = pd.DataFrame(loadings, columns=list(crossing.categories))
    basis, axes = word_axes(membership, named, covariates, crossing.covariate_names)
    observed = crossing.observed[:, :, keep]
    y = crossing.y[:, :, keep]
    level = y.sum(axis=2, keepdims=True) / np.maximum(observed.sum(axis=2, keepdims=True), 1)
    return _with(
        problem,
        replace(
            crossing,
            y=np.where(observed, y - level, 0.0),
            observed=observed,
            loadings=loadings,
            membership=membership,
            covariates=covariates,
            word_basis=basis,
            axes=axes,
            words=crossing.words[keep],
        ),
    )


def word_can_go(crossing: Crossing, word: int) -> bool:
    """Whether the other words still tell the categories and the covariates apart."""
    keep = np.delete(np.arange(crossing.shape[2]), word)
    described = np.column_stack([as_design(crossing.loadings[keep]), crossing.covariates[keep]])
    wanted = described.shape[1] - 1
    rank = int(np.linalg.matrix_rank(described - described.mean(axis=0)))
    return bool(rank == wanted and len(keep) > wanted + 2)


def _with(problem: Problem, crossing: Crossing) -> Problem:
    components = replace(
        problem.components,
        spans=word_spans(crossing),
        space=crossing.space,
        n_models=crossing.shape[0],
    )
    tables = make_tables(crossing, crossing.y)
    scales = problem.prior.coefficient_scales(crossing)
    strata = make_strata(crossing, components, tables, scales)
    return Problem(crossing, components, problem.prior, strata)
