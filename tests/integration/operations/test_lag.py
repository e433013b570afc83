"""Lags are exact on both brokers, whatever they answer when asked for the end of a partition."""

from __future__ import annotations

import time

import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition

from deploy.operations.completion import drain, pending
from deploy.operations.lag import KafkaUnreachableError, LagReader
from deploy.operations.provision import apply_topics
from deploy.operations.roles import group_id
from deploy.settings import Settings
from sinks.redis.keys import person_prefix

pytestmark = pytest.mark.integration

RECORDS = 5000


@pytest.fixture(params=["stack", "kafka_stack"])
def deployment(request: pytest.FixtureRequest) -> Settings:
    """A deployment on Tansu (or what the environment names) and one on Apache Kafka."""
    settings: Settings = request.getfixturevalue(request.param)
    return settings


def publish(settings: Settings, count: int) -> None:
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap, "linger.ms": 50})
    for number in range(count):
        channel = settings.channels[number % len(settings.channels)]
        producer.produce(f"{settings.topic_prefix}touchpoints.{channel}", value=b"x" * 300, key=str(number))
    assert producer.flush(30) == 0


def commit(settings: Settings, role: str, offsets: dict[tuple[str, int], int]) -> None:
    consumer = Consumer(
        {"bootstrap.servers": settings.kafka_bootstrap, "group.id": group_id(settings.topic_prefix, role)}
    )
    try:
        consumer.commit(offsets=[TopicPartition(*key, offset) for key, offset in offsets.items()], asynchronous=False)
    finally:
        consumer.close()


def behind(reader: LagReader, role: str) -> dict[tuple[str, int], int]:
    return {(lag.topic, lag.partition): lag.records for lag in reader.lags() if lag.role == role}


def test_before_the_topics_exist_nothing_is_behind(deployment: Settings) -> None:
    with LagReader(deployment, timeout_s=60) as reader:
        assert reader.lags() == []


def test_every_record_counts_until_it_is_committed_to_the_last(deployment: Settings) -> None:
    apply_topics(deployment)
    with LagReader(deployment, timeout_s=60) as reader:
        empty = behind(reader, "identify")
        publish(deployment, RECORDS)
        published = behind(reader, "identify")
        commit(deployment, "identify", {key: count - 1 for key, count in published.items() if count})
        but_one = behind(reader, "identify")
        commit(deployment, "identify", {key: count for key, count in published.items() if count})
        committed = behind(reader, "identify")
    assert len(empty) == len(deployment.channels) * deployment.partitions
    assert (sum(empty.values()), sum(published.values())) == (0, RECORDS)
    assert but_one == {key: min(1, count) for key, count in published.items()}
    assert sum(committed.values()) == 0


def test_the_outbox_and_the_changed_profiles_are_pending_too(stack: Settings) -> None:
    apply_topics(stack)
    with redis.Redis.from_url(stack.redis_url) as client, LagReader(stack) as reader:
        client.xadd(f"{{{stack.redis_namespace}}}:identity:log", {"change": "1"})
        for person in ("a", "b"):
            client.zadd(f"{person_prefix(stack.redis_namespace, person)}profiles:changed", {person: 1})
        found = pending(stack, reader, client)
    assert (found.behind, found.identity_changes, found.profiles) == ((), 1, 2)


def test_an_idle_deployment_of_300_partitions_is_drained_within_seconds(stack: Settings) -> None:
    settings = stack.model_copy(update={"partitions": 12})
    apply_topics(settings)
    with redis.Redis.from_url(settings.redis_url) as client, LagReader(settings) as reader:
        started = time.monotonic()
        found = drain(lambda: pending(settings, reader, client), timeout_s=60)
        took_s = time.monotonic() - started
    assert found.empty
    assert took_s < 25  # 1 s; the machine may be busy, and a tenth of a second for each partition would be 30 s


def test_a_broker_that_is_down_is_named() -> None:
    nowhere = Settings(kafka_bootstrap="127.0.0.1:1")
    with (
        LagReader(nowhere, timeout_s=0.5) as reader,
        pytest.raises(KafkaUnreachableError, match=r"Kafka at 127\.0\.0\.1:1"),
    ):
        reader.lags()
