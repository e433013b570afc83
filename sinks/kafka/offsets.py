"""Offsets of Kafka's partitions: their starts and ends, and what consumer groups have committed.

The end offset that a broker reports is taken as a lower bound: the local stack's broker reports a lower one than Apache
Kafka does (`deploy/local/broker.py`). The reader fetches from there to the end of the partition.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from schemas.offsets import Offsets, Partition

_NO_OFFSET = -1001  # librdkafka: nothing committed
_READ_S = 3.0


class OffsetReader:
    """Reads offsets over open connections; each call waits for the broker.

    300 partitions take 0.1 s on Apache Kafka and 0.3 s on the local stack's broker; a server that does not answer costs
    `timeout_s` seconds.

    Args:
        connection: librdkafka's properties of the connection.
        groups: The consumer groups.
        reader_group: A group id of its own, which Kafka requires and nothing uses.
        timeout_s: Longest wait for an answer, seconds.
    """

    def __init__(
        self, connection: Mapping[str, Any], groups: Iterable[str], reader_group: str, *, timeout_s: float
    ) -> None:
        self._timeout_s = timeout_s
        connection = {**connection, "socket.timeout.ms": int(timeout_s * 1000)}
        self._connection = connection
        self._reader_group = reader_group
        self._peeker: Any = None
        self._admin: Any = AdminClient(connection)
        self._reader: Any = Consumer(
            {
                **connection,
                "group.id": reader_group,  # never joined: partitions are assigned
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 10,  # most fetches are at the end, where the broker would wait
                "fetch.queue.backoff.ms": 1,  # the default pauses a partition for a second after each batch
            }
        )
        self._committed: dict[str, Any] = {group: Consumer({**connection, "group.id": group}) for group in groups}

    def close(self) -> None:
        """Close the connections."""
        for consumer in (self._reader, self._peeker, *self._committed.values()):
            if consumer is not None:
                consumer.close()

    def partitions(self, topics: Collection[str]) -> dict[str, list[Partition]]:
        """List the partitions of topics; a topic that does not exist is left out.

        Raises:
            KafkaException: The broker does not answer; so with all other methods.
        """
        known = self._admin.list_topics(timeout=self._timeout_s).topics
        return {name: [(name, number) for number in sorted(known[name].partitions)] for name in topics if name in known}

    def committed(self, group: str, places: Collection[Partition]) -> dict[Partition, int]:
        """Return the committed offset of each partition that has one."""
        if not places:
            return {}
        found = self._committed[group].committed([TopicPartition(*place) for place in places], timeout=self._timeout_s)
        for at in found:
            if at.error is not None:
                raise KafkaException(at.error)
        return {(at.topic, at.partition): at.offset for at in found if at.offset != _NO_OFFSET}

    def starts(self, places: Collection[Partition]) -> dict[Partition, int]:
        """Return the first offset of each partition."""
        return self._ask(places, OffsetSpec.earliest())

    def reported_ends(self, places: Collection[Partition]) -> dict[Partition, int]:
        """Return the end of each partition as the broker reports it: there may be further records."""
        return self._ask(places, OffsetSpec.latest())

    def read_to_end(self, reported: Offsets) -> tuple[dict[Partition, int], set[Partition]]:
        """Read each partition from an offset to its end.

        Returns:
            The offset after the last record that was read, and the partitions whose end was not reached in 3 s.
        """
        ends = dict(reported)
        unfinished = set(reported)
        for place, offset, is_end in self._read(reported):
            ends[place] = max(ends[place], offset if is_end else offset + 1)
            if is_end:
                unfinished.discard(place)
            if not unfinished:
                break
        if any(ends[place] == reported[place] for place in unfinished):
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001 - librdkafka's public name
        return ends, unfinished

    def next_records(self, offsets: Offsets) -> dict[Partition, int]:
        """Return the offset of the first record of each partition from an offset on, or its end if there is none.

        A partition that was not read in 3 s is left out.
        """
        found: dict[Partition, int] = {}
        for place, offset, _ in self._read(offsets):
            found.setdefault(place, offset)
            if len(found) == len(offsets):
                break
        return found

    def times(self, offsets: Offsets) -> dict[Partition, int]:
        """Return when the first record of each partition from an offset on was written, milliseconds since 1970.

        A broker sends one batch of a producer for each partition. One that has no record there, or was not read in 3 s,
        is left out.
        """
        if not offsets:
            return {}
        if self._peeker is None:  # of its own, since it fetches as little as a broker can send
            self._peeker = Consumer(
                {
                    **self._connection,
                    "group.id": self._reader_group,
                    "enable.auto.commit": False,
                    "enable.partition.eof": True,
                    "auto.offset.reset": "earliest",
                    "fetch.message.max.bytes": 1,
                    "fetch.wait.max.ms": 10,
                    "queued.min.messages": 1,
                }
            )
        found: dict[Partition, int] = {}
        missing = set(offsets)
        deadline = time.monotonic() + min(_READ_S, self._timeout_s)
        self._peeker.assign([TopicPartition(*place, offset) for place, offset in offsets.items()])
        try:
            while missing and time.monotonic() < deadline:
                for message in self._peeker.consume(len(offsets), timeout=0.1):
                    place = (message.topic(), message.partition())
                    if message.error() is None:
                        found.setdefault(place, message.timestamp()[1])
                    elif message.error().code() != KafkaError._PARTITION_EOF:  # noqa: SLF001 - as above
                        raise KafkaException(message.error())
                    missing.discard(place)
        finally:
            self._peeker.unassign()
        return found

    def _read(self, offsets: Offsets) -> Iterator[tuple[Partition, int, bool]]:
        """Read partitions from an offset on: partition, offset, and whether it is the end and no record."""
        if not offsets:
            return
        deadline = time.monotonic() + min(_READ_S, self._timeout_s)
        self._reader.assign([TopicPartition(*place, offset) for place, offset in offsets.items()])
        try:
            while time.monotonic() < deadline:
                for message in self._reader.consume(len(offsets), timeout=0.1):
                    error = message.error()
                    is_end = error is not None and error.code() == KafkaError._PARTITION_EOF  # noqa: SLF001 - as above
                    if error is not None and not is_end:
                        raise KafkaException(error)
                    yield (message.topic(), message.partition()), message.offset(), is_end
        finally:
            self._reader.unassign()

    def _ask(self, places: Collection[Partition], spec: Any) -> dict[Partition, int]:
        if not places:
            return {}
        asked: Mapping[TopicPartition, Any] = self._admin.list_offsets(
            {TopicPartition(*place): spec for place in places}, request_timeout=self._timeout_s
        )
        return {(at.topic, at.partition): answer.result().offset for at, answer in asked.items()}
