"""When a delay ends: moments where the person lives, and dates that an event or a trait tells.

All times are milliseconds since 1970. Wall-clock times follow the zone's rules: an hour that a spring night skips is an
hour later, and of an hour that an autumn night repeats the first one counts.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from processors.decisions import calendar
from schemas.journeys.definitions import WEEKDAYS, LocalMoment
from schemas.time import lenient_time, ms_of_time, time_of_ms

_MIDNIGHT = time()


def moment(wanted: LocalMoment, stated: Any, now_ms: int, local: ZoneInfo) -> int | None:
    """Work out the next moment that a step waits for.

    Args:
        wanted: The step.
        stated: The value of its `date`, as an event or a trait states it; unused without one.
        now_ms: The moment at which the step was reached.
        local: The person's time zone.

    Returns:
        A time not before `now_ms`; None if the date is not known, not a date, or has passed.
    """
    if wanted.date is None:
        assert wanted.hour is not None
        return _next_hour(wanted.hour, wanted.weekdays, now_ms, local)
    at = _date(stated, wanted.hour, local)
    if at is None:
        return None
    if wanted.every_year:
        return _next_anniversary(at, wanted.offset, now_ms, local)
    due = ms_of_time(at) + wanted.offset
    return due if due >= now_ms else None


def ahead(wanted: LocalMoment, stated: Any, now_ms: int, local: ZoneInfo) -> bool:
    """Tell whether the date itself, whatever the offset, is still to come; arguments as for `moment`."""
    at = _date(stated, wanted.hour, local)
    return at is not None and ms_of_time(at) > now_ms


def _next_hour(hour: time, weekdays: tuple[str, ...] | None, now_ms: int, local: ZoneInfo) -> int:
    today = time_of_ms(now_ms, local).date()
    for days in range(9):
        day = today + timedelta(days)
        if weekdays and WEEKDAYS[day.weekday()] not in weekdays:
            continue
        if (due := calendar.moment(day, hour, local)) >= now_ms:
            return due
    raise AssertionError("a week has every weekday")


def _date(stated: Any, hour: time | None, local: ZoneInfo) -> datetime | None:
    """Read a date or a time as a moment; without an offset from UTC it is the person's local time."""
    if type(stated) is not str:
        return None
    try:
        if len(stated) <= len("2026-12-31"):
            return datetime.combine(date.fromisoformat(stated), hour or _MIDNIGHT, local)
        at = lenient_time(stated, local)
        return datetime.combine(at.astimezone(local).date(), hour, local) if hour else at
    except (ValueError, OverflowError):
        return None


def _next_anniversary(first: datetime, offset: int, now_ms: int, local: ZoneInfo) -> int | None:
    this_year = time_of_ms(now_ms - offset, local).year
    for year in (this_year, this_year + 1):
        try:
            day = first.date().replace(year=year)
        except ValueError:
            day = date(year, 2, 28)
        due = calendar.moment(day, first.time(), local) + offset
        if due > now_ms:
            return due
    return None
