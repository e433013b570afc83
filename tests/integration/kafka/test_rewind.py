"""A consumer group is put back only while nobody else is in it, whose commits would undo that."""

from __future__ import annotations

import threading

import pytest
from confluent_kafka import Consumer

from deploy.connections.kafka import kafka_connection
from deploy.operations.provision import apply_topics
from deploy.settings import Settings
from sinks.kafka.offsets import OffsetReader
from sinks.kafka.rewind import GroupInUseError, cluster_id, rewind

pytestmark = pytest.mark.integration


def test_a_group_is_put_back_when_its_last_worker_has_left(stack: Settings) -> None:
    apply_topics(stack)
    connection, group, topic = kafka_connection(stack), f"{stack.topic_prefix}readers", f"{stack.topic_prefix}actions"
    offsets = {(topic, number): 0 for number in range(stack.partitions)}
    other = Consumer({**connection, "group.id": group, "session.timeout.ms": 6000})
    other.subscribe([topic])
    while not other.assignment():
        other.poll(0.1)
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            other.poll(0.1)
        other.close()

    worker = threading.Thread(target=work)
    worker.start()
    try:
        with pytest.raises(GroupInUseError, match="readers run"):
            rewind(connection, group, offsets, timeout_s=2)
    finally:
        done.set()
        worker.join()
    rewind(connection, group, offsets, timeout_s=60)
    reader = OffsetReader(connection, [group], f"{group}-lag", timeout_s=10)
    try:
        assert offsets == reader.committed(group, list(offsets))
    finally:
        reader.close()
    assert cluster_id(connection, 10) == cluster_id(connection, 10)
