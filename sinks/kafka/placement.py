"""Places records in partitions: those of a topic that is partitioned by shard in the partition of their key's shard."""

from __future__ import annotations

from typing import Any

from confluent_kafka import KafkaError, KafkaException

from schemas.shards import partition_of
from schemas.topics import PARTITIONED_BY_SHARD

METADATA_TIMEOUT_S = 5.0
ANY_PARTITION = -1
"""The partitioner of the producer chooses."""


class Placement:
    """The partitions of records; how many a topic has is asked once, until it is forgotten.

    Args:
        prefix: The deployment's prefix of topic names.
    """

    def __init__(self, prefix: str) -> None:
        self._by_shard = frozenset(prefix + topic for topic in PARTITIONED_BY_SHARD)
        self._partitions: dict[str, int] = {}

    def partition(self, producer: Any, topic: str, key: bytes) -> int:
        """Return the partition for a record.

        Args:
            producer: A client of the broker.
            topic: The topic's full name.
            key: Of the record.

        Raises:
            KafkaException: The broker does not answer, or does not know the topic.
        """
        if topic not in self._by_shard:
            return ANY_PARTITION
        return partition_of(key, self._partitions.get(topic) or self._count(producer, topic))

    def forget(self) -> None:
        """Ask again: a topic may have other partitions."""
        self._partitions.clear()

    def _count(self, producer: Any, topic: str) -> int:
        found = producer.list_topics(topic, METADATA_TIMEOUT_S).topics[topic]
        if not found.partitions:
            raise KafkaException(found.error or KafkaError(KafkaError.UNKNOWN_TOPIC_OR_PART))
        self._partitions[topic] = len(found.partitions)
        return len(found.partitions)
