"""Timers: local times of the person, and dates from events or traits.

All times are milliseconds since 1970. Local times follow the rules of the zone: a time that is skipped in spring is an
hour later, and of a time that is repeated in autumn the first one is used.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from processors.decisions import calendar
from schemas.journeys.definitions import LocalTime
from schemas.journeys.values import WEEKDAYS
from schemas.time import ms_of_time, stated_day, time_of_ms


def due_time(definition: LocalTime, date_value: Any, now_ms: int, local: ZoneInfo) -> int | None:
    """Return the next time that a step waits for.

    Args:
        definition: The local time that the step defines.
        date_value: The value of its `date` in an event or a trait; unused without `date`.
        now_ms: The time at which the step was reached.
        local: The person's time zone.

    Returns:
        A time not before `now_ms`; None if the date is not known, not a date, or has passed.
    """
    if definition.date is None:
        assert definition.hour is not None
        return _next_hour(definition.hour, definition.weekdays, now_ms, local)
    at = _date(definition, date_value, local)
    if at is None:
        return None
    if definition.every_year:
        return _next_anniversary(at, definition.offset, now_ms, local)
    due = ms_of_time(at) + definition.offset
    return due if due >= now_ms else None


def is_ahead(definition: LocalTime, date_value: Any, now_ms: int, local: ZoneInfo) -> bool:
    """Return whether the date, without the offset, is in the future; arguments as for `due_time`."""
    at = _date(definition, date_value, local)
    return at is not None and ms_of_time(at) > now_ms


def _next_hour(hour: time, weekdays: tuple[str, ...] | None, now_ms: int, local: ZoneInfo) -> int:
    today = time_of_ms(now_ms, local).date()
    for days in range(9):
        day = today + timedelta(days)
        if weekdays and WEEKDAYS[day.weekday()] not in weekdays:
            continue
        if (due := calendar.ms_of_local_time(day, hour, local)) >= now_ms:
            return due
    raise AssertionError("a week has every weekday")


def _date(definition: LocalTime, date_value: Any, local: ZoneInfo) -> datetime | None:
    """Read a date or a time, on the person's clock."""
    found = stated_day(date_value, local)
    if found is None or not (found.year or definition.every_year):
        return None
    if definition.hour:
        return datetime.combine(found.start(local).date(), definition.hour, local)
    # Midnight in a property of an event is when something happens; in a trait it is how a date was written.
    if found.at is None or (found.is_whole and (definition.date or "").startswith("trait.")):
        return found.start(local)
    return found.at.astimezone(local)


def _next_anniversary(first: datetime, offset: int, now_ms: int, local: ZoneInfo) -> int | None:
    this_year = time_of_ms(now_ms - offset, local).year
    for year in (this_year, this_year + 1):
        try:
            day = first.date().replace(year=year)
        except ValueError:
            day = date(year, 2, 28)
        due = calendar.ms_of_local_time(day, first.time(), local) + offset
        if due > now_ms:
            return due
    return None
