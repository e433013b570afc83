"""An event's time is never later than its arrival."""

from __future__ import annotations

from typing import Any

import pytest

from processors.intake.event_time import clamp_to_arrival, doubt_unset_clock
from schemas.time import ms_of_text
from tests.support.builders import touchpoint

RECEIVED_AT = "2026-11-22T10:15:30.123Z"
RECEIVED_MS = ms_of_text(RECEIVED_AT)


def clamped(**parts: Any) -> dict[str, Any]:
    event = touchpoint(**parts)
    clamp_to_arrival(event, RECEIVED_MS)
    return event


@pytest.mark.parametrize("occurred_at", ["1970-01-01T00:00:00.000Z", "2026-11-22T10:15:30.122Z", RECEIVED_AT])
def test_an_event_that_happened_by_its_arrival_is_left_as_it_is(occurred_at: str) -> None:
    event = touchpoint(occurred_at=occurred_at)

    assert clamped(**event) == event


def test_an_event_from_the_future_happened_when_it_arrived_and_keeps_the_original_in_its_context() -> None:
    event = clamped(occurred_at="2099-01-01T00:00:00.000Z")

    assert event["occurred_at"] == RECEIVED_AT
    assert event["context"] == {"original_timestamp": "2099-01-01T00:00:00.000Z"}


def test_the_rest_of_the_context_stays() -> None:
    event = clamped(occurred_at="2099-01-01T00:00:00.000Z", context={"locale": "de-DE"})

    assert event["context"] == {"locale": "de-DE", "original_timestamp": "2099-01-01T00:00:00.000Z"}


def test_what_the_client_said_itself_is_not_overwritten() -> None:
    said = {"original_timestamp": "2099-01-01T00:00:00+02:00"}
    event = clamped(occurred_at="2026-11-22T10:20:00.000Z", context=dict(said))

    assert event["occurred_at"] == RECEIVED_AT
    assert event["context"] == said


@pytest.mark.parametrize(
    ("occurred_at", "kept"), [("2026-11-22T10:15:31.122Z", False), ("2026-11-22T10:15:31.123Z", True)]
)
def test_an_original_that_is_less_than_a_second_off_is_not_kept(occurred_at: str, kept: bool) -> None:
    event = clamped(occurred_at=occurred_at)

    assert event["occurred_at"] == RECEIVED_AT
    assert ("context" in event) == kept


def doubted(occurred_at: str, received_ms: int = RECEIVED_MS, **context: Any) -> dict[str, Any]:
    event = touchpoint(occurred_at=occurred_at, context=context)
    doubt_unset_clock(event, received_ms)
    return event


def is_believed(occurred_at: str, **context: Any) -> bool:
    event = doubted(occurred_at, **context)
    return (occurred_at, context) == (event["occurred_at"], event["context"])


UNSET = [
    pytest.param("1970-01-01T00:00:00.000Z", id="never set"),
    pytest.param("1970-01-01T13:59:59.000Z", id="never set, some hours later"),
    pytest.param("1970-01-02T11:59:59.999Z", id="never set, at the end of the day in the west"),
]
LIVE_UNSET = [
    pytest.param("1970-06-01T00:00:00.000Z", id="never set, months later"),
    pytest.param("1980-01-01T00:00:12.000Z", id="the epoch of PCs"),
    pytest.param("1980-01-06T00:00:00.000Z", id="the epoch of GPS"),
    pytest.param("1999-12-31T10:00:00.000Z", id="a flat battery in Kiribati"),
    pytest.param("1999-12-31T23:00:00.000Z", id="a flat battery in Berlin"),
    pytest.param("2000-01-01T00:00:00.000Z", id="a flat battery"),
    pytest.param("2000-01-02T07:59:59.000Z", id="a flat battery in California, at the end of the day"),
]


@pytest.mark.parametrize("occurred_at", UNSET + LIVE_UNSET)
def test_what_an_unset_clock_shows_is_dated_by_the_arrival_marked_and_kept(occurred_at: str) -> None:
    event = doubted(occurred_at, locale="de")

    assert RECEIVED_AT == event["occurred_at"]
    assert {"original_timestamp": occurred_at, "locale": "de", "time_doubtful": True} == event["context"]


@pytest.mark.parametrize("occurred_at", UNSET)
def test_no_history_begins_with_the_clock_of_unix(occurred_at: str) -> None:
    assert doubted(occurred_at, historical=True)["context"]["time_doubtful"]


@pytest.mark.parametrize("occurred_at", LIVE_UNSET)
def test_history_may_have_happened_on_any_other_day(occurred_at: str) -> None:
    assert is_believed(occurred_at, historical=True)


@pytest.mark.parametrize(
    "occurred_at",
    [
        "1980-01-07T12:00:00.000Z", "1985-06-01T10:00:00.000Z", "1999-12-31T09:59:59.999Z", "2000-01-02T12:00:00.000Z",
        "2005-01-01T00:00:00.000Z", "2005-07-14T09:00:00.000Z", "2026-11-22T10:15:30.000Z",
    ],
)  # fmt: skip
def test_any_other_time_is_the_producers_affair_however_old(occurred_at: str) -> None:
    assert is_believed(occurred_at, locale="de")


@pytest.mark.parametrize("occurred_at", ["1970-01-01T00:00:00.000Z", "2000-01-01T08:00:00.000Z"])
def test_an_arrival_by_the_same_clock_says_nothing(occurred_at: str) -> None:
    received_ms = ms_of_text(occurred_at) + 3_600_000

    assert occurred_at == doubted(occurred_at, received_ms)["occurred_at"]


def test_the_time_that_a_client_stated_itself_stays_beside_the_event() -> None:
    said = "0001-01-01T00:00:00Z"

    assert said == doubted("1970-01-01T00:00:00.000Z", original_timestamp=said)["context"]["original_timestamp"]
