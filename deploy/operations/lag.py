"""The exact lag of each consumer group, by partition.

The end offset that a broker reports is taken as a lower bound: the local stack's broker reports a lower one than Apache
Kafka does (`deploy/local/broker.py`). The reader fetches from there to the end of the partition.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from deploy.operations.roles import ROLES, consumed_topics, group_id

if TYPE_CHECKING:
    from deploy.settings import Settings

_NO_OFFSET = -1001  # librdkafka: nothing committed
_READ_TO_END_S = 3.0

# Transient: leaders and coordinators are being elected, or a broker restarts.
_TRANSIENT = frozenset(
    {
        "NOT_LEADER_FOR_PARTITION", "LEADER_NOT_AVAILABLE", "UNKNOWN_TOPIC_OR_PART", "UNKNOWN_LEADER_EPOCH",
        "FENCED_LEADER_EPOCH", "NOT_COORDINATOR", "COORDINATOR_NOT_AVAILABLE", "COORDINATOR_LOAD_IN_PROGRESS",
        "REQUEST_TIMED_OUT", "_TIMED_OUT", "_TRANSPORT", "_ALL_BROKERS_DOWN", "_WAIT_COORD", "_UNKNOWN_PARTITION",
        "_UNKNOWN_TOPIC",
    }
)  # fmt: skip

TopicPartitionKey = tuple[str, int]


class KafkaUnreachableError(RuntimeError):
    """The broker did not answer; the message names the address."""


@dataclass(frozen=True, slots=True)
class PartitionLag:
    """The lag of one consumer group on one partition.

    Attributes:
        role: The role of the workers.
        topic: The full name of the topic.
        partition: Its number.
        records: Records after the committed offset, or after the start where nothing is committed.
        end: The offset that the next record will get.
    """

    role: str
    topic: str
    partition: int
    records: int
    end: int = 0


class LagReader:
    """Reads the lags of a deployment's consumer groups over open connections. Use it as a context manager.

    300 partitions take 0.1 s on Apache Kafka and 0.3 s on the local stack's broker; a server that does not answer costs
    `timeout_s` seconds.
    """

    def __init__(self, settings: Settings, timeout_s: float = 10.0) -> None:
        from confluent_kafka import Consumer
        from confluent_kafka.admin import AdminClient

        self._settings = settings
        self._timeout_s = timeout_s
        connection = {
            "bootstrap.servers": settings.kafka_bootstrap,
            "log_level": 0,
            "socket.timeout.ms": int(timeout_s * 1000),
        }
        self._admin: Any = AdminClient(connection)
        self._reader: Any = Consumer(
            {
                **connection,
                "group.id": group_id(settings.topic_prefix, "lag"),  # required, and never used: partitions are assigned
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": 10,  # most fetches are at the end, where the broker would wait
                "fetch.queue.backoff.ms": 1,  # the default pauses a partition for a second after each batch
            }
        )
        self._committed: dict[str, Any] = {
            role: Consumer({**connection, "group.id": group_id(settings.topic_prefix, role)}) for role in ROLES
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        for consumer in (self._reader, *self._committed.values()):
            consumer.close()

    def lags(self) -> list[PartitionLag]:
        """Measure every partition that the workers read; a topic that does not exist is left out.

        Raises:
            KafkaUnreachableError: The broker did not answer.
        """
        from confluent_kafka import KafkaException

        deadline = time.monotonic() + 3 * self._timeout_s  # a new topic's leaders can take a while
        while True:
            try:
                return self._measure()
            except KafkaException as error:
                if error.args[0].name() not in _TRANSIENT or time.monotonic() > deadline:
                    reason = f"Kafka at {self._settings.kafka_bootstrap}: {error.args[0].str()}"
                    raise KafkaUnreachableError(reason) from error
            time.sleep(0.1)

    def _measure(self) -> list[PartitionLag]:
        wanted = self._partitions()
        everything = {key for keys in wanted.values() for key in keys}
        # Committed offsets first: what is committed meanwhile makes the lag too large, never too small.
        committed = {role: self._committed_offsets(role, keys) for role, keys in wanted.items()}
        starts, ends = self._offsets(everything)
        return [
            PartitionLag(role, *key, max(0, ends[key] - max(committed[role].get(key, 0), starts[key])), ends[key])
            for role, keys in wanted.items()
            for key in keys
        ]

    def _partitions(self) -> dict[str, list[TopicPartitionKey]]:
        known = self._admin.list_topics(timeout=self._timeout_s).topics
        prefix = self._settings.topic_prefix
        return {
            role: [
                (prefix + name, partition)
                for name in consumed_topics(role, self._settings.channels)
                if prefix + name in known
                for partition in sorted(known[prefix + name].partitions)
            ]
            for role in ROLES
        }

    def _committed_offsets(self, role: str, keys: list[TopicPartitionKey]) -> dict[TopicPartitionKey, int]:
        from confluent_kafka import KafkaException, TopicPartition

        if not keys:
            return {}
        found = self._committed[role].committed([TopicPartition(*key) for key in keys], timeout=self._timeout_s)
        for at in found:
            if at.error is not None:
                raise KafkaException(at.error)
        return {(at.topic, at.partition): at.offset for at in found if at.offset != _NO_OFFSET}

    def _offsets(
        self, keys: Iterable[TopicPartitionKey]
    ) -> tuple[dict[TopicPartitionKey, int], dict[TopicPartitionKey, int]]:
        """Return the first offset of each partition, and the offset after its last record."""
        from confluent_kafka import TopicPartition
        from confluent_kafka.admin import OffsetSpec

        def ask(spec: Any) -> dict[TopicPartitionKey, int]:
            answers = self._admin.list_offsets(
                {TopicPartition(*key): spec for key in keys}, request_timeout=self._timeout_s
            )
            return {(at.topic, at.partition): answer.result().offset for at, answer in answers.items()}

        if not keys:
            return {}, {}
        return ask(OffsetSpec.earliest()), self._read_to_end(ask(OffsetSpec.latest()))

    def _read_to_end(self, reported: dict[TopicPartitionKey, int]) -> dict[TopicPartitionKey, int]:
        """Read each partition from the end offset that the broker reports to its true end."""
        from confluent_kafka import KafkaError, KafkaException, TopicPartition

        ends = dict(reported)
        unfinished = set(reported)
        self._reader.assign([TopicPartition(*key, offset) for key, offset in reported.items()])
        deadline = time.monotonic() + min(_READ_TO_END_S, self._timeout_s)
        try:
            while unfinished and time.monotonic() < deadline:
                for message in self._reader.consume(len(unfinished), timeout=0.1):
                    error = message.error()
                    key = (message.topic(), message.partition())
                    if error is None:
                        ends[key] = message.offset() + 1
                    elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  (librdkafka's public name)
                        unfinished.discard(key)
                    else:
                        raise KafkaException(error)
        finally:
            self._reader.unassign()
        for key in unfinished:
            if ends[key] == reported[key]:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001
            ends[key] += 1  # producers write faster than this reads: at least one record follows
        return ends
