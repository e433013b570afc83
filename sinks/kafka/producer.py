"""Kafka: publishes records and waits until the broker has confirmed them; creates topics."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from schemas.records import Outgoing, RecordsTooLargeError
from schemas.topics import Topic
from sinks.kafka.placement import Placement

DELIVERY_TIMEOUT_S = 30.0


_PRODUCER_LOST = frozenset(
    {
        "PRODUCER_FENCED", "INVALID_PRODUCER_EPOCH", "INVALID_PRODUCER_ID_MAPPING", "UNKNOWN_PRODUCER_ID",
        "OUT_OF_ORDER_SEQUENCE_NUMBER", "_FENCED", "_FATAL",
    }
)  # fmt: skip
"""Names of errors after which librdkafka's idempotent producer fails every send: the broker has forgotten or replaced
it, as some do after a pause of seconds."""


class PublishFailedError(Exception):
    """Some records are not confirmed by the broker, which may be down; all of the call's records must be sent again."""


def producer_config(connection: Mapping[str, Any], **extra: Any) -> dict[str, Any]:
    """Return the settings of every producer: idempotent, all replicas, partitioned as Java clients do.

    Args:
        connection: librdkafka's properties of the connection, as `deploy/connections/kafka.py` makes them.
        extra: Further properties.
    """
    return {
        **connection,
        "enable.idempotence": True,
        "acks": "all",
        "partitioner": "murmur2_random",
        "compression.type": "zstd",  # a third of the bytes to write, read and check: cheaper for broker and readers
        "delivery.timeout.ms": int(DELIVERY_TIMEOUT_S * 1000),
        "queue.buffering.max.messages": 500_000,
        "log_level": 3,
        **extra,
    }


class KafkaPublisher:
    """Publishes batches of records. A batch is confirmed or fails as a whole, but for records that are too large."""

    unavailable = (PublishFailedError,)

    def __init__(
        self, connection: Mapping[str, Any], topic_prefix: str = "", *, timeout_s: float = DELIVERY_TIMEOUT_S
    ) -> None:
        self._prefix = topic_prefix
        self._timeout_s = timeout_s
        # Only errors are reported back: a callback into Python for each success costs more than the send.
        self._config = producer_config(
            connection,
            **{
                "linger.ms": 1000,
                "delivery.report.only.error": True,
                "delivery.timeout.ms": int(timeout_s * 1000),
            },
        )
        self._fault = ""
        self._config["error_cb"] = self._note_fault
        self._producer = Producer(self._config)
        self._thread = ThreadPoolExecutor(1, "kafka-publisher")
        self._placement = Placement(topic_prefix)

    async def send(self, records: Sequence[Outgoing]) -> None:
        """Publish `records` and return when the broker has confirmed every one.

        Raises:
            PublishFailedError: The broker did not confirm all of them in time; sending all again is right.
            RecordsTooLargeError: Some can never be sent, and it says which; all others are confirmed.
        """
        if records:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._send, records)

    def _send(self, records: Sequence[Outgoing]) -> None:
        oversized, refused = self._produce(records, range(len(records)))
        # A broker answers for a whole batch, so one record that is too large for its topic fails its neighbours too.
        for place in refused:
            alone, alone_refused = self._produce(records, [place])
            oversized += alone + alone_refused
        if oversized:
            names = ", ".join(sorted({records[place].topic for place in oversized}))
            raise RecordsTooLargeError(sorted(oversized), f"{len(oversized)} records of {names} are too large")

    def _produce(self, records: Sequence[Outgoing], places: Sequence[int]) -> tuple[list[int], list[int]]:
        """Publish the records at some places.

        Returns:
            The places of records that are larger than the client sends, and those of records in batches that the
            broker found too large.

        Raises:
            PublishFailedError: Another record is not confirmed.
        """
        oversized: list[int] = []
        refused: set[tuple[str | None, bytes | str, bytes | str]] = set()
        failures: list[KafkaError] = []

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is None:
                return
            if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
                refused.add((message.topic(), message.key() or b"", message.value() or b""))
            else:
                failures.append(error)

        self._fault = ""  # that of an earlier call may have passed
        producer, prefix, partition_of = self._producer, self._prefix, self._placement.partition
        for place in places:
            topic, key, value, headers = records[place]
            name = prefix + topic
            while True:
                try:
                    partition = partition_of(producer, name, key)
                    if headers:
                        producer.produce(name, value, key, partition, on_delivery=delivered, headers=list(headers))
                    else:
                        producer.produce(name, value, key, partition, on_delivery=delivered)
                    break
                except BufferError:
                    self._producer.poll(0.1)
                except KafkaException as error:
                    if error.args[0].code() != KafkaError.MSG_SIZE_TOO_LARGE:
                        self._abandon(error.args)
                        raise PublishFailedError(str(error)) from error
                    oversized.append(place)
                    break
        left = self._producer.flush(self._timeout_s)
        if failures or left:
            self._abandon(failures)
            reason = failures[0] if failures else self._fault or "no answer from the broker"
            raise PublishFailedError(f"{len(failures) + left} of {len(places)} records not confirmed: {reason}")
        if not refused:
            return oversized, []
        names = {place: (prefix + records[place].topic, records[place].key, records[place].value) for place in places}
        return oversized, [place for place, name in names.items() if name in refused]

    def _note_fault(self, error: KafkaError) -> None:
        """Keep what is wrong with the connection, such as a refused password: the failures of records do not say it."""
        if error.name() != "_ALL_BROKERS_DOWN":
            self._fault = error.str()

    def _abandon(self, failures: Iterable[KafkaError]) -> None:
        """Forget what is not confirmed; where the producer itself is lost, the next call uses a new one."""
        self._producer.purge()
        self._placement.forget()
        if any(error.name() in _PRODUCER_LOST or error.fatal() for error in failures):
            self._producer = Producer(self._config)

    def missing(self, topics: Iterable[str], timeout_s: float = 2.0) -> list[str]:
        """List the full names of those topics that do not exist; may be called from any thread.

        Raises:
            KafkaException: The broker does not answer in time.
        """
        existing = self._producer.list_topics(timeout=timeout_s).topics
        return [self._prefix + name for name in topics if self._prefix + name not in existing]

    def close(self) -> None:
        """Wait for what is in flight and stop the thread."""
        self._producer.flush(5)
        self._thread.shutdown(wait=False, cancel_futures=True)


def create_topics(
    connection: Mapping[str, Any],
    topics: Iterable[Topic],
    *,
    prefix: str = "",
    partitions: int,
    replicas: int,
    timeout_s: float = 10.0,
) -> dict[str, str]:
    """Create the topics that do not exist; leave the others' partitions alone.

    Returns:
        For each topic's full name: `created` or `exists`.

    Raises:
        KafkaException: The broker cannot be reached or refuses; the message names the topic.
    """
    admin = AdminClient(dict(connection))
    existing = set(admin.list_topics(timeout=timeout_s).topics)
    outcome: dict[str, str] = {prefix + topic.name: "exists" for topic in topics if prefix + topic.name in existing}
    wanted = [topic for topic in topics if prefix + topic.name not in existing]
    if wanted:
        created = admin.create_topics(
            [
                NewTopic(
                    prefix + topic.name,
                    num_partitions=partitions,
                    replication_factor=replicas,
                    config={"retention.ms": str(topic.retention_ms), **topic.config},
                )
                for topic in wanted
            ]
        )
        for name, future in created.items():
            try:
                future.result(timeout=30)
                outcome[name] = "created"
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise
                outcome[name] = "exists"
    return outcome
