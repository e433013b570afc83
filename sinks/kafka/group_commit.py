"""Groups concurrent sends into one flush (group commit): while one batch is written, the next one is collected."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from schemas.records import Outgoing
from sinks.kafka.producer import KafkaPublisher, PublishFailedError


class OverloadedError(Exception):
    """More records wait for Kafka than may be held in memory; no record of this call has been written."""


class GroupCommitPublisher:
    """Writes all waiting records as one batch, so that concurrent callers share the cost of a flush.

    Args:
        publisher: Writes a batch, or fails it as a whole.
        max_bytes: Keys and values of all records that may wait, in bytes.
    """

    def __init__(self, publisher: KafkaPublisher, max_bytes: int) -> None:
        self._publisher = publisher
        self._max_bytes = max_bytes
        self._bytes = 0
        self._waiting: list[tuple[Sequence[Outgoing], int, asyncio.Future[None]]] = []
        self._writer: asyncio.Task[None] | None = None

    @property
    def waiting_bytes(self) -> int:
        """Keys and values of the records that are not confirmed yet, in bytes."""
        return self._bytes

    async def send(self, records: Sequence[Outgoing]) -> None:
        """Write records and return when the broker has confirmed every one.

        Records of a caller that is cancelled before their batch begins are not written.

        Raises:
            OverloadedError: Too many bytes wait already; a call is never too large if no other one waits.
            PublishFailedError: Not all are confirmed; sending all again is right.
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
                batch = [record for records, _, outcome in group if not outcome.done() for record in records]
                failure: Exception | None = None
                try:
                    await self._publisher.send(batch)
                except PublishFailedError as error:
                    failure = error
                except Exception as error:  # noqa: BLE001 - whatever the error, no caller may wait for ever
                    failure = PublishFailedError(f"{type(error).__name__}: {error}")
                for _, size, outcome in group:
                    self._bytes -= size
                    if outcome.done():
                        continue
                    if failure is None:
                        outcome.set_result(None)
                    else:
                        outcome.set_exception(failure)
        finally:
            self._writer = None
