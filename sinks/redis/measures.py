"""Measures what waits in Redis, and its memory, by a synchronous client; each may raise a `RedisError`."""

from __future__ import annotations

from typing import Any, NamedTuple

from sinks.redis.outbox import OutboxKeys


class Queue(NamedTuple):
    """Entries that wait.

    Attributes:
        entries: How many.
        waiting_ms: How long the oldest one waits, milliseconds; 0: none waits.
    """

    entries: int
    waiting_ms: int


class Memory(NamedTuple):
    """Memory of a server.

    Attributes:
        used_bytes: What it uses.
        limit_bytes: What it may use: `maxmemory`, else the memory of its machine; 0: it does not say.
    """

    used_bytes: int
    limit_bytes: int


def waiting_records(redis: Any, keys: OutboxKeys, now_ms: int) -> Queue:
    """Measure the records of an outbox that Kafka has not confirmed."""
    entries = int(redis.xlen(keys.stream))
    oldest = redis.xrange(keys.stream, count=1) if entries else []
    return Queue(entries, max(0, now_ms - int(oldest[0][0].split(b"-")[0])) if oldest else 0)


def due_timers(redis: Any, namespace: str, now_ms: int) -> Queue:
    """Measure the people with a timer that is due."""
    timers = f"{{{namespace}}}:timers"
    due = int(redis.zcount(timers, 0, now_ms))
    earliest = redis.zrange(timers, 0, 0, withscores=True) if due else []
    return Queue(due, max(0, now_ms - int(earliest[0][1])) if earliest else 0)


def changed_profiles(redis: Any, namespace: str) -> int:
    """Count the profiles that have changed since their last snapshot."""
    return int(redis.zcard(f"{{{namespace}}}:profiles:changed"))


def memory(redis: Any) -> Memory:
    """Measure the server's memory."""
    found = redis.info("memory")
    limit = int(found.get("maxmemory", 0)) or int(found.get("total_system_memory", 0))
    return Memory(int(found["used_memory"]), limit)
