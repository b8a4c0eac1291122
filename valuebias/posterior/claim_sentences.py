"""What the sentences of a text are about: names of a fit, their order, framings, intervals."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from valuebias._core.manuscripts import Passage

__all__ = ["SPEAKS", "TOKEN", "VARIABLE", "Reader", "Said", "direction", "framed", "says"]

VARIABLE = "variable"
"""What the terms of the formula are, among all names."""

TOKEN = re.compile(r"[^\W_]+")
SPEAKS = re.compile(
    r"\blean|interval|R-?hat|\bESS\b|effective|posterior|probab|P\(|\bROPE\b|\bdraws?\b|\bchains?\b"
    r"|\bmodels?\b|\bprompts?\b|\bwords?\b|\bscores?\b|famil|\bbases?\b|\bseed\b|correlation"
    r"|standard dev|\bsds?\b|credible|\bCr?I\b|contrast|differ|\bgap|diverge|categor|variance",
    re.IGNORECASE)  # fmt: skip
_HEADED = re.compile(r"(\d{1,2}(?:\.\d)?)% (?:joint )?(?:interval|ci|cri)")
_FRAMED = re.compile(r"\b(signed|positive|negative)\b")
_OF_PROMPTS = re.compile(
    r"(?<=under )(?:positive|negative)\b|\b(?:positive|negative)(?= (?:prompts?|framings?|ones?)\b)"
)
_DIRECTION = re.compile(
    r"\b(?:is|are|be|being|was|or) (positive|negative)\b|\b(positive|negative) or\b|(?:above"
    r"|greater than|>) (?:zero|0)(?![.\d])|(?:below|less than|<) (?:zero|0)(?![.\d])")  # fmt: skip
_THAN = re.compile(r"\bthan\b")
_IT = re.compile(r"\bit\b")
# An article at the beginning of a sentence, where a family may be called "A".
_ARTICLE = re.compile(
    r"A (?!(?:is|was|leans?|values?|seems?|differs?|has|and|or|over|than)\b)[a-z]"
)
_ORDER = re.compile(r"\s?(?:−|-|–|minus|over|>)\s?")


@dataclass(frozen=True)
class Said:
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
    antecedent: str = ""  # the sentence before, where this one says "it" of what that is about
    subject: str = ""  # the last sentence that named levels, where this one names none

    def of(self, variable: str) -> frozenset[str]:
        """Levels of a variable that are named."""
        return dict(self.levels).get(variable, frozenset())


class Reader:
    """The names of a fit, to read what sentences are about."""

    def __init__(
        self, kinds: Mapping[str, set[str]], framings: list[str], variables: Iterable[str] = ()
    ) -> None:
        self.kinds, self.framings = kinds, framings
        self.numbered = _numbered_levels(kinds, variables)
        self.first: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        for name in self.kinds:
            tokens = tuple(token.lower() for token in TOKEN.findall(name))
            if any(not token.isdigit() for token in tokens):
                self.first.setdefault(tokens[0], []).append((tokens, name))
        for entries in self.first.values():
            entries.sort(key=lambda entry: -len(entry[0]))

    def after(self, passage: Passage, said: Said, before: Said) -> Said:
        """Return what a passage leaves in the reader's mind; of a table, what led up to it."""
        speaks = bool(said.names) or says(SPEAKS, said.text)
        return replace(before if passage.header else said, prob=said.prob, speaks=speaks)

    def _mentions(self, text: str) -> tuple[tuple[int, int, str], ...]:
        tokens = [(m.start(), m.end(), m[0].lower()) for m in TOKEN.finditer(text)]
        mentions, i = [], 0
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
                if written == "A" and not text[:start].strip() and _ARTICLE.match(text, start):
                    continue
                mentions.append((start, end, name))
                step = len(parts)
                break
            i += step
        for form in self.numbered:
            mentions += [(*m.span("level"), m["level"]) for m in form.finditer(text)]
        return tuple(sorted({*mentions}))

    def read(self, passage: Passage, before: Said) -> Said:
        """Read what a passage is about, with what it leaves unsaid taken from before."""
        spans = self._mentions(passage.text)
        heading = " | ".join(passage.header)
        names: set[str] = set()
        levels: dict[str, set[str]] = {}
        order: set[tuple[str, str]] = set()
        for text, mentions in ((heading, self._mentions(heading)), (passage.text, spans)):
            last: dict[str, tuple[int, str]] = {}
            for start, end, name in mentions:
                # Of what a variable is there are quantities whether or not it is named.
                if text is passage.text and self.kinds[name] != {VARIABLE}:
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
        named_here = bool(levels)
        if goes_on:
            for variable, named in before.levels:
                if variable not in levels:
                    levels[variable] = set(named)
                    order |= {pair for pair in before.order if set(pair) <= named}
        text = passage.text.lower()
        framed_here = {m[1] for m in _FRAMED.finditer(_DIRECTION.sub(" ", text))}
        framings = frozenset(f for f in self.framings if f.split(",")[0] in framed_here)
        if not framings:
            # A sentence that names none may go on about those before, or be of the headline's.
            framings = frozenset(self.framings[:1]) | (before.framings if goes_on else frozenset())
        heading = heading.lower()
        level = next((m[1] for m in _HEADED.finditer(heading)), None)
        return Said(
            f"{heading} {text}" if passage.header else text,
            frozenset(names if names or not goes_on else before.names),
            tuple((variable, frozenset(named)) for variable, named in sorted(levels.items())),
            frozenset(order),
            framings,
            float(level) / 100 if level and 0 < float(level) < 100 else before.prob,
            spans,
            speaks=before.speaks,
            row=text if passage.header else "",
            antecedent=before.text if goes_on and _IT.search(text) and not passage.header else "",
            subject="" if named_here or not goes_on else before.subject or before.text,
        )


def framed(text: str) -> list[tuple[int, int, str]]:
    """Find where a sentence names the framing of prompts, and not the sign of a number."""
    return [(*match.span(), match[0]) for match in _OF_PROMPTS.finditer(text.lower())]


@lru_cache(maxsize=1024)
def says(form: str | re.Pattern[str], text: str) -> bool:
    """Whether a sentence says something; of a long one, each of its numbers asks."""
    return re.search(form, text) is not None


@lru_cache(maxsize=64)
def direction(text: str) -> str:
    """Find what a sentence says of a sign, such as "is positive"."""
    return next((m[0] for m in _DIRECTION.finditer(text)), "")


def _numbered_levels(
    kinds: Mapping[str, set[str]], variables: Iterable[str]
) -> list[re.Pattern[str]]:
    """Find levels whose names are numbers, where what is around says that no number is meant."""
    levels = [name for name, what in kinds.items() if any(k.startswith("level") for k in what)]
    numbers = [name for name in levels if not re.search(r"[^\W\d_]", name) and TOKEN.search(name)]
    if not numbers:
        return []
    one, any_level, of_what = (
        "|".join(re.escape(name) for name in sorted({*names}, key=lambda name: (-len(name), name)))
        for names in (numbers, levels, ["family", *variables])
    )
    level = rf"(?P<level>(?<![\w.,−+±-])(?:{one})(?![\w%]|[.,]\d))"
    counted = r"(?!\s(?:[a-z]+\s){0,2}(?:models|famil|bases|words|prompts|scores|kinds|levels))"
    of = r"\b(?:those|models|leans?|base only) of "
    before = [rf"\b(?:{of_what}) (?:(?:of|is|=) )?", of, rf"{of}(?:{any_level}) and ",
              rf"(?<!\w)(?:{any_level}) [−–-] "]  # fmt: skip
    after = [rf"(?:{of_what})\b", rf"[−–-]\s(?:{any_level})(?![\w.])",
             r"(?:leans?|least|values?|seems?)\b"]  # fmt: skip
    return [
        *(re.compile(rf"(?={words}{level}{counted})") for words in before),
        re.compile(rf"(?={level}\s(?:{'|'.join(after)}))"),
        re.compile(rf"(?=,\s{level},\s(?:signed|positive|negative)\b)"),
    ]


def _alike(written: str, name: str) -> bool:
    """Whether what separates the tokens of a name can be what is written there."""
    if len(written) > len(name) + 9:
        return False
    return not re.search(r"[,;|]|\.\s", written) or bool(re.search("[,;|]", name))
