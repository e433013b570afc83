"""Batches: the records that wait in an agent's stream, acknowledged only when their effects are confirmed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Any

from schemas.records import Record

WAITING_EVENTS = 8
"""Record batches that are read ahead, each of up to 1,000 records."""


class Batch:
    """Records of one topic's partitions, in order within each partition.

    Attributes:
        records: The records.
    """

    def __init__(self, stream: Any, events: Sequence[Any]) -> None:
        self._stream = stream
        self._events = events
        self.records: list[Record] = [record for event in events for record in event.value.records]

    @property
    def token(self) -> str:
        """The ranges of the batch, `topic:partition:first-last,…`: an insert of the same batch has the same token."""
        return ",".join(
            f"{event.value.topic}:{event.value.partition}:{event.value.records[0].offset}-{event.value.offset}"
            for event in self._events
        )

    async def acknowledge(self) -> None:
        """Acknowledge the batch, once every effect of every record is confirmed."""
        for event in self._events:
            await self._stream.ack(event)


async def batches(
    stream: Any, *, max_records: int, linger_s: Callable[[], float] = lambda: 0.0
) -> AsyncIterator[Batch]:
    """Yield the records that have arrived on a Faust stream, batch by batch.

    A batch does not wait to be filled, unless `linger_s` is set. `Batch.acknowledge` alone acknowledges an event, and
    leaving the loop does not. Faust's own stream acknowledges on an exception too, which loses the event.

    Args:
        stream: The agent's stream; its events carry record batches (`deploy/workers/transport.py`).
        max_records: Stop collecting when the batch has this many records (one event may go over it).
        linger_s: Returns how long to wait, in seconds, from the first event on for the batch to fill; asked anew for
            each batch.

    Yields:
        Batches, in order.
    """
    waiting: asyncio.Queue[Any] = asyncio.Queue(WAITING_EVENTS)
    manual = stream.noack()

    async def feed() -> None:
        async for event in manual.events():
            await waiting.put(event)

    feeder = asyncio.create_task(feed())
    try:
        while True:
            first = await _next(waiting, feeder)
            if first is None:
                return
            events, count = [first], len(first.value.records)
            deadline = asyncio.get_running_loop().time() + linger_s()
            while count < max_records:
                try:
                    event = waiting.get_nowait()
                except asyncio.QueueEmpty:
                    pause = deadline - asyncio.get_running_loop().time()
                    if pause <= 0:
                        break
                    try:
                        event = await asyncio.wait_for(waiting.get(), pause)
                    except TimeoutError:
                        break
                events.append(event)
                count += len(event.value.records)
            yield Batch(manual, events)
    finally:
        feeder.cancel()
        with suppress(asyncio.CancelledError):
            await feeder


async def _next(waiting: asyncio.Queue[Any], feeder: asyncio.Task[None]) -> Any:
    """Wait for the next event; None when the stream has ended, and its error when it has failed."""
    try:
        return waiting.get_nowait()
    except asyncio.QueueEmpty:
        getter = asyncio.create_task(waiting.get())
        await asyncio.wait({getter, feeder}, return_when=asyncio.FIRST_COMPLETED)
        if getter.done():
            return getter.result()
        getter.cancel()
        feeder.result()
        return None
