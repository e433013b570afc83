"""Watermark: the event time up to which timers may fire."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from schemas.time import ms_of_text


class Watermark:
    """The event-time watermark of this worker.

    After an outage, events wait in Kafka. An order among them must be applied before the reminder that it makes
    pointless fires. So no timer fires before partitions are assigned, and while a batch is in hand, none that is due
    later than the batch's oldest event was received.

    Args:
        clock: The time, milliseconds since 1970.

    Attributes:
        assigned: Whether this worker reads partitions; one that does not has no watermark.
    """

    QUIET_MS = 500
    """Time without a batch after which the partitions count as read to their ends."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._observed_ms = self._idle_since_ms = 0
        self._batch_in_hand = False
        self.assigned = False

    def assign(self) -> None:
        """Record that partitions are assigned."""
        self.assigned, self._idle_since_ms = True, self._clock()

    def observe(self, events: Sequence[dict[str, Any]]) -> None:
        """Record the events of a batch that is being applied."""
        with suppress(ValueError, TypeError):  # no events, or without a time: the watermark stays
            self._observed_ms = ms_of_text(min(event.get("received_at", "") for event in events))
        self._batch_in_hand = True

    def advance(self) -> None:
        """Record that the batch is applied."""
        self._batch_in_hand, self._idle_since_ms = False, self._clock()

    def current(self) -> int:
        """Return the watermark, milliseconds since 1970: now when quiet, else when the oldest event was received."""
        now = self._clock()
        quiet = self.assigned and not self._batch_in_hand and now - self._idle_since_ms > self.QUIET_MS
        return now if quiet else min(now, self._observed_ms)
