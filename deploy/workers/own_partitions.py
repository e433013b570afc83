"""Tells whose events a worker reads, so that it fires the timers of these people and of no others.

A record of a person is in the partition of the person's shard (`schemas/shards.py`). During a rebalance two workers may
take a person for theirs: the profile store refuses the later write.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import faust
from faust.exceptions import ConsumerNotStarted

from schemas.shards import partition_of


class OwnPartitions:
    """The partitions of one topic that this process reads, and the people in them.

    Args:
        app: The Faust app.
        topic: The full name of a topic whose keys are profile ids.
        count: Returns how many partitions the topic has; 0: that is not known yet.
    """

    def __init__(self, app: faust.App, topic: str, count: Callable[[], int]) -> None:
        self._app = app
        self._topic = topic
        self._count = count

    def any(self) -> bool:
        """Return whether a partition is read."""
        return bool(self._partitions())

    def of(self, profile_ids: Sequence[str]) -> list[str]:
        """Return the people whose events are read; none while it is not known how many partitions there are."""
        partitions, count = self._partitions(), self._count()
        if not (partitions and count):
            return []
        return [profile_id for profile_id in profile_ids if partition_of(profile_id.encode(), count) in partitions]

    def _partitions(self) -> frozenset[int]:
        try:
            assigned = self._app.consumer.assignment()
        except ConsumerNotStarted:
            return frozenset()
        return frozenset(place.partition for place in assigned if place.topic == self._topic)
