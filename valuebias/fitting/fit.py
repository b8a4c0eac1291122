"""Fit the hierarchical model: ``valuebias.fit(dataset)``."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from valuebias.errors import ValueBiasError, did_you_mean
from valuebias.fitting.result import Fit

if TYPE_CHECKING:
    from valuebias.analysis.design.priors import Prior
    from valuebias.analysis.estimands.weights import Contrast

__all__ = ["Fit", "fit"]

_SAMPLERS = ("hmc", "nutpie", "pymc")


class _NotGiven:
    """The default of an argument, told apart from the same value given by the user.

    What is given counts against a preregistration, also where it is the default.
    """

    def __init__(self, value: str | None) -> None:
        self.value = value

    def __repr__(self) -> str:
        return repr(self.value)

    def __eq__(self, other: object) -> bool:
        return self.value == (other.value if isinstance(other, _NotGiven) else other)

    def __hash__(self) -> int:
        return hash(self.value)


_NONE: Any = _NotGiven(None)
_BASE: Any = _NotGiven("base")
_GAUSSIAN: Any = _NotGiven("gaussian")


def fit(
    dataset: xr.Dataset,
    formula: str | None = None,
    *,
    words: str | None = _NONE,
    base: str | None = _BASE,
    spread: bool | None = _NONE,
    family: str = _GAUSSIAN,
    residual: str | None = _NONE,
    heavy_tails: str | Sequence[str] | None = _NONE,
    outcome: str | None = None,
    prior: Prior | Mapping[str, Any] | None = _NONE,
    contrast: Contrast | None = _NONE,
    by: str | None = None,
    draws: int = 1000,
    tune: int | None = None,
    chains: int = 4,
    seed: int | None = None,
    sampler: str = "hmc",
    prereg: str | PathLike[str] | Mapping[str, Any] | None = None,
    progress: bool = True,
) -> Fit:
    """Estimate how families of models differ in what they value.

    Every model scored every word after every prompt. The model is the sampling unit: models of a
    family, words, prompts and their pairs have random effects, so a difference between
    families is only as certain as the number of models, words and prompts allows.

    Parameters
    ----------
    dataset : xarray.Dataset
        Scores in the "valuebias/1" contract, see :mod:`valuebias.schema`; NaN where not scored. Or
        scores of a contrast set: then items are sampled instead of words, their variants compared
        within each, and estimands are means over items, see `by` and the notes.
    formula : str, optional
        R formula over the coordinates on ``model``, such as ``"~ family + log10(n_params)"`` or
        ``"~ family * stage"``. Every term acts on each category × framing. By default
        ``"~ family"``, or ``"~ 1"`` where all models are of one family. Random effects are written
        as in lme4: ``(1 | base)``, ``(1 | base) + (1 | recipe)``, ``(log2(n_pairs) | base)``; where
        there are any, they take the place of `base`. Its functions are ``log``, ``log2``,
        ``log10``, ``log1p``, ``exp``, ``sqrt``, ``abs``, ``poly``, ``bs``, ``center``, ``scale``,
        ``I`` and ``C``.
    words : str, optional
        Formula over the coordinates on ``response``, such as ``"~ log(frequency) + length"``, to
        adjust for; ``length`` always exists, see :func:`valuebias.schema.word_table`. Contrasts
        then hold the covariates fixed, and are reported unadjusted as well.
    base : str or None, default "base"
        The coordinate on ``model`` that names the checkpoint each model was trained from. Models
        of one base are not independent: where some share one, bases have effects, on categories
        and on words, and statements on families generalise over bases. None ignores bases, and the
        report says so.
    spread : bool, optional
        Whether families may differ in how much their models (and bases) vary. By default they may
        where at least two families have several models, but not among pairs of models or
        checkpoints of training.
    family : {"gaussian", "student"}, default "gaussian"
        How a score scatters about what is expected of it: ``"student"`` is a t distribution, whose
        degrees of freedom are estimated, so that outlying scores count for little.
    residual : {"model"}, optional
        ``"model"`` gives each model a residual SD of its own, partially pooled. If not given all
        models have one.
    heavy_tails : {"words", "models", "bases"} or sequence of these, optional
        Whose effects are t distributed instead of normal, with estimated degrees of freedom:
        ``"words"``, for all models and by term of the formula; ``"models"``, in their leans;
        ``"bases"``, in the leans of bases that models share. A word, model or base that is unlike
        all others then counts for little in what is said of families.
    outcome : {"normal", "rank", "z", "scaled", "raw"}, optional
        How scores are transformed within model × prompt; normal scores if not given. Higher
        always means a higher reward, also for ranks. Of a contrast set ``"scaled"`` (in SDs of the
        model's scores over the set, the default), ``"raw"`` or ``"rank"``.
    prior : Prior or mapping, optional
        Scales of the priors in units of the outcome's SD, see
        :class:`valuebias.analysis.design.priors.Prior`.
    contrast : pair of str or mapping, optional
        The two categories to compare, or weights that sum to zero, such as ``{"agency": 1,
        "communion": -0.5, "other": -0.5}``. By default agency − communion, the first − the second
        of two, or each of several against the mean of the others.
    by : str, optional
        Of a contrast set: the coordinate in which its variants differ and by which they are
        averaged and compared, such as ``"correct"``; the variants themselves if not given.
    draws : int, default 1000
        Posterior draws per chain.
    tune : int, optional
        Tuning steps per chain; if not given 300 for complete crossings (600 for ``"nutpie"`` and
        ``"pymc"``) and 200 for incomplete ones.
    chains : int, default 4
        Number of chains.
    seed : int, optional
        Makes the draws repeatable. Drawn at random and recorded if not given.
    sampler : {"hmc", "nutpie", "pymc"}, default "hmc"
        Who samples the variances of a complete crossing: the package's own Hamiltonian Monte
        Carlo, or the No-U-Turn samplers of nutpie or PyMC. All sample the same posterior;
        ``"pymc"`` samples ``fit.model`` itself and takes longest, and not where
        `family`, `residual` or `heavy_tails` is given.
    prereg : path or mapping, optional
        A preregistered analysis, as a YAML file or a mapping: any of `formula`, `outcome`, `words`,
        `base`, `spread`, `family`, `residual`, `heavy_tails`, `prior` and `contrast`; ``pair``, the
        families to compare; ``rope``; and ``decision``, a rule such as ``"p_positive >= 0.975"`` on
        the columns of the headline's row. What is given here as well counts, and the headline and
        report say what departs.
    progress : bool, default True
        Show a progress bar on standard error.

    Returns
    -------
    Fit
        With :meth:`Fit.contrasts`, :meth:`Fit.words`, :meth:`Fit.report`, ….

    Raises
    ------
    ValueBiasError
        If the dataset breaks the contract, the formula names an unknown coordinate, has one
        level only or collinear terms, the categories cannot be compared, or a setting is unknown.

    Warns
    -----
    ValueBiasWarning
        For what the data cannot show, such as effects of a family where each has one base; where
        more than a tenth of the words are in no category and left out.

    Notes
    -----
    Complete crossings have an exact collapsed likelihood; incomplete ones are completed by data
    augmentation, also exact, and so are t distributed residuals and effects, and residuals of
    unequal SDs. Which path was taken is in ``fit.settings["path"]``. Layouts of bases may be
    uneven, and groups crossed, as long as the span over models stays within forty columns; what
    does not fit is left out, and the headline says so.

    Of a contrast set, models and items are the sampled units, and items differ between the terms of
    the formula and between bases as well; the variants are these very ones. Items of which some
    model lacks a score are left out, and a note says so. Several variants with one value of `by`
    count as their mean. Differences between all pairs of variants are taken to vary equally over
    items, and over models (`residual` gives each model its own SD); a note says where they do not.

    Source: extends Christian et al. 2026 (arXiv 2601.20838), whose mixed model has a random
    intercept by model only.

    Examples
    --------
    >>> import valuebias
    >>> dataset = valuebias.datasets.load("simulated")
    >>> fit = valuebias.fit(dataset, draws=200, tune=300, seed=1, progress=False)
    >>> fit.settings["path"]
    'complete'
    >>> fit.contrasts().loc[0, "estimand"]
    'family difference'
    """
    _check_choice("sampler", sampler, _SAMPLERS)
    numbers = {"draws": (draws, 4), "tune": (1 if tune is None else tune, 1)}
    numbers["chains"] = (chains, 1)
    for name, (value, least) in numbers.items():
        if not isinstance(value, int | np.integer) or value < least:
            raise ValueBiasError(
                f"{name} must be a whole number of {least} or more, found {value!r}."
            )
    if seed is not None and (not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32):
        raise ValueBiasError(f"seed must be a whole number from 0 to 2**32 − 1, found {seed!r}.")
    chosen_seed = secrets.randbits(32) if seed is None else int(seed)
    from valuebias.analysis.hierarchical import MODEL_FIELDS
    from valuebias.posterior.estimate import estimate
    from valuebias.posterior.item_settings import item_settings
    from valuebias.posterior.prereg import DEFAULTS, read_prereg, register
    from valuebias.schema.contrast_categories import average_by
    from valuebias.schema.contrast_scores import is_contrasts

    arguments: dict[str, Any] = {
        "formula": formula, "outcome": outcome, "words": words, "base": base, "spread": spread,
        "family": family, "residual": residual, "heavy_tails": heavy_tails, "prior": prior,
        "contrast": contrast,
    }  # fmt: skip
    given = {name: value for name, value in arguments.items() if not isinstance(value, _NotGiven)}
    for name in ("formula", "outcome"):
        if given[name] is None:
            del given[name]
    registered = None if prereg is None else read_prereg(prereg)
    settings = {**DEFAULTS, **given} if registered is None else registered.merge(given)
    if not isinstance(settings["spread"], bool | np.bool_ | None):
        raise ValueBiasError(
            f"spread must be True, False or None (the default), found {settings['spread']!r}. True "
            "lets families differ in how much their models vary."
        )
    left_out: tuple[str, ...] = ()
    if is_contrasts(dataset):
        asked = given if registered is None else {**registered.settings, **given}
        settings = item_settings(settings, asked, by)
        dataset, left_out = average_by(dataset, settings["by"])
    elif by is not None:
        raise ValueBiasError(
            f"by={by!r} groups the variants of a contrast set, and these scores are of words, "
            "whose categories are the lexicon's. Leave by= out, or give scores of a contrast set."
        )
    posterior = estimate(
        dataset,
        {name: settings.get(name) for name in MODEL_FIELDS},
        settings["prior"],
        settings["contrast"],
        {
            "draws": int(draws),
            "tune": None if tune is None else int(tune),
            "chains": int(chains),
            "seed": chosen_seed,
            "sampler": sampler,
        },
        left_out=left_out,
        progress=progress,
    )
    if registered is not None:
        posterior = register(posterior, registered, given)
    return Fit.of(posterior)


def _check_choice(setting: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueBiasError(f"unknown {setting} {value!r}. {did_you_mean(value, known)}")
