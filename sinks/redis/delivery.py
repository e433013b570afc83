"""The delivery ledger: the state of every message, so that none is sent twice.

* `{ns}:delivered:<idempotency key>` hash of `state`, `attempt`, `action` (the message itself, until its outcome is
  published) and `settlement` (its outcome, as long);
* `{ns}:delivery:due` sorted set of idempotency key by time, ms: of the next attempt, or of the end of a lease.

A message is `claimed` before it is sent, `waiting` between two attempts, `settled` once its result is final, and `told`
(state `acknowledged` of a claim) once its receipt is in Kafka. A worker may die at any point: its messages are due
again when their lease ends.

An entry is written before a message is sent, and kept longer than Kafka keeps the action, so that no replay of the
topic sends it again. A message's address is stored only until its outcome is published, and so is the outcome, in
which a mail server may name the address.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import orjson
from redis.asyncio import Redis

from schemas.delivery.outbound import DeliveryClaim
from schemas.durations import DAY_MS
from sinks.redis.lua import source

KEPT_MS = 35 * DAY_MS
"""Life of an entry, milliseconds: longer than the topics of decisions and actions keep their records."""
_READ_AT_ONCE = 500


def due_key(namespace: str) -> str:
    """Return the key of the messages that wait, by when they are due."""
    return f"{{{namespace}}}:delivery:due"


class RedisDeliveryLedger:
    """Claims messages for sending and stores their results.

    Errors of the connection come out as `redis.exceptions.RedisError`; every method may then be called again, but a
    repeated `claim` finds its own claim `busy` and leaves it to `due`.

    Args:
        redis: A client that answers bytes.
        namespace: The hash tag of all keys.
    """

    def __init__(self, redis: Redis, namespace: str) -> None:
        self._redis = redis
        self._prefix = f"{{{namespace}}}:"
        self._key = due_key(namespace)
        self._script = redis.register_script(source("delivery"))

    async def claim(self, key: str, action: bytes, now_ms: int, lease_ms: int) -> DeliveryClaim:
        """Claim a message for its first attempt.

        Args:
            key: Its idempotency key.
            action: The message as published, kept until it is settled.
            now_ms: The time, milliseconds since 1970.
            lease_ms: Length of the claim, during which no other worker sends the message.
        """
        ((_, claim),) = _claims(await self._call("claim", key, action, now_ms, lease_ms, KEPT_MS))
        return claim

    async def due(self, now_ms: int, lease_ms: int, count: int) -> list[tuple[str, DeliveryClaim]]:
        """Claim messages whose next attempt is due, and those whose lease has ended.

        Returns:
            Key and claim of each, at most `count`; each has a new lease.
        """
        return _claims(await self._call("due", now_ms, lease_ms, count))

    async def postpone(self, key: str, due_ms: int) -> None:
        """Release a claim; the next attempt is at `due_ms`."""
        await self._call("postpone", key, due_ms)

    async def hold(self, key: str, due_ms: int) -> None:
        """Release a claim that was no attempt; the message is looked at again at `due_ms`."""
        await self._call("hold", key, due_ms)

    async def settle(self, key: str, action: bytes, settlement: bytes, now_ms: int, lease_ms: int) -> bool:
        """Store the final outcome of a message; `due` returns it again unless it is acknowledged within the lease.

        Returns:
            False, with nothing stored: the entry is closed, since its person was erased meanwhile.
        """
        return not await self._call("settle", key, action, settlement, now_ms, lease_ms, KEPT_MS)

    async def acknowledge(self, keys: Sequence[str]) -> None:
        """Close the entries of messages when Kafka has confirmed their receipts, or themselves; actions are deleted."""
        if keys:
            await self._call("acknowledge", *keys)

    async def close_entries(self, keys: Sequence[str], now_ms: int) -> None:
        """Close the entries of messages whose outcome is known from history: none of them is sent again."""
        for key in keys:
            await self.settle(key, b"", b"", now_ms, 0)
        await self.acknowledge(keys)

    async def forget(self, profile_ids: Collection[str]) -> int:
        """Close the entries of a person's messages that wait or are being sent: none of them is tried again.

        Args:
            profile_ids: Every profile id that the person had.

        Returns:
            How many there were.
        """
        waiting: Any = await self._redis.zrange(self._key, 0, -1)
        forgotten = 0
        for start in range(0, len(waiting), _READ_AT_ONCE):
            part = waiting[start : start + _READ_AT_ONCE]
            pipeline = self._redis.pipeline(transaction=False)
            for key in part:
                pipeline.hget(f"{self._prefix}delivered:{key.decode()}", "action")
            actions: list[bytes | None] = await pipeline.execute()
            found = zip(part, actions, strict=True)
            theirs = [key for key, action in found if action and orjson.loads(action).get("profile_id") in profile_ids]
            if theirs:
                await self._call("forget", *theirs)
            forgotten += len(theirs)
        return forgotten

    async def _call(self, step: str, *arguments: Any) -> Any:
        return await self._script(keys=[self._key], args=[self._prefix, step, *arguments])


_STATES: dict[bytes, Any] = {b"told": "acknowledged"}
"""Stored names of states that have another name in `DeliveryClaim`: entries of earlier versions have them."""


def _claims(found: Any) -> list[tuple[str, DeliveryClaim]]:
    return [
        (key.decode(), DeliveryClaim(_STATES.get(state, state.decode()), int(attempt), action, settlement))
        for key, state, attempt, action, settlement in found
    ]
