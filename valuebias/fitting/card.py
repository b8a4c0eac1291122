"""The card of one model: ``valuebias.card(scores, model=...)``."""

from __future__ import annotations

from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from valuebias._core.notebooks import as_html
from valuebias._core.text import visible_lines
from valuebias.errors import ValueBiasError, did_you_mean, shown
from valuebias.fitting.fit import fit as fit_scores
from valuebias.posterior.headline import NOT_CONVERGED
from valuebias.posterior.one_model import OneModel, describe_model
from valuebias.posterior.posterior import Posterior

__all__ = ["Card", "card"]

_PROB = 0.9


@dataclass(frozen=True, eq=False, repr=False)
class Card:
    """One model beside the others; printed, it is its text.

    Parameters
    ----------
    fit : Fit
        The fit of all models.
    model : OneModel
        Draws and tables of this one.

    Examples
    --------
    >>> import valuebias
    >>> fit = valuebias.fit(valuebias.datasets.load("simulated"), seed=1, progress=False)
    >>> made = valuebias.card(fit, "simulated/alder-1")
    >>> made.words().columns.tolist()[:3]
    ['word', 'categories', 'mean']
    """

    fit: Posterior = field(repr=False)
    model: OneModel = field(repr=False)

    def __str__(self) -> str:
        from valuebias.report.card import card_answer

        diagnostics = self.fit.diagnostics()
        alarm = "" if diagnostics.converged else f"{NOT_CONVERGED}{diagnostics.messages[0]} "
        return visible_lines(alarm + card_answer(self.fit, self.model))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Show the answer and the leans in a notebook."""
        table = self.table().rename_axis("lean of").reset_index()
        return as_html(str(self), table)

    def table(self) -> pd.DataFrame:
        """Summarise the lean and what it is compared with.

        Returns
        -------
        DataFrame
            Index "this model", "family" and "all": mean and 90% interval of the lean, of that of a
            new model of the family, and of a new model of any family. ``further``: the probability
            that such a new model leans further to the first category on these very words and
            prompts, given the other models; NaN where they do not tell.
        """
        one = self.model
        rows = {
            "this model": (one.lean, None),
            "family": (one.of_family, one.beyond_family),
            "all": (one.of_all, one.beyond_all),
        }
        tail = 0.5 - _PROB / 2
        return pd.DataFrame.from_dict(
            {
                name: {
                    "mean": draws.mean(),
                    "lower": np.quantile(draws, tail),
                    "upper": np.quantile(draws, 1 - tail),
                    "further": np.nan if beyond is None else beyond,
                }
                for name, (draws, beyond) in rows.items()
                if draws is not None
            },
            orient="index",
        )

    def words(self) -> pd.DataFrame:
        """Which words the model values otherwise than the other models of its family.

        Returns
        -------
        DataFrame
            One row per word, largest difference first, as of :meth:`Fit.words`. For these very
            models; of the only model of a family, beside all others.
        """
        return self.model.words

    def write(self, path: str | PathLike[str]) -> Path:
        """Write one page.

        Parameters
        ----------
        path : path
            ``.html`` or ``.md``. Written whole or not at all.

        Returns
        -------
        pathlib.Path
            The path.

        Raises
        ------
        ValueBiasError
            If it ends in something else, or cannot be written.
        """
        from valuebias.report.card import SUFFIXES, write_card

        target = Path(path)
        if target.suffix.lower() not in SUFFIXES:
            raise ValueBiasError(
                f"A card cannot be written as {target.suffix!r} ({str(target)!r}). "
                f"{did_you_mean(target.suffix, SUFFIXES)}"
            )
        write_card(self.fit, self.model, target)
        return target


def card(
    scores: xr.Dataset | Posterior, model: str, *, seed: int | None = None, progress: bool = True
) -> Card:
    """Compare one model with the others of its family, and with all.

    For people who choose a model: how it leans, which words, and how unusual that is, with the
    uncertainty of each.

    Parameters
    ----------
    scores : xarray.Dataset or Fit
        Scores of several models, which are fitted, or a fit of them.
    model : str
        Its name.
    seed : int, optional
        Of the fit, where there is none yet.
    progress : bool, default True
        Show a progress bar on standard error while fitting.

    Returns
    -------
    Card
        With :meth:`Card.table`, :meth:`Card.words` and :meth:`Card.write`.

    Raises
    ------
    ValueBiasError
        If there is no such model, or no other.

    Notes
    -----
    What a new model would do is predicted without this one, where the others suffice for that and
    no scores are missing: its variances are sampled again from their scores.

    Examples
    --------
    >>> import valuebias
    >>> scores = valuebias.datasets.load("simulated")
    >>> made = valuebias.card(scores, str(scores["model"].values[0]), seed=1, progress=False)
    >>> made.table().index.tolist()
    ['this model', 'family', 'all']
    """
    if not isinstance(scores, xr.Dataset | Posterior):
        raise ValueBiasError(
            f"a card is made of scores or of a fit, found {shown(type(scores).__name__)}."
        )
    fitted = scores
    if not isinstance(fitted, Posterior):
        names = [str(name) for name in fitted["model"].to_numpy()] if "model" in fitted else []
        if model not in names:
            raise ValueBiasError(
                f"the scores have no model {model!r}. {did_you_mean(model, names)}"
            )
        fitted = fit_scores(fitted, seed=seed, progress=progress)
    return Card(fitted, describe_model(fitted, model, prob=_PROB))
