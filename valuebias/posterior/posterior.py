"""The posterior of the hierarchical model: its tables and numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from valuebias._core.notebooks import as_html
from valuebias._core.text import visible_lines
from valuebias.analysis.auditing.alike_prompts import solvable
from valuebias.analysis.design.priors import Prior, prior_table
from valuebias.analysis.estimands.diagnostics import (
    Diagnostics,
    agreement,
    describe_draws,
    diagnose,
)
from valuebias.analysis.estimands.estimand import COLUMNS, LEAN, MODEL, summarise_contrasts
from valuebias.analysis.estimands.plain_names import ascii_name, plain_name, plain_names
from valuebias.analysis.estimands.rows import Row, headline_factor
from valuebias.analysis.estimands.weights import Contrast, framing_contrasts, named_framings
from valuebias.analysis.headline import Headline
from valuebias.analysis.hierarchical import Problem
from valuebias.analysis.notes import Note, as_notes
from valuebias.analysis.outcome import describe
from valuebias.errors import ValueBiasError, did_you_mean
from valuebias.posterior.estimates import check_prob, check_rope
from valuebias.posterior.headline import make_headline
from valuebias.posterior.item_wording import in_items, item_component
from valuebias.posterior.questions import Questions
from valuebias.posterior.wording import shown
from valuebias.schema import member_table, model_table

if TYPE_CHECKING:
    import pymc as pm
    from distributed import Client

    from valuebias.analysis.estimands.loo import LOO, UnitLOO
    from valuebias.posterior.placebo import Placebo

__all__ = ["CERTAIN", "Posterior"]

Array = NDArray[np.float64]

CERTAIN = 0.995
"""Least probability of direction at which the sign of a word's difference is called certain."""
_MODEL_COORDS = ("family", "base", "stage", "n_params")


class Posterior(Questions):
    """The posterior of a hierarchical model: all tables of its draws, but no figures or reports.

    Its parameters are those of :class:`valuebias.Fit`.
    """

    def __init__(
        self,
        data: xr.Dataset,
        settings: Mapping[str, Any],
        prior: Prior,
        tree: xr.DataTree,
        provenance: dict[str, Any],
        problem: Problem | None = None,
    ) -> None:
        super().__init__(data, settings, prior, tree, problem)
        self.provenance = provenance

    def __repr__(self) -> str:
        m, p, w = (self.data.sizes[d] for d in ("model", "prompt", "response"))
        units = f"{p} prompts × {w} words"
        if self.of_items:
            by = "" if self.settings["by"] == "variant" else f" by {self.settings['by']}"
            units = f"{p} items × {w} groups of variants{by}" if by else f"{p} items × {w} variants"
        return visible_lines(
            f"<valuebias.{type(self).__name__} {self.settings['formula']!r}: "
            f"{m} models × {units}, {self.settings['outcome']} outcome, "
            f"{self.settings['path']} path>\n{self.headline()}"
        )

    def _repr_html_(self) -> str:
        """Show the headline and the first contrasts in a notebook."""
        about, answer = repr(self).split("\n", 1)
        table = self.contrasts()
        first = table[table["framing"] == table["framing"].iloc[0]]
        columns = ["estimand", "name", "at", "category", "framing", "mean", "lower", "upper"]
        written = shown(table).loc[first.index, [*columns, "p_direction"]]
        if (written["at"] == "").all():
            written = written.drop(columns="at")
        unit = describe(self.settings["outcome"]).unit
        return as_html(about.strip("<>"), answer, written, f"In {unit}; 90% intervals.", most=8)

    @property
    def notes(self) -> list[Note]:
        """What the data cannot show, and what makes the answer less certain than it looks."""
        return as_notes(self.settings["notes"])

    def contrasts(
        self,
        *,
        prob: float = 0.9,
        rope: float | None = None,
        pair: tuple[str, str] | None = None,
        framing: str | None = None,
        contrast: Contrast | None = None,
    ) -> pd.DataFrame:
        """Summarise the estimands; the headline is the first row.

        Parameters
        ----------
        prob : float, default 0.9
            Probability of the equal-tailed intervals.
        rope : float, optional
            Half-width of the region of practical equivalence around zero, in units of the outcome;
            the registered one, or 0.05 of its SD, if not given.
        pair : pair of str, optional
            The two families, or other levels, to compare; rows about others are left out.
        framing : {"signed", "positive", "negative"}, optional
            The prompts to speak of, as in :meth:`focused`.
        contrast : pair of str or mapping, optional
            The two categories to compare, likewise.

        Returns
        -------
        DataFrame
            Columns ``estimand`` (family difference; the same for these words; family lean;
            predicted lean of an unseen model; model lean; …), ``name``, ``framing`` (signed,
            positive, negative; of positive prompts alone "positive", of negative ones alone
            "negative, turned", which has the sign of liking, and "negative"), ``category``,
            ``mean``, ``median``, ``sd``, ``lower``, ``upper``, ``p_direction``, ``p_rope``,
            ``rhat``, ``ess_bulk``, ``ess_tail``. Units of the outcome. Then the parts of the names:
            ``form`` (difference, lean, …), ``variable`` (of the formula; base, model, overall),
            ``first`` and ``second`` (the levels compared), ``over`` and ``against`` (the categories
            compared; the second is empty for the mean of all others), ``variant``, and ``at``, what
            other variables are set to (see :meth:`means`; empty here).

        Raises
        ------
        ValueBiasError
            If `prob` is not between 0 and 1, `rope` is negative, or a level, framing or category is
            unknown.
        """
        view = self._asked(pair, framing, contrast)
        if view is not self:
            return _only(view.contrasts(prob=prob, rope=rope), view, pair, framing)
        check_prob(prob)
        registered = (self.settings.get("prereg") or {}).get("rope")
        half = check_rope(registered if rope is None else rope, self.problem.crossing.scale)
        table = summarise_contrasts(self.contrast_draws, prob, half, self._agreed)
        table.attrs |= {
            "prob": prob,
            "rope": half,
            "units": describe(self.settings["outcome"]).units,
        }
        table.attrs["draws"] = self.contrast_draws[..., 0].size
        return table

    @cached_property
    def _agreed(self) -> pd.DataFrame:
        """How well the chains agree on each estimand: a report asks seven times."""
        return agreement(self.contrast_draws)

    @cached_property
    def idata(self) -> Any:
        """The fit for ArviZ: an ``InferenceData``, from ArviZ 1 on an ``xarray.DataTree``.

        Groups ``posterior`` (SDs, correlations, coefficients, model effects, and ``contrast``, the
        draws of :attr:`contrast_draws`), ``sample_stats``, ``observed_data`` (the outcome; by
        ``cell`` where scores are missing) and ``log_likelihood``: of each score given all others,
        with the effects integrated out, for thinned draws, so that ``az.loo`` leaves out what
        :meth:`loo` does by score; its ``p_loo`` counts variances only, not effects. For more than
        two million scores there is none, and a warning says so; nor is there one where residuals
        are not normal with one SD, or effects not normal.

        Examples
        --------
        >>> import arviz as az
        >>> import valuebias
        >>> fit = valuebias.fit(valuebias.datasets.load("simulated"), seed=1, progress=False)
        >>> table = az.summary(fit.idata, var_names=["sd"])
        >>> int((table["r_hat"].astype(float) > 1.05).sum())
        0
        """
        from valuebias.posterior.idata import make_idata

        return make_idata(self, self.contrast_draws)

    def headline(
        self,
        *,
        pair: tuple[str, str] | None = None,
        framing: str | None = None,
        contrast: Contrast | None = None,
    ) -> Headline:
        """Give the answer in a sentence or two, with its uncertainty.

        Under the priors of the fit: where others would give another verdict, the answer of a
        report says so too, see :meth:`prior_sensitivity`.

        Parameters
        ----------
        pair : pair of str, optional
            The two families, or other levels, to compare; those of the fit if not given.
        framing : {"signed", "positive", "negative"}, optional
            The prompts to speak of, as in :meth:`focused`.
        contrast : pair of str or mapping, optional
            The two categories to compare, likewise.

        Returns
        -------
        Headline
            Text, its row of :meth:`contrasts`, and whether the fit converged.

        Raises
        ------
        ValueBiasError
            If a level, framing or category is unknown.
        """
        return make_headline(self._asked(pair, framing, contrast))

    def summary(self, *, prob: float = 0.9) -> pd.DataFrame:
        """Summarise SDs, correlations and category means.

        Parameters
        ----------
        prob : float, default 0.9
            Probability of the equal-tailed intervals.

        Returns
        -------
        DataFrame
            One row per parameter: mean, median, sd, lower, upper, rhat, ess_bulk, ess_tail, in
            units of the outcome. Named like ``sd[word, positive]``, ``correlation[word]`` (between
            framings), ``mean[Gemma, positive, agency]`` (a family's mean of a category, relative to
            the mean over categories) and ``slope[log10(n_params), positive, agency]``.
        """
        check_prob(prob)
        return describe_draws(self.parameters, prob)

    def words(
        self,
        *,
        pair: tuple[str, str] | None = None,
        framing: str | None = None,
        by: str | Sequence[str] | None = None,
        at: Mapping[str, Any] | None = None,
        prob: float = 0.9,
    ) -> pd.DataFrame:
        """Which words drive the difference between the families.

        Parameters
        ----------
        pair : pair of str, optional
            The two families, or other levels, to compare; those of the headline if not given.
        framing : {"signed", "positive", "negative"}, optional
            The prompts to speak of, as in :meth:`focused`.
        by : str or sequence of str, optional
            Variables of the formula within whose levels they are compared.
        at : mapping, optional
            Values that variables are set to, such as ``{"n_params": 8e9}``.
        prob : float, default 0.9
            Probability of the equal-tailed intervals.

        Returns
        -------
        DataFrame
            One row per word, largest difference first: ``word``, ``categories``, ``name`` (which
            families), ``mean``, ``sd``, ``lower``, ``upper``, ``p_direction``. The expected
            difference in outcome between the families on that word, signed by framing (for
            prompts of one framing, that of liking under it) and relative to the lexicon's mean. It
            generalises over models, and over bases if the fit has effects of bases.
            ``certain``: whether ``p_direction`` is .995 or more; never if the formula has as many
            columns as there are models, as differences are then between these very models.
            ``at``, where something is set: to what.
            ``expected_false_signs``: how many of this word and those above it are expected to
            differ the other way, the sum of ``1 - p_direction``.

        Raises
        ------
        ValueBiasError
            If the formula has no categorical variable to compare, or `pair` names none of its
            levels.

        Notes
        -----
        Among hundreds of words some reach any probability by chance, especially where the variance
        of families' likings, or the families' difference in lean, which all words of a category
        share, happens to be overestimated. In simulations of scores like the paper's on five
        bases one in six words with a ``p_direction`` of .975 had the wrong sign; hence .995.
        """
        self.require_words("words() says which words drive a difference", "See items().")
        check_prob(prob)
        view = self
        if any(one is not None for one in (pair, framing, by, at)):
            view = self.focused(pair=pair, framing=framing, by=by, at=at)
        asked = repr((view.focus, prob))
        if asked not in self._words:
            self._words[asked] = view._compare_words(prob)
        return self._words[asked].copy()

    def items(
        self,
        *,
        pair: tuple[str, str] | None = None,
        contrast: Contrast | None = None,
        prob: float = 0.9,
    ) -> pd.DataFrame:
        """Which items of a contrast set drive the difference between the families.

        Parameters
        ----------
        pair : pair of str, optional
            The two families, or other levels, to compare; those of the headline if not given.
        contrast : pair of str or mapping, optional
            The two groups of variants to compare, likewise.
        prob : float, default 0.9
            Probability of the equal-tailed intervals.

        Returns
        -------
        DataFrame
            One row per item, furthest from zero first: ``item``, ``name`` (which families; "all
            models" where the formula compares none), ``category`` (which variants), ``mean``,
            ``sd``, ``lower``, ``upper``, ``p_direction``, ``certain`` and ``expected_false_signs``,
            as in :meth:`words`.

        Raises
        ------
        ValueBiasError
            If the fit is of words, or the formula has as many columns as there are models.

        Examples
        --------
        >>> import numpy as np
        >>> import pandas as pd
        >>> import valuebias
        >>> from valuebias.schema.contrast_scores import build_contrasts
        >>> lines = [{"prompt": f"{i} + {i}?", "answers": {"right": f"{2 * i}", "wrong": "1"}}
        ...          for i in range(12)]
        >>> names = [f"org/{i}" for i in range(4)]
        >>> models = pd.DataFrame({"family": "A", "stage": "reward"}, index=names)
        >>> scores = np.random.default_rng(1).normal(size=(4, 12, 2))
        >>> scores[:, 3, 0] += 9
        >>> made = valuebias.contrast_set(lines)
        >>> ds = build_contrasts(scores, models=models, contrasts=made)
        >>> fit = valuebias.fit(ds, draws=100, seed=1, progress=False)
        >>> fit.items().loc[0, "item"]
        'item 4'
        """
        from valuebias.posterior.item_table import item_table

        check_prob(prob)
        return item_table(self._asked(pair, None, contrast), prob, CERTAIN)

    @cached_property
    def _words(self) -> dict[str, pd.DataFrame]:
        """Tables of words by what they are about: draws of thousands take time and memory."""
        return {}

    def _compare_words(self, prob: float) -> pd.DataFrame:
        """Compute what :meth:`words` gives."""
        rows = self.compared_rows()
        if not rows:
            raise ValueBiasError(
                f"the formula {self.settings['formula']!r} compares no groups of models, so no "
                "words drive a difference; fit '~ family'."
            )
        # Without replication, a model's own effect is part of the difference of its family.
        replicated = "model_word" in self.problem.components.names
        framing = next(iter(named_framings(self.problem.crossing.framings, self.focus.framing)))
        parts = []
        for row in rows:
            draws = self.words_of(row.row, framing)
            parts.append(self._word_table(draws, row, prob, replicated))
        table = pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]
        table.attrs |= {"draws": len(draws), "pair": (rows[0].first, rows[0].second)}
        return table

    def _word_table(self, draws: Array, row: Row, prob: float, replicated: bool) -> pd.DataFrame:
        """Summarise the differences of a row by word."""
        mean, sd, lower, upper, positive = _by_word(draws, prob)
        member = member_table(self.data).astype(bool)
        table = pd.DataFrame(
            {
                "word": member.index.astype(object),
                "categories": [", ".join(member.columns[r]) for r in member.to_numpy()],
                "name": f"{row.first} − {row.second}",
                **({"at": row.at} if row.at else {}),
                "mean": mean,
                "sd": sd,
                "lower": lower,
                "upper": upper,
                "p_direction": np.maximum(positive, 1 - positive),
            }
        )
        order = table["mean"].abs().sort_values(ascending=False, kind="stable").index
        table = table.loc[order].reset_index(drop=True)
        table["certain"] = (table["p_direction"] >= CERTAIN) & replicated
        table["expected_false_signs"] = (1 - table["p_direction"]).cumsum()
        return table

    def word_draws(self, *, framing: str = "signed") -> xr.DataArray:
        """Posterior draws of each word's expected outcome, averaged over the models' kinds.

        Parameters
        ----------
        framing : {"signed", "positive", "negative"}
            One framing of the prompts, or half the difference of the two; for prompts of one
            framing "signed" is that framing with the sign of liking.

        Returns
        -------
        DataArray
            (chain, draw, response), in units of the outcome, relative to the lexicon's mean;
            thinned where scores are missing and there are thousands of words.

        Raises
        ------
        ValueBiasError
            If the data have no prompts of that framing.
        """
        self.require_words("word_draws() gives the outcome of each word", "See items().")
        crossing = self.problem.crossing
        known = framing_contrasts(crossing.framings)
        if framing not in known:
            raise ValueBiasError(
                f"framing is {framing!r}, which the fit lacks. {did_you_mean(framing, known)}"
            )
        draws = self.words_of(crossing.design.matrix.mean(axis=0), framing, f"{framing} means")
        return xr.DataArray(
            draws.reshape(int(self.settings["chains"]), -1, draws.shape[-1]),
            dims=("chain", "draw", "response"),
            coords={"response": self.data["response"].to_numpy()},
        )

    def models(
        self,
        *,
        prob: float = 0.9,
        framing: str | None = None,
        contrast: Contrast | None = None,
    ) -> pd.DataFrame:
        """Leans of the models, with their coordinates; for a forest plot.

        Parameters
        ----------
        prob : float, default 0.9
            Probability of the equal-tailed intervals.
        framing : {"signed", "positive", "negative"}, optional
            The prompts to speak of, as in :meth:`focused`.
        contrast : pair of str or mapping, optional
            The two categories to compare, likewise.

        Returns
        -------
        DataFrame
            The ``model lean`` rows of :meth:`contrasts` joined with the models' coordinates.
        """
        table = self.contrasts(prob=prob, framing=framing, contrast=contrast)
        of_models = (table["form"] == LEAN) & (table["variable"] == MODEL)
        leans = table[of_models].drop(columns="estimand")
        coords = model_table(self.data)
        # Zarr keeps no order; a saved fit's table is the same.
        first = [name for name in _MODEL_COORDS if name in coords]
        others = sorted({*coords.columns} - {*first})
        kept = [name for name in (*first, *others) if name not in leans]
        return leans.join(coords[kept], on="name").reset_index(drop=True)

    def diagnostics(self) -> Diagnostics:
        """Judge whether the chains converged.

        Returns
        -------
        Diagnostics
            Verdict and messages, divergences, R-hat and effective sample sizes of all SDs,
            correlations, means and contrasts.
        """
        return self._diagnosed

    @cached_property
    def _diagnosed(self) -> Diagnostics:
        contrasts = describe_draws(self.contrast_draws, 0.9, self._agreed)
        found = diagnose(contrasts, self.summary(), self.tree["sample_stats"].to_dataset())
        messages, cautions = (list(map(self.said, x)) for x in (found.messages, found.cautions))
        return replace(found, messages=messages, cautions=cautions)

    def priors(self) -> pd.DataFrame:
        """List the priors.

        Returns
        -------
        DataFrame
            Index ``parameter``; columns ``prior`` (in units of the outcome) and ``meaning``.
        """
        problem = self.problem
        table = prior_table(self.prior, problem.crossing, problem.components, problem.noise)
        if not self.of_items:
            return table
        table.index = table.index.map(
            lambda name: re.sub(r"\[(.+)\]", lambda of: f"[{item_component(of[1])}]", name)
        )
        return table.assign(meaning=table["meaning"].map(in_items))

    def prior_sensitivity(
        self,
        *,
        factors: tuple[float, ...] = (0.5, 2.0),
        prob: float = 0.9,
        pair: tuple[str, str] | None = None,
        framing: str | None = None,
        contrast: Contrast | None = None,
        client: Client | None = None,
        progress: bool = True,
    ) -> pd.DataFrame:
        """Multiply each prior scale alone, and all together, and compare the headline.

        Parameters
        ----------
        factors : tuple of float, default (0.5, 2.0)
            Multiples of the prior scales.
        prob : float, default 0.9
            Probability of the intervals.
        pair : pair of str, optional
            The two families, or other levels, to compare; those of the fit if not given.
        framing : {"signed", "positive", "negative"}, optional
            The prompts to speak of, as in :meth:`focused`.
        contrast : pair of str or mapping, optional
            The two categories to compare, likewise.
        client : distributed.Client, optional
            A client of a Dask cluster, whose workers do the fits that are needed, with the same
            results. Needs ``pip install "valuebias[cluster]"``.
        progress : bool, default True
            Show a progress bar on standard error.

        Returns
        -------
        DataFrame
            Index ``scale`` (``"all"``, a component such as ``"base_category"``, ``"mean"``,
            ``"effect"`` or ``"spread"``) and ``factor``; the fit itself is the first row, with
            factor 1. Columns of :meth:`contrasts` for its first row, ``pareto_k`` and ``refitted``.

        Raises
        ------
        ValueBiasError
            If a factor is not a positive number, `prob` is not between 0 and 1, or `client` has no
            workers, or such as may give other results.

        Notes
        -----
        The draws are reweighted by the ratio of the priors (Kallioinen et al. 2023, *Statistics and
        Computing* 34, 57), smoothed by PSIS; where Pareto's k is too large for the weights the
        model is fitted again.

        Examples
        --------
        >>> import valuebias
        >>> fit = valuebias.fit(valuebias.datasets.load("simulated"), seed=1, progress=False)
        >>> table = fit.prior_sensitivity(progress=False)
        >>> table.loc[("model_category", 2.0), "name"]
        'Alder − Birch'
        """
        from valuebias.posterior.sensitivity import prior_sensitivity

        view = self._asked(pair, framing, contrast)
        table = prior_sensitivity(
            view, factors=factors, prob=prob, client=client, progress=progress
        )
        if self.of_items:
            table.index = table.index.map(lambda entry: (item_component(entry[0]), entry[1]))
        return table

    def log_ratio_to(self, prior: Prior) -> NDArray[np.float64]:
        """Log-ratio of another prior to that of the fit, at its draws: (draw,).

        Parameters
        ----------
        prior : Prior
            With the same concentration of correlations.

        Returns
        -------
        ndarray, shape (draw,)
            Chains one after the other.
        """
        from valuebias.analysis.estimands.reweighting import prior_log_ratio

        return prior_log_ratio(
            self.problem.crossing, self.problem.components, self.prior, prior,
            sd=self.sd, spread=self.spread, coefficient=self.effects.coefficient,
        )  # fmt: skip

    def ppc(self, *, draws: int = 100) -> xr.Dataset:
        """Compare the data with whole crossings simulated from the posterior.

        Parameters
        ----------
        draws : int, default 100
            Number of replicated crossings.

        Returns
        -------
        Dataset
            ``replicated`` (sample, statistic), ``observed`` and the two-sided ``p`` (statistic):
            of leans, spreads and single outcomes; and of the fit's assumptions, such as that models
            of a family are independent and families equally variable.
        """
        from valuebias.analysis.auditing.misfit import make_structure
        from valuebias.analysis.estimands.ppc import HeavyEffects, predictive_check

        _check_draws(draws)
        chosen, rng = self.spaced(draws), self.rng("ppc")
        structure = make_structure(
            self.problem.crossing, self.contrast, self.word_numbers, self.focus
        )
        nothing = np.zeros_like(self.problem.coefficient_scales)
        check = predictive_check(
            [self.smoother(i, nothing) for i in chosen],
            self.effects.coefficient[chosen],
            structure,
            rng,
            self.residual_factors(chosen, rng),
            [HeavyEffects(self.spread[i], {k: nu[i] for k, nu in self.tail_nu.items()})
             for i in chosen],
        )  # fmt: skip
        said = {name: [self.said(text) for text in check[name].to_numpy().tolist()]
                for name in ("statistic", "description")}  # fmt: skip
        return check.assign_coords(
            statistic=said["statistic"], description=("statistic", said["description"])
        )

    @overload
    def loo(
        self, *, by: Literal["score"] = ..., draws: int | None = ..., progress: bool = ...
    ) -> LOO: ...

    @overload
    def loo(
        self, *, by: Literal["model", "base", "word"], draws: int | None = ..., progress: bool = ...
    ) -> UnitLOO: ...

    def loo(
        self,
        *,
        by: Literal["score", "model", "base", "word"] = "score",
        draws: int | None = None,
        progress: bool = True,
    ) -> LOO | UnitLOO:
        """Estimate the log predictive density of what is left out in turn.

        Parameters
        ----------
        by : {"score", "model", "base", "word"}, default "score"
            What to leave out and predict. ``"score"``: one more score of these models and words on
            these prompts; with thousands of others of the same model, it says nothing about models.
            ``"model"``: another model of these families, where some of its base may be among the
            others. ``"base"``: all models of another base, which is what a statement on families is
            about. ``"word"``: another word of these categories, scored by these models.
        draws : int, optional
            Number of evenly spaced posterior draws of the variances to average over; 100 by score,
            else 1000.
        progress : bool, default True
            Show a progress bar on standard error, except by score.

        Returns
        -------
        LOO or UnitLOO
            Sum and standard error in nats, and the summands by score or by unit.

        Raises
        ------
        ValueBiasError
            If residuals are not normal with one SD (`family`, `residual`), or effects not normal
            (`heavy_tails`), since the density of what is left out is then no closed form; except by
            score: if scores are missing, or there are fewer than two units.

        Notes
        -----
        All effects are integrated out, so that given the variances the predictive density is
        exact. Outcomes, the unit of the priors and the coding of the formula stay those of all
        data. The density is of a model's contrasts between words (each model × prompt has a level
        of its own), and of a word's scores relative to those of the other words.

        By score the average over draws is weighted and exact; scores that are missing are drawn
        again for each, given its variances and the scores there are. Otherwise the weights are
        smoothed (PSIS); where Pareto's k is above 0.5 the model is fitted without the unit, and the
        density is the ratio of two integrals, with the unit and without, each by bridge sampling.
        Models usually need that, as one has thousands of scores.

        Source: Vehtari et al. 2017, *Statistics and Computing* 27, 1413–1432; 2024, *JMLR* 25(72);
        Gronau et al. 2020, *Journal of Statistical Software* 92(10).

        Examples
        --------
        >>> import valuebias
        >>> fit = valuebias.fit(valuebias.datasets.load("simulated"), seed=1, progress=False)
        >>> result = fit.loo(by="model", progress=False)
        >>> result.n == fit.data.sizes["model"]
        True
        """
        from valuebias.analysis.estimands.loo import loo
        from valuebias.posterior.leave_out import BY, leave_out

        if by not in ("score", *BY):
            raise ValueBiasError(f"unknown by={by!r}. {did_you_mean(by, ('score', *BY))}")
        if draws is not None:
            _check_draws(draws)
        self.require_gaussian("loo()")
        if by in ("score", "word"):
            self.require_words(
                f"loo(by={by!r}) leaves out single scores or words", "Ask for by='model' or 'base'."
            )
        with solvable():
            if by != "score":
                return leave_out(self, by, draws=draws or 1000, progress=progress)
            chosen, scales = self.spaced(draws or 100), self.problem.coefficient_scales
            return loo([self.smoother(i, scales) for i in chosen], self.completed_cubes(chosen))

    def placebo(
        self,
        *,
        match: str | Sequence[str] = (),
        bins: int = 5,
        n: int = 9999,
        seed: int = 0,
        pair: tuple[str, str] | None = None,
        framing: str | None = None,
        contrast: Contrast | None = None,
    ) -> Placebo:
        """Ask whether two arbitrary groups of words would tell the families apart as far.

        Parameters
        ----------
        match : str or sequence of str, optional
            Coordinates of the words that random groups are to be alike in, such as ``"frequency"``
            or ``"length"``: words change places with words of the same level, or bin.
        bins : int, default 5
            Bins of a number, of equal size.
        n : int, default 9999
            Random splits.
        seed : int, default 0
            Of the splits.
        pair : pair of str, optional
            The two families, or other levels, to compare; those of the fit if not given.
        framing : {"signed", "positive", "negative"}, optional
            The prompts to speak of, as in :meth:`focused`.
        contrast : pair of str or mapping, optional
            The two categories to compare, likewise.

        Returns
        -------
        Placebo
            The difference, those of the random splits, and the p-value.

        Raises
        ------
        ValueBiasError
            If `match` names no coordinate of words or leaves no word to change places with, or a
            word lacks all scores by a model.

        Notes
        -----
        A permutation test whose units are words; models and prompts are these very ones. It says
        whether the categories matter, not whether the difference would be found with other models,
        which the posterior is about.

        Examples
        --------
        >>> import valuebias
        >>> fit = valuebias.fit(valuebias.datasets.load("simulated"), seed=1, progress=False)
        >>> fit.placebo(match="length", n=199).p
        0.005
        """
        self.require_words("placebo() splits the words at random into other categories")
        from valuebias.posterior.placebo import placebo

        return placebo(self._asked(pair, framing, contrast), match, bins, n, seed)

    def influence(
        self,
        *,
        prob: float = 0.9,
        pair: tuple[str, str] | None = None,
        framing: str | None = None,
        contrast: Contrast | None = None,
        progress: bool = True,
    ) -> pd.DataFrame:
        """Estimate the headline without each model, and without each base that models share.

        Parameters
        ----------
        prob : float, default 0.9
            Probability of the intervals.
        pair : pair of str, optional
            The two families, or other levels, to compare; those of the fit if not given.
        framing : {"signed", "positive", "negative"}, optional
            The prompts to speak of, as in :meth:`focused`.
        contrast : pair of str or mapping, optional
            The two categories to compare, likewise.
        progress : bool, default True
            Show a progress bar on standard error.

        Returns
        -------
        DataFrame
            The fit itself in the first row (``unit`` "fit"), then one row per model and base:
            ``unit`` ("model" or "base"), ``name``, ``mean``, ``lower``, ``upper``, ``p_direction``
            of the first of :meth:`contrasts` without it, ``shift`` (by how many SDs of the fit's
            posterior the mean moves), ``largest`` (whether no other model, or base, moves it
            further) and ``remark``. Where leaving it out removes a family, the numbers are NaN and
            the remark says that the headline is not estimable.

        Notes
        -----
        The variances are sampled again without each, which takes a tenth of a second per model for
        a complete crossing and much longer for an incomplete one. Outcomes, priors and the meaning
        of the headline stay as they are.
        """
        from valuebias.posterior.influence import influence

        self.require_gaussian("influence()")
        view = self._asked(pair, framing, contrast)
        return influence(view, view.contrasts(prob=prob), progress=progress)

    def draws(self, *, format: Literal["tidy", "draws_df"] = "tidy") -> pd.DataFrame:
        """Posterior draws as a table, for R: SDs, correlations, category means and all contrasts.

        Parameters
        ----------
        format : {"tidy", "draws_df"}, default "tidy"
            One row per draw of a parameter, or one row per draw and one column per parameter, as
            ``as_draws_df`` of R's posterior package has it.

        Returns
        -------
        DataFrame
            Tidy: ``chain``, ``draw``, ``parameter``, ``value``, and what the parameter is of, as in
            :meth:`contrasts`: ``estimand``, ``name``, ``framing``, ``category``. Wide: ``.chain``,
            ``.iteration``, ``.draw`` and the parameters. Chains and draws are counted from 1. What
            is compared has an ordinary hyphen between, "Gemma - Llama"; the columns of the wide
            form are ASCII, with other letters as R writes them without UTF-8, ``<U+00EB>``.

        Raises
        ------
        ValueBiasError
            If `format` is neither.
        """
        if format not in ("tidy", "draws_df"):
            raise ValueBiasError(
                f"format is {format!r}. {did_you_mean(format, ('tidy', 'draws_df'))}"
            )
        values = np.concatenate([self.parameters, self.contrast_draws], axis=-1)
        labels = [*self.parameters["parameter"].to_numpy(), *self.contrast_draws["estimand"].values]
        chains, iterations, n_parameters = values.shape
        chain = np.repeat(np.arange(chains) + 1, iterations)
        iteration = np.tile(np.arange(iterations) + 1, chains)
        if format == "draws_df":
            columns = [ascii_name(label) for label in labels]
            wide = pd.DataFrame(values.reshape(-1, n_parameters), columns=columns)
            indices = {".chain": chain, ".iteration": iteration, ".draw": np.arange(len(chain)) + 1}
            for position, (column, index) in enumerate(indices.items()):
                wide.insert(position, column, index)
            return wide
        parts = ["kind", "name", "framing", "category"]
        of_each = pd.concat(
            [
                pd.DataFrame({part: part_of[part].to_numpy() for part in known}, dtype=object)
                for part_of, known in ((self.parameters, parts), (self.contrast_draws, COLUMNS))
            ],
            ignore_index=True,
        )
        named = plain_names(of_each)[parts].rename(columns={"kind": "estimand"})
        named["parameter"] = pd.Series([plain_name(label) for label in labels], dtype=object)
        # Taken as objects, because pandas' own text refuses a lone surrogate in a model's name.
        texts = named.loc[np.repeat(named.index, len(chain))].reset_index(drop=True)
        texts = texts.assign(
            chain=np.tile(chain, n_parameters),
            draw=np.tile(iteration, n_parameters),
            value=values.reshape(-1, n_parameters).T.ravel(),
        )
        order = ["chain", "draw", "parameter", "value", *parts]
        return texts[[part.replace("kind", "estimand") for part in order]]

    def save(self, path: str | PathLike[str]) -> Path:
        """Save the fit with its data, spec, priors, seed and provenance.

        The group ``estimands`` is for other programs, such as R: the table of :meth:`contrasts`,
        and draws of the headline, slopes and leans, in the units that it names.

        Parameters
        ----------
        path : path
            ``.nc`` (netCDF) or ``.zarr``. Written whole or not at all.

        Returns
        -------
        pathlib.Path
            The path.
        """
        from valuebias.posterior.saved import fit_groups, write_groups
        from valuebias.posterior.saved_estimands import ESTIMANDS, estimands_group

        groups, attrs = fit_groups(self)
        return write_groups({**groups, ESTIMANDS: estimands_group(self)}, attrs, path)

    @cached_property
    def model(self) -> pm.Model:
        """The PyMC model: SDs and correlations, everything else integrated out.

        For an incomplete crossing its likelihood is of the average completion.
        """
        from valuebias.analysis.sampling.pymc_model import build_model

        self.require_gaussian("fit.model, the PyMC model,")

        packed = self.problem.packed
        if "completion" in self.tree.children:
            packed = packed.with_scatter(self.tree["completion"]["scatter"].to_numpy())
        return build_model(self.problem.crossing, self.problem.components, self.prior, packed)


def _check_draws(draws: int) -> None:
    if not isinstance(draws, int | np.integer) or draws < 1:
        raise ValueBiasError(f"draws must be a whole number of 1 or more, found {draws!r}.")


def _by_word(draws: Array, prob: float) -> Array:
    """Mean, SD, interval and share above zero of draws (draw, word); some words at a time.

    Quantiles sort a copy, and draws of thousands of words are most of a fit's memory.
    """
    parts = []
    for start in range(0, draws.shape[1], 256):
        some = draws[:, start : start + 256]
        ends = np.quantile(some, [(1 - prob) / 2, (1 + prob) / 2], axis=0)
        above = (some > 0).mean(axis=0)
        parts.append(np.stack([some.mean(axis=0), some.std(axis=0, ddof=1), *ends, above]))
    return np.concatenate(parts, axis=1)


def _only(
    table: pd.DataFrame, fit: Posterior, pair: tuple[str, str] | None, framing: str | None
) -> pd.DataFrame:
    """Leave out the rows about other framings and other levels than were asked for."""
    keep = np.ones(len(table), dtype=bool)
    if framing is not None:
        keep &= (table["framing"] == table["framing"].iloc[0]).to_numpy()
    if pair is not None:
        factor = headline_factor(fit.problem.crossing.design, fit.focus.pair)
        of_levels = (table["variable"] == getattr(factor, "expression", "")).to_numpy()
        asked = [*map(str, pair), ""]
        keep &= ~of_levels | (table["first"].isin(asked) & table["second"].isin(asked)).to_numpy()
    return table[keep].reset_index(drop=True)
