"""How far each shard of people has entered a broadcast.

`{ns}:broadcast:<name>` is a hash: shard → the place of the list up to which its people have entered, or `end`. Places
are hashes of people. Whoever loses it begins at the beginning, and nobody enters twice: a profile knows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from redis.asyncio import Redis

from schemas.shards import SHARDS
from sinks.redis.keys import shared_prefix

END = -1
"""All people of a shard have entered."""
KEPT_S = 100 * 86_400
"""Longer than any broadcast lasts."""
_LAST_PLACE = 2**64


class RedisBroadcasts:
    """Keeps the progress of broadcasts.

    Args:
        redis: A client that answers with bytes.
        namespace: Hash tag of the keys.
    """

    def __init__(self, redis: Redis, namespace: str) -> None:
        self._redis = redis
        self._prefix = f"{shared_prefix(namespace)}broadcast:"

    async def progress(self, name: str) -> dict[int, int]:
        """Return how far the shards have come: shard → place, or `END`; one that has not begun is left out."""
        found: Any = await self._redis.hgetall(f"{self._prefix}{name}")
        return {int(shard): int(place) for shard, place in found.items()}

    async def passed(self, name: str, places: Mapping[int, int]) -> None:
        """Keep how far some shards have come.

        A worker that was slow may set a shard back, whose people are then looked at again.
        """
        if places:
            key = f"{self._prefix}{name}"
            await self._redis.hset(key, mapping={str(shard): str(place) for shard, place in places.items()})
            await self._redis.expire(key, KEPT_S)

    async def shares(self, names: Iterable[str]) -> dict[str, float]:
        """Return which share of the people on the list of each broadcast has entered, about, 0 to 1."""
        found = {}
        for name in names:
            places = (await self.progress(name)).values()
            found[name] = sum(1.0 if place == END else place / _LAST_PLACE for place in places) / SHARDS
        return found
