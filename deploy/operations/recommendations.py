"""Refreshes recommendations: from ClickHouse, where orders are, to Redis, where the delivery worker finds them."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any, NamedTuple

from clickhouse_connect.driver.exceptions import ClickHouseError
from redis.asyncio import Redis

from deploy.settings import Settings
from sinks.clickhouse.client import StoreDown, connect
from sinks.clickhouse.recommendations import compute_recommendations
from sinks.redis.recommendations import RedisRecommendations

log = logging.getLogger(__name__)

EVERY_S = 6 * 3600
"""How often a running deployment refreshes its recommendations."""
SOON_S = 60
"""When it tries again after it found nothing, or could not ask."""


class Refreshed(NamedTuple):
    """How much was worked out.

    Attributes:
        products: Products known by name.
        pairs: Pairs of products that go together, each in both directions.
        best: Best sellers kept.
    """

    products: int
    pairs: int
    best: int


async def refresh(settings: Settings, client: Any, *, days: int = 180, now: datetime | None = None) -> Refreshed:
    """Work recommendations out and store them.

    Args:
        settings: Of the deployment.
        client: Of its ClickHouse database, as `sinks.clickhouse.client.connect` opens it.
        days: How far back orders count.
        now: The end of that time; the present by default.
    """
    found = await asyncio.to_thread(compute_recommendations, client, now or datetime.now(UTC), days=days)
    async with Redis.from_url(settings.redis_url, socket_timeout=30, socket_connect_timeout=5) as redis:
        await RedisRecommendations(redis, settings.redis_namespace).store(found)
    return Refreshed(len(found.products), sum(map(len, found.together.values())), len(found.best))


async def refresh_in_turn(settings: Settings, *, now: datetime | None = None) -> Refreshed | None:
    """Refresh if it is time and no other process has done so: what a worker calls every now and then.

    Args:
        settings: Of the deployment.
        now: As for `refresh`.

    Returns:
        How much was worked out; None when it is not this process's turn, or ClickHouse cannot tell now.
    """
    async with Redis.from_url(settings.redis_url, socket_timeout=30, socket_connect_timeout=5) as redis:
        stored = RedisRecommendations(redis, settings.redis_namespace)
        if not await stored.acquire_refresh(EVERY_S):
            return None
        found = None
        try:
            client = await asyncio.to_thread(connect, settings.clickhouse_url, settings.clickhouse_database)
            try:
                found = await refresh(settings, client, now=now)
            finally:
                client.close()
        except (StoreDown, ClickHouseError) as error:
            log.warning("recommendations stay as they are: %s", str(error).partition("\n")[0])
        if found is None or not found.best:
            await stored.allow_refresh_in(SOON_S)
        return found
