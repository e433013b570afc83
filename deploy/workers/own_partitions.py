"""Tells whose events a worker reads, so that it fires the timers of these people, and relays their records, alone.

A record of a person is in the partition of the person's shard (`schemas/shards.py`). During a rebalance two workers may
take a shard for theirs: the profile store refuses the later write, and records come twice.
"""

from __future__ import annotations

from collections.abc import Callable

import faust
from faust.exceptions import ConsumerNotStarted

from schemas.shards import SHARDS


class OwnPartitions:
    """The partitions of one topic that this process reads, and the shards in them.

    Args:
        app: The Faust app.
        topic: The full name of a topic whose keys are profile ids.
        count: Returns how many partitions the topic has; 0: that is not known yet.
    """

    def __init__(self, app: faust.App, topic: str, count: Callable[[], int]) -> None:
        self._app = app
        self._topic = topic
        self._count = count
        self._known: tuple[frozenset[int], int, list[int]] = (frozenset(), 0, [])

    def any(self) -> bool:
        """Return whether a partition is read."""
        return bool(self._partitions())

    def first(self) -> bool:
        """Return whether partition 0 is read: by one of all workers of a role."""
        return 0 in self._partitions()

    def shards(self) -> list[int]:
        """Return the shards whose events are read; none while it is not known how many partitions there are."""
        partitions, count = self._partitions(), self._count()
        if (partitions, count) != self._known[:2]:
            found = [one for one in range(SHARDS) if one % count in partitions] if partitions and count else []
            self._known = (partitions, count, found)
        return self._known[2]

    def _partitions(self) -> frozenset[int]:
        try:
            assigned = self._app.consumer.assignment()
        except ConsumerNotStarted:
            return frozenset()
        return frozenset(place.partition for place in assigned if place.topic == self._topic)
