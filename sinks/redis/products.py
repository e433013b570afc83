"""Keeps the catalogue in Redis, where profile workers change it and templates read it; and who looked at a product.

A product is a hash of its facts (`schemas/products.py`), each with its last statements, so that an event that is
delivered again gets the answer that it got. A product of which nothing is heard for two years expires.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgpack
from redis.asyncio import Redis

from schemas.durations import DAY_S
from schemas.products import Change, Fact, FactKey, Look
from sinks.redis.lua import source

FACTS_A_CALL = 500
"""The most facts of one script call, which blocks the server for about 2 ms."""
WATCHED_S = 90 * DAY_S
"""As in `lua/write_profiles.lua`: for how long a product is watched."""
_SEPARATOR = "\x1f"


class RedisProducts:
    """Keeps products, and who looked at them.

    Args:
        redis: A client that answers bytes.
        namespace: The hash tag of all keys.
    """

    def __init__(self, redis: Redis, namespace: str) -> None:
        self._redis = redis
        self._prefix = f"{{{namespace}}}:"
        self._slot = f"{self._prefix}recommend_products"
        self._state = redis.register_script(source("state_facts"))

    async def state(self, facts: Sequence[Fact]) -> list[Change]:
        """Store facts in order, unless a later one is known, and return what each has changed.

        Args:
            facts: Of any products. A statement that was stored before gets its answer again.
        """
        changes: list[Change] = []
        for start in range(0, len(facts), FACTS_A_CALL):
            packed = msgpack.packb(
                [
                    (one.product_id, _SEPARATOR.join(one.key), one.value, one.event, one.at_ms)
                    for one in facts[start : start + FACTS_A_CALL]
                ],
                use_bin_type=False,
            )
            answers: Any = await self._state(keys=[self._slot], args=[self._prefix, packed])
            changes += [
                Change(bool(stands), before[0].decode() if before and before[0] is not None else None)
                for stands, *before in answers
            ]
        return changes

    async def products(self, product_ids: Iterable[str]) -> dict[str, dict[FactKey, str]]:
        """Read the facts of products in one round trip.

        Returns:
            Product → its facts; a product of which none is known is left out.
        """
        asked = list(dict.fromkeys(product_ids))
        if not asked:
            return {}
        pipeline = self._redis.pipeline(transaction=False)
        for product in asked:
            pipeline.hgetall(f"{self._prefix}product_facts:{product}")
        found: list[Any] = await pipeline.execute()
        return {
            product: {FactKey(*field.decode().split(_SEPARATOR)): _latest(packed) for field, packed in facts.items()}
            for product, facts in zip(asked, found, strict=True)
            if facts
        }

    async def watch(self, looks: Sequence[Look]) -> dict[str, list[Fact]]:
        """Note that people watch products, then read the facts of these, in one round trip.

        The write of a profile notes it again, and bounds how many watch a product.
        """
        pipeline = self._redis.pipeline(transaction=False)
        for look in looks:
            pipeline.zadd(key := f"{self._prefix}watch:{look.product_id}", {look.profile_id: look.at_ms})
            pipeline.expire(key, WATCHED_S)
        asked = list(dict.fromkeys(look.product_id for look in looks))
        for product in asked:
            pipeline.hgetall(f"{self._prefix}product_facts:{product}")
        found: list[Any] = (await pipeline.execute())[-len(asked) :]
        return {
            product: [_fact(product, field, packed) for field, packed in facts.items()]
            for product, facts in zip(asked, found, strict=True)
        }

    async def watchers(self, product_id: str) -> list[str]:
        """List the profiles that looked at a product, the latest first."""
        found: Any = await self._redis.zrange(f"{self._prefix}watch:{product_id}", 0, -1, desc=True)
        return [profile_id.decode() for profile_id in found]


def _fact(product: str, field: bytes, packed: bytes) -> Fact:
    at_ms, event, value = msgpack.unpackb(packed)[0][:3]
    return Fact(product, FactKey(*field.decode().split(_SEPARATOR)), str(value), str(event), int(at_ms))


def _latest(packed: bytes) -> str:
    return str(msgpack.unpackb(packed)[0][2])
