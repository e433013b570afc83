"""Due times in the time zone of a person."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import pytest

from processors.journeys.timers import due_time
from schemas.journeys.definitions import LocalTime
from tests.support.stories import moment as ms

BERLIN = ZoneInfo("Europe/Berlin")


def found(now: str, stated: Any = None, **wanted: Any) -> int | None:
    return due_time(LocalTime(**wanted), stated, ms(now), BERLIN)


@pytest.mark.parametrize(
    ("now", "wanted", "expected"),
    [
        ("2026-11-02T08:00:00Z", {"time": "10:00"}, "2026-11-02T09:00:00Z"),
        ("2026-11-02T09:00:00Z", {"time": "10:00"}, "2026-11-02T09:00:00Z"),
        ("2026-11-02T09:00:01Z", {"time": "10:00"}, "2026-11-03T09:00:00Z"),
        ("2026-11-02T09:00:01Z", {"time": "10:00", "weekdays": ("monday",)}, "2026-11-09T09:00:00Z"),
        ("2026-11-01T23:30:00Z", {"time": "10:00", "weekdays": ("monday",)}, "2026-11-02T09:00:00Z"),
        ("2027-03-27T12:00:00Z", {"time": "12:00"}, "2027-03-28T10:00:00Z"),
    ],
    ids=["later today", "now", "tomorrow", "in a week", "it is Monday there already", "a summer day is an hour early"],
)
def test_the_next_such_hour(now: str, wanted: dict[str, Any], expected: str) -> None:
    assert ms(expected) == found(now, **wanted)


@pytest.mark.parametrize(
    ("stated", "wanted", "expected"),
    [
        ("2026-11-20", {}, "2026-11-19T23:00:00Z"),
        ("2026-11-20", {"time": "09:00"}, "2026-11-20T08:00:00Z"),
        ("2026-11-20T18:00:00Z", {}, "2026-11-20T18:00:00Z"),
        ("2026-11-20T18:00:00", {}, "2026-11-20T17:00:00Z"),
        ("2026-11-20T23:30:00Z", {"time": "09:00"}, "2026-11-21T08:00:00Z"),
        ("2026-11-20", {"offset": "-2d"}, "2026-11-17T23:00:00Z"),
        ("2026-11-01", {}, None),
        ("2026-11-01", {"offset": "2d"}, "2026-11-02T23:00:00Z"),
        ("tomorrow", {}, None),
        (20261120, {}, None),
        (None, {}, None),
    ],
    ids=[
        "the start of a day", "an hour of a day", "a moment", "a moment there", "an hour of the day that it is there",
        "days before", "passed", "passed, but not what is asked for", "not a date", "a number", "not known",
    ],
)  # fmt: skip
def test_a_date(stated: Any, wanted: dict[str, Any], expected: str | None) -> None:
    at = found("2026-11-02T12:00:00Z", stated, date="event.starts_at", **wanted)

    assert (ms(expected) if expected else None) == at


@pytest.mark.parametrize(
    ("now", "birthday", "expected"),
    [
        ("2026-11-02T12:00:00Z", "1990-12-24", "2026-12-24T08:00:00Z"),
        ("2026-12-24T12:00:00Z", "1990-12-24", "2027-12-24T08:00:00Z"),
        ("2026-11-02T12:00:00Z", "1992-02-29", "2027-02-28T08:00:00Z"),
        ("2027-11-02T12:00:00Z", "1992-02-29", "2028-02-29T08:00:00Z"),
    ],
    ids=["this year", "next year", "the 28th in other years", "the 29th in a leap year"],
)
def test_a_day_of_every_year(now: str, birthday: str, expected: str) -> None:
    assert ms(expected) == found(now, birthday, date="trait.birthday", every_year=True, time="09:00")
