"""What a model that was not scored adds to the lean of its kind."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from valuebias.analysis.design.components import Components
from valuebias.analysis.design.crossing import Crossing

__all__ = ["Unseen"]

Array = NDArray[np.float64]


class Unseen:
    """A model that was not scored, on a base of its own: how its lean departs from its kind."""

    def __init__(
        self,
        crossing: Crossing,
        components: Components,
        v: Array,
        weights: Array,
        rng: np.random.Generator,
        known: tuple[str, ...] = (),
    ) -> None:
        # ``known`` names components whose effect on this model is known, which is not drawn.
        self._known = known
        self._space, self._components, self._v = crossing.space, components, v
        on_words = crossing.word_basis @ crossing.contrast_weights(weights)
        self._sizes = {"category": weights @ weights, "word": on_words @ on_words}
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
            if name in self._known:
                continue
            shares = self._shares(len(self._components[name].index), family)
            for kind, share in enumerate(shares):
                if share:
                    covariance += share * self._components.covariance(name, self._v, kind)
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
