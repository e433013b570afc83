"""Measures what waits in Redis, and its memory, by a synchronous client; each may raise a `RedisError`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sinks.redis.cluster import servers_of
from sinks.redis.delivery import due_key
from sinks.redis.idle_profiles import passes_key, read_last_pass
from sinks.redis.keys import shard_prefixes, shared_prefix
from sinks.redis.outbox import waiting_in_shards


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


def waiting_records(redis: Any, outboxes: Sequence[str], now_ms: int) -> Queue:
    """Measure the records of outboxes that Kafka has not confirmed."""
    pipeline = redis.pipeline(transaction=False)
    for outbox in outboxes:
        pipeline.xlen(outbox)
        pipeline.xrange(outbox, count=1)
    answers = pipeline.execute()
    oldest = [int(records[0][0].split(b"-")[0]) for records in answers[1::2] if records]
    return Queue(sum(answers[::2]), max(0, now_ms - min(oldest)) if oldest else 0)


def due_timers(redis: Any, namespace: str, now_ms: int) -> Queue:
    """Measure the people with a timer that is due."""
    pipeline = redis.pipeline(transaction=False)
    for prefix in shard_prefixes(namespace):
        pipeline.zcount(f"{prefix}timers", 0, now_ms)
        pipeline.zrange(f"{prefix}timers", 0, 0, withscores=True)
    answers = pipeline.execute()
    due = sum(answers[::2])
    earliest = [timers[0][1] for timers in answers[1::2] if timers]
    return Queue(due, max(0, now_ms - int(min(earliest))) if due else 0)


def changed_profiles(redis: Any, namespace: str) -> int:
    """Count the profiles that have changed since their last snapshot."""
    return waiting_in_shards(redis, namespace, "ZCARD", "profiles:changed")


def waiting_messages(redis: Any, namespace: str) -> int:
    """Count the messages that wait for an attempt to send them, or for the end of one."""
    return int(redis.zcard(due_key(namespace)))


def last_expiry(redis: Any, namespace: str) -> dict[str, int]:
    """Return when all profiles were last looked at for who expires, `ended_ms`, and what was found; empty: never."""
    return read_last_pass(redis.hgetall(passes_key(namespace)))


def memory(redis: Any, namespace: str) -> Memory:
    """Measure the server's memory; of a cluster that of the master which has the least room left."""
    found: list[Memory] = []
    for server, _ in servers_of(
        redis, [f"{prefix}shard" for prefix in (shared_prefix(namespace), *shard_prefixes(namespace))]
    ):
        info = server.info("memory")
        limit = int(info.get("maxmemory", 0)) or int(info.get("total_system_memory", 0))
        found.append(Memory(int(info["used_memory"]), limit))
    return max(found, key=lambda one: (one.used_bytes / one.limit_bytes if one.limit_bytes else 0, one.used_bytes))
