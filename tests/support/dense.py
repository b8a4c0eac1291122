"""The hierarchical model written out cell by cell, with none of the package's stratum algebra.

Every random effect has a covariance between cells that is a product over the three sides: which
models share it, which prompts, which words. A dense multivariate normal of all cells follows, and
from it, by textbook conditioning, whatever the package computes by shortcuts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import linalg

from valuebias.analysis.design.components import Components, make_components
from valuebias.analysis.design.crossing import Crossing, make_crossing
from valuebias.analysis.design.formula import parse_formula
from valuebias.analysis.design.grouping import plain_group
from valuebias.analysis.design.priors import Prior
from valuebias.analysis.design.strata import make_strata, make_tables
from valuebias.analysis.hierarchical import Problem
from valuebias.analysis.sampling.density import Posterior, pack_strata

Array = NDArray[np.float64]

NESTED = (
    "prompt_category", "model_prompt", "prompt_word", "residual", "prompt_covariate",
    "model_prompt_covariate",
)  # fmt: skip
PROMPTS = ("positive", "positive", "positive", "positive", "negative", "negative")
FAMILIES = ("A", "A", "B", "B", "B")
# Every one of three numerators with every one of two denominators.
PAIRS = tuple((a, b) for a in "abc" for b in "xy")
# Base, seed and step: two checkpoints of each of three runs; and runs of unequal length.
RUNS = tuple((base, seed, step) for base, seed in ("a1", "a2", "b1") for step in (1, 2))
UNEVEN = tuple(
    (b, s, t) for b, s, n in (("a", "1", 3), ("b", "1", 1), ("c", "1", 2)) for t in range(n)
)
# Two models on one base, three on another, one on a third; and a recipe that crosses the bases.
BASES = ("a1", "a1", "b1", "b1", "b1", "b2")
RECIPES = ("r", "s", "r", "s", "s", "r")
OF_BASES = "AABBBB"
GROUPED: dict[str, dict[str, object]] = {
    "bases": {"families": OF_BASES, "groups": {"base": BASES}},
    "bases of families with spreads": {
        "families": OF_BASES, "groups": {"base": BASES}, "spread": True,
    },
    "families with spreads": {"families": "AABBBC", "spread": True, "formula": "~ family + size"},
    "bases and recipes": {
        "families": OF_BASES, "groups": {"base": BASES, "recipe": RECIPES}, "spread": True,
    },
    "one base a family": {"families": OF_BASES, "groups": {"base": OF_BASES}},
    "covariates": {"covariates": 2},
    "bases and a covariate, one framing": {
        "families": OF_BASES, "groups": {"base": BASES}, "spread": True, "covariates": 1,
        "framing": ("negative",) * 3,
    },
}  # fmt: skip
"""Models that share something, families that differ in spread, words with covariates."""
# Nine words, the fifth in two categories.
CATEGORIES = ("x", "x", "x", "x", "xy", "y", "y", "z", "z")


def make_problem(
    *,
    formula: str = "~ family",
    families: Sequence[str] = FAMILIES,
    framing: Sequence[str] = PROMPTS,
    words: Sequence[str] = CATEGORIES,
    missing: Sequence[tuple[int | slice, int | slice, int | slice]] = (),
    pairs: Sequence[tuple[str, str]] | None = None,
    runs: Sequence[tuple[str, str, int]] | None = None,
    groups: dict[str, Sequence[str]] | None = None,
    spread: bool = False,
    covariates: int = 0,
    prior: Prior | None = None,
    seed: int = 0,
) -> Problem:
    """Make a small crossing with scores of no particular structure."""
    rng = np.random.default_rng(seed)
    categories = sorted(set("".join(words)))
    member = pd.DataFrame(
        [[c in w for c in categories] for w in words],
        index=[f"word {i}" for i in range(len(words))],
        columns=categories,
    )
    models = pd.DataFrame(
        {"family": list(families), "size": np.arange(len(families)) ** 2 + 1.0},
        index=[f"model {i}" for i in range(len(families))],
    )
    if pairs is not None:
        models[["numerator", "denominator"]] = pairs
    if runs is not None:
        models[["base", "seed", "step"]] = runs
        models["step"] = models["step"].astype(float)
        models[["source", "n_pairs"]] = [("s", 100)] * len(runs)
    models = models.assign(**{name: list(labels) for name, labels in (groups or {}).items()})
    described = np.random.default_rng(seed + 1).exponential(size=(len(words), covariates))
    shape = (len(families), len(framing), len(words))
    cube = rng.standard_normal(shape) + rng.standard_normal((shape[0], 1, shape[2]))
    cube += 3 * rng.standard_normal(shape[:2])[..., None]
    for place in missing:
        cube[place] = np.nan
    crossing = make_crossing(
        cube,
        parse_formula(formula, models),
        np.array(framing),
        member,
        pd.Index([f"prompt {i}" for i in range(len(framing))]),
        groups=tuple(plain_group(name, labels) for name, labels in groups.items())
        if groups
        else None,
        spread=spread,
        covariates=pd.DataFrame(described) if covariates else None,
    )
    return as_problem(crossing, prior or Prior())


def as_problem(crossing: Crossing, prior: Prior) -> Problem:
    components = make_components(crossing)
    scales = prior.coefficient_scales(crossing)
    tables = make_tables(crossing, crossing.y)
    return Problem(crossing, components, prior, make_strata(crossing, components, tables, scales))


def posterior_of(problem: Problem) -> Posterior:
    return problem.posterior(problem.strata)


def packed_of(problem: Problem):
    return pack_strata(problem.strata)


@dataclass(frozen=True)
class Theta:
    """One value of the variance parameters."""

    components: Components
    sd: Array  # (component, framing)
    correlation: Array  # (correlated component,)
    spread: Array  # (level, kind), factors whose logarithms sum to zero over kinds

    @property
    def v(self) -> Array:
        return self.components.variances(self.sd, self.correlation, self.spread)


def some_theta(components: Components, rng: np.random.Generator) -> Theta:
    sd = np.exp(rng.uniform(-1.5, 0.5, (len(components.names), components.n_framings)))
    correlation = rng.uniform(-0.9, 0.9, len(components.correlated))
    logs = rng.uniform(-0.7, 0.7, (2, max(len(components.space.kinds), 1)))
    return Theta(components, sd, correlation, np.exp(logs - logs.mean(axis=1, keepdims=True)))


def unconstrained(theta: Theta) -> Array:
    contrasts = theta.components.spread_contrasts
    return np.concatenate(
        [
            np.log(theta.sd.ravel()),
            2 * np.arctanh(theta.correlation),
            (np.log(theta.spread) @ contrasts).ravel(),
        ]
    )


class Dense:
    """The joint distribution of all cells, and of the effects with the cells, at one ``theta``."""

    def __init__(self, problem: Problem, theta: Theta) -> None:
        crossing = problem.crossing
        self.crossing, self.theta = crossing, theta
        self.names = problem.components.names
        self.scales = problem.coefficient_scales
        self.design = crossing.design.matrix
        self.covariates = crossing.covariates
        member = crossing.membership - crossing.membership.mean(axis=0)
        # What of the categories the covariates do not explain.
        self.member = member - self.covariates @ np.linalg.lstsq(self.covariates, member)[0]
        self.framing = crossing.framing
        self.n = crossing.y.size

    def over_framings(self, name: str) -> Array:
        """Covariance between framings of a component's effect."""
        c = self.names.index(name)
        sd = self.theta.sd[c]
        out = np.diag(sd**2)
        if name not in NESTED and len(sd) == 2:
            out[0, 1] = out[1, 0] = self.theta.correlation[c] * sd[0] * sd[1]
        return out

    def over_prompts(self, name: str) -> Array:
        covariance = self.over_framings(name)
        if name in NESTED:
            return np.diag(np.diag(covariance)[self.framing])
        return covariance[np.ix_(self.framing, self.framing)]

    def sides(self, name: str) -> tuple[Array, Array]:
        """Which models and which words share an effect."""
        m, _, w = self.crossing.shape
        everyone, nobody = np.ones((m, m)), np.eye(m)
        by_category, by_word = self.member @ self.member.T, np.eye(w)
        by_covariate = self.covariates @ self.covariates.T
        if name.startswith("word:"):
            term = next(t for t in self.crossing.design.terms if f"word:{t.name}" == name)
            columns = self.design[:, term.columns]
            return columns @ columns.T, by_word
        owner, _, kind = name.rpartition("_")
        by_kind = {"category": by_category, "covariate": by_covariate, "word": by_word}
        groups = {group.name: group for group in self.crossing.space.groups}
        if owner in ("model", *groups) and kind in by_kind:
            shared = nobody
            if owner in groups:
                labels = groups[owner].labels
                shared = (labels[:, None] == labels).astype(float)
            return self.spread_out(owner, shared, kind), by_kind[kind]
        return {
            "word": (everyone, by_word),
            "prompt_category": (everyone, by_category),
            "model_prompt": (nobody, by_category),
            "prompt_covariate": (everyone, by_covariate),
            "model_prompt_covariate": (nobody, by_covariate),
            "prompt_word": (everyone, by_word),
            "residual": (nobody, by_word),
        }[name]

    def spread_out(self, owner: str, shared: Array, kind: str) -> Array:
        """Multiply by the families' factors what has them: models, and bases of one family."""
        space = self.crossing.space
        if not space.kinds or owner not in ("model", "base"):
            return shared
        factor = self.theta.spread[int(kind == "word")][space.kind_of]
        across = shared * (space.kind_of[:, None] != space.kind_of)
        return shared if across.any() else shared * np.outer(factor, factor)

    @property
    def described(self) -> Array:
        """What describes the words: memberships, then covariates."""
        return np.column_stack([self.member, self.covariates])

    def component(self, name: str) -> Array:
        """Covariance between all cells of one component."""
        models, words = self.sides(name)
        return np.kron(np.kron(models, self.over_prompts(name)), words)

    @property
    def coefficients(self) -> Array:
        """Covariance between all cells of the formula's part, over its prior."""
        models = self.design @ np.diag(self.scales**2) @ self.design.T
        prompts = (self.framing[:, None] == self.framing).astype(float)
        words = self.member @ self.member.T + self.covariates @ self.covariates.T
        return np.kron(np.kron(models, prompts), words)

    @cached_property
    def covariance(self) -> Array:
        """Covariance between all cells, levels aside."""
        return self.coefficients + sum(self.component(name) for name in self.names)

    def log_likelihood(self, y: Array | None = None, observed: Array | None = None) -> float:
        """Density of the observed cells but for the level of each model × prompt."""
        basis, seen = self.free_of_levels(observed)
        values = (self.crossing.y if y is None else y).ravel()[seen]
        covariance = basis.T @ self.covariance[np.ix_(seen, seen)] @ basis
        root = np.linalg.cholesky(covariance)
        z = linalg.solve_triangular(root, basis.T @ values, lower=True)
        return float(-np.log(np.diag(root)).sum() - 0.5 * z @ z - 0.5 * len(z) * np.log(2 * np.pi))

    def free_of_levels(self, observed: Array | None = None) -> tuple[Array, NDArray[np.intp]]:
        """Orthonormal basis of what is left once each model × prompt has its own level."""
        mask = self.crossing.observed if observed is None else observed
        counts = mask.sum(axis=2).ravel()
        # A lone cell of a model × prompt tells its level only: it has a row and no column.
        blocks = [linalg.helmert(n).T for n in counts if n]
        return linalg.block_diag(*blocks), np.flatnonzero(mask.ravel())

    def precision(self) -> Array:
        """``A (AᵀVA)⁻¹ Aᵀ`` of the observed cells, put in its place among all cells."""
        basis, seen = self.free_of_levels()
        inner = np.linalg.inv(basis.T @ self.covariance[np.ix_(seen, seen)] @ basis)
        out = np.zeros((self.n, self.n))
        out[np.ix_(seen, seen)] = basis @ inner @ basis.T
        return out

    def condition(self, with_cells: Array, own: Array, y: Array | None = None):
        """Mean and covariance of effects given the cells.

        ``with_cells`` (effect, cell) is the effects' covariance with the cells, ``own`` among them.
        """
        precision = self.precision()
        values = (self.crossing.y if y is None else y).ravel()
        mean = with_cells @ precision @ values
        return mean, own - with_cells @ precision @ with_cells.T

    # Effects by name, each with its covariance with the cells and its own covariance.

    def coefficient_effects(self, contrasts: Array):
        """Contrast × framing × column of the coefficients, with what the cells share of them.

        ``contrasts`` weigh categories, or categories and then covariates.
        """
        n_framings = len(self.crossing.framings)
        with_cells, own = [], []
        for q in range(self.design.shape[1]):
            for f in range(n_framings):
                for k in contrasts:
                    prompts = (self.framing == f).astype(float)
                    words = self.described[:, : len(k)] @ k
                    with_cells.append(
                        self.scales[q] ** 2 * cells(self.design[:, q], prompts, words)
                    )
                    own.append((q, f, k))
        gram = np.array(
            [
                [
                    (a[0] == b[0]) * (a[1] == b[1]) * self.scales[a[0]] ** 2 * (a[2] @ b[2])
                    for b in own
                ]
                for a in own
            ]
        )
        return np.array(with_cells), gram

    def word_effects(self, functionals: Array):
        """Functionals (functional, word) of the words' effects, by design column and framing."""
        n_framings = len(self.crossing.framings)
        labels = [
            (q, f, k)
            for q in range(self.design.shape[1])
            for f in range(n_framings)
            for k in functionals
        ]
        names = []
        for term in self.crossing.design.terms:
            names += ["word" if term.name == "mean" else f"word:{term.name}"] * term.size
        with_cells = [
            cells(self.design[:, q], self.over_framings(names[q])[f][self.framing], k)
            for q, f, k in labels
        ]
        gram = np.array(
            [
                [
                    (a[0] == b[0]) * self.over_framings(names[a[0]])[a[1], b[1]] * (a[2] @ b[2])
                    for b in labels
                ]
                for a in labels
            ]
        )
        return np.array(with_cells), gram

    def model_effects(self, contrasts: Array):
        """Contrast × framing × model of the models' own leans, all that make them up summed."""
        n_models, n_framings = self.crossing.shape[0], len(self.crossing.framings)
        labels = [(m, f, k) for m in range(n_models) for f in range(n_framings) for k in contrasts]
        with_cells, gram = np.zeros((len(labels), self.n)), np.zeros((len(labels),) * 2)
        for name in self.names:
            owner, _, kind = name.rpartition("_")
            if kind != "category" or owner == "prompt":
                continue
            covariance, (shared, _) = self.over_framings(name), self.sides(name)
            with_cells += [
                cells(shared[m], covariance[f][self.framing], self.member @ k) for m, f, k in labels
            ]
            gram += [
                [shared[a[0], b[0]] * covariance[a[1], b[1]] * (a[2] @ b[2]) for b in labels]
                for a in labels
            ]
        return with_cells, gram


def cells(models: Array, prompts: Array, words: Array) -> Array:
    """Outer product of the three sides, flat."""
    return np.einsum("m,p,w->mpw", models, prompts, words).ravel()


def stack(*effects: tuple[Array, Array]) -> tuple[Array, Array]:
    """Put independent effects (covariance with the cells, own covariance) side by side."""
    return np.concatenate([e[0] for e in effects]), linalg.block_diag(*(e[1] for e in effects))


def assert_drawn_from(draws: Array, mean: Array, covariance: Array, sigmas: float = 5.0) -> None:
    """Check that ``draws`` (draw, item) have a Gaussian's mean and covariance.

    In the directions in which the covariance has any size the whitened draws must have mean 0 and
    covariance 1 within Monte-Carlo error; in the others they must not vary.
    """
    n = len(draws)
    values, vectors = np.linalg.eigh(covariance)
    real = values > 1e-9 * values.max()
    rotated = (draws - mean) @ vectors
    still = np.abs(rotated[:, ~real]).max(initial=0.0)
    assert still < 1e-4 * np.sqrt(values.max()), still
    z = rotated[:, real] / np.sqrt(values[real])
    assert np.abs(z.mean(axis=0)).max() < sigmas / np.sqrt(n)
    off = np.abs(z.T @ z / n - np.eye(z.shape[1]))
    assert np.diag(off).max() < sigmas * np.sqrt(2 / n)
    assert off.max() < sigmas * np.sqrt(2 / n)
