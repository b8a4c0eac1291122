"""What a fit holds and what can be asked of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from valuebias.analysis.contrasts import (
    category_contrasts,
    estimands,
    framing_contrasts,
    stack_draws,
    summarise_contrasts,
)
from valuebias.analysis.density import variances
from valuebias.analysis.diagnostics import Diagnostics, describe_draws, diagnose
from valuebias.analysis.effects import EffectDraws, Margins, draw_word_effects, make_margins
from valuebias.analysis.hierarchical import Problem, make_problem
from valuebias.analysis.outcome import describe
from valuebias.analysis.priors import Prior, prior_table
from valuebias.analysis.smoother import Smoother
from valuebias.analysis.strata import make_tables
from valuebias.errors import ValueBiasError
from valuebias.headline import Headline, make_headline
from valuebias.schema import member_table, model_table

if TYPE_CHECKING:
    import pymc as pm
    from matplotlib.figure import Figure

    from valuebias.analysis.loo import LOO

__all__ = ["Fit"]

Array = NDArray[np.float64]

# Streams of random numbers, so that one question's draws do not depend on which was asked before.
_CONTRASTS, _WORDS, _PPC = 2, 3, 4


class Fit:
    """A fitted hierarchical model; made by :func:`valuebias.fit`, not by hand.

    Attributes
    ----------
    data : xarray.Dataset
        The scores as fitted (words outside the lexicon dropped).
    spec : mapping
        Formula, outcome, contrast, sampler settings, seed, the path taken (``"complete"`` or
        ``"incomplete"``), missing cells, and notes on what the data cannot say.
    prior : Prior
        Prior scales in units of the outcome's SD.
    tree : xarray.DataTree
        Groups ``posterior`` (SDs, correlations, coefficients, model effects by chain and draw) and
        ``sample_stats``; ``completion`` for incomplete crossings.
    provenance : dict
        When, with what versions and on what the fit was made.
    """

    def __init__(
        self,
        data: xr.Dataset,
        spec: Mapping[str, Any],
        prior: Prior,
        tree: xr.DataTree,
        provenance: dict[str, Any],
        problem: Problem | None = None,
    ) -> None:
        self.data, self.spec, self.prior = data, spec, prior
        self.tree, self.provenance = tree, provenance
        if problem is not None:
            self.__dict__["problem"] = problem

    def __repr__(self) -> str:
        m, p, w = (self.data.sizes[d] for d in ("model", "prompt", "response"))
        return (
            f"<valuebias.Fit {self.spec['formula']!r}: {m} models × {p} prompts × {w} words, "
            f"{self.spec['outcome']} outcome, {self.spec['path']} path>\n{self.headline()}"
        )

    @cached_property
    def problem(self) -> Problem:
        """The crossing, its components and prior; made again from the data after loading."""
        return make_problem(self.data, self.spec["formula"], self.spec["outcome"], self.prior)

    def contrasts(self, *, prob: float = 0.9, rope: float | None = None) -> pd.DataFrame:
        """Summarise the estimands; the headline is the first row.

        Parameters
        ----------
        prob : float, default 0.9
            Probability of the equal-tailed intervals.
        rope : float, optional
            Half-width of the region of practical equivalence around zero, in units of the outcome;
            0.05 of its SD if not given.

        Returns
        -------
        DataFrame
            Columns ``estimand`` (family difference; the same for these words; family lean;
            predicted lean of an unseen model; model lean; …), ``name``, ``framing`` (signed,
            positive, negative), ``category``, ``mean``, ``median``, ``sd``, ``lower``, ``upper``,
            ``p_direction``, ``p_rope``, ``rhat``, ``ess_bulk``, ``ess_tail``. Units of the outcome.

        Raises
        ------
        ValueBiasError
            If `prob` is not between 0 and 1 or `rope` is negative.
        """
        _check_prob(prob)
        half = 0.05 * self.problem.crossing.scale if rope is None else rope
        if not half >= 0:
            raise ValueBiasError(f"rope must be zero or more, found {rope!r}.")
        table = summarise_contrasts(self.contrast_draws, prob, half)
        table.attrs |= {"prob": prob, "rope": half, "units": describe(self.spec["outcome"]).units}
        return table

    @cached_property
    def contrast_draws(self) -> xr.DataArray:
        """Posterior draws of all estimands, (chain, draw, estimand), in units of the outcome."""
        contrast = self.spec["contrast"]
        items = estimands(
            self.problem.crossing,
            self.problem.components,
            self._effects,
            self._v,
            tuple(contrast) if contrast else None,
            self._rng(_CONTRASTS),
        )
        return stack_draws(items, int(self.spec["chains"]))

    def headline(self) -> Headline:
        """Give the answer in a sentence or two, with its uncertainty."""
        return make_headline(self)

    def summary(self, *, prob: float = 0.9) -> pd.DataFrame:
        """Summarise SDs, correlations and category means.

        Parameters
        ----------
        prob : float, default 0.9
            Probability of the equal-tailed intervals.

        Returns
        -------
        DataFrame
            One row a parameter: mean, median, sd, lower, upper, rhat, ess_bulk, ess_tail, in units
            of the outcome. Named like ``sd[word, positive]``, ``correlation[word]`` (between
            framings), ``mean[Gemma, positive, agency]`` (a family's mean of a category, relative to
            the mean over categories) and ``slope[log10(n_params), positive, agency]``.
        """
        _check_prob(prob)
        return describe_draws(self._parameters, prob)

    def words(self, *, prob: float = 0.9) -> pd.DataFrame:
        """Which words drive the difference between the families.

        Returns
        -------
        DataFrame
            One row a word, largest difference first: ``word``, ``categories``, ``name`` (which
            families), ``mean``, ``sd``, ``lower``, ``upper``, ``p_direction``. The expected
            difference in outcome between the families on that word, signed by framing and relative
            to the lexicon's mean.

        Raises
        ------
        ValueBiasError
            If the formula has no categorical variable to compare.
        """
        _check_prob(prob)
        draws, name = self._word_draws
        lower, upper = np.quantile(draws, [(1 - prob) / 2, (1 + prob) / 2], axis=0)
        positive = (draws > 0).mean(axis=0)
        member = member_table(self.data)
        table = pd.DataFrame(
            {
                "word": member.index.astype(object),
                "categories": [", ".join(member.columns[row]) for row in member.to_numpy()],
                "name": name,
                "mean": draws.mean(axis=0),
                "sd": draws.std(axis=0, ddof=1),
                "lower": lower,
                "upper": upper,
                "p_direction": np.maximum(positive, 1 - positive),
            }
        )
        order = table["mean"].abs().sort_values(ascending=False, kind="stable").index
        return table.loc[order].reset_index(drop=True)

    @cached_property
    def _word_draws(self) -> tuple[Array, str]:
        crossing = self.problem.crossing
        factors = [f for f in crossing.design.variables if f.categorical]
        if not factors:
            raise ValueBiasError(
                f"the formula {self.spec['formula']!r} compares no groups of models, so no words "
                "drive a difference; fit '~ family'."
            )
        factor = next((f for f in factors if f.expression == "family"), factors[0])
        first, second = factor.levels[:2]
        design = crossing.design
        row = design.average_row(factor, first) - design.average_row(factor, second)
        draws = draw_word_effects(
            crossing,
            self.problem.components,
            self._margins,
            self._v,
            self._effects,
            row,
            framing_contrasts(crossing.framings)["signed"],
            self._rng(_WORDS),
        )
        return draws, f"{first} − {second}"

    def models(self, *, prob: float = 0.9) -> pd.DataFrame:
        """Leans of the models, with their coordinates; for a forest plot.

        Returns
        -------
        DataFrame
            The ``model lean`` rows of :meth:`contrasts` joined with the models' coordinates.
        """
        table = self.contrasts(prob=prob)
        leans = table[table["estimand"] == "model lean"].drop(columns="estimand")
        coords = model_table(self.data).drop(columns=["name", "framing"], errors="ignore")
        return leans.join(coords, on="name").reset_index(drop=True)

    def diagnostics(self) -> Diagnostics:
        """Whether the chains converged, with R-hat and effective sample sizes."""
        contrast = describe_draws(self.contrast_draws, 0.9)
        table = pd.concat([self.summary(), contrast])
        return diagnose(table, self.tree["sample_stats"].to_dataset())

    def priors(self) -> pd.DataFrame:
        """List the priors in units of the outcome, one row a kind of parameter."""
        return prior_table(self.prior, self.problem.crossing, self.problem.components)

    def prior_sensitivity(
        self, *, factors: tuple[float, ...] = (0.5, 2.0), prob: float = 0.9, progress: bool = False
    ) -> pd.DataFrame:
        """Refit with all prior scales multiplied by each factor, and compare the headline.

        Parameters
        ----------
        factors : tuple of float, default (0.5, 2.0)
            Multiples of the prior scales; 1 is the fit itself and always the first row.
        prob : float, default 0.9
            Probability of the intervals.
        progress : bool, default False
            Show progress bars.

        Returns
        -------
        DataFrame
            Index ``prior scale``; columns of :meth:`contrasts` for its first row.
        """
        from valuebias.refitting import refit

        rows = {1.0: self.contrasts(prob=prob).iloc[0]}
        for factor in factors:
            other = refit(self, prior=self.prior.scaled(factor), progress=progress)
            rows[factor] = other.contrasts(prob=prob).iloc[0]
        return pd.DataFrame(rows).T.rename_axis("prior scale").infer_objects()

    def ppc(self, *, draws: int = 100) -> xr.Dataset:
        """Compare the data with whole crossings simulated from the posterior.

        Parameters
        ----------
        draws : int, default 100
            Number of replicated crossings.

        Returns
        -------
        Dataset
            ``replicated`` (sample, statistic), ``observed`` and the two-sided ``p`` (statistic).
        """
        from valuebias.analysis.ppc import predictive_check

        crossing = self.problem.crossing
        chosen = self._spaced(draws)
        weights = next(iter(self._categories.values()))
        nothing = np.zeros_like(self.problem.coefficient_scales)
        return predictive_check(
            [self._smoother(i, nothing) for i in chosen],
            self._effects.coefficient[chosen],
            crossing.contrast_weights(weights),
            framing_contrasts(crossing.framings)["signed"],
            self._rng(_PPC),
        )

    def loo(self, *, draws: int = 100) -> LOO:
        """Estimate the log predictive density by leaving out each score in turn.

        Exact given the variances (all effects integrated out), averaged over evenly spaced draws.

        Parameters
        ----------
        draws : int, default 100
            Number of posterior draws of the variances to average over.

        Returns
        -------
        LOO
        """
        from valuebias.analysis.loo import loo

        cubes, chosen = self._completed_cubes(draws)
        scales = self.problem.coefficient_scales
        return loo([self._smoother(i, scales) for i in chosen], cubes)

    def plot(self, kind: str = "forest") -> Figure:
        """Draw a figure; see :mod:`valuebias.plots` for the kinds."""
        from valuebias import plots

        return plots.plot(self, kind)

    def report(self, path: str | PathLike[str]) -> Path:
        """Write a report: ``.html``, ``.md``, ``.tex``, ``.nc``, or a folder of CSV files."""
        from valuebias import report

        return report.write_report(self, path)

    def draws(self) -> pd.DataFrame:
        """Posterior draws in tidy form for R: ``chain``, ``draw``, ``parameter``, ``value``.

        Returns
        -------
        DataFrame
            SDs, correlations, category means by column and framing, and all contrasts; chains and
            draws counted from 1, as in R's posterior package.
        """
        contrasts = self.contrast_draws.drop_vars(["kind", "name", "framing", "category"])
        parts = [self._parameters, contrasts.rename(estimand="parameter")]
        stacked = xr.concat(parts, "parameter").transpose("parameter", "chain", "draw")
        frame = stacked.to_series().rename("value").reset_index()
        frame[["chain", "draw"]] += 1
        return frame[["chain", "draw", "parameter", "value"]]

    def save(self, path: str | PathLike[str]) -> Path:
        """Save the fit with its data, spec, priors, seed and provenance.

        Parameters
        ----------
        path : path
            ``.nc`` (netCDF) or ``.zarr``. Written whole or not at all.

        Returns
        -------
        pathlib.Path
        """
        from valuebias.storage import save_fit

        return save_fit(self, path)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Fit:
        """Read a saved fit; the same as :func:`valuebias.load`."""
        from valuebias.storage import load_fit

        return load_fit(path)

    @cached_property
    def model(self) -> pm.Model:
        """The PyMC model: SDs and correlations, everything else integrated out.

        For an incomplete crossing its likelihood is of the average completion.
        """
        from dataclasses import replace

        from valuebias.analysis.model import build_model

        packed = self.problem.packed
        if "completion" in self.tree.children:
            packed = replace(packed, scatter=self.tree["completion"]["scatter"].to_numpy())
        return build_model(self.problem.crossing, self.problem.components, self.prior, packed)

    # What the methods share.

    @property
    def _categories(self) -> dict[str, Array]:
        contrast = self.spec["contrast"]
        pair = tuple(contrast) if contrast else None
        return category_contrasts(self.problem.crossing.categories, pair)

    @cached_property
    def _v(self) -> Array:
        posterior = self.tree["posterior"]
        v = variances(posterior["sd"].to_numpy(), posterior["correlation"].to_numpy())
        return v.reshape(-1, self.problem.components.n_variances)

    @cached_property
    def _effects(self) -> EffectDraws:
        posterior = self.tree["posterior"]
        names = ("coefficient", "word_shift", "model_effect")
        arrays = (posterior[name].to_numpy() for name in names)
        return EffectDraws(*(a.reshape(-1, *a.shape[2:]) for a in arrays))

    @cached_property
    def _margins(self) -> Margins:
        crossing = self.problem.crossing
        if "completion" not in self.tree.children:
            return make_margins(crossing, make_tables(crossing, crossing.y))
        completion = self.tree["completion"]
        return Margins(completion["on_axes"].to_numpy(), completion["rest"].to_numpy())

    @cached_property
    def _parameters(self) -> xr.DataArray:
        """Draws of SDs, correlations, category means and slopes: (chain, draw, parameter)."""
        posterior = self.tree["posterior"].to_dataset()
        parts = [
            _flatten(posterior["sd"], "sd"),
            _flatten(posterior["correlation"], "correlation"),
            *(
                _flatten(self._by_category(posterior["coefficient"], rows, labels), name)
                for name, labels, rows in self._mean_rows()
            ),
        ]
        return xr.concat([part for part in parts if part.size], "parameter")

    def _mean_rows(self) -> Iterator[tuple[str, list[str], Array]]:
        """Rows of the design to report: what they are, their labels, the rows."""
        design = self.problem.crossing.design
        yield "mean", ["all models"], design.matrix.mean(axis=0)[None]
        for factor in design.variables:
            if factor.categorical:
                rows = [design.average_row(factor, level) for level in factor.levels]
                yield "mean", list(factor.levels), np.array(rows)
            else:
                rows = [design.slope_row(factor, k) for k in range(len(factor.labels))]
                yield "slope", list(factor.labels), np.array(rows)

    def _by_category(
        self, coefficient: xr.DataArray, rows: Array, labels: list[str]
    ) -> xr.DataArray:
        """Effects of design rows on categories (sum zero over categories), by framing."""
        crossing = self.problem.crossing
        to_category = crossing.category_axes / np.sqrt(crossing.axis_weight)
        values = np.einsum(
            "rq,cdqfj,kj->cdrfk", rows, coefficient.to_numpy(), to_category, optimize=True
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

    def _rng(self, stream: int) -> np.random.Generator:
        return np.random.default_rng([int(self.spec["seed"]), stream])

    def _spaced(self, n: int) -> NDArray[np.intp]:
        """Positions of up to ``n`` evenly spaced draws."""
        total = len(self._v)
        return np.unique(np.linspace(0, total - 1, min(n, total)).astype(np.intp))

    def _smoother(self, draw: int, scales: Array) -> Smoother:
        return Smoother(self.problem.crossing, self.problem.components, scales, self._v[draw])

    def _completed_cubes(self, n: int) -> tuple[list[Array], NDArray[np.intp]]:
        crossing = self.problem.crossing
        if "completion" not in self.tree.children:
            chosen = self._spaced(n)
            return [crossing.y] * len(chosen), chosen
        completion = self.tree["completion"]
        kept = completion["kept"].to_numpy()
        some = np.unique(np.linspace(0, len(kept) - 1, min(n, len(kept))).astype(np.intp))
        cells = tuple(completion["cell"].to_numpy().T)
        cubes = []
        for values in completion["value"].to_numpy()[some]:
            cube = crossing.y.copy()
            cube[cells] = values
            cubes.append(cube)
        return cubes, kept[some]


def _check_prob(prob: float) -> None:
    if not 0 < prob < 1:
        raise ValueBiasError(f"prob must lie between 0 and 1, such as 0.9, found {prob!r}.")


def _flatten(draws: xr.DataArray, name: str) -> xr.DataArray:
    """Collapse all but chain and draw into one labelled dimension ``parameter``."""
    rest = [d for d in draws.dims if d not in ("chain", "draw")]
    values = draws.transpose("chain", "draw", *rest)
    labels = [np.asarray(draws[d]).astype(str) for d in rest]
    grid = np.meshgrid(*labels, indexing="ij")
    joined = [f"{name}[{', '.join(cell)}]" for cell in zip(*(g.ravel() for g in grid), strict=True)]
    flat = values.to_numpy().reshape(*values.shape[:2], -1)
    return xr.DataArray(
        flat,
        dims=("chain", "draw", "parameter"),
        coords={"chain": draws["chain"], "draw": draws["draw"], "parameter": joined},
    )
