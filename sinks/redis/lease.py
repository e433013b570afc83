"""A lease in Redis: one of several processes holds it, until it expires."""

from __future__ import annotations

from redis.asyncio import Redis

from sinks.redis.lua import source


class Lease:
    """A key that holds the token of one process and expires unless it is renewed.

    Args:
        redis: A client.
        key: The key.
    """

    def __init__(self, redis: Redis, key: str) -> None:
        self._key = key
        self._take = redis.register_script(source("take_lease"))

    async def acquire(self, token: str, ttl_ms: int) -> bool:
        """Acquire or renew the lease for `ttl_ms` milliseconds; False while another token holds it."""
        return bool(await self._take(keys=[self._key], args=[token, ttl_ms]))
