"""Comparisons of a value, compiled, and the times at which their results may change without an event."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from schemas.segments.conditions import Comparison, given_comparisons
from schemas.time import ms_of_time, stated_day

Predicate = Callable[[Any, int], bool]
"""Takes a value and the time of the evaluation in milliseconds; returns whether the comparison holds."""


def predicate(comparison: Comparison, zone: ZoneInfo, *, recorded: bool = False, is_trait: bool = False) -> Predicate:
    """Compile a comparison.

    Args:
        comparison: What the value is compared with; all that is given must hold.
        zone: Time zone in which a date begins.
        recorded: The value is the time of an event, which counts as past even if the clock of its source is ahead.
        is_trait: The value is a trait, see `milliseconds_of`.
    """
    tests = [_test(key, operand, zone, recorded, is_trait) for key, operand in given_comparisons(comparison).items()]
    if len(tests) == 1:
        return tests[0]
    return lambda value, now: all(test(value, now) for test in tests)


def thresholds(comparison: Comparison) -> list[float]:
    """Return the numbers at which the result for a growing number may change, ascending."""
    found: list[float] = [
        limit for key in ("gt", "gte", "lt", "lte") if (limit := getattr(comparison, key)) is not None
    ]
    for key in ("eq", "ne"):
        if (value := getattr(comparison, key)) is not None:
            found.append(value)
    found += [*(comparison.in_ or ()), *(comparison.not_in or ())]  # type: ignore[list-item]
    return sorted({float(value) for value in found if isinstance(value, int | float)})


def change_times(comparison: Comparison, at: int) -> Iterable[int]:
    """Return the times in milliseconds at which the result for the time `at` may change."""
    found = [at, at + 1]
    for span in (comparison.within, comparison.older_than):
        if span is not None:
            found.append(at + span)
    if comparison.within_next is not None:
        found.append(at - comparison.within_next)
    return found


def milliseconds_of(value: Any, zone: ZoneInfo, *, is_trait: bool = False) -> int | None:
    """Return a time in milliseconds since 1970.

    Args:
        value: A number of milliseconds; a date, which is its midnight; or a time as text.
        zone: The zone of dates, and of texts without one.
        is_trait: A time at midnight in UTC, or in the offset that it states, is how a date was written.

    Returns:
        The time; None for what is none.
    """
    if type(value) is int:
        return value
    if type(value) is not str or (found := stated_day(value, zone)) is None or not found.year:
        return None
    is_date = found.at is None or (is_trait and found.is_whole)
    return ms_of_time(found.start(zone) if is_date or found.at is None else found.at)


def _test(key: str, operand: Any, zone: ZoneInfo, recorded: bool, is_trait: bool) -> Predicate:
    """Compile one comparison."""
    if key in ("before", "after", "within", "within_next", "older_than"):
        return _time_test(key, operand, zone, recorded, is_trait)
    if key in ("gt", "gte", "lt", "lte"):
        return _number_test(key, operand)
    if key == "exists":
        return lambda value, now: (value is not None) is operand
    if key in ("contains", "starts_with", "ends_with"):
        return _text_test(key, operand)
    among = [operand] if key in ("eq", "ne") else list(operand)
    same = frozenset(_plain(one) for one in among)
    if key in ("eq", "in"):
        return lambda value, now: value is not None and _is_among(value, same)
    return lambda value, now: value is None or not _is_among(value, same)


def _plain(value: Any) -> Any:
    """Return a value in a form for comparing: numbers by their value, so that 49.9 equals 49.90; true is not 1."""
    if type(value) is bool:
        return (value,)
    if type(value) is float:
        return Decimal(repr(value))
    return value


def _is_among(value: Any, operand: frozenset[Any]) -> bool:
    if type(value) is list:
        return any(_is_among(element, operand) for element in value)
    if type(value) is dict:
        return False
    # Money is a text in events: "49.90" equals 49.9.
    return _plain(value) in operand or (
        type(value) is str and (number := _number(value)) is not None and number in operand
    )


def _number_test(key: str, operand: float) -> Predicate:
    limit: Any = int(operand) if operand == int(operand) else Decimal(repr(operand))
    if key == "gte":
        return lambda value, now: (number := _number(value)) is not None and number >= limit
    if key == "gt":
        return lambda value, now: (number := _number(value)) is not None and number > limit
    if key == "lte":
        return lambda value, now: (number := _number(value)) is not None and number <= limit
    return lambda value, now: (number := _number(value)) is not None and number < limit


def _number(value: Any) -> Any:
    """Return a number; a text is read as one, as money is a text in events; None for anything else."""
    kind = type(value)
    if kind is int or kind is Decimal:
        return value
    if kind is float:
        return Decimal(repr(value))
    if kind is str and len(value) <= 30:
        try:
            number = Decimal(value)
        except ArithmeticError:
            return None
        return number if number.is_finite() else None
    return None


def _text_test(key: str, operand: Any) -> Predicate:
    text = str(operand).lower()
    if key == "contains":
        return lambda value, now: (
            text in value.lower()
            if type(value) is str
            else type(value) is list and any(str(element).lower() == text for element in value)
        )
    if key == "starts_with":
        return lambda value, now: type(value) is str and value.lower().startswith(text)
    return lambda value, now: type(value) is str and value.lower().endswith(text)


def _time_test(key: str, operand: Any, zone: ZoneInfo, recorded: bool, is_trait: bool) -> Predicate:
    read = partial(milliseconds_of, zone=zone, is_trait=is_trait)
    if key in ("before", "after"):
        limit = milliseconds_of(operand, zone) or 0
        if key == "before":
            return lambda value, now: (at := read(value)) is not None and at < limit
        return lambda value, now: (at := read(value)) is not None and at >= limit
    if key == "within":
        return lambda value, now: (at := read(value)) is not None and (now - operand < at and (recorded or at <= now))
    if key == "older_than":
        return lambda value, now: (at := read(value)) is not None and at <= now - operand
    return lambda value, now: (at := read(value)) is not None and now < at <= now + operand
