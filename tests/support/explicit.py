"""The hierarchical model written out in PyMC, every random effect a random variable.

Nothing is integrated out but the level of each model × prompt, which is free: the scores and what
the model says of them are compared about their means over words. It is written from the
description in docs/model.md, for families with bases and for words in one category each, and takes
of the package no more than the priors' scales.
"""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import arviz as az
import numpy as np
import pandas as pd
import pymc as pm
import pytensor.tensor as pt
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

from valuebias.analysis.design.noise import LEAST_NU, NU_RATE, NU_SHAPE
from valuebias.analysis.design.priors import Prior

if TYPE_CHECKING:
    from valuebias import Fit

__all__ = ["Explicit", "compare", "quantities_of"]

Array = NDArray[np.float64]

JOINT = ("model_category", "base_category", "word", "word:family", "model_word", "base_word")
NESTED = ("prompt_category", "model_prompt", "prompt_word", "residual")
FRAMINGS = ("positive", "negative")


@dataclass
class Explicit:
    """Normal scores with what describes their three sides, and the model of them.

    Attributes
    ----------
    dataset : Dataset
        Complete scores with both framings, two categories, families and bases.
    prior : Prior
    tailed : dict of str to str
        The components whose effects are t distributed, each with what its levels are.
    """

    dataset: xr.Dataset
    prior: Prior = field(default_factory=Prior)
    tailed: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        scores = self.dataset["score"].transpose("prompt", "model", "response").to_numpy()
        n_words = scores.shape[2]
        ranks = stats.rankdata(scores, axis=2)
        y = stats.norm.ppf((ranks - 0.5) / n_words)
        self.y: Array = y - y.mean(axis=2, keepdims=True)
        self.scale = float(np.sqrt((self.y**2).mean()))
        self.framing = (self.dataset["framing"].to_numpy() == "negative").astype(int)
        self.family, self.families = pd.factorize(self.dataset["family"].to_numpy(), sort=True)
        self.base, self.bases = pd.factorize(self.dataset["base"].to_numpy())
        first_of = [int(np.argmax(self.base == b)) for b in range(len(self.bases))]
        self.family_of_base = self.family[first_of]
        member = self.dataset["membership"].transpose("response", "category").to_numpy()
        self.member: Array = member - member.mean(axis=0)
        self.categories = self.dataset["category"].to_numpy().tolist()
        self.models = self.dataset["model"].to_numpy().tolist()
        self.words = self.dataset["response"].to_numpy().tolist()

    def build(self) -> pm.Model:
        """Write the model down.

        What the data tell well has its own coordinates (centred): a model's liking of a word about
        its base's, that about its family's, a word's about zero, and a prompt's. The rest are
        multiples of their SD.
        """
        names = (*JOINT, *NESTED)
        coords = {
            "component": list(names), "joint": list(JOINT), "framing": list(FRAMINGS),
            "level": ["category", "word"], "family": self.families, "base": self.bases,
            "model": self.models, "word": self.words, "category": self.categories,
            "prompt": np.arange(len(self.framing)), "part": list(self.tailed),
        }  # fmt: skip
        unit, prior, framing = self.scale, self.prior, self.framing
        scales = np.array([[prior.sd_of(name)] for name in names]) * unit
        with pm.Model(coords=coords) as model:
            sds = pm.HalfNormal("sd", scales, dims=("component", "framing"))
            sd = {name: sds[i] for i, name in enumerate(names)}
            half = pm.Beta("half", prior.correlation, prior.correlation, dims="joint")
            rho = {name: 2 * half[i] - 1 for i, name in enumerate(JOINT)}
            log_spread = pm.ZeroSumNormal("log_spread", prior.spread, dims=("level", "family"))
            by_category, by_word = pt.exp(log_spread[0]), pt.exp(log_spread[1])

            if self.tailed:
                some = pm.Gamma.dist(NU_SHAPE, NU_RATE)
                nu = pm.Truncated("nu", some, lower=LEAST_NU, dims="part")

            def times(name: str) -> pt.TensorVariable | Array:
                """Draw by how much each level's SD is that of a typical one."""
                if name not in self.tailed:
                    return np.ones(1)
                half = 0.5 * nu[list(self.tailed).index(name)]
                variance = pm.InverseGamma(f"variance {name}", half, half, dims=self.tailed[name])
                return pt.sqrt(variance)

            def multiples(name: str, *dims: str, zero_sum: bool = False) -> pt.TensorVariable:
                """Draw an effect in units of its SDs, correlated over framings: (framing, …)."""
                draw = pm.ZeroSumNormal if zero_sum else pm.Normal
                z = draw(name, sigma=1.0, dims=("framing", *dims))
                return pt.stack([z[0], rho[name] * z[0] + pt.sqrt(1 - rho[name] ** 2) * z[1]])

            def about(mean: tuple, name: str, spread, *dims: str) -> tuple:
                """Draw effects about their means, those of the second framing given the first's."""
                one, two = sd[name][0] * spread, sd[name][1] * spread
                first = pm.Normal(f"{name} 1", mean[0], one, dims=dims)
                given = mean[1] + rho[name] * two / one * (first - mean[0])
                left = two * pt.sqrt(1 - rho[name] ** 2)
                return first, pm.Normal(f"{name} 2", given, left, dims=dims)

            def of(name: str) -> pt.TensorVariable:
                """Lay an effect's SDs out to multiply (framing, …, …)."""
                return sd[name][:, None, None]

            def on_words(x: pt.TensorVariable) -> pt.TensorVariable:
                """Give every word its category's effect: (…, category) to (…, word)."""
                return (x[..., None, :] * self.member).sum(axis=-1)

            # What models make of the categories: (framing, …, category).
            mean = pm.Normal("mean", 0.0, prior.mean * unit, dims=("framing", "category"))
            of_family = pm.ZeroSumNormal(
                "family mean", prior.effect * unit, dims=("framing", "category", "family")
            ).transpose(0, 2, 1)
            of_base = multiples("base_category", "base", "category") * of("base_category")
            spread = by_category[self.family_of_base] * times("base_category")
            of_base = on_words(of_base * spread[:, None])
            own = multiples("model_category", "model", "category") * of("model_category")
            own = on_words(own * (by_category[self.family] * times("model_category"))[:, None])

            # And of words, with their categories: for each framing (…, word).
            liking = about(on_words(mean), "word", times("word"), "word")
            differ = multiples("word:family", "word", "family", zero_sum=True) * of("word:family")
            differ = differ * times("word:family")[:, None]
            differ = differ.transpose(0, 2, 1) + on_words(of_family)
            mean_of = [(liking[f] + differ[f])[self.family_of_base] + of_base[f] for f in (0, 1)]
            spread = by_word[self.family_of_base][:, None]
            liking = about(mean_of, "base_word", spread, "base", "word")
            mean_of = [liking[f][self.base] + own[f] for f in (0, 1)]
            spread = by_word[self.family][:, None]
            liking = about(mean_of, "model_word", spread, "model", "word")

            # On a prompt: (prompt, model, word).
            shared = pm.Normal("prompt_category", dims=("prompt", "category"))
            shared = on_words(shared * of("prompt_category")[framing][:, 0])
            sd_of = of("prompt_word")[framing][:, 0]
            shared = pm.Normal("prompt_word", shared, sd_of, dims=("prompt", "word"))
            own = pm.Normal("model_prompt", dims=("prompt", "model", "category"))
            own = on_words(own * of("model_prompt")[framing])
            expected = pt.stack(liking)[framing] + shared[:, None] + own
            # About their means over words, n words have n − 1 free residuals.
            expected = expected - expected.mean(axis=2, keepdims=True)
            noise = of("residual")[framing]
            pm.Normal("y", expected, noise, observed=self.y)
            pm.Potential("levels", len(self.models) * pt.log(noise).sum())
        return model

    def sample(self, *, draws: int, tune: int, seed: int, accept: float = 0.8) -> xr.Dataset:
        """Draw from the posterior with four chains of nutpie."""
        import nutpie

        with warnings.catch_warnings():
            # numba brings its own.
            warnings.filterwarnings("ignore", "PyTensor could not link to a BLAS", UserWarning)
            compiled = nutpie.compile_pymc_model(self.build(), freeze_model=True)
        cores = min(4, os.cpu_count() or 1)
        trace = nutpie.sample(
            compiled, draws=draws, tune=tune, chains=4, cores=cores, seed=seed, progress_bar=False,
            target_accept=accept,
        )  # fmt: skip
        posterior, diverging = trace["posterior"], trace["sample_stats"]["diverging"]
        found = posterior if isinstance(posterior, xr.Dataset) else posterior.to_dataset()
        return found.assign(diverging=diverging)

    def quantities(self, posterior: xr.Dataset) -> dict[str, Array]:
        """Name what the draws say of every quantity, each (chain, draw)."""
        out = _named("sd[{component}, {framing}]", posterior["sd"])
        out |= _named("correlation[{joint}]", 2 * posterior["half"] - 1)
        out |= _named("log spread[{level}, {family}]", posterior["log_spread"].isel(family=[0]))
        if self.tailed:
            out |= _named("nu[{part}]", posterior["nu"])
        category, pair = (" − ".join(x[:2]) for x in (self.categories, self.families))

        family = self._lean(posterior["mean"] + posterior["family mean"])
        base = self._lean(self._effect(posterior, "base_category", self.family_of_base))
        base = base + family.isel(family=xr.DataArray(self.family_of_base, dims="base"))
        model = self._lean(self._effect(posterior, "model_category", self.family))
        model = model + base.isel(base=xr.DataArray(self.base, dims="model"))
        for what, lean in (("family", family), ("base", base), ("model", model)):
            out |= _named(f"{what} lean | {{{what}}} | {{framing}} | {category}", lean)
        name = f"overall lean | all models | {{framing}} | {category}"
        out |= _named(name, self._mean_over_models(family))
        name = f"family difference | {pair} | signed | {category}"
        out |= _named(name, _signed(_difference(family)))
        unseen = family + self._unseen(posterior)
        out |= _named(f"predicted lean | {{family}} | signed | {category}", _signed(unseen))

        liking = self._liking(posterior)
        these = self._lean(liking.groupby("of_category").mean().rename(of_category="category"))
        name = f"family difference, these words | {pair} | signed | {category}"
        out |= _named(name, _signed(_difference(these)))
        some = (liking - liking.mean("word")).isel(word=slice(None, None, 4))
        out |= _named("word | {word} | {framing}", self._mean_over_models(some))
        return out | _named(f"word | {{word}} | {pair}", _signed(_difference(some)))

    def _lean(self, effect: xr.DataArray) -> xr.DataArray:
        """Subtract the second category from the first."""
        first, second = (effect.sel(category=name, drop=True) for name in self.categories)
        return first - second

    def _mean_over_models(self, by_family: xr.DataArray) -> xr.DataArray:
        return by_family.isel(family=xr.DataArray(self.family, dims="model")).mean("model")

    def _effect(
        self, posterior: xr.Dataset, name: str, family: NDArray[np.intp] | None = None
    ) -> xr.DataArray:
        """Turn multiples of an effect's SDs into the effect, of levels that are of a family."""
        z, rho = posterior[name], 2 * posterior["half"].sel(joint=name, drop=True) - 1
        effect = _correlated(*(z.sel(framing=f, drop=True) for f in FRAMINGS), rho)
        effect = effect * posterior["sd"].sel(component=name, drop=True)
        if name in self.tailed:
            effect = effect * np.sqrt(posterior[f"variance {name}"])
        if family is None:
            return effect
        spread = np.exp(posterior["log_spread"].sel(level="category", drop=True))
        dim = "base" if "base" in z.dims else "model"
        return effect * spread.isel(family=xr.DataArray(family, dims=dim)).drop_vars("family")

    def _liking(self, posterior: xr.Dataset) -> xr.DataArray:
        """Give families' likings of words, categories included; with each word's category."""
        of_word = xr.concat([posterior[f"word {i}"] for i in (1, 2)], "framing")
        of_word = of_word.assign_coords(framing=list(FRAMINGS))
        member = xr.DataArray(self.member, dims=("word", "category"))
        by_category = (posterior["family mean"] * member).sum("category")
        out = of_word + self._effect(posterior, "word:family") + by_category
        of_category = np.array(self.categories)[self.member.argmax(axis=1)]
        return out.assign_coords(of_category=("word", of_category))

    def _unseen(self, posterior: xr.Dataset) -> xr.DataArray:
        """Draw what a model not seen, on a base not seen, adds to its family's lean."""
        rng = np.random.default_rng(0)
        spread = np.exp(posterior["log_spread"].sel(level="category", drop=True))
        out = 0.0 * spread
        for name in ("base_category", "model_category"):
            rho = 2 * posterior["half"].sel(joint=name, drop=True) - 1
            # The difference of two categories.
            z = (np.sqrt(2) * rho.copy(data=rng.standard_normal(rho.shape)) for _ in FRAMINGS)
            sd = posterior["sd"].sel(component=name, drop=True)
            if name in self.tailed:
                nu = posterior["nu"].sel(part=name, drop=True)
                sd = sd / np.sqrt(nu.copy(data=rng.chisquare(nu)) / nu)
            out = out + _correlated(*z, rho) * sd * spread
        return out


def _correlated(first: xr.DataArray, second: xr.DataArray, rho: xr.DataArray) -> xr.DataArray:
    """Make two framings' standard normals correlate."""
    both = xr.concat([first, rho * first + np.sqrt(1 - rho**2) * second], "framing")
    return both.assign_coords(framing=list(FRAMINGS))


def _signed(x: xr.DataArray) -> xr.DataArray:
    return (x.sel(framing="positive", drop=True) - x.sel(framing="negative", drop=True)) / 2


def _difference(x: xr.DataArray) -> xr.DataArray:
    return x.isel(family=0, drop=True) - x.isel(family=1, drop=True)


def _named(template: str, draws: xr.DataArray) -> dict[str, Array]:
    """Take draws apart by all that is not chain or draw, and name each."""
    sides = [str(dim) for dim in draws.dims if dim not in ("chain", "draw")]
    values = draws.transpose("chain", "draw", *sides).to_numpy()
    labels = [draws[side].to_numpy().tolist() for side in sides]
    flat = values.reshape(*values.shape[:2], -1)
    return {
        template.format(**dict(zip(sides, names, strict=True))): flat[:, :, i]
        for i, names in enumerate(itertools.product(*labels))
    }


def quantities_of(fit: Fit) -> dict[str, Array]:
    """Name the same quantities of a fit, and more, each (chain, draw)."""
    posterior = fit.tree["posterior"].to_dataset()
    out = _named("sd[{component}, {framing}]", posterior["sd"])
    out |= _named("correlation[{correlated}]", posterior["correlation"])
    out |= _named("log spread[{level}, {kind}]", np.log(posterior["spread"]))
    if "nu" in posterior:
        out |= _named("nu[{part}]", posterior["nu"])
    out |= _named("{estimand}", fit.contrast_draws)
    for framing in FRAMINGS:
        out |= _named(f"word | {{response}} | {framing}", fit.word_draws(framing=framing))
    row = fit.compared_rows()[0]
    difference, pair = fit.words_of(row.row), (row.first, row.second)
    by_word = difference.T.reshape(-1, posterior.sizes["chain"], posterior.sizes["draw"])
    words = fit.data["response"].to_numpy()
    name = " − ".join(pair)
    return out | {f"word | {w} | {name}": x for w, x in zip(words, by_word, strict=True)}


def compare(first: Mapping[str, Array], second: Mapping[str, Array]) -> pd.DataFrame:
    """Set means and SDs of two sets of draws side by side.

    One row a quantity of ``first``: both means and SDs, their difference in units of the Monte
    Carlo errors of both (``z_mean``, ``z_sd``), and each side's bulk ESS.
    """
    one, two = _moments(first), _moments({name: second[name] for name in first})
    out = pd.DataFrame(index=one.index)
    for what in ("mean", "sd"):
        error = np.hypot(one[f"mcse_{what}"], two[f"mcse_{what}"])
        out[what], out[f"{what}_2"] = one[what], two[what]
        out[f"z_{what}"] = (one[what] - two[what]) / error
    return out.assign(ess=one["ess"], ess_2=two["ess"], rhat=one["rhat"])


def _moments(draws: Mapping[str, Array]) -> pd.DataFrame:
    """Give means and SDs with their Monte Carlo errors, that of an SD by the delta method."""
    values = np.stack(list(draws.values()), axis=-1)
    squares = (values - values.mean(axis=(0, 1))) ** 2
    sides = ("chain", "draw", "quantity")
    data = xr.Dataset({"x": (sides, values), "squares": (sides, squares)})
    ess = {name: x.to_numpy() for name, x in az.ess(data, method="mean").items()}
    sd = values.std(axis=(0, 1), ddof=1)
    return pd.DataFrame(
        {
            "mean": values.mean(axis=(0, 1)),
            "sd": sd,
            "mcse_mean": sd / np.sqrt(ess["x"]),
            "mcse_sd": squares.std(axis=(0, 1)) / np.sqrt(ess["squares"]) / (2 * sd),
            "ess": ess["x"],
            "rhat": az.rhat(data)["x"].to_numpy(),
        },
        index=pd.Index(draws),
    )
