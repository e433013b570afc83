"""Reads topics of a test's deployment, from the start to the end."""

from __future__ import annotations

import time
from typing import Any

import orjson
from confluent_kafka import Consumer, KafkaError, TopicPartition

from deploy.settings import Settings

Arrived = list[tuple[str, int, bytes | None, bytes]]
"""Topic without prefix, partition, key, value; in order within a partition."""


def everything(settings: Settings, named: str = "touchpoints.") -> Arrived:
    """Read all topics whose names begin so: those of producers, or another one."""
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka_bootstrap,
            "group.id": f"{settings.topic_prefix}test",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    prefix = settings.topic_prefix + named
    known = consumer.list_topics(timeout=10).topics
    partitions = [
        TopicPartition(name, partition, 0)
        for name in known
        if name.startswith(prefix)
        for partition in known[name].partitions
    ]
    consumer.assign(partitions)
    found: Arrived = []
    ended: set[tuple[Any, Any]] = set()
    deadline = time.monotonic() + 60
    while len(ended) < len(partitions) and time.monotonic() < deadline:
        for message in consumer.consume(1000, timeout=0.2):
            error = message.error()
            if error is None:
                topic = str(message.topic()).removeprefix(settings.topic_prefix)
                found.append((topic, message.partition(), message.key(), message.value()))
            elif error.code() == KafkaError._PARTITION_EOF:
                ended.add((message.topic(), message.partition()))
            else:
                raise AssertionError(str(error))
    consumer.close()
    assert len(ended) == len(partitions), "not read to the end within a minute"
    return found


def distinct_records(settings: Settings, topic: str) -> list[dict[str, Any]]:
    """Read the records of one topic; copies, which the relay may make, count once."""
    values = {value for name, _, _, value in everything(settings, topic) if name == topic}
    return [orjson.loads(value) for value in values]
