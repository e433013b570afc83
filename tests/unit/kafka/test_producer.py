"""Which records of a call are too large is found out, also where a broker refuses a batch for one of its records."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from confluent_kafka import KafkaError, KafkaException

from schemas.dead_letters import RECORD_LIMIT_BYTES
from schemas.records import Outgoing, RecordsTooLargeError
from schemas.shards import partition_of
from schemas.topics import DECISIONS, RESOLVED_TOUCHPOINTS
from sinks.kafka.producer import KafkaPublisher, PublishFailedError


class Sent(NamedTuple):
    """A record on its way to the broker."""

    at_topic: str
    of_key: bytes
    of_value: bytes
    partition: int
    on_delivery: Callable[[KafkaError, Any], None]

    def topic(self) -> str:
        return self.at_topic

    def key(self) -> bytes | None:
        return self.of_key or None  # as librdkafka answers for an empty key

    def value(self) -> bytes | None:
        return self.of_value or None


class Client:
    """A librdkafka producer whose broker takes batches up to a size, and refuses a larger one as a whole."""

    batch_limit_bytes = 100
    partitions_of_topic = 12
    down = False
    lost: int | None = None

    def __init__(self, _config: object) -> None:
        self.batch: list[Sent] = []
        self.confirmed: list[bytes] = []
        self.partitions: dict[bytes, int] = {}

    def list_topics(self, topic: str, _timeout_s: float) -> Any:
        if self.down:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))
        found = SimpleNamespace(partitions=range(self.partitions_of_topic), error=None)
        return SimpleNamespace(topics={topic: found})

    def produce(self, topic: str, value: bytes, key: bytes, partition: int, *, on_delivery: Any) -> None:
        if len(value) > RECORD_LIMIT_BYTES:
            raise KafkaException(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE))
        self.batch.append(Sent(topic, key, value, partition, on_delivery))
        self.partitions[key] = partition

    def flush(self, _timeout_s: float) -> int:
        batch, self.batch = self.batch, []
        if self.down:
            return len(batch)
        if self.lost is not None:
            for one in batch:
                one.on_delivery(KafkaError(self.lost), one)
        elif sum(len(one.of_value) for one in batch) <= self.batch_limit_bytes:
            self.confirmed += [one.of_value for one in batch]
        else:
            for one in batch:
                one.on_delivery(KafkaError(KafkaError.MSG_SIZE_TOO_LARGE), one)
        return 0

    def purge(self) -> None:
        self.batch = []


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> KafkaPublisher:
    monkeypatch.setattr("sinks.kafka.producer.Producer", Client)
    return KafkaPublisher({"bootstrap.servers": "127.0.0.1:9"}, "t-")


def client(publisher: KafkaPublisher) -> Client:
    found = publisher._producer
    assert isinstance(found, Client)
    return found


def records(*sizes: int) -> list[Outgoing]:
    return [Outgoing("decisions", b"", b"%d" % number * size) for number, size in enumerate(sizes)]


async def test_what_the_client_refuses_is_named_and_the_others_are_confirmed(publisher: KafkaPublisher) -> None:
    with pytest.raises(RecordsTooLargeError) as raised:
        await publisher.send(records(10, RECORD_LIMIT_BYTES + 1, 20))

    assert (1,) == raised.value.places
    assert [10, 20] == [len(value) for value in client(publisher).confirmed]


async def test_neighbours_of_a_record_for_which_the_broker_refuses_the_batch_are_sent(
    publisher: KafkaPublisher,
) -> None:
    with pytest.raises(RecordsTooLargeError, match="1 records of decisions") as raised:
        await publisher.send(records(10, 101, 20))

    assert (1,) == raised.value.places
    assert [10, 20] == [len(value) for value in client(publisher).confirmed]


async def test_records_that_are_too_large_together_alone_are_all_confirmed(publisher: KafkaPublisher) -> None:
    await publisher.send(records(60, 60, 60))

    assert [60, 60, 60] == [len(value) for value in client(publisher).confirmed]


async def test_a_broker_that_is_down_is_no_matter_of_size(publisher: KafkaPublisher) -> None:
    client(publisher).down = True

    with pytest.raises(PublishFailedError, match="2 of 3 records not confirmed"):
        await publisher.send(records(10, RECORD_LIMIT_BYTES + 1, 20))


@pytest.mark.parametrize(
    "code", [KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH, KafkaError.OUT_OF_ORDER_SEQUENCE_NUMBER]
)
async def test_a_producer_that_the_broker_has_forgotten_is_replaced(publisher: KafkaPublisher, code: int) -> None:
    lost = client(publisher)
    lost.lost = code

    with pytest.raises(PublishFailedError, match="2 of 2 records not confirmed"):
        await publisher.send(records(10, 20))
    await publisher.send(records(10, 20))

    assert client(publisher) is not lost
    assert [10, 20] == [len(value) for value in client(publisher).confirmed]


async def test_a_failure_that_passes_leaves_the_producer_in_place(publisher: KafkaPublisher) -> None:
    same = client(publisher)
    same.lost = KafkaError.NOT_ENOUGH_REPLICAS
    with pytest.raises(PublishFailedError):
        await publisher.send(records(10))

    assert client(publisher) is same


PEOPLE = [b"p%d" % number for number in range(50)]


def resolved() -> list[Outgoing]:
    return [Outgoing(RESOLVED_TOUCHPOINTS, person, b"{}") for person in PEOPLE]


async def test_a_resolved_event_goes_to_the_partition_of_its_persons_shard(publisher: KafkaPublisher) -> None:
    await publisher.send([*resolved(), Outgoing(DECISIONS, b"other", b"{}")])

    expected = {**{person: partition_of(person, 12) for person in PEOPLE}, b"other": -1}
    assert expected == client(publisher).partitions


async def test_after_a_failure_it_is_asked_again_how_many_partitions_there_are(publisher: KafkaPublisher) -> None:
    await publisher.send(resolved())
    client(publisher).partitions_of_topic = 24
    client(publisher).down = True
    with pytest.raises(PublishFailedError):
        await publisher.send(resolved())
    client(publisher).down = False
    await publisher.send(resolved())

    assert {person: partition_of(person, 24) for person in PEOPLE} == client(publisher).partitions


@pytest.mark.parametrize("broken", ["down", "topic"])
async def test_without_a_known_topic_nothing_is_published(publisher: KafkaPublisher, broken: str) -> None:
    client(publisher).down = broken == "down"
    client(publisher).partitions_of_topic = 0 if broken == "topic" else 12

    with pytest.raises(PublishFailedError):
        await publisher.send(resolved())

    assert [] == client(publisher).confirmed
