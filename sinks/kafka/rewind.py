"""Puts a consumer group back to offsets of before, while no worker of it runs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient

from schemas.offsets import Offsets

_ANSWER_S = 10.0
_SESSION_MS = 6_000
_HAS_MEMBERS = frozenset({KafkaError.UNKNOWN_MEMBER_ID, KafkaError.NON_EMPTY_GROUP, KafkaError.REBALANCE_IN_PROGRESS})
"""What a broker answers who is no member, while the group has some."""


class GroupInUseError(RuntimeError):
    """Workers of the group run: they would commit over what is set."""


def cluster_id(connection: Mapping[str, Any], timeout_s: float) -> str:
    """Return the id of the Kafka cluster.

    Raises:
        KafkaException: It does not answer.
    """
    return str(AdminClient(dict(connection)).list_topics(timeout=timeout_s).cluster_id or "")


def rewind(connection: Mapping[str, Any], group: str, offsets: Offsets, *, timeout_s: float) -> None:
    """Commit offsets for a group that has no members.

    Args:
        connection: librdkafka's properties of the connection.
        group: The consumer group.
        offsets: One for each partition of the topics that it reads.
        timeout_s: Longest wait for members to leave; one that was killed stays for the length of its session.

    Raises:
        GroupInUseError: Others are members.
        KafkaException: The broker does not answer, or refuses.
    """
    if not offsets:
        return
    wanted = [TopicPartition(*place, offset) for place, offset in offsets.items()]
    error = _commit(AdminClient(dict(connection)), group, wanted)
    if error is None:
        return
    if error.code() not in _HAS_MEMBERS:
        raise KafkaException(error)
    if not _commit_as_member(connection, group, wanted, timeout_s):
        raise GroupInUseError(f"workers of {group} run")


def _commit_as_member(
    connection: Mapping[str, Any], group: str, wanted: list[TopicPartition], timeout_s: float
) -> bool:
    """Join the group, and commit once no one else is in it: the local stack's broker drops the dead at a join alone."""
    consumer = Consumer(
        {**connection, "group.id": group, "enable.auto.commit": False, "session.timeout.ms": _SESSION_MS}
    )
    places = {(one.topic, one.partition) for one in wanted}
    try:
        consumer.subscribe(sorted({topic for topic, _ in places}))
        deadline = time.monotonic() + timeout_s
        while not places <= {(at.topic, at.partition) for at in consumer.assignment()}:
            if time.monotonic() > deadline:
                return False
            consumer.poll(0.2)
        consumer.commit(offsets=wanted, asynchronous=False)
        return True
    finally:
        consumer.close()


def _commit(admin: Any, group: str, wanted: list[TopicPartition]) -> KafkaError | None:
    """Commit; return the first error, of the group or of a partition."""
    asked = [ConsumerGroupTopicPartitions(group, wanted)]
    (future,) = admin.alter_consumer_group_offsets(asked, request_timeout=_ANSWER_S).values()
    try:
        found = future.result(_ANSWER_S + 1).topic_partitions
    except KafkaException as error:
        reason: KafkaError = error.args[0]
        return reason
    return next((one.error for one in found if one.error is not None), None)
