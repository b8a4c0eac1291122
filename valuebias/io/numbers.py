"""Read numbers as people write them: with a decimal point, or a comma where that is plain."""

from __future__ import annotations

import re
from collections.abc import Iterable

from valuebias._core.checks import check_known
from valuebias.errors import ValueBiasError

__all__ = ["NOT_SCORED", "check_decimal", "found_decimal", "with_point"]

NOT_SCORED = ("", "na", "n/a", "#n/a", "<na>", "nan", "null", "none")
"""What stands in a cell, in small letters, where there is no score."""
_WITH_COMMA = re.compile(
    r"[+-]?[1-9]\d{0,2}(?:,\d{3})+|[+-]?(?:\d+,\d*|,\d+)(?:e[+-]?\d+)?", re.IGNORECASE
)
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+")


def check_decimal(decimal: str | None) -> None:
    """Refuse a decimal mark that is none."""
    if decimal is not None:
        check_known(decimal, (".", ","), f"decimal is {decimal!r}.")


def found_decimal(
    cells: Iterable[str],
    name: str,
    *,
    advice: str = "Give decimal=',', or take the commas out.",
    in_shell: str = "Add --decimal , or take the commas out.",
) -> str:
    """Give the decimal mark of scores, by all of them; refuse to guess.

    Examples
    --------
    >>> found_decimal(["1,5", "NA", "-2"], "a.csv"), found_decimal(["1,234", "0,5"], "a.csv")
    (',', ',')
    >>> found_decimal(["1,234", "5,678"], "a.csv")
    Traceback (most recent call last):
    ...
    valuebias.errors.ValueBiasError: 'a.csv' has scores such as '1,234', in which the comma may be
    a decimal mark or separate thousands. Give decimal=',', or take the commas out.
    """
    given = [cell.strip() for cell in cells]
    commas = [cell for cell in given if "," in cell]
    if not commas or not all(map(_WITH_COMMA.fullmatch, commas)):
        # What is no number under either mark is named by whoever reads it.
        return "."
    if all(map(_THOUSANDS.fullmatch, commas)) or any("." in cell for cell in given):
        said = (
            f"{name!r} has scores such as {commas[0]!r}, in which the comma may be a decimal mark "
            "or separate thousands."
        )
        raise ValueBiasError(f"{said} {advice}", in_shell=f"{said} {in_shell}")
    return ","


def with_point(cell: str) -> str:
    """Write a number that has a decimal comma as Python does; spoil what has a point as well.

    Examples
    --------
    >>> with_point("-0,5"), with_point("1.234,5")
    ('-0.5', '1,234,5')
    """
    return cell.replace(".", ",") if "." in cell else cell.replace(",", ".")
