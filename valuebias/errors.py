"""The two things valuebias raises: an error and a warning of its own."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["ValueBiasError", "ValueBiasWarning", "did_you_mean", "some"]


class ValueBiasError(ValueError):
    """Every error that valuebias raises on purpose.

    Its message says what was found, what was expected and what to do.

    Examples
    --------
    >>> issubclass(ValueBiasError, ValueError)
    True
    """


class ValueBiasWarning(UserWarning):
    """Something that may be wrong but does not stop the work.

    Examples
    --------
    >>> issubclass(ValueBiasWarning, UserWarning)
    True
    """


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
    lowered = {entry.lower(): entry for entry in reversed(names)}
    close = difflib.get_close_matches(str(name).lower(), list(lowered), n=1, cutoff=0.6)
    hint = f"Did you mean {lowered[close[0]]!r}? " if close else ""
    return f"{hint}Known: {', '.join(repr(entry) for entry in names)}."


def some(names: Iterable[str], *, quote: bool = True, limit: int = 5) -> str:
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
    >>> some(["Gemma", "Llama"])
    "'Gemma' and 'Llama'"
    >>> some("abc", quote=False, limit=2)
    'a, b and 1 more'
    """
    known = [repr(name) if quote else name for name in names]
    shown = known[:limit]
    if len(known) > limit:
        return f"{', '.join(shown)} and {len(known) - limit} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
