"""Terms of a lexicon: when a word is one, and which can never be found in ordinary text."""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections.abc import Iterable

from valuebias.errors import ValueBiasWarning

__all__ = ["continues", "plain", "warn_unmatchable"]

_SHOWN = 4
_WILDCARD = re.compile(r"[*\uff0a]+(?=[^*\uff0a])|\?(?=\w)|\uff0a")
_JOINERS = "\u200c\u200d"
# Letters and marks by their class, and yet nothing to be seen.
_BLANK = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"
# Marks that make another letter of the one before: overlaid, below, above, nukta, voicing. The
# others are vowel signs and points, which in many scripts are what an ending is made of.
_CHANGES_LETTER = frozenset({1, 7, 8, *range(200, 241)})


def plain(text: str, *, ignore_case: bool = False) -> str:
    """Write a text in its composed form (NFC), so that "é" is one letter, however it was typed.

    Parameters
    ----------
    text : str
        A word, or a term.
    ignore_case : bool, default False
        Whether to fold case, too.

    Returns
    -------
    str
        Equal for texts that Unicode calls canonically equivalent.

    Examples
    --------
    >>> plain("cafe" + chr(0x301)) == plain("café")
    True
    """
    if ignore_case:
        text = unicodedata.normalize("NFD", text).casefold()
    return unicodedata.normalize("NFC", text)


def continues(word: str, stem: str) -> bool:
    """Tell whether a word begins with a stem, letter by letter.

    Parameters
    ----------
    word, stem : str
        In composed form.

    Returns
    -------
    bool
        False where the next character is an accent on the stem's last letter, which makes it
        another letter.

    Examples
    --------
    >>> continues("cafés", "café"), continues(plain("x" + chr(0x302) + "y"), "x")
    (True, False)
    """
    rest = word[len(stem) : len(stem) + 1]
    return word.startswith(stem) and not (rest and unicodedata.combining(rest) in _CHANGES_LETTER)


def warn_unmatchable(terms: Iterable[str], name: str, *, stacklevel: int) -> None:
    """Name the terms that look like words and can match none.

    Parameters
    ----------
    terms : iterable of str
        A lexicon's.
    name : str
        What to call the lexicon.
    stacklevel : int
        As :func:`warnings.warn` takes it; 1 is the caller.

    Warns
    -----
    ValueBiasWarning
        Once for all: how many there are, for what reason, with an example or some, and what to do.
    """
    found: dict[str, list[str]] = {}
    for term in terms:
        reason = _reason(term)
        if reason:
            found.setdefault(reason, []).append(term)
    if not found:
        return
    parts = []
    for reason, group in found.items():
        more = f" and {len(group) - _SHOWN:,} more" if len(group) > _SHOWN else ""
        shown = ", ".join(f"'{_written_out(term)}'" for term in group[:_SHOWN])
        parts.append(f"{len(group):,} {reason} ({shown}{more})")
    warnings.warn(
        f"The lexicon {name!r} has words that can hardly match any, as they stand: "
        f"{'; '.join(parts)}. They are kept as they are. Correct the file; a wildcard works at "
        "the end of a word only.",
        ValueBiasWarning,
        stacklevel=stacklevel + 1,
    )


def _reason(term: str) -> str:
    """Say what is wrong with a term, in words that follow a number; empty where nothing is."""
    stem = term.rstrip("*")
    if "\ufffd" in term:
        return "with U+FFFD in place of a letter that was lost when the file was converted"
    if any(_is_unseen(stem, i) for i in range(len(stem))):
        return "with a character that cannot be seen"
    if stem and unicodedata.category(stem[0]).startswith("M"):
        return "that begin with a mark that has no letter"
    if _WILDCARD.search(term):
        return "with a wildcard in front or inside, which is taken for the sign itself"
    if _is_misread(term):
        return "that are UTF-8 read as another encoding"
    return ""


def _is_unseen(text: str, i: int) -> bool:
    letter = text[i]
    if letter in _JOINERS:
        # They belong between the letters of some scripts, and the parts of an emoji.
        around = text[i - 1 : i] + text[i + 1 : i + 2]
        return i == 0 or i == len(text) - 1 or around.isascii()
    if letter in _BLANK:
        return True
    return letter != " " and unicodedata.category(letter) in ("Cc", "Cf", "Zs", "Zl", "Zp")


def _is_misread(text: str) -> bool:
    """Tell "cafÃ©": it is valid UTF-8 once it is written as what it was taken for."""
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
        if _is_unseen(term, i) or letter == "\ufffd"
        else letter
        for i, letter in enumerate(term)
    )
