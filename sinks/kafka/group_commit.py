"""Groups concurrent sends into one flush (group commit): while one batch is written, the next one is collected."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from schemas.records import Outgoing, RecordsTooLargeError
from sinks.kafka.producer import KafkaPublisher, PublishFailedError


class OverloadedError(Exception):
    """More records wait for Kafka than may be held in memory; no record of this call has been written."""


class GroupCommitPublisher:
    """Writes all waiting records as one batch, so that concurrent callers share the cost of a flush.

    Args:
        publisher: Writes a batch, or fails it as a whole.
        max_bytes: The most bytes of keys and values of waiting records.
    """

    def __init__(self, publisher: KafkaPublisher, max_bytes: int) -> None:
        self._publisher = publisher
        self._max_bytes = max_bytes
        self._bytes = 0
        self._waiting: list[tuple[Sequence[Outgoing], int, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None

    @property
    def waiting_bytes(self) -> int:
        """Return the bytes of keys and values of the records that are not confirmed yet."""
        return self._bytes

    async def send(self, records: Sequence[Outgoing]) -> None:
        """Write records and return when the broker has confirmed every one.

        Records of a caller that is cancelled before their batch begins are not written.

        Raises:
            OverloadedError: Too many bytes wait already; a call is never too large if no other one waits.
            PublishFailedError: Not all are confirmed; sending all again is right.
            RecordsTooLargeError: Some are larger than the broker takes; all others of the call are confirmed.
        """
        if not records:
            return
        size = sum(len(record.key) + len(record.value) for record in records)
        if self._bytes and self._bytes + size > self._max_bytes:
            raise OverloadedError(f"{self._bytes:,} bytes wait for Kafka")
        outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._bytes += size
        self._waiting.append((records, size, outcome))
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())
        await outcome

    async def _write(self) -> None:
        try:
            while self._waiting:
                group, self._waiting = self._waiting, []
                calls = [(records, outcome) for records, _, outcome in group if not outcome.done()]
                failure: Exception | None = None
                try:
                    await self._publisher.send([record for records, _ in calls for record in records])
                except (PublishFailedError, RecordsTooLargeError) as error:
                    failure = error
                except Exception as error:  # noqa: BLE001 - whatever the error, no caller may wait for ever
                    failure = PublishFailedError(f"{type(error).__name__}: {error}")
                self._bytes -= sum(size for _, size, _ in group)
                _settle(calls, failure)
        finally:
            self._writer = None


def _settle(calls: Sequence[tuple[Sequence[Outgoing], asyncio.Future[None]]], failure: Exception | None) -> None:
    """Give each call the outcome of its own records; a record that is too large fails its own call alone."""
    start = 0
    for records, outcome in calls:
        end = start + len(records)
        own_failure = failure
        if isinstance(failure, RecordsTooLargeError):
            places = [place - start for place in failure.places if start <= place < end]
            own_failure = RecordsTooLargeError(places, str(failure)) if places else None
        start = end
        if outcome.done():  # cancelled meanwhile
            continue
        if own_failure is None:
            outcome.set_result(None)
        else:
            outcome.set_exception(own_failure)
