"""When history is to be taken into segments: as soon as one waits for it, or late events have settled."""

from __future__ import annotations

from deploy.operations.segment_backfill import late_events_wait, waiting_segments
from deploy.settings import Settings

LOOK_EACH_S = 5.0
"""Pause between two looks for new segments, which read two small keys of Redis."""
LATE_EACH_S = 60.0
"""Pause between two looks for late events, which read a column of all events."""
AFTER_ONE_S = 60.0
"""Pause after a backfill, which may have failed, or may wait for workers that do not run the new definitions yet."""


class BackfillSchedule:
    """Says when a backfill is due.

    Args:
        look_each_s: Pause between two looks for new segments, in seconds.
    """

    def __init__(self, look_each_s: float = LOOK_EACH_S) -> None:
        self._look_each_s = look_each_s
        self._look_from = self._late_from = 0.0

    def is_due(self, settings: Settings, now_s: float, now_ms: int) -> bool:
        """Return whether to run a backfill now; whoever asks then runs it.

        A store that does not answer is asked the next time.

        Args:
            settings: Of the deployment.
            now_s: Monotonic time, in seconds.
            now_ms: The time, milliseconds since 1970.
        """
        if now_s < self._look_from:
            return False
        self._look_from = now_s + self._look_each_s
        if not waiting_segments(settings):
            if now_s < self._late_from:
                return False
            self._late_from = now_s + max(LATE_EACH_S, self._look_each_s)
            if not late_events_wait(settings, now_ms):
                return False
        self._look_from = now_s + max(AFTER_ONE_S, self._look_each_s)
        return True
