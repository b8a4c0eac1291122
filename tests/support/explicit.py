"""The hierarchical model written out in PyMC, every random effect a random variable.

Nothing is integrated out but the level of each model × prompt, which is free: the scores and what
the model says of them are compared about their means over words. It is written from the
description in docs/model.md, for families with bases and for words in one category each, and takes
of the package no more than the priors' scales.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import arviz as az
import numpy as np
import pandas as pd
import pymc as pm
import pytensor.tensor as pt
import xarray as xr
from numpy.typing import NDArray
from scipy import stats

from valuebias.analysis.priors import Prior

__all__ = ["Explicit", "compare", "quantities_of"]

Array = NDArray[np.float64]

JOINT = ("model_category", "base_category", "word", "word:family", "model_word", "base_word")
NESTED = ("prompt_category", "model_prompt", "prompt_word", "residual")
FRAMINGS = ("positive", "negative")
SIGNS = {"signed": (0.5, -0.5), "positive": (1.0, 0.0), "negative": (0.0, 1.0)}


@dataclass
class Explicit:
    """Normal scores with what describes their three sides, and the model of them.

    Attributes
    ----------
    dataset : Dataset
        Complete scores with both framings, two categories, families and bases.
    prior : Prior
    """

    dataset: xr.Dataset
    prior: Prior = field(default_factory=Prior)

    def __post_init__(self) -> None:
        scores = self.dataset["score"].transpose("model", "prompt", "response").to_numpy()
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
            "prompt": np.arange(len(self.framing)),
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

            def unit_of(name: str, *dims: str, zero_sum: bool = False) -> pt.TensorVariable:
                """Draw multiples of an effect's SDs: (*dims, framing), correlated over framings."""
                draw = pm.ZeroSumNormal if zero_sum else pm.Normal
                first = draw(f"{name} 1", sigma=1.0, dims=dims)
                second = draw(f"{name} 2", sigma=1.0, dims=dims)
                turned = rho[name] * first + pt.sqrt(1 - rho[name] ** 2) * second
                return pt.stack([first, turned], axis=-1)

            def about(name: str, mean, spread, *dims: str) -> pt.TensorVariable:
                """Draw effects about a mean (*dims, framing), the second given the first."""
                one, two = sd[name][0] * spread, sd[name][1] * spread
                first = pm.Normal(f"{name} 1", mean[..., 0], one, dims=dims)
                slope = rho[name] * two / one
                given = mean[..., 1] + slope * (first - mean[..., 0])
                second = pm.Normal(f"{name} 2", given, two * pt.sqrt(1 - rho[name] ** 2), dims=dims)
                return pt.stack([first, second], axis=-1)

            # Leans: (model, category, framing).
            mean = pm.Normal("mean", 0.0, prior.mean * unit, dims=("category", "framing"))
            of_family = pm.ZeroSumNormal(
                "family mean", prior.effect * unit, dims=("category", "framing", "family")
            )
            of_base = unit_of("base_category", "base", "category") * sd["base_category"]
            of_base = of_base * by_category[self.family_of_base][:, None, None]
            own = unit_of("model_category", "model", "category") * sd["model_category"]
            own = own * by_category[self.family][:, None, None]
            lean = mean + of_family.transpose(2, 0, 1)[self.family] + of_base[self.base] + own
            of_prompt = pm.Normal("prompt_category", dims=("prompt", "category"))
            here = pm.Normal("model_prompt", dims=("model", "prompt", "category"))
            on_prompts = (
                lean.transpose(0, 2, 1)[:, framing]
                + of_prompt * sd["prompt_category"][framing][:, None]
                + here * sd["model_prompt"][framing][:, None]
            )
            # No matrix product, for which PyTensor would look for a BLAS.
            expected = sum(
                on_prompts[:, :, k, None] * self.member[:, k] for k in range(len(self.categories))
            )

            # Likings of words: (…, word, framing).
            liking = about("word", np.zeros((len(self.words), 2)), 1.0, "word")
            differ = unit_of("word:family", "word", "family", zero_sum=True) * sd["word:family"]
            liking = liking + differ.transpose(1, 0, 2)
            spread = by_word[self.family_of_base][:, None]
            liking = about("base_word", liking[self.family_of_base], spread, "base", "word")
            spread = by_word[self.family][:, None]
            liking = about("model_word", liking[self.base], spread, "model", "word")
            of_prompt = pm.Normal(
                "prompt_word", 0.0, sd["prompt_word"][framing][:, None], dims=("prompt", "word")
            )
            expected = expected + liking.transpose(0, 2, 1)[:, framing] + of_prompt

            # About their means over words, n words have n − 1 free residuals.
            expected = expected - expected.mean(axis=2, keepdims=True)
            noise = sd["residual"][framing][:, None]
            pm.Normal("y", expected, noise, observed=self.y)
            pm.Potential("levels", len(self.models) * pt.log(noise).sum())
        return model

    def sample(self, *, draws: int, tune: int, seed: int, cores: int = 2) -> xr.Dataset:
        """Draw from the posterior with four chains of nutpie."""
        import nutpie

        trace = nutpie.sample(
            nutpie.compile_pymc_model(self.build()), draws=draws, tune=tune, chains=4, cores=cores,
            seed=seed, progress_bar=False,
        )  # fmt: skip
        stats_of = trace["sample_stats"]
        posterior = trace["posterior"]
        found = posterior if isinstance(posterior, xr.Dataset) else posterior.to_dataset()
        return found.assign(diverging=stats_of["diverging"], n_steps=stats_of["n_steps"])

    def quantities(self, posterior: xr.Dataset, seed: int = 0) -> Mapping[str, Array]:
        """Name what the draws say of every quantity, each (chain, draw)."""
        sd = {name: posterior["sd"].sel(component=name).to_numpy() for name in (*JOINT, *NESTED)}
        rho = dict(zip(JOINT, np.moveaxis(2 * posterior["half"].to_numpy() - 1, 2, 0), strict=True))
        spread = np.exp(posterior["log_spread"].to_numpy())
        out = {f"sd[{n}, {f}]": x[..., i] for n, x in sd.items() for i, f in enumerate(FRAMINGS)}
        out |= {f"correlation[{name}]": x for name, x in rho.items()}
        out |= {
            f"log spread[{level}, {self.families[0]}]": np.log(spread[:, :, i, 0])
            for i, level in enumerate(("category", "word"))
        }

        def effect(name: str) -> Array:
            """Give multiples of an effect's SDs, (chain, draw, …, framing)."""
            first, second = (posterior[f"{name} {i}"].to_numpy() for i in (1, 2))
            r = rho[name].reshape(*rho[name].shape, *[1] * (first.ndim - 2))
            return np.stack([first, r * first + np.sqrt(1 - r**2) * second], axis=-1)

        def difference(x: Array) -> Array:
            """First category less the second, of (chain, draw, …, category, framing)."""
            return x[..., 0, :] - x[..., 1, :]

        by_category = spread[:, :, 0]
        by_family = np.moveaxis(posterior["family mean"].to_numpy(), 4, 2)
        family = difference(posterior["mean"].to_numpy()[:, :, None] + by_family)
        base = difference(effect("base_category")) * sd["base_category"][:, :, None]
        base *= by_category[:, :, self.family_of_base, None]
        own = difference(effect("model_category")) * sd["model_category"][:, :, None]
        own *= by_category[:, :, self.family, None]
        # A word's liking on average over the families, and by family.
        differ = effect("word:family") * sd["word:family"][:, :, None, None]
        word = np.stack([posterior[f"word {i}"].to_numpy() for i in (1, 2)], axis=-1)
        liking = word[:, :, None] + differ.swapaxes(2, 3)
        theirs = self.member[:, 0] > 0
        shift = liking[:, :, :, theirs].mean(axis=3) - liking[:, :, :, ~theirs].mean(axis=3)
        # Of two categories each is half a lean away from the mean of both.
        expected = (
            family[:, :, :, None] * np.array([0.5 if a else -0.5 for a in theirs])[:, None] + liking
        )
        expected = expected - expected.mean(axis=3, keepdims=True)
        kinds = np.bincount(self.family) / len(self.family)
        unseen = self._unseen(sd, rho, by_category, seed)

        category = " − ".join(self.categories)
        pair = " − ".join(self.families[:2])
        for framing, weights in SIGNS.items():
            leans = {("family lean", g): family[:, :, i] for i, g in enumerate(self.families)}
            leans |= {
                ("predicted lean", g): family[:, :, i] + unseen[:, :, i]
                for i, g in enumerate(self.families)
            }
            leans["overall lean", "all models"] = np.einsum("cdgf,g->cdf", family, kinds)
            leans["family difference", pair] = family[:, :, 0] - family[:, :, 1]
            if framing == "signed":
                these = family + shift
                leans["family difference, these words", pair] = these[:, :, 0] - these[:, :, 1]
            leans |= {
                ("base lean", b): family[:, :, self.family_of_base[i]] + base[:, :, i]
                for i, b in enumerate(self.bases)
            }
            leans |= {
                ("model lean", m): family[:, :, self.family[i]]
                + base[:, :, self.base[i]]
                + own[:, :, i]
                for i, m in enumerate(self.models)
            }
            out |= {
                f"{kind} | {name} | {framing} | {category}": x @ weights
                for (kind, name), x in leans.items()
            }
            if framing != "signed":
                by_word = np.einsum("cdgwf,g,f->cdw", expected, kinds, weights)
                out |= {
                    f"word | {self.words[w]} | {framing}": by_word[:, :, w]
                    for w in range(0, len(self.words), 4)
                }
        return out

    def _unseen(
        self, sd: dict[str, Array], rho: dict[str, Array], by_category: Array, seed: int
    ) -> Array:
        """Draw what a model not seen, on a base not seen, adds to its family's lean."""
        rng = np.random.default_rng(seed)
        out = np.zeros((*by_category.shape, 2))
        for name in ("base_category", "model_category"):
            first, second = rng.standard_normal((2, *rho[name].shape)) * np.sqrt(2)
            turned = rho[name] * first + np.sqrt(1 - rho[name] ** 2) * second
            both = np.stack([first, turned], axis=-1) * sd[name]
            out += both[:, :, None] * by_category[..., None]
        return out


def quantities_of(fit) -> dict[str, Array]:
    """Name the same quantities of a fit, each (chain, draw)."""
    posterior = fit.tree["posterior"]
    sd, correlation = posterior["sd"], posterior["correlation"]
    out = {
        f"sd[{name}, {framing}]": sd.sel(component=name, framing=framing).to_numpy()
        for name in sd["component"].to_numpy()
        for framing in sd["framing"].to_numpy()
    }
    out |= {
        f"correlation[{name}]": correlation.sel(correlated=name).to_numpy()
        for name in correlation["correlated"].to_numpy()
    }
    spread = posterior["spread"]
    out |= {
        f"log spread[{level}, {kind}]": np.log(spread.sel(level=level, kind=kind).to_numpy())
        for level in spread["level"].to_numpy()
        for kind in spread["kind"].to_numpy()
    }
    draws = fit.contrast_draws
    out |= {
        str(name): draws[..., i].to_numpy() for i, name in enumerate(draws["estimand"].to_numpy())
    }
    for framing in FRAMINGS:
        words = fit.word_draws(framing=framing)
        out |= {
            f"word | {word} | {framing}": words[..., i].to_numpy()
            for i, word in enumerate(words["response"].to_numpy())
        }
    return out


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
