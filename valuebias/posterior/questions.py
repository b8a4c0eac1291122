"""Means, comparisons, slopes and predictions of a posterior, and arithmetic of them."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from valuebias._core.checks import check_known
from valuebias._core.frames import as_frame
from valuebias.analysis.design.formula import ModelDesign
from valuebias.analysis.estimands.cells import (
    Cell,
    averaging,
    cells_values,
    check_number,
    factor_of,
    make_cells,
    number_of,
    outside,
    slope_row,
    value_text,
    values_of,
)
from valuebias.analysis.estimands.contrasts import estimands, make_estimands
from valuebias.analysis.estimands.estimand import (
    DIFFERENCE,
    DOUBLE_DIFFERENCE,
    LEAN,
    PREDICTED,
    SLOPE,
    THESE_ITEMS,
    THESE_WORDS,
    CategoryPair,
    Estimand,
    stack_draws,
)
from valuebias.analysis.estimands.rows import Focus, Row, headline_factor, level_rows
from valuebias.analysis.estimands.unseen import Unseen
from valuebias.analysis.estimands.weights import (
    Contrast,
    named_framings,
    store_contrast,
)
from valuebias.analysis.outcome import describe
from valuebias.errors import ValueBiasError, ValueBiasWarning, did_you_mean, few, shown
from valuebias.posterior.draws import Draws
from valuebias.posterior.estimates import Estimates
from valuebias.posterior.item_wording import contrasts_of
from valuebias.schema.spelling import look_alike, spelled_twice

__all__ = ["Questions", "largest_difference"]

Array = NDArray[np.float64]
Names = str | Sequence[str] | None
At = Mapping[str, Any] | None
Weights = Literal["observed", "equal"]

_EACH = "category"
"""Named in ``by``, it asks for each category instead of the contrast."""

# What follows from the contrast and the focus.
_FOLLOWS = {"contrast_draws", "idata", "_diagnosed", "_agreed", "report_inputs"}


class Questions(Draws):
    """Answers of a posterior to questions that its user asks."""

    @cached_property
    def contrast_draws(self) -> xr.DataArray:
        """Posterior draws of all estimands, (chain, draw, estimand), in units of the outcome."""
        items = estimands(
            self.problem.crossing,
            self.problem.components,
            self.effects,
            self.v,
            self.contrast,
            self.rng("contrasts"),
            self.focus,
            self.tail_nu,
        )
        if self.of_items:
            items = [
                replace(item, variant=THESE_ITEMS) if item.variant == THESE_WORDS else item
                for item in items
            ]
        return stack_draws(items, int(self.settings["chains"]))

    def focused(
        self,
        *,
        pair: tuple[str, str] | None = None,
        by: str | Sequence[str] | None = None,
        at: Mapping[str, Any] | None = None,
        contrast: Contrast | None = None,
        framing: str | None = None,
    ) -> Self:
        """View the fit with another question in front: in its headline, tables, figures, report.

        Nothing is sampled again.

        Parameters
        ----------
        pair : pair of str, optional
            The two levels to compare first, of any variable of the formula. If not given those of
            the fit: of two families the first − the second, of more the two that differ most.
        by : str or sequence of str, optional
            Variables of the formula within whose levels they are compared.
        at : mapping, optional
            Values that variables are set to, such as ``{"n_params": 8e9}``.
        contrast : pair of str or mapping, optional
            The two categories to compare, or a weight for each that takes part.
        framing : {"signed", "positive", "negative"}, optional
            The prompts to speak of: all, signed by their framing, or those of one framing, of
            negative ones with the sign turned, so that a positive lean is a liking.

        Returns
        -------
        Fit
            With the same draws.

        Raises
        ------
        ValueBiasError
            If a level, variable or category is unknown.

        Examples
        --------
        >>> import valuebias
        >>> fit = valuebias.fit(valuebias.datasets.load("simulated"), seed=1, progress=False)
        >>> fit.focused(pair=("Birch", "Alder")).contrasts().loc[0, "name"]
        'Birch − Alder'
        """
        design = self.problem.crossing.design
        focus: dict[str, Any] = {**(self.settings.get("focus") or {})}
        if pair is not None:
            levels: Any = tuple(map(str, pair)) if isinstance(pair, list | tuple) else pair
            headline_factor(design, levels)
            focus = {**focus, "pair": list(levels), "largest": False}
        if by is not None:
            focus["by"] = [factor_of(design, name, "by").expression for name in _names(by, "by")]
        if at is not None:
            # As cells take them: what is wrong is said here.
            make_cells(design, (), at, "observed")
            focus["at"] = {name: np.asarray(value).tolist() for name, value in at.items()}
        if framing is not None:
            present = self.problem.crossing.framings
            known = ("signed", *present)
            check_known(framing, known, f"The prompts have no framing {shown(framing)}.")
            focus["framing"] = framing if len(present) > 1 and framing != "signed" else None
        settings = {**self.settings, "focus": focus}
        if contrast is not None:
            contrasts_of(self.problem.crossing, contrast)
            settings["contrast"] = store_contrast(contrast)
        view = copy(self)
        view.settings = settings
        for name in _FOLLOWS & vars(view).keys():
            del vars(view)[name]
        if focus.get("largest"):
            view.settings["focus"] = focus | largest_difference(view)
        view.contrast_draws  # noqa: B018  # errors belong here, not to the first table
        return view

    def _asked(
        self, pair: tuple[str, str] | None, framing: str | None, contrast: Contrast | None
    ) -> Self:
        """View the fit with what a table, a headline or a figure was asked in front."""
        if pair is None and framing is None and contrast is None:
            return self
        return self.focused(pair=pair, framing=framing, contrast=contrast)

    def means(
        self,
        by: Names = None,
        *,
        at: At = None,
        weights: Weights = "observed",
        contrast: Contrast | None = None,
    ) -> Estimates:
        """Estimate mean leans of models of each kind: estimated marginal means.

        Parameters
        ----------
        by : str or sequence of str, optional
            Variables of the formula with levels: one mean for each combination of them. With
            ``"category"`` among them, the mean of each category relative to the mean over
            categories, instead of the lean.
        at : mapping, optional
            Values that variables are set to, such as ``{"n_params": 8e9}``, or a list of values
            each. Numbers are named as coordinates, not as the formula transforms them.
        weights : {"observed", "equal"}, default "observed"
            The other variables: as the models at hand have them, or all their levels equally, with
            numbers at their mean over models.
        contrast : pair of str or mapping, optional
            The categories to compare, or a weight for each; that of the fit if not given.

        Returns
        -------
        Estimates
            One for each combination and framing. Its table has the columns of :meth:`contrasts`,
            one more for each variable set, and ``n_models``: how many of the models at hand have
            these levels. Where that is 0, the formula alone says what such models are like.

        Raises
        ------
        ValueBiasError
            If a variable is not in the formula, a level is unknown, or a setting is wrong.

        Notes
        -----
        Each is the lean expected of a new model of that kind, on a base of its own, for words and
        prompts like these. With observed weights and one variable they are the leans of
        :meth:`contrasts`. Source: Searle, Speed and Milliken 1980, *The American Statistician* 34,
        216–221 (equal weights: emmeans); Arel-Bundock, Greifer and Heiss 2024, *Journal of
        Statistical Software* 111(9) (observed: ``avg_predictions(variables=)``).

        Examples
        --------
        >>> import valuebias
        >>> fit = valuebias.fit(valuebias.datasets.load("simulated"), seed=1, progress=False)
        >>> means = fit.means(by="family")
        >>> means.table()["name"].unique().tolist()
        ['Alder', 'Birch']
        >>> means.averaging
        'Every variable of the formula is set.'
        """
        design = self.problem.crossing.design
        names, each = _split_category(by, contrast)
        cells = make_cells(design, names, at, weights)
        variable = ", ".join(names) or "overall"
        rows = [
            Row(
                LEAN,
                variable,
                cell.label(names) or "all models",
                "",
                cell.row(design),
                cell.where(names),
            )
            for cell in cells
        ]
        return self._answer(rows, cells, contrast, weights, [*names, *(at or {})], each=each)

    def comparisons(
        self,
        variable: str | Sequence[str] = "family",
        *,
        pair: Sequence[Any] | None = None,
        by: Names = None,
        at: At = None,
        weights: Weights = "observed",
        contrast: Contrast | None = None,
    ) -> Estimates:
        """Compare kinds of models: differences between levels of a variable of the formula.

        Parameters
        ----------
        variable : str or two of them, default "family"
            The variable whose levels are compared. Of two variables, ``("family", "stage")``, how
            much the differences of the first differ between levels of the second.
        pair : pair, optional
            The two levels to compare, or the two values of a number; of two variables a mapping
            from each to its pair. All pairs of levels if not given.
        by : str or sequence of str, optional
            Variables with levels: the comparison within each combination of them. With
            ``"category"`` among them, of each category instead of the lean.
        at : mapping, optional
            Values that variables are set to, as for :meth:`means`.
        weights : {"observed", "equal"}, default "observed"
            The other variables, as for :meth:`means`.
        contrast : pair of str or mapping, optional
            The categories to compare, or a weight for each; that of the fit if not given.

        Returns
        -------
        Estimates
            One for each pair of levels, combination and framing; the first level − the second.

        Raises
        ------
        ValueBiasError
            If a variable is not in the formula, a level is unknown, or a setting is wrong.

        Examples
        --------
        >>> import valuebias
        >>> fit = valuebias.fit(valuebias.datasets.load("simulated"), seed=1, progress=False)
        >>> table = fit.comparisons("family", pair=("Birch", "Alder")).table()
        >>> table.loc[0, ["estimand", "name", "framing"]].tolist()
        ['family difference', 'Birch − Alder', 'signed']
        """
        design = self.problem.crossing.design
        names, each = _split_category(by, contrast)
        compared = _names(variable, "variable")
        if not 1 <= len(compared) <= 2 or len({*compared}) < len(compared):
            raise ValueBiasError(
                f"variable names {shown(variable)}; name one variable, or two different ones for "
                "differences of differences."
            )
        pairs = [self._level_pairs(name, _pair_for(name, pair, compared)) for name in compared]
        cells = make_cells(design, names, at, weights, apart=compared)
        rows, of_rows = [], []
        for cell in cells:
            for chosen in itertools.product(*pairs):
                rows.append(_difference(cell, compared, chosen, design))
                of_rows.append(cell)
        fixed = [*compared, *names, *(at or {})]
        return self._answer(rows, of_rows, contrast, weights, fixed, each=each)

    def slopes(
        self,
        variable: str,
        *,
        by: Names = None,
        at: At = None,
        weights: Weights = "observed",
        contrast: Contrast | None = None,
    ) -> Estimates:
        """Estimate how the lean changes with a number that describes models.

        Parameters
        ----------
        variable : str
            A number of the formula, or an expression of one: ``"n_params"`` for the change per
            parameter, ``"log10(n_params)"`` per factor of ten, whatever the formula makes of it.
        by : str or sequence of str, optional
            Variables with levels: the slope within each combination of them.
        at : mapping, optional
            Values that variables are set to, as for :meth:`means`; of `variable` itself where to
            take the slope of a curve.
        weights : {"observed", "equal"}, default "observed"
            The other variables, as for :meth:`means`.
        contrast : pair of str or mapping, optional
            The categories to compare, or a weight for each; that of the fit if not given.

        Returns
        -------
        Estimates
            One for each combination and framing, per unit of `variable`.

        Raises
        ------
        ValueBiasError
            If `variable` is not a number of the formula, or a setting is wrong.

        Notes
        -----
        The slope of a curve is its derivative, by central differences, averaged over the models
        as to what is not set.

        Examples
        --------
        >>> import valuebias
        >>> data = valuebias.datasets.load("simulated")
        >>> fit = valuebias.fit(data, "~ family + log10(n_params)", seed=1, progress=False)
        >>> fit.slopes("log10(n_params)").table().loc[0, "estimand"]
        'slope'
        """
        design = self.problem.crossing.design
        names, each = _split_category(by, contrast)
        number_of(design, variable)
        cells = make_cells(design, names, at, weights)
        rows = [
            Row(SLOPE, variable, variable, "", slope_row(design, cell, variable), cell.where())
            for cell in cells
        ]
        return self._answer(rows, cells, contrast, weights, [*names, *(at or {})], each=each)

    def predict(
        self,
        models: pd.DataFrame,
        *,
        these_words: bool = False,
        contrast: Contrast | None = None,
    ) -> Estimates:
        """Predict the leans of models that were not scored.

        Parameters
        ----------
        models : DataFrame
            One row per model, its index their names, with the coordinates that the formula names.
            A column of bases (``base``, or what the fit calls it) says which were trained from a
            base of the fit, whose own effect is then known in part, and which share a new one;
            where it is empty a model is on a base of its own.
        these_words : bool, default False
            Whether the lean is over the very words of the fit, rather than over words like them.
            What a known base makes of single words is then drawn anew, as of a new base, once for
            all rows on it: the intervals are wider than they need be.
        contrast : pair of str or mapping, optional
            The categories to compare, or a weight for each; that of the fit if not given.

        Returns
        -------
        Estimates
            One for each model and framing: draws of the lean itself, with everything that models
            of a kind differ in, not of its expectation.

        Raises
        ------
        ValueBiasError
            If a coordinate is missing or not finite, a level was not seen, a base is one of
            another family, or its name differs from another's in capitals or spaces only.

        Warns
        -----
        ValueBiasWarning
            If names of bases look alike.

        Examples
        --------
        >>> import pandas as pd
        >>> import valuebias
        >>> fit = valuebias.fit(valuebias.datasets.load("simulated"), seed=1, progress=False)
        >>> new = pd.DataFrame({"family": ["Alder"]}, index=["new-rm"])
        >>> fit.predict(new).table().loc[0, ["estimand", "name"]].tolist()
        ['predicted lean', 'new-rm']
        """
        crossing = self.problem.crossing
        table = _check_models(models, crossing.design, self.settings["formula"])
        rows = crossing.design.rows(table)
        lost = table.index[np.flatnonzero(~np.isfinite(rows).all(axis=1))]
        if len(lost):
            raise ValueBiasError(
                f"the numbers of {few(map(str, lost))} are missing, or such that the formula "
                f"{self.settings['formula']!r} is not finite there; give others."
            )
        self._check_bases(table)
        rng, components = self.rng("predictions"), self.problem.components
        names = [*components.model_level(), *components.model_level("word")]
        of_model = tuple(name for name in names if not name.startswith("base_"))
        of_base = tuple(name for name in names if name.startswith("base_"))
        labels = [str(name) for name in table.index]
        these = THESE_ITEMS if self.of_items else THESE_WORDS
        items: list[Estimand] = []
        for pair, weights in self._weights(contrast).items():
            on_axes = crossing.contrast_weights(weights)
            effects = self.effects.coefficient + (self.effects.word_shift if these_words else 0.0)
            coefficient = effects @ on_axes
            base = self.effects.base @ on_axes
            bases: dict[tuple[str, str | None], Unseen] = {}
            for k, label in enumerate(labels):
                family = str(table["family"].iloc[k]) if "family" in table else None
                relative = self._same_base(table, k)
                unseen = Unseen(crossing, components, self.v, weights, rng, of_base, self.tail_nu)
                of = (self._base_of(table, k) or f"\0{k}", family)
                if of not in bases:
                    bases[of] = Unseen(
                        crossing, components, self.v, weights, rng, of_model, self.tail_nu
                    )
                departure = unseen.models(family)
                departure += bases[of].models(family) if relative is None else base[:, relative]
                if these_words:
                    departure += unseen.on_these_words(family) + bases[of].on_these_words(family)
                for framing, sign in named_framings(crossing.framings, self.focus.framing).items():
                    draws = (coefficient @ sign) @ rows[k] + departure @ sign
                    items.append(
                        Estimand(PREDICTED, "model", label, "", framing, *pair, draws,
                                 these if these_words else "")
                    )  # fmt: skip
        return self._estimates(items, "Each model is as its row says.")

    def hypothesis(self, text: str, *, framing: str | None = None) -> pd.DataFrame:
        """Test a statement on mean leans, SDs and correlations, or estimate what it computes.

        Parameters
        ----------
        text : str
            Arithmetic of names with ``+ - * / **`` and the functions of a formula, alone or on
            both sides of ``<``, ``>`` or ``=``. Names are those of :meth:`means` by all variables
            with levels, and the rows of :meth:`summary`, such as "sd[word, positive]"; names with
            anything but letters, digits and underscores stand between backticks.
        framing : str, optional
            The framing of the leans; that of the headline if not given.

        Returns
        -------
        DataFrame
            One row as :meth:`Estimates.hypothesis` gives it.

        Raises
        ------
        ValueBiasError
            If the text cannot be read or names something else.

        Examples
        --------
        >>> import valuebias
        >>> fit = valuebias.fit(valuebias.datasets.load("simulated"), seed=1, progress=False)
        >>> fit.hypothesis("Alder - Birch > 0.1").loc[0, "name"]
        'Alder - Birch > 0.1'
        """
        factors = [f.expression for f in self.problem.crossing.design.variables if f.categorical]
        means = self.means(by=factors)
        parameters = self.parameters
        more = {
            str(name): parameters[..., i].to_numpy()
            for i, name in enumerate(parameters["parameter"].to_numpy())
        }
        return means.hypothesis(text, framing=framing, more=more)

    def _answer(
        self,
        rows: list[Row],
        cells: list[Cell],
        contrast: Contrast | None,
        weights: str,
        fixed: Iterable[str],
        *,
        each: bool,
    ) -> Estimates:
        """Draw the rows of the design, whose cells they are, for the contrast or each category."""
        crossing = self.problem.crossing
        if each:
            n = len(crossing.categories)
            asked = {
                CategoryPair(name, ""): np.where(np.arange(n) == i, 1 - 1 / n, -1 / n)
                for i, name in enumerate(crossing.categories)
            }
        else:
            asked = self._weights(contrast)
        items = make_estimands(crossing, self.effects, rows, asked, self.focus.framing)
        if each:
            items = [replace(item, of_category=True) for item in items]
        repeated = [cells[i % len(rows)] for i in range(len(items))]
        values = {name: [cell.values[name] for cell in repeated] for name in cells[0].values}
        if cells[0].values:
            values["n_models"] = [cell.n_models for cell in repeated]
        note = averaging(crossing.design, weights, fixed)
        far = outside(crossing.design, cells_values(cells))
        return self._estimates(items, f"{note} {far}".strip(), values)

    def _estimates(
        self, items: list[Estimand], note: str, values: Mapping[str, list[Any]] | None = None
    ) -> Estimates:
        draws = stack_draws(items, int(self.settings["chains"]))
        taken = {*draws.coords, *draws.dims}
        extra = {
            f"{name}_" if name in taken else name: ("estimand", np.array(column, dtype=object))
            for name, column in (values or {}).items()
        }
        units = describe(self.settings["outcome"]).units
        return Estimates(
            draws.assign_coords(extra), note, units, float(self.problem.crossing.scale)
        )

    def _weights(self, contrast: Contrast | None) -> dict[CategoryPair, Array]:
        if contrast is None:
            return self.categories
        return contrasts_of(self.problem.crossing, contrast)

    def _level_pairs(self, name: str, pair: Sequence[Any] | None) -> list[tuple[Any, Any]]:
        """Pairs of levels, or of values, of a variable to compare."""
        design = self.problem.crossing.design
        if pair is None:
            return list(itertools.combinations(factor_of(design, name, "variable").levels, 2))
        if not isinstance(pair, list | tuple | np.ndarray | pd.Index) or len(pair) != 2:
            raise ValueBiasError(
                f"pair must be two levels or values of {name!r}, found {shown(pair)}."
            )
        first, second = values_of(design, name, list(pair), "pair")
        if first == second:
            raise ValueBiasError(f"pair compares {shown(first)} with itself; name two of {name!r}.")
        return [(first, second)]

    def _check_bases(self, models: pd.DataFrame) -> None:
        """Refuse names of bases that are the fit's but for capitals or spaces, warn of others."""
        name = str(self.settings["base"] or "base")
        at_hand = [str(base) for base in self.data[name].to_numpy()] if name in self.data else []
        given = [self._base_of(models, k) for k in range(len(models))]
        # Those of the fit come first, so that theirs is the spelling to take.
        names = [*at_hand, *given]
        alike = {
            other: group[0] for group in spelled_twice(names) for other in group[1:]
            if other in given
        }  # fmt: skip
        if alike:
            other, first = next(iter(alike.items()))
            raise ValueBiasError(
                f"The bases {first!r} and {other!r} differ in capitals or spaces only, and would "
                f"be taken for two. Write them alike: models = models.replace({{{name!r}: "
                f"{alike!r}}})."
            )
        unsure = [group for group in look_alike(names) if {*group} & {*given}]
        if unsure:
            listed = few((" and ".join(map(repr, group)) for group in unsure), quote=False)
            alike = {other: group[0] for group in unsure for other in group[1:]}
            warnings.warn(
                f"the bases {listed} look alike and are taken as different ones. If they are one: "
                f"models = models.replace({{{name!r}: {alike!r}}}).",
                ValueBiasWarning,
                stacklevel=3,
            )

    def _base_of(self, models: pd.DataFrame, k: int) -> str:
        """Return what a row says of its base; empty where it says nothing."""
        name = str(self.settings["base"] or "base")
        value = models[name].iloc[k] if name in models else None
        return "" if pd.isna(value) else str(value)

    def _same_base(self, models: pd.DataFrame, k: int) -> int | None:
        """Return the position of a model of the fit on the same base, where that has effects."""
        group, base = self.problem.crossing.space.group("base"), self._base_of(models, k)
        if group is None or not base:
            return None
        same = np.flatnonzero(group.labels == base)
        if not len(same):
            return None
        if "family" in models and "family" in self.data.coords:
            families = self.data["family"].to_numpy().astype(str)[same]
            if str(models["family"].iloc[k]) not in families:
                raise ValueBiasError(
                    f"{str(models.index[k])!r} is said to be of {models['family'].iloc[k]!r}, but "
                    f"the models on {base!r} are of {str(families[0])!r}; name its "
                    "own base, or leave the base out."
                )
        return int(same[0])


def largest_difference(fit: Questions) -> dict[str, Any]:
    """Return the focus on the two of several levels that differ most, as settings store it.

    So that no pair stands in front for its name.
    """
    crossing = fit.problem.crossing
    factor = headline_factor(crossing.design)
    if factor is None or len(factor.levels) < 3:
        return {}
    pair, weights = next(iter(fit.categories.items()))
    at = fit.focus.first_values
    rows = [
        row for row in level_rows(crossing.design, factor, Focus(at=at)) if row.form == DIFFERENCE
    ]
    items = make_estimands(crossing, fit.effects, rows, {pair: weights}, fit.focus.framing)
    means = [float(item.draws.mean()) for item in items[: len(rows)]]
    most = int(np.argmax(np.abs(means)))
    levels = [rows[most].first, rows[most].second]
    return {"pair": levels if means[most] >= 0 else levels[::-1], "largest": True}


def _names(value: Names, argument: str) -> list[str]:
    names = [value] if isinstance(value, str) else value if value is not None else ()
    if not isinstance(names, Iterable):
        raise ValueBiasError(f"{argument} must name variables, found {shown(value)}.")
    names = list(names)
    for name in names:
        if not isinstance(name, str):
            raise ValueBiasError(f"{argument} must name variables, found {shown(name)}.")
    return names


def _split_category(by: Names, contrast: Contrast | None) -> tuple[list[str], bool]:
    """Return the variables of models in ``by``, and whether each category is asked for."""
    names = _names(by, "by")
    each = _EACH in names
    if each and contrast is not None:
        raise ValueBiasError(
            "by names 'category', which asks for each category, and contrast compares them; leave "
            "one out."
        )
    return [name for name in names if name != _EACH], each


def _pair_for(name: str, pair: Any, compared: list[str]) -> Sequence[Any] | None:
    """Return the pair of one of the variables that are compared."""
    if len(compared) == 1 or pair is None:
        return None if pair is None else pair
    if not isinstance(pair, Mapping) or not pair.keys() <= {*compared}:
        raise ValueBiasError(
            f"with two variables pair maps each to its two levels, such as {{{compared[0]!r}: "
            f"(…, …), {compared[1]!r}: (…, …)}}; found {shown(pair)}."
        )
    chosen: Sequence[Any] | None = pair.get(name)
    return chosen


def _difference(
    cell: Cell, compared: list[str], pairs: Sequence[tuple[Any, Any]], design: ModelDesign
) -> Row:
    """Return the row of a difference, or of a difference of differences."""
    row = sum(
        (-1) ** sum(which) * cell.row(design, {
            name: pair[k] for name, pair, k in zip(compared, pairs, which, strict=True)
        })
        for which in itertools.product((0, 1), repeat=len(compared))
    )  # fmt: skip
    first, second = (value_text(value) for value in pairs[0])
    if len(compared) == 1:
        return Row(DIFFERENCE, compared[0], first, second, np.asarray(row), cell.where())
    over = " − ".join(value_text(value) for value in pairs[1])
    where = ", ".join(part for part in (f"{compared[1]} = {over}", cell.where()) if part)
    return Row(DOUBLE_DIFFERENCE, compared[0], first, second, np.asarray(row), where)


def _check_models(models: Any, design: ModelDesign, formula: str) -> pd.DataFrame:
    """Check the table of models to predict."""
    models = as_frame(models)
    if not isinstance(models, pd.DataFrame) or not len(models):
        given = "one without rows" if isinstance(models, pd.DataFrame) else type(models).__name__
        raise ValueBiasError(
            "models must be a DataFrame with one row per model and its coordinates as columns, "
            f"found {given}."
        )
    needed = dict.fromkeys(name for f in design.variables for name in sorted(f.names))
    missing = [name for name in needed if name not in models.columns]
    if missing:
        raise ValueBiasError(
            f"models lacks the column {missing[0]!r}, which the formula {formula!r} names. "
            f"{did_you_mean(missing[0], map(str, models.columns))}"
        )
    for name in needed:
        if pd.api.types.is_numeric_dtype(models[name]):
            for value in models[name]:
                check_number(name, value, "models")
    if not models.index.is_unique:
        raise ValueBiasError(
            "the index of models names a model twice; give each a name of its own."
        )
    return models
