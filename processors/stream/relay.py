"""The relay: publishes the records of an outbox to Kafka, each outbox by one process at a time.

Every record is published at least once, and removed only after the broker has confirmed it. Records are published in
order as long as the process that publishes them holds the lease. It renews the lease while it waits for the broker, so
that no other process begins meanwhile. A process that was stopped for longer than the lease, or cut off from Redis, may
still have records on their way when its successor begins: then records come twice and out of order. Consumers compare
versions (identity changes) or keys (decisions, actions, journey events), so neither does harm.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from processors.stream.ports import Outbox, Publisher

LEASE_MS = 5_000
"""Life of a lease that is not renewed, milliseconds: the outbox waits so long after its relay has died."""
RELAYED_RECORDS = 2_000
"""The most records of one turn."""


async def relay_records(
    outbox: Outbox,
    publisher: Publisher,
    token: str,
    *,
    lease_ms: int = LEASE_MS,
    after_send: Callable[[], None] = lambda: None,
) -> int:
    """Publish the oldest records of an outbox and remove them, if this process gets the lease.

    Args:
        outbox: The outbox.
        publisher: Publishes to Kafka.
        token: Names this process.
        lease_ms: Life of the lease, milliseconds; it is renewed three times in that.
        after_send: Called when the broker has confirmed the records and they are not removed yet.

    Returns:
        How many records were published and removed; 0 when none waits, or another process relays.
    """
    if not await outbox.acquire_relay(token, lease_ms):
        return 0
    waiting = await outbox.pending(RELAYED_RECORDS)
    if not waiting:
        return 0
    sending = asyncio.create_task(publisher.send([record for _, record in waiting]))  # noqa: RUF006 - kept
    renewing = asyncio.create_task(_renew(outbox, token, lease_ms, sending))
    try:
        done, _ = await asyncio.wait({sending, renewing}, return_when=asyncio.FIRST_COMPLETED)
        if sending not in done:
            renewing.result()
            return 0  # the lease is lost: stop retrying, because the successor publishes these records
        sending.result()
    finally:
        sending.cancel()
        renewing.cancel()
        await asyncio.gather(sending, renewing, return_exceptions=True)
    after_send()
    return len(waiting) if await outbox.acknowledge([one for one, _ in waiting], token) else 0


async def _renew(outbox: Outbox, token: str, lease_ms: int, sending: asyncio.Task[None]) -> None:
    """Renew the lease until another process holds it, or the records are sent.

    A store's client may swallow a cancellation that comes while it writes (`asyncio.wait_for` of Python 3.11 does), and
    whoever waited for the end of an endless loop would wait for ever.
    """
    while not sending.done():
        await asyncio.sleep(lease_ms / 3000)
        if not await outbox.acquire_relay(token, lease_ms):
            return
