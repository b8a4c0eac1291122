"""What the sentences of a text are about: names of a fit, their order, framings, intervals."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

from valuebias._core.manuscripts import Passage

__all__ = ["SPEAKS", "TOKEN", "Reader", "Said", "direction", "says"]

TOKEN = re.compile(r"[^\W_]+")
SPEAKS = re.compile(
    r"\blean|interval|R-?hat|\bESS\b|effective|posterior|probab|P\(|\bROPE\b|\bdraws?\b|\bchains?\b"
    r"|\bmodels?\b|\bprompts?\b|\bwords?\b|\bscores?\b|famil|\bbases?\b|\bseed\b|correlation"
    r"|standard dev|\bsds?\b|credible|\bCr?I\b|contrast|differ|\bgap|diverge|categor|variance",
    re.IGNORECASE)  # fmt: skip
_HEADED = re.compile(r"(\d{1,2}(?:\.\d)?)% (?:joint )?(?:interval|ci|cri)")
_FRAMED = re.compile(r"\b(signed|positive|negative)\b")
_DIRECTION = re.compile(
    r"\b(?:is|are|be|being|was|or) (positive|negative)\b|\b(positive|negative) or\b|(?:above"
    r"|greater than|>) (?:zero|0)(?![.\d])|(?:below|less than|<) (?:zero|0)(?![.\d])")  # fmt: skip
_THAN = re.compile(r"\bthan\b")
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

    def of(self, variable: str) -> frozenset[str]:
        """Levels of a variable that are named."""
        return dict(self.levels).get(variable, frozenset())


class Reader:
    """The names of a fit, to read what sentences are about."""

    def __init__(self, kinds: Mapping[str, set[str]], framings: list[str]) -> None:
        self.kinds, self.framings = kinds, framings
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
        return Said(
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


@lru_cache(maxsize=1024)
def says(form: str | re.Pattern[str], text: str) -> bool:
    """Whether a sentence says something; of a long one, each of its numbers asks."""
    return re.search(form, text) is not None


@lru_cache(maxsize=64)
def direction(text: str) -> str:
    """Find what a sentence says of a sign, such as "is positive"."""
    return next((m[0] for m in _DIRECTION.finditer(text)), "")


def _alike(written: str, name: str) -> bool:
    """Whether what separates the tokens of a name can be what is written there."""
    if len(written) > len(name) + 9:
        return False
    return not re.search(r"[,;|]|\.\s", written) or bool(re.search("[,;|]", name))
