"""Judge the numbers of a text by those of a fit that their sentences can mean."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from valuebias._core.manuscripts import Passage, WrittenNumber
from valuebias.posterior.claim_chances import bound_chance, chance, holds, nearest
from valuebias.posterior.claim_cues import (
    COUNTED,
    CUES,
    LABELLED,
    NOUNS,
    OUT_OF_REACH,
    chance_columns,
    column_of,
    diagnostic_of,
)
from valuebias.posterior.claim_own import OwnWords, no_claims
from valuebias.posterior.claim_quantities import Quantity, names_of, quantities
from valuebias.posterior.claim_sentences import SPEAKS, TOKEN, Reader, Said, framed, says
from valuebias.posterior.claim_slots import owners
from valuebias.posterior.posterior import Posterior
from valuebias.posterior.wording import chance_bound

__all__ = ["FAULTS", "FOLLOWS", "NOT_CHECKED", "NOT_FOUND", "Judge"]

FOLLOWS, NOT_FOUND, NOT_CHECKED = "follows", "not found", "not checked"
ROUNDED, SIGN, ELSE, WRONG = "rounded wrongly", "sign", "of something else", "does not follow"
FAULTS = (ROUNDED, SIGN, ELSE, WRONG)
"""Verdicts on numbers that do not follow."""
UNCLAIMED = {
    "verdict": NOT_CHECKED, "quantity": "", "value": np.nan, "by_chance": np.nan,
    "remark": "a sentence of the fit's own",
}  # fmt: skip
_CHANCE_OF = re.compile(r"probab\w*(?:(?!\band\b|\bwith\b|interval)[^,;:(]){0,60}$")
_LEVEL = re.compile(r"\s?(?:[a-z-]+\s){0,2}(?:interval|CIs?\b|CrIs?\b|HDIs?\b|ETIs?\b|joint)", re.I)
_END_AT = re.compile(r"\|\s*(?:lower|upper|interval),?\s\(?$", re.I)
_ESTIMATES = ("mean", "median")
_ENDS = {"lower": ("lower", "lower_joint"), "upper": ("upper", "upper_joint")}
_SIGNED = {*_ESTIMATES, "lower", "upper", "lower_joint", "upper_joint"}
_DIFFER = re.compile(r"differ|\bgap")
_LEANS = re.compile(r"\bleans?\b")
_COMPARES = re.compile(
    r"differ|\bgap|\bthan\b|\bmore\b|\bless\b|further|\bover\b|compared|against|−"
)
_TOWARDS = re.compile(r"\btowards?\b", re.I)
_CHANCE_OF_ROPE = re.compile(
    r"\bp\(\s?(?:in )?(?:the )?rope\s?\)|\bp_rope\b|probab[^.;]{0,80}\brope\b"
)
_CAPTION = re.compile(r":\s*$|\btable\b|^\W*tab\.")
_CLAUSE = re.compile(r"[,;:]\s|\b(?:and|but)\b")
_EVERY = re.compile(
    r"\b(?:all|every|each|any|no|none|never|largest|max\w*|highest|were|are|values)\b"
)
_WORST = {"rhat": ("<", "≤"), "ess_bulk": (">", "≥"), "ess_tail": (">", "≥")}
_WINDOW, _SHORT, _MOST_LEVELS, _MOST_KEPT = 60, 20, 6, 200
_HALF, _CHANCY = 0.5 + 1e-6, 0.25
_REMEMBERED = 6  # sentences
_LIMIT = re.compile(r"should be at (?:most|least)|at (?:most|least) \S+ wanted|\band \S+ more")
_OF = re.compile(r"\sof\s")
_PART = re.compile(r"\b(?:first|largest|top|other|those|these|further|only|about|least|most)\s+$")
_PART_AFTER = re.compile(r"\s+(?:of|with|that|whose|above|below|which|differ)\b")
_SIGN_WITH = re.compile(r"\b(positive|negative) with\s(?:(?:above|below|[<>]) ?)?$")
_MAGNITUDE = re.compile(r"\bby (?:about )?$")
_LESS = re.compile(r"(?:\sSD|\sranks)? (?:less|lower|smaller|below)\b")


class Judge:
    """The names and quantities of a fit, to judge the passages of one text."""

    def __init__(self, fit: Posterior) -> None:
        self.fit = fit
        self.kinds = names_of(fit)
        self.framings = list(dict.fromkeys(fit.contrasts()["framing"]))
        factors = fit.problem.crossing.design.variables
        named = {name for f in factors if f.categorical for name in (f.expression, *f.names)}
        self.reader = Reader(self.kinds, self.framings, named)
        self.own_words = OwnWords(fit)
        self.known: dict[float, tuple[list[Quantity], dict[str, list[Quantity]]]] = {}
        self.meant: dict[Any, list[Quantity]] = {}
        self.others: dict[Any, list[tuple[str, str, float]]] = {}
        self.n_levels = {f.expression: len(f.levels) for f in factors if f.categorical}
        self.no_claims = no_claims({name for f in factors if not f.categorical for name in f.names})

    def rows(self, passages: list[Passage]) -> Iterator[dict[str, Any]]:
        """Judge every number in turn."""
        before = Said("", framings=frozenset(self.framings[:1]))
        heading = ""
        unread: list[Passage] = []
        for passage in passages:
            if passage.text.lstrip().startswith("#"):
                heading = " ".join(passage.text.lower().split())
            if passage.starts_block and not passage.header:
                unread = []
            # Of the sentences before, the last few tell what this one is about.
            unread = [*unread[-_REMEMBERED:], passage]
            if not passage.numbers:
                continue
            for earlier in unread[:-1]:
                before = self.reader.after(earlier, self.reader.read(earlier, before), before)
            unread = []
            is_caption = passage.header and _CAPTION.search(before.text)
            caption = f" {before.text}" if is_caption else ""
            said = replace(self.reader.read(passage, before), under=heading + caption)
            near, is_own = 0, None
            slots = {} if passage.header else self._slots(passage, said)
            for number in passage.numbers:
                if (level := self._level(passage, number)) is not None:
                    said = replace(said, prob=level)
                row = self._row(passage, number, said, near, slots)
                if row["verdict"] in (*FAULTS, NOT_FOUND):
                    is_own = self.own_words.hold(passage) if is_own is None else is_own
                    row |= UNCLAIMED if is_own else {}
                near = near if row["verdict"] == NOT_CHECKED else number.end
                yield row
            before = self.reader.after(passage, said, before)

    def _slots(self, passage: Passage, said: Said) -> dict[str, dict[int, frozenset[str]]]:
        """Tell by variable which names the numbers of a sentence are of, where it has several."""
        mentions: dict[str, list[tuple[int, int, str]]] = {"framing": framed(passage.text)}
        for start, end, name in said.spans:
            for kind in self.kinds[name]:
                what, _, rest = kind.partition(" ")
                variable = rest.removeprefix("of ") if what == "level" else what
                if what in ("level", "model", "base"):
                    named = rest if what == "model" and rest else name
                    mentions.setdefault(variable, []).append((start, end, named))
        found = {variable: owners(passage, some) for variable, some in mentions.items()}
        return {variable: slots for variable, slots in found.items() if slots}

    def _level(self, passage: Passage, number: WrittenNumber) -> float | None:
        """Return the probability of intervals, where a number is that."""
        named = number.percent and _LEVEL.match(passage.text, number.end)
        usable = named and 0 < number.value < 1
        # Of any others the ends would be computed anew: so many probabilities are no manuscript.
        few = number.value in self.known or len(self.known) < _MOST_LEVELS
        return number.value if usable and few else None

    def _quantities(self, prob: float) -> tuple[list[Quantity], dict[str, list[Quantity]]]:
        """List the quantities that no name is asked of, and others by the first such name."""
        if prob not in self.known:
            free: list[Quantity] = []
            named: dict[str, list[Quantity]] = {}
            for quantity in quantities(self.fit, prob):
                key = min(quantity.names, default="")
                (named.setdefault(key, []) if key else free).append(quantity)
            self.known[prob] = free, named
        return self.known[prob]

    def _named(self, said: Said) -> list[Quantity]:
        """Return the quantities that a sentence can mean, turned as it turns them."""
        free, named = self._quantities(said.prob)
        tokens = frozenset(t.rstrip("s") for t in TOKEN.findall(said.text))
        if "standard" in tokens:
            tokens |= {"sd"}
        key = (
            said.names,
            said.levels,
            said.order,
            said.framings,
            said.prob,
            said.text,
            said.antecedent,
            said.subject,
        )
        if key not in self.meant:
            others = [q for name in said.names for q in named.get(name, ())]
            parameters = [q for qs in named.values() for q in qs if q.asks == "parameter"]
            if len(self.meant) > _MOST_KEPT:
                self.meant.clear()
            meant = [
                self._turned(q, said)
                for q in (*others, *free, *parameters)
                if self._is_meant(q, said, said.text, tokens)
            ]
            self.meant[key] = _of_row(meant, said) if said.row else meant
        return self.meant[key]

    def _is_meant(self, q: Quantity, said: Said, text: str, tokens: frozenset[str]) -> bool:
        if q.asks == "parameter":
            return {t.lower().rstrip("s") for t in TOKEN.findall(q.label)} <= tokens
        if not q.names <= said.names or (q.framing and q.framing not in said.framings):
            return False
        mentioned = said.of(q.variable)
        if len(q.levels) == 1 and not said.row and self._is_of_difference(said, mentioned):
            return False
        if q.levels and mentioned and not {*q.levels} <= mentioned:
            two = self.n_levels.get(q.variable) == 2 and len(q.levels) == 2
            # "The lean of Gemma" is no difference, though only one other family is there.
            if two and says(_LEANS, said.text) and not says(_COMPARES, said.text):
                return False
            if not two and q.variable != "overall":
                return False
        over = said.of("category")
        if q.over and over and not {q.over[0], *q.over[1:]} & over:
            return False
        return not q.asks or says(q.asks, text) or says(q.asks, said.antecedent)

    def _is_of_difference(self, said: Said, mentioned: frozenset[str]) -> bool:
        """Tell whether a sentence that names no level goes on about a difference."""
        if says(_DIFFER, said.text):
            return not mentioned
        return says(_DIFFER, said.subject) and not says(r"\bleans?\b", said.text)

    def _turned(self, q: Quantity, said: Said) -> Quantity:
        pairs = [pair for pair in (q.levels, q.over) if len(pair) == 2]
        times = sum((p[1], p[0]) in said.order and (p[0], p[1]) not in said.order for p in pairs)
        return q.turned(times)

    def _row(
        self,
        passage: Passage,
        number: WrittenNumber,
        said: Said,
        near: int,
        slots: dict[str, dict[int, frozenset[str]]],
    ) -> dict[str, Any]:
        start, end = max(number.start - 45, 0), number.end + 35
        row: dict[str, Any] = {
            "line": passage.line_of(number),
            "text": " ".join(passage.text[start:end].split()),
            "number": number.text,
            "verdict": NOT_CHECKED, "quantity": "", "value": np.nan, "by_chance": np.nan,
            "remark": "",
        }  # fmt: skip
        noun, owners = self._counted(passage, number, said)
        why = self._left_out(passage, number, said, noun)
        if why:
            return row | {"remark": why}
        heading = passage.heading_of(number).lower()
        text = passage.text[max(near, number.start - _WINDOW) : number.start].lower()
        columns = {f"n {noun}"} if noun else self._columns(number, said, text, heading)
        lead = passage.text[max(near, number.start - 2 * _WINDOW) : number.start].lower()
        if number.text[0] != "±" and _CHANCE_OF_ROPE.search(lead):
            columns = {"p_rope"}
        meant = self._named(said)
        if noun and owners:
            meant = [q for q in meant if q.names and q.names <= owners]
        towards = self._towards(passage.text[near : number.start])
        if towards:
            meant = [q.turned(int(len(q.over) == 2 and q.over[1] == towards)) for q in meant]
        own = [q for q in meant if _may_be(q, number, slots)]
        meant = own if _values(own, columns) else meant
        values = _values(meant, columns, number.relation)
        if columns == {"prior"}:
            values = [v for v in values if v[0].removeprefix("prior of ").lower() in text] or values
        if not values:
            remark = f"the fit has no number of {noun}s so named" if noun else ""
            return row | {"verdict": NOT_FOUND, "remark": remark}
        after = passage.text[number.end : number.end + 20]
        free_of_sign = number.text[0] == "±" or (
            not number.signed
            and not towards
            and bool(_MAGNITUDE.search(text) or _LESS.match(after))
        )
        return row | self._judged(passage, number, values, columns, free_of_sign, said)

    def _towards(self, text: str) -> str:
        """Return the category towards which something leans by a number."""
        said = list(_TOWARDS.finditer(text))
        if not said:
            return ""
        after = text[said[-1].end() :].lstrip().lower()
        categories = [name for name, kinds in self.kinds.items() if "category" in kinds]
        return next((name for name in categories if after.startswith(name.lower())), "")

    def _left_out(self, passage: Passage, number: WrittenNumber, said: Said, noun: str) -> str:
        if number.left_out and not (number.left_out == "year" and noun):
            return number.left_out
        if any(start < number.end and number.start < end for start, end, _ in said.spans):
            return "part of a name"
        of_interval = number.value == said.prob and "interval" in said.text
        before = passage.text[max(number.start - _WINDOW, 0) : number.start]
        names_level = _LEVEL.match(passage.text, number.end) or _END_AT.search(before)
        if number.percent and (of_interval or names_level):
            return "the probability of an interval"
        if _LIMIT.search(passage.text[max(number.start - 20, 0) : number.end + 10].lower()):
            return "a limit"
        for why, form in OUT_OF_REACH.items():
            if says(form, said.text) or says(form, said.under):
                return why
        for why, form in self.no_claims.items():
            if form.search(passage.text, max(number.start - _WINDOW, 0), number.start):
                return why
        telling = [name for *_, name in said.spans if self.kinds[name] != {"word"}]
        goes_on = said.speaks and not passage.starts_block and number.unit < 1
        if not (telling or goes_on or says(SPEAKS, said.text)):
            return "its sentence names nothing of the fit"
        return ""

    def _counted(
        self, passage: Passage, number: WrittenNumber, said: Said
    ) -> tuple[str, frozenset[str]]:
        """Return what a whole number counts, and whose they are."""
        if number.percent or number.signed or number.side or number.unit < 1:
            return "", frozenset()
        match = COUNTED.match(passage.text, number.end)
        if not match:
            match = LABELLED.search(passage.text[max(number.start - 20, 0) : number.start])
            if match:
                return str(match.lastgroup), frozenset()
        owners = frozenset(
            name
            for start, end, name in said.spans
            if match and number.end <= start and end <= match.end() and self.kinds[name] != {"word"}
        )
        if match:
            return str(match.lastgroup), owners
        of = _OF.match(passage.text, number.end)
        near = {name for start, _, name in said.spans if of and 0 <= start - of.end() < 3}
        if near:
            nouns = [n for n, forms in NOUNS.items() if re.search(rf"\b(?:{forms})\b", said.text)]
            return (nouns[0] if nouns else "model"), frozenset(near)
        return "", frozenset()

    def _columns(self, number: WrittenNumber, said: Said, before: str, heading: str) -> set[str]:
        """Return the columns that a number can stand in, by the words around it."""
        if own := column_of(heading):
            return own
        if diagnostic := diagnostic_of(_CLAUSE.split(before)[-1]):
            return diagnostic
        cues = [columns for columns, form in CUES.items() if says(form, heading)]
        if not cues and number.percent:
            cues = [("p",)] if says(CUES["p",], said.text) or number.relation else []
        if number.percent and not heading and (sign := _SIGN_WITH.search(before)):
            return {f"p_{sign[1]}"}
        if not cues:
            ends = [(max(m.end() for m in form.finditer(before)), columns)
                    for columns, form in CUES.items() if form.search(before)]  # fmt: skip
            # The probability of a difference is a probability.
            of_what = _CHANCE_OF.search(before)
            cues = [("p",)] if of_what else [max(ends)[1]] if ends else []
            cues += [("p",)] if "verdict" in before else []
        if not cues:
            cues = [columns for columns, form in CUES.items() if says(form, said.text)]
        columns = {column for cue in cues for column in cue}
        if number.text[0] == "±":
            columns = {"rope", "rope_sd", "sd"}
        if number.side and columns & {"lower", "upper"}:
            columns = {*_ENDS[number.side]}
        elif number.side and columns & {*_ESTIMATES}:
            columns |= {*_ENDS[number.side]}
        if says("would (?:have been|be) found|detectable", said.text):
            columns |= {"detectable"}
        if "p" in columns:
            columns |= chance_columns(heading or said.text)
        if number.percent:
            columns = {name for name in columns if name.startswith(("p_", "rank_", "power"))}
        return columns - {"p"}

    def _judged(
        self,
        passage: Passage,
        number: WrittenNumber,
        values: list[tuple[str, str, float]],
        columns: set[str],
        free_of_sign: bool,
        said: Said,
    ) -> dict[str, Any]:
        x, unit = number.value, number.unit
        known = np.array([value for *_, value in values])
        target = np.abs(known) if free_of_sign else known
        if number.relation:
            true = holds(target, number.relation, x)
            # What is said of all has to hold of the worst.
            of_all = says(_EVERY, said.text) and not said.names
            if of_all and all(number.relation in _WORST.get(c, ()) for _, c, _ in values):
                true &= bool(true.all())
            k = nearest(target, x, true if true.any() else None)
            described = _described(values[k])
            worth = bound_chance(target, number)
            return described | ({"verdict": FOLLOWS, "by_chance": worth} if true.any()
                            else {"verdict": WRONG})  # fmt: skip
        off = np.abs(target - x) / unit
        # Of several that are equal the first, which the sentence names most closely.
        k = int((off <= _HALF).argmax()) if off.min() <= _HALF else int(off.argmin())
        described = _described(values[k])
        if off[k] <= _HALF:
            return described | {"verdict": FOLLOWS, "by_chance": chance(target, number)}
        whole = bool(columns) and next(iter(columns)).startswith("n ")
        if off[k] <= 1 + _HALF and not whole and "seed" not in columns:
            return described | {"verdict": ROUNDED}
        signed = np.array([column in _SIGNED for _, column, _ in values])
        turned = np.where(signed, np.abs(-target - x) / unit, np.inf)
        if turned.min() <= _HALF:
            return _described(values[int((turned <= _HALF).argmax())]) | {"verdict": SIGN}
        other = None if whole else self._of_else(number, columns, said.prob)
        if other is not None:
            instead = f"where {described['quantity']} is {described['value']:.6g}"
            return _described(other) | {"verdict": ELSE, "remark": instead}
        before, after = passage.text[: number.start][-20:], passage.text[number.end :][:40]
        part = _PART.search(before.lower()) or _PART_AFTER.search(after)
        if whole and part and x < known.max():
            return described | {"verdict": NOT_FOUND, "remark": "it may count some of them"}
        return described | {"verdict": WRONG}

    def _of_else(
        self, number: WrittenNumber, columns: set[str], prob: float
    ) -> tuple[str, str, float] | None:
        """Find what a number equals that its sentence does not name, unless by chance."""
        key = (prob, frozenset(columns))
        if key not in self.others:
            free, named = self._quantities(prob)
            # Of hundreds of words some have any number.
            named_too = [q for qs in named.values() for q in qs if "wrong_signs" not in q.values]
            self.others[key] = _values([*free, *named_too], columns)
        others = self.others[key]
        known = np.array([value for *_, value in others])
        if not others or chance(known, number) > _CHANCY:
            return None
        away = np.abs(known - number.value) / number.unit
        return others[int(away.argmin())] if away.min() <= _HALF else None


def _may_be(
    q: Quantity, number: WrittenNumber, slots: dict[str, dict[int, frozenset[str]]]
) -> bool:
    """Whether a number can be of a quantity, where its sentence says which names it is of."""
    for variable, by_start in slots.items():
        own = by_start.get(number.start)
        if own is None:
            continue
        named = frozenset().union(*by_start.values())
        levels: tuple[str, ...] = ()
        if q.variable == variable and len(q.levels) == 1:
            levels = q.levels
        levels = (q.framing.split(",")[0],) if variable == "framing" else levels
        levels = tuple(q.names) if variable in ("model", "base") else levels
        if named.intersection(levels) and own.isdisjoint(levels):
            return False
    return True


def _of_row(meant: list[Quantity], said: Said) -> list[Quantity]:
    """Keep what a row of a table is of: what it names, or else the estimand that it begins with."""
    estimates = [q for q in meant if "mean" in q.values]
    others = [q for q in meant if "mean" not in q.values]
    named = [q for q in estimates if q.names & said.names]
    kinds = {q.kind for q in estimates if q.kind and q.kind in said.row}
    longest = max(kinds, key=len, default="")
    if named:
        others = [q for q in others if not q.values.keys() & {"rhat", "ess_bulk"}]
    return others + (named or [q for q in estimates if q.kind == longest] or estimates)


def _values(
    meant: list[Quantity], columns: set[str], relation: str = ""
) -> list[tuple[str, str, float]]:
    """List the numbers of quantities in some columns, where a bound is said as it can be shown."""
    return [
        (q.label, column, _shown(q, column, relation))
        for q in meant
        for column, value in q.values.items()
        if column in columns and np.isfinite(value)
    ]


def _shown(quantity: Quantity, column: str, relation: str) -> float:
    """Give what a bound may say: from draws that are all positive not any bound below 1 follows."""
    value, draws = quantity.values[column], quantity.values.get("ess_bulk", np.nan)
    if not column.startswith("p_") or not np.isfinite(draws):
        return value
    bound = chance_bound(draws)
    if relation in (">", "≥"):
        return min(value, bound)
    return max(value, round(1 - bound, 12)) if relation else value


def _described(entry: tuple[str, str, float]) -> dict[str, Any]:
    label, column, value = entry
    plain = column.startswith(("n ", "seed", "prior", "p_limit"))
    return {"quantity": label if plain else f"{column} of {label}", "value": value}
