"""The variance components of the hierarchical model and where each one enters.

Components with a covariance over framings (a word liked under positive framing may or may not be
disliked under negative framing): ``model_category``, ``word``, ``word:<term>``, ``model_word``;
where pairs share models, or checkpoints a training run, also ``numerator_category``,
``numerator_word``, ``run_category``, ``run_word`` and the like.
Components nested in framing, one variance a framing: ``prompt_category``, ``model_prompt``,
``prompt_word``, ``residual``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from valuebias.analysis.crossing import Crossing
from valuebias.analysis.sides import GROUPS, ModelSides, Subspace

__all__ = ["Component", "Components", "make_components"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Component:
    """One random effect.

    Attributes
    ----------
    name : str
    joint : bool
        True where framings are correlated, False where prompts (nested in framing) carry it.
    index : tuple of int
        Positions of its parameters in the vector v: a variance a framing, then, where two framings
        are correlated, their covariance.
    description : str
    """

    name: str
    joint: bool
    index: tuple[int, ...]
    description: str


@dataclass(frozen=True)
class Components:
    """All components of a crossing with the covariance pattern of each in every stratum."""

    members: tuple[Component, ...]
    replication: Array
    spans: dict[str, Array]
    sides: ModelSides
    n_columns: int
    n_models: int

    @property
    def n_variances(self) -> int:
        """Length of the vector v."""
        return sum(len(c.index) for c in self.members)

    @property
    def names(self) -> list[str]:
        """Names of the components, in order."""
        return [c.name for c in self.members]

    @property
    def correlated(self) -> list[str]:
        """Names of the components whose framings are correlated."""
        return [c.name for c in self.members if len(c.index) > self.n_framings]

    @property
    def n_framings(self) -> int:
        """Number of framings present, one or two."""
        return len(self.replication)

    def __getitem__(self, name: str) -> Component:
        return next(c for c in self.members if c.name == name)

    @property
    def model_level(self) -> list[str]:
        """Names of the components that make a model's (or pair's) lean depart from its kind."""
        return ["model_category", *(f"{side}_category" for side in self.sides.in_span)]

    def covariance(self, name: str, v: Array) -> Array:
        """Covariance over framings of one component for draws ``v`` (…, variance): (…, F, F)."""
        component, n = self[name], self.n_framings
        part = v[..., list(component.index)]
        out = np.zeros((*v.shape[:-1], n, n))
        out[..., range(n), range(n)] = part[..., :n]
        if len(component.index) > n:
            out[..., 0, 1] = out[..., 1, 0] = part[..., 2]
        return out

    @cached_property
    def _framing_patterns(self) -> list[Array]:
        """Derivatives of a framing covariance by its variances, then its covariance."""
        n = self.n_framings
        units = [np.diag(np.eye(n)[f]) for f in range(n)]
        if n == 2:
            units.append(np.array([[0.0, 1.0], [1.0, 0.0]]))
        return units

    def patterns(self, name: str, over_models: Array, weight: float) -> dict[int, Array]:
        """Patterns of one component in a framing-mean stratum, by variance parameter."""
        component = self[name]
        root = np.sqrt(self.replication) if component.joint else np.ones(self.n_framings)
        return {
            k: np.asarray(weight * np.kron(over_models, root[:, None] * unit * root), float)
            for k, unit in zip(component.index, self._framing_patterns, strict=False)
        }

    def entries(
        self, weight: float, subspace: Subspace | None = None
    ) -> dict[str, tuple[Array, float]]:
        """Components present in a framing-mean stratum: (matrix over models, multiplier).

        ``weight`` is the axis weight, zero in the rest of the words; without ``subspace`` models
        vary within the span of the formula.
        """
        eye = np.eye(self.n_columns if subspace is None else 1)
        out = {"residual": (eye, 1.0), "model_word": (eye, 1.0)}
        if weight:
            out |= {"model_category": (eye, weight), "model_prompt": (eye, weight)}
        for side, in_span in self.sides.in_span.items():
            load = in_span if subspace is None else subspace.loads.get(side, 0.0) * eye
            if not load.any():
                continue
            # One model's liking of words is that of all pairs, which ``word`` stands for.
            if self.sides.sizes[side] > 1:
                out[f"{side}_word"] = (load, 1.0)
            if weight:
                out[f"{side}_category"] = (load, weight)
        if subspace is None:
            out |= {name: (matrix, 1.0) for name, matrix in self.spans.items()}
            shared = self.spans["word"]
            out["prompt_word"] = (shared, 1.0)
            if weight:
                out["prompt_category"] = (shared, weight)
        return {name: entry for name, entry in out.items() if name in self.names}

    def stratum_patterns(self, weight: float, subspace: Subspace | None = None) -> dict[int, Array]:
        """Patterns of a framing-mean stratum, by variance parameter; as :meth:`entries`."""
        out: dict[int, Array] = {}
        for name, (matrix, multiplier) in self.entries(weight, subspace).items():
            out |= self.patterns(name, matrix, multiplier)
        return out

    def within_entries(self, *, shared: bool, weight: float) -> dict[str, float]:
        """Components of a within-framing stratum and their multipliers."""
        out = {"residual": 1.0}
        if weight:
            out["model_prompt"] = weight
        if shared:
            out["prompt_word"] = float(self.n_models)
            if weight:
                out["prompt_category"] = self.n_models * weight
        return {name: multiplier for name, multiplier in out.items() if name in self.names}

    def within(self, framing: int, *, shared: bool, weight: float) -> dict[int, Array]:
        """Patterns among the prompts of one framing, shared by all models or not; (1, 1)."""
        entries = self.within_entries(shared=shared, weight=weight)
        return {
            self[name].index[framing]: np.full((1, 1), multiplier)
            for name, multiplier in entries.items()
        }


def make_components(crossing: Crossing) -> Components:
    """List the components that the formula and the sides of the crossing call for."""
    design, basis = crossing.design, crossing.model_basis
    n_framings = len(crossing.framings)
    joint = {"model_category": "how models of a kind differ in each category"}
    joint |= {
        f"{side}_category": f"how {GROUPS[side]} differ in each category"
        for side in crossing.sides.in_span
    }
    joint |= {
        "word": "how words differ for all models",
    }
    spans = {}
    for term in design.terms:
        name = "word" if term.name == "mean" else f"word:{term.name}"
        columns = basis.T @ design.matrix[:, term.columns]
        spans[name] = columns @ columns.T
        joint.setdefault(name, f"how words differ in the effect of {term.name}")
    joint["model_word"] = "how a model's liking of a word departs from its kind"
    joint |= {
        f"{side}_word": f"how likings of a word depart among {GROUPS[side]}"
        for side, size in crossing.sides.sizes.items()
        if size > 1
    }
    nested = {
        "prompt_category": "how prompts differ in each category, for all models",
        "model_prompt": "how a model's prompts differ in each category",
        "prompt_word": "how a prompt's liking of a word departs, for all models",
        "residual": "what is left of a single score",
    }
    for name in _redundant(crossing):
        joint.pop(name, None)
        nested.pop(name, None)
    names = list(joint | nested)
    members = []
    for c, (name, description) in enumerate((joint | nested).items()):
        index = tuple(range(c * n_framings, (c + 1) * n_framings))
        if name in joint and n_framings == 2:
            index += (len(names) * n_framings + c,)
        members.append(Component(name, name in joint, index, description))
    replication = np.bincount(crossing.framing, minlength=n_framings).astype(float)
    return Components(
        tuple(members), replication, spans, crossing.sides, basis.shape[1], crossing.shape[0]
    )


def _redundant(crossing: Crossing) -> list[str]:
    """Name the components whose variance would only ever appear in a sum with another's.

    With as many columns as models, a model's own liking of a word is its kind's; with one model,
    what a prompt adds for it is what the prompt adds for all. Left in, they make a ridge that no
    sampler likes and no data can cut.
    """
    n_models, n_columns = crossing.design.matrix.shape
    names = ["model_word"] if n_models == n_columns else []
    return names + (["model_prompt", "prompt_word"] if n_models == 1 else [])
