"""The relay of an outbox: it goes on whatever a store's client makes of a cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from processors.stream.relay import relay_records
from schemas.records import Outgoing

RECORD = Outgoing("decisions", b"k", b"v")
LEASE_MS = 30


class SwallowingOutbox:
    """An outbox whose client loses a cancellation during a command, as `asyncio.wait_for` of Python 3.11 may."""

    def __init__(self) -> None:
        self.waiting = [("1-0", RECORD)]
        self.renewing = asyncio.Event()
        self._is_first = True

    async def acquire_relay(self, token: str, ttl_ms: int) -> bool:
        if self._is_first:
            self._is_first = False
            return True
        self.renewing.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return True
        return True

    async def pending(self, count: int) -> list[tuple[str, Outgoing]]:
        return self.waiting[:count]

    async def acknowledge(self, ids: Sequence[str], token: str) -> bool:
        self.waiting = []
        return True


class Broker:
    """A broker that confirms once the lease is being renewed."""

    def __init__(self, outbox: SwallowingOutbox) -> None:
        self._outbox = outbox

    async def send(self, records: Sequence[Outgoing]) -> None:
        await self._outbox.renewing.wait()


async def test_records_are_removed_though_the_cancellation_of_a_renewal_is_lost() -> None:
    outbox = SwallowingOutbox()

    relayed = await asyncio.wait_for(relay_records(outbox, Broker(outbox), "me", lease_ms=LEASE_MS), 5)

    assert (1, []) == (relayed, outbox.waiting)
