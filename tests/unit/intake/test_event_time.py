"""An event's time is never later than its arrival."""

from __future__ import annotations

from typing import Any

import pytest

from processors.intake.event_time import clamp_to_arrival
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
