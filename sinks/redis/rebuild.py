"""What a rebuild of the whole store needs beside the stores: its progress, what there is already, and wiping it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis

from schemas.shards import SHARDS
from schemas.time import clock_ms
from sinks.redis.keys import name_of, patterns, shard_prefixes, shared_prefix
from sinks.redis.layout import layout_fields, layout_key
from sinks.redis.people import key_of

_KEPT = (
    "definitions",
    "journeys:archive",
    "workers",
    "coupons:",
    "coupon_",
    "rebuild",
    "identify:refused",
    "durable",
    "expiry",
)
"""What ClickHouse does not have, or what says nothing about people: not wiped, and no sign of a store in use."""
LEASES = {"identify": "identity:relay", "profile": "outbox:relay"}
"""Role → the key that a worker of it renews."""
_NO_SIGN = ("shards", "shard", "timers:lease", "recommend")
"""What says nothing about people, or is made again: wiped or not, it is no sign of a store in use."""
_KEYS_A_CALL = 1000


class RedisRebuild:
    """Keeps how far a rebuild has come, and knows whether the store has anything of people.

    Args:
        redis: A client that answers bytes.
        namespace: The hash tag of all keys.
    """

    def __init__(self, redis: Redis, namespace: str) -> None:
        self._redis = redis
        self._namespace = namespace
        self._prefix = shared_prefix(namespace)
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
        """Forget the progress: the store is whole, and workers may start.

        The events of before are marked where identity keeps its marks, whatever shard their people are in.
        """
        pipeline = self._redis.pipeline(transaction=False)
        for prefix in shard_prefixes(self._namespace):
            pipeline.hset(f"{prefix}shard", "people", 1)
        await pipeline.execute()
        fields: Any = layout_fields(clock_ms())
        await self._redis.hset(layout_key(self._namespace), mapping=fields)
        await self._redis.set(self._people, 1)
        await self._redis.delete(self._done)

    async def running(self) -> list[str]:
        """Return the roles of which a worker renews its lease: `identify`, `profile`."""
        return [role for role, lease in LEASES.items() if await self._redis.exists(self._prefix + lease)]

    async def is_empty(self) -> bool:
        """Return whether nothing about people is stored."""
        return not await self._keys(first=True)

    async def wipe(self) -> int:
        """Delete everything about people; return how many keys that were."""
        keys = await self._keys()
        keys += [f"{prefix}shard".encode() for prefix in shard_prefixes(self._namespace)]
        keys.append(layout_key(self._namespace).encode())
        for start in range(0, len(keys), _KEYS_A_CALL):
            await self._redis.unlink(*keys[start : start + _KEYS_A_CALL])
        return len(keys) - SHARDS - 1

    async def list_as_changed(self) -> int:
        """List every live profile as changed since its last snapshot; return how many there are."""
        found = 0
        _, pattern = patterns(self._namespace, "profile:*")
        pipeline = self._redis.pipeline(transaction=False)
        async for key in self._redis.scan_iter(match=pattern, count=_KEYS_A_CALL):
            name = name_of(key, self._namespace)
            prefix = key.decode("utf-8", "surrogateescape").removesuffix(name)
            pipeline.zadd(f"{prefix}profiles:changed", {name.removeprefix("profile:"): 0}, nx=True)
            found += 1
            if found % _KEYS_A_CALL == 0:
                await pipeline.execute()
        await pipeline.execute()
        return found

    async def watch(self, looks: Sequence[tuple[str, str, int]]) -> None:
        """Note who looked at which product: (product, profile, time in ms)."""
        pipeline = self._redis.pipeline(transaction=False)
        for product, profile_id, at_ms in looks:
            pipeline.zadd(f"{self._prefix}watch:{product}", {profile_id: at_ms})
        await pipeline.execute()

    async def _keys(self, *, first: bool = False) -> list[bytes]:
        """Return the keys that a rebuild makes; the first of them alone, if that is asked."""
        kept = (*_KEPT, *LEASES.values(), *_NO_SIGN)
        found: list[bytes] = []
        for pattern in patterns(self._namespace):
            async for key in self._redis.scan_iter(match=pattern, count=_KEYS_A_CALL):
                if not name_of(key, self._namespace).startswith(kept):
                    found.append(key)
                    if first:
                        return found
        return found


def knows_people(redis: Any, namespace: str) -> bool:
    """Return whether any identity was ever stored, by a synchronous client."""
    return bool(redis.exists(f"{{{namespace}}}:identity:version"))


def is_under_way(redis: Any, namespace: str) -> bool:
    """Return whether a rebuild has begun and not ended, by a synchronous client."""
    return bool(redis.exists(f"{{{namespace}}}:rebuild"))
