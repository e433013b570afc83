"""Keeps an event's time at or before its arrival.

Profiles keep the last answer by the time of the event, so an event from the future would win over every later one: a
consent that a till with a wrong clock dates to 2099 could not be withdrawn. The time of arrival is the broker's, which
no producer sets (`schemas.topics`). Where it is the broker's clock that is behind, its time counts all the same: the
events of all producers are then dated by one clock, and the original time is kept beside it.
"""

from __future__ import annotations

from schemas.events.touchpoint import Event
from schemas.time import ms_of_text, text_of_ms

ORIGINAL_TIMESTAMP = "original_timestamp"
"""The key of an event's `context` that keeps the producer's own time where ours differs from it noticeably."""

NOTICEABLE_MS = 1000
"""Smaller differences are those of well-kept clocks, and of the way to the broker: nobody would look for them."""


def clamp_to_arrival(event: Event, received_ms: int) -> None:
    """Set `occurred_at` to the time of arrival if it is later; events of the past are left as they are.

    Args:
        event: An event in its canonical form; it is changed. The producer's time goes to `context.original_timestamp`,
            unless the collector has put the client's own time there before.
        received_ms: The broker's time of the record, milliseconds since 1970.
    """
    received_at, occurred_at = text_of_ms(received_ms), event["occurred_at"]
    if occurred_at <= received_at:  # texts of this form sort in the order of their times
        return
    event["occurred_at"] = received_at
    if ms_of_text(occurred_at) - received_ms >= NOTICEABLE_MS:
        event["context"] = {ORIGINAL_TIMESTAMP: occurred_at, **(event.get("context") or {})}
