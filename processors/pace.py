"""How far events have come: what keeps timers from running ahead of events that still wait in Kafka."""

from __future__ import annotations

from collections.abc import Callable

from processors.batches import Batch


class Pace:
    """The time up to which timers may fire.

    Args:
        clock: The time, milliseconds since 1970.
    """

    QUIET_MS = 500

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._come_to = self._at = 0

    def taken(self, batch: Batch) -> None:
        """Note a batch that is being handled."""
        self._at, self._come_to = self._clock(), min(record.timestamp for record in batch.records)

    def until(self) -> int:
        """The time up to which timers may fire: now, or under load the time of the oldest event in hand."""
        now = self._clock()
        return now if now - self._at > self.QUIET_MS else min(now, self._come_to)
