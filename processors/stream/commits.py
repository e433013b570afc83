"""Acknowledges batches once their writes to Redis are durable, while the next batches are worked on."""

from __future__ import annotations

import asyncio

from processors.stream.batches import Batch
from processors.stream.ports import Durability

MOST_WAITING = 8
"""Batches that may wait for the disk; the stage waits when there are so many."""


class Commits:
    """Batches whose effects are confirmed, and durable or not yet.

    A flush of the disk once a second confirms the batches of that second together, and no batch waits for it but to be
    acknowledged.

    Args:
        durability: Waits until writes are durable; None: a batch is acknowledged at once.
    """

    def __init__(self, durability: Durability | None) -> None:
        self._durability = durability
        self._waiting: asyncio.Queue[tuple[str, Batch]] | None = None

    async def begin(self) -> str:
        """Return a mark of the store, to be taken before a batch's first write."""
        return await self._durability.begin() if self._durability else ""

    async def acknowledge(self, batch: Batch, mark: str) -> None:
        """Acknowledge a batch as soon as what it has written is durable; returns before that.

        Args:
            batch: All its effects are confirmed.
            mark: What `begin` returned before.
        """
        if self._durability is None:
            await batch.acknowledge()
        else:
            await self._queue().put((mark, batch))

    async def run(self) -> None:
        """Acknowledge batches, for ever.

        Raises:
            Exception: The store may have lost writes of a batch. No batch that waits is acknowledged then.
        """
        if self._durability is None:
            return
        waiting = self._queue()
        while True:
            found = [await waiting.get()]
            while not waiting.empty():
                found.append(waiting.get_nowait())
            for mark in dict.fromkeys(mark for mark, _ in found):
                await self._durability.reached(mark)
            for _, batch in found:
                await batch.acknowledge()

    def _queue(self) -> asyncio.Queue[tuple[str, Batch]]:
        if self._waiting is None:  # made in the loop that uses it
            self._waiting = asyncio.Queue(MOST_WAITING)
        return self._waiting
