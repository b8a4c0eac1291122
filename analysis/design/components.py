"""The variance components of the hierarchical model and where each one enters.

Components with a covariance over framings (a word liked under positive framing may or may not be
disliked under negative framing): ``model_category``, ``word``, ``word:<term>``, ``model_word``;
where models share a base, pairs a model, or checkpoints a training run, also ``base_category``,
``base_word``, ``run_category`` and the like.
Components nested in framing, one variance per framing: ``prompt_category``, ``model_prompt``,
``prompt_word``, ``residual``.
Where the words have a formula of their own, its covariates have effects as the categories have:
``model_covariate``, ``base_covariate``, ``prompt_covariate``, ``model_prompt_covariate``.

Models and bases may vary more in one family than in another: the variances of their components are
then multiplied by a factor per family, one for what acts on categories (and covariates), one for
what acts on single words.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from valuebias.analysis.design.crossing import REST, Axis, Crossing
from valuebias.analysis.design.grouping import OWN, ModelSpace, Part, Subspace, describe_group

__all__ = ["SPREADS", "Component", "Components", "make_components", "word_spans"]

Array = NDArray[np.float64]

SPREADS = ("category", "word")
"""How families may differ: in how much their models vary in leans, and on single words."""


@dataclass(frozen=True)
class Component:
    """One random effect."""

    name: str
    # True where framings are correlated, False where prompts (nested in framing) carry it.
    joint: bool
    # By kind of model (one where all have one variance), positions of its parameters in the vector
    # v: a variance per framing, then, where two framings are correlated, their covariance.
    index: tuple[tuple[int, ...], ...]
    description: str
    spread: int = -1  # which of :data:`SPREADS` multiplies it by family; −1 where none does


@dataclass(frozen=True)
class Components:
    """All components of a crossing with the covariance pattern of each in every stratum."""

    members: tuple[Component, ...]
    replication: Array
    spans: dict[str, Array]
    space: ModelSpace
    n_models: int

    @cached_property
    def _by_name(self) -> dict[str, Component]:
        return {c.name: c for c in self.members}

    @property
    def n_columns(self) -> int:
        """Number of columns of the dense span over models."""
        return int(self.space.basis.shape[1])

    @property
    def n_variances(self) -> int:
        """Length of the vector v."""
        return sum(len(index) for c in self.members for index in c.index)

    @cached_property
    def names(self) -> list[str]:
        """Names of the components, in order."""
        return [c.name for c in self.members]

    @cached_property
    def correlated(self) -> list[str]:
        """Names of the components whose framings are correlated; the first of `names`."""
        return [c.name for c in self.members if len(c.index[0]) > self.n_framings]

    @property
    def n_framings(self) -> int:
        """Number of framings present, one or two."""
        return len(self.replication)

    @cached_property
    def rings(self) -> list[tuple[int, int]]:
        """Pairs of SDs, by their place, of which one prompt a framing tells the sum of squares."""
        pairs = [("model_word", "residual"), ("word", "prompt_word")]
        at = {name: i * self.n_framings for i, name in enumerate(self.names)}
        return [
            (at[a] + framing, at[b] + framing)
            for framing in np.flatnonzero(self.replication == 1).tolist()
            for a, b in pairs
            if a in at and b in at
        ]

    @property
    def spread_levels(self) -> list[str]:
        """Those of :data:`SPREADS` that multiply some component."""
        return [name for i, name in enumerate(SPREADS) if i in {c.spread for c in self.members}]

    @cached_property
    def spread_contrasts(self) -> Array:
        """Zero-sum contrasts between kinds of models, shape (kind, kind − 1)."""
        n = len(self.space.kinds)
        return np.asarray(linalg.helmert(n).T) if n else np.zeros((1, 0))

    def __getitem__(self, name: str) -> Component:
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def model_level(self, kind: str = "category") -> list[str]:
        """Names of the components that make a model's (or pair's) lean depart from its family's.

        ``kind`` is that of an axis, or ``"word"`` for what acts on single words.
        """
        owners = [OWN, *(group.name for group in self.space.groups)]
        return [f"{owner}_{kind}" for owner in owners if f"{owner}_{kind}" in self]

    def tailed(self, tails: tuple[str, ...]) -> list[str]:
        """Names of the components of words, models' leans or bases' leans (``tails``)."""
        owners = {"models": OWN, "bases": "base"}
        names = [n for n in self.names if n == "word" or n.startswith("word:")]
        names = names if "words" in tails else []
        for who, owner in owners.items():
            if who in tails:
                names += [f"{owner}_{kind}" for kind in ("category", "covariate")]
        return [name for name in names if name in self]

    @cached_property
    def codes(self) -> NDArray[np.int64]:
        """What makes up every entry of v, shape (variance, 3), for the compiled density.

        Columns: the component; its framing, or −1 for the covariance between the two; the entry of
        the flattened (spread, kind) factors that multiplies it, or −1.
        """
        rows = np.full((self.n_variances, 3), -1, dtype=np.int64)
        n_kinds = max(len(self.space.kinds), 1)
        for c, component in enumerate(self.members):
            for kind, index in enumerate(component.index):
                at = component.spread * n_kinds + kind if component.spread >= 0 else -1
                for position, k in enumerate(index):
                    rows[k] = c, position if position < self.n_framings else -1, at
        return rows

    def variances(self, sd: Array, correlation: Array, spread: Array) -> Array:
        """Variance parameters v (…, variance).

        ``sd`` is (…, component, framing); ``correlation`` is (…, correlated component); ``spread``
        is (…, spread, kind).
        """
        component, framing, entry = self.codes.T
        first, second = np.maximum(framing, 0), np.where(framing < 0, 1, framing)
        second = np.minimum(second, self.n_framings - 1)
        v = sd[..., component, first] * sd[..., component, second]
        crossed = framing < 0
        if crossed.any():
            v[..., crossed] *= correlation[..., component[crossed]]
        scaled = entry >= 0
        if scaled.any():
            factors = spread.reshape(*spread.shape[:-2], -1)
            v[..., scaled] *= factors[..., entry[scaled]] ** 2
        return np.asarray(v)

    def covariance(self, name: str, v: Array, kind: int = 0) -> Array:
        """Covariance over framings of one component for draws ``v`` (…, variance): (…, F, F)."""
        component, n = self[name], self.n_framings
        index = component.index[kind if len(component.index) > 1 else 0]
        part = v[..., list(index)]
        out = np.zeros((*v.shape[:-1], n, n))
        out[..., range(n), range(n)] = part[..., :n]
        if len(index) > n:
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

    def entries(
        self, axis: Axis, subspace: Subspace | None = None
    ) -> dict[Part, tuple[Array, float]]:
        """Components present in a framing-mean stratum, by name and kind of model.

        Each comes with its matrix over models and a multiplier. Without ``subspace`` models vary
        within the dense span.
        """
        eye = np.eye(self.n_columns if subspace is None else 1)
        out: dict[Part, tuple[Array, float]] = {("residual", 0): (eye, 1.0)}
        if axis.kind:
            out[_model_prompt(axis), 0] = (eye, axis.weight)
        for (owner, kind), in_span in self.space.in_span.items():
            load = in_span if subspace is None else subspace.loads.get((owner, kind), 0.0) * eye
            if not load.any():
                continue
            out[f"{owner}_word", kind] = (load, 1.0)
            if axis.kind:
                out[f"{owner}_{axis.kind}", kind] = (load, axis.weight)
        if subspace is None:
            out |= {(name, 0): (matrix, 1.0) for name, matrix in self.spans.items()}
            shared = self.spans["word"]
            out["prompt_word", 0] = (shared, 1.0)
            if axis.kind:
                out[f"prompt_{axis.kind}", 0] = (shared, axis.weight)
        return {part: entry for part, entry in out.items() if part[0] in self}

    def stratum_patterns(self, axis: Axis, subspace: Subspace | None = None) -> dict[int, Array]:
        """Patterns of a framing-mean stratum, by variance parameter; as :meth:`entries`."""
        out: dict[int, Array] = {}
        for (name, kind), (over_models, multiplier) in self.entries(axis, subspace).items():
            component = self[name]
            root = np.sqrt(self.replication) if component.joint else np.ones(self.n_framings)
            for k, unit in zip(component.index[kind], self._framing_patterns, strict=False):
                pattern = np.kron(over_models, root[:, None] * unit * root)
                out[k] = np.asarray(multiplier * pattern, float)
        return out

    def mean_covariance(
        self, v: Array, kind: str, subspace: int | None = None
    ) -> tuple[Array, Array]:
        """Covariance of a framing-mean stratum at ``v`` (variance,): constant + weight · slope.

        ``weight`` is that of an axis of this ``kind``; ``subspace`` is a position.
        """
        where = self._stacked.get((kind, subspace))
        if where is None:
            within = None if subspace is None else self.space.subspaces[subspace]
            zero, one = (self.stratum_patterns(Axis(w, kind), within) for w in (0.0, 1.0))
            constant = np.array(list(zero.values()))
            slope = np.array(list(one.values())) - constant
            where = self._stacked[kind, subspace] = (np.array(list(zero)), constant, slope)
        parameters, constant, slope = where
        variances = v[parameters]
        return np.tensordot(variances, constant, 1), np.tensordot(variances, slope, 1)

    @cached_property
    def _stacked(self) -> dict[tuple[str, int | None], tuple[NDArray[np.intp], Array, Array]]:
        """Patterns as :meth:`mean_covariance` takes them: chains ask at every iteration."""
        return {}

    def within_entries(self, *, shared: bool, axis: Axis) -> dict[str, float]:
        """Components of a within-framing stratum and their multipliers."""
        out = {"residual": 1.0}
        if axis.kind:
            out[_model_prompt(axis)] = axis.weight
        if shared:
            out["prompt_word"] = float(self.n_models)
            if axis.kind:
                out[f"prompt_{axis.kind}"] = self.n_models * axis.weight
        return {name: multiplier for name, multiplier in out.items() if name in self}

    def within(self, framing: int, *, shared: bool, axis: Axis = REST) -> dict[int, Array]:
        """Patterns among the prompts of one framing, shared by all models or not; (1, 1)."""
        return {
            self[name].index[0][framing]: np.full((1, 1), multiplier)
            for name, multiplier in self.within_entries(shared=shared, axis=axis).items()
        }


def _model_prompt(axis: Axis) -> str:
    return "model_prompt" if axis.kind == "category" else f"model_prompt_{axis.kind}"


def make_components(crossing: Crossing) -> Components:
    """List the components that the formulas and the groups of the crossing call for."""
    space, spans = crossing.space, word_spans(crossing)
    joint, nested = _described(crossing, list(spans))
    for name in _redundant(crossing):
        joint.pop(name, None)
        nested.pop(name, None)
    n_framings, n_kinds = len(crossing.framings), max(len(space.kinds), 1)
    by_kind = {part[0] for part in space.in_span if part[1]}
    members, at = [], 0
    for name, description in (joint | nested).items():
        owner, _, level = name.rpartition("_")
        apart = name in joint and owner in by_kind
        size = n_framings + (name in joint and n_framings == 2)
        index = tuple(
            tuple(range(at + i * size, at + (i + 1) * size)) for i in range(n_kinds if apart else 1)
        )
        at += size * len(index)
        spread = SPREADS.index("word" if level == "word" else "category") if apart else -1
        members.append(Component(name, name in joint, index, description, spread))
    replication = np.bincount(crossing.framing, minlength=n_framings).astype(float)
    return Components(tuple(members), replication, spans, space, crossing.shape[0])


def word_spans(crossing: Crossing) -> dict[str, Array]:
    """Matrices over the dense span of what differs between words in each term of the formula."""
    spans = {}
    for term in crossing.design.terms:
        name = "word" if term.name == "mean" else f"word:{term.name}"
        columns = crossing.model_basis.T @ crossing.design.matrix[:, term.columns]
        spans[name] = columns @ columns.T
    return spans


def _described(crossing: Crossing, words: list[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Describe the components: those joint over framings, those nested in them."""
    groups = {group.name: describe_group(group.name) for group in crossing.space.groups}
    sizes = crossing.space.sizes
    covariates = bool(crossing.covariate_names)
    acts_on = {"category": "each category"}
    if covariates:
        acts_on["covariate"] = "what words' covariates do"
    joint = {
        f"{name}_{kind}": f"how {who} differ in {what}"
        for kind, what in acts_on.items()
        for name, who in {"model": "models of a kind", **groups}.items()
    }
    for name in words:
        term = name.partition(":")[2]
        joint[name] = (
            f"how words differ in the effect of {term}"
            if term
            else "how words differ for all models"
        )
    joint["model_word"] = "how a model's liking of a word departs from its kind"
    joint |= {
        f"{name}_word": f"how likings of a word depart among {who}"
        for name, who in groups.items()
        # One model's liking of words is that of all pairs, which ``word`` stands for.
        if sizes[name] > 1
    }
    nested = {
        "prompt_category": "how prompts differ in each category, for all models",
        "model_prompt": "how a model's prompts differ in each category",
    }
    if covariates:
        nested["prompt_covariate"] = "how prompts differ in what words' covariates do"
        nested["model_prompt_covariate"] = "how a model's prompts differ in the same"
    nested |= {
        "prompt_word": "how a prompt's liking of a word departs, for all models",
        "residual": "what is left of a single score",
    }
    return joint, nested


def _redundant(crossing: Crossing) -> list[str]:
    """Name the components whose variance would only ever appear in a sum with another's.

    With as many columns as models, a model's own liking of a word is its kind's; with one model,
    what a prompt adds for it is what the prompt adds for all. Left in, they make a ridge that no
    sampler likes and no data can cut.
    """
    n_models, n_columns = crossing.design.matrix.shape
    names = ["model_word"] if n_models == n_columns else []
    if crossing.items:
        # What prompts do is in the items, and what a model makes of an item is what is left of a
        # single score; with no replication what items do in each term is, or, of one model, what
        # they do.
        names += ["model_word", "prompt_category", "model_prompt", "prompt_word"]
        if n_models == n_columns:
            names += [f"word:{term.name}" for term in crossing.design.terms[1:]]
        return [*names, "word"] if n_models == 1 else names
    if n_models == 1:
        names += ["model_prompt", "model_prompt_covariate", "prompt_word"]
    return names
