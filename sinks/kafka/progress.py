"""Reads how far consumer groups have processed the log, for the watermark of timers.

A measurement asks for little: ends and committed offsets in one request to each broker, and records only of partitions
that have changed since the last one. It takes as long as the broker lets it, in a thread of its own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from confluent_kafka import KafkaException

from schemas.offsets import GroupProgress, LogProgress, Partition
from sinks.kafka.offsets import OffsetReader

log = logging.getLogger(__name__)


class _Halt(NamedTuple):
    """A partition of which not everything is committed.

    Attributes:
        committed: The committed offset.
        end: The end.
        next_record: The offset of the first record from there on, or of the end; None: not looked for.
    """

    committed: int
    end: int
    next_record: int | None


class KafkaProgress:
    """Reads how far each of some consumer groups has come in its topics.

    Args:
        offsets: Reads offsets of these groups.
        groups: Group id and full names of the topics that it reads, in the order in which the groups process an event.
        clock: The time, milliseconds since 1970.
    """

    def __init__(
        self, offsets: OffsetReader, groups: Sequence[tuple[str, Collection[str]]], clock: Callable[[], int]
    ) -> None:
        self._offsets = offsets
        self._groups = groups
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, "kafka-progress")
        self._known: frozenset[Partition] = frozenset()
        self._ends: dict[Partition, tuple[int, int]] = {}  # as the broker reports it, and as it was read
        self._halts: dict[Partition, _Halt] = {}
        self._reported = ""

    async def measure(self) -> LogProgress | None:
        """Measure; None: the broker does not answer, or not with everything."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._measure)
        except KafkaException as error:
            self._ends.clear()
            self._tell(f"Kafka does not say what is processed: {error.args[0].str()}")
            return None

    def partitions(self, topic: str) -> int:
        """Return how many partitions a topic has; 0: nothing was measured yet."""
        return sum(name == topic for name, _ in self._known)

    def close(self) -> None:
        """Close the connections."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._offsets.close()

    def _measure(self) -> LogProgress | None:
        at_ms = self._clock()
        found = self._offsets.partitions({name for _, topics in self._groups for name in topics})
        if missing := self._missing(found):
            self._tell(f"Kafka does not know {missing}: `throughline topics apply`")
            return None
        places = [[place for name in topics for place in found.get(name, ())] for _, topics in self._groups]
        self._known = self._known.union(*places)  # a new set: another thread may be counting
        # Committed before ends: what `identify` has committed now is in the topics whose ends are read next.
        committed = [
            self._offsets.committed(group, ours) for (group, _), ours in zip(self._groups, places, strict=True)
        ]
        ends = self._read_ends(self._known)
        if ends is None:
            return None
        self._reported = ""
        by_place = {place: offset for theirs in committed for place, offset in theirs.items()}
        done = self._skip_empty(by_place, ends)
        return LogProgress(at_ms, [GroupProgress(done, {place: ends[place] for place in ours}) for ours in places])

    def _tell(self, reason: str) -> None:
        """Say once why nothing can be measured."""
        if reason != self._reported:
            self._reported = reason
            log.warning("timers wait, since %s", reason)

    def _missing(self, found: dict[str, list[Partition]]) -> str:
        """Name what is missing: a broker that has just started may not know all yet."""
        for _, topics in self._groups:
            if not any(name in found for name in topics):
                return f"{min(topics)}"
        gone = self._known - {place for ours in found.values() for place in ours}
        return ", ".join(f"{topic}, partition {number}" for topic, number in sorted(gone)[:3])

    def _read_ends(self, places: Collection[Partition]) -> dict[Partition, int] | None:
        """Return the ends of partitions; None: producers write faster than this reads."""
        reported = self._offsets.reported_ends(places)
        if any(end < self._ends[place][0] for place, end in reported.items() if place in self._ends):
            self._ends.clear()  # the log was lost: an end that is the same by chance may be another one
        changed = {place: end for place, end in reported.items() if self._ends.get(place, (-1, 0))[0] != end}
        ends, unfinished = self._offsets.read_to_end(changed)
        self._ends |= {place: (changed[place], end) for place, end in ends.items() if place not in unfinished}
        return None if unfinished else {place: self._ends[place][1] for place in places}

    def _skip_empty(self, committed: dict[Partition, int], ends: dict[Partition, int]) -> dict[Partition, int]:
        """Move committed offsets on to the next record, over what no consumer is given.

        These are markers of transactions, and records that were deleted by age. A partition is looked at once, when
        nothing has moved in it since the last measurement.
        """
        halts = {
            place: _Halt(at, end, self._looked_up(place, at, end))
            for place, end in ends.items()
            if (at := committed.get(place, 0)) < end
        }
        unknown = [
            place for place, halt in halts.items() if halt == self._halts.get(place) and halt.next_record is None
        ]
        self._halts = halts
        starts = self._offsets.starts(unknown)
        found = self._offsets.next_records({place: max(halts[place].committed, starts[place]) for place in unknown})
        for place, offset in found.items():
            halts[place] = halts[place]._replace(next_record=offset)
        skipped = {place: halt.next_record for place, halt in halts.items() if halt.next_record is not None}
        return {**committed, **skipped}

    def _looked_up(self, place: Partition, committed: int, end: int) -> int | None:
        before = self._halts.get(place)
        if before is None or before.committed != committed or before.next_record is None:
            return None
        return before.next_record if before.end == end or before.next_record < before.end else None
