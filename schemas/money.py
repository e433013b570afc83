"""Money: exact decimals in major units.

A producer may send a decimal string (`"49.90"`), a JSON number in major units (`49.9`), or an integer of minor units in
the field with the suffix `_minor` (`"revenue_minor": 4990`, with `currency`). In events, on the wire and in storage it
is a plain decimal string, for arithmetic a `Decimal`. It is never a float.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, PlainValidator, WithJsonSchema
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from schemas.currencies import CODE_PATTERN, KNOWN, NO_CODE, read_code

MAX_DECIMAL_PLACES = 4
MAX_WHOLE_DIGITS = 12
"""The most digits before the decimal point: amounts are below 10^12."""

EXPONENTS: dict[str, int] = {
    **dict.fromkeys(
        (
            "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV",
            "XAF", "XOF", "XPF",
        ),
        0,
    ),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}  # fmt: skip
"""Decimal places of the minor unit, ISO 4217: the currencies where it is not 2."""

WHOLE_CURRENCIES = frozenset(code for code, places in EXPONENTS.items() if not places)
"""Currencies without a smaller unit: nobody pays half a yen."""

STRIPE_EXPONENTS: dict[str, int] = {
    **{code: places for code, places in EXPONENTS.items() if places == 0},
    "MGA": 0, **dict.fromkeys(("ISK", "UGX"), 2), **dict.fromkeys(("BHD", "JOD", "KWD", "OMR", "TND"), 3),
}  # fmt: skip
"""The same in Stripe's amounts (https://docs.stripe.com/currencies): it has no decimal places for the ariary, and
keeps two for the two currencies that lost theirs, whose amounts then end in 00."""

MINOR_UNITS: dict[str, dict[str, int]] = {
    "iso_4217": EXPONENTS,
    "stripe": STRIPE_EXPONENTS,
    # https://docs.adyen.com/development-resources/currency-codes: those that "differ from standard".
    "adyen": {**EXPONENTS, "CLP": 2, "CVE": 0, "IDR": 0, "ISK": 2},
    # https://developer.sumup.com/tools/glossary/currencies
    "sumup": {**EXPONENTS, "COP": 0, "HUF": 0},
}
"""The tables of minor units by name."""

_LIMIT = 10**MAX_WHOLE_DIGITS
_LONGEST = 100
_FLOAT_NOISE = Decimal("1e-9")  # a double has 15 digits; a sum of thousands of them keeps ten
_PLAIN = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?", re.ASCII)
# Most amounts: nothing to check but the pattern.
_USUAL = re.compile(r"-?[0-9]{1,12}(?:\.[0-9]{1,4})?", re.ASCII)
PLAIN_AMOUNT = r"(?:0|[1-9][0-9]{0,11})(?:\.[0-9]{1,4})?"
"""Pattern of what `plain` writes, without a sign."""
_AS_WRITTEN = re.compile(PLAIN_AMOUNT, re.ASCII)
_PATTERN = r"^-?[0-9]{1,12}(\.[0-9]{1,4}0*)?$"
_ADVICE = 'send a decimal string in major units such as "49.90", or minor units in the field with the suffix _minor'


def to_money(value: object) -> Decimal:
    """Read an amount in major units: a plain decimal string, a JSON number or a `Decimal`.

    Args:
        value: What the producer sent. A float stands for its shortest decimal text, so 49.9 is exactly 49.9.

    Returns:
        The amount, with at most 4 decimal places; zeros beyond them are dropped.

    Raises:
        PydanticCustomError: Of type `money`, saying the rule that the value breaks.
    """
    if type(value) is str:
        text = value
    elif type(value) is float or type(value) is int:
        if not -_LIMIT < value < _LIMIT:
            raise _too_large()
        text = repr(value)
        if "e" in text:  # below 0.0001 in size
            text = format(Decimal(text), "f")
    elif isinstance(value, Decimal):
        if not value.is_finite() or abs(value) >= _LIMIT:
            raise _too_large()
        text = format(value, "f")
    else:
        raise PydanticCustomError("money", f"it should be an amount of money: {_ADVICE}")
    amount = Decimal(text) if _USUAL.fullmatch(text) else _unusual(text)
    return amount if amount else abs(amount)


def nearest_amount(value: float, places: int = MAX_DECIMAL_PLACES) -> Decimal | None:
    """Find the amount that a sum of binary floats was meant to be: 836.9999999999998 is 837.

    Args:
        value: A float. It has more decimal places than an amount of money.
        places: Most decimal places of the amount.

    Returns:
        The decimal with at most so many places that is within 1e-9 of the value, relative to it, without zeros at its
        end; for what is smaller than 1e-9 in size, 0, which is what is left of a sum that comes to nothing. None: there
        is no such decimal, or the value is too large.
    """
    if not -_LIMIT < value < _LIMIT:
        return None
    exact = Decimal(repr(value))
    amount = exact.quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN)
    if abs(exact - amount) > _FLOAT_NOISE * (abs(exact) if amount else 1) or abs(amount) >= _LIMIT:
        return None
    # Not `normalize`, which writes 1E+2 for 100.
    return Decimal(plain(amount).rstrip("0").rstrip(".")) if amount else Decimal(0)


def _unusual(text: str) -> Decimal:
    """Read an amount with leading zeros or zeros past the fourth place; raise for anything else."""
    found = _PLAIN.fullmatch(text) if len(text) <= _LONGEST else None
    if found is None:
        raise PydanticCustomError("money", f"it should be a plain decimal number: {_ADVICE}")
    sign, whole, places = found[1], found[2].lstrip("0"), (found[3] or "").rstrip("0")
    if len(whole) > MAX_WHOLE_DIGITS:
        raise _too_large()
    if len(places) > MAX_DECIMAL_PLACES:
        raise PydanticCustomError(
            "money", f"it should have at most 4 decimal places (a sum of floats? round it): {_ADVICE}"
        )
    return Decimal(f"{sign}{whole or 0}.{found[3][:MAX_DECIMAL_PLACES]}" if found[3] else f"{sign}{whole or 0}")


def _too_large() -> PydanticCustomError:
    return PydanticCustomError("money", "an amount of money should be finite and smaller than 1000000000000 in size")


def from_minor(value: object, currency: str, exponents: Mapping[str, int] = EXPONENTS) -> Decimal:
    """Turn an integer of minor units into major units: 4990 of EUR is 49.90, 4990 of JPY is 4990.

    Args:
        value: Minor units, a whole number.
        currency: ISO 4217 code in upper case; unknown codes have 2 decimal places.
        exponents: Decimal places by currency.

    Raises:
        PydanticCustomError: Of type `money`, when the value is no integer or too large.
    """
    if type(value) is not int:
        raise PydanticCustomError("money", "it should be a whole number of minor units, such as 4990 for 49.90 EUR")
    if abs(value) >= _LIMIT * 10_000:
        raise _too_large()
    return to_money(Decimal(value).scaleb(-exponents.get(currency, 2)))


def plain(amount: Decimal) -> str:
    """Write an amount as a plain decimal string: no exponent, the decimal places that it has."""
    return format(amount, "f")


def to_money_text(value: object) -> str:
    """Read an amount and write it: `plain(to_money(value))`, faster for an amount that is plain already.

    Raises:
        PydanticCustomError: As `to_money`.
    """
    if type(value) is str:
        text = value
    elif (type(value) is float or type(value) is int) and 0 <= value < _LIMIT:
        text = repr(value)
    else:
        return plain(to_money(value))
    return text if _AS_WRITTEN.fullmatch(text) else plain(to_money(value))


def revenue(properties: Mapping[str, Any] | None) -> Decimal | None:
    """The amount of an event: its `revenue`, else its `total` less `tax` and `shipping`; None when it has neither.

    Segment's `revenue` is without shipping and tax, `total` with them. One definition for every stage: conversions,
    profiles and reports all ask here.

    Args:
        properties: The `properties` of a canonical event; custom events may hold anything there.

    Returns:
        The amount in the event's currency, or None; a value that is no amount counts as absent. Tax and shipping that
        are more than the total were not in it, and are left alone.
    """
    if not properties:
        return None
    found = amount(properties, "revenue")
    if found is not None or (total := amount(properties, "total")) is None:
        return found
    rest = sum((abs(amount(properties, name) or Decimal(0)) for name in ("tax", "shipping")), Decimal(0))
    # A till may sign the total of goods that come back, and not the tax in it.
    net = total - rest.copy_sign(total)
    return net if net * total >= 0 else total


def amount(properties: Mapping[str, Any], name: str) -> Decimal | None:
    """Read one amount of an event's properties; None when it is absent or no amount."""
    value = properties.get(name)
    if value is None:
        return None
    try:
        return to_money(value)
    except PydanticCustomError:
        return None


Money = Annotated[
    str,
    PlainValidator(to_money_text),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": _PATTERN},
                {"type": "number", "exclusiveMinimum": -_LIMIT, "exclusiveMaximum": _LIMIT},
            ]
        }
    ),
]
"""An amount in major units of the event's currency, as `plain` writes it."""


class _CurrencyCode:
    """Validates the letters of a currency; those of a list in capitals, which most are, by a look-up."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.union_schema(
            [core_schema.literal_schema(sorted(KNOWN)), core_schema.no_info_plain_validator_function(read_code)],
            mode="left_to_right",
            custom_error_type="currency",
            custom_error_message=NO_CODE,
        )


Currency = Annotated[str, _CurrencyCode(), WithJsonSchema({"type": "string", "pattern": CODE_PATTERN})]
"""The three letters of ISO 4217, or those of a currency of the shop's own; lower case is read as upper case."""
