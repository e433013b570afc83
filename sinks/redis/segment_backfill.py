"""What is known of backfills of segments: which definitions have taken in history, and how far one has come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from redis.asyncio import Redis

from sinks.redis.lease import Lease


class RedisSegmentBackfill:
    """Keeps the state of backfills.

    Args:
        redis: A client that answers bytes.
        namespace: The hash tag of all keys.
    """

    def __init__(self, redis: Redis, namespace: str) -> None:
        self._redis = redis
        self._filled = f"{{{namespace}}}:segments:filled"
        self._in_force = f"{{{namespace}}}:segments:defined"
        self._progress = f"{{{namespace}}}:segments:backfill"
        self._dated = f"{{{namespace}}}:segments:dated"
        self._lease = Lease(redis, f"{self._progress}:lease")

    async def acquire(self, token: str, ttl_ms: int) -> bool:
        """Acquire or renew the right to backfill for `ttl_ms` milliseconds; False while another token holds it."""
        return await self._lease.acquire(token, ttl_ms)

    async def filled(self) -> dict[str, str]:
        """Return each definition that has taken in history, by name, with its fingerprint of then."""
        found: Any = await self._redis.hgetall(self._filled)
        return {name.decode(): fingerprint.decode() for name, fingerprint in found.items()}

    async def progress(self) -> dict[str, Any] | None:
        """Return the progress of a backfill that has not ended; None: there is none."""
        kept = await self._redis.get(self._progress)
        found: dict[str, Any] | None = orjson.loads(kept) if kept else None
        return found

    async def save(self, progress: Mapping[str, Any]) -> None:
        """Keep the progress of a backfill."""
        await self._redis.set(self._progress, orjson.dumps(progress))

    async def dated_ms(self) -> int:
        """Return the time, ms, up to which memberships are dated by late events that had been received; 0: never."""
        return int(await self._redis.get(self._dated) or 0)

    async def finish(self, filled: Mapping[str, str], dated_ms: int | None = None) -> None:
        """Keep that a backfill has ended.

        Args:
            filled: Definitions that have taken in history.
            dated_ms: Late events that had been received by then have dated memberships; None: they have not.
        """
        async with self._redis.pipeline(transaction=True) as pipeline:
            if filled:
                pipeline.hset(self._filled, items=[part for one in filled.items() for part in one])
            if dated_ms is not None:
                pipeline.set(self._dated, dated_ms)
            pipeline.delete(self._progress)
            await pipeline.execute()

    async def in_force(self) -> dict[str, str]:
        """Return the definitions that the profile workers run, as the last of them to start knows them."""
        kept = await self._redis.get(self._in_force)
        found: dict[str, str] = orjson.loads(kept) if kept else {}
        return found


def note_definitions(redis: Any, namespace: str, in_force: Mapping[str, str]) -> dict[str, str]:
    """Keep which definitions a profile worker runs.

    Those that are gone have to take in history if they come back. Before the first event there is no history.

    Args:
        redis: A synchronous client.
        namespace: The hash tag of all keys.
        in_force: Each definition by name, with its fingerprint.

    Returns:
        The definitions that have taken in history, with their fingerprints of then.
    """
    prefix = f"{{{namespace}}}:"
    redis.set(f"{prefix}segments:defined", orjson.dumps(in_force))
    key = f"{prefix}segments:filled"
    if in_force and not redis.exists(f"{prefix}identity:version"):
        redis.hset(key, mapping=dict(in_force))
    filled = {name.decode(): fingerprint.decode() for name, fingerprint in redis.hgetall(key).items()}
    gone = filled.keys() - in_force.keys()
    if gone:
        redis.hdel(key, *gone)
    return {name: fingerprint for name, fingerprint in filled.items() if name not in gone}


def note_check(redis: Any, namespace: str, outcome: Mapping[str, Any]) -> None:
    """Keep the outcome of the latest `segments check`.

    Args:
        redis: A synchronous client.
        namespace: The hash tag of all keys.
        outcome: `at` (RFC 3339), and the numbers of `people` and of segments that have `differences`.
    """
    redis.set(f"{{{namespace}}}:segments:checked", orjson.dumps(outcome))


def read_check(redis: Any, namespace: str) -> dict[str, Any] | None:
    """Return the outcome of the latest `segments check`; None: there was none."""
    kept = redis.get(f"{{{namespace}}}:segments:checked")
    found: dict[str, Any] | None = orjson.loads(kept) if kept else None
    return found


def read_dated_ms(redis: Any, namespace: str) -> int:
    """Return what `RedisSegmentBackfill.dated_ms` does, by a synchronous client."""
    return int(redis.get(f"{{{namespace}}}:segments:dated") or 0)


def read_definitions(redis: Any, namespace: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the definitions that profile workers run, and those that have taken in history; with fingerprints.

    Args:
        redis: A synchronous client.
        namespace: The hash tag of all keys.
    """
    kept, filled = redis.get(f"{{{namespace}}}:segments:defined"), redis.hgetall(f"{{{namespace}}}:segments:filled")
    return orjson.loads(kept) if kept else {}, {name.decode(): found.decode() for name, found in filled.items()}
