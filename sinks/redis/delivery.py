"""The delivery ledger in Redis: what was sent, so that nothing is sent twice.

* `{ns}:delivered:<idempotency key>` hash of `state`, `attempt`, `action` (the message itself, until all is done) and
  `settlement` (what became of it);
* `{ns}:delivery:due` sorted set of idempotency key by when to look at it again: the next try, or the end of a lease.

A message is `claimed` before it is sent, `waiting` between two tries, `settled` once it is known what became of it, and
`told` once that is in Kafka. So a worker may die anywhere: what it leaves is found when its lease is over.

An entry is written before a message is sent, and kept longer than Kafka keeps the action, so that no replay of the
topic sends again. A message's address is here only while it is on its way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from schemas.delivery.outbound import Claim
from schemas.durations import DAY_MS
from sinks.redis.lua import source

KEPT_MS = 35 * DAY_MS
"""How long a settled message is remembered: the longest that the topics of decisions and actions reach back."""


class RedisDeliveryLedger:
    """Remembers what was sent.

    Errors of the connection come out as `redis.exceptions.RedisError`; every method may then be called again, but a
    repeated `claim` finds its own claim `busy` and leaves it to `due`.

    Args:
        redis: A client that answers bytes.
        namespace: The hash tag of all keys.
    """

    def __init__(self, redis: Redis, namespace: str) -> None:
        self._prefix = f"{{{namespace}}}:"
        self._key = f"{self._prefix}delivery:due"
        self._script = redis.register_script(source("delivery"))

    async def claim(self, key: str, action: bytes, now_ms: int, lease_ms: int) -> Claim:
        """Ask for the right to send a message for the first time.

        Args:
            key: Its idempotency key.
            action: The message as it came, kept until it is settled.
            now_ms: The time.
            lease_ms: How long the claim is believed to be at work.
        """
        ((_, claim),) = _claims(await self._call("claim", key, action, now_ms, lease_ms, KEPT_MS))
        return claim

    async def due(self, now_ms: int, lease_ms: int, count: int) -> list[tuple[str, Claim]]:
        """Claim messages whose next try has come, and find those whose worker was not heard of within its lease.

        Returns:
            Key and claim of each, at most `count`; nobody else gets them until their new lease is over.
        """
        return _claims(await self._call("due", now_ms, lease_ms, count))

    async def postpone(self, key: str, due_ms: int) -> None:
        """Give a claim back until then."""
        await self._call("postpone", key, due_ms)

    async def settle(self, key: str, action: bytes, settlement: bytes, now_ms: int, lease_ms: int) -> None:
        """Note what became of a message for good; `due` finds it again unless it is told within the lease."""
        await self._call("settle", key, action, settlement, now_ms, lease_ms, KEPT_MS)

    async def acknowledge(self, keys: Sequence[str]) -> None:
        """Close the entries of messages whose receipts Kafka has confirmed; the actions are deleted."""
        if keys:
            await self._call("told", *keys)

    async def _call(self, step: str, *arguments: Any) -> Any:
        return await self._script(keys=[self._key], args=[self._prefix, step, *arguments])


_STATES: dict[bytes, Any] = {b"told": "acknowledged"}
"""The stored names of states that have another name in `Claim`."""


def _claims(found: Any) -> list[tuple[str, Claim]]:
    return [
        (key.decode(), Claim(_STATES.get(state, state.decode()), int(attempt), action, settlement))
        for key, state, attempt, action, settlement in found
    ]
