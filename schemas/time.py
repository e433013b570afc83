"""Reads and writes times: the only module that turns one form of a time into another.

A time has three forms here, and each function is named `<result>_of_<argument>`:

* **text**: RFC 3339 in UTC with exactly three decimals and `Z`, `2026-11-22T10:15:30.123Z`, as all records carry it.
  Such texts sort in the order of their times.
* **ms**: whole milliseconds since 1970 in UTC, as profiles, timers and the stores keep it.
* **time**: a `datetime` with a zone, for arithmetic with days and zones.

What comes from outside is read by `parse_time` (strict: RFC 3339 with an offset) or `lenient_time` (any ISO 8601 text,
with a zone to fall back on). Dates without a time of day are no times; `datetime.date` reads and writes those.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from time import time_ns

from pydantic_core import PydanticCustomError

FIRST_YEAR, LAST_YEAR = 1970, 2100

_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,12})?(?P<offset>[Zz]|[+-]\d\d:?\d\d)?", re.ASCII)
# A time in UTC with milliseconds at least: the canonical text is its beginning and `Z`.
_UTC = re.compile(r"(?:19[7-9]\d|20\d\d)-\d\d-\d\dT(?:[01]\d|2[0-3]):\d\d:\d\d\.\d{3,12}(?:Z|\+00:00)", re.ASCII)
_ADVICE = "send RFC 3339 with an offset, such as 2026-11-22T10:15:30.123Z"


def parse_time(value: object) -> datetime:
    """Read an RFC 3339 time with an offset.

    Args:
        value: The text, or a `datetime` with an offset. Digits past milliseconds are cut off.

    Returns:
        The time in UTC, whole milliseconds.

    Raises:
        PydanticCustomError: Of type `time`, saying which rule it breaks.
    """
    if isinstance(value, str):
        found = _RFC_3339.fullmatch(value)
        if found is None:
            raise PydanticCustomError("time", f"it should be a time: {_ADVICE}")
        if found["offset"] is None:
            raise PydanticCustomError("time", f"it has no offset, so nobody can tell when it was: {_ADVICE}")
        try:
            time = datetime.fromisoformat(value.upper())
        except ValueError:
            raise PydanticCustomError("time", f"there is no such time: {_ADVICE}") from None
    elif isinstance(value, datetime):
        time = value
        if time.tzinfo is None:
            raise PydanticCustomError("time", f"it has no offset, so nobody can tell when it was: {_ADVICE}")
    else:
        raise PydanticCustomError("time", f"it should be a text: {_ADVICE}")
    # The year first: near the ends of the calendar a change of zone overflows.
    if FIRST_YEAR - 1 <= time.year <= LAST_YEAR + 1 and time.tzinfo is not UTC:
        time = time.astimezone(UTC)
    if not FIRST_YEAR <= time.year <= LAST_YEAR:
        raise PydanticCustomError("time", f"its year should be from {FIRST_YEAR} to {LAST_YEAR}: check the clock")
    surplus = time.microsecond % 1000
    return time.replace(microsecond=time.microsecond - surplus) if surplus else time


def parse_text(value: object) -> str:
    """Read an RFC 3339 time and write it: `text_of_time(parse_time(value))`, faster for a text in UTC.

    Raises:
        PydanticCustomError: As `parse_time`.
    """
    if isinstance(value, str) and _UTC.fullmatch(value):
        try:
            datetime.fromisoformat(value)
        except ValueError:
            pass  # parse_time words the error
        else:
            return value[:23] + "Z"
    return text_of_time(parse_time(value))


def lenient_time(text: str, zone: tzinfo | None) -> datetime:
    """Read an ISO 8601 date or time, as people and other systems write it.

    Args:
        text: The date (its midnight) or the time.
        zone: The zone of a text that states none; None refuses such a text.

    Raises:
        ValueError: The text is no time, or has no zone.
    """
    time = datetime.fromisoformat(text)
    if time.tzinfo is None:
        if zone is None:
            raise ValueError(f"{text!r} has no offset from UTC")
        time = time.replace(tzinfo=zone)
    return time


def utc(time: datetime) -> datetime:
    """Move a time to UTC; one without a zone is in UTC already, as the columns of ClickHouse are."""
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)


def text_of_time(time: datetime) -> str:
    """Write a time as all records carry it; one without a zone is in UTC. Digits past milliseconds are cut off."""
    if time.tzinfo is not UTC and time.tzinfo is not None:
        time = time.astimezone(UTC)
    return time.isoformat(timespec="milliseconds")[:23] + "Z"


@lru_cache(maxsize=4096)  # the records of a batch share their milliseconds
def text_of_ms(ms: int) -> str:
    """Write milliseconds since 1970 as all records carry a time."""
    return text_of_time(datetime.fromtimestamp(ms / 1000, UTC))


@lru_cache(maxsize=8192)  # every stage asks for the times of its event, several times over
def ms_of_text(text: str) -> int:
    """Read the time of a record as milliseconds since 1970.

    Raises:
        ValueError: The text is no time.
    """
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def ms_of_time(time: datetime) -> int:
    """The milliseconds from 1970 to a time that has a zone."""
    return round(time.timestamp() * 1000)


def time_of_ms(ms: float, zone: tzinfo = UTC) -> datetime:
    """The time that clocks of a zone show at these milliseconds since 1970."""
    return datetime.fromtimestamp(ms / 1000, zone)


def clock_ms() -> int:
    """The system's clock, in milliseconds since 1970. Processors are given a clock; they do not read this one."""
    return time_ns() // 1_000_000


def readable_text(time: datetime) -> str:
    """Write a time for people, in its own zone and to the second: `2026-11-22 10:15:30`."""
    return time.isoformat(" ", "seconds")[:19]
