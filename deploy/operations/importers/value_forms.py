"""Finds how the times and numbers of a column are written; what may mean two things is asked, not guessed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal

from schemas.time import EXCEL, is_of_form

DateOrder = Literal["day-first", "month-first"]

_TIME_PARTS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")
_DATES = ("%d.%m.%Y", "%d.%m.%y", "%Y/%m/%d", "%Y.%m.%d", "%d-%m-%Y", "%d %b %Y", "%b %d, %Y", "%B %d, %Y")
_SLASHED = {"day-first": ("%d/%m/%Y", "%d/%m/%y"), "month-first": ("%m/%d/%Y", "%m/%d/%y")}
_WITH_ZONE = ("%Y-%m-%d %H:%M:%S %z", "%Y-%m-%d %H:%M %z", "%Y-%m-%d %H:%M:%S %Z")
_EPOCH = re.compile(r"[0-9]{9,13}(\.[0-9]+)?")
_SERIAL_DAY = re.compile(r"[1-7][0-9]{4}([.,][0-9]+)?")  # of the years 1927 to 2118
_CURRENCY_SIGNS = ("€", "$", "£", "¥", "EUR", "USD", "CHF", "GBP")
_SPACES = str.maketrans("", "", " \u00a0\u202f'’")
_SEPARATED = re.compile(r"[+-]?[0-9]+([.,][0-9]+)*")
_THOUSANDS = re.compile(r"[+-]?[0-9]{1,3}[.,][0-9]{3}")
_NUMBER = re.compile(r"[+-]?(0|[1-9][0-9]{0,14})(\.[0-9]{1,6})?")


class AmbiguousFormError(ValueError):
    """The values of a column may mean two things; the message names the option that says which."""


def time_form(column: str, values: Sequence[Any], order: DateOrder | None) -> dict[str, str] | None:
    """Find how a column's times are written.

    Args:
        column: Its name, for the error.
        values: Some of its values that are not empty.
        order: What comes first in dates such as 04/05/2026.

    Returns:
        What a mapping says beside `get` and `as`: the `format` of most values, `excel` for days as a spreadsheet counts
        them, or nothing for ISO 8601 and for seconds since 1970. None: they are of no known form.

    Raises:
        AmbiguousFormError: Day and month cannot be told apart.
    """
    texts = [str(value).strip() for value in values]
    plain = sum(map(_is_plain, texts))
    if 2 * plain >= len(texts):
        return {}
    slashed = {
        name: _best([one + part for one in dates for part in _TIME_PARTS], texts) for name, dates in _SLASHED.items()
    }
    fitting = {name: (form, count) for name, (form, count) in slashed.items() if form}
    if fitting:
        if len({count for _, count in fitting.values()}) < len(fitting) and order is None:
            raise AmbiguousFormError(
                f"{column}: day and month of {texts[0]!r} cannot be told apart: add --dates day-first or month-first"
            )
        likely = max(fitting, key=lambda name: fitting[name][1])
        return {"format": fitting[order if order in fitting else likely][0]}
    if 2 * sum(_SERIAL_DAY.fullmatch(text) is not None for text in texts) >= len(texts):
        return {"format": EXCEL}
    form, _ = _best([*_WITH_ZONE, *(one + part for one in _DATES for part in _TIME_PARTS)], texts)
    return {"format": form} if form else None


def decimal_form(column: str, values: Sequence[Any], decimal: str | None) -> dict[str, str]:
    """Find the decimal separator of a column's numbers.

    Args:
        column: Its name, for the error.
        values: Some of its values that are not empty.
        decimal: The separator, where it was said.

    Returns:
        What a mapping says beside `get` and `as`: the separator, or nothing for plain numbers with a point.

    Raises:
        AmbiguousFormError: 1,234 may be a thousand or one and a quarter.
    """
    if decimal:
        return {"decimal": decimal}
    texts = [without_signs(str(value)).translate(_SPACES) for value in values]
    marked = [text for text in texts if _SEPARATED.fullmatch(text) and re.search("[.,]", text)]
    decided = {found for text in marked if (found := _decimal_of(text))}
    if len(decided) == 1:
        separator = decided.pop()
        plain = (
            separator == "." and not any("," in text for text in texts) and texts == [str(value) for value in values]
        )
        return {} if plain else {"decimal": separator}
    if not decided and any("," in text for text in marked):
        raise AmbiguousFormError(f"{column}: {marked[0]!r} may mean two numbers: add --decimal , or --decimal .")
    return {}


def without_signs(text: str) -> str:
    """Leave out signs and codes of currencies."""
    for sign in _CURRENCY_SIGNS:
        text = text.replace(sign, "")
    return text.strip()


def signs_of(values: Sequence[Any]) -> list[str]:
    """List the signs and codes of currencies in values."""
    return [sign for sign in _CURRENCY_SIGNS if any(sign in value for value in values if isinstance(value, str))]


def are_numbers(values: Sequence[Any]) -> bool:
    """Return whether all values are plain numbers: `007` is none, as a postal code is not."""
    return bool(values) and all(
        (isinstance(value, int | float) and not isinstance(value, bool))
        or (isinstance(value, str) and _NUMBER.fullmatch(value.strip()))
        for value in values
    )


def _decimal_of(text: str) -> str:
    """Return the decimal separator that a number has; empty if it may be one of thousands."""
    last = max(text.rfind("."), text.rfind(","))
    separator, other = text[last], "," if text[last] == "." else "."
    if other in text:
        return separator
    if text.count(separator) > 1:  # 1.234.567
        return other
    return "" if _THOUSANDS.fullmatch(text) and not text.lstrip("+-").startswith("0") else separator


def _is_plain(text: str) -> bool:
    if _EPOCH.fullmatch(text):
        return True
    return is_of_form(text) and not text.isdecimal()


def _best(forms: Sequence[str], texts: Sequence[str]) -> tuple[str, int]:
    """Return the form in which most of the texts are written, and how many; none if it is fewer than half of them."""
    counts = {form: sum(is_of_form(text, form) for text in texts) for form in forms}
    best = max(forms, key=lambda form: counts[form])
    return (best, counts[best]) if 2 * counts[best] >= len(texts) else ("", 0)
