"""What a fit gives its users, as quantities that a sentence may be about."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from valuebias.analysis.estimands.estimand import BASE, DIFFERENCE, LEAN, MODEL, OVERALL, PREDICTED
from valuebias.analysis.estimands.rows import headline_factor
from valuebias.posterior.claim_sentences import VARIABLE
from valuebias.posterior.headline import LEAST_DOUBT, POWER, all_pairs, crossed_cells, detectable
from valuebias.posterior.posterior import CERTAIN, Posterior
from valuebias.schema import model_table

__all__ = ["Quantity", "names_of", "quantities"]

_SUMMARY = ("mean", "median", "sd", "lower", "upper", "p_direction", "p_rope", "rhat",
            "ess_bulk", "ess_tail")  # fmt: skip
_JOINT = ("lower_joint", "upper_joint")
_ASKS = {"these words": r"these (?:very )?words|(?:this|the) lexicon", "unadjusted": "unadjusted"}
_EXTREME = r"\b(?:range|largest|lowest|highest|smallest|least|most)\b"
_ALL = r"\ball (?:\w+ )?models|overall|on average|averaged|together"
_PREDICTS = r"predict|unseen|\bnew\b|another model|further model"


@dataclass(frozen=True)
class Quantity:
    """One quantity, with the numbers that describe it by the column of its table."""

    label: str
    values: Mapping[str, float]
    variable: str = ""
    levels: tuple[str, ...] = ()  # of the variable: the first less the second, or one
    over: tuple[str, ...] = ()  # the categories, likewise
    framing: str = ""
    # Names all of which a sentence about it holds: of models, bases, words, cells.
    names: frozenset[str] = field(default_factory=frozenset)
    kind: str = ""  # of estimand
    asks: str = ""  # what its sentence says, as a regular expression

    def turned(self, times: int) -> Quantity:
        """Turn the sign as often as levels or categories stand in the other order."""
        if times % 2 == 0:
            return self
        v = dict(self.values)
        for name in ("mean", "median"):
            v[name] = -v[name]
        for low, high in (("lower", "upper"), _JOINT):
            if low in v:
                v[low], v[high] = -v[high], -v[low]
        if "p_positive" in v:
            v["p_positive"], v["p_negative"] = v["p_negative"], v["p_positive"]
        return replace(self, values=v, label=f"{self.label}, in the other order")


def names_of(fit: Posterior) -> dict[str, set[str]]:
    """Give every name of the fit with what it names: a variable, model, base, word, category."""
    known: dict[str, set[str]] = {}
    for factor in fit.problem.crossing.design.variables:
        for level in factor.levels if factor.categorical else ():
            known.setdefault(str(level), set()).add(f"level of {factor.expression}")
        if re.search(r"\d", factor.expression):
            known.setdefault(factor.expression, set()).add(VARIABLE)
    table = fit.contrasts()
    for side in {*table["over"], *table["against"]}:
        if re.search(r"\d", side):  # such as "(0.5 communion + 0.5 other)"
            known.setdefault(side, set()).add(VARIABLE)
    coords = {"level of family": "family", "base": str(fit.settings["base"] or "base")}
    coords |= {"model": "model", "word": "response", "category": "category"}
    for what, coord in coords.items():
        if coord in fit.data.coords:
            for name in map(str, fit.data[coord].to_numpy().tolist()):
                known.setdefault(name, set()).add(what)
                if what == "model" and "/" in name:
                    known.setdefault(name.rpartition("/")[2], set()).add(f"model {name}")
    for parameter in fit.parameters["parameter"].to_numpy().tolist():
        known.setdefault(str(parameter), set()).add("parameter")
    return known


def quantities(fit: Posterior, prob: float) -> list[Quantity]:
    """List all quantities, with intervals of a probability."""
    return [
        *_contrasts(fit, prob),
        *_cells(fit, prob),
        *_parameters(fit, prob),
        *_words(fit, prob),
        *_counts(fit),
        *_settings(fit),
    ]


def _contrasts(fit: Posterior, prob: float) -> Iterator[Quantity]:
    table = fit.contrasts(prob=prob)
    for row in table.to_dict("records"):
        yield _of_row(row)
    leans = table[(table["form"] == LEAN) & (table["variable"] == MODEL)]
    for (framing, category), rows in leans.groupby(["framing", "category"], sort=False):
        by_mean = rows.sort_values("mean").to_dict("records")
        for which, row in (("least", by_mean[0]), ("largest", by_mean[-1])):
            label = f"{which} model lean ({row['name']}, {framing}, {category})"
            yield replace(_of_row(row), label=label, names=frozenset(), asks=_EXTREME)


def _of_row(row: Mapping[Any, Any], *more: str) -> Quantity:
    values = {name: float(row[name]) for name in (*_SUMMARY, *_JOINT) if name in row}
    positive = row["p_direction"] if row["median"] > 0 else 1 - row["p_direction"]
    values |= {"p_positive": positive, "p_negative": 1 - positive}
    values["p_outside"] = 1 - row["p_rope"]
    if row["form"] == DIFFERENCE:
        values["detectable"] = detectable(row["sd"])
    single = row["variable"] in (MODEL, BASE)
    where = f", {row['at']}" if row["at"] else ""
    asks = _PREDICTS if row["form"] == PREDICTED else ""
    asks = _ALL if row["variable"] == OVERALL else asks
    return Quantity(
        label=f"{row['estimand']} {row['name']}{where}, {row['framing']}, {row['category']}",
        values=values,
        variable="" if single else row["variable"],
        levels=() if single else tuple(x for x in (row["first"], row["second"]) if x),
        over=tuple(x for x in (row["over"], row["against"]) if x),
        framing=row["framing"],
        kind=row["estimand"],
        names=frozenset([*([row["first"]] if single else []), *more]),
        asks=_ASKS.get(row["variant"], asks),
    )


def _cells(fit: Posterior, prob: float) -> Iterator[Quantity]:
    """Within the levels that the formula crosses, and of pairs and ranks of several levels."""
    front = fit.contrasts().iloc[0]
    largest = all_pairs(fit, front)
    if largest is not None:
        yield Quantity(f"{front['name']}, jointly with the others",
                       {"detectable": largest.detectable()}, front["variable"],
                       (front["first"], front["second"]), framing=front["framing"])  # fmt: skip
    crossed = crossed_cells(fit, front)
    if crossed is not None:
        cells, names = crossed
        for row in cells.table(prob=prob).to_dict("records"):
            cell = [row.get(f"{name}_", row.get(name)) for name in names]
            yield _of_row(row, *(value for value in cell if isinstance(value, str)))
    factor = headline_factor(fit.problem.crossing.design, fit.focus.pair)
    if factor is None or len(factor.levels) < 3:
        return
    at = fit.focus.at
    pairs = fit.comparisons(factor.expression, at=at).table(prob=prob)
    for row in pairs.to_dict("records"):
        yield _of_row(row)
    under = ["framing", "category"]
    same = pairs[(pairs[under] == pairs[under].iloc[0]).all(axis=1)]
    clear = int((same["lower_joint"] * same["upper_joint"] > 0).sum())
    yield _count("difference", len(same), f"number of differences in {factor.expression}")
    yield _count("difference", clear, "differences with joint intervals without zero")
    yield _count("level", len(factor.levels), f"number of levels of {factor.expression}")
    for row in fit.means(factor.expression, at=at).ranks().to_dict("records"):
        values = {str(k): float(v) for k, v in row.items() if str(k).startswith(("rank", "mean_"))}
        yield Quantity(f"ranks of {row['name']}, {row['framing']}", values, factor.expression,
                       (row["name"],), framing=row["framing"])  # fmt: skip


def _parameters(fit: Posterior, prob: float) -> Iterator[Quantity]:
    for name, row in fit.summary(prob=prob).iterrows():
        values = {column: float(row[column]) for column in _SUMMARY if column in row}
        if str(name).startswith("sd["):
            values["sd"] = values["mean"]  # in prose, "the SD of words is"
        # "sd[word, positive]" is spoken of wherever all of its words stand.
        yield Quantity(str(name), values, names=frozenset({str(name)}), asks="parameter")


def _words(fit: Posterior, prob: float) -> Iterator[Quantity]:
    rows = fit.compared_rows()
    if not rows or (fit.of_items and not fit.replicated):
        return
    table = fit.words(prob=prob) if not fit.of_items else fit.items(prob=prob)
    table = table.rename(columns={"item": "word"})
    first, second = rows[0].first, rows[0].second
    variable = rows[0].variable
    for row in table.to_dict("records"):
        values = {name: float(row[name]) for name in ("mean", "sd", "lower", "upper")}
        values |= {"p_direction": row["p_direction"], "wrong_signs": row["expected_false_signs"]}
        values |= {"median": row["mean"]}
        yield Quantity(f"{row['word']}: {row['name']}", values, variable, (first, second),
                       names=frozenset({str(row["word"])}))  # fmt: skip
    wrong = table["expected_false_signs"].to_numpy()
    for n in {min(10, len(wrong)), min(20, len(wrong)), len(wrong)}:
        label = f"signs of the first {n} words expected to be wrong"
        yield Quantity(label, {"wrong_signs": float(wrong[n - 1])})
    yield _count("word", int(table["certain"].sum()), "words whose sign is certain", asks="certain")


def _count(noun: str, n: float, label: str, *owners: str, asks: str = "") -> Quantity:
    return Quantity(label, {f"n {noun}": float(n)}, names=frozenset(owners), asks=asks)


def _counts(fit: Posterior) -> Iterator[Quantity]:
    data, spec = fit.data, fit.settings
    nouns = {"model": "model", "prompt": "prompt", "word": "response", "category": "category"}
    if fit.of_items:
        nouns = {"model": "model", "word": "prompt", "category": "category"}
    for noun, dim in nouns.items():
        yield _count(noun, data.sizes[dim], fit.said(f"number of {noun}s"))
    models = model_table(data)
    for name, n in Counter(models["family"].astype(str)).items():
        yield _count("model", n, f"number of models of {name}", name)
    yield _count("family", models["family"].nunique(), "number of families")
    for name, group in zip((g.name for g in fit.problem.crossing.space.groups),
                           fit.problem.crossing.space.groups, strict=True):  # fmt: skip
        yield _count(name, group.n_levels, f"number of {name}s")
        pairs = {*zip(models["family"].astype(str), group.labels.tolist(), strict=True)}
        for family, n in Counter(family for family, _ in pairs).items():
            yield _count(name, n, f"number of {name}s of {family}", family)
    yield from _counts_of_items(fit) if fit.of_items else _counts_of_words(fit)
    for noun, n in (("chain", spec["chains"]), ("draw", spec["draws"]), ("tuning", spec["tune"]),
                    ("draw", spec["draws"] * spec["chains"]), ("score", data["score"].size),
                    ("score", data["score"].size - spec["n_missing"])):  # fmt: skip
        yield _count(noun, n, f"number of {noun}s")
    yield _count("missing", spec["n_missing"], "missing scores")


def _counts_of_words(fit: Posterior) -> Iterator[Quantity]:
    data, left_out = fit.data, fit.settings["dropped_words"]
    of_category = (data["membership"] != 0).sum("response").to_numpy().tolist()
    for name, n in zip(data["category"].to_numpy().astype(str), of_category, strict=True):
        yield _count("word", n, f"number of words of {name}", str(name))
    for name, n in Counter(data["framing"].to_numpy().astype(str).tolist()).items():
        yield _count("prompt", n, f"number of {name} prompts", asks=rf"\b{re.escape(name)}")
    yield _count("word", data.sizes["response"] + left_out, "words scored")
    yield _count("missing", left_out, "words outside the lexicon")


def _counts_of_items(fit: Posterior) -> Iterator[Quantity]:
    left_out = fit.settings.get("dropped_items", 0)
    yield _count("word", fit.data.sizes["prompt"] + left_out, "items scored")
    yield _count("missing", left_out, "items that lack scores")


def _settings(fit: Posterior) -> Iterator[Quantity]:
    d, rope = fit.diagnostics(), float(fit.contrasts().attrs["rope"])
    scale = float(fit.problem.crossing.scale)
    yield Quantity("seed", {"seed": float(fit.settings["seed"])})
    yield Quantity("region of practical equivalence", {"rope": rope, "rope_sd": rope / scale})
    yield Quantity("largest R-hat of the contrasts", {"rhat": d.max_rhat})
    yield Quantity("smallest effective sample size of the contrasts",
                   {"ess_bulk": d.min_ess_bulk, "ess_tail": d.min_ess_tail})  # fmt: skip
    yield _count("transition", d.transitions, "transitions")
    yield _count("divergence", d.divergences, "divergent transitions")
    for value in (CERTAIN, LEAST_DOUBT):
        yield Quantity("probability that a verdict asks for", {"p_limit": value})
    yield Quantity("probability of being found", {"power": POWER})
    for name, text in fit.priors()["prior"].items():
        for number in re.findall(r"\d[\d.]*(?:e-?\d+)?", str(text)):
            yield Quantity(f"prior of {name}", {"prior": float(number)})
