"""The share of records that `identify` refused last, which has to outlive its workers.

Workers write the share that each of them sees; the last one to write counts for the next that starts. That is enough:
what is to be told apart is a topic full of refused records from one that is not.
"""

from __future__ import annotations

from redis.asyncio import Redis

from schemas.durations import DAY_S

KEPT_S = 7 * DAY_S
"""Life of the share, seconds: after a week without a worker it says nothing about the records that wait."""


class RedisRefusedShare:
    """Keeps how many of the latest records were refused.

    Errors of the connection come out as `redis.exceptions.RedisError`; every method may then be called again.

    Args:
        redis: A client.
        namespace: The hash tag of all keys.
    """

    def __init__(self, redis: Redis, namespace: str) -> None:
        self._redis = redis
        self._key = f"{{{namespace}}}:identify:refused"

    async def load(self) -> tuple[int, int]:
        """Return how many records were counted and how many of them were refused; zeros: nothing is kept."""
        kept = await self._redis.get(self._key)
        records, refused = map(int, kept.split()) if kept else (0, 0)
        return records, refused

    async def save(self, records: int, refused: int) -> None:
        """Keep the counts."""
        await self._redis.set(self._key, f"{records} {refused}", ex=KEPT_S)
