"""Reads and writes the durations of definitions: `30m`, `24h`, `7d`, or in words, `30 minutes`, `7 days`."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, WithJsonSchema

SECOND_MS = 1000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS
DAY_MS = 24 * HOUR_MS
DAY_S = DAY_MS // SECOND_MS
WEEK_MS = 7 * DAY_MS
MAX_DURATION_MS = 3660 * DAY_MS
"""The longest duration, ten years: a typing error must not give a time after the last date of the calendar."""

DEFINITION_FILE = "written"
"""Validation context of a definition file, in which a bare number such as `delay: 5` is an error."""

_UNITS = {"second": SECOND_MS, "minute": MINUTE_MS, "hour": HOUR_MS, "day": DAY_MS, "week": WEEK_MS}
_SHORT = {"s": "second", "m": "minute", "min": "minute", "h": "hour", "d": "day", "w": "week"}
_WRITTEN = re.compile(r"(\d{1,9})\s*([a-z]+)")


def parse_duration(written: object) -> object:
    """Return the milliseconds of `7d` or `7 days`; a value that is not a text is returned as it is.

    Raises:
        ValueError: The text is not a whole number and a unit.
    """
    if not isinstance(written, str):
        return written
    match = _WRITTEN.fullmatch(written.strip().lower())
    unit = match and _UNITS.get(_SHORT.get(match[2], match[2].removesuffix("s")))
    if not match or not unit:
        raise ValueError(f"{written!r} is not a length of time such as 30m, 24h or 7 days")
    return int(match[1]) * unit


def parse_definition_duration(value: object, info: ValidationInfo) -> object:
    """Read a duration; in a file that people write (context `DEFINITION_FILE`) it must have a unit.

    Raises:
        ValueError: As `parse_duration`, or a bare number in such a file.
    """
    if info.context == DEFINITION_FILE and type(value) in (int, float):
        raise ValueError(f"{value} has no unit: write it as 30m, 24h or 7 days")
    return parse_duration(value)


def duration_text(length_ms: int) -> str:
    """Write a duration in the largest unit up to days of which it is a whole number: `14 days`, `1 hour`."""
    units = ((name, size) for name, size in reversed(_UNITS.items()) if name != "week")
    unit, size = next(((name, size) for name, size in units if length_ms % size == 0), ("millisecond", 1))
    count = length_ms // size
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"


Duration = Annotated[
    int,
    BeforeValidator(parse_definition_duration),
    Field(ge=0, le=MAX_DURATION_MS),
    WithJsonSchema({"type": "string", "examples": ["30m", "24h", "7 days"]}),
]
"""A duration in milliseconds, written as text in a definition."""


def prediction_period_ms(written: str) -> int:
    """Return how old predictions may become, such as `24h`, in milliseconds.

    Raises:
        ValueError: It is no length of time, or less than 10 minutes: a fit takes minutes.
    """
    period_ms = parse_duration(written)
    if not isinstance(period_ms, int) or period_ms < 10 * MINUTE_MS:
        raise ValueError(f"{written!r} is less than 10 minutes")
    return period_ms


def _is_safe_retention(days: int) -> int:
    if 0 < days < SHORTEST_RETENTION_DAYS:
        raise ValueError(f"fewer than {SHORTEST_RETENTION_DAYS} days: events of that age may still be on their way")
    return days


SHORTEST_RETENTION_DAYS = 60
"""For how many days people are known at least: longer than an event may be on its way."""
RetentionDays = Annotated[int, Field(ge=0), AfterValidator(_is_safe_retention)]
"""For how many days people are known; 0: for ever."""
