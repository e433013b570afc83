"""Refreshes product recommendations: computed from orders in ClickHouse, stored in Redis for the delivery worker."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime
from typing import Any, NamedTuple

from clickhouse_connect.driver.exceptions import ClickHouseError

from deploy.connections.clickhouse import clickhouse_client
from deploy.connections.redis import async_redis_client
from deploy.settings import Settings
from sinks.clickhouse.client import StoreDown
from sinks.clickhouse.recommendations import compute_recommendations
from sinks.redis.recommendations import RedisRecommendations

log = logging.getLogger(__name__)

REFRESH_INTERVAL_S = 6 * 3600
"""How often a running deployment refreshes its recommendations."""
RETRY_INTERVAL_S = 60
"""The interval after a refresh that found no best seller, or that ClickHouse did not answer."""


class RefreshCounts(NamedTuple):
    """Counts of a refresh.

    Attributes:
        products: Products known by name.
        pairs: Pairs of products that go together, each in both directions.
        best: Best sellers kept.
    """

    products: int
    pairs: int
    best: int


async def refresh(settings: Settings, client: Any, *, days: int = 180, now: datetime | None = None) -> RefreshCounts:
    """Compute recommendations and store them.

    Args:
        settings: Of the deployment.
        client: Of its ClickHouse database, as `sinks.clickhouse.client.connect` opens it.
        days: How far back orders count.
        now: The end of those days; the present by default.
    """
    found = await asyncio.to_thread(compute_recommendations, client, now or datetime.now(UTC), days=days)
    async with async_redis_client(settings, timeout_s=30) as redis:
        await RedisRecommendations(redis, settings.redis_namespace).store(found)
    return RefreshCounts(len(found.products), sum(map(len, found.together.values())), len(found.best))


async def refresh_if_due(settings: Settings, *, now: datetime | None = None) -> RefreshCounts | None:
    """Refresh if the interval is over and no other process has begun; every delivery worker calls it periodically.

    Args:
        settings: Of the deployment.
        now: As for `refresh`.

    Returns:
        Counts of the refresh; None when it is not due, or ClickHouse does not answer.
    """
    async with async_redis_client(settings, timeout_s=30) as redis:
        stored = RedisRecommendations(redis, settings.redis_namespace)
        if not await stored.acquire_refresh(REFRESH_INTERVAL_S):
            return None
        found = None
        try:
            client = await asyncio.to_thread(clickhouse_client, settings)
            try:
                found = await refresh(settings, client, now=now)
            finally:
                client.close()
        except (StoreDown, ClickHouseError) as error:
            log.warning("recommendations not refreshed: %s", str(error).partition("\n")[0])
        if found is None or not found.best:
            await stored.allow_refresh_in(RETRY_INTERVAL_S)
        return found
