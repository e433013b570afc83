"""Reading events: the values at a path, and filters on them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

from processors.segments.comparison import predicate
from schemas.money import revenue
from schemas.segments.conditions import Comparison

Event = dict[str, Any]
Reads = Callable[[Event], list[Any]]
Filter = Callable[[Event], bool]

PLACES = 10_000
"""Numbers in series are whole ten-thousandths, so that sums do not depend on the order of their parts."""
LARGEST = 10**10
"""Numbers beyond this size count as this."""


def values_at(path: str) -> Reads:
    """Compile a path, such as `properties.products.category`; of lists it reads every element.

    `revenue` is the event's worth: its revenue, else its total.
    """
    if path == "revenue":
        return lambda event: [] if (worth := revenue(event.get("properties"))) is None else [str(worth)]
    parts = path.split(".")
    return lambda event: _walk(event, parts, 0)


def matching(where: Mapping[str, Comparison], zone: ZoneInfo) -> Filter | None:
    """Compile a filter; None when it lets everything pass."""
    if not where:
        return None
    tests = [(values_at(path), _holds(comparison, zone)) for path, comparison in where.items()]

    def passes(event: Event) -> bool:
        return all(holds(read(event)) for read, holds in tests)

    return passes


def _holds(comparison: Comparison, zone: ZoneInfo) -> Callable[[list[Any]], bool]:
    """Compare what is at a path: any element will do; what may not be must be no element."""
    test = predicate(comparison, zone)
    if comparison.ne is not None or comparison.not_in is not None:
        return lambda found: test(found or None, 0)
    # Nothing there is a value too: that is what `exists: false` is about.
    return lambda found: any(test(value, 0) for value in found or (None,))


def scaled(value: object) -> int | None:
    """Read a number, or a text that is one, as ten-thousandths; None when it is none."""
    if type(value) is int:
        return max(-LARGEST, min(LARGEST, value)) * PLACES
    if type(value) is str or type(value) is float:
        try:
            number = Decimal(str(value))
        except InvalidOperation:
            return None
        if number.is_finite():
            return int((max(Decimal(-LARGEST), min(Decimal(LARGEST), number)) * PLACES).to_integral_value())
    return None


def _walk(value: Any, parts: list[str], at: int) -> list[Any]:
    if isinstance(value, list):
        return [found for element in value[:100] for found in _walk(element, parts, at)]
    if at == len(parts):
        return [] if value is None else [value]
    return _walk(value.get(parts[at]), parts, at + 1) if isinstance(value, dict) else []
