"""How far events have come: what keeps timers from running ahead of events that still wait in Kafka."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from schemas.time import ms_of_text


class Pace:
    """The time up to which timers may fire.

    After an outage, the order that came in meanwhile is to be heard before the reminder that it makes pointless. So
    nothing fires before there are partitions to read, and while there is work, nothing that is due later than it.

    Args:
        clock: The time, milliseconds since 1970.

    Attributes:
        begun: Whether this worker reads partitions; one that does not cannot know how far events have come.
    """

    QUIET_MS = 500

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._come_to = self._at = 0
        self._busy = False
        self.begun = False

    def begin(self) -> None:
        """Note that there are partitions to read now."""
        self.begun, self._at = True, self._clock()

    def taken(self, events: Sequence[dict[str, Any]]) -> None:
        """Note the events of a batch that is being handled."""
        with suppress(ValueError, TypeError):  # no event at all, or something that becomes a dead letter further on
            self._come_to = ms_of_text(min(event.get("received_at", "") for event in events))
        self._busy = True

    def done(self) -> None:
        """Note that the batch is through."""
        self._busy, self._at = False, self._clock()

    def until(self) -> int:
        """The time up to which timers may fire: now, or under load when the oldest event in hand was received."""
        now = self._clock()
        quiet = self.begun and not self._busy and now - self._at > self.QUIET_MS
        return now if quiet else min(now, self._come_to)
