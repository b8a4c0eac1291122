"""The methods in words, written from the fit's settings, and the works they rest on."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from valuebias.analysis.auditing.reading import read_before_end
from valuebias.analysis.design.grouping import PAIR_COORDS, describe_group, known_bases
from valuebias.analysis.design.priors import Prior
from valuebias.analysis.outcome import describe
from valuebias.errors import few
from valuebias.posterior.item_settings import ITEM_PRIOR
from valuebias.report.content import Reference
from valuebias.report.item_texts import item_data, item_model
from valuebias.schema import model_table
from valuebias.schema.verdicts import has_verdicts, mass_outside

if TYPE_CHECKING:
    import xarray as xr

    from valuebias.posterior.posterior import Posterior

__all__ = [
    "dataset_provenance",
    "fit_settings",
    "load_line",
    "methods_text",
    "references",
    "reproduce",
]

_CHRISTIAN = Reference(
    "Christian et al. (2026). Reward Models Inherit Value Biases from Pretraining. "
    "arXiv:2601.20838.",
    "https://arxiv.org/abs/2601.20838",
)
_WORKS = {
    "pymc": Reference(
        "Abril-Pla et al. (2023). PyMC: a modern and comprehensive probabilistic programming "
        "framework in Python. PeerJ Computer Science 9, e1516.",
        "https://doi.org/10.7717/peerj-cs.1516",
    ),
    "hmc": Reference(
        "Neal (2011). MCMC using Hamiltonian dynamics. Handbook of Markov Chain Monte Carlo, "
        "113–162.",
        "https://arxiv.org/abs/1206.1901",
    ),
    "nuts": Reference(
        "Hoffman & Gelman (2014). The No-U-Turn Sampler. Journal of Machine Learning Research "
        "15, 1593–1623.",
        "https://jmlr.org/papers/v15/hoffman14a.html",
    ),
    "nutpie": Reference(
        "Seyboldt & PyMC developers. nutpie: a fast sampler for Bayesian posteriors.",
        "https://github.com/pymc-devs/nutpie",
    ),
    "rhat": Reference(
        "Vehtari, Gelman, Simpson, Carpenter & Bürkner (2021). Rank-normalization, folding, and "
        "localization: an improved R-hat. Bayesian Analysis 16(2), 667–718.",
        "https://doi.org/10.1214/20-BA1221",
    ),
    "arviz": Reference(
        "Kumar, Carroll, Hartikainen & Martin (2019). ArviZ: a unified library for exploratory "
        "analysis of Bayesian models in Python. Journal of Open Source Software 4(33), 1143.",
        "https://doi.org/10.21105/joss.01143",
    ),
    "loo": Reference(
        "Vehtari, Gelman & Gabry (2017). Practical Bayesian model evaluation using leave-one-out "
        "cross-validation and WAIC. Statistics and Computing 27, 1413–1432.",
        "https://doi.org/10.1007/s11222-016-9696-4",
    ),
    "lkj": Reference(
        "Lewandowski, Kurowicka & Joe (2009). Generating random correlation matrices based on "
        "vines and extended onion method. Journal of Multivariate Analysis 100(9), 1989–2001.",
        "https://doi.org/10.1016/j.jmva.2009.04.008",
    ),
    "barr": Reference(
        "Barr, Levy, Scheepers & Tily (2013). Random effects structure for confirmatory hypothesis "
        "testing: keep it maximal. Journal of Memory and Language 68(3), 255–278.",
        "https://doi.org/10.1016/j.jml.2012.11.001",
    ),
    "t": Reference(
        "Lange, Little & Taylor (1989). Robust statistical modeling using the t distribution. "
        "Journal of the American Statistical Association 84(408), 881–896.",
        "https://doi.org/10.1080/01621459.1989.10478852",
    ),
    "slice": Reference(
        "Neal (2003). Slice sampling. Annals of Statistics 31(3), 705–767.",
        "https://doi.org/10.1214/aos/1056562461",
    ),
    "okabe": Reference(
        "Okabe & Ito (2008). Color Universal Design (CUD).", "https://jfly.uni-koeln.de/color/"
    ),
}


def dataset_provenance(fit: Posterior) -> dict[str, Any]:
    """Read the provenance that the dataset carries; empty where it has none."""
    text = fit.data.attrs.get("provenance", "{}")
    provenance = json.loads(text) if isinstance(text, str) else {}
    return provenance if isinstance(provenance, dict) else {}


def methods_text(fit: Posterior, *, prediction: bool = True) -> tuple[str, ...]:
    """Write the methods section."""
    predicted = (
        " Predictive accuracy is leave-one-score-out (Vehtari et al. 2017), exact given the "
        "variances."
        if prediction and fit.problem.noise.plain and not fit.of_items
        else ""
    )
    return (_data(fit), _model(fit), _priors(fit), _sampling(fit) + predicted)


def _data(fit: Posterior) -> str:
    if fit.of_items:
        return item_data(fit) + _judged(fit.data)
    sizes, spec = fit.data.sizes, fit.settings
    kind = describe(spec["outcome"])
    families = Counter(fit.data["family"].to_numpy().tolist())
    counted = ", ".join(f"{count} of {name}" for name, count in families.items())
    missing = (
        "Every model scored every word after every prompt."
        if not spec["n_missing"]
        else f"{spec['n_missing']:,} of the {fit.data['score'].size:,} scores are missing."
    )
    prompts = dataset_provenance(fit).get("prompts")
    theirs = isinstance(prompts, dict) and prompts.get("name") == "superlatives"
    source = " (Christian et al. 2026)" if theirs else ""
    turned = (
        " Ranks were turned round, so that a higher number means a higher reward."
        if kind.sign < 0
        else ""
    )
    read = read_before_end(model_table(fit.data))
    weighed = (
        " Words belong to the categories by weights: a lean is the difference of weighted means."
        if fit.problem.crossing.weighted
        else ""
    )
    return (
        f"{sizes['model']} models ({counted}) scored {sizes['response']} words of "
        f"{sizes['category']} categories after {sizes['prompt']} prompts{source}. {missing} "
        "Within each model and prompt the scores were turned into the outcome "
        f"“{kind.name}” over the words of the lexicon (unit: {kind.units}).{turned}{weighed}"
        f"{' ' if read else ''}{read}{_judged(fit.data)}"
    )


def _judged(data: xr.Dataset) -> str:
    """Say how scores of judges came about."""
    if data.attrs.get("kind") != "judged" or not has_verdicts(data):
        return ""
    verdicts = few(dict.fromkeys(data["verdict"].to_numpy().tolist()), limit=7)
    orders = " and of both orders" if data["order"].to_numpy().max() > 1 else ""
    means = mass_outside(data).mean(("prompt", "response")).to_numpy()
    low, high = f"{means.min():.1%}", f"{means.max():.1%}"
    left = low if low == high else f"{low} to {high}, by model,"
    return (
        " Each model was asked as a judge, and a score is made of the probabilities of the "
        f"verdicts {verdicts}{orders} at one place of its reply, without sampling; {left} of "
        "the probability was that of other tokens."
    )


def _model(fit: Posterior) -> str:
    if fit.of_items:
        return item_model(fit, f"{_residuals(fit)}{_shared(fit)}{_spread(fit)}")
    framings = fit.problem.crossing.framings
    components = ", ".join(fit.problem.components.names)
    besides = f"{_residuals(fit)}{_shared(fit)}{_spread(fit)}{_covariates(fit)}"
    signed = (
        "The lean signed by framing is the lean under positive prompts less the lean under "
        "negative ones, halved. "
        if len(framings) == 2
        else f"All prompts are of {framings[0]} framing"
        f"{', and the sign of the lean is turned' if framings[0] == 'negative' else ''}. "
    )
    return (
        f"The outcome was modelled by a Gaussian hierarchy with the formula "
        f"{fit.settings['formula']} acting on every category and framing, and random effects of "
        f"{components}, each with its own standard deviation by framing. "
        "The model is the sampling unit: models of a family differ at random, so that a difference "
        "between families is judged against the spread of "
        "models within them, and paraphrases of one question do not count as new models (Barr et "
        f"al. 2013). {besides}A lean is the mean outcome of one category less that of another. "
        f"{signed}Factors are in zero-sum coding."
    )


def _shared(fit: Posterior) -> str:
    """Say what models share, and that bases were ignored where they were."""
    sizes = fit.problem.crossing.space.sizes
    if not sizes:
        bases = known_bases(model_table(fit.data))
        if fit.settings["base"] is not None or bases is None or len(set(bases)) == len(bases):
            return ""
        return (
            "Models that share a base were taken as independent (base=None), so no result "
            "generalises beyond these bases. "
        )
    counted = " and ".join(f"{size} {describe_group(name)}" for name, size in sizes.items())
    if set(PAIR_COORDS) & set(sizes):
        counted = " and ".join(f"{size} {coord}s" for coord, size in sizes.items())
        return (
            f"Each model here is a pair of language models, and pairs share {counted}: the effects "
            "named after a side belong to the language model on it, so that pairs with a model in "
            "common do not count as independent. "
        )
    return (
        f"Models share {counted}: the effects named after these belong to all models that share "
        "one, which do not count as independent. "
    )


def _spread(fit: Posterior) -> str:
    kinds = fit.problem.crossing.space.kinds
    if not kinds:
        return ""
    return (
        "Families may differ in how much their models (and bases) vary: the standard deviations "
        "of these are multiplied by a factor for each family, partially pooled. "
    )


def _residuals(fit: Posterior) -> str:
    """Say how scores scatter, where not normally with one SD, and which effects are not normal."""
    noise, text = fit.problem.noise, ""
    if noise.student:
        text = (
            "Residuals are t distributed with estimated degrees of freedom, so that outlying "
            "scores count for less (Lange et al. 1989); their SD here is the scale of the t. "
        )
    if noise.by_model:
        text += (
            "Each model has a residual SD of its own: that of a typical model times a factor, "
            "log-normal over models. "
        )
    if noise.tails:
        text += (
            f"The effects {', '.join(fit.problem.components.tailed(noise.tails))} are multivariate "
            f"t distributed, jointly over framings and categories for each of the "
            f"{', '.join(noise.tails)}, with estimated degrees of freedom, so that outlying ones "
            "count for less (Lange et al. 1989); their SDs here are scales of the t. "
        )
    return text


def _covariates(fit: Posterior) -> str:
    names = fit.problem.crossing.covariate_names
    if not names:
        return ""
    return (
        f"Words have the covariates {', '.join(names)} (centred and scaled over words), with "
        "effects as the categories have; contrasts hold them fixed. "
    )


def _priors(fit: Posterior) -> str:
    table = fit.priors()
    listed = "; ".join(f"{name}: {row['prior']}" for name, row in table.iterrows())
    return (
        f"Priors, in units of the outcome: {listed}. HalfNormal and Normal are given by their "
        "scale; LKJ by its concentration (Lewandowski et al. 2009)."
    )


def _sampling(fit: Posterior) -> str:
    spec = fit.settings
    plain = fit.problem.noise.plain
    path = (
        "The crossing is complete, so all effects were integrated out exactly and only standard "
        "deviations and correlations were sampled"
        if spec["path"] == "complete"
        else "The crossing is incomplete; missing cells were drawn by data augmentation, which "
        "leaves the posterior exact, with all effects integrated out"
        if plain
        else "Each score was taken as the sum of a value with the variance of the most precise and "
        "of independent noise, both drawn by data augmentation, which leaves the posterior exact"
    )
    if fit.problem.noise.tails:
        path += "; heavy-tailed effects likewise, as a part with the least variance and a rest"
    named = {
        "nutpie": "the No-U-Turn sampler (Hoffman & Gelman 2014) of nutpie",
        "pymc": "the No-U-Turn sampler (Hoffman & Gelman 2014) of PyMC",
        "hmc": "Hamiltonian Monte Carlo (Neal 2011)",
    }[_sampler(fit)]
    how = (
        f"The model is written in PyMC (Abril-Pla et al. 2023) and was sampled by {named}"
        if plain
        else "Sampling alternated Gibbs steps, slice sampling (Neal 2003) and Hamiltonian steps"
    )
    return (
        f"{path}; the effects were then drawn from their exact conditional posterior. {how}: "
        f"{spec['chains']} chains of {spec['draws']} draws after {spec['tune']} tuning steps, seed "
        f"{spec['seed']}. Convergence was judged by split R-hat and effective sample sizes of the "
        "contrasts (Vehtari et al. 2021), computed as by ArviZ (Kumar et al. 2019). Intervals are "
        "equal-tailed."
    )


def _sampler(fit: Posterior) -> str:
    """Name what sampled the variances; of incomplete crossings nothing else can."""
    asked = fit.settings["sampler"] if fit.settings["path"] == "complete" else "hmc"
    return asked if asked in ("nutpie", "pymc") else "hmc"


def _of_scoring(provenance: dict[str, Any]) -> dict[str, Any]:
    """Give what was scored with what, of scores that valuebias made, also of their first part."""
    parts = provenance.get("parts")
    first = parts[0] if isinstance(parts, list) and parts else provenance
    scoring = first.get("scoring") if isinstance(first, dict) else None
    return scoring if isinstance(scoring, dict) else {}


def references(fit: Posterior | None, *, prediction: bool = True) -> tuple[Reference, ...]:
    """List the works cited, among them those of the data and the lexicon."""
    if fit is None:
        return (_CHRISTIAN, _WORKS["okabe"])
    noise = fit.problem.noise
    samplers = {"hmc": ["hmc"], "nutpie": ["nuts", "nutpie"], "pymc": ["nuts"]}
    sampled = ["pymc", *samplers[_sampler(fit)]]
    tailed = ["t"] if noise.student or noise.tails else []
    used = [*(sampled if noise.plain else ["slice"]), *tailed, "rhat", "arviz",
            *(["loo"] if prediction and noise.plain and not fit.of_items else []), "lkj", "barr",
            "okabe"]  # fmt: skip
    provenance = dataset_provenance(fit)
    cited = []
    for part in ("dataset", "lexicon", "prompts"):
        entry = provenance.get(part, _of_scoring(provenance).get(part))
        if not isinstance(entry, dict):
            continue
        citation = entry.get("citation")
        if citation and "2601.20838" not in str(citation).split(";")[0]:
            licence = f" Licence: {entry['licence']}" if entry.get("licence") else ""
            cited.append(Reference(f"{part.capitalize()}: {citation}{licence}"))
    return (_CHRISTIAN, *cited, *(_WORKS[name] for name in used))


def reproduce(fit: Posterior) -> str:
    """Write the code that repeats the fit."""
    return (
        "import valuebias\n\n"
        f"{load_line(fit)}"
        f"fit = valuebias.fit(\n    dataset,\n    {fit.settings['formula']!r},\n"
        f"{fit_settings(fit)})\n"
        'fit.report("report.html")\n'
    )


def load_line(fit: Posterior) -> str:
    """Write the line that reads the data."""
    dataset = dataset_provenance(fit).get("dataset")
    name = dataset.get("name") if isinstance(dataset, dict) else None
    data = f"valuebias.datasets.load({name!r})" if name else 'valuebias.read("data.nc")'
    comment = "" if name else "  # the data of this report, see the provenance"
    return f"dataset = {data}{comment}\n"


def fit_settings(fit: Posterior) -> str:
    """Write the arguments after the formula, one per line."""
    spec = fit.settings
    settings = {name: spec[name] for name in ("outcome", "draws", "tune", "chains", "seed")}
    usual = {
        "words": None, "base": "base", "spread": None, "family": "gaussian", "residual": None,
        "heavy_tails": None, "by": None,
    }  # fmt: skip
    settings |= {name: spec[name] for name in usual if spec.get(name) != usual[name]}
    if spec["sampler"] != "hmc":
        settings["sampler"] = spec["sampler"]
    if fit.contrast:
        settings["contrast"] = fit.contrast
    usual_prior = (ITEM_PRIOR if fit.of_items else Prior()).to_dict()
    prior = {key: x for key, x in fit.prior.to_dict().items() if x != usual_prior.get(key)}
    if prior:
        settings["prior"] = prior
    return "".join(f"    {key}={value!r},\n" for key, value in settings.items())
