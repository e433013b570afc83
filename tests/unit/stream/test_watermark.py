"""Timers never run ahead of events that are known to wait."""

from __future__ import annotations

import pytest

from processors.stream.watermark import Watermark
from tests.support.profiles import resolved

RECEIVED = "2026-11-01T12:00:00.000Z"
RECEIVED_MS = 1_793_534_400_000


class Clock:
    """A clock that the test sets."""

    def __init__(self, now: int) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now


def received(at: str) -> dict[str, object]:
    return {**resolved(), "received_at": at}


def assigned(clock: Clock) -> Watermark:
    watermark = Watermark(clock)
    watermark.assign()
    return watermark


def test_nothing_fires_before_there_is_something_to_read() -> None:
    clock = Clock(RECEIVED_MS)
    watermark = Watermark(clock)
    clock.now += 3_600_000

    assert (False, 0) == (watermark.assigned, watermark.current())


def test_what_waited_during_an_outage_is_applied_before_timers_fire() -> None:
    clock = Clock(RECEIVED_MS)
    watermark = assigned(clock)
    at_once = watermark.current()
    clock.now += Watermark.QUIET_MS + 1

    assert (0, clock.now) == (at_once, watermark.current())


def test_under_load_time_is_when_the_oldest_event_in_hand_was_received() -> None:
    clock = Clock(RECEIVED_MS + 7_200_000)
    watermark = assigned(clock)
    watermark.observe([received("2026-11-01T12:00:01.000Z"), received(RECEIVED), received("2026-11-01T12:00:02.000Z")])
    clock.now += 60_000  # a batch that takes long is still a batch in hand

    assert RECEIVED_MS == watermark.current()


def test_between_two_batches_it_is_still_load_and_afterwards_it_is_now() -> None:
    clock = Clock(RECEIVED_MS + 7_200_000)
    watermark = assigned(clock)
    watermark.observe([received(RECEIVED)])
    watermark.advance()
    clock.now += Watermark.QUIET_MS
    between = watermark.current()
    clock.now += 1

    assert (RECEIVED_MS, clock.now) == (between, watermark.current())


def test_an_event_of_the_future_lets_no_timer_fire_early() -> None:
    clock = Clock(RECEIVED_MS - 60_000)
    watermark = assigned(clock)
    watermark.observe([received(RECEIVED)])

    assert clock.now == watermark.current()


@pytest.mark.parametrize(
    "events", [[], [{}], [{"received_at": "yesterday"}], [{"received_at": None}]], ids=["none", "empty", "text", "null"]
)
def test_what_is_no_event_changes_nothing(events: list[dict[str, object]]) -> None:
    clock = Clock(RECEIVED_MS + 60_000)
    watermark = assigned(clock)
    watermark.observe([received(RECEIVED)])
    watermark.advance()
    watermark.observe(events)

    assert RECEIVED_MS == watermark.current()
