"""A fit's estimates of the quantities in the paper's figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from valuebias.analysis.outcome import describe
from valuebias.errors import ValueBiasError
from valuebias.plots.canvas import INTERVAL, interval, tidy_axes
from valuebias.plots.layout import Rows, bracket
from valuebias.plots.theme import colours
from valuebias.posterior.posterior import Posterior
from valuebias.schema import DIMS, member_table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["category_means", "check_same_data", "draw_means", "word_label", "word_means"]

Array = NDArray[np.float64]
_TAIL = (1 - INTERVAL) / 2


def check_same_data(fit: object, scores: xr.Dataset) -> Posterior:
    """Check that this is a fit, and of the scores of this dataset."""
    if not isinstance(fit, Posterior):
        raise ValueBiasError(
            f"fit is of type {type(fit).__name__}; expected what valuebias.fit(dataset) returns."
        )
    inside = scores["membership"].any("category").to_numpy()
    ours = scores.isel(response=np.flatnonzero(inside))
    for dim in (*DIMS, "category"):
        noun = "word" if dim == "response" else dim
        _check_same_names(fit.data[dim].to_numpy(), ours[dim].to_numpy(), noun)
    positions = {dim: _positions(ours, fit.data, dim) for dim in DIMS}
    score = ours["score"].isel(positions).transpose(*DIMS)
    fitted = fit.data["score"].transpose(*DIMS)
    member = member_table(ours.isel(positions))[fit.data["category"].to_numpy().tolist()]
    if fit.data.attrs["kind"] != scores.attrs["kind"] or not np.array_equal(
        score.to_numpy(), fitted.to_numpy(), equal_nan=True
    ):
        raise ValueBiasError(
            "The fit is of other scores than the dataset, of the same models and words. "
            "Give valuebias.fit(dataset) of the dataset that is drawn."
        )
    if not np.array_equal(member.to_numpy(), member_table(fit.data).to_numpy()):
        raise ValueBiasError(
            "The fit has words in other categories than the dataset. "
            "Give valuebias.fit(dataset) of the dataset that is drawn."
        )
    return fit


def _check_same_names(fitted: NDArray[np.str_], ours: NDArray[np.str_], noun: str) -> None:
    drawn, known = set(ours.tolist()), set(fitted.tolist())
    if drawn != known:
        whose = "the dataset" if drawn - known else "the fit"
        example = min(drawn - known or known - drawn)
        raise ValueBiasError(
            f"The fit is of other data: the {noun} {example!r} is in {whose} only (of the fit's "
            f"{len(fitted)} and the dataset's {len(ours)}). Give valuebias.fit(dataset) of the "
            "dataset that is drawn."
        )


def _positions(ours: xr.Dataset, fitted: xr.Dataset, dim: str) -> NDArray[np.intp]:
    """Find the fit's names in the dataset; as lists, because pandas refuses a lone surrogate."""
    position = {name: i for i, name in enumerate(ours[dim].to_numpy().tolist())}
    return np.array([position[name] for name in fitted[dim].to_numpy().tolist()], dtype=np.intp)


@dataclass(frozen=True, eq=False)
class CategoryMeans:
    """Posterior draws of the means of categories."""

    # (name, framing, category, draw): relative to the mean of the categories, in units of the
    # outcome, higher = higher reward.
    draws: Array = field(repr=False)
    # Names, framings, categories: labels; the names are of families or of models.
    names: tuple[str, ...]
    framings: tuple[str, ...]
    categories: tuple[str, ...]

    def of(self, name: str, framing: str, category: str) -> Array:
        """Draws of one mean."""
        index = (
            self.names.index(name), self.framings.index(framing), self.categories.index(category)
        )  # fmt: skip
        return np.asarray(self.draws[index])


def category_means(fit: Posterior, *, by: str) -> CategoryMeans:
    """Estimate the mean of every category by framing, for families or for models."""
    crossing = fit.problem.crossing
    posterior = fit.tree["posterior"]
    names, rows = [str(name) for name in crossing.models], crossing.design.matrix
    if by == "family":
        names, rows = _family_rows(fit)
    effect = np.einsum("rq,cdqfj->cdrfj", rows, posterior["coefficient"].to_numpy())
    if by == "model":
        effect = effect + posterior["model_effect"].to_numpy()
    draws = np.einsum("cdrfj,jk->rfkcd", effect, crossing.to_category)
    return CategoryMeans(
        draws.reshape(*draws.shape[:3], -1),
        tuple(names),
        tuple(crossing.framings),
        tuple(str(name) for name in crossing.categories),
    )


def _family_rows(fit: Posterior) -> tuple[list[str], Array]:
    design = fit.problem.crossing.design
    for factor in design.variables:
        if factor.expression in ("family", "C(family)"):
            rows = [design.average_row(factor, level) for level in factor.levels]
            return list(factor.levels), np.array(rows)
    families = sorted({str(name) for name in fit.data["family"].to_numpy()})
    if len(families) > 1:
        raise ValueBiasError(
            f"The formula {fit.settings['formula']!r} of the fit does not compare families; the "
            f"figure shows {len(families)}. Fit '~ family'."
        )
    return families, design.matrix.mean(axis=0)[None]


def word_means(fit: Posterior, words: Sequence[str], *, framing: str) -> pd.DataFrame:
    """Estimate the expected outcome of words over all models."""
    known = {word: i for i, word in enumerate(fit.data["response"].to_numpy().tolist())}
    kept = [word for word in words if word in known]
    draws = fit.word_draws(framing=framing).to_numpy()
    chosen = draws[..., [known[word] for word in kept]].reshape(-1, len(kept))
    table = _summary(chosen)
    table.insert(0, "word", pd.Series(kept, dtype=object))
    return table


def _summary(draws: Array) -> pd.DataFrame:
    """Summarise draws (draw, quantity)."""
    lower, upper = np.quantile(draws, [_TAIL, 1 - _TAIL], axis=0)
    return pd.DataFrame({"mean": draws.mean(axis=0), "lower": lower, "upper": upper})


def draw_means(
    panels: Mapping[str, Axes], fit: Posterior, rows: Rows, names: Mapping[str, str], *, by: str
) -> None:
    """Draw the means of categories in the rows of the figure, one panel per framing."""
    means, palette = category_means(fit, by=by), colours(rows.groups)
    label = f"category − mean of all\n{_unit(fit)}, {INTERVAL:.0%} interval"
    for framing, axes in panels.items():
        _draw_panel(axes, means, rows, framing, names, palette)
        axes.set_xlabel(f"{label}\nat right: P(direction)" if len(rows.groups) == 2 else label)


def _draw_panel(
    axes: Axes, means: CategoryMeans, rows: Rows, framing: str, names: Mapping[str, str],
    palette: dict[str, str],
) -> None:  # fmt: skip
    tidy_axes(axes, zero=True)
    for c, category in enumerate(rows.categories):
        draws = [means.of(names[group], framing, category) for group in rows.groups]
        table = _summary(np.stack(draws, axis=-1))
        for g, group in enumerate(rows.groups):
            interval(axes, rows.y(c, g), table.iloc[g], colour=palette[group], marker="D", size=6)
        if len(draws) == 2:
            above = float((draws[0] > draws[1]).mean())
            p = max(above, 1 - above)
            # Never 100%, which no sample can show.
            text = "> 99%" if p > 0.995 else f"{p:.0%}"
            bracket(axes, rows.y(c, 0), rows.y(c, 1), text)


def word_label(fit: Posterior) -> str:
    """Label an axis of means of words, with the unit."""
    return f"word − mean of the lexicon\n{_unit(fit)}, {INTERVAL:.0%} interval"


def _unit(fit: Posterior) -> str:
    kind = describe(fit.settings["outcome"])
    # A fit reverses ranks, so that more always means a higher reward.
    return "rank, reversed" if kind.sign < 0 else f"{kind.name} ({kind.unit})"
