"""What an agent is handed, and when Faust is told that it is done."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import TopicPartition

from deploy.workers.transport import BatchScheduler, RecordBatch
from processors.stream.batches import batches


def record(topic: str, partition: int, offset: int) -> Any:
    return SimpleNamespace(topic=topic, partition=partition, offset=offset, timestamp=1, key=None, value=b"{}")


def event(first: int, count: int, partition: int = 0) -> Any:
    return SimpleNamespace(value=RecordBatch("t", partition, [record("t", partition, first + n) for n in range(count)]))


class Stream:
    """A Faust stream as far as `batches` uses one: manual acknowledgement only."""

    def __init__(self, *events: Any, then: BaseException | None = None, pause: float = 0.0) -> None:
        self._events, self._then, self._pause = events, then, pause
        self.acked: list[Any] = []
        self.manual = False

    def noack(self) -> "Stream":
        self.manual = True
        return self

    async def events(self) -> AsyncIterator[Any]:
        for one in self._events:
            yield one
            await asyncio.sleep(self._pause)
        if self._then:
            raise self._then

    async def ack(self, one: Any) -> None:
        self.acked.append(one)


async def test_what_is_waiting_is_one_batch_in_order() -> None:
    stream = Stream(event(0, 3), event(3, 2), event(0, 1, partition=1))

    taken = [
        [(r.partition, r.offset) for r in batch.records]
        async for batch in batches(stream, max_records=100, linger_s=lambda: 0.05)
    ]

    assert [[(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (1, 0)]] == taken
    assert stream.manual


async def test_a_batch_does_not_grow_past_its_limit_by_more_than_one_event() -> None:
    stream = Stream(event(0, 3), event(3, 3), event(6, 3))

    sizes = [len(batch.records) async for batch in batches(stream, max_records=4, linger_s=lambda: 0.05)]

    assert [6, 3] == sizes


async def test_nothing_is_acknowledged_before_done() -> None:
    first, second = event(0, 1), event(1, 1)
    stream = Stream(first, second)

    async for batch in batches(stream, max_records=1):
        before = list(stream.acked)
        await batch.acknowledge()
        assert len(stream.acked) == len(before) + 1

    assert [first, second] == stream.acked


async def test_leaving_the_loop_acknowledges_nothing() -> None:
    stream = Stream(event(0, 1), event(1, 1))

    with pytest.raises(RuntimeError, match="the agent failed"):
        async for _ in batches(stream, max_records=1):
            raise RuntimeError("the agent failed")

    assert [] == stream.acked


async def test_an_error_of_the_stream_reaches_the_agent() -> None:
    stream = Stream(event(0, 1), then=ConnectionError("broker"))

    with pytest.raises(ConnectionError, match="broker"):
        async for batch in batches(stream, max_records=10):
            await batch.acknowledge()


async def test_without_linger_a_lone_event_does_not_wait_for_company() -> None:
    stream = Stream(event(0, 1), event(1, 1), pause=0.2)
    started = asyncio.get_running_loop().time()

    async for _ in batches(stream, max_records=100):
        waited = asyncio.get_running_loop().time() - started
        break

    assert waited < 0.15


async def test_the_token_names_every_range_of_the_batch() -> None:
    stream = Stream(event(10, 3), event(5, 1, partition=2))

    tokens = [batch.token async for batch in batches(stream, max_records=100, linger_s=lambda: 0.05)]

    assert ["t:0:10-12,t:2:5-5"] == tokens


def test_the_scheduler_takes_turns_between_partitions() -> None:
    tp = [TopicPartition("t", n) for n in range(2)]
    records = {tp[0]: [record("t", 0, n) for n in range(2500)], tp[1]: [record("t", 1, n) for n in range(10)]}

    runs = [(batch.partition, batch.records[0].offset, batch.offset) for _, batch in BatchScheduler().iterate(records)]

    assert [(0, 0, 999), (1, 0, 9), (0, 1000, 1999), (0, 2000, 2499)] == runs
