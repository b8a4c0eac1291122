"""The two things valuebias raises: an error and a warning of its own."""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable

__all__ = ["ValueBiasError", "ValueBiasWarning", "did_you_mean", "few", "shown"]

_LONGEST = 2_000
_END = 500
_NAMES = 25
_SHOWN = 80


class ValueBiasError(ValueError):
    """Every error that valuebias raises on purpose.

    Its message says what was found, what was expected and what to do. One of more than 2,000
    characters is cut in the middle.

    Parameters
    ----------
    *args : object
        The message.
    in_shell : str, optional
        The message in a shell, where what it advises to do is done by an option or a command.

    Examples
    --------
    >>> issubclass(ValueBiasError, ValueError)
    True
    >>> len(str(ValueBiasError(10_000 * "x")))
    2000
    """

    def __init__(self, *args: object, in_shell: str = "") -> None:
        """Cut a message that nobody could read."""
        super().__init__(*(_cut(each, _LONGEST, _END) for each in args))
        self.in_shell = str(_cut(in_shell, _LONGEST, _END)) or str(self)
        """What the commands print."""


class ValueBiasWarning(UserWarning):
    """Something that may be wrong but does not stop the work.

    Examples
    --------
    >>> issubclass(ValueBiasWarning, UserWarning)
    True
    """


def _cut(text: object, longest: int, end: int) -> object:
    if not isinstance(text, str) or len(text) <= longest:
        return text
    return f"{text[: longest - end - 3]} … {text[len(text) - end :]}"


class _Short(reprlib.Repr):
    """Shows a few entries of anything, without going through all of it."""

    def __init__(self, longest: int) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 3, longest, longest

    def repr_str(self, x: str, level: int) -> str:
        return repr(x if len(x) <= self.maxstring else f"{x[: self.maxstring]}…")

    def repr_instance(self, x: object, level: int) -> str:
        try:
            text = repr(x)
        except (ValueError, RecursionError, TypeError, AttributeError, MemoryError):
            text = f"<{type(x).__name__}>"
        return text if len(text) <= self.maxother else f"{text[: self.maxother]}…"

    repr_int = repr_instance


def shown(value: object, *, longest: int = _SHOWN) -> str:
    """Show any value in an error message: its repr, or the beginning of a longer one.

    Parameters
    ----------
    value : object
        Anything, of any size and depth.
    longest : int, default 80
        How many characters of a text are shown.

    Returns
    -------
    str
        The repr of a short value.

    Examples
    --------
    >>> shown("Llama")
    "'Llama'"
    >>> shown([[[[[1]]]], *range(1_000_000)])
    '[[[[...]]], 0, 1, 2, 3, 4, ...]'
    """
    # Of some texts, such as numpy's, the repr says more than the text.
    if type(value) is not str and isinstance(value, str) and len(value) <= longest:
        return repr(value)
    text = _Short(longest).repr(value)
    return text if len(text) <= 4 * longest else f"{text[: 4 * longest]}…"


def did_you_mean(name: object, known: Iterable[str]) -> str:
    """Say which known names are meant, or could have been.

    Parameters
    ----------
    name : object
        What was asked for.
    known : iterable of str
        The names that exist.

    Returns
    -------
    str
        ``"Did you mean 'x'? Known: 'x', 'y'."``, without the question where nothing is close.
        It is meant as the last sentence of an error message.

    Examples
    --------
    >>> did_you_mean("Lama", ["Gemma", "Llama"])
    "Did you mean 'Llama'? Known: 'Gemma', 'Llama'."
    >>> did_you_mean("zzz", ["Gemma", "Llama"])
    "Known: 'Gemma', 'Llama'."
    """
    names = list(known)
    if not names:
        return "None is known."
    # Names out of files may be of any type.
    lowered = {str(entry).lower(): entry for entry in reversed(names)}
    wanted = str(name)[:_LONGEST].lower() if isinstance(name, str) else shown(name).lower()
    close = difflib.get_close_matches(wanted, list(lowered), n=1, cutoff=0.6)
    hint = f"Did you mean {shown(lowered[close[0]])}? " if close else ""
    if len(names) > _NAMES:
        return f"{hint}Known: {few(names, limit=_NAMES)}."
    return f"{hint}Known: {', '.join(shown(entry) for entry in names)}."


def few(names: Iterable[str], *, quote: bool = True, limit: int = 5) -> str:
    """List the first few names.

    Parameters
    ----------
    names : iterable of str
        What there is.
    quote : bool, optional
        Whether to put each between quotation marks.
    limit : int, optional
        How many are named.

    Returns
    -------
    str
        Such as ``"'a', 'b' and 3 more"``.

    Examples
    --------
    >>> few(["Gemma", "Llama"])
    "'Gemma' and 'Llama'"
    >>> few("abc", quote=False, limit=2)
    'a, b and 1 more'
    """
    known = list(names)
    first = [shown(name) if quote else str(_cut(name, _SHOWN, 0)) for name in known[:limit]]
    if len(known) > limit:
        return f"{', '.join(first)} and {len(known) - limit} more"
    return " and ".join([", ".join(first[:-1]), first[-1]] if len(first) > 1 else first)
