"""Judge the numbers of a text by those of a fit that their sentences can mean."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from valuebias._core.manuscripts import Passage, WrittenNumber
from valuebias.posterior.claim_quantities import Quantity, names_of, quantities
from valuebias.posterior.posterior import Posterior

__all__ = ["FAULTS", "FOLLOWS", "NOT_CHECKED", "NOT_FOUND", "Judge"]

FOLLOWS, NOT_FOUND, NOT_CHECKED = "follows", "not found", "not checked"
ROUNDED, SIGN, ELSE, WRONG = "rounded wrongly", "sign", "of something else", "does not follow"
FAULTS = (ROUNDED, SIGN, ELSE, WRONG)
"""Verdicts on numbers that do not follow."""

_TOKEN = re.compile(r"[^\W_]+")
_SPEAKS = re.compile(
    r"\blean|interval|R-?hat|\bESS\b|effective|posterior|probab|P\(|\bROPE\b|\bdraws?\b|\bchains?\b"
    r"|\bmodels?\b|\bprompts?\b|\bwords?\b|\bscores?\b|famil|\bbases?\b|\bseed\b|correlation"
    r"|standard dev|\bsds?\b|credible|\bCr?I\b|contrast|differ|\bgap|diverge|categor|variance",
    re.IGNORECASE)  # fmt: skip
_OUT_OF_REACH = {
    "what was fitted with other priors, or without some data, is not computed again": re.compile(
        r"prior sensitivity|sensitivity (?:of|to|analys)|pareto|influence of|left out|leave-one-out"
        r"|(?:prior|scale)s?\b.{0,40}(?:halved|doubled)|without (?:the |each |one )?(?:model|base)"
    ),
    "predictive checks, placebos, audits and multiverses are not computed again": re.compile(
        r"replicat|predictive (?:check|p\b|densit)|placebo|multiverse|data audit|\belpd\b|\bloo\b"
    ),
    "a fit has no p-values or test statistics": re.compile(
        r"\bp\s?[<=≤]|p-value|permut|welch|bonferroni|degrees of freedom|\b(?:t|df|p) \|"
        r"|\bt\s?[(=]|the paper's (?:spec|mixed|average)"
    ),
    "advice": re.compile(r"\bask for\b"),
    "a list of works": re.compile(r"^#+ (?:references|bibliography)"),
}
_CHANCE_OF = re.compile(r"probab\w*(?:(?!\band\b|\bwith\b|interval)[^,;:(]){0,60}$")
_LEVEL = re.compile(r"\s?(?:[a-z-]+\s){0,2}(?:interval|CIs?\b|CrIs?\b|HDIs?\b|ETIs?\b|joint)", re.I)
_ESTIMATES = ("mean", "median")
_ENDS = {"lower": ("lower", "lower_joint"), "upper": ("upper", "upper_joint")}
_SIGNED = {*_ESTIMATES, "lower", "upper", "lower_joint", "upper_joint"}
# What a word before a number says that the number is; the last that fits counts.
_CUES = {
    ("rhat",): r"r-?hat",
    ("ess_bulk", "ess_tail"): r"effective|\bess\b",
    ("detectable",): r"would have been found|detect",
    ("rope", "rope_sd"): r"\brope\b|practical|outcome['’]s sd",
    ("wrong_signs",): r"false|wrong",
    ("lower", "upper", "lower_joint", "upper_joint"):
        r"interval|credible|confidence|\bcr?is?\b|\bhdi",
    ("p",): r"probab|\bp\s?[(>]|chance|certain|\bodds",
    ("sd",): r"standard (?:deviation|error)|\bsds? (?:of|is|was|=)|\bsds?$|\bsd\[|posterior sd",
    ("prior",): r"\bpriors?\b|normal\(|\blkj\(",
    ("seed",): r"\bseed",
    ("mean", "median"): r"\bleans?\b|differ|\bgap|\bmean|median|averag|estimat|effect|slope"
                        r"|contrast|correlat|spread|further|\bthan\b|−",
}  # fmt: skip
_CUE = {columns: re.compile(form) for columns, form in _CUES.items()}
_WINDOW = 60
_MOST_LEVELS = 6
_HALF = 0.5 + 1e-6
_CHANCY = 0.25
_SHORT = 20
_MOST_KEPT = 200
_REMEMBERED = 6  # sentences
_LIMIT = re.compile(r"should be at (?:most|least)|at (?:most|least) \S+ wanted|\band \S+ more")
_HEADED = re.compile(r"(\d{1,2}(?:\.\d)?)% (?:joint )?(?:interval|ci|cri)")
_NOUNS = {
    "model": "models?|rms?|lms?|checkpoints?", "prompt": "prompts?|paraphrases?",
    "word": "words?|terms|items|signs", "category": "categor(?:y|ies)", "family": "famil(?:y|ies)",
    "base": "bases?", "chain": "chains?", "draw": "draws?|iterations|samples",
    "tuning": "tun(?:ing|e)|warm-?up", "transition": "transitions", "divergence": "diverge[a-z]*",
    "score": "scores|cells|ratings|observations", "missing": "missing",
}  # fmt: skip
_NOUN = "|".join(f"(?P<{noun}>{forms})" for noun, forms in _NOUNS.items())
_COUNTED = re.compile(
    r"[\s-]{1,2}(?:of\s)?(?:(?!(?:sd|ranks?|units?|for|in|over|and|than|under|after|on|with|is|are"
    r"|was|to|or|if|as|at|by|means?)\b)[A-Za-z'’/_-]+\d*\s){0,3}?(?:"
    + _NOUN + r")\b", re.IGNORECASE)  # fmt: skip
_LABELLED = re.compile(
    r"\b(?:" + _NOUN + r")(?:\s?[|=:]\s?|\sof\s)$", re.IGNORECASE)  # fmt: skip
_OF = re.compile(r"\sof\s")
_PART = re.compile(r"\b(?:first|largest|top|other|those|these|further|only|about|least|most)\s+$")
_PART_AFTER = re.compile(r"\s+(?:of|with|that|whose|above|below|which|differ)\b")
_FRAMED = re.compile(r"\b(signed|positive|negative)\b")
_DIRECTION = re.compile(
    r"\b(?:is|are|be|being|was|or) (positive|negative)\b|\b(positive|negative) or\b|(?:above"
    r"|greater than|>) (?:zero|0)(?![.\d])|(?:below|less than|<) (?:zero|0)(?![.\d])")  # fmt: skip
_THAN = re.compile(r"\bthan\b")
_ORDER = re.compile(r"\s?(?:−|-|–|minus|over|>)\s?")
_MAGNITUDE = re.compile(r"\bby (?:about )?$")
_LESS = re.compile(r"(?:\sSD|\sranks)? (?:less|lower|smaller|below)\b")


@dataclass(frozen=True)
class _Said:
    """What a sentence, with those before it, is about."""

    text: str  # in lower case, after the heading of its table
    names: frozenset[str] = frozenset()
    levels: tuple[tuple[str, frozenset[str]], ...] = ()  # by variable
    order: frozenset[tuple[str, str]] = frozenset()
    framings: frozenset[str] = frozenset()
    prob: float = 0.9
    spans: tuple[tuple[int, int, str], ...] = ()
    speaks: bool = False  # whether the sentence before was about the fit
    row: str = ""  # of a table, its own text
    under: str = ""  # the heading it stands under, and the caption of its table

    def of(self, variable: str) -> frozenset[str]:
        """Levels of a variable that are named."""
        return dict(self.levels).get(variable, frozenset())


class Judge:
    """The names and quantities of a fit, to judge the passages of one text."""

    def __init__(self, fit: Posterior) -> None:
        self.fit = fit
        self.kinds = names_of(fit)
        self.first: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        for name in self.kinds:
            tokens = tuple(token.lower() for token in _TOKEN.findall(name))
            if any(not token.isdigit() for token in tokens):
                self.first.setdefault(tokens[0], []).append((tokens, name))
        for entries in self.first.values():
            entries.sort(key=lambda entry: -len(entry[0]))
        self.framings = list(dict.fromkeys(fit.contrasts()["framing"]))
        self.known: dict[float, tuple[list[Quantity], dict[str, list[Quantity]]]] = {}
        self.meant: dict[Any, list[Quantity]] = {}
        self.others: dict[Any, list[tuple[str, str, float]]] = {}
        self.n_levels = {f.expression: len(f.levels) for f in fit.problem.crossing.design.variables
                         if f.categorical}  # fmt: skip

    def rows(self, passages: list[Passage]) -> Iterator[dict[str, Any]]:
        """Judge every number in turn."""
        before = _Said("", framings=frozenset(self.framings[:1]))
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
                before = self._after(earlier, self._read(earlier, before), before)
            unread = []
            caption = f" {before.text}" if passage.header else ""
            said = replace(self._read(passage, before), under=heading + caption)
            near = 0
            for number in passage.numbers:
                if (level := self._level(passage, number)) is not None:
                    said = replace(said, prob=level)
                row = self._row(passage, number, said, near)
                near = near if row["verdict"] == NOT_CHECKED else number.end
                yield row
            before = self._after(passage, said, before)

    def _after(self, passage: Passage, said: _Said, before: _Said) -> _Said:
        """Return what a passage leaves in the reader's mind; of a table, what led up to it."""
        speaks = bool(said.names) or _has(_SPEAKS, said.text)
        return replace(before if passage.header else said, prob=said.prob, speaks=speaks)

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

    def _mentions(self, text: str) -> tuple[tuple[int, int, str], ...]:
        tokens = [(m.start(), m.end(), m[0].lower()) for m in _TOKEN.finditer(text)]
        found, i = [], 0
        while i < len(tokens):
            step = 1
            for parts, name in self.first.get(tokens[i][2], ()):
                window = tokens[i : i + len(parts)]
                start, end = window[0][0], window[-1][1]
                if tuple(token[2] for token in window) != parts:
                    continue
                # The article is no family, and what is far apart no name.
                written = text[start:end]
                if (len(name) < 3 and written != name) or not _alike(written, name):
                    continue
                found.append((start, end, name))
                step = len(parts)
                break
            i += step
        return tuple(found)

    def _read(self, passage: Passage, before: _Said) -> _Said:
        """Read what a passage is about, with what it leaves unsaid taken from before."""
        spans = self._mentions(passage.text)
        heading = " | ".join(passage.header)
        names: set[str] = set()
        levels: dict[str, set[str]] = {}
        order: set[tuple[str, str]] = set()
        for text, mentions in ((heading, self._mentions(heading)), (passage.text, spans)):
            last: dict[str, tuple[int, str]] = {}
            for start, end, name in mentions:
                if text is passage.text:
                    names.add(name)
                for kind in self.kinds[name]:
                    what, _, rest = kind.partition(" ")
                    if what == "model" and rest:
                        names.add(rest)
                    if what not in ("level", "category"):
                        continue
                    variable = rest.removeprefix("of ") if what == "level" else kind
                    levels.setdefault(variable, set()).add(name)
                    if variable in last:
                        gap = text[last[variable][0] : start]
                        if _ORDER.fullmatch(gap) or (len(gap) < 200 and _THAN.search(gap)):
                            order.add((last[variable][1], name))
                    last[variable] = (end, name)
        goes_on = passage.header or not passage.starts_block
        if goes_on:
            for variable, named in before.levels:
                if variable not in levels:
                    levels[variable] = set(named)
                    order |= {pair for pair in before.order if set(pair) <= named}
        text = passage.text.lower()
        found = {m[1] for m in _FRAMED.finditer(_DIRECTION.sub(" ", text))}
        framings = frozenset(f for f in self.framings if f.split(",")[0] in found)
        if not framings:
            framings = before.framings if goes_on else frozenset(self.framings[:1])
        heading = heading.lower()
        level = next((m[1] for m in _HEADED.finditer(heading)), None)
        return _Said(
            f"{heading} {text}" if passage.header else text,
            frozenset(names if spans or not goes_on else before.names),
            tuple((variable, frozenset(named)) for variable, named in sorted(levels.items())),
            frozenset(order),
            framings,
            float(level) / 100 if level and 0 < float(level) < 100 else before.prob,
            spans,
            speaks=before.speaks,
            row=text if passage.header else "",
        )

    def _named(self, said: _Said) -> list[Quantity]:
        """Return the quantities that a sentence can mean, turned as it turns them."""
        free, named = self._quantities(said.prob)
        asked = said.text
        tokens = frozenset(t.rstrip("s") for t in _TOKEN.findall(asked))
        if "standard" in tokens:
            tokens |= {"sd"}
        key = (said.names, said.levels, said.order, said.framings, said.prob, asked)
        if key not in self.meant:
            others = [q for name in said.names for q in named.get(name, ())]
            parameters = [q for qs in named.values() for q in qs if q.asks == "parameter"]
            if len(self.meant) > _MOST_KEPT:
                self.meant.clear()
            meant = [
                self._turned(q, said)
                for q in (*others, *free, *parameters)
                if self._is_meant(q, said, asked, tokens)
            ]
            self.meant[key] = _of_row(meant, said) if said.row else meant
        return self.meant[key]

    def _is_meant(self, q: Quantity, said: _Said, text: str, tokens: frozenset[str]) -> bool:
        if q.asks == "parameter":
            return {t.lower().rstrip("s") for t in _TOKEN.findall(q.label)} <= tokens
        if not q.names <= said.names or (q.framing and q.framing not in said.framings):
            return False
        mentioned = said.of(q.variable)
        if len(q.levels) == 1 and not mentioned and not said.row and _has("differ|\\bgap", text):
            return False
        if q.levels and mentioned and not {*q.levels} <= mentioned:
            two = self.n_levels.get(q.variable) == 2 and len(q.levels) == 2
            if not two and q.variable != "overall":
                return False
        over = said.of("category")
        if q.over and over and not {q.over[0], *q.over[1:]} & over:
            return False
        return not q.asks or _has(q.asks, text)

    def _turned(self, q: Quantity, said: _Said) -> Quantity:
        pairs = [pair for pair in (q.levels, q.over) if len(pair) == 2]
        times = sum((p[1], p[0]) in said.order and (p[0], p[1]) not in said.order for p in pairs)
        return q.turned(times)

    def _row(
        self, passage: Passage, number: WrittenNumber, said: _Said, near: int
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
        meant = self._named(said)
        if noun and owners:
            meant = [q for q in meant if q.names and q.names <= owners]
        values = _values(meant, columns)
        if columns == {"prior"}:
            values = [v for v in values if v[0].removeprefix("prior of ").lower() in text] or values
        if not values:
            remark = f"the fit has no number of {noun}s so named" if noun else ""
            return row | {"verdict": NOT_FOUND, "remark": remark}
        after = passage.text[number.end : number.end + 20]
        free_of_sign = number.text[0] == "±" or (
            not number.signed and bool(_MAGNITUDE.search(text) or _LESS.match(after))
        )
        return row | self._judged(passage, number, values, columns, free_of_sign, said)

    def _left_out(self, passage: Passage, number: WrittenNumber, said: _Said, noun: str) -> str:
        if number.left_out and not (number.left_out == "year" and noun):
            return number.left_out
        if any(start < number.end and number.start < end for start, end, _ in said.spans):
            return "part of a name"
        of_interval = number.value == said.prob and "interval" in said.text
        if number.percent and (of_interval or _LEVEL.match(passage.text, number.end)):
            return "the probability of an interval"
        if _LIMIT.search(passage.text[max(number.start - 20, 0) : number.end + 10].lower()):
            return "a limit"
        for why, form in _OUT_OF_REACH.items():
            if _has(form, said.text) or _has(form, said.under):
                return why
        telling = [name for *_, name in said.spans if self.kinds[name] != {"word"}]
        goes_on = said.speaks and not passage.starts_block and number.unit < 1
        if not (telling or goes_on or _has(_SPEAKS, said.text)):
            return "its sentence names nothing of the fit"
        return ""

    def _counted(
        self, passage: Passage, number: WrittenNumber, said: _Said
    ) -> tuple[str, frozenset[str]]:
        """Return what a whole number counts, and whose they are."""
        if number.percent or number.signed or number.side or number.unit < 1:
            return "", frozenset()
        match = _COUNTED.match(passage.text, number.end)
        if not match:
            match = _LABELLED.search(passage.text[max(number.start - 20, 0) : number.start])
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
            nouns = [n for n, forms in _NOUNS.items() if re.search(rf"\b(?:{forms})\b", said.text)]
            return (nouns[0] if nouns else "model"), frozenset(near)
        return "", frozenset()

    def _columns(self, number: WrittenNumber, said: _Said, before: str, heading: str) -> set[str]:
        """Return the columns that a number can stand in, by the words around it."""
        cues = [columns for columns, form in _CUE.items() if _has(form, heading)]
        if not cues and number.percent:
            cues = [("p",)] if _has(_CUE["p",], said.text) or number.relation else []
        if not cues:
            ends = [(max(m.end() for m in form.finditer(before)), columns)
                    for columns, form in _CUE.items() if form.search(before)]  # fmt: skip
            # The probability of a difference is a probability.
            of_what = _CHANCE_OF.search(before)
            cues = [("p",)] if of_what else [max(ends)[1]] if ends else []
            cues += [("p",)] if "verdict" in before else []
        if not cues:
            cues = [columns for columns, form in _CUE.items() if _has(form, said.text)]
        columns = {column for cue in cues for column in cue}
        if number.text[0] == "±":
            columns = {"rope", "rope_sd", "sd"}
        if number.side and columns & {"lower", "upper"}:
            columns = {*_ENDS[number.side]}
        elif number.side and columns & {*_ESTIMATES}:
            columns |= {*_ENDS[number.side]}
        if _has("would (?:have been|be) found|detectable", said.text):
            columns |= {"detectable"}
        if "p" in columns:
            columns |= _chances(heading or said.text)
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
        said: _Said,
    ) -> dict[str, Any]:
        x, unit = number.value, number.unit
        known = np.array([value for *_, value in values])
        target = np.abs(known) if free_of_sign else known
        if number.relation:
            holds = _holds(target, number.relation, x)
            k = _nearest(target, x, holds if holds.any() else None)
            found = _described(values[k])
            chance = _bound_chance(target, number)
            return found | ({"verdict": FOLLOWS, "by_chance": chance} if holds.any()
                            else {"verdict": WRONG})  # fmt: skip
        off = np.abs(target - x) / unit
        # Of several that are equal the first, which the sentence names most closely.
        k = int((off <= _HALF).argmax()) if off.min() <= _HALF else int(off.argmin())
        found = _described(values[k])
        if off[k] <= _HALF:
            return found | {"verdict": FOLLOWS, "by_chance": _chance(target, number)}
        whole = bool(columns) and next(iter(columns)).startswith("n ")
        if off[k] <= 1 + _HALF and not whole and "seed" not in columns:
            return found | {"verdict": ROUNDED}
        signed = np.array([column in _SIGNED for _, column, _ in values])
        turned = np.where(signed, np.abs(-target - x) / unit, np.inf)
        if turned.min() <= _HALF:
            return _described(values[int((turned <= _HALF).argmax())]) | {"verdict": SIGN}
        other = None if whole else self._of_else(number, columns, said.prob)
        if other is not None:
            instead = f"where {found['quantity']} is {found['value']:.6g}"
            return _described(other) | {"verdict": ELSE, "remark": instead}
        before, after = passage.text[: number.start][-20:], passage.text[number.end :][:40]
        part = _PART.search(before.lower()) or _PART_AFTER.search(after)
        if whole and part and x < known.max():
            return found | {"verdict": NOT_FOUND, "remark": "it may count some of them"}
        return found | {"verdict": WRONG}

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
        if not others or _chance(known, number) > _CHANCY:
            return None
        away = np.abs(known - number.value) / number.unit
        return others[int(away.argmin())] if away.min() <= _HALF else None


@lru_cache(maxsize=1024)
def _has(form: str | re.Pattern[str], text: str) -> bool:
    """Whether a sentence says something; of a long one, each of its numbers asks."""
    return re.search(form, text) is not None


@lru_cache(maxsize=64)
def _direction(text: str) -> str:
    return next((m[0] for m in _DIRECTION.finditer(text)), "")


def _alike(written: str, name: str) -> bool:
    """Whether what separates the tokens of a name can be what is written there."""
    if len(written) > len(name) + 9:
        return False
    return not re.search(r"[,;|]|\.\s", written) or bool(re.search("[,;|]", name))


def _chances(text: str) -> set[str]:
    """Return the columns of the probability that a sentence, or the head of a column, means."""
    out = {"p_limit"} if _has("certain|or more|little doubt", text) else set()
    if _has(r"rope|equivalence|too small|within ±|within \d", text):
        out |= {"p_rope", "p_outside"} if _has("outside|beyond", text) else {"p_rope"}
    if _has("rank|furthest|first|least", text):
        out |= {f"rank_{k}" for k in range(1, 30)}
    if _has("would have been found|detect|power", text):
        out |= {"power"}
    direction = _direction(text)
    if _has("positive|above|greater|>", direction) and "negative" not in direction:
        return out | {"p_positive"}
    if _has("negative|below|less|<", direction) and "positive" not in direction:
        return out | {"p_negative"}
    # Under a heading of its own, the region is not a direction.
    return out if "in rope" in text and len(text) < _SHORT else out | {"p_direction"}


def _of_row(meant: list[Quantity], said: _Said) -> list[Quantity]:
    """Keep what a row of a table is of: what it names, or else the estimand that it begins with."""
    estimates = [q for q in meant if "mean" in q.values]
    others = [q for q in meant if "mean" not in q.values]
    named = [q for q in estimates if q.names & said.names]
    kinds = {q.kind for q in estimates if q.kind and q.kind in said.row}
    longest = max(kinds, key=len, default="")
    if named:
        others = [q for q in others if not q.values.keys() & {"rhat", "ess_bulk"}]
    return others + (named or [q for q in estimates if q.kind == longest] or estimates)


def _values(meant: list[Quantity], columns: set[str]) -> list[tuple[str, str, float]]:
    """List the numbers of quantities in some columns."""
    return [
        (q.label, column, value)
        for q in meant
        for column, value in q.values.items()
        if column in columns and np.isfinite(value)
    ]


def _described(entry: tuple[str, str, float]) -> dict[str, Any]:
    label, column, value = entry
    plain = column.startswith(("n ", "seed", "prior", "p_limit"))
    return {"quantity": label if plain else f"{column} of {label}", "value": value}


def _nearest(values: Any, x: float, among: Any = None) -> int:
    away = np.abs(values - x)
    return int((away if among is None else np.where(among, away, np.inf)).argmin())


def _holds(values: Any, relation: str, x: float) -> Any:
    eps = 1e-9 * abs(x)
    return {
        "<": values < x + eps, ">": values > x - eps, "≤": values <= x + eps, "≥": values >= x - eps
    }[relation]  # fmt: skip


def _grid(number: WrittenNumber) -> tuple[float, float]:
    """Return the range of numbers of that size: from .1 to 1 for .42."""
    size = abs(number.value)
    if size < number.unit / 2:
        return 0.0, 10 * number.unit
    low = 10.0 ** np.floor(np.log10(size) + 1e-9)
    return float(low), float(10 * low)


def _chance(values: Any, number: WrittenNumber) -> float:
    """Return the share of numbers of that sign, size and precision that equal one of the values."""
    low, high = _grid(number)
    same = np.abs(values[(values >= 0) == (number.value >= 0)])
    places = np.unique(np.round(same / number.unit))
    inside = (places * number.unit >= low * (1 - 1e-9)) & (places * number.unit < high * (1 - 1e-9))
    return float(min(inside.sum() / max(round((high - low) / number.unit), 1), 1.0))


def _bound_chance(values: Any, number: WrittenNumber) -> float:
    """Return the share of bounds of that size that would hold."""
    low, high = _grid(number)
    if number.relation in (">", "≥"):
        return float(np.clip((np.max(values) - low) / (high - low), 0, 1))
    return float(np.clip((high - np.min(values)) / (high - low), 0, 1))
