"""Draw coefficients and random effects from their exact conditional distribution, given variances.

On each axis the rotated outcome of a framing-mean stratum is a small Gaussian vector, the sum of
independent components. Given one draw of the variances each is drawn from its prior, and the draws
are corrected by what their sum differs from the data (Matheron's rule): a few small matrix products
for all draws at once. A component's covariance is a known matrix over columns times a covariance
over framings, so that no large matrix needs a root.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from valuebias.analysis.design.components import Components
from valuebias.analysis.design.crossing import REST, Axis, Crossing
from valuebias.analysis.design.grouping import Subspace
from valuebias.analysis.design.strata import Tables, coefficient_spread, split_words

__all__ = [
    "EffectDraws",
    "Margins",
    "draw_effects",
    "draw_word_effects",
    "make_margins",
    "symmetric_root",
]

Array = NDArray[np.float64]

_AT_ONCE = 256  # draws of words' effects

_NOTHING = 1e-12


@dataclass(frozen=True)
class EffectDraws:
    """Draws of the effects on the axes, in outcome units."""

    # (draw, column, framing, axis): effect of each design column: the mean of models, words and
    # prompts of the same kind.
    coefficient: Array
    # (draw, column, framing, axis): what the sampled words add to the coefficients: coefficient +
    # word_shift holds for these words, coefficient for words like them.
    word_shift: Array
    # (draw, model, framing, axis): deviation of each model from what the formula predicts, that of
    # its base included.
    model: Array
    # (draw, model, framing, axis): the part of it that is its base's; zero where models share no
    # bases.
    base: Array


@dataclass(frozen=True)
class Margins:
    """The margins of the data that the effects depend on.

    In an incomplete crossing every draw has its own completed data, hence the optional first
    dimension.
    """

    on_axes: Array  # ([draw,] axis, model, framing): framing means (times √P_f) on the axes
    # ([draw,] column · framing, word): framing means off the axes, rotated to the span of the
    # formula.
    rest: Array


def make_margins(crossing: Crossing, tables: Tables) -> Margins:
    """Take the margins from the tables of a complete cube."""
    on_axes = tables.mean @ crossing.word_basis
    rotated = (crossing.model_basis.T @ tables.mean).transpose(1, 0, 2)
    _, rest = split_words(rotated.reshape(-1, rotated.shape[-1]), crossing.word_basis)
    return Margins(on_axes.transpose(2, 1, 0), rest)


def draw_effects(
    crossing: Crossing,
    components: Components,
    margins: Margins,
    v: Array,
    coefficient_scales: Array,
    rng: np.random.Generator,
) -> EffectDraws:
    """Draw coefficients and model effects for every row of variances ``v`` (draw, variance)."""
    n_draws, n_models, n_axes = len(v), crossing.shape[0], len(crossing.axes)
    n_framings, q = len(crossing.framings), crossing.model_basis.shape[1]
    basis = crossing.model_basis
    coefficient = np.empty((n_draws, q, n_framings, n_axes))
    word_shift = np.empty_like(coefficient)
    model = np.empty((n_draws, n_models, n_framings, n_axes))
    base = np.empty_like(model)
    for j, axis in enumerate(crossing.axes):
        owners, bases = _owners(components, axis)
        prior = coefficient_spread(crossing, j, coefficient_scales)
        means = margins.on_axes[..., j, :, :]
        rotated = basis.T @ means
        drawn = np.empty((n_draws, 4, q, n_framings))
        for block in crossing.blocks:
            parts = _make_parts(components, v, axis, block=block, coefficient=prior)
            table = rotated[..., block, :]
            wanted = [["coefficient"], list(components.spans), owners, bases]
            sums = _draw_sums(parts, wanted, table.reshape(*table.shape[:-2], 1, -1), rng)
            drawn[:, :, block] = sums.reshape(n_draws, 4, -1, n_framings)
        coefficient[..., j], word_shift[..., j] = drawn[:, 0], drawn[:, 1]
        inside = _over(basis, drawn[:, 2:], axis=2)
        model[..., j], base[..., j] = inside[:, 0], inside[:, 1]
        for subspace in crossing.space.subspaces:
            if not subspace.size:
                continue
            parts = _make_parts(components, v, axis, subspace)
            table = subspace.basis.T @ means
            sums = _draw_sums(parts, [owners, bases], table, rng)
            outside = _over(subspace.basis, sums, axis=2)
            model[..., j] += outside[:, 0]
            base[..., j] += outside[:, 1]

    root = np.sqrt(components.replication)[:, None]
    # Coefficients lie in the design's own span, which the basis may exceed.
    unrotate = np.asarray(np.linalg.pinv(basis.T @ crossing.design.matrix), dtype=np.float64)
    return EffectDraws(
        coefficient=_over(unrotate, coefficient, axis=1) / root,
        word_shift=_over(unrotate, word_shift, axis=1) / root,
        model=model / root,
        base=base / root,
    )


def _over(matrix: Array, values: Array, axis: int) -> Array:
    """Multiply one axis by a matrix: all at once, which is quicker than einsum.

    In memory as it will lie once read from a file, so that later sums are the same to the last bit.
    """
    moved = np.moveaxis(np.tensordot(values, matrix, axes=(axis, 1)), -1, axis)
    return np.ascontiguousarray(moved)


def _owners(components: Components, axis: Axis) -> tuple[list[str], list[str]]:
    """Components of models (groups included), and those of bases among them."""
    bases = [g.name for g in components.space.groups if g.name.partition(":")[0] == "base"]
    names = components.model_level(axis.kind)
    return names, [f"{name}_{axis.kind}" for name in bases if f"{name}_{axis.kind}" in names]


def draw_word_effects(
    crossing: Crossing,
    components: Components,
    margins: Margins,
    v: Array,
    effects: EffectDraws,
    row: Array,
    framing_weights: Array,
    rng: np.random.Generator,
) -> Array:
    """Draw one combination of design columns and framings for every word; shape (draw, word).

    ``row`` (column,) weighs design columns, e.g. the difference of two families' average rows;
    ``framing_weights`` (framing,) weighs framings. The result is the expected outcome of each word
    under that combination, relative to the lexicon's mean: category effects plus the word's own.
    """
    root = np.sqrt(components.replication)
    rotation = crossing.model_basis.T @ crossing.design.matrix
    rotated_row = np.linalg.pinv(rotation.T) @ row
    functional = np.kron(rotated_row, framing_weights / root)
    on_axes = np.einsum(
        "a,f,safj->sj", row, framing_weights, effects.coefficient + effects.word_shift
    )
    out, spread = np.zeros((len(v), margins.rest.shape[-1])), np.zeros(len(v))
    for block in crossing.blocks:
        parts = _make_parts(components, v, REST, block=block)
        words = parts.sum(list(components.spans))
        at = slice(block.start * len(root), block.stop * len(root))
        at_block, table = functional[at], margins.rest[..., at, :]
        # V⁻¹ K ℓ, (draw, d)
        gain = np.linalg.solve(parts.sum(parts.names), words @ at_block[:, None])[..., 0]
        spread += at_block @ words @ at_block - np.einsum("sd,sd->s", gain, words @ at_block)
        for some in _slices(len(v)):
            of_draw = table if table.ndim == 2 else table[some]
            how = "sd,dw->sw" if table.ndim == 2 else "sd,sdw->sw"
            out[some] += np.einsum(how, gain[some], of_draw)
    sd = np.sqrt(np.maximum(spread, 0))[:, None]
    for some in _slices(len(v)):
        noise = rng.standard_normal(out[some].shape)
        noise -= noise.mean(axis=1, keepdims=True)
        noise -= (noise @ crossing.word_basis) @ crossing.word_basis.T
        out[some] += sd[some] * noise
        out[some] += on_axes[some] @ crossing.word_basis.T
    return out


def _slices(n_draws: int) -> list[slice]:
    """Cut draws into parts: of all, each table of words would take as much as the result."""
    return [slice(start, start + _AT_ONCE) for start in range(0, n_draws, _AT_ONCE)]


def component_covariances(
    components: Components, v: Array, axis: Axis, subspace: Subspace | None = None
) -> dict[str, Array]:
    """Covariance of each component in a framing-mean stratum; (draw, q·F, q·F) or (draw, F, F)."""
    parts = _make_parts(components, v, axis, subspace)
    return {name: parts.sum([name]) for name in dict.fromkeys(parts.names)}


@dataclass(frozen=True)
class _Parts:
    """The parts of the rotated outcome of a stratum: independent Gaussian vectors.

    Each has covariance ``over_columns`` ⊗ ``over_framings``; a component has a part by kind of
    model.
    """

    names: list[str]
    over_columns: Array  # (part, q, q)
    over_framings: Array  # (part, draw, F, F)

    def of(self, names: Iterable[str]) -> list[int]:
        """Positions of the parts of these components that are not zero."""
        wanted = set(names)
        nonzero = np.asarray(self.over_columns.any(axis=(1, 2)))
        return [i for i, name in enumerate(self.names) if name in wanted and nonzero[i]]

    def sum(self, names: Iterable[str]) -> Array:
        """Covariance of the sum of these components, (draw, q·F, q·F)."""
        at = self.of(names)
        n_draws, n_framings = self.over_framings.shape[1:3]
        columns = self.over_columns[at].reshape(len(at), -1)
        flat = self.over_framings[at].reshape(len(at), -1).T @ columns
        q = self.over_columns.shape[1]
        by_side = flat.reshape(n_draws, n_framings, n_framings, q, q).transpose(0, 3, 1, 4, 2)
        return by_side.reshape(n_draws, q * n_framings, q * n_framings)

    def draw(self, names: Iterable[str], n_units: int, rng: np.random.Generator) -> Array:
        """Draw the sum of these components from its prior, (draw, unit, q·F)."""
        n_draws, n_framings = self.over_framings.shape[1:3]
        out = np.zeros((n_draws, n_framings, n_units, self.over_columns.shape[1]))
        for i in self.of(names):
            root = _thin_root(self.over_columns[i])
            noise = rng.standard_normal((n_draws, n_framings, n_units * root.shape[1]))
            noise = _root(self.over_framings[i]).swapaxes(-1, -2) @ noise
            out += noise.reshape(*out.shape[:3], -1) @ root.T
        return out.transpose(0, 2, 3, 1).reshape(n_draws, n_units, -1)


def _make_parts(
    components: Components,
    v: Array,
    axis: Axis,
    subspace: Subspace | None = None,
    *,
    block: slice | None = None,
    coefficient: Array | None = None,
) -> _Parts:
    """List the parts of a framing-mean stratum.

    ``block`` picks columns of the dense span; ``coefficient`` (q, q) is the prior covariance over
    columns of one part more, the formula's.
    """
    root = np.sqrt(components.replication)
    names, over_columns, over_framings = [], [], []
    for (name, kind), (matrix, multiplier) in components.entries(axis, subspace).items():
        covariance = components.covariance(name, v, kind)
        if components[name].joint:
            covariance = covariance * root[:, None] * root
        names.append(name)
        over_columns.append(multiplier * matrix)
        over_framings.append(covariance)
    if coefficient is not None:
        names.append("coefficient")
        over_columns.append(coefficient)
        over_framings.append(np.broadcast_to(np.diag(root**2), over_framings[0].shape))
    columns = np.array(over_columns)
    columns = columns if block is None else columns[:, block, block]
    return _Parts(names, columns, np.array(over_framings))


def _draw_sums(parts: _Parts, wanted: list[list[str]], y: Array, rng: np.random.Generator) -> Array:
    """Draw sums of components given the sum of all, ``y`` ([draw,] unit, d).

    The components are independent of one another and over units; ``wanted`` names the sums, of
    which a later one may be part of an earlier one. Returns (draw, wanted, unit, d).
    """
    # Components that no sum tells apart are drawn together.
    apart: dict[tuple[bool, ...], list[str]] = {}
    for name in dict.fromkeys(parts.names):
        apart.setdefault(tuple(name in names for names in wanted), []).append(name)
    prior = {key: parts.draw(names, y.shape[-2], rng) for key, names in apart.items()}
    surprise = y - sum(prior.values())
    weights = np.linalg.solve(parts.sum(parts.names), surprise.swapaxes(-1, -2))
    n_draws, *shape = surprise.shape
    out = np.zeros((n_draws, len(wanted), *shape))
    for key, names in apart.items():
        if any(key):
            drawn = prior[key] + (parts.sum(names) @ weights).swapaxes(-1, -2)
            out[:, list(key)] += drawn[:, None]
    return out


def _thin_root(covariance: Array) -> Array:
    """Return R (q, rank) with RRᵀ the covariance."""
    values, vectors = np.linalg.eigh(covariance)
    large = values > _NOTHING * values[-1]
    return np.asarray(vectors[:, large] * np.sqrt(values[large]))


def _root(covariance: Array) -> Array:
    """Return R with RᵀR the covariance; by Cholesky where that works, which is quicker."""
    try:
        return np.asarray(np.linalg.cholesky(covariance).swapaxes(-1, -2), dtype=float)
    except np.linalg.LinAlgError:
        return symmetric_root(covariance)


def symmetric_root(covariance: Array) -> Array:
    """Square root of positive semi-definite matrices, symmetric."""
    values, vectors = np.linalg.eigh(0.5 * (covariance + covariance.swapaxes(-1, -2)))
    return np.asarray(
        (vectors * np.sqrt(np.maximum(values, 0))[..., None, :]) @ vectors.swapaxes(-1, -2)
    )
