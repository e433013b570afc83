"""Many callers, one batch: what they want to write at the same moment goes to Kafka together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from schemas.records import Outgoing
from sinks.kafka.producer import KafkaPublisher, PublishFailedError


class OverloadedError(Exception):
    """More waits for Kafka than memory is meant to hold; nothing of this call has been written."""


class GatheringPublisher:
    """Writes what waits as one batch while the next one gathers, so a write's cost is shared by all who wait.

    Args:
        publisher: Writes a batch, or fails it as a whole.
        most_bytes: What may wait at once.
    """

    def __init__(self, publisher: KafkaPublisher, most_bytes: int) -> None:
        self._publisher = publisher
        self._most_bytes = most_bytes
        self._bytes = 0
        self._waiting: list[tuple[Sequence[Outgoing], int, asyncio.Future[None]]] = []
        self._writing: asyncio.Task[None] | None = None

    @property
    def waiting_bytes(self) -> int:
        """How much is not confirmed yet."""
        return self._bytes

    async def send(self, records: Sequence[Outgoing]) -> None:
        """Write records and return when the broker has confirmed every one.

        Who no longer waits when his records' turn comes is passed over; then they are not written.

        Raises:
            OverloadedError: Too much waits already.
            PublishFailedError: Not all are confirmed; sending all again is right.
        """
        if not records:
            return
        size = sum(len(record.key) + len(record.value) for record in records)
        if self._bytes and self._bytes + size > self._most_bytes:
            raise OverloadedError(f"{self._bytes:,} bytes wait for Kafka")
        outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._bytes += size
        self._waiting.append((records, size, outcome))
        if self._writing is None:
            self._writing = asyncio.create_task(self._write())
        await outcome

    async def _write(self) -> None:
        try:
            while self._waiting:
                taken, self._waiting = self._waiting, []
                wanted = [record for records, _, outcome in taken if not outcome.done() for record in records]
                failed: Exception | None = None
                try:
                    await self._publisher.send(wanted)
                except PublishFailedError as error:
                    failed = error
                except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever
                    failed = PublishFailedError(f"{type(error).__name__}: {error}")
                for _, size, outcome in taken:
                    self._bytes -= size
                    if outcome.done():
                        continue
                    if failed is None:
                        outcome.set_result(None)
                    else:
                        outcome.set_exception(failed)
        finally:
            self._writing = None
