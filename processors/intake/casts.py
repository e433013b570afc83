"""Reads a value that a vendor or a file wrote in its own way as one of the types of events."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any
from zoneinfo import ZoneInfo

from pydantic_core import PydanticCustomError

from schemas.currencies import currency_code
from schemas.intake.mappings import ValueMapping
from schemas.money import from_minor, nearest_amount, plain, to_money_text
from schemas.quantity import to_quantity
from schemas.time import foreign_day, foreign_time

_TRUE = frozenset({"true", "yes", "y", "on", "1", "t"})
_FALSE = frozenset({"false", "no", "n", "off", "0", "f"})
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}", re.ASCII)
_DECIMAL = re.compile(r"[+-]?[0-9]{1,18}(\.[0-9]{1,15})?", re.ASCII)
_SPACES = str.maketrans("", "", " \u00a0\u202f'’")
_GROUPED = {
    ".": re.compile(r"[+-]?[0-9]{1,3}(,[0-9]{3})+(\.[0-9]+)?", re.ASCII),
    ",": re.compile(r"[+-]?[0-9]{1,3}(\.[0-9]{3})+(,[0-9]+)?", re.ASCII),
}
_EXACT_INTEGERS = 2**53  # a larger double has lost digits already


class CastError(ValueError):
    """A value cannot be read as the type; the message is the rule that it breaks."""


def cast(value: Any, how: ValueMapping, currency: Any, exponents: Mapping[str, int]) -> Any:
    """Read a value; of a list each element.

    Args:
        value: A JSON value, not null.
        how: What to read it as.
        currency: Of minor units, the currency as the vendor writes it.
        exponents: Their decimal places by currency.

    Raises:
        CastError: It is no such value.
    """
    if how.read_as is None:
        return value
    if type(value) is list:
        return [cast(one, how, currency, exponents) for one in value if one is not None and one != ""]
    if how.read_as == "minor_money":
        return _minor(value, currency, exponents)
    if how.decimal and type(value) is str:
        value = _with_point(value, how.decimal)
    try:
        return _CASTS[how.read_as](value, how)
    except PydanticCustomError as error:
        raise CastError(error.message()) from None


def _text(value: Any, _: ValueMapping) -> str:
    if type(value) is str:
        return value
    if type(value) is int:
        return str(value)
    if type(value) is float and isfinite(value):
        return str(int(value)) if value.is_integer() and abs(value) < _EXACT_INTEGERS else repr(value)
    raise CastError("it should be a text or a number")


def _integer(value: Any, _: ValueMapping) -> int:
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer() and abs(value) < _EXACT_INTEGERS:
        return int(value)
    if type(value) is str and _WHOLE.fullmatch(value.strip()):
        return int(value)
    raise CastError("it should be a whole number")


def _number(value: Any, _: ValueMapping) -> int | float:
    if type(value) is int or (type(value) is float and isfinite(value)):
        return value
    if type(value) is str and _DECIMAL.fullmatch(text := value.strip()):
        return int(text) if _WHOLE.fullmatch(text) else float(text)
    raise CastError("it should be a number")


def _boolean(value: Any, _: ValueMapping) -> bool:
    if type(value) is bool:
        return value
    word = str(value).strip().lower() if type(value) is str or type(value) is int else ""
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise CastError("it should be true or false, yes or no, 1 or 0: use `lookup` for other words")


def _money(value: Any, _: ValueMapping) -> str:
    if type(value) is float and (amount := nearest_amount(value)) is not None:
        return plain(amount)
    return to_money_text(value.strip() if type(value) is str else value)


def _minor(value: Any, currency: Any, exponents: Mapping[str, int]) -> str:
    code = currency_code(currency)
    if code is None:
        raise CastError("its currency should be the three letters of ISO 4217, such as EUR")
    if type(value) is str and _WHOLE.fullmatch(value):
        value = int(value)
    try:
        return plain(from_minor(value, code, exponents))
    except PydanticCustomError as error:
        raise CastError(error.message()) from None


def _with_point(text: str, separator: str) -> str:
    """Rewrite a number with thousands and its own decimal separator as a plain one: `1.234,50` as `1234.50`."""
    text = text.translate(_SPACES)
    if _GROUPED[separator].fullmatch(text):
        text = text.replace("." if separator == "," else ",", "")
    elif separator == "," and "." in text:
        raise CastError("it should have a comma before its decimal places, as `decimal` says")
    return text.replace(",", ".") if separator == "," else text


def _quantity(value: Any, how: ValueMapping) -> int | float:
    return to_quantity(value.strip().removeprefix("+") if type(value) is str else value)


def _time(value: Any, how: ValueMapping) -> str:
    return foreign_time(value, how.format or "", ZoneInfo(how.zone) if how.zone else None)


def _date(value: Any, how: ValueMapping) -> str:
    return foreign_day(value, how.format or "")


_CASTS: dict[str, Callable[[Any, ValueMapping], Any]] = {
    "text": _text,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "money": _money,
    "quantity": _quantity,
    "time": _time,
    "date": _date,
}
