"""What a rebuild of the whole store needs beside the stores: its progress, what there is already, and wiping it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from sinks.redis.people import key_of

_KEPT = ("definitions", "journeys:archive", "workers", "coupons:", "coupon_", "rebuild", "identify:refused", "durable")
"""What ClickHouse does not have, or what says nothing about people: not wiped, and no sign of a store in use."""
_LEASES = ("identity:relay", "outbox:relay")
_KEYS_A_CALL = 1000


class RedisRebuild:
    """Keeps how far a rebuild has come, and knows whether the store has anything of people.

    Args:
        redis: A client that answers bytes.
        namespace: The hash tag of all keys.
    """

    def __init__(self, redis: Redis, namespace: str) -> None:
        self._redis = redis
        self._prefix = f"{{{namespace}}}:"
        self._done = f"{self._prefix}rebuild"
        self._people = key_of(namespace)

    async def begun(self) -> bool:
        """Return whether a rebuild has begun and not ended."""
        return bool(await self._redis.exists(self._done))

    async def done(self) -> set[str]:
        """Return the steps that are done."""
        found: Any = await self._redis.smembers(self._done)
        return {step.decode() for step in found}

    async def note(self, step: str) -> None:
        """Keep that a step is done."""
        await self._redis.sadd(self._done, step)

    async def end(self) -> None:
        """Forget the progress: the store is whole, and workers may start."""
        await self._redis.set(self._people, 1)
        await self._redis.delete(self._done)

    async def running(self) -> list[str]:
        """Return the roles of which a worker renews its lease: `identify`, `profile`."""
        held = [await self._redis.exists(self._prefix + lease) for lease in _LEASES]
        return [role for role, is_held in zip(("identify", "profile"), held, strict=True) if is_held]

    async def is_empty(self) -> bool:
        """Return whether nothing about people is stored."""
        return not await self._keys(first=True)

    async def wipe(self) -> int:
        """Delete everything about people; return how many keys that were."""
        keys = await self._keys()
        for start in range(0, len(keys), _KEYS_A_CALL):
            await self._redis.unlink(*keys[start : start + _KEYS_A_CALL])
        return len(keys)

    async def watch(self, looks: Sequence[tuple[str, str, int]]) -> None:
        """Note who looked at which product: (product, profile, time in ms)."""
        pipeline = self._redis.pipeline(transaction=False)
        for product, profile_id, at_ms in looks:
            pipeline.zadd(f"{self._prefix}watch:{product}", {profile_id: at_ms})
        await pipeline.execute()

    async def _keys(self, *, first: bool = False) -> list[bytes]:
        """Return the keys that a rebuild makes; the first of them alone, if that is asked."""
        kept = tuple(f"{self._prefix}{name}".encode() for name in (*_KEPT, *_LEASES, "timers:lease", "recommend"))
        found: list[bytes] = []
        async for key in self._redis.scan_iter(match=f"{self._prefix}*", count=_KEYS_A_CALL):
            if not key.startswith(kept):
                found.append(key)
                if first:
                    break
        return found


def knows_people(redis: Any, namespace: str) -> bool:
    """Return whether any identity was ever stored, by a synchronous client."""
    return bool(redis.exists(f"{{{namespace}}}:identity:version"))


def is_under_way(redis: Any, namespace: str) -> bool:
    """Return whether a rebuild has begun and not ended, by a synchronous client."""
    return bool(redis.exists(f"{{{namespace}}}:rebuild"))
