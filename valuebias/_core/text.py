"""Make any text safe to store, in ways that can be undone, and safe to show.

Two things need it. A *lone surrogate* (half of a UTF-16 pair, as some tokenizers yield) is no valid
Unicode, so most file formats refuse it. A cell that starts with ``=`` or the like is run as a
*formula* by spreadsheets.
"""

from __future__ import annotations

import re

from valuebias.errors import ValueBiasError

__all__ = [
    "as_number",
    "escape",
    "has_surrogate",
    "neutralise",
    "restore",
    "unescape",
    "visible",
    "visible_lines",
    "without_nul",
]

_SURROGATE = re.compile("[\ud800-\udfff]")
_ESCAPED = re.compile(r"\\(\\|u[dD][89a-fA-F][0-9a-fA-F]{2})?")
# The first characters that make a spreadsheet run a cell, their full-width forms (which some
# locales treat alike), and the apostrophe, so that restore() knows which apostrophes were added.
_RISKY = tuple("=+-@\t\r\n＝＋－＠'")


# Not printable by Python's rule, yet needed to join the parts of an emoji or of a word.
_JOINERS = {"\u200c", "\u200d"}


def as_number(text: str) -> float | None:
    """Read a number as people write it; not ``1_000`` and other scripts' digits, as Python does.

    Examples
    --------
    >>> as_number(" 1.5e3 "), as_number("1_000"), as_number("x")
    (1500.0, None, None)
    """
    try:
        return float(text) if text.isascii() and "_" not in text else None
    except ValueError:
        return None


def has_surrogate(text: str) -> bool:
    """Tell whether a text holds a lone surrogate.

    Examples
    --------
    >>> has_surrogate("love"), has_surrogate(chr(0xD83D))
    (False, True)
    """
    return _SURROGATE.search(text) is not None


def escape(text: str) -> str:
    r"""Write each lone surrogate as a backslash, ``u`` and four digits; double each backslash.

    Examples
    --------
    >>> print(escape("a" + chr(0xD83D)))
    a\ud83d
    """
    doubled = text.replace("\\", "\\\\")
    return _SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", doubled)


def unescape(text: str) -> str:
    r"""Undo :func:`escape`.

    Examples
    --------
    >>> unescape("back" + chr(92) * 2 + "slash") == "back" + chr(92) + "slash"
    True
    """

    def replaced(match: re.Match[str]) -> str:
        code = match[1]
        if code is None:
            raise ValueBiasError(
                f"The stored text {text!r} has a backslash that valuebias did not write. "
                "The file was changed by hand, or is damaged."
            )
        return "\\" if code == "\\" else chr(int(code[1:], 16))

    return _ESCAPED.sub(replaced, text)


def neutralise(text: str) -> str:
    """Put an apostrophe before a text that a spreadsheet would run as a formula.

    Examples
    --------
    >>> neutralise("=cmd()"), neutralise("'tis"), neutralise("love")
    ("'=cmd()", "''tis", 'love')
    """
    return f"'{text}" if text.startswith(_RISKY) else text


def restore(text: str) -> str:
    """Undo :func:`neutralise`.

    Examples
    --------
    >>> restore("'=cmd()"), restore("love")
    ('=cmd()', 'love')
    """
    return text.removeprefix("'")


def visible(value: object) -> str:
    r"""Give the text of anything, with what cannot be seen written out.

    Examples
    --------
    >>> visible("café")
    'café'
    >>> print(visible("a" + chr(0xD83D) + chr(10)))
    a\ud83d\n
    """
    return "".join(
        letter
        if letter.isprintable() or letter in _JOINERS
        else letter.encode("unicode_escape").decode("ascii")
        for letter in str(value)
    )


def visible_lines(text: str) -> str:
    r"""Write out what cannot be seen in a text of several lines, such as one that is printed.

    A terminal obeys what is in the names of a file of somebody else's.

    Examples
    --------
    >>> print(visible_lines("one" + chr(10) + "t" + chr(27) + "[31mwo"))
    one
    t\x1b[31mwo
    """
    return "\n".join(visible(line) for line in text.split("\n"))


def without_nul(text: str) -> str:
    """Show NUL characters, which text in a dataset cannot hold, by the sign for them.

    Examples
    --------
    >>> without_nul("a" + chr(0))
    'a␀'
    """
    return text.replace("\0", "\u2400")
