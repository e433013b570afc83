"""Watermark: the event time up to which timers may fire.

An event that is in the log may wait: in a producer's topic, before `identify`, or in `resolved-touchpoints`, before
`update_profile`. An order among them must be applied before the reminder that it makes pointless fires.

A *checkpoint* is a time with the ends of the producers' topics just after it. When the group of `identify` has
committed these ends, what followed from those records is in `resolved-touchpoints`, and the ends of its partitions are
what the checkpoint waits for next. When the group of `profile` has committed those too, every event that was in the log
at the time of the checkpoint is applied, and the watermark is that time.

So no time stamp of a record is believed, an empty partition holds nothing back, and a record that a worker has read and
not committed counts as unprocessed, whether the worker lives or not. While nothing can be read, the watermark stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.offsets import GroupProgress, LogProgress, Offsets, Partition

MARGIN_MS = 1000
"""By how much the watermark is behind a checkpoint: clocks differ, and a broker dates a record before others see it."""
MAX_CHECKPOINTS = 64


@dataclass(slots=True)
class _Checkpoint:
    """A time at which the log had certain ends.

    Attributes:
        at_ms: The time.
        missing: The ends that the group has not committed.
        group: Place of the group that is to commit them.
    """

    at_ms: int
    missing: Offsets
    group: int = 0

    def passes(self, groups: Sequence[GroupProgress]) -> bool:
        """Go on as far as the groups have committed; returns whether all have."""
        while True:
            committed = groups[self.group].committed
            self.missing = {place: end for place, end in self.missing.items() if committed.get(place, 0) < end}
            if self.missing:
                return False
            self.group += 1
            if self.group == len(groups):
                return True
            self.missing = groups[self.group].ends

    def is_lost(self, groups: Sequence[GroupProgress]) -> bool:
        """Return whether the log is shorter than it was: what was missing will not be committed."""
        ends = groups[self.group].ends
        return any(ends.get(place, 0) < end for place, end in self.missing.items())


class Watermark:
    """The event-time watermark of the pipeline, of which this worker is a part."""

    def __init__(self) -> None:
        self._at_ms = self._latest_ms = 0
        self._checkpoints: list[_Checkpoint] = []

    def observe(self, progress: LogProgress) -> None:
        """Take account of how far the log is processed."""
        if progress.at_ms < self._latest_ms:  # the clock was set back: times before that say nothing
            self._at_ms, self._checkpoints = 0, []
        self._latest_ms = progress.at_ms
        waiting = [one for one in self._checkpoints if not one.is_lost(progress.groups)]
        waiting.append(_Checkpoint(progress.at_ms, progress.groups[0].ends))
        passed = [one.at_ms for one in waiting if one.passes(progress.groups)]
        if passed:
            self._at_ms = max(self._at_ms, max(passed) - MARGIN_MS)
            waiting = [one for one in waiting if one.at_ms > max(passed)]
        if len(waiting) > MAX_CHECKPOINTS:
            del waiting[1:-1:2]
        self._checkpoints = waiting

    def current(self) -> int:
        """Return the watermark, milliseconds since 1970; 0: it is not known yet."""
        return self._at_ms

    def held_back_by(self, for_ms: int) -> list[Partition]:
        """List the partitions whose records have been waiting for so long that the watermark is that much behind."""
        if not self._checkpoints or self._latest_ms - self._checkpoints[0].at_ms < for_ms:
            return []
        return sorted(self._checkpoints[0].missing)
