"""Outboxes: what one atomic step in Redis has decided and Kafka is yet to get.

An outbox is a stream that scripts append to. One process at a time, the holder of a lease, reads the oldest entries,
publishes them and then removes them: at least once, in order, whatever dies in between.
"""

from __future__ import annotations

from typing import cast

from redis.asyncio import Redis

from schemas.records import Outgoing
from sinks.redis.scripts import source


class LeasedStream:
    """A stream that one process at a time reads and trims: the holder of a lease.

    Args:
        redis: A client that answers bytes.
        stream: Key of the stream.
        lease: Key of the lease.
    """

    def __init__(self, redis: Redis, stream: str, lease: str) -> None:
        self._redis = redis
        self._stream = stream
        self._lease = lease
        self._take = redis.register_script(source("take_relay"))
        self._trim = redis.register_script(source("trim_log"))

    async def acquire(self, token: str, ttl_ms: int) -> bool:
        """Take or renew the lease for `ttl_ms` milliseconds; False while another token has it."""
        return bool(await self._take(keys=[self._lease], args=[token, ttl_ms]))

    async def oldest(self, count: int) -> list[tuple[str, dict[bytes, bytes]]]:
        """Read the oldest entries, with their stream ids; at most `count`."""
        entries = cast(list[tuple[bytes, dict[bytes, bytes]]], await self._redis.xrange(self._stream, count=count))
        return [(entry.decode(), fields) for entry, fields in entries]

    async def acknowledge(self, last_id: str, token: str) -> bool:
        """Remove entries up to and with `last_id`; False, with nothing removed, when `token` lost the lease."""
        milliseconds, _, sequence = last_id.partition("-")
        keep = f"{milliseconds}-{int(sequence) + 1}"
        return bool(await self._trim(keys=[self._stream, self._lease], args=[token, keep]))


class RedisOutbox:
    """The records that profiles' changes have left to publish (`{namespace}:outbox`).

    Args:
        redis: A client that answers bytes.
        namespace: Hash tag of all keys.
    """

    def __init__(self, redis: Redis, namespace: str) -> None:
        self._stream = LeasedStream(redis, f"{{{namespace}}}:outbox", f"{{{namespace}}}:outbox:relay")

    async def acquire_relay(self, token: str, ttl_ms: int) -> bool:
        """Take or renew the right to publish for `ttl_ms` milliseconds; False while another token has it."""
        return await self._stream.acquire(token, ttl_ms)

    async def pending(self, count: int) -> list[tuple[str, Outgoing]]:
        """Read the oldest records, with their stream ids; at most `count`."""
        return [
            (entry, Outgoing(fields[b"t"].decode(), fields[b"k"], fields[b"v"]))
            for entry, fields in await self._stream.oldest(count)
        ]

    async def acknowledge(self, last_id: str, token: str) -> bool:
        """Remove records up to and with `last_id`, once the broker has them.

        Returns:
            False, with nothing removed, when `token` no longer has the right: the successor sends them again.
        """
        return await self._stream.acknowledge(last_id, token)
