"""What a visitor with one page view and no name costs in Redis: there are many, and most never come back."""

from __future__ import annotations

from collections import Counter
from typing import Any

import orjson
from redis.asyncio import Redis

from deploy.operations.definition_files import identity_policy, user_agents
from deploy.operations.rebuild import load_rebuild_definitions
from deploy.settings import Settings
from processors.enrichment.enrichment import Enrichment
from processors.identity.stage import Identify
from processors.profiles.stage import ProfileUpdate
from processors.stream.routing import route
from schemas.time import clock_ms, text_of_ms
from schemas.topics import RESOLVED_TOUCHPOINTS
from sinks.redis.identity import RedisIdentityStore
from sinks.redis.keys import name_of, patterns
from sinks.redis.profiles import RedisProfileStore
from tests.support.builders import touchpoint
from tests.support.in_process_pipeline import Arrived

_A_BATCH = 2_000
_ON_THEIR_WAY = {"outbox", "identity:log", "profiles:changed"}
"""What leaves Redis within a second or two."""
_LASTING = {"i", "p", "profile", "timers"}


async def visitors(client: Redis, settings: Settings, count: int = 20_000) -> dict[str, Any]:
    """Let visitors come, by all shipped segments and journeys, and measure what is stored of them.

    Args:
        client: A client of a name space that is empty.
        settings: Its settings.
        count: How many.

    Returns:
        For each visitor: `bytes` that stay, of them `by_key`; `marks`: bytes for 21 days.
    """
    namespace, policy, now_ms = settings.redis_namespace, identity_policy(settings), clock_ms()
    definitions, former = await load_rebuild_definitions(settings)
    identify = Identify(
        RedisIdentityStore(client, namespace, policy),
        policy=policy,
        secret=settings.identity_secret.get_secret_value().encode(),
        channels=frozenset(settings.channels),
        max_event_bytes=settings.max_event_bytes,
        enrich=Enrichment(user_agents(settings)),
    )
    update = ProfileUpdate(RedisProfileStore(client, namespace), definitions.decider(archive=former))
    for start in range(0, count, _A_BATCH):
        records = [
            Arrived(number, now_ms, orjson.dumps(_view(number, now_ms))) for number in range(start, start + _A_BATCH)
        ]
        outgoing = route("identify", records, await identify(records))
        await update([orjson.loads(one.value) for one in outgoing if one.topic == RESOLVED_TOUCHPOINTS])
    found = await _sizes(client, namespace)
    by_key = {name: round(found[name] / count, 1) for name in sorted(_LASTING)}
    return {
        "bytes": round(sum(by_key.values())),
        "by_key": by_key,
        "marks": round((found["marks"] + found["applied"]) / count, 1),
    }


def _view(number: int, now_ms: int) -> dict[str, Any]:
    page = {
        "url": "https://shop.example/lamps",
        "path": "/lamps",
        "title": "Lamps",
        "referrer": "https://www.google.com/",
    }
    return touchpoint(
        "Page Viewed",
        event_id=f"view {number}",
        occurred_at=text_of_ms(now_ms),
        identifiers={"anonymous_id": f"visitor {number}"},
        context={"page": page, "locale": "en-US", "timezone": "Europe/Berlin"},
        campaign={"source": "google", "medium": "cpc", "name": "autumn"},
    )


async def _sizes(client: Redis, namespace: str) -> Counter[str]:
    """Return the bytes of keys by the first part of their names."""
    sizes: Counter[str] = Counter()
    found = [client.scan_iter(match=pattern, count=5_000) for pattern in patterns(namespace)]
    keys = [key for some in found async for key in some]
    for start in range(0, len(keys), 5_000):
        part = keys[start : start + 5_000]
        pipeline = client.pipeline(transaction=False)
        for key in part:
            pipeline.memory_usage(key, samples=0)
        for key, size in zip(part, await pipeline.execute(), strict=True):
            name = name_of(key, namespace)
            sizes[name if name in _ON_THEIR_WAY else name.partition(":")[0]] += size or 0
    return sizes
