"""Every random effect on its own: drawn given a complete cube, and stretched to fit scores.

A component is ``L u R'`` on each prompt: L is over models, R over words, and u has an entry by
framing, where its framings are correlated, or by prompt.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from valuebias.analysis.design.components import Component, Components
from valuebias.analysis.design.crossing import Crossing
from valuebias.analysis.design.grouping import OWN
from valuebias.analysis.estimands.smoother import Fields, Smoother

__all__ = ["Part", "draw_apart", "draw_parts", "make_parts", "parts_at", "stretches"]

Array = NDArray[np.float64]

# Squared error of conjugate gradients over all cells, in residual variances, and most steps.
_ERROR, _MOST = 0.1, 500


@dataclass(frozen=True)
class Part:
    """The two sides of a component, and its covariance over framings."""

    name: str
    joint: bool  # whether effects are by framing, not by prompt
    over_models: Array  # (model, column)
    over_words: Array | None  # (word, column); None where each word has its own
    covariance: Array  # (framing, framing)
    spread: int = -1  # which of the factors by family multiplies it; −1 where none does

    def draw(self, crossing: Crossing, rng: np.random.Generator) -> Array:
        """Draw the effects from their prior, (column, framing or prompt, column)."""
        n_words = crossing.shape[2] if self.over_words is None else self.over_words.shape[1]
        n = len(self.covariance) if self.joint else crossing.shape[1]
        noise = rng.standard_normal((self.over_models.shape[1], n, n_words))
        return self._times(crossing, _root(self.covariance), noise)

    def project(self, crossing: Crossing, cube: Array) -> Array:
        """Multiply a cube by the covariance of the effects with it."""
        out = np.tensordot(self.over_models.T, cube, 1)
        if self.joint:
            groups = [crossing.prompts_of(f) for f in range(len(crossing.framings))]
            out = np.stack([out[:, g].sum(axis=1) for g in groups], axis=1)
        out = out if self.over_words is None else out @ self.over_words
        return self._times(crossing, self.covariance, out)

    def _times(self, crossing: Crossing, matrix: Array, effects: Array) -> Array:
        if self.joint:
            return np.asarray(matrix @ effects)
        return np.asarray(np.diag(matrix)[crossing.framing][:, None] * effects)

    def cube(self, crossing: Crossing, effects: Array) -> Array:
        """Write the effects out over the cube (model, prompt, word)."""
        if self.over_words is not None:
            effects = effects @ self.over_words.T
        out = np.tensordot(self.over_models, effects, 1)
        return np.asarray(out[:, crossing.framing] if self.joint else out)


def make_parts(crossing: Crossing, components: Components, scales: Array) -> list[Part]:
    """List all components but the residual, then the coefficients, of prior SDs ``scales``."""
    n_models, design = crossing.shape[0], crossing.design
    every = np.ones((n_models, 1))
    by_owner = {OWN: np.eye(n_models), "prompt": every, "word": every}
    by_owner |= {group.name: group.indicators for group in crossing.space.groups}
    by_owner |= {f"word:{term.name}": design.matrix[:, term.columns] for term in design.terms[1:]}
    roots = crossing.word_basis * np.sqrt(crossing.axis_weight)
    axes = {
        kind: roots[:, [axis.kind == kind for axis in crossing.axes]]
        for kind in ("category", "covariate")
    }

    def part(one: Component) -> Part:
        name = {"model_prompt": f"{OWN}_category", "model_prompt_covariate": f"{OWN}_covariate"}
        owner, _, level = name.get(one.name, one.name).rpartition("_")
        of_words = one.name in by_owner
        side = by_owner[one.name if of_words else owner]
        words = None if of_words else axes.get(level)
        return Part(one.name, one.joint, side, words, eye, one.spread)

    eye = np.eye(len(crossing.framings))
    parts = [part(one) for one in components.members if one.name != "residual"]
    return [*parts, Part("coefficient", True, design.matrix * scales, roots, eye)]


def parts_at(parts: list[Part], smoother: Smoother, spread: Array) -> list[Part]:
    """Give the parts their variances at a smoother's, families' factors apart."""
    out = []
    for part in parts:
        if part.name in smoother.components:
            covariance = smoother.components.covariance(part.name, smoother.v)
            side = part.over_models
            if part.spread >= 0:
                factors = spread[part.spread]
                covariance = covariance / factors[0] ** 2  # which is of the first family
                side = side * factors[smoother.crossing.space.kind_of][:, None]
            part = replace(part, over_models=side, covariance=covariance)
        out.append(part)
    return out


def draw_parts(
    parts: list[Part], smoother: Smoother, precision: Array, spread: Array, rng: np.random.Generator
) -> list[Array]:
    """Draw each part, as a cube; see :func:`draw_apart`."""
    return draw_apart(parts, smoother, precision, spread, rng)[1]


def draw_apart(
    parts: list[Part],
    smoother: Smoother,
    precision: Array,
    spread: Array,
    rng: np.random.Generator,
    known: Array | float = 0.0,
) -> tuple[list[Array], list[Array]]:
    """Draw each part's effects and cube, given the scores, which have a ``precision`` each.

    By Matheron's rule: each is drawn from its prior, and corrected by how far their sum, with noise
    of its own, is from the scores. ``spread`` (spread, kind) are the factors of families' SDs;
    ``known`` is what something else makes of the scores.
    """
    crossing, ready = smoother.crossing, parts_at(parts, smoother, spread)
    drawn = [part.draw(crossing, rng) for part in ready]
    surprise = rng.standard_normal(precision.shape)
    surprise /= np.sqrt(np.where(precision > 0, precision, 1.0))
    surprise += crossing.y
    surprise -= known
    for part, one in zip(ready, drawn, strict=True):
        surprise -= part.cube(crossing, one)
    weighed = _weigh(smoother, surprise, precision)
    effects = [
        one + part.project(crossing, weighed) for part, one in zip(ready, drawn, strict=True)
    ]
    cubes = [part.cube(crossing, one) for part, one in zip(ready, effects, strict=True)]
    return effects, cubes


def _weigh(smoother: Smoother, cube: Array, precision: Array) -> Array:
    """Multiply scores by the inverse of their covariance, levels of any size in it.

    Scores z of one residual variance c, no less precise than these, have it in closed form; those
    that stand for the scores solve ``z = share · score + (1 − share) · smooth(z)`` with the share
    c times the precision, which is 0 where a score is missing. Conjugate gradients take a dozen
    steps where precisions differ tenfold.
    """
    core = smoother.residual[smoother.crossing.framing][:, None]
    share = np.minimum(precision * core, 1.0)
    rest = np.sqrt(1 - share)
    known = share * cube
    left = rest * _smooth(smoother, known)
    solution, direction = np.zeros_like(left), left.copy()
    size = float(np.vdot(left, left / core))
    enough = max(_ERROR, 1e-14 * size)
    for _ in range(_MOST):
        if size <= enough:
            break
        image = direction - rest * _smooth(smoother, rest * direction)
        step = size / np.vdot(direction / core, image)
        solution += step * direction
        left -= step * image
        before, size = size, float(np.vdot(left, left / core))
        direction *= size / before
        direction += left
    known += rest * solution
    known -= _smooth(smoother, known)
    known /= core
    return np.asarray(known)


def _smooth(smoother: Smoother, cube: Array) -> Array:
    crossing = smoother.crossing
    groups = [crossing.prompts_of(f) for f in range(len(crossing.framings))]
    mean = np.array([cube[:, g].sum(axis=1) / np.sqrt(len(g)) for g in groups])
    shared = cube.sum(axis=0) / np.sqrt(len(cube))
    margins = Fields(mean, shared, cube @ crossing.word_basis, cube.sum(axis=2))
    return smoother.spread(smoother.mean(margins))


def stretches(
    cubes: list[Array], left: Array, precision: Array, tightness: Array, rng: np.random.Generator
) -> Array:
    """Draw by how much to multiply each of some effects so that they fit the scores of one framing.

    A part's SD with its effects in units of that SD has a half-normal prior, and the scores are
    linear in it: taken with its sign it is normal, all jointly. ``left`` is what other effects
    leave of the scores, ``precision`` of each score; levels are integrated out. ``tightness`` are
    the squared ratios of the SDs and their prior scales. Returns (part,).
    """
    total = precision.sum(axis=-1)
    weight = 1 / np.where(total > 0, total, 1.0)
    weighed = [(cube * precision) for cube in [*cubes, left]]
    sums = np.array([one.sum(axis=-1).ravel() for one in weighed])
    flat = np.array([one.ravel() for one in weighed])
    plain = np.array([cube.ravel() for cube in cubes])
    products = plain @ flat.T - (sums[:-1] * weight.ravel()) @ sums.T
    root = np.linalg.cholesky(products[:, :-1] + np.diag(tightness))
    mean = np.linalg.solve(root, products[:, -1])
    return np.asarray(np.linalg.solve(root.T, mean + rng.standard_normal(len(mean))))


def _root(covariance: Array) -> Array:
    """Lower triangular root of the covariance of one framing or two, at any correlation."""
    root = np.diag(np.sqrt(np.diag(covariance)))
    if len(root) == 2 and covariance[0, 1]:
        root[1, 0] = covariance[0, 1] / root[0, 0]
        root[1, 1] = np.sqrt(max(covariance[1, 1] - root[1, 0] ** 2, 0.0))
    return root
