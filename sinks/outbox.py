"""Outboxes: what one atomic step in Redis has decided and Kafka is yet to get.

An outbox is a stream that scripts append to. One process at a time, the holder of a lease, reads the oldest entries,
publishes them and then removes them: at least once, in order, whatever dies in between.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import cast

from redis.asyncio import Redis

from schemas.records import Outgoing


class RedisOutbox:
    """The records that profiles' changes have left to publish (`{namespace}:outbox`).

    Args:
        redis: A client that answers bytes.
        namespace: Hash tag of all keys.
    """

    def __init__(self, redis: Redis, namespace: str) -> None:
        self._redis = redis
        self._stream = f"{{{namespace}}}:outbox"
        self._lease = f"{{{namespace}}}:outbox:relay"
        self._take = redis.register_script(_script("take_relay"))
        self._trim = redis.register_script(_script("trim_log"))

    async def acquire_relay(self, token: str, ttl_ms: int) -> bool:
        """Take or renew the right to publish for `ttl_ms` milliseconds; False while another token has it."""
        return bool(await self._take(keys=[self._lease], args=[token, ttl_ms]))

    async def pending(self, count: int) -> list[tuple[str, Outgoing]]:
        """Read the oldest records, with their stream ids; at most `count`."""
        entries = cast(list[tuple[bytes, dict[bytes, bytes]]], await self._redis.xrange(self._stream, count=count))
        return [
            (entry.decode(), Outgoing(fields[b"t"].decode(), fields[b"k"], fields[b"v"])) for entry, fields in entries
        ]

    async def acknowledge(self, last_id: str, token: str) -> bool:
        """Remove records up to and with `last_id`, once the broker has them.

        Returns:
            False, with nothing removed, when `token` no longer has the right: the successor sends them again.
        """
        milliseconds, _, sequence = last_id.partition("-")
        return bool(
            await self._trim(keys=[self._stream, self._lease], args=[token, f"{milliseconds}-{int(sequence) + 1}"])
        )


@cache
def _script(name: str) -> str:
    return (files("sinks") / "lua" / f"{name}.lua").read_text("utf-8")
