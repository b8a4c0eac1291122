"""What a model that was not scored adds to the lean of its kind, and how others predict it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy import special

from valuebias.analysis.design.components import Components
from valuebias.analysis.design.crossing import Crossing
from valuebias.analysis.design.grouping import OWN

__all__ = ["NewModel", "Unseen", "observed_leans"]

Array = NDArray[np.float64]

_TOLERANCE = 1e-6


class Unseen:
    """A model that was not scored, on a base of its own: how its lean departs from its kind."""

    def __init__(
        self,
        crossing: Crossing,
        components: Components,
        v: Array,
        weights: Array,
        rng: np.random.Generator,
        without: tuple[str, ...] = (),
        nu: Mapping[str, Array] | None = None,
    ) -> None:
        # ``without`` names components whose effects on this model are known, or drawn elsewhere;
        # ``nu`` are the degrees of freedom, (draw,), of those whose effects are t distributed.
        self._without = without
        self._times = {
            name: 0.5 * df / rng.standard_gamma(0.5 * df) for name, df in (nu or {}).items()
        }
        self._space, self._components, self._v = crossing.space, components, v
        self._sizes = _sizes(crossing, weights)
        shape = (len(v), components.n_framings)
        self._noise = {kind: rng.standard_normal(shape) for kind in self._sizes}

    def models(self, family: str | None) -> Array:
        """Draw its departure in what it makes of categories, (draw, framing)."""
        return self._draw("category", family)

    def on_these_words(self, family: str | None) -> Array:
        """Draw what its own likings of the words at hand add to its lean, (draw, framing)."""
        return self._draw("word", family)

    def _draw(self, level: str, family: str | None) -> Array:
        covariance = np.zeros((len(self._v), *(self._components.n_framings,) * 2))
        for name in self._components.model_level(level):
            if name in self._without:
                continue
            shares = self._shares(len(self._components[name].index), family)
            times = self._times.get(name, np.ones(1))[:, None, None]
            for kind, share in enumerate(shares):
                if share:
                    covariance += share * times * self._components.covariance(name, self._v, kind)
        # Two framings at most: Cholesky would fail at a correlation of ±1, this does not.
        values, vectors = np.linalg.eigh(covariance * self._sizes[level])
        noise = self._noise[level] * np.sqrt(np.maximum(values, 0))
        return np.asarray(np.einsum("sfg,sg->sf", vectors, noise))

    def _shares(self, n_kinds: int, family: str | None) -> Array:
        """Weigh the families' variances: one family's own, else as the models at hand."""
        if n_kinds == 1:
            return np.ones(1)
        if family in self._space.kinds:
            return np.asarray(np.eye(n_kinds)[self._space.kinds.index(str(family))])
        counts = np.bincount(self._space.kind_of, minlength=n_kinds)
        return np.asarray(counts / counts.sum())


class NewModel:
    """A new model's lean on the very words and prompts at hand, as other models' leans tell it.

    What words and prompts add is shared by all models and drops out, so that one model is held
    against what models differ in, and not against what is not known of words.
    """

    def __init__(
        self,
        crossing: Crossing,
        components: Components,
        v: Array,
        weights: Array,
        sign: Array,
        known: Sequence[int],
        leans: Array,
    ) -> None:
        # ``leans`` (model,) as :func:`observed_leans`, of which those of ``known`` tell something.
        rows = crossing.design.matrix
        self._rows, self._known = rows, rows[list(known)]
        self._draws = []
        for covariance in _covariances(crossing, components, v, weights, sign):
            weighed = self._known.T @ np.linalg.inv(covariance[np.ix_(known, known)])
            error = np.linalg.pinv(weighed @ self._known, hermitian=True)
            self._draws.append((error @ weighed @ leans[list(known)], error, covariance.diagonal()))

    def above(self, lean: float, like: int) -> float | None:
        """Probability that a new model of the kind of another leans above; None where untold."""
        row = self._rows[like]
        if not _identified(self._known, row[None]):
            return None
        shares = [
            special.ndtr((coefficient @ row - lean) / np.sqrt(row @ error @ row + variances[like]))
            for coefficient, error, variances in self._draws
        ]
        return float(np.mean(shares))


def _on_words(crossing: Crossing, weights: Array) -> Array:
    """Weights of the single words in a lean, (word,)."""
    return np.asarray(crossing.word_basis @ crossing.contrast_weights(weights))


def _sizes(crossing: Crossing, weights: Array) -> dict[str, float]:
    """How much of a variance of 1, of categories or of single words, a lean has."""
    on_words = _on_words(crossing, weights)
    return {"category": float(weights @ weights), "word": float(on_words @ on_words)}


def observed_leans(crossing: Crossing, cube: Array, weights: Array, sign: Array) -> Array:
    """Leans of the models on the words and prompts at hand, from a complete cube; (model,)."""
    on_words = _on_words(crossing, weights)
    by_framing = [
        cube[:, crossing.prompts_of(f)].mean(axis=1) @ on_words
        for f in range(len(crossing.framings))
    ]
    return np.asarray(sign @ np.array(by_framing))


def _identified(design: Array, rows: Array) -> bool:
    """Whether models of this design tell the means of these rows."""
    fitted = np.linalg.lstsq(design.T, rows.T)[0]
    return bool(np.abs(design.T @ fitted - rows.T).max() < _TOLERANCE)


def _covariances(
    crossing: Crossing, components: Components, v: Array, weights: Array, sign: Array
) -> Iterator[Array]:
    """Covariance of the models' observed leans given their kinds, for each draw of ``v``."""
    sizes = _sizes(crossing, weights)
    n_models = crossing.shape[0]
    alike = {OWN: np.eye(n_models)} | {g.name: g.alike for g in crossing.space.groups}
    parts = []
    for (owner, pattern), (level, size) in product(alike.items(), sizes.items()):
        name = f"{owner}_{level}"
        if name not in components:
            continue
        n_kinds = len(components[name].index)
        by_kind = [sign @ components.covariance(name, v, k) @ sign for k in range(n_kinds)]
        kind_of = crossing.space.kind_of if n_kinds > 1 else np.zeros(n_models, dtype=np.intp)
        parts.append((pattern, np.sqrt(size * np.array(by_kind))[kind_of]))
    per_prompt = sign**2 / np.bincount(crossing.framing)
    noise = np.zeros(len(v))
    for name, level in (("model_prompt", "category"), ("residual", "word")):
        if name in components:
            of_framings = np.diagonal(components.covariance(name, v), axis1=-2, axis2=-1)
            noise += sizes[level] * (of_framings @ per_prompt)
    for s, extra in enumerate(noise):
        total = sum(
            (p * np.outer(sd[:, s], sd[:, s]) for p, sd in parts), np.zeros((n_models,) * 2)
        )
        yield total + extra * np.eye(n_models)
