"""What is read of both brokers about how far the log is processed: every record counts until it is committed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from deploy.operations.provision import apply_topics
from deploy.operations.roles import consumed_topics, group_id
from deploy.settings import Settings
from deploy.workers.wiring import kafka_progress
from processors.stream.watermark import MARGIN_MS, Watermark
from schemas.topics import RESOLVED_TOUCHPOINTS
from sinks.kafka.progress import KafkaProgress

pytestmark = pytest.mark.integration

NOW_MS = 1_800_000_000_000
RECORDS = 3000


@pytest.fixture(params=["stack", "kafka_stack"])
def deployment(request: pytest.FixtureRequest) -> Settings:
    """A deployment on Tansu (or what the environment names) and one on Apache Kafka."""
    settings: Settings = request.getfixturevalue(request.param)
    return settings


class Log:
    """The topics of a deployment, how far they are processed, and the watermark that follows from it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.now_ms = NOW_MS
        self.progress: KafkaProgress = kafka_progress(settings, lambda: self.now_ms, timeout_s=20)
        self.watermark = Watermark()

    def publish(self, topic: str, count: int, *, transaction: str = "") -> None:
        config = {"bootstrap.servers": self.settings.kafka_bootstrap, "linger.ms": 200}
        producer = Producer({**config, "transactional.id": transaction} if transaction else config)
        if transaction:
            producer.init_transactions(30)
            producer.begin_transaction()
        for number in range(count):
            producer.produce(self.settings.topic_prefix + topic, value=b"x", key=str(number))
        if transaction:
            producer.commit_transaction(30)
        assert 0 == producer.flush(30)

    def process(self, role: str, *, but: int = 0) -> None:
        """Commit everything that there is, but the last records of each partition."""
        settings = self.settings
        group = group_id(settings.topic_prefix, role)
        consumer = Consumer(
            {
                "bootstrap.servers": settings.kafka_bootstrap,
                "group.id": group,
                "enable.partition.eof": True,
                "enable.auto.commit": False,
            }
        )
        topics = [settings.topic_prefix + name for name in consumed_topics(role, settings.channels)]
        unfinished = {(name, number) for name in topics for number in range(settings.partitions)}
        consumer.assign([TopicPartition(*place, 0) for place in unfinished])
        last = {}
        while unfinished:
            message = consumer.poll(20)
            assert message is not None
            place = (message.topic(), message.partition())
            if message.error() is None:
                last[place] = message.offset() + 1
            else:
                unfinished.discard(place)
        if last:
            places = [TopicPartition(*place, max(0, offset - but)) for place, offset in last.items()]
            consumer.commit(offsets=places, asynchronous=False)
        consumer.close()

    async def processed_until(self, *, measurements: int = 1) -> int:
        """By how much the watermark is behind, but for the margin, after so many further measurements."""
        for _ in range(measurements):
            self.now_ms += 1000
            while (measured := await self.progress.measure()) is None:
                await asyncio.sleep(0.2)  # a new topic's leaders can take a while
            self.watermark.observe(measured)
        return self.now_ms - self.watermark.current() - MARGIN_MS


@pytest.fixture
def empty_log(deployment: Settings) -> Iterator[Log]:
    log = Log(deployment)
    yield log
    log.progress.close()


@pytest.fixture
def log(empty_log: Log) -> Log:
    apply_topics(empty_log.settings)
    return empty_log


async def test_before_the_topics_exist_nothing_is_known(empty_log: Log) -> None:
    assert await empty_log.progress.measure() is None


async def test_empty_topics_hold_nothing_back(log: Log) -> None:
    assert 0 == await log.processed_until()


async def test_every_record_of_either_group_counts_until_it_is_committed_to_the_last(log: Log) -> None:
    await log.processed_until()
    log.publish("touchpoints.web", RECORDS)
    waits_for_identify = await log.processed_until(measurements=3)
    log.process("identify", but=1)
    waits_for_the_last = await log.processed_until(measurements=3)
    log.publish(RESOLVED_TOUCHPOINTS, RECORDS)
    log.process("identify")
    waits_for_profile = await log.processed_until(measurements=3)
    log.process("profile", but=1)
    waits_for_its_last = await log.processed_until(measurements=3)
    log.process("profile")

    assert [3000, 6000, 9000, 12_000, 0] == [
        waits_for_identify,
        waits_for_the_last,
        waits_for_profile,
        waits_for_its_last,
        await log.processed_until(),
    ]


async def test_more_records_in_the_same_batch_of_a_partition_count_too(log: Log) -> None:
    """Tansu reports the offset after the first record of the last batch as the end of a partition."""
    log.publish("touchpoints.web", RECORDS)
    log.process("identify", but=2)

    assert NOW_MS < await log.processed_until(measurements=2)


async def test_nobody_who_answers_late_or_never_moves_it(log: Log) -> None:
    gone = log.settings.model_copy(update={"kafka_bootstrap": "127.0.0.1:1"})
    progress = kafka_progress(gone, lambda: NOW_MS, timeout_s=1)
    try:
        assert await progress.measure() is None
    finally:
        progress.close()


async def test_the_marker_of_a_transaction_is_no_record_that_waits(kafka_stack: Settings) -> None:
    """A producer of touchpoints may write in transactions, such as Kafka Streams or Flink do."""
    apply_topics(kafka_stack)
    log = Log(kafka_stack)
    try:
        log.publish("touchpoints.web", 20, transaction=f"{kafka_stack.topic_prefix}t")
        unread = await log.processed_until(measurements=3)
        log.process("identify")
        read = await log.processed_until(measurements=3)
        log.publish("touchpoints.web", 20, transaction=f"{kafka_stack.topic_prefix}t")

        assert (True, True, True) == (unread > NOW_MS, read < 3000, 3000 <= await log.processed_until(measurements=3))
    finally:
        log.progress.close()
