"""How fast the identity store resolves, and what an identifier costs in memory.

`cold`: nobody is known yet, two thirds of the events bind something. `warm`: the same people come back with new events.
The requests are made before the clock starts, so this is one client's calls and the server's work.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Any

import psutil
from redis.asyncio import Redis

from deploy.settings import Settings
from schemas.identity.policy import IdentityPolicy
from schemas.identity.resolution import ResolveRequest
from sinks.redis.identity import EVENTS_A_CALL, RedisIdentityStore
from sinks.redis.outbox import RedisOutbox, identity_outbox
from tests.benchmarks.visitors import visitors
from tests.oracles.identity_model import RECEIVED_MS, TypedAnchor, request

_RELAY = "bench"


def identity(settings: Settings, server_pid: int | None, events: int = 100_000) -> dict[str, Any]:
    """Measure one client against one server.

    Args:
        settings: Where Redis is, and a name space that is empty.
        server_pid: The server's process, if it is ours: its CPU time is steadier than the clock.
        events: Events of each pass.

    Returns:
        `cold` and `warm`, each with `events_per_s` and `server_us_per_event`; `bytes_per_identifier`: of the index and
        the profiles. Marks of seen events and the outbox are not in it: the one expires, the other is relayed.
        `visitor`: what a visitor with one page view costs (`visitors.py`).
    """
    return asyncio.run(_measure(settings, server_pid, events))


def population(events: int, generation: str, seed: int = 3) -> list[ResolveRequest]:
    """Make events of the same people for each generation: 1.6 identifiers each, one in eight of a shared device."""
    chance = random.Random(seed)
    people = max(events // 6, 1)
    made = []
    for number in range(events):
        person = chance.randrange(people)
        named: list[TypedAnchor] = [("anonymous_id", f"{person}-{chance.randrange(2)}")]
        if chance.random() < 0.35:
            named.append(("user_id", f"{person}"))
        if chance.random() < 0.12:
            named.append(("email", f"{person}@shop.example"))
        if chance.random() < 0.12:
            named.append(("device_id", f"{person // 8 if person % 8 < 2 else person}"))
        made.append(request(f"{generation}{number}", *named, occurred_ms=RECEIVED_MS + number))
    return made


async def _measure(settings: Settings, server_pid: int | None, events: int) -> dict[str, Any]:
    async with Redis.from_url(settings.redis_url) as client:
        store = RedisIdentityStore(client, settings.redis_namespace, IdentityPolicy())
        outbox = RedisOutbox(client, identity_outbox(settings.redis_namespace))
        cold = await _pass(store, outbox, population(events, "cold-"), server_pid)
        warm = await _pass(store, outbox, population(events, "warm-"), server_pid)
        identifiers, size = await _memory(client, f"{{{settings.redis_namespace}}}:")
        elsewhere = settings.model_copy(update={"redis_namespace": f"{settings.redis_namespace}-visitors"})
        visitor = await visitors(client, elsewhere)
    return {
        "events": events,
        "cold": cold,
        "warm": warm,
        "identifiers": identifiers,
        "bytes_per_identifier": round(size / identifiers, 1),
        "visitor": visitor,
    }


async def _pass(
    store: RedisIdentityStore, outbox: RedisOutbox, asked: Sequence[ResolveRequest], pid: int | None
) -> dict[str, float]:
    server = psutil.Process(pid) if pid else None
    before, started = _cpu(server), time.monotonic()
    for start in range(0, len(asked), EVENTS_A_CALL):
        await store.resolve(asked[start : start + EVENTS_A_CALL])
    seconds, cpu = time.monotonic() - started, _cpu(server) - before
    await outbox.acquire_relay(_RELAY, 60_000)
    while pending := await outbox.pending(10_000):
        await outbox.acknowledge(pending[-1][0], _RELAY)
    return {
        "events_per_s": round(len(asked) / seconds),
        "server_us_per_event": round(cpu / len(asked) * 1e6, 2),
    }


def _cpu(process: psutil.Process | None) -> float:
    if process is None:
        return 0.0
    times = process.cpu_times()
    return float(times.user + times.system)


async def _memory(client: Redis, prefix: str) -> tuple[int, int]:
    """Count identifiers and the bytes of the keys that exist for them."""
    identifiers = size = 0
    for part in ("i", "p"):
        keys = [key async for key in client.scan_iter(match=f"{prefix}{part}:*", count=5_000)]
        for start in range(0, len(keys), 5_000):
            pipeline = client.pipeline(transaction=False)
            for key in keys[start : start + 5_000]:
                pipeline.memory_usage(key, samples=0)
                pipeline.hlen(key)
            found = await pipeline.execute()
            size += sum(found[::2])
            identifiers += sum(found[1::2]) if part == "i" else 0
    return identifiers, size
