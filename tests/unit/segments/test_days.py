"""Birthdays and other days in traits: segments and timers agree on the day, whoever wrote it."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import pytest

from processors.journeys.timers import due_time
from processors.segments.comparison import milliseconds_of
from processors.segments.computed_attributes import readers
from processors.segments.conditions import Compiler
from processors.segments.evaluation import EvaluationContext
from schemas.journeys.definitions import LocalTime
from schemas.segments.conditions import Condition
from schemas.segments.definitions import SegmentDefinitions
from schemas.time import ms_of_text, time_of_ms

UTC, BERLIN = ZoneInfo("UTC"), ZoneInfo("Europe/Berlin")


def context_of(birthday: Any, timezone: str, section: str, now: str) -> EvaluationContext:
    document: dict[str, Any] = {"traits": {"birthday": [birthday, 1]}}
    document.setdefault(section, {})["timezone"] = [timezone, 1]
    return EvaluationContext("p", document, {}, ms_of_text(now))


@pytest.mark.parametrize("section", ["traits", "known"])
@pytest.mark.parametrize(
    ("birthday", "timezone", "day"),
    [
        ("1990-05-15T00:00:00.000Z", "America/New_York", "05-15"),
        ("1990-05-14T22:00:00.000Z", "Europe/Berlin", "05-15"),
        ("1990-05-15", "Asia/Tokyo", "05-15"),
        ("1990-05-14T15:00:00Z", "Asia/Tokyo", "05-15"),
        ("--05-15", "America/New_York", "05-15"),
        (642_729_600_000, "America/New_York", "05-15"),
        ("1992-02-29T00:00:00Z", "America/New_York", "02-29"),
        ("1990-05-14T22:00:00.000Z", "America/New_York", "05-14"),
    ],
)
def test_segment_and_greeting_agree_on_the_birthday(birthday: Any, timezone: str, day: str, section: str) -> None:
    context = context_of(birthday, timezone, section, "2028-01-01T12:00:00Z")
    found = {name: readers(SegmentDefinitions())[name].read(context) for name in ("birthday", "birthday.days_until")}
    zone = ZoneInfo(timezone)
    wanted = LocalTime(date="trait.birthday", every_year=True, time="09:00")
    due = due_time(wanted, birthday, context.now_ms, zone)

    assert day == found["birthday"]
    assert due is not None
    assert f"2028-{day} 09:00" == f"{time_of_ms(due, zone):%Y-%m-%d %H:%M}"
    assert found["birthday.days_until"] == (time_of_ms(due, zone).date() - context.local_time().date()).days


@pytest.mark.parametrize("birthday", ["1990-02-29", "04/05/1990", 19900515, "0001-01-01T00:00:00Z", True, None])
def test_what_is_no_day_is_neither_a_birthday_nor_due(birthday: Any) -> None:
    context = context_of(birthday, "Europe/Berlin", "known", "2026-11-02T12:00:00Z")
    wanted = LocalTime(date="trait.birthday", every_year=True, time="09:00")

    assert [None] * 3 == [
        readers(SegmentDefinitions())[name].read(context) for name in ("birthday", "birthday.days_until", "age")
    ]
    assert due_time(wanted, birthday, context.now_ms, BERLIN) is None


def test_the_age_is_that_of_the_day_meant() -> None:
    ages = [
        readers(SegmentDefinitions())["age"].read(context_of("1990-05-14T22:00:00.000Z", zone, "traits", now))
        for zone, now in (
            ("Europe/Berlin", "2026-05-14T21:59:00.000Z"),
            ("Europe/Berlin", "2026-05-14T22:00:00.000Z"),
            ("America/New_York", "2026-05-14T04:00:00.000Z"),
        )
    ]

    assert [35, 36, 36] == ages


@pytest.mark.parametrize(
    ("value", "is_trait", "expected"),
    [
        ("2026-12-24", True, "2026-12-23T23:00:00.000Z"),
        ("2026-12-24T00:00:00.000Z", True, "2026-12-23T23:00:00.000Z"),
        ("2026-12-24T00:00:00.000Z", False, "2026-12-24T00:00:00.000Z"),
        ("2026-12-23T23:00:00.000Z", True, "2026-12-23T23:00:00.000Z"),
        ("2026-12-24T18:30:00Z", True, "2026-12-24T18:30:00.000Z"),
        ("2026/12/24", True, "2026-12-23T23:00:00.000Z"),
        ("12-24", True, None),
        ("24.12.2026", True, None),
    ],
)
def test_a_date_in_a_trait_is_compared_as_that_day(value: str, is_trait: bool, expected: str | None) -> None:
    found = milliseconds_of(value, BERLIN, is_trait=is_trait)

    assert (ms_of_text(expected) if expected else None) == found


@pytest.mark.parametrize(
    ("stated", "date", "expected"),
    [
        ("2026-12-24T00:00:00Z", "trait.renewal", "2026-12-23T23:00:00.000Z"),
        ("2026-12-24T00:00:00Z", "event.starts_at", "2026-12-24T00:00:00.000Z"),
        ("2026-12-24T18:00:00Z", "trait.appointment", "2026-12-24T18:00:00.000Z"),
        ("12-24", "trait.renewal", None),
    ],
)
def test_a_timer_knows_a_day_from_a_time(stated: str, date: str, expected: str | None) -> None:
    due = due_time(LocalTime(date=date), stated, ms_of_text("2026-11-02T12:00:00Z"), BERLIN)

    assert (ms_of_text(expected) if expected else None) == due


@pytest.mark.parametrize(
    ("renewal", "holds"),
    [
        ("2026-12-24T00:00:00.000Z", False),
        ("2026-12-23T00:00:00.000Z", True),
        ("2026-12-23T22:59:59.000Z", True),
    ],
)
def test_a_trait_before_a_date_is_before_that_day(renewal: str, holds: bool) -> None:
    new_york = ZoneInfo("America/New_York")
    condition = Condition.model_validate({"attribute": "traits.renewal", "before": "2026-12-24"})
    context = context_of(None, "America/New_York", "known", "2026-11-02T12:00:00Z")
    context.document["traits"]["renewal"] = [renewal, 1]

    assert holds is Compiler(SegmentDefinitions(), new_york).compile(condition).evaluate(context)[0]
