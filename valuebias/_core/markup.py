"""Escapes that keep text from data inert: in LaTeX, in Markdown, and in spreadsheets."""

from __future__ import annotations

import re
import unicodedata

from valuebias._core.text import visible

__all__ = ["markdown", "tex"]

# Any ASCII punctuation may be escaped in Markdown, but the source should stay readable.
_MARKDOWN = re.compile(r"[\\`*_{}\[\]<>#|~$&@]|:(?=//)|:(?=[\w+-]+:)|(?<=www)\.")
# What starts a list, a heading or a rule at the start of a line only.
_STARTS = re.compile(r"^(\d*)([-+=.)])")

_TEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    "-": "{-}",
    "[": r"{[}",
    "]": r"{]}",
    "*": r"{*}",
    "−": r"\ensuremath{-}",
    "×": r"\ensuremath{\times}",
    "±": r"\ensuremath{\pm}",
    "≤": r"\ensuremath{\leq}",
    "≥": r"\ensuremath{\geq}",
    "→": r"\ensuremath{\rightarrow}",
    "←": r"\ensuremath{\leftarrow}",
    "σ": r"\ensuremath{\sigma}",
    "η": r"\ensuremath{\eta}",
    "²": r"\ensuremath{^2}",
    "Φ": r"\ensuremath{\Phi}",
    "·": r"\textperiodcentered{}",
    "–": r"\textendash{}",
    "—": r"\textemdash{}",
    "…": r"\ldots{}",
    "“": r"\textquotedblleft{}",
    "”": r"\textquotedblright{}",
    "‘": r"\textquoteleft{}",
    "’": r"\textquoteright{}",
    "\u200b": r"\allowbreak{}",
}
# A word longer than this does not fit a column and may be broken.
_UNBROKEN = re.compile(r"[^\s\u200b]{20}(?=\S)")
# The letters that LaTeX's T1 fonts have.
_LATIN = set("ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿ"
             "ĀāĂăĄąĆćČčĎďĐđĒēĘęĚěĞğĪīİıŁłŃńŇňŌōŐőŒœŘřŚśŞşŠšŤťŪūŮůŰűŸŹźŻżŽž")  # fmt: skip


def markdown(value: object) -> str:
    r"""Escape a text so that Markdown shows it as it is.

    Examples
    --------
    >>> print(markdown("<b>|*x*"))
    \<b\>\|\*x\*
    """
    return _STARTS.sub(r"\1\\\2", _MARKDOWN.sub(r"\\\g<0>", visible(value)))


def tex(value: object) -> str:
    r"""Escape a text so that LaTeX prints it as it is.

    Examples
    --------
    >>> print(tex("50% of \\input{x}"))
    50\% of \textbackslash{}input\{x\}
    """
    composed = unicodedata.normalize("NFC", visible(value))
    # In T1 fonts two commas make a German quotation mark.
    broken = _UNBROKEN.sub("\\g<0>\u200b", composed)
    return "".join(_tex_letter(letter) for letter in broken).replace(",,", ",{},")


def _tex_letter(letter: str) -> str:
    if letter in _TEX:
        return _TEX[letter]
    if letter in _LATIN or " " <= letter <= "~":
        return letter
    return rf"\texttt{{\textless{{}}U+{ord(letter):04X}\textgreater{{}}}}"
