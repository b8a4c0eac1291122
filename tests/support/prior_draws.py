"""Draw all that the hierarchical model has from its prior, and scores from that.

Written with the covariances of :mod:`dense`, cell by cell, none of the package's stratum algebra.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from dense import NESTED, Dense, Theta
from numpy.typing import NDArray
from scipy import linalg

from valuebias.analysis.design.crossing import Crossing
from valuebias.analysis.design.noise import (
    LEAST_NU,
    NU_RATE,
    NU_SHAPE,
    RESIDUAL_SPREAD,
    Factors,
    read_noise,
)
from valuebias.analysis.design.priors import Prior
from valuebias.analysis.hierarchical import Model, Problem, make_problem
from valuebias.schema import build

__all__ = ["DESIGNS", "Design", "Truth", "draw_truth", "fit_prior", "template"]

Array = NDArray[np.float64]

FRAMING = ("positive", "negative")
N_WORDS = {"agency": 8, "communion": 12}


@dataclass(frozen=True)
class Design:
    """A small layout of models, prompts and words.

    Attributes
    ----------
    bases : dict of str to tuple of int
        How many models stand on each base, by family.
    prompts : int
        How many prompts of each framing.
    missing : float
        Share of the cells that were not scored.
    words : str or None
        Formula over the words' coordinates.
    family, residual : str or None
        Of the residuals, as of :func:`valuebias.fit`.
    heavy_tails : tuple of str
        Whose effects are t distributed.
    """

    bases: dict[str, tuple[int, ...]]
    prompts: int = 3
    missing: float = 0.0
    words: str | None = None
    family: str = "gaussian"
    residual: str | None = None
    heavy_tails: tuple[str, ...] = ()


OWN = {"A": (1, 1, 1), "B": (1, 1, 1)}
SHARED = {"A": (2, 1), "B": (2, 2, 1)}
DESIGNS = {
    "complete": Design(OWN),
    "one prompt a framing": Design(OWN, prompts=1),
    "incomplete": Design(OWN, missing=0.15),
    "bases": Design(SHARED),
    "bases, incomplete": Design(SHARED, missing=0.15),
    "bases and a covariate": Design(SHARED, words="~ frequency"),
    "student": Design(OWN, family="student"),
    "residual by model": Design(OWN, residual="model"),
    "both, incomplete": Design(OWN, missing=0.15, family="student", residual="model"),
    "heavy tails": Design(OWN, heavy_tails=("words", "models")),
    "heavy tails, bases, incomplete": Design(
        SHARED, missing=0.15, family="student", heavy_tails=("words", "models", "bases")
    ),
}


@dataclass(frozen=True)
class Truth:
    """What was drawn.

    Attributes
    ----------
    dataset : Dataset
        Scores.
    parameters : dict of str to float
        By the names of :meth:`valuebias.Fit.draws`.
    words : Series
        What all models think of each word, signed by framing, relative to the mean of the words.
    """

    dataset: xr.Dataset
    parameters: dict[str, float]
    words: pd.Series


def template(design: Design) -> xr.Dataset:
    """Make a dataset of the design, with scores of no meaning."""
    models = pd.DataFrame(
        [
            {"family": family, "base": f"{family} {i + 1}", "stage": "reward"}
            for family, sizes in design.bases.items()
            for i, size in enumerate(sizes)
            for _ in range(size)
        ]
    )
    models.index = pd.Index([f"model {i + 1}" for i in range(len(models))])
    framing = FRAMING * design.prompts
    prompts = pd.DataFrame(
        {"text": [f"Prompt {i}?" for i in range(len(framing))], "framing": framing},
        index=[f"prompt {i}" for i in range(len(framing))],
    )
    kind = np.repeat(list(N_WORDS), list(N_WORDS.values()))
    member = pd.DataFrame(
        {c: kind == c for c in N_WORDS}, index=[f"word {i}" for i in range(len(kind))]
    )
    rng = np.random.default_rng(0)
    score = rng.standard_normal((len(models), len(framing), len(kind)))
    # The same cells every time: they are the design's.
    score[rng.random(score.shape) < design.missing] = np.nan
    ds = build(score, models=models, prompts=prompts, lexicon=member, responses=list(member.index))
    frequency = rng.standard_normal(len(kind)) + 0.5 * (kind == "agency")
    return ds.assign_coords(frequency=("response", frequency))


def fit_prior(dataset: xr.Dataset, prior: Prior, names: list[str]) -> Prior:
    """Give the prior whose scales on these scores are those of ``prior`` on scores of SD 1."""
    score = dataset["score"].astype(float)
    squares = (score - score.mean("response")) ** 2
    unit = float(np.sqrt(squares.mean()))
    sd = {name: prior.sd_of(name) / unit for name in names}
    return replace(prior, sd=sd, mean=prior.mean / unit, effect=prior.effect / unit)


def draw_truth(design: Design, prior: Prior, seed: int) -> Truth:
    """Draw variances, coefficients and effects, and scores from them."""
    rng = np.random.default_rng(seed)
    empty = template(design)
    model = Model("~ family", "raw", words=design.words)
    problem = make_problem(empty, model, prior, scale=1.0)
    theta = _draw_theta(problem, prior, rng)
    dense = Dense(problem, theta)
    crossing, n_categories = problem.crossing, len(problem.crossing.categories)
    coefficient = dense.scales[:, None, None] * rng.standard_normal(
        (dense.design.shape[1], 2, dense.described.shape[1])
    )
    fixed = np.einsum("mq,qfk->mfk", dense.design, coefficient)
    score = fixed[:, crossing.framing] @ dense.described.T
    leans, of_bases = fixed[..., :n_categories].copy(), np.zeros_like(fixed[..., :n_categories])
    by_word = np.einsum("mfk,wk->mfw", fixed, dense.described)
    of_noise, factors = _draw_noise(design, crossing.models, rng)
    tailed = problem.components.tailed(design.heavy_tails)
    of_noise |= {f"nu[{name}]": _draw_nu(rng) for name in tailed}
    for name in dense.names:
        effect, columns = _draw_effect(dense, name, rng)
        if name == "residual":
            factors.scale(effect, rng)
        if name in tailed:
            effect *= _draw_mixture(name, of_noise[f"nu[{name}]"], crossing, rng)
        score = score + effect @ columns.T
        owner, _, what = name.rpartition("_")
        if what == "category" and owner in ("model", "base"):
            first = _by_framing(crossing, effect)
            leans += first
            of_bases += first * (owner == "base")
        if name == "word" or name.startswith("word:"):
            by_word += _by_framing(crossing, effect)
    score += 3 * rng.standard_normal(score.shape[:2])[..., None]
    values = np.where(np.isnan(empty["score"]), np.nan, score).astype(np.float32)
    described = _Described(problem, fixed[..., :n_categories], leans, of_bases)
    word = np.einsum("f,mfw->w", SIGN, by_word) / len(by_word)
    return Truth(
        empty.assign(score=(empty["score"].dims, values)),
        _variances(problem, theta) | of_noise | described.means() | described.contrasts(),
        pd.Series(word - word.mean(), index=crossing.words),
    )


def _draw_noise(
    design: Design, models: pd.Index, rng: np.random.Generator
) -> tuple[dict[str, float], Factors]:
    """Draw what else residuals are like, by the names of parameters."""
    out: dict[str, float] = {}
    nu = spread = 0.0
    if design.family == "student":
        out["nu[residual]"] = nu = _draw_nu(rng)
    if design.residual == "model":
        spread = out["residual_spread[model]"] = abs(RESIDUAL_SPREAD * rng.standard_normal())
    noise = read_noise(design.family, design.residual)
    factors = noise.factors(nu, spread, len(models), rng)
    if design.residual == "model":
        out |= {f"residual_factor[{m}]": x for m, x in zip(models, factors.by_model, strict=True)}
    return out, factors


def _draw_nu(rng: np.random.Generator) -> float:
    nu = 0.0
    while nu < LEAST_NU:
        nu = rng.gamma(NU_SHAPE, 1 / NU_RATE)
    return nu


def _draw_mixture(name: str, nu: float, crossing: Crossing, rng: np.random.Generator) -> Array:
    """Draw by how much each word, model or base departs, (model, 1, 1) or (1, 1, word)."""
    n_models, _, n_words = crossing.shape

    def draw(n: int) -> Array:
        return np.sqrt(nu / rng.chisquare(nu, n))

    if name.startswith("word"):
        return draw(n_words)[None, None]
    labels = np.arange(n_models)
    if name.startswith("base"):
        labels = np.unique(crossing.design.models["base"].astype(str), return_inverse=True)[1]
    return draw(labels.max() + 1)[labels][:, None, None]


SIGN = np.array([0.5, -0.5])


def _draw_theta(problem: Problem, prior: Prior, rng: np.random.Generator) -> Theta:
    components = problem.components
    scales = np.array([prior.sd_of(name) for name in components.names])
    sd = np.abs(scales[:, None] * rng.standard_normal((len(scales), 2)))
    unit = rng.beta(prior.correlation, prior.correlation, len(components.correlated))
    n_kinds = len(components.space.kinds)
    logs = np.zeros((2, max(n_kinds, 1)))
    if n_kinds:
        logs = prior.spread * rng.standard_normal((2, n_kinds - 1)) @ linalg.helmert(n_kinds)
    return Theta(components, sd, 2 * unit - 1, np.exp(logs))


def _draw_effect(dense: Dense, name: str, rng: np.random.Generator) -> tuple[Array, Array]:
    """Draw one component's effects (model, prompt, column), and the columns over words."""
    models, words = dense.sides(name)
    choices = (np.eye(len(words)), dense.member, dense.covariates)
    columns = next(c for c in choices if np.allclose(c @ c.T, words))
    shape = (len(models), len(dense.framing), columns.shape[1])
    left, right = _root(models), _root(dense.over_prompts(name))
    return np.einsum("am,bp,mpk->abk", left, right, rng.standard_normal(shape)), columns


def _root(covariance: Array) -> Array:
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(np.maximum(values, 0))


def _by_framing(crossing: Any, effect: Array) -> Array:
    """Take an effect that all prompts of a framing share: (model, framing, column)."""
    return np.stack([effect[:, crossing.prompts_of(f)[0]] for f in (0, 1)], axis=1)


def _variances(problem: Problem, theta: Theta) -> dict[str, float]:
    components, framings = problem.components, problem.crossing.framings
    out = {
        f"sd[{name}, {framing}]": theta.sd[c, f]
        for c, name in enumerate(components.names)
        for f, framing in enumerate(framings)
    }
    joint = [name for name in components.names if name not in NESTED]
    out |= {f"correlation[{name}]": theta.correlation[c] for c, name in enumerate(joint)}
    return out | {
        f"spread[{level}, {kind}]": theta.spread[i, k]
        for i, level in enumerate(("category", "word"))
        for k, kind in enumerate(components.space.kinds)
    }


@dataclass(frozen=True)
class _Described:
    """Leans (model, framing, category): of families, of models, and what of these is a base's."""

    problem: Problem
    families: Array
    models: Array
    bases: Array

    @property
    def _first(self) -> dict[str, int]:
        """The first model of each family."""
        families = self.problem.crossing.design.models["family"].tolist()
        return {family: families.index(family) for family in dict.fromkeys(families)}

    def means(self) -> dict[str, float]:
        crossing = self.problem.crossing
        of = {family: self.families[m] for family, m in self._first.items()}
        # The design's columns sum to zero over families, whatever their numbers of models.
        of["all models"] = self.families.mean(axis=0)
        return {
            f"mean[{who}, {framing}, {category}]": value[f, c] - value[f].mean()
            for who, value in of.items()
            for f, framing in enumerate(crossing.framings)
            for c, category in enumerate(crossing.categories)
        }

    def contrasts(self) -> dict[str, float]:
        """Name signed differences between the two categories."""
        crossing = self.problem.crossing

        def signed(leans: Array) -> float:
            return float(SIGN @ (leans[:, 0] - leans[:, 1]))

        of = {family: signed(self.families[m]) for family, m in self._first.items()}
        (first, one), (second, other) = of.items()
        out = {("family difference", f"{first} - {second}"): one - other}
        out |= {("family lean", family): lean for family, lean in of.items()}
        for m, name in enumerate(crossing.models):
            out["model lean", str(name)] = signed(self.models[m])
        if crossing.space.group("base") is not None:
            for m, base in enumerate(crossing.design.models["base"]):
                out["base lean", str(base)] = signed(self.families[m] + self.bases[m])
        between = " - ".join(crossing.categories)
        return {f"{kind} | {name} | signed | {between}": v for (kind, name), v in out.items()}
