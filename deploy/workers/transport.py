"""Faust's Kafka transport with a batch of records as the unit of work.

Stock Faust pays about 100 µs for each message before an agent sees it (two futures and a task in the fetcher's loop),
whatever the message holds. Here a *record batch*, a run of records of one partition, looks to Faust like one message,
so that price is paid once for up to a thousand records.

Faust's own are still: the app and its `@agent`, `@task` and `@timer`, the consumer thread and its poll loop, consumer
groups and rebalancing, topic subscriptions, backpressure through bounded stream buffers, and when offsets are
committed. Ours are: the unit of work (`RecordBatch`), how fetched records are cut into units (`BatchScheduler`), no
decoding (`BatchSchema`), which offset may be committed (`Consumer._new_offset`), a lighter record class, a shorter
fetch wait, and a watch on the consumer group's errors.

Invariant: the offset committed for a partition is the end of the longest acknowledged prefix of the delivered batches.
It depends neither on acknowledgements being in order nor on offsets being consecutive, so a failed batch is never
committed past.

Private names of faust-streaming 0.15 and aiokafka 0.14 are used; `_require` asserts them at import, `pyproject.toml`
pins both, and `tests/fault` holds the contract.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from time import monotonic
from typing import Any, NamedTuple

import aiokafka
import faust
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.consumer.group_coordinator import GroupCoordinator
from faust.transport.drivers import aiokafka as driver
from mode import Service

from schemas.records import Headers, Record

RECORDS_PER_BATCH = 1000
FETCH_MAX_WAIT_MS = 200
"""How long the broker may hold a fetch that finds no record. Faust hard-codes 1500. Apache Kafka answers as soon as
there is a record; for the local stack's broker a shorter time is expensive (`deploy/local/broker.py`)."""
GROUP_ERROR_LIMIT_S = 60.0


def _require(owner: object, *names: str) -> None:
    missing = [name for name in names if not hasattr(owner, name)]
    if missing:
        raise ImportError(
            f"deploy/workers/transport.py needs {missing} of {owner!r}: "
            "pin faust-streaming==0.15.* and aiokafka==0.14.*"
        )


_require(driver.Consumer, "_new_offset", "_add_gap", "_new_consumer_thread", "on_buffer_full", "perform_seek", "seek")
_require(driver.AIOKafkaConsumerThread, "_create_consumer", "call_thread", "_ensure_consumer")
_require(GroupCoordinator, "check_errors")
_require(PartitionRecords, "_consumer_record")


class FetchedRecord(NamedTuple):
    """One record of a fetch response."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


def _fetched_record(_records: PartitionRecords, tp: Any, record: Any) -> FetchedRecord:
    headers = record.headers or ()  # not the empty list that aiokafka makes for each record
    return FetchedRecord(tp.topic, tp.partition, record.offset, record.timestamp, record.key, record.value, headers)


# aiokafka's own record has eleven fields and costs three times as much to make, for every record that we read.
PartitionRecords._consumer_record = _fetched_record  # noqa: SLF001 - asserted above


class RecordBatch:
    """A run of records of one partition, with the attributes that Faust reads off a message.

    Attributes:
        records: The records, in offset order, never empty.
        topic: The full name of their topic.
        partition: Their partition.
        offset: The offset of the last record: acknowledging the batch acknowledges all of it.
        value: The batch itself, which is what an agent's event carries.
    """

    __slots__ = ("offset", "partition", "records", "timestamp", "timestamp_type", "topic")

    # Attributes of a consumer record that Faust reads and a batch has no value for.
    headers: tuple[()] = ()
    key = None
    checksum = None
    serialized_key_size = 0
    serialized_value_size = 0

    def __init__(self, topic: str, partition: int, records: list[Record]) -> None:
        last = records[-1]
        self.records = records
        self.topic = topic
        self.partition = partition
        self.offset = last.offset
        self.timestamp = last.timestamp
        self.timestamp_type = 0

    @property
    def value(self) -> RecordBatch:
        """The value of the message: the batch."""
        return self


class BatchScheduler:
    """Faust's `ConsumerScheduler`: yields record batches, round robin over partitions."""

    def iterate(self, records: Mapping[Any, list[Record]]) -> Iterator[tuple[Any, RecordBatch]]:
        """Cut each partition's records into batches and take turns between partitions."""
        waiting = deque((tp, found, 0) for tp, found in records.items() if found)
        while waiting:
            tp, found, start = waiting.popleft()
            end = start + RECORDS_PER_BATCH
            yield tp, RecordBatch(tp.topic, tp.partition, found[start:end])
            if end < len(found):
                waiting.append((tp, found, end))


class BatchSchema(faust.Schema):  # type: ignore[misc]
    """Passes a record batch on undecoded: the stages decode, and make a dead letter of what they cannot read."""

    def loads_key(self, app: Any, message: Any, **_: Any) -> Any:
        """Return None: a batch has no key."""
        return None

    def loads_value(self, app: Any, message: Any, **_: Any) -> Any:
        """Return the batch."""
        return message.value


class _ConsumerThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    def _create_consumer(self, loop: asyncio.AbstractEventLoop) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_consumer(loop=loop)
        _require(consumer, "_fetch_max_wait_ms")
        consumer._fetch_max_wait_ms = FETCH_MAX_WAIT_MS  # noqa: SLF001 - asserted above
        return consumer

    async def check_group(self) -> None:
        """Raise the error that the group coordinator's loop waits on; raising it lets that loop go on."""
        self._ensure_consumer()._coordinator.check_errors()  # noqa: SLF001 - asserted at import


class Consumer(driver.Consumer):  # type: ignore[misc]
    """Faust's consumer with commit arithmetic for batches."""

    def __init__(self, transport: Any, callback: Callable[[Any], Any], *args: Any, **kwargs: Any) -> None:
        self._delivered: dict[Any, deque[Any]] = {}
        self._acknowledged_end: dict[Any, int] = {}
        self.polled_at = monotonic()

        async def deliver(message: Any) -> None:
            self._delivered.setdefault(message.tp, deque()).append(message)
            await callback(message)

        super().__init__(transport, deliver, *args, **kwargs)

    def _new_consumer_thread(self) -> _ConsumerThread:
        return _ConsumerThread(self, loop=self.loop, beacon=self.beacon)

    async def _getmany(self, active_partitions: Any, timeout: float) -> Any:  # noqa: ASYNC109 - Faust's signature
        self.polled_at = monotonic()
        return await super()._getmany(active_partitions, timeout)

    def _new_offset(self, tp: Any) -> int | None:
        # The base class's own ledger is not used: empty it, or it grows.
        self._acked[tp].clear()
        self._acked_index[tp].clear()
        delivered = self._delivered.get(tp)
        while delivered and delivered[0].acked:
            self._acknowledged_end[tp] = delivered.popleft().offset + 1
        return self._acknowledged_end.get(tp)

    async def _add_gap(self, tp: Any, offset_from: int, offset_to: int) -> None:
        """Gaps between offsets need no bookkeeping here."""

    def on_buffer_full(self, tp: Any) -> None:
        """Do not pause the partition: a full queue already blocks the fetcher, and resuming costs whole seconds."""

    async def perform_seek(self) -> None:
        """Forget all delivered batches: after a rebalance they are read again from the committed offsets."""
        self._delivered.clear()
        self._acknowledged_end.clear()
        await super().perform_seek()

    async def seek(self, partition: Any, offset: int) -> None:
        """Forget the delivered batches of the partition, then seek."""
        self._delivered.pop(partition, None)
        self._acknowledged_end.pop(partition, None)
        await super().seek(partition, offset)

    async def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        """Forget the delivered batches of partitions that another worker now reads."""
        revoked = set(revoked)
        await super().on_partitions_revoked(revoked)
        for tp in revoked:
            self._delivered.pop(tp, None)
            self._acknowledged_end.pop(tp, None)

    @Service.task
    async def _watch_group(self) -> None:
        # aiokafka's coordinator stops on an error until `check_errors` is called, and Faust never calls it: the worker
        # would stay up without a partition. The call lets it rejoin; an error that lasts stops the worker.
        failing_since: float | None = None
        while not self.should_stop:
            await self.sleep(1.0)
            try:
                await self._thread.call_thread(self._thread.check_group)
            except Exception as error:  # noqa: BLE001 - any error of the group is handled alike
                failing_since = failing_since if failing_since is not None else monotonic()
                self.log.warning("consumer group error, rejoining: %r", error)
                if monotonic() - failing_since > GROUP_ERROR_LIMIT_S:
                    await self.crash(error)
            else:
                failing_since = None


class Transport(driver.Transport):  # type: ignore[misc]
    """Faust's Kafka transport with batches: `app.transport = Transport(app.conf.broker_consumer, app)`."""

    Consumer = Consumer
