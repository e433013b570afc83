"""Reads topics as a member of a consumer group, keeps the place while somebody waits, and commits when told to."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from schemas.offsets import Partition
from schemas.records import Headers, Record

log = logging.getLogger(__name__)

_MAX_POLL_MS = 300_000
_ANSWER_S = 10.0
_PASSING = frozenset({KafkaError._PARTITION_EOF, KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT})  # noqa: SLF001
"""Errors between records of which librdkafka itself recovers."""


class FollowedRecord(NamedTuple):
    """A record that was read."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers = ()


class TopicFollower:
    """One member of a consumer group. Its methods wait, and are called by one thread at a time.

    Args:
        connection: librdkafka's properties of the connection.
        group: The consumer group.
        topics: Full names of the topics.
        start: Where a group begins that has committed nothing: with what comes from `now` on, or the `earliest` record.
        session_timeout_s: After so many seconds without a sign of life the others get its partitions.
    """

    def __init__(
        self,
        connection: Mapping[str, Any],
        group: str,
        topics: Sequence[str],
        *,
        start: Literal["now", "earliest"],
        session_timeout_s: int,
    ) -> None:
        self._consumer: Any = Consumer(
            {
                **connection,
                "group.id": group,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest" if start == "earliest" else "latest",
                "session.timeout.ms": session_timeout_s * 1000,
                "max.poll.interval.ms": max(_MAX_POLL_MS, session_timeout_s * 1000),
                "fetch.wait.max.ms": 200,
            }
        )
        self._start = start
        self._early: list[FollowedRecord] = []
        self._held = False
        self._consumer.subscribe(list(topics), on_assign=self._assigned)

    def poll(self, most: int, timeout_s: float) -> list[FollowedRecord]:
        """Return the next records; none when there is nothing new."""
        self._release()
        if self._early:
            found, self._early = self._early, []
            return found
        return self._consume(most, timeout_s)

    def keep_place(self, timeout_s: float) -> None:
        """Wait without reading on, as a member that lives: a group drops who does not ask for records."""
        if not self._held:
            self._consumer.pause(self._consumer.assignment())
            self._held = True
        self._early += self._consume(1, timeout_s)  # of a partition that it was given meanwhile
        self._consumer.pause(self._consumer.assignment())

    def commit(self, records: Sequence[Record]) -> None:
        """Commit that these records, and all before them, are handled.

        What is not committed, since the partition went to another member, that one handles again.
        """
        ends: dict[Partition, int] = {}
        for one in records:
            place = (one.topic, one.partition)
            ends[place] = max(ends.get(place, 0), one.offset + 1)
        try:
            self._consumer.commit(
                offsets=[TopicPartition(*place, end) for place, end in ends.items()], asynchronous=False
            )
        except KafkaException as error:
            log.warning("not committed, so that records are handled again: %s", error.args[0].str())

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    def _release(self) -> None:
        if self._held:
            self._consumer.resume(self._consumer.assignment())
            self._held = False

    def _consume(self, most: int, timeout_s: float) -> list[FollowedRecord]:
        found = []
        for message in self._consumer.consume(most, timeout=timeout_s):
            error = message.error()
            if error is None:
                found.append(
                    FollowedRecord(
                        message.topic(), message.partition(), message.offset(), message.timestamp()[1], message.key(),
                        message.value(),
                    )
                )  # fmt: skip
            elif error.code() not in _PASSING and not error.retriable():
                raise KafkaException(error)
        return found

    def _assigned(self, consumer: Any, places: list[TopicPartition]) -> None:
        """Commit where a new group begins: records that come before its first commit are not to be passed over."""
        if self._start != "now":
            return
        try:
            committed = consumer.committed(places, timeout=_ANSWER_S)
            begins = []
            for place in committed:
                if place.offset < 0:
                    _, end = consumer.get_watermark_offsets(
                        TopicPartition(place.topic, place.partition), timeout=_ANSWER_S
                    )
                    begins.append(TopicPartition(place.topic, place.partition, end))
            if begins:
                consumer.commit(offsets=begins, asynchronous=False)
        except KafkaException as error:
            log.warning("where the group begins is not committed yet: %s", error.args[0].str())
