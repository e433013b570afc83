"""Quantities: pieces, kilograms, metres; exact decimals with up to 5 places, as scales and tills send them.

A negative quantity is goods that come back, as on the receipt of an exchange; 0 is a line that was taken out again. A
producer may send a JSON number (`2`, `0.375`) or its text (`"0.375"`). In events it is a JSON number, whole without a
decimal point: with 15 digits at most, the shortest text of a double is the decimal that was sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import ROUND_HALF_EVEN, Decimal
from math import isfinite
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

MAX_QUANTITY = 1_000_000_000
MAX_QUANTITY_PLACES = 5

_TEXT = re.compile(r"-?[0-9]{1,10}(?:\.([0-9]{1,5})0{0,20})?", re.ASCII)
_LONG_TEXT = re.compile(r"-?[0-9]{1,10}\.[0-9]{6,40}", re.ASCII)
_RULE = f"it should be a decimal of at most {MAX_QUANTITY} in size, with at most {MAX_QUANTITY_PLACES} places"


def to_quantity(value: object) -> int | float:
    """Read a quantity: a JSON number, a plain decimal text or a `Decimal`.

    Returns:
        A whole number as an integer, any other as the float whose shortest text is the decimal.

    Raises:
        PydanticCustomError: Of type `quantity`.
    """
    if isinstance(value, str):
        text = value
    elif type(value) is int or type(value) is float:
        text = format(Decimal(repr(value)), "f")
    elif isinstance(value, Decimal):
        text = format(value, "f")
    else:
        text = ""
    exact = Decimal(text) if _TEXT.fullmatch(text) else None
    if exact is None or abs(exact) > MAX_QUANTITY:
        raise PydanticCustomError("quantity", _RULE)
    return int(exact) if exact == exact.to_integral_value() else float(exact)


def rounded_quantity(value: object) -> Decimal | None:
    """Round a quantity of too many decimal places, half to even.

    Args:
        value: A float, or a plain decimal text.

    Returns:
        The nearest quantity of 5 places; None for any other value, or if nothing would be left of it.
    """
    text = format(Decimal(repr(value)), "f") if type(value) is float and isfinite(value) else value
    if not isinstance(text, str) or not _LONG_TEXT.fullmatch(text):
        return None
    rounded = Decimal(text).quantize(Decimal(1).scaleb(-MAX_QUANTITY_PLACES), ROUND_HALF_EVEN)
    return rounded if rounded and abs(rounded) <= MAX_QUANTITY else None


def plus(first: float, second: float, sign: int = 1) -> int | float:
    """Add a quantity to another, exactly; subtract it with the sign -1."""
    if type(first) is int and type(second) is int:
        return first + sign * second
    exact = Decimal(repr(first)) + sign * Decimal(repr(second))
    return int(exact) if exact == exact.to_integral_value() else float(exact)


def total(quantities: Iterable[float]) -> float:
    """Add quantities up, exactly; 0 of none."""
    added: float = 0
    for quantity in quantities:
        added = plus(added, quantity)
    return added


class _Quantity:
    """Whole numbers are read without Python, all else by `to_quantity`."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.union_schema(
            [
                core_schema.int_schema(ge=-MAX_QUANTITY, le=MAX_QUANTITY),
                core_schema.no_info_plain_validator_function(to_quantity),
            ],
            mode="left_to_right",
            custom_error_type="quantity",
            custom_error_message=_RULE,
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {
            "anyOf": [
                {"type": "number", "minimum": -MAX_QUANTITY, "maximum": MAX_QUANTITY},
                {"type": "string", "pattern": r"^-?[0-9]{1,10}(\.[0-9]{1,5}0*)?$"},
            ]
        }


Quantity = Annotated[float, _Quantity()]
"""How much of a product: pieces, or what its unit is; negative: it comes back."""
