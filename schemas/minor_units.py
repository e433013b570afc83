"""Minor units of providers: where a provider's amounts have other decimal places than ISO 4217 says.

A source names its provider, or has a map of its own (`minor_units` in `sources.yaml`). Then its fields with the suffix
`_minor` are read by that, wherever its events come in. The tables are `schemas.money.MINOR_UNITS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic_core import PydanticCustomError

from schemas.currencies import currency_code
from schemas.money import from_minor, plain

MINOR = "_minor"
"""Suffix of a field that holds whole minor units."""

_AMOUNTS = tuple(
    name + MINOR
    for name in (
        "revenue", "total", "subtotal", "value", "price", "shipping", "tax", "discount", "refunded_total",
        "previous_price",
    )
)  # fmt: skip


def in_units_of(event: dict[str, Any], places: Mapping[str, int]) -> dict[str, Any]:
    """Convert the amounts in minor units of a source with decimal places of its own.

    Args:
        event: A parsed event that is not validated yet; it is left alone.
        places: Decimal places by currency, where they are not 2.

    Returns:
        The event with those amounts in major units, a copy where anything changed. What is no
        whole number of a currency is left for the validation, which knows the rules and names the field.
    """
    properties = event.get("properties")
    if not isinstance(properties, dict):
        return event
    currency = properties.get("currency")
    converted = _converted(properties, currency, places)
    products = properties.get("products")
    if isinstance(products, list):
        lines = [
            _converted(line, line.get("currency") or currency, places) if isinstance(line, dict) else line
            for line in products
        ]
        if any(line is not given for line, given in zip(lines, products, strict=True)):
            converted = {**converted, "products": lines}
    return event if converted is properties else {**event, "properties": converted}


def _converted(part: dict[str, Any], currency: object, places: Mapping[str, int]) -> dict[str, Any]:
    if not isinstance(currency, str):
        return part
    changed = part
    for name in [name for name in _AMOUNTS if name in part]:
        major = name.removesuffix(MINOR)
        if part.get(major) is not None:
            continue
        try:
            amount = plain(from_minor(part[name], currency_code(currency) or currency.upper(), places))
        except PydanticCustomError:
            continue
        changed = {**changed, major: amount}
        del changed[name]
    return changed
