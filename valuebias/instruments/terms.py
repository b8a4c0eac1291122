"""Terms of a lexicon: which words match them, and which terms match no ordinary text."""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Iterable

from valuebias.errors import ValueBiasWarning

__all__ = ["continues", "plain", "warn_unmatchable"]

_MOST_EXAMPLES = 4
_WILDCARD = re.compile(r"[*\uff0a]+(?=[^*\uff0a])|\?(?=\w)|\uff0a")
# Signs of a regular expression or of a glob, beside letters: emoticons and prices are not.
_PATTERN = re.compile(
    r"(?<!\.)(?<!\w\.\w)\.[*+?]"
    r"|\w\[[^\[\]]*[^\W_][^\[\]]*\]|\[[^\[\]]*[^\W_][^\[\]]*\][\w*+?]"
    r"|\{\d+,?\d*\}|\{[^{}]*,[^{}]*\}|\w\|\w|\w\)[*+?]|\(\?"
    r"|\\[bBdDsSwW](?![^\W_])|\\[bBdDsSwW][*+?]|\\b\w|^\^[^\W_]|[^\WA-Z\d_]{2}\$$|[^\W\d_]{2}%"
)
_SPACED = re.compile(r"^ |  | $")
_JOINERS = "\u200c\u200d"
# Letters and marks by their class, but invisible.
_BLANK = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\U00016fe4\U0001d159"
_SELECTORS = re.compile("[\u180b-\u180f\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_KEYCAP = "\u20e3"
# Not letters, and not drawn: reserved for this by Unicode.
_IGNORED = re.compile("[\u2065\ufff0-\ufff8\U000e0000-\U000e0fff]")
_MONGOLIAN = re.compile("[\u1820-\u18aa]")
_TAGS = "".join(map(chr, range(0xE0020, 0xE0080)))
# Marks that change the letter before: overlaid, below, above, nukta, voicing. The others are vowel
# signs and points, which form endings in many scripts.
_CHANGES_LETTER = frozenset({1, 6, 7, 8, *range(200, 241)})
# Voicing as a separate character, for narrow kana and wide ones.
_VOICED = "\uff9e\uff9f\u309b\u309c"


def plain(text: str, *, ignore_case: bool = False) -> str:
    """Write a text in its composed form (NFC), in which "é" is one letter, however it was typed.

    Examples
    --------
    >>> plain("cafe" + chr(0x301)) == plain("café")
    True
    """
    if ignore_case:
        text = unicodedata.normalize("NFD", text).casefold()
    return unicodedata.normalize("NFC", text)


def continues(word: str, stem: str) -> bool:
    """Whether a word begins with a stem, letter by letter.

    Examples
    --------
    >>> continues("cafés", "café"), continues(plain("x" + chr(0x302) + "y"), "x")
    (True, False)
    """
    if not word.startswith(stem):
        return False
    rest = len(stem)
    while rest < len(word) and (word[rest] == "\u034f" or _SELECTORS.match(word[rest])):
        rest += 1  # They only select how the letter is drawn; a mark may follow.
    if rest == len(word):
        return True
    mark = word[rest]
    changes = unicodedata.combining(mark) in _CHANGES_LETTER or mark in _VOICED
    return not changes and unicodedata.category(mark) != "Me"


def warn_unmatchable(terms: Iterable[str], name: str, *, stacklevel: int) -> None:
    """Warn about terms that look like words but can match none."""
    by_reason: dict[str, list[str]] = {}
    for term in terms:
        reason = _reason(term)
        if reason:
            by_reason.setdefault(reason, []).append(term)
    if not by_reason:
        return
    parts = []
    for reason, group in by_reason.items():
        more = f" and {len(group) - _MOST_EXAMPLES:,} more" if len(group) > _MOST_EXAMPLES else ""
        examples = ", ".join(f"'{_written_out(term)}'" for term in group[:_MOST_EXAMPLES])
        parts.append(f"{len(group):,} {reason} ({examples}{more})")
    warnings.warn(
        f"The lexicon {name!r} has words that can hardly match any, as they stand: "
        f"{'; '.join(parts)}. They are kept unchanged. Correct the file; a wildcard works at "
        "the end of a word only.",
        ValueBiasWarning,
        stacklevel=stacklevel + 1,
    )


def _reason(term: str) -> str:
    """Describe the fault of a term, in words that follow a number; empty if there is none."""
    stem = term.rstrip("*")
    if "\ufffd" in term:
        return "with U+FFFD in place of a letter that was lost when the file was converted"
    if any(_is_unseen(stem, i) for i in range(len(stem))):
        return "with a character that cannot be seen"
    if any(map(_is_no_letter, stem)):
        return "with a character that stands for no letter"
    # "kind *" stands for everything that begins with "kind" and continues with another word.
    if _SPACED.search(stem if term == stem else stem + "*"):
        return "with a space at an end or two together"
    if stem and unicodedata.category(stem[0]).startswith("M"):
        return "that begin with a mark that has no letter"
    if _WILDCARD.search(term):
        return "with a wildcard in front or inside, which is taken for the sign itself"
    if _PATTERN.search(term):
        return "with signs of a pattern (as '.*', '[ae]', '|'), which are taken for themselves"
    if _is_misread(term):
        return "that are UTF-8 read as another encoding"
    return ""


def _is_unseen(text: str, i: int) -> bool:
    letter = text[i]
    if letter in _JOINERS:
        # They are legitimate between letters of some scripts, and parts of an emoji.
        around = text[i - 1 : i] + text[i + 1 : i + 2]
        return i == 0 or i == len(text) - 1 or around.isascii()
    if letter in _TAGS:
        # The flags of England, Scotland and Wales consist of them.
        return unicodedata.category(text[:i].rstrip(_TAGS)[-1:] or " ") != "So"
    if letter in _BLANK or _IGNORED.match(letter):
        return True
    if _SELECTORS.match(letter):
        return not _is_selected(text, i)
    return letter != " " and unicodedata.category(letter) in ("Cc", "Cf", "Zs", "Zl", "Zp")


def _is_selected(text: str, i: int) -> bool:
    """Whether a selector is legitimate: on an emoji, or in Mongolian."""
    letter, before = text[i], text[i - 1 : i] or " "
    if letter <= "\u180f":
        return bool(_MONGOLIAN.match(before))
    if letter not in "\ufe0e\ufe0f":
        return False
    # The information sign is a letter by its class, but an emoji.
    symbol = unicodedata.category(before)[0] in "SP" or before == "\u2139"
    return symbol or text[i + 1 : i + 2] == _KEYCAP


def _is_no_letter(letter: str) -> bool:
    """Whether it is private use, half a character, an object placeholder or no character."""
    code = ord(letter)
    if letter == "\ufffc" or code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF:
        return True
    return unicodedata.category(letter) in ("Co", "Cs")


def _is_misread(text: str) -> bool:
    """Whether it is like "cafÃ©": valid UTF-8 once encoded as the encoding it was read as."""
    if text.isascii():
        return False
    try:
        text.encode("cp1252").decode("utf-8")
    except UnicodeError:
        return False
    return True


def _written_out(term: str) -> str:
    return "".join(
        letter.encode("unicode_escape", "surrogatepass").decode("ascii")
        if _is_unseen(term, i) or _is_no_letter(letter) or letter == "\ufffd"
        else letter
        for i, letter in enumerate(term)
    )
