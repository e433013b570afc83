"""Paths into events, and filters on the values there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

from processors.segments.comparison import predicate
from schemas.money import revenue
from schemas.segments.conditions import Comparison

Event = dict[str, Any]
ReadValues = Callable[[Event], list[Any]]
Filter = Callable[[Event], bool]

SCALE = 10_000
"""Numbers in series are integers in units of 1 / SCALE, so that sums do not depend on the order of addition."""
MAX_NUMBER = 10**10
"""Numbers in series are limited to this size."""


def values_at(path: str) -> ReadValues:
    """Compile a path, such as `properties.products.category`, into a function that returns the values there.

    A list on the path stands for all of its elements. The path `revenue` is the event's revenue, else its total.
    """
    if path == "revenue":
        return lambda event: [] if (amount := revenue(event.get("properties"))) is None else [str(amount)]
    parts = path.split(".")
    return lambda event: _walk(event, parts, 0)


def matching(where: Mapping[str, Comparison], zone: ZoneInfo) -> Filter | None:
    """Compile a filter; None if it has no conditions."""
    if not where:
        return None
    tests = [(values_at(path), _holds(comparison, zone)) for path, comparison in where.items()]

    def passes(event: Event) -> bool:
        return all(holds(read(event)) for read, holds in tests)

    return passes


def _holds(comparison: Comparison, zone: ZoneInfo) -> Callable[[list[Any]], bool]:
    """Compare the values at a path: one has to match, but for `ne` and `not_in` all of them."""
    test = predicate(comparison, zone)
    if comparison.ne is not None or comparison.not_in is not None:
        return lambda found: test(found or None, 0)
    # No value is compared as None, for `exists: false`.
    return lambda found: any(test(value, 0) for value in found or (None,))


def scaled(value: object) -> int | None:
    """Return a number, or a text that is one, in units of 1 / SCALE; None for anything else."""
    if type(value) is int:
        return max(-MAX_NUMBER, min(MAX_NUMBER, value)) * SCALE
    if type(value) is str or type(value) is float:
        try:
            number = Decimal(str(value))
        except InvalidOperation:
            return None
        if number.is_finite():
            return int((max(Decimal(-MAX_NUMBER), min(Decimal(MAX_NUMBER), number)) * SCALE).to_integral_value())
    return None


def _walk(value: Any, parts: list[str], at: int) -> list[Any]:
    if isinstance(value, list):
        return [found for element in value[:100] for found in _walk(element, parts, at)]
    if at == len(parts):
        return [] if value is None else [value]
    return _walk(value.get(parts[at]), parts, at + 1) if isinstance(value, dict) else []
