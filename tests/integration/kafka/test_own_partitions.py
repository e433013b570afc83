"""A worker fires the timers of the people whose records it reads: the partition is the one that a producer chooses."""

from __future__ import annotations

import pytest
from confluent_kafka import Consumer, TopicPartition

from deploy.connections.kafka import kafka_connection
from deploy.operations.provision import apply_topics
from deploy.settings import Settings
from schemas.records import Outgoing
from schemas.shards import partition_of
from schemas.topics import RESOLVED_TOUCHPOINTS
from sinks.kafka.producer import KafkaPublisher

pytestmark = pytest.mark.integration


async def test_a_person_is_in_the_partition_of_the_records(stack: Settings) -> None:
    apply_topics(stack)
    people = [f"{'person' * (number % 4)}{number:x}" for number in range(1, 200)]
    publisher = KafkaPublisher(kafka_connection(stack), stack.topic_prefix)
    await publisher.send([Outgoing(RESOLVED_TOUCHPOINTS, person.encode(), b"{}") for person in people])
    publisher.close()
    reader = Consumer({"bootstrap.servers": stack.kafka_bootstrap, "group.id": "look"})
    topic = stack.topic_prefix + RESOLVED_TOUCHPOINTS
    reader.assign([TopicPartition(topic, number, 0) for number in range(stack.partitions)])
    found: dict[str, int] = {}
    while len(found) < len(people):
        message = reader.poll(10)
        assert message is not None
        found[message.key().decode()] = message.partition()
    reader.close()

    assert {person: partition_of(person.encode(), stack.partitions) for person in people} == found
