"""Draws that a posterior does not store, recovered from its data and stored draws on demand."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import fields
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from valuebias.analysis.auditing.confounding import word_numbers
from valuebias.analysis.design.noise import Factors
from valuebias.analysis.design.priors import Prior
from valuebias.analysis.design.strata import make_tables
from valuebias.analysis.estimands.effects import (
    EffectDraws,
    Margins,
    draw_word_effects,
    make_margins,
)
from valuebias.analysis.estimands.estimand import DIFFERENCE, CategoryPair
from valuebias.analysis.estimands.rows import Focus, Row, headline_factor, level_rows
from valuebias.analysis.estimands.smoother import Smoother
from valuebias.analysis.estimands.weights import (
    TURNED,
    Contrast,
    category_contrasts,
    framing_contrasts,
    read_contrast,
)
from valuebias.analysis.hierarchical import MODEL_FIELDS, Model, Problem, make_problem
from valuebias.errors import ValueBiasError
from valuebias.posterior.item_wording import in_items, item_component
from valuebias.posterior.wording import under

if TYPE_CHECKING:
    from valuebias.analysis.design.units import Unit
    from valuebias.posterior.refit import LeftOutFit

__all__ = ["Draws"]

Array = NDArray[np.float64]

# Streams of random numbers, so that one table's draws do not depend on which came before.
_STREAMS = {
    "contrasts": 2, "words": 3, "ppc": 4, "signed means": 5, "positive means": 6,
    "negative means": 7, "leans": 8, "completions": 9,
    "predictions": 10, "neutral means": 15,
}  # fmt: skip


class Draws:
    """The data of a posterior, its stored draws, and those that follow from them.

    Parameters
    ----------
    data : xarray.Dataset
        The scores as fitted.
    settings : mapping
        Formula, outcome, contrast and seed of the fit.
    prior : Prior
        Its prior scales.
    tree : xarray.DataTree
        Its stored draws.
    problem : Problem, optional
        The prepared data, if available.
    """

    def __init__(
        self,
        data: xr.Dataset,
        settings: Mapping[str, Any],
        prior: Prior,
        tree: xr.DataTree,
        problem: Problem | None = None,
    ) -> None:
        self.data, self.settings, self.prior, self.tree = data, settings, prior, tree
        if problem is not None:
            self.__dict__["problem"] = problem
        self._left_out: dict[Unit, LeftOutFit] = {}

    @cached_property
    def problem(self) -> Problem:
        """The crossing, its components and prior."""
        model = Model(**{k: self.settings[k] for k in MODEL_FIELDS if k in self.settings})
        # A fit of an earlier version has no stored design: its formula is parsed again.
        stored = self.tree["design"].to_dataset() if "design" in self.tree.children else None
        return make_problem(self.data, model, self.prior, stored=stored)

    def compared_rows(self) -> list[Row]:
        """Rows of the difference that the focus puts first, one by cell; none without levels."""
        design, focus = self.problem.crossing.design, self.focus
        factor = headline_factor(design, focus.pair)
        if factor is None:
            return []
        rows = [row for row in level_rows(design, factor, focus) if row.form == DIFFERENCE]
        return [row for row in rows if (row.first, row.second) == (rows[0].first, rows[0].second)]

    def words_of(
        self, row: Array, framing: str = "signed", question: str = "words", most: int | None = None
    ) -> Array:
        """Draw a combination of design columns for every word under a framing: (draw, word).

        Of a complete crossing for ``most`` spaced draws, where that is given.
        """
        # Thinned draws of each chain, where an incomplete crossing has very many words.
        crossing, effects, v = self.problem.crossing, self.effects, self.v
        stored = "completion" in self.tree.children
        if most is not None and not stored:
            some = self.spaced(most)
            v = v[some]
            effects = EffectDraws(*(getattr(effects, f.name)[some] for f in fields(effects)))
        completion = self.tree["completion"].to_dataset() if stored else xr.Dataset()
        if "residual" in completion:
            # The margins are of values that have a residual variance of their own.
            v = v.copy()
            at = list(self.problem.components["residual"].index[0])
            v[:, at] = completion["residual"].to_numpy()
        if "common" in completion:
            # Nor have they what heavy-tailed effects have beside the variance of all levels.
            common = completion["common"].to_numpy()
            for i, name in enumerate(completion["tail"].to_numpy().tolist()):
                for index in self.problem.components[name].index:
                    v[:, list(index)] *= common[:, [i]]
        if "rest_of" in completion:
            kept = completion["rest_of"].to_numpy()
            if len(kept) < len(v):
                v = v[kept]
                effects = EffectDraws(*(getattr(effects, f.name)[kept] for f in fields(effects)))
        known = framing_contrasts(crossing.framings)
        sign = -known["negative"] if framing == TURNED else known[framing]
        draws = draw_word_effects(
            crossing, self.problem.components, self.margins, v, effects, row, sign,
            self.rng(question),
        )  # fmt: skip
        if "shift" in completion:
            # On the axes it is in the effects.
            excess = completion["shift"].to_numpy()
            by_word = np.einsum("q,kqw->kw", np.kron(row, sign), excess)
            by_word -= by_word.mean(axis=1, keepdims=True)
            draws += by_word - (by_word @ crossing.word_basis) @ crossing.word_basis.T
        return draws

    @property
    def replicated(self) -> bool:
        """Whether there are more models than columns, so that they tell how models differ."""
        n_models, n_columns = self.problem.crossing.design.matrix.shape
        return bool(n_models > n_columns)

    @property
    def of_items(self) -> bool:
        """Whether the sampled units are items of a contrast set, not words."""
        return bool(self.problem.crossing.items)

    @property
    def word_numbers(self) -> pd.DataFrame:
        """Numbers that describe the words, which may explain what categories do; of items none."""
        if self.of_items:
            return pd.DataFrame(index=pd.RangeIndex(self.problem.crossing.shape[2]))
        return word_numbers(self.data)

    @property
    def categories(self) -> dict[CategoryPair, Array]:
        """Weights on the categories by the two that are compared."""
        return category_contrasts(self.problem.crossing.categories, self.contrast)

    @property
    def contrast(self) -> Contrast | None:
        """The contrast of categories as asked for, None for the default."""
        return read_contrast(self.settings["contrast"])

    @property
    def focus(self) -> Focus:
        """What the headline, tables and figures are about; see :meth:`Fit.focused`."""
        stored = self.settings.get("focus") or {}
        pair = stored.get("pair")
        return Focus(
            (str(pair[0]), str(pair[1])) if pair else None,
            tuple(stored.get("by", ())),
            dict(stored.get("at", {})),
            bool(stored.get("largest", False)),
            stored.get("framing"),
        )

    @cached_property
    def v(self) -> Array:
        """Variance parameters, (draw, variance)."""
        correlation = self.tree["posterior"]["correlation"].to_numpy()
        correlation = correlation.reshape(len(self.sd), -1)
        return self.problem.components.variances(self.sd, correlation, self.spread)

    @cached_property
    def sd(self) -> Array:
        """Standard deviations of the components, (draw, component, framing)."""
        sd = self.tree["posterior"]["sd"].to_numpy()
        return np.asarray(sd.reshape(-1, *sd.shape[2:]))

    @cached_property
    def spread(self) -> Array:
        """Factors of the families' SDs, (draw, level, kind); ones where all have one spread."""
        posterior = self.tree["posterior"]
        if "spread" not in posterior:
            return np.ones((len(self.sd), 2, 1))
        spread = posterior["spread"].to_numpy()
        return np.asarray(spread.reshape(-1, *spread.shape[2:]))

    @cached_property
    def nu(self) -> dict[str, Array]:
        """Degrees of freedom, (draw,), of the residual and the components that have them."""
        posterior = self.tree["posterior"]
        if "nu" not in posterior:
            return {}
        nu = posterior["nu"].to_numpy()
        names = posterior["part"].to_numpy().astype(str).tolist()
        return dict(zip(names, nu.reshape(-1, len(names)).T, strict=True))

    @property
    def tail_nu(self) -> dict[str, Array]:
        """The same of effects alone."""
        return {name: nu for name, nu in self.nu.items() if name != "residual"}

    @cached_property
    def unconstrained(self) -> Array:
        """SDs, correlations and spreads on the scale of the density, (chain, draw, parameter)."""
        correlation = self.tree["posterior"]["correlation"].to_numpy()
        posterior = self.problem.posterior(self.problem.strata)
        flat = posterior.unconstrain(self.sd, correlation.reshape(len(self.sd), -1), self.spread)
        return flat.reshape(*correlation.shape[:2], -1)

    @cached_property
    def effects(self) -> EffectDraws:
        """Coefficients and model effects, chains one after the other."""
        posterior = self.tree["posterior"]
        names = ("coefficient", "word_shift", "model_effect", "base_effect")
        arrays = [posterior[name].to_numpy() for name in names if name in posterior]
        flat = [a.reshape(-1, *a.shape[2:]) for a in arrays]
        return EffectDraws(*flat, *([np.zeros_like(flat[2])] if len(flat) < len(names) else []))

    @cached_property
    def margins(self) -> Margins:
        """Margins of the data for word effects, by draw if the crossing is incomplete."""
        crossing = self.problem.crossing
        if "completion" not in self.tree.children:
            return make_margins(crossing, make_tables(crossing, crossing.y))
        completion = self.tree["completion"]
        return Margins(completion["on_axes"].to_numpy(), completion["rest"].to_numpy())

    @cached_property
    def parameters(self) -> xr.DataArray:
        """Draws of SDs, correlations, residuals, means and slopes: (chain, draw, parameter)."""
        posterior = self.tree["posterior"].to_dataset()
        if self.of_items:
            if "spread" in posterior:
                posterior = posterior.sel(level=self.problem.components.spread_levels)
            named = ("component", "correlated", "level")
            known = {dim: posterior[dim].to_numpy().astype(str).tolist() for dim in named
                     if dim in posterior.dims}  # fmt: skip
            posterior = posterior.assign_coords(
                {dim: [item_component(name) for name in names] for dim, names in known.items()}
            )
        parts = [
            _flatten(posterior["sd"], "sd"),
            _flatten(posterior["correlation"], "correlation"),
            *(_flatten(posterior[name], name) for name in _MAYBE if name in posterior),
            *(
                _flatten(self._by_category(posterior["coefficient"], rows, labels), name)
                for name, labels, rows in self._mean_rows()
            ),
        ]
        return xr.concat([part for part in parts if part.size], "parameter")

    def _mean_rows(self) -> list[tuple[str, list[str], Array]]:
        """Rows of the design to report: kind, labels, rows."""
        design = self.problem.crossing.design
        rows = [("mean", ["all models"], design.matrix.mean(axis=0)[None])]
        for factor in design.variables:
            if factor.categorical:
                means = [design.average_row(factor, level) for level in factor.levels]
                rows.append(("mean", list(factor.levels), np.array(means)))
            else:
                slopes = [design.slope_row(factor, k) for k in range(len(factor.labels))]
                rows.append(("slope", list(factor.labels), np.array(slopes)))
        return rows

    def _by_category(
        self, coefficient: xr.DataArray, rows: Array, labels: list[str]
    ) -> xr.DataArray:
        """Effects of design rows on categories (sum zero over categories), by framing."""
        crossing = self.problem.crossing
        values = np.einsum(
            "rq,cdqfj,jk->cdrfk",
            rows,
            coefficient.to_numpy(),
            crossing.to_category,
            optimize=True,
        )
        return xr.DataArray(
            values,
            dims=("chain", "draw", "row", "framing", "category"),
            coords={
                "chain": coefficient["chain"],
                "draw": coefficient["draw"],
                "row": labels,
                "framing": list(crossing.framings),
                "category": list(crossing.categories),
            },
        )

    def rng(self, question: str) -> np.random.Generator:
        """Random numbers of one question, whatever was drawn before."""
        return np.random.default_rng([int(self.settings["seed"]), _STREAMS[question]])

    def spaced(self, n: int) -> NDArray[np.intp]:
        """Positions of up to ``n`` evenly spaced draws."""
        total = len(self.v)
        return np.unique(np.linspace(0, total - 1, min(n, total)).astype(np.intp))

    def without(self, unit: Unit) -> LeftOutFit:
        """Sample the variances without a unit, once."""
        from valuebias.posterior.refit import refit_without

        if unit not in self._left_out:
            self._left_out[unit] = refit_without(self.problem, unit, int(self.settings["seed"]))
        return self._left_out[unit]

    def why_not(self, what: str) -> str:
        """Say why a fit lacks what holds for normal residuals of one SD only; empty if it does.

        And for normal effects.
        """
        noise, settings = self.problem.noise, self.settings
        if noise.plain:
            return ""
        taken = "residuals as normal, with one SD of all models"
        given = f"family={settings['family']!r} and residual={settings['residual']!r}"
        if noise.tails:
            taken = "effects as normal, and residuals as normal with one SD of all models"
            also = f"{given} and " if noise.student or noise.by_model else ""
            given = f"{also}heavy_tails={settings['heavy_tails']!r}"
        return (
            f"{what} takes {taken}; this fit has {given}. Fit the same scores without these to "
            "have it."
        )

    @cached_property
    def names(self) -> list[str]:
        """Names that texts quote from the data, and that are no words of ours."""
        crossing = self.problem.crossing
        names = [*map(str, crossing.models), *crossing.categories, *crossing.items]
        columns = crossing.design.models
        texts = [columns[name] for name in columns if columns[name].dtype.kind in "OUT"]
        names += [str(value) for column in texts for value in column.unique()]
        return names + [str(name) for name in columns]

    def said(self, text: str) -> str:
        """Say a text as it is said of this fit's units, words or items."""
        return in_items(text, self.names) if self.of_items else text

    @property
    def component_names(self) -> list[str]:
        """Names of the components, as texts have them."""
        names = self.problem.components.names
        return [item_component(name) for name in names] if self.of_items else names

    def under(self, framing: str) -> str:
        """Name the prompts of a framing; of items there are none, but a mean."""
        return "mean over items" if self.of_items else under(framing)

    def require_words(self, what: str, instead: str = "") -> None:
        """Refuse what is about words, where the units are items of a contrast set."""
        if self.of_items:
            raise ValueBiasError(
                f"{what}; this fit is of items of a contrast set, whose variants are compared "
                f"within each item. {instead}".rstrip()
            )

    def require_gaussian(self, what: str) -> None:
        """Refuse what holds for normal residuals of one SD only."""
        why = self.why_not(what)
        if why:
            raise ValueBiasError(why)

    def smoother(self, draw: int, scales: Array) -> Smoother:
        """Make the smoother at one draw of the variances."""
        return Smoother(self.problem.crossing, self.problem.components, scales, self.v[draw])

    def residual_factors(
        self, chosen: NDArray[np.intp], rng: np.random.Generator
    ) -> Iterator[Factors]:
        """Draw what residuals of new models are like, for some draws, one by one."""
        posterior = self.tree["posterior"]
        spread = np.zeros(len(self.v))
        if "residual_spread" in posterior:
            spread = posterior["residual_spread"].to_numpy().ravel()
        nu = self.nu.get("residual", np.zeros(len(self.v)))
        noise, n_models = self.problem.noise, self.problem.crossing.shape[0]
        for i in chosen:
            yield noise.factors(float(nu[i]), float(spread[i]), n_models, rng)

    def completed_cubes(self, chosen: NDArray[np.intp]) -> Iterator[Array]:
        """Complete the outcome for some draws, one by one, into the same array.

        An incomplete outcome is drawn again given each draw's variances.
        """
        problem = self.problem
        if problem.crossing.complete:
            return itertools.repeat(problem.crossing.y, len(chosen))
        return problem.completed_cubes(self.v[chosen], self.rng("completions"))


_MAYBE = ("spread", "nu", "residual_spread", "residual_factor")
"""Draws that only some fits have."""
_PART_OF = {"component": "name", "correlated": "name", "row": "name", "kind": "name",
            "level": "category", "part": "name", "over": "name", "model": "name"}  # fmt: skip
"""Under which of the parts that name an estimand a dimension of the draws goes."""


def _flatten(draws: xr.DataArray, name: str) -> xr.DataArray:
    """Collapse all but chain and draw into one labelled dimension ``parameter``."""
    rest = [str(d) for d in draws.dims if d not in ("chain", "draw")]
    values = draws.transpose("chain", "draw", *rest)
    labels = [np.asarray(draws[d]).astype(str) for d in rest]
    cells = np.array([g.ravel() for g in np.meshgrid(*labels, indexing="ij")])
    # As estimands have them, so that nobody needs to take the label apart.
    parts = {_PART_OF.get(dim, dim): column for dim, column in zip(rest, cells, strict=True)}
    return xr.DataArray(
        values.to_numpy().reshape(*values.shape[:2], -1),
        dims=("chain", "draw", "parameter"),
        coords={
            "chain": draws["chain"],
            "draw": draws["draw"],
            "parameter": [f"{name}[{', '.join(cell)}]" for cell in cells.T],
            "kind": ("parameter", [name] * cells.shape[1]),
            **{
                part: ("parameter", parts.get(part, np.full(cells.shape[1], "")))
                for part in ("name", "framing", "category")
            },
        },
    )
