r"""Read the numbers of a manuscript in Markdown, LaTeX or plain text, as people write them.

Whatever the text holds, this takes time in proportion to its length: no pattern here can begin in
many places and then run far from each.
"""

from __future__ import annotations

import html
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace

from valuebias.errors import ValueBiasError

__all__ = ["MARKER", "Passage", "WrittenNumber", "looks_like_latex", "read_passages"]

MARKER = "claims: skip"
"""In a comment, it leaves out its line; alone on a line, the paragraph below."""
_LONGEST = 8_000_000  # characters
_MOST = 20_000  # numbers
_SENTENCE = 4_000  # characters

_VERBATIM = "verbatim|Verbatim|lstlisting|minted|comment|thebibliography|tikzpicture|filecontents"
_ENVIRONMENT = re.compile(rf"\\(begin|end)\{{({_VERBATIM})\*?\}}")
_COMMENT = re.compile(r"(?<![\\\d])%.*")
_ADDRESS = re.compile(r"(?:https?\\?://|www\.|doi:|arxiv:|10\.\d{4,9}/)\S+", re.IGNORECASE)
_ARGUMENT = r"\{(?:[^{}\\]|\{[^{}\\]*+\})*+\}"
_ARGUMENTS = re.compile(
    r"\\(?:[a-zA-Z]{0,9}cite[a-zA-Z]*+|[a-zA-Z]{0,5}ref|label|url|href|includegraphics|input"
    r"|include|bibliography[a-z]*+|usepackage|documentclass|[vh]space|begin|end|cmidrule|multicolumn"
    r"|multirow|set[a-z]++|new[a-z]++)(?![a-zA-Z])\*?(?:\[[^\[\]{}\\]*+\])*+"
    rf"(?:{_ARGUMENT}){{0,2}}+"
)
_CITED = re.compile(
    r"\[[^\[\]\n@]*+@[^\[\]\n]*+\]|\[\^[^\[\]\n]*+\]|\]\([^()\[\]\s]*+\)|@[\w:.-]++"
)
_CODE = re.compile(r"`([^`\n]*+)`")
_SYMBOLS = {
    r"\hat{R}": "R-hat", r"\hat R": "R-hat", r"\widehat{R}": "R-hat", "R̂": "R-hat",
    r"\pm": "±", r"\times": "×", r"\cdot": "×", r"\leq": "≤", r"\geq": "≥", r"\textminus": "−",
    r"\textless": "<", r"\textgreater": ">", r"\lt": "<", r"\gt": ">", r"\le": "≤", r"\ge": "≥",
    r"\ensuremath{-}": "−", r"\_": "_",
    r"\textquotesingle": "'", r"\textbar": "｜", r"\|": "｜",
    r"\textendash": "–", r"\percent": "%", r"\textperiodcentered": "×", r"\\": " ",
    r"\,": "\u2009", r"\;": " ", r"\:": " ", r"\!": "", "\\ ": " ", "~": " ", "{,}": ",", "}{": " ",
    "{-}": "-", "$-$": "−", "---": " — ", "--": "–", "$": "", "\u00a0": " ", "\u202f": "\u2009",
}  # fmt: skip
_SYMBOL = re.compile("|".join(
    re.escape(key) + ("(?![a-zA-Z])" if key[0] == "\\" and key[-1].isalpha() else "")
    for key in sorted(_SYMBOLS, key=len, reverse=True)))  # fmt: skip
_COMMAND = re.compile(r"\\[a-zA-Z]++\*?|[{}]|\*\*|(?<!\w)_{1,2}(?=[-+−.\d])|(?<=[\d%])_{1,2}(?!\w)")
_SAME_ROW = "\v"  # an end of line within a row of a table in LaTeX
_ROW_GOES_ON = re.compile(r"(?<=&)[ \t]*+\n|\n(?=[ \t]*+\\\\)")
_SECTION = re.compile(r"^[ \t]*+\\(?:sub){0,2}(?:section|paragraph|chapter)\*?", re.MULTILINE)
_ESCAPED = re.compile(r"\\([!-/:-@\[-`{-~])")
_RANGE_SIGN = re.compile(r"(?<![\w)\]%.–])(?<!\d )–(?=\.?\d)")

_NUMBER = re.compile(
    r"(?<![\w.^])(?<![A-Za-z_)^][-−])(?P<sign>(?:(?<![\w)\]%.])[+−±-])?)"
    r"(?P<digits>\d{1,3}(?:[,\u2009]\d{3})++(?:\.\d++)?|\d++(?:\.\d++)?|\.\d++)"
    r"(?P<power>[eE][+−-]?\d{1,3}|\s?×\s?10\^[+−-]?\d{1,3})?(?!\w|\.\d|\^)"
    r"(?P<percent>[\s\u2009]?(?:%|percent\b|per cent\b))?"
)
_RELATIONS = {
    "<": r"<|\b(?:less|fewer|smaller) than|\b(?:below|under)",
    ">": r">|\b(?:more|greater|larger) than|\b(?:above|over|exceed(?:s|ed|ing)?)",
    "≤": r"≤|<=|\bat most|\bno more than|\bup to",
    "≥": r"≥|>=|\bat least|\bno less than",
}
_BEFORE = {sign: re.compile(rf"(?:{words})\s{{0,2}}$") for sign, words in _RELATIONS.items()}
_AFTER = {
    "≥": re.compile(r"\s?or (?:more|above|greater|higher)"),
    "≤": re.compile(r"\s?or (?:less|fewer|below|lower)"),
}
_NEAR = 24
_RANGE = re.compile(r"(?:\sSD)?\s{0,2}(?:to|–|—|-)\s{0,2}")
_LISTED = re.compile(r"\s{0,2}[,;]\s{0,2}")
_NOT_CLAIMS = {
    "numbering": re.compile(
        r"\b(?:fig(?:ures?|s?\.)|tab(?:les?|s?\.)|sec(?:tions?|s?\.)|eqs?\.|equations?"
        r"|appendi(?:x|ces)|chapters?|stud(?:y|ies)|experiments?|hypothes[ei]s|pages?|pp?\.|vol\.|no\.|nos\.|version"
        r"|algorithm|footnote|python|§)\s{0,2}\(?[A-Z]{0,2}\d[\d.]*+[a-z]?"
        r"(?:(?:\s?[,–-]\s?|\s(?:and|to)\s)[A-Z]?\d[\d.]*+[a-z]?(?![\w%]))*+", re.IGNORECASE),
    "list or heading": re.compile(
        r"^[ \t]*+(?:#{1,6}[ \t]++\d[\d.]*+[.)]?|\d{1,3}(?:\.\d{1,3})*[.)])(?=[ \t])",
        re.MULTILINE),
    "a decimal comma": re.compile(r"(?<![\d,.])[+−±-]?0,\d{1,3}(?![\d,])"),
    "date or time": re.compile(r"\b\d{4}-\d\d-\d\d\b|\b\d{1,2}:\d\d\b"),
    "citation": re.compile(r"(?<!val )(?<!CI )\[\d{1,3}(?:\s?[,–-]\s?\d{1,3})*+\]"),
}  # fmt: skip
_END = re.compile(
    r"(?<=[.!?])(?<!\b[A-Z]\.)(?<!e\.g\.)(?<!i\.e\.)(?<!\bvs\.)(?<!\bcf\.)(?<!\bal\.)(?<!Fig\.)"
    r"(?<!Eq\.)(?<!Tab\.)(?<!Sec\.)(?<!resp\.)(?<!approx\.)[”’\")\]]{0,2}\s+(?=[A-Z“\"(\[\d−])"
    r"|\n\s*\n|\n(?=[ \t]*(?:[-*+>][ \t]|[|#]|\d{1,3}[.)][ \t]))|(?<=\|)\n|\n(?=[^\n|]{0,200}\|)"
)


@dataclass(frozen=True, slots=True)
class WrittenNumber:
    """A number as it is written."""

    text: str  # such as "−0.42", "42%"
    value: float  # of a percentage, the share
    unit: float  # one unit in its last place
    start: int  # in its passage
    end: int
    relation: str = ""  # "<", ">", "≤", "≥" where it is a bound
    percent: bool = False
    signed: bool = False
    side: str = ""  # "lower" or "upper" where it is one of two ends
    left_out: str = ""  # why it claims nothing, such as "numbering"


@dataclass(frozen=True, slots=True)
class Passage:
    """A sentence, or a row of a table."""

    text: str
    line: int  # on which it begins, from 1
    numbers: tuple[WrittenNumber, ...]
    starts_block: bool  # whether what was said before is of another paragraph
    header: tuple[str, ...] = ()  # of a row: the cells of the table's first row

    def line_of(self, number: WrittenNumber) -> int:
        """Give the line of a number."""
        return self.line + _lines_in(self.text, number.start)

    def heading_of(self, number: WrittenNumber) -> str:
        """Give the heading of the column that a number stands in."""
        column = self.text.count("|", 0, number.start)
        return self.header[column] if column < len(self.header) else ""


def _lines_in(text: str, end: int) -> int:
    return text.count("\n", 0, end) + text.count(_SAME_ROW, 0, end)


def looks_like_latex(text: str) -> bool:
    """Tell LaTeX from Markdown, where a percent sign begins no comment."""
    return re.search(r"\\(?:documentclass|begin|section|subsection|paragraph)\b", text) is not None


def read_passages(text: str, *, latex: bool) -> list[Passage]:
    """Split a text into sentences and rows with their numbers."""
    if len(text) > _LONGEST:
        raise ValueBiasError(
            f"the text has {len(text):,} characters, of {_LONGEST:,} at most; check its parts."
        )
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    kept, marked = _without_code(lines, latex=latex)
    return _split(_plain("\n".join(kept), latex=latex), marked, latex=latex)


def _without_code(lines: list[str], *, latex: bool) -> tuple[list[str], set[int]]:
    """Blank what is not prose, line by line; return the marked lines as well, from 1."""
    kept, marked = [], set()
    fence, within, hidden, paragraph = "", "", False, False
    begins = next((i for i, line in enumerate(lines) if r"\begin{document}" in line), -1)
    if lines and lines[0].strip() == "---" and "---" in (line.strip() for line in lines[1:60]):
        begins = max(begins, next(i for i, x in enumerate(lines[1:], 1) if x.strip() == "---"))
    for i, line in enumerate(lines, 1):
        at = line.find(MARKER)
        if at >= 0 and ("<!--" in line[:at] or "%" in line[:at]):
            marked.add(i)
            paragraph = not re.split("<!--|%", line, maxsplit=1)[0].strip()
        elif paragraph:
            paragraph = bool(line.strip())
            marked.add(i)
        line, hidden = _without_comments(line, hidden)
        start = line.lstrip()[:3]
        environment = _ENVIRONMENT.search(line)
        if i <= begins + 1 and begins >= 0:
            line = ""
        elif fence:
            line, fence = "", "" if start == fence else fence
        elif within:
            if environment and environment[1] == "end" and environment[2] == within:
                within = ""
            line = ""
        elif start in ("```", "~~~"):
            line, fence = "", start
        elif environment and environment[1] == "begin":
            within = "" if rf"\end{{{environment[2]}" in line else environment[2]
            line = line[: environment.start()]
        kept.append(_COMMENT.sub("", line) if latex else line)
    return kept, marked


def _without_comments(line: str, hidden: bool) -> tuple[str, bool]:
    """Drop what stands between <!-- and -->; return whether a comment goes on."""
    parts, at = [], 0
    while at < len(line):
        sign = "-->" if hidden else "<!--"
        index = line.find(sign, at)
        end = len(line) if index < 0 else index
        if not hidden:
            parts.append(line[at:end])
        if index < 0:
            break
        hidden, at = not hidden, index + len(sign)
    return " ".join(parts), hidden


def _plain(text: str, *, latex: bool) -> str:
    """Give the text as it prints, with as many lines."""

    def gone(match: re.Match[str]) -> str:
        return " " + "\n" * match[0].count("\n")

    text = _ADDRESS.sub(gone, text)
    text = _CODE.sub(lambda m: m[1] if not re.search(r"[=(]", m[1]) else " ", text)
    text = _CITED.sub(gone, _ARGUMENTS.sub(gone, text))
    if latex:
        text = _SECTION.sub("# ", text).replace(r"\&", "＆")
        text = _ROW_GOES_ON.sub(_SAME_ROW, text).replace("&", "|")
    text = _SYMBOL.sub(lambda m: _SYMBOLS[m[0]], text)
    text = _ESCAPED.sub(r"\1", _COMMAND.sub("", text))
    text = "\n".join(html.unescape(line).replace("\n", " ") for line in text.split("\n"))
    return _RANGE_SIGN.sub("−", text.replace("＆", "&"))


def _split(plain: str, marked: set[int], *, latex: bool) -> list[Passage]:
    spans = {why: [m.span() for m in form.finditer(plain)] for why, form in _NOT_CLAIMS.items()}
    newlines = [m.start() for m in re.finditer("[\n\v]", plain)]
    passages: list[Passage] = []
    header: tuple[str, ...] = ()
    n, last = 0, 0
    for start, end in _edges(plain):
        text = plain[start:end]
        if not text.strip():
            continue
        row = text.count("|") >= (1 if latex else 2)
        if not row:
            header = ()
        elif not header:
            header = tuple(cell.strip() for cell in text.split("|"))
        line = bisect_right(newlines, start - 1) + 1
        apart = not last or "\n\n" in re.sub(r"[ \t]", "", plain[last:start])
        last = end
        numbers = _paired(text, list(_numbers(plain, start, end, spans)))
        if marked:
            numbers = [
                replace(n, left_out="marked") if line + _lines_in(text, n.start) in marked else n
                for n in numbers
            ]
        n += len(numbers)
        if n > _MOST:
            raise ValueBiasError(
                f"the text has more than {_MOST:,} numbers: it is a table of data rather than a "
                "manuscript. Check its parts."
            )
        passages.append(Passage(text, line, tuple(numbers), apart, header if row else ()))
    return passages


def _edges(plain: str) -> Iterator[tuple[int, int]]:
    """Give where sentences and rows start and end; none is longer than people can read."""
    start = 0
    for end, following in [*(m.span() for m in _END.finditer(plain)), (len(plain),) * 2]:
        while end - start > _SENTENCE:
            cut = plain.rfind(" ", start + 1, start + _SENTENCE)
            cut = start + _SENTENCE if cut < 0 else cut
            yield start, cut
            start = cut
        yield start, end
        start = following


def _numbers(
    plain: str, start: int, end: int, spans: dict[str, list[tuple[int, int]]]
) -> Iterator[WrittenNumber]:
    for match in _NUMBER.finditer(plain, start, end):
        digits = re.sub("[,\u2009]", "", match["digits"])
        exponent = int(re.split(r"[eE^]", (match["power"] or "e0").replace("−", "-"))[-1])
        if abs(exponent) > 99 or len(digits) > 30:
            continue
        exponent -= 2 if match["percent"] else 0
        decimals = len(digits.partition(".")[2])
        sign = -1.0 if match["sign"] in ("-", "−") and match["sign"] else 1.0
        before, after = (
            plain[max(start, match.start() - _NEAR) : match.start()],
            plain[match.end() : min(end, match.end() + _NEAR)],
        )
        relation = next((s for s, form in _BEFORE.items() if form.search(before.lower())), "")
        relation = relation or next((s for s, form in _AFTER.items() if form.match(after)), "")
        whole = digits.isdigit() and not (match["power"] or match["percent"])
        why = next((w for w, known in spans.items() if _within(match.start("digits"), known)), "")
        if (
            not why
            and whole
            and len(digits) == 4
            and match[0].strip() == digits
            and 1800 <= int(digits) < 2100
        ):
            why = "year"
        yield WrittenNumber(
            text=match[0].strip(),
            value=sign * float(f"{digits}e{exponent}"),
            unit=float(f"1e{exponent - decimals}"),
            start=match.start() - start,
            end=match.end() - start,
            relation=relation,
            percent=bool(match["percent"]),
            signed=match["sign"] not in ("", "±"),
            left_out=why or ("zero or one" if whole and digits in ("0", "1") else ""),
        )


def _within(at: int, spans: list[tuple[int, int]]) -> bool:
    k = bisect_right(spans, (at, len(spans) + at + 1)) - 1
    return k >= 0 and spans[k][0] <= at < spans[k][1]


def _paired(text: str, numbers: list[WrittenNumber]) -> list[WrittenNumber]:
    """Mark the two ends of ranges and intervals."""
    k = 0
    while k + 1 < len(numbers):
        low, high = numbers[k], numbers[k + 1]
        gap = text[low.end : high.start]
        within = text[max(low.start - 1, 0) : low.start] in ("[", "(") and text[high.end :][:1] in (
            *"])",
        )
        between = text[max(low.start - 9, 0) : low.start].lower().endswith("between ")
        if len(gap) < 9 and (
            _RANGE.fullmatch(gap)
            or (within and _LISTED.fullmatch(gap))
            or (between and gap.strip() == "and")
        ):
            if high.percent and not low.percent:
                low = replace(low, value=low.value / 100, unit=low.unit / 100, percent=True)
            numbers[k] = replace(low, side="lower")
            numbers[k + 1] = replace(high, side="upper")
            k += 1
        k += 1
    return numbers
